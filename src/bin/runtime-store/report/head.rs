//! The head of a report: the file, when it was read, whether it was checked, sizes and counts.

use crate::maintain::verify::verdict;
use crate::output::failure::Failure;
use crate::output::text::bytes_for_people;
use crate::read::times::Times;
use crate::report::chronology::time_of;
use crate::report::page::{Page, number};
use crate::report::source::Source;
use crate::report::text::Line;
use crate::report::walk::{Survey, Totals};
use maud::{Markup, html};

pub(crate) fn write(page: &mut Page, source: &Source, survey: &Survey) -> Result<(), Failure> {
    let times = page.times;
    let read_at = times.date_and_time(Some(source.read_at));
    let zone = times.zone_name(source.read_at);
    page.put(html! {
        header .head {
            p .kicker { "Runtime store report" }
            h1 { bdi { (Line(&source.name)) } }
            p .meta {
                "Read from " bdi .path { (Line(&source.path.to_string_lossy())) } " on "
                span .time { (read_at) } ". Times are in the time zone " b { (zone) } "."
            }
            (check(times, source))
            (facts(times, source, &survey.totals))
        }
        nav aria-label="Sections" {
            a href="#findings" { "Findings" }
            a href="#timeline" { "Timeline" }
            a href="#growth" { "Growth" }
            a href="#workers" { "Workers" }
            a href="#transcripts" { "Transcripts" }
        }
    })
}

/// Whether the store was checked for damage, and with which result.
fn check(times: &Times, source: &Source) -> Markup {
    let Some(checked) = &source.checked else {
        return html! {
            p .check .unknown { "Not checked for damage. The option --verify checks the store first." }
        };
    };
    let at = times.date_and_time(Some(checked.checked_at));
    let verdict = verdict(&checked.report, false);
    match checked.report.is_clean() {
        true => html! { p .check .good { "Checked: " (verdict) ". " span .time { (at) } } },
        false => html! { p .check .bad { "Checked: " (verdict) ". " span .time { (at) } } },
    }
}

fn facts(times: &Times, source: &Source, totals: &Totals) -> Markup {
    let stopped = totals.workers - totals.running - totals.cancelled;
    let status = format!(
        "{} running, {} stopped, {} cancelled",
        number(totals.running),
        number(stopped),
        number(totals.cancelled)
    );
    let period = totals.times.0.map(|(first, last)| {
        let shown = |at| times.date_and_time(time_of(at));
        (shown(first), shown(last))
    });
    html! {
        dl .facts {
            @if let Some(bytes) = source.bytes {
                (fact("File", &bytes_for_people(bytes), ""))
            }
            (fact("Runtimes", &number(totals.runtimes), ""))
            (fact("Workers", &number(totals.workers), &status))
            (fact("Events", &number(totals.events), ""))
            (fact("Entries", &number(totals.entries), &format!("{} of text", bytes_for_people(totals.text_bytes))))
            @if let Some((first, last)) = &period {
                div {
                    dt { "Rows from" }
                    dd .date { (first) }
                    dd .more { "to " (last) }
                }
            }
        }
    }
}

fn fact(name: &str, value: &str, more: &str) -> Markup {
    html! {
        div {
            dt { (name) }
            dd { (value) }
            @if !more.is_empty() {
                dd .more { (more) }
            }
        }
    }
}
