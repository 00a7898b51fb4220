//! Reports of a small, a hostile and a large store.

use crate::checks;
use crate::devtools::Browser;
use crate::stores::{self, HOSTILE, LARGE_EVENTS, LARGE_WORKERS, Report};
use std::path::Path;

/// The widths of a desktop, a tablet and a phone.
const WIDTHS: [u32; 3] = [1280, 820, 390];

const SCHEMES: [&str; 2] = ["light", "dark"];

/// The most bytes of the report of a large store.
const MOST_BYTES: u64 = 5 << 20;

/// Shows a report on both screens in both schemes, and makes the checks that hold for all.
fn check_everywhere(browser: &mut Browser, path: &Path) {
    for width in WIDTHS {
        for scheme in SCHEMES {
            println!("{width} pixels, {scheme}");
            let events = browser.show(path, width, scheme);
            checks::are_quiet(&events);
            checks::fits(browser);
            checks::is_still(browser);
            checks::is_readable(browser);
            // Also what closed transcripts hold.
            browser.value("document.querySelectorAll('details').forEach(each => each.open = true)");
            checks::fits(browser);
            checks::are_quiet(&browser.later_events());
        }
    }
}

/// The text of the page as it is seen.
fn text(browser: &mut Browser) -> String {
    browser
        .value("document.body.innerText")
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn small_report_shows_every_section_on_every_screen() {
    let report = Report::of(stores::small, &["--verify"]);
    let mut browser = Browser::start();
    check_everywhere(&mut browser, &report.path());
    let text = text(&mut browser);
    for shown in [
        "agents.redb",
        "no damage",
        "A small demo",
        "worker-00000001",
        "task: translate what it is given",
        "Übersetze: \"naïve café\" — 日本語も",
        "runtime.local_default_resources",
    ] {
        assert!(text.contains(shown), "{shown} is not in\n{text}");
    }
    let lanes = browser.value("[...document.querySelectorAll('.lane svg')].map(each => each.getBoundingClientRect().height)");
    assert_eq!(lanes, serde_json::json!([24, 24]));
}

#[test]
fn hostile_texts_neither_act_nor_hide() {
    let report = Report::of(stores::hostile, &[]);
    let mut browser = Browser::start();
    check_everywhere(&mut browser, &report.path());
    let title = browser.value("document.title");
    assert_eq!(title, "agents.redb – runtime store report");
    let text = text(&mut browser);
    for shown in [
        HOSTILE[0],
        HOSTILE[1],
        HOSTILE[2],
        HOSTILE[3],
        HOSTILE[4],
        HOSTILE[5],
        r"a\u{202e}reversed\u{2066}isolated\u{200b}joined\u{e0041}",
        r"\u{0}\u{1b}[31mred\u{9b}0m\r\rnext\u{2028}line",
        HOSTILE[8],
        "  spaces\n\tand a tab\nand lines",
        "1.00 MiB",
    ] {
        assert!(text.contains(shown), "{shown} is not in the page");
    }
}

#[test]
fn links_open_the_transcripts_they_name() {
    let report = Report::of(stores::hostile, &[]);
    let mut browser = Browser::start();
    browser.show(&report.path(), 390, "light");
    let links = browser.value("document.querySelectorAll('td a').length");
    assert_eq!(links, HOSTILE.len() as u64 + 1);
    for link in 0..links.as_u64().unwrap() {
        let opened = browser.value(&format!(
            "(async () => {{
                const link = document.querySelectorAll('td a')[{link}];
                link.click();
                await new Promise(done => setTimeout(done, 50));
                const target = document.querySelector(':target');
                const {{ top, height }} = target.getBoundingClientRect();
                const named = target.closest('details').querySelector('summary .id').textContent;
                return [target.closest('details').open, top >= 0 && top < innerHeight && height > 0,
                    named === link.textContent];
            }})()"
        ));
        assert_eq!(opened, serde_json::json!([true, true, true]), "link {link}");
    }
}

#[test]
fn large_report_is_small_and_says_what_is_left_out() {
    let report = Report::of(stores::large, &[]);
    let bytes = report.path().metadata().unwrap().len();
    assert!(bytes < MOST_BYTES, "{bytes} bytes");
    println!("{bytes} bytes");
    let mut browser = Browser::start();
    check_everywhere(&mut browser, &report.path());
    let text = text(&mut browser);
    for shown in [
        "1,000,000".to_owned(),
        format!("And {} more workers", "1,000"),
        "And 1,950 more transcripts".to_owned(),
    ] {
        assert!(text.contains(&shown), "{shown} is not in the page");
    }
    assert_eq!((LARGE_EVENTS, LARGE_WORKERS), (1_000_000, 2_000));
}
