//! The timeline of each runtime: a lane for each worker.

use crate::output::failure::Failure;
use crate::output::text::count;
use crate::read::times::Times;
use crate::report::chronology::{Axis, COLUMNS, time_of};
use crate::report::page::{Page, number};
use crate::report::text::Line;
use crate::report::walk::{RuntimeFacts, Survey, WorkerFacts};
use maud::{Markup, html};
use redb_runtime_store::catalog::WorkerStatus;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The height of the mark of one input or reply, and the most that is added for many in one column.
const MARK_HEIGHT: u32 = 5;
const MOST_ADDED: u32 = 5;

pub(crate) fn write(page: &mut Page, survey: &mut Survey) -> Result<(), Failure> {
    page.tag("<section id=timeline><h2>Timeline</h2>")?;
    if survey.runtimes.is_empty() {
        page.put(html! { p .none { "The store has no runtimes." } })?;
    } else {
        page.put(legend())?;
    }
    for runtime in &mut survey.runtimes {
        one(page, runtime)?;
    }
    let more = survey.totals.runtimes - survey.runtimes.len() as u64;
    if more > 0 {
        page.put(html! { p .more { "And " (count(more, "more runtime", "more runtimes")) "." } })?;
    }
    page.tag("</section>")
}

fn legend() -> Markup {
    html! {
        p .legend {
            span .key { "inputs" } " "
            span .key .replies { "replies" } " "
            span .key .span { "from creation to end" }
        }
    }
}

fn one(page: &mut Page, runtime: &mut RuntimeFacts) -> Result<(), Failure> {
    page.put(html! {
        h3 .runtime {
            bdi .id { (Line(runtime.id.as_str())) }
            @if let Some(name) = &runtime.name { " " bdi .name { (Line(name)) } }
            " " span .tag .(runtime.status.as_str()) { (runtime.status.as_str()) }
        }
        p .meta {
            (count(runtime.all_workers, "worker", "workers")) ", "
            (count(runtime.events, "event", "events")) ", "
            (count(runtime.entries, "entry", "entries"))
            @if runtime.deleted > 0 {
                "; " (count(runtime.deleted, "worker was", "workers were")) " deleted"
            }
        }
    })?;
    let axis = runtime.axis;
    if axis.is_empty() {
        return page.put(html! { p .none { "No events." } });
    }
    let mut lanes: Vec<&mut WorkerFacts> = runtime
        .workers
        .iter_mut()
        .filter(|worker| worker.parts.timeline)
        .collect();
    // In the order in which they began; those whose creation is not in the log came before.
    lanes.sort_by_key(|worker| worker.lane.created.map(|created| axis.column(created)));
    let shown = lanes.len() as u64;
    if shown == 0 {
        return page.put(html! { p .none { "No workers." } });
    }
    page.tag("<div class=lanes>")?;
    page.put(ticks(page.times, &axis))?;
    for worker in lanes {
        page.put(lane(&axis, worker))?;
    }
    page.tag("</div>")?;
    let more = runtime.all_workers - shown;
    if more > 0 {
        page.put(html! {
            p .more { "And " (count(more, "more worker", "more workers")) " with earlier last events." }
        })?;
    }
    Ok(())
}

/// The labels of the axis: the ids of events without a time, then times.
fn ticks(times: &Times, axis: &Axis) -> Markup {
    let split = axis.split();
    let undated = axis.undated.0.filter(|_| split > 0.0);
    let dated = axis.dated.0.filter(|_| split < 1.0);
    let (first, rest) = (
        format!("{:.1}", split * 100.0),
        format!("{:.1}", 100.0 - split * 100.0),
    );
    html! {
        div .axis {
            span .who {}
            div .ticks {
                @if let Some((least, greatest)) = undated {
                    div .part style={ "flex-basis:" (first) "%" } {
                        span { "event " (number(least)) }
                        @if least < greatest { span { (number(greatest)) } }
                    }
                }
                @if let Some((least, greatest)) = dated {
                    div .part style={ "flex-basis:" (rest) "%" } {
                        @for label in labels(times, least, greatest) { span { (label) } }
                    }
                }
            }
        }
    }
}

