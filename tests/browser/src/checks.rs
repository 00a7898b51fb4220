//! Checks of a page that is shown: expressions that return a list of faults.

use crate::devtools::Browser;
use serde_json::Value;

/// Elements that reach over the sides of the page. The bar of sections scrolls by itself, and the labels of bars and lanes are
/// cut.
const OVERFLOW: &str = r"(() => {
    const page = document.documentElement;
    const faults = [];
    if (page.scrollWidth > page.clientWidth) faults.push(`the page is ${page.scrollWidth} wide, not ${page.clientWidth}`);
    for (const element of document.body.querySelectorAll('*')) {
        if (element.parentElement.closest('nav, .who')) continue;
        const { left, right, width } = element.getBoundingClientRect();
        if (width > 0 && (left < -1 || right > page.clientWidth + 1))
            faults.push(`${element.tagName}.${element.getAttribute('class')} from ${left} to ${right}`);
    }
    return faults;
})()";

/// Texts that reach over the sides of their bubble or cell.
const CLIPPED: &str = r"[...document.querySelectorAll('p, td, dd, h1, h3, li')]
    .filter(element => element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1)
    .map(element => `${element.tagName}: ${element.textContent.slice(0, 80)}`)";

/// Texts of neighbouring cells that touch.
const CROWDED: &str = r"[...document.querySelectorAll('td + td')].filter(cell => {
    const text = node => {
        const range = document.createRange();
        range.selectNodeContents(node);
        return range.getBoundingClientRect();
    };
    const [before, after] = [text(cell.previousElementSibling), text(cell)];
    const beside = before.top + 2 < after.bottom && after.top + 2 < before.bottom;
    return beside && before.right + 4 > after.left;
}).map(cell => cell.parentElement.textContent)";

/// Links that lead out of the page, or to nothing in it.
const LINKS: &str = r"[...document.querySelectorAll('[href], [src], [action], [data]')]
    .filter(link => !(link.getAttribute('href') ?? '').match(/^#[a-z]+[0-9]*$/)
        || !document.getElementById(link.getAttribute('href').slice(1)))
    .map(link => link.outerHTML)";

/// Elements and attributes that would run a script or load something.
const ACTIVE: &str = r"[...document.querySelectorAll('*')].filter(element =>
        ['script', 'img', 'iframe', 'object', 'embed', 'link', 'base', 'form', 'image', 'use', 'foreignObject']
            .includes(element.localName)
        || element.getAttributeNames().some(name => name.startsWith('on') || name.startsWith('xmlns')))
    .map(element => element.outerHTML.slice(0, 200))";

/// Texts with a contrast below 4.5 to 1, which WCAG's level AA requires.
const CONTRAST: &str = r"(() => {
    const channels = color => color.match(/[\d.]+/g).map(Number);
    const linear = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const light = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    const ground = element => {
        for (; element; element = element.parentElement) {
            const color = channels(getComputedStyle(element).backgroundColor);
            if (color.length < 4 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const faults = new Set();
    for (const element of document.body.querySelectorAll('*')) {
        if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
        const [one, other] = [light(channels(getComputedStyle(element).color)), light(ground(element))];
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (ratio < 4.5) faults.add(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
    }
    return [...faults];
})()";

fn assert_none(browser: &mut Browser, what: &str, expression: &str) {
    let faults = browser.value(expression);
    let faults = faults.as_array().expect("a list");
    assert!(
        faults.is_empty(),
        "{what}: {} faults, {:#?}",
        faults.len(),
        &faults[..faults.len().min(5)]
    );
}

/// Asserts that nothing reaches over the sides of the page.
pub(crate) fn fits(browser: &mut Browser) {
    assert_none(browser, "overflow", OVERFLOW);
    assert_none(browser, "clipped", CLIPPED);
    assert_none(browser, "crowded", CROWDED);
}

/// Asserts that each link has its target, and that nothing on the page could act.
pub(crate) fn is_still(browser: &mut Browser) {
    assert_none(browser, "links", LINKS);
    assert_none(browser, "active elements", ACTIVE);
}

/// Asserts that every text can be read.
pub(crate) fn is_readable(browser: &mut Browser) {
    assert_none(browser, "contrast", CONTRAST);
}

/// Asserts that of these events none is a script, a request of the page, a dialog or a message of the console.
pub(crate) fn are_quiet(events: &[Value]) {
    let mut documents = 0;
    for event in events {
        let parameters = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" if parameters["type"] == "Document" => documents += 1,
            "Network.requestWillBeSent"
            | "Log.entryAdded"
            | "Page.javascriptDialogOpening"
            | "Runtime.consoleAPICalled"
            | "Runtime.exceptionThrown" => panic!("{event:#}"),
            // Those of this test have no address.
            "Debugger.scriptParsed" if parameters["url"] != "" => panic!("{event:#}"),
            _ => {}
        }
    }
    assert!(documents <= 1, "{documents} documents were requested");
}
