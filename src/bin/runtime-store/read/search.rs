//! `search`: prints the entries and events whose text matches.

use crate::arguments::help;
use crate::arguments::rows::{PatternArguments, event_kind, role};
use crate::arguments::select::{RuntimeArgument, StoreArgument, parse_worker_id};
use crate::output::colour;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::visible;
use crate::read::events::{kind_name, known_worker};
use crate::read::times::{TimeArguments, Times, rfc3339};
use clap::Args;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptEntry, TranscriptRole};
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::search::{SearchMatch, SearchRow};
use redb_runtime_store::store::Snapshot;
use redb_runtime_store::{Store, search};
use serde::{Serialize, Serializer};
use std::collections::VecDeque;
use std::iter::{self, Peekable};
use std::ops::Range;

/// The most matches that are printed of one snapshot.
const MATCHES_AT_A_TIME: usize = 4096;

/// The longest line that is printed whole, in bytes.
const LINE_BYTES: usize = 400;

/// The part of a longer line before its first match, in bytes.
const BYTES_BEFORE: usize = 100;

/// Search the transcripts and the event messages of a runtime
#[derive(Args)]
#[command(after_help = help::SEARCH)]
pub(crate) struct Search {
    #[command(flatten)]
    store: StoreArgument,
    /// The text to search for
    #[arg(value_name = "PATTERN")]
    pattern: String,
    #[command(flatten)]
    runtime: RuntimeArgument,
    /// Search only the transcript of this worker, and events about it: its id, the beginning of its id, or its number;
    /// repeatable
    #[arg(long, value_name = "ID", value_parser = parse_worker_id)]
    worker: Vec<WorkerId>,
    /// Search only entries with this role; repeatable
    #[arg(long, value_parser = role())]
    role: Vec<TranscriptRole>,
    /// Search only events of this kind; repeatable
    #[arg(long, value_parser = event_kind())]
    kind: Vec<RuntimeEventKind>,
    #[command(flatten)]
    matching: PatternArguments,
    /// Print the matches in the opposite order
    #[arg(long)]
    newest_first: bool,
    /// Print at most this many entries and events
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    times: TimeArguments,
    /// Also print this many lines of the text before and after each line with a match
    #[arg(long, short = 'C', value_name = "N", default_value_t = 0)]
    context: usize,
    /// Print only the number of entries and events that match
    #[arg(long)]
    count: bool,
}

impl Search {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime_id) = self.runtime.open(&self.store, output)?;
        let mut workers = Vec::new();
        for worker in &self.worker {
            workers.push(known_worker(&store, &runtime_id, worker)?);
        }
        let times = self.times.read()?;
        let mut search = self.search(&runtime_id, workers, &times);
        let (limit, mut printed) = (self.limit.unwrap_or(usize::MAX), 0);
        if self.count {
            return print_count(&store.snapshot()?, &search, output, limit);
        }
        let shape = Shape {
            times,
            context: self.context,
        };
        loop {
            let rows = MATCHES_AT_A_TIME.min(limit - printed);
            let part = print_part((&store, &search), output, &shape, rows, &mut printed);
            // Before an error: the matches that were found before it.
            output.finish()?;
            match part? {
                Some(last) if printed < limit => search = search.after(&last),
                _ => break,
            }
        }
        Ok(match printed {
            0 => Status::Failed,
            _ => Status::Done,
        })
    }

    fn search(
        &self,
        runtime_id: &RuntimeId,
        workers: Vec<WorkerRef>,
        times: &Times,
    ) -> search::Search {
        let mut search = self.matching.search(&self.pattern);
        search = search
            .runtime(runtime_id.clone())
            .newest_first(self.newest_first);
        for worker in workers {
            search = search.worker(worker);
        }
        for role in &self.role {
            search = search.role(*role);
        }
        for kind in &self.kind {
            search = search.kind(*kind);
        }
        if let Some(since) = times.since {
            search = search.since(since);
        }
        if let Some(until) = times.until {
            search = search.until(until);
        }
        search
    }
}

/// How matches are printed.
struct Shape {
    times: Times,
    /// The number of lines before and after each line with a match.
    context: usize,
}

/// The matches in a snapshot.
fn matches<'s>(
    snapshot: &'s Snapshot,
    search: &search::Search,
) -> Result<search::SearchMatches<'s>, Failure> {
    snapshot.search(search).map_err(Failure::of_pattern)
}

/// Prints the number of matches, at most `limit`.
fn print_count(
    snapshot: &Snapshot,
    search: &search::Search,
    output: &mut Output,
    limit: usize,
) -> Result<Status, Failure> {
    let mut count = 0_u64;
    for found in matches(snapshot, search)?.take(limit) {
        found?;
        count += 1;
    }
    match output.json {
        true => output.object(&Count { count })?,
        false => output.line(count.to_string())?,
    }
    Ok(match count {
        0 => Status::Failed,
        _ => Status::Done,
    })
}

/// The number of matches as a line of JSON.
#[derive(Serialize)]
struct Count {
    count: u64,
}

/// Prints at most `rows` matches, and returns the last one if more can follow. The snapshot ends before any of
/// them is written, as for events and transcripts: a slow reader of standard output must not hold it.
fn print_part(
    (store, search): (&Store, &search::Search),
    output: &mut Output,
    shape: &Shape,
    rows: usize,
    printed: &mut usize,
) -> Result<Option<SearchRow>, Failure> {
    output.hold();
    let snapshot = store.snapshot()?;
    let mut last = None;
    for found in matches(&snapshot, search)?.take(rows) {
        let found = found?;
        *printed += 1;
        match output.json {
            true => output.object(&Json::of(&found, &shape.times))?,
            false => {
                print_place(output, &found.row, &shape.times)?;
                print_lines(output, &found, shape.context)?;
            }
        }
        last = Some(found.row);
        if output.holds_enough() {
            break;
        }
    }
    Ok(last)
}

