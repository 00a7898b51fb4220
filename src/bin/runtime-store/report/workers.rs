//! The table of workers.

use crate::output::failure::Failure;
use crate::output::text::{bytes_for_people, count};
use crate::read::times::Times;
use crate::report::page::{Page, number};
use crate::report::text::Line;
use crate::report::walk::{RuntimeFacts, Survey, WorkerFacts};
use maud::{Markup, html};

pub(crate) fn write(page: &mut Page, survey: &Survey) -> Result<(), Failure> {
    page.tag("<section id=workers><h2>Workers</h2>")?;
    if survey.totals.workers == 0 {
        page.put(html! { p .none { "The store has no workers." } })?;
    }
    let has_several = survey.runtimes.len() > 1;
    for runtime in &survey.runtimes {
        table(page, runtime, has_several)?;
    }
    page.tag("</section>")
}

fn table(page: &mut Page, runtime: &RuntimeFacts, has_several: bool) -> Result<(), Failure> {
    let listed = || runtime.workers.iter().filter(|worker| worker.parts.table);
    let shown = listed().count() as u64;
    if shown > 0 {
        if has_several {
            page.put(html! { h3 .runtime { bdi .id { (Line(runtime.id.as_str())) } } })?;
        }
        page.tag(
            "<table><thead><tr><th>Worker<th>Status<th class=n>Entries<th class=n>Text<th>First entry<th>Last entry\
             </tr></thead><tbody>",
        )?;
        for worker in listed() {
            page.put(row(page.times, worker))?;
        }
        page.tag("</tbody></table>")?;
    }
    let more = runtime.all_workers - shown;
    if more > 0 && (shown > 0 || !has_several) {
        page.put(html! { p .more { "And " (count(more, "more worker", "more workers")) "." } })?;
    }
    Ok(())
}

fn row(times: &Times, worker: &WorkerFacts) -> Markup {
    let id = html! { bdi .id { (Line(worker.worker_ref.worker_id.as_str())) } };
    let removed = match worker.removed {
        0 => None,
        removed => Some(format!("{} removed", number(removed))),
    };
    html! {
        tr id={ "w" (worker.number) } {
            td .worker {
                @if worker.parts.transcript { a href={ "#t" (worker.number) } { (id) } } @else { (id) }
                @if worker.is_pinned { " " span .tag .pinned { "pinned" } }
                bdi .intent { (Line(&worker.intent)) }
            }
            td data-label="Status" { span .tag .(worker.status.as_str()) { (worker.status.as_str()) } }
            td .n data-label="Entries" {
                (number(worker.entries))
                @if let Some(removed) = removed { span .more { (removed) } }
            }
            td .n data-label="Text" { (bytes_for_people(worker.bytes)) }
            td .time data-label="First entry" { (times.date_and_time(worker.first)) }
            td .time data-label="Last entry" { (times.date_and_time(worker.last)) }
        }
    }
}