/// The number of intervals between the labels of a time axis.
const INTERVALS: u64 = 4;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// Labels at equal distances, as exact as the axis is long. Those of a short axis have the day at the ends.
pub(crate) fn labels(times: &Times, least: u64, greatest: u64) -> Vec<String> {
    if least == greatest {
        return vec![times.date_and_time(time_of(least))];
    }
    let length = greatest - least;
    let format = match length {
        ..INTERVALS => return vec![times.date_and_time(time_of(least))],
        INTERVALS..MINUTE_MS => "%H:%M:%S",
        MINUTE_MS..DAY_MS => "%H:%M",
        DAY_MS.. => "%Y-%m-%d",
    };
    let at = |part: u64| {
        time_of(least + (u128::from(length) * u128::from(part) / u128::from(INTERVALS)) as u64)
    };
    let label = |part| match part == 0 && length < DAY_MS {
        true => times.formatted(at(part), &format!("%Y-%m-%d {format}")),
        false => times.formatted(at(part), format),
    };
    (0..=INTERVALS).map(label).collect()
}

fn lane(axis: &Axis, worker: &mut WorkerFacts) -> Markup {
    let id = worker.worker_ref.worker_id.clone();
    let (inputs, replies) = (&mut worker.lane.inputs, &mut worker.lane.replies);
    let (inputs, replies) = (axis.columns(inputs), axis.columns(replies));
    let begin = worker.lane.created.map(|created| axis.column(created));
    let end = worker.lane.ended.map(|ended| axis.column(ended));
    let last = [&inputs, &replies].map(|marks| marks.keys().next_back().copied());
    // A worker that has ended without an event of it lasts as long as its marks.
    let until = match worker.status {
        WorkerStatus::Running => Some(COLUMNS),
        _ => end,
    };
    let until = until
        .or(last.into_iter().max().flatten())
        .or(begin)
        .unwrap_or(COLUMNS);
    let label = summary(worker, &inputs, &replies);
    let figure = html! {
        span .who title=(label) { bdi .id { (Line(id.as_str())) } }
        svg .plot viewBox={ "-6 -12 " (COLUMNS + 12) " 24" } preserveAspectRatio="none" role="img" aria-label=(label) {
            path .life d={ "M" (begin.unwrap_or(0)) " 0H" (until) } {}
            @if !inputs.is_empty() { path .in d=(marks(&inputs, '-')) {} }
            @if !replies.is_empty() { path .out d=(marks(&replies, ' ')) {} }
            @if let Some(begin) = begin { path .begin d={ "M" (begin) " 0h0" } {} }
            @if let Some(end) = end { path .end d={ "M" (end) "-5v10" } {} }
        }
    };
    let class = worker.status.as_str();
    match (worker.parts.transcript, worker.parts.table) {
        (true, _) => html! { a .lane .(class) href={ "#t" (worker.number) } { (figure) } },
        (false, true) => html! { a .lane .(class) href={ "#w" (worker.number) } { (figure) } },
        (false, false) => html! { div .lane .(class) { (figure) } },
    }
}

/// A lane in words.
fn summary(
    worker: &WorkerFacts,
    inputs: &BTreeMap<u32, u64>,
    replies: &BTreeMap<u32, u64>,
) -> String {
    let sum = |marks: &BTreeMap<u32, u64>| marks.values().sum();
    format!(
        "{}, {}, {}",
        worker.status,
        count(sum(inputs), "input", "inputs"),
        count(sum(replies), "reply", "replies")
    )
}

/// The path of marks in one direction from the middle of a lane: a line for each column, longer where there are many.
fn marks(columns: &BTreeMap<u32, u64>, direction: char) -> String {
    let mut path = String::new();
    for (column, count) in columns {
        let height = MARK_HEIGHT + count.ilog2().min(MOST_ADDED);
        // Writing to a String cannot fail.
        let _ = write!(
            path,
            "M{column} 0v{}",
            format!("{direction}{height}").trim()
        );
    }
    path
}