/// A match as a line of JSON. The ranges are written one by one, since a text can have any number of them.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a RuntimeEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<&'a TranscriptEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_at: Option<String>,
    #[serde(serialize_with = "ranges")]
    matches: &'a SearchMatch,
}

impl<'a> Json<'a> {
    fn of(found: &'a SearchMatch, times: &Times) -> Self {
        let (event, position, entry) = match &found.row {
            SearchRow::Event { event, .. } => (Some(event), None, None),
            SearchRow::Entry {
                position, entry, ..
            } => (None, Some(*position), Some(entry)),
            _ => (None, None, None),
        };
        let recorded_at = found.row.recorded_at().filter(|_| times.are_shown);
        Self {
            event,
            position,
            entry,
            recorded_at: recorded_at.and_then(rfc3339),
            matches: found,
        }
    }
}

fn ranges<S: Serializer>(found: &&SearchMatch, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(found.ranges().map(|range| [range.start, range.end]))
}

/// Prints the place of a match, and its time if it has one.
fn print_place(output: &mut Output, row: &SearchRow, times: &Times) -> Result<(), Failure> {
    let mut place = match row {
        SearchRow::Event { event, .. } => {
            let kind = kind_name(event.kind);
            let worker = event.worker_ref.as_ref().map(|worker| &worker.worker_id);
            match worker {
                Some(worker) => format!("event {}, {kind}, {worker}", event.id),
                None => format!("event {}, {kind}", event.id),
            }
        }
        SearchRow::Entry {
            position, entry, ..
        } => {
            let role = match entry.role {
                TranscriptRole::User => "user",
                TranscriptRole::Assistant => "assistant",
                TranscriptRole::System => "system",
            };
            let worker = &entry.worker_ref.worker_id;
            format!("{worker}, position {position}, {role}")
        }
        _ => String::new(),
    };
    if times.are_shown && row.recorded_at().is_some() {
        place = format!("{place}, {}", times.date_and_time(row.recorded_at()));
    }
    let heading = output.painted(colour::HEADING, &visible(place));
    output.line_after(&heading, "")
}

/// Prints each line of a text that has a match, and `context` lines before and after each of these.
fn print_lines(output: &mut Output, found: &SearchMatch, context: usize) -> Result<(), Failure> {
    let text = found.text();
    let mut ranges = found.ranges().peekable();
    // The last lines that were not printed.
    let mut before = VecDeque::new();
    // How many lines are printed yet, and whether lines were left out since the last printed one.
    let (mut after, mut is_cut) = (None, false);
    let mut start = 0;
    for line in text.split('\n') {
        let line = start..start + line.len();
        start = line.end + "\n".len();
        let first = ranges.peek().map(|first| first.start);
        match first.filter(|first| *first <= line.end) {
            Some(first) => {
                if std::mem::take(&mut is_cut) && after.is_some() && context > 0 {
                    output.line("  --")?;
                }
                for line in before.drain(..) {
                    print_line(output, text, line, None, &mut iter::empty().peekable())?;
                }
                print_line(output, text, line, Some(first), &mut ranges)?;
                after = Some(context);
            }
            None if after.is_some_and(|after| after > 0) => {
                print_line(output, text, line, None, &mut iter::empty().peekable())?;
                after = after.map(|after| after - 1);
            }
            None if first.is_none() => break,
            None => {
                before.push_back(line);
                if before.len() > context {
                    before.pop_front();
                    is_cut = true;
                }
            }
        }
    }
    Ok(())
}

/// Prints a line of a text, cut around the match that begins at `first`. Takes the ranges that end in the line.
fn print_line(
    output: &mut Output,
    text: &str,
    line: Range<usize>,
    first: Option<usize>,
    ranges: &mut Peekable<impl Iterator<Item = Range<usize>>>,
) -> Result<(), Failure> {
    let end = line.end;
    let first = first.map_or(line.start, |first| first.max(line.start));
    let shown = marked(output, text, end, window(text, line, first), ranges);
    output.line_after(&shown, "")
}

/// The part of a line that is printed: all of it, or the part around the first match.
fn window(text: &str, line: Range<usize>, first: usize) -> Range<usize> {
    if line.len() <= LINE_BYTES {
        return line;
    }
    let boundary = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(first.saturating_sub(BYTES_BEFORE)).max(line.start);
    start..boundary((start + LINE_BYTES).min(line.end))
}

/// The `window` of a line that ends at `end`, with the matches in colour. Takes the ranges that end in the line.
fn marked(
    output: &Output,
    text: &str,
    end: usize,
    window: Range<usize>,
    ranges: &mut Peekable<impl Iterator<Item = Range<usize>>>,
) -> String {
    let shown = |range: Range<usize>| visible(text[range].replace('\t', "    "));
    let is_line_start = window.start == 0 || text.as_bytes()[window.start - 1] == b'\n';
    let mut line = String::from(if is_line_start { "  " } else { "  …" });
    let mut at = window.start;
    while let Some(range) = ranges.peek().filter(|range| range.start <= end) {
        let from = range.start.clamp(at, window.end);
        let to = range.end.clamp(from, window.end);
        line.push_str(&shown(at..from));
        if from < to {
            line.push_str(&output.painted(colour::MATCH, &shown(from..to)));
        }
        at = to;
        // The rest of the match is in the next line.
        if range.end > end + "\n".len() {
            break;
        }
        ranges.next();
    }
    line.push_str(&shown(at..window.end));
    if window.end < end {
        line.push('…');
    }
    line
}
