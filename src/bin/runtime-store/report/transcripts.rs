//! The transcripts as conversations.

use crate::output::failure::Failure;
use crate::output::text::{bytes_for_people, count};
use crate::report::page::{Page, number};
use crate::report::tail::{Entry, Tail};
use crate::report::text::{Line, Prose};
use crate::report::walk::{Survey, WorkerFacts};
use maud::{Markup, PreEscaped, html};
use redb_runtime_store::interaction::TranscriptRole;
use redb_runtime_store::store::Snapshot;

/// The most transcripts that are open when the page is shown. A link to a closed one opens it.
const MOST_OPEN: usize = 8;

pub(crate) fn write(page: &mut Page, survey: &Survey, snapshot: &Snapshot) -> Result<(), Failure> {
    page.tag("<section id=transcripts><h2>Transcripts</h2>")?;
    let workers = survey.runtimes.iter().flat_map(|runtime| &runtime.workers);
    let shown: Vec<_> = workers.filter(|worker| worker.parts.transcript).collect();
    let (is_open, has_several) = (shown.len() <= MOST_OPEN, survey.runtimes.len() > 1);
    for worker in &shown {
        one(page, worker, (is_open, has_several), snapshot)?;
    }
    let more = survey.totals.workers - shown.len() as u64;
    match (shown.is_empty(), more) {
        (_, 0) if !shown.is_empty() => {}
        (_, 0) => page.put(html! { p .none { "The store has no workers." } })?,
        _ => page.put(html! {
            p .more {
                "And " (count(more, "more transcript", "more transcripts"))
                ", which --worker or --all shows."
            }
        })?,
    }
    page.tag("</section>")
}

fn one(
    page: &mut Page,
    worker: &WorkerFacts,
    (is_open, has_several): (bool, bool),
    snapshot: &Snapshot,
) -> Result<(), Failure> {
    page.tag(match is_open {
        true => "<details class=chat open>",
        false => "<details class=chat>",
    })?;
    let shown = worker
        .tail
        .as_ref()
        .map_or(worker.entries, |tail| tail.entries().len() as u64);
    page.put(head(worker, shown, has_several))?;
    let mut day = None;
    match &worker.tail {
        Some(tail) => {
            for each in Tail::entries(tail) {
                entry(page, each, &mut day)?;
            }
        }
        None => snapshot.each_entry(&worker.worker_ref, |each| -> Result<(), Failure> {
            entry(page, &Entry::of(&each, usize::MAX), &mut day)
        })?,
    }
    page.tag("</div></details>")
}

/// The head of a transcript, with its anchor inside: a browser opens the transcript to show it.
fn head(worker: &WorkerFacts, shown: u64, has_several: bool) -> Markup {
    let all = count(worker.entries, "entry", "entries");
    html! {
        summary {
            bdi .id { (Line(worker.worker_ref.worker_id.as_str())) } " "
            @if has_several { bdi .name { (Line(worker.worker_ref.runtime_id.as_str())) } " " }
            span .tag .(worker.status.as_str()) { (worker.status.as_str()) } " "
            span .meta {
                @if shown < worker.entries { "the last " (number(shown)) " of " }
                (all)
            }
        }
        (PreEscaped("<div class=entries "))
        (PreEscaped(format!("id=t{}>", worker.number)))
        p .meta {
            bdi { (Line(&worker.intent)) } ". "
            @if worker.parts.table { a href={ "#w" (worker.number) } { "In the table" } }
        }
        @if worker.entries == 0 {
            p .none { "No entries." }
        }
        @if worker.removed > 0 {
            p .none { (count(worker.removed, "entry was", "entries were")) " removed before these." }
        }
    }
}

/// Writes an entry, after its day where that is another one.
fn entry(page: &mut Page, entry: &Entry, day: &mut Option<String>) -> Result<(), Failure> {
    let (times, at) = (page.times, entry.recorded_at);
    let new = times.day(at);
    if new.is_some() && *day != new {
        let shown = new.as_deref().unwrap_or_default();
        page.put(html! { p .day { (shown) } })?;
        *day = new;
    }
    let (class, role) = match entry.role {
        TranscriptRole::User => ("u", "user"),
        TranscriptRole::Assistant => ("a", "assistant"),
        TranscriptRole::System => ("s", "system"),
    };
    page.put(html! {
        div .m .(class) {
            b { (role) } " " span { "#" (entry.sequence) @if at.is_some() { " " (times.time_of_day(at)) } }
            p { (Prose(&entry.text)) }
            @if entry.cut > 0 {
                p .more { "…and " (bytes_for_people(entry.cut as u64)) " more, which --all shows." }
            }
        }
    })
}
