//! `search`: prints the entries and events whose text matches.

use crate::arguments::help;
use crate::arguments::select::{RuntimeArgument, StoreArgument, parse_worker_id};
use crate::output::colour;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::visible;
use crate::read::events::{kind_name, refuse_unknown_worker};
use clap::{Args, ValueEnum};
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptEntry, TranscriptRole};
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::search::{SearchMatch, SearchRow};
use redb_runtime_store::{RuntimeError, Store, search};
use serde::{Serialize, Serializer};
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
    /// Search only the transcript of this worker, and events about it; repeatable
    #[arg(long, value_name = "ID", value_parser = parse_worker_id)]
    worker: Vec<WorkerId>,
    /// Search only entries with this role; repeatable
    #[arg(long)]
    role: Vec<Role>,
    /// Search only events of this kind; repeatable
    #[arg(long)]
    kind: Vec<Kind>,
    /// Treat upper and lower case as equal
    #[arg(long, short)]
    ignore_case: bool,
    /// Search for the matches of PATTERN as a regular expression
    #[arg(long)]
    regex: bool,
    /// Print the matches in the opposite order
    #[arg(long)]
    newest_first: bool,
    /// Print at most this many entries and events
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// A role, with the name that it has in JSON.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Role {
    User,
    Assistant,
    System,
}

/// A kind of event, with the name that it has in JSON.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kind {
    RuntimeStarted,
    RuntimeStopped,
    WorkerCreated,
    WorkerInputAccepted,
    WorkerStopped,
    WorkerCancelled,
}

impl From<Role> for TranscriptRole {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Assistant => Self::Assistant,
            Role::System => Self::System,
        }
    }
}

impl From<Kind> for RuntimeEventKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::RuntimeStarted => Self::RuntimeStarted,
            Kind::RuntimeStopped => Self::RuntimeStopped,
            Kind::WorkerCreated => Self::WorkerCreated,
            Kind::WorkerInputAccepted => Self::WorkerInputAccepted,
            Kind::WorkerStopped => Self::WorkerStopped,
            Kind::WorkerCancelled => Self::WorkerCancelled,
        }
    }
}

impl Search {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime_id) = self.runtime.open(&self.store, output)?;
        for worker in &self.worker {
            refuse_unknown_worker(&store, &runtime_id, worker)?;
        }
        let mut search = self.search(&runtime_id);
        let (limit, mut printed) = (self.limit.unwrap_or(usize::MAX), 0);
        loop {
            let rows = MATCHES_AT_A_TIME.min(limit - printed);
            let part = print_part(&store, &search, output, rows, &mut printed);
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

    fn search(&self, runtime_id: &RuntimeId) -> search::Search {
        let mut search = match self.regex {
            true => search::Search::regex(&self.pattern),
            false => search::Search::literal(&self.pattern),
        };
        search = search
            .runtime(runtime_id.clone())
            .ignore_case(self.ignore_case)
            .newest_first(self.newest_first);
        for worker in &self.worker {
            search = search.worker(WorkerRef::new(runtime_id.clone(), worker.clone()));
        }
        for role in &self.role {
            search = search.role((*role).into());
        }
        for kind in &self.kind {
            search = search.kind((*kind).into());
        }
        search
    }
}

/// Prints at most `rows` matches, and returns the last one if more can follow. The snapshot ends before any of
/// them is written, as for events and transcripts: a slow reader of standard output must not hold it.
fn print_part(
    store: &Store,
    search: &search::Search,
    output: &mut Output,
    rows: usize,
    printed: &mut usize,
) -> Result<Option<SearchRow>, Failure> {
    output.hold();
    let snapshot = store.snapshot()?;
    let matches = snapshot.search(search).map_err(|error| match error {
        // The pattern is an argument.
        RuntimeError::InvalidRequest(why) => Failure::WrongUse(why),
        error => Failure::Store(error),
    })?;
    let mut last = None;
    for found in matches.take(rows) {
        let found = found?;
        *printed += 1;
        match output.json {
            true => output.object(&Json::of(&found))?,
            false => print(output, &found)?,
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
    #[serde(serialize_with = "ranges")]
    matches: &'a SearchMatch,
}

impl<'a> Json<'a> {
    fn of(found: &'a SearchMatch) -> Self {
        let (event, position, entry) = match &found.row {
            SearchRow::Event { event, .. } => (Some(event), None, None),
            SearchRow::Entry {
                position, entry, ..
            } => (None, Some(*position), Some(entry)),
            _ => (None, None, None),
        };
        Self {
            event,
            position,
            entry,
            matches: found,
        }
    }
}

fn ranges<S: Serializer>(found: &&SearchMatch, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(found.ranges().map(|range| [range.start, range.end]))
}

/// Prints the place of a match, and below it each line of its text that has a match.
fn print(output: &mut Output, found: &SearchMatch) -> Result<(), Failure> {
    let place = match &found.row {
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
    let heading = output.painted(colour::HEADING, &visible(place));
    output.line_after(&heading, "")?;
    let text = found.text();
    let mut ranges = found.ranges().peekable();
    let mut start = 0;
    for line in text.split('\n') {
        let end = start + line.len();
        match ranges.peek() {
            None => break,
            Some(first) if first.start <= end => {
                let window = window(text, start..end, first.start.max(start));
                let shown = marked(output, text, end, window, &mut ranges);
                output.line_after(&shown, "")?;
            }
            Some(_) => {}
        }
        start = end + "\n".len();
    }
    Ok(())
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
    ranges: &mut std::iter::Peekable<impl Iterator<Item = Range<usize>>>,
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
