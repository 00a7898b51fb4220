//! `events`: prints the event log of a runtime.

use crate::arguments::help;
use crate::arguments::rows::{EndArguments, TextArguments, event_kind};
use crate::arguments::select::{RuntimeArgument, StoreArgument, parse_worker_id, worker_of};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::table::{Column, Table};
use crate::read::backwards::{Backwards, show_end};
use crate::read::follow::{Log, Next, refuse_replaced};
use crate::read::times::{TimeArguments, Times, rfc3339};
use clap::Args;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::observation::{RecordedEvent, RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::store::{Snapshot, Stored};
use redb_runtime_store::{RuntimeError, Store};
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::time::SystemTime;

/// The id of the first event of a runtime.
const FIRST_EVENT_ID: u64 = 1;

/// Print the event log of a runtime
#[derive(Args)]
#[command(after_help = help::EVENTS)]
pub(crate) struct Events {
    #[command(flatten)]
    store: StoreArgument,
    #[command(flatten)]
    runtime: RuntimeArgument,
    /// Start at this event id; by default at the first event that is left
    #[arg(long, value_name = "N", id = "from_start")]
    from: Option<u64>,
    /// Print at most this many events
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print only events about this worker: its id, the beginning of its id, or its number
    #[arg(long, value_name = "ID", value_parser = parse_worker_id)]
    worker: Option<WorkerId>,
    /// Print only events of this kind; repeatable
    #[arg(long, value_parser = event_kind())]
    kind: Vec<RuntimeEventKind>,
    #[command(flatten)]
    text: TextArguments,
    /// Print the text of each accepted input instead of the event's message; with --json as the member "content"
    #[arg(long)]
    content: bool,
    #[command(flatten)]
    end: EndArguments,
    #[command(flatten)]
    times: TimeArguments,
    /// Keep printing new events until interrupted
    #[arg(long)]
    follow: bool,
}

impl Events {
    /// Whether the verb goes on until it is interrupted.
    pub(crate) fn is_followed(&self) -> bool {
        self.follow
    }

    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime_id) = self.runtime.open(&self.store, output)?;
        let known = |worker| known_worker(&store, &runtime_id, worker);
        let worker = self.worker.as_ref().map(known).transpose()?;
        let times = self.times.read()?;
        let mut printer = Printer {
            events: self,
            worker,
            runtime_id,
            table: EventTable::new(times.are_shown),
            times,
            from: self.from,
            until: None,
            left: self.limit.unwrap_or(usize::MAX),
            last: None,
            path: store.path().to_owned(),
        };
        let how = (&self.end, self.follow, self.limit);
        show_end(store, &self.store, output, how, &mut printer)
    }
}

/// Finds the worker for a text, see [`worker_of`]. Fails if the runtime does not have it, unless an event names it: a
/// directory can have lost a worker that its events are about.
pub(crate) fn known_worker(
    store: &Store,
    runtime_id: &RuntimeId,
    worker: &WorkerId,
) -> Result<WorkerRef, Failure> {
    let snapshot = store.snapshot()?;
    let worker = worker_of(&snapshot, runtime_id, worker)?;
    if snapshot.worker(&worker)?.is_some() {
        return Ok(worker);
    }
    for event in snapshot.events(runtime_id, 0)? {
        if event?.value.worker_ref.as_ref() == Some(&worker) {
            return Ok(worker);
        }
    }
    Err(Failure::Store(RuntimeError::WorkerNotFound {
        runtime_id: worker.runtime_id,
        worker_id: worker.worker_id,
    }))
}

/// The kind of an event, for people.
pub(crate) fn kind_name(kind: RuntimeEventKind) -> &'static str {
    match kind {
        RuntimeEventKind::RuntimeStarted => "started",
        RuntimeEventKind::RuntimeStopped => "stopped",
        RuntimeEventKind::WorkerCreated => "created",
        RuntimeEventKind::WorkerInputAccepted => "input accepted",
        RuntimeEventKind::WorkerStopped => "worker stopped",
        RuntimeEventKind::WorkerCancelled => "cancelled",
        RuntimeEventKind::WorkerDeleted => "deleted",
        RuntimeEventKind::WorkerExecutionRestored => "restored",
        // A kind of a later release has its own name.
        other => other.as_str(),
    }
}

/// Prints an event log; each call continues after the last printed event.
struct Printer<'a> {
    events: &'a Events,
    /// The worker that events must be about, if the user named one.
    worker: Option<WorkerRef>,
    runtime_id: RuntimeId,
    table: EventTable,
    times: Times,
    /// The id of the next event to read; `None` before the first one, if the user gave none.
    from: Option<u64>,
    /// The id of the last event to print, if the log ends there.
    until: Option<u64>,
    /// How many events may still be printed.
    left: usize,
    /// The last event that was read, printed or not.
    last: Option<RuntimeEvent>,
    path: PathBuf,
}

impl Log for Printer<'_> {
    /// Reads at most `rows` events.
    fn print(
        &mut self,
        snapshot: &Snapshot,
        output: &mut Output,
        rows: usize,
    ) -> Result<Next, Failure> {
        // From here on an event that is pruned before it was printed is an error, see `check`.
        let from = match self.from {
            Some(from) => from,
            None => snapshot.first_event_id(&self.runtime_id)?,
        };
        self.from = Some(from);
        let events = snapshot.recorded_events(&self.runtime_id, from)?;
        let mut looked_at = 0;
        for event in events.take(rows) {
            if self.left == 0 || output.holds_enough() {
                break;
            }
            let (event, recorded_at) = dated(event?);
            if self.until.is_some_and(|until| event.value.id > until) {
                break;
            }
            looked_at += 1;
            self.from = Some(event.value.id.saturating_add(1));
            self.last = Some(event.value.clone());
            if let Some(row) = self.selected(snapshot, event, recorded_at)? {
                self.left -= 1;
                let row = self.complete(snapshot, row)?;
                self.one(output, &row)?;
            }
        }
        Ok(Next::after(looked_at, rows, self.left, output))
    }

    fn end_with(&mut self, snapshot: &Snapshot) {
        // Damage is reported after the rows before it.
        let last = snapshot.last_event_id(&self.runtime_id);
        self.until = last.ok().map(Option::unwrap_or_default);
    }

    fn check(&self, snapshot: &Snapshot) -> Result<(), Failure> {
        if !snapshot.has_runtime(&self.runtime_id)? {
            return Err(Failure::Store(RuntimeError::RuntimeNotFound {
                path: self.path.clone(),
                runtime_id: self.runtime_id.clone(),
            }));
        }
        let first = snapshot.first_event_id(&self.runtime_id)?;
        // Ids begin at 1: in a log that was never pruned, 0 is below no event.
        if let Some(requested) = self.from
            && first > requested.max(FIRST_EVENT_ID)
        {
            return Err(Failure::Store(RuntimeError::EventsPruned {
                requested,
                first,
            }));
        }
        let Some(last) = self.last.as_ref().filter(|last| last.id >= first) else {
            return Ok(());
        };
        let found = snapshot.events(&self.runtime_id, last.id)?.next();
        refuse_replaced(found, last, &self.path, format!("event {}", last.id))
    }
}

impl Backwards for Printer<'_> {
    type Row = Row;

    fn numbers(&self, snapshot: &Snapshot) -> Result<Range<u64>, Failure> {
        let last = snapshot
            .last_event_id(&self.runtime_id)?
            .unwrap_or_default();
        Ok(snapshot.first_event_id(&self.runtime_id)?..last.saturating_add(1))
    }

    fn each_selected(
        &self,
        snapshot: &Snapshot,
        numbers: Range<u64>,
        each: &mut dyn FnMut(u64, Self::Row) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        for event in snapshot.recorded_events(&self.runtime_id, numbers.start)? {
            let (event, recorded_at) = dated(event?);
            if event.value.id >= numbers.end {
                break;
            }
            let id = event.value.id;
            if let Some(row) = self.selected(snapshot, event, recorded_at)?
                && each(id, row)?.is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn complete(&self, snapshot: &Snapshot, mut row: Row) -> Result<Row, Failure> {
        if self.events.content && row.content.is_none() {
            row.content = self.content_of(snapshot, &row.event.value)?;
        }
        Ok(row)
    }

    fn text_bytes(row: &Row) -> usize {
        row.event.value.message.len() + row.content.as_ref().map_or(0, String::len)
    }

    fn begin_at(&mut self, number: u64) {
        self.from = Some(number);
    }

    fn row(&mut self, output: &mut Output, row: Self::Row) -> Result<(), Failure> {
        self.one(output, &row)
    }
}

/// The member of JSON that has the text of an input.
const CONTENT: &str = "content";

/// An event to print.
struct Row {
    event: Stored<RuntimeEvent>,
    recorded_at: Option<SystemTime>,
    /// The text of the entry that it made, if that is to be printed and was read.
    content: Option<String>,
}

/// An event and its time.
fn dated(event: Stored<RecordedEvent>) -> (Stored<RuntimeEvent>, Option<SystemTime>) {
    let recorded_at = event.value.recorded_at;
    (event.map(|recorded| recorded.event), recorded_at)
}

impl Printer<'_> {
    /// The row of an event, if it is selected. The text of its input is read where it decides.
    fn selected(
        &self,
        snapshot: &Snapshot,
        event: Stored<RuntimeEvent>,
        recorded_at: Option<SystemTime>,
    ) -> Result<Option<Row>, Failure> {
        let wanted = self.events;
        let is_about = |worker: &WorkerRef| event.value.worker_ref.as_ref() == Some(worker);
        if !self.worker.as_ref().is_none_or(is_about)
            || !(wanted.kind.is_empty() || wanted.kind.contains(&event.value.kind))
            || !self.times.select(recorded_at)
        {
            return Ok(None);
        }
        let content = match wanted.content && wanted.text.is_given() {
            true => self.content_of(snapshot, &event.value)?,
            false => None,
        };
        let shown = content.as_ref().unwrap_or(&event.value.message);
        Ok(wanted.text.select(shown).then_some(Row {
            event,
            recorded_at,
            content,
        }))
    }

    /// The text of the input that an event is about; `None` for an event of another kind.
    fn content_of(
        &self,
        snapshot: &Snapshot,
        event: &RuntimeEvent,
    ) -> Result<Option<String>, Failure> {
        let is_input = event.kind == RuntimeEventKind::WorkerInputAccepted;
        let Some(worker) = event.worker_ref.as_ref().filter(|_| is_input) else {
            return Ok(None);
        };
        let entry = snapshot.entry_of_event(worker, event.id)?;
        Ok(entry.map(|entry| entry.content))
    }

    fn one(&mut self, output: &mut Output, row: &Row) -> Result<(), Failure> {
        let Row {
            event,
            recorded_at,
            content,
        } = row;
        if output.json {
            let recorded_at = recorded_at.filter(|_| self.times.are_shown);
            let Some(content) = content else {
                return output.record(event, recorded_at);
            };
            // A member of an import must not contradict the one that is printed.
            let mut event = event.clone();
            event
                .unknown
                .retain(|member| !member.pointer.is_empty() || member.name != CONTENT);
            let time = recorded_at.and_then(rfc3339);
            let time = time.as_deref().map(|time| ("recorded_at", time));
            let members: Vec<_> = [(CONTENT, content.as_str())]
                .into_iter()
                .chain(time)
                .collect();
            return output.record_with(&event, &members);
        }
        let content = content.as_deref();
        let time = self.times.date_and_time(*recorded_at);
        let message = content.map_or_else(|| event.value.message.clone(), first_words);
        self.table.row(output, &time, &event.value, &message)
    }
}

/// The most characters of a text that stand for it in a row.
const FIRST_CHARS: usize = 200;

/// The first [`FIRST_CHARS`] characters of a text, on one line. A terminal cuts them to its width.
fn first_words(text: &str) -> String {
    let mut words = String::new();
    for word in text.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.extend(word.chars().take(FIRST_CHARS));
        if words.chars().count() >= FIRST_CHARS {
            words = words.chars().take(FIRST_CHARS - 1).collect();
            words.push('…');
            break;
        }
    }
    words
}

/// The table of events, with a column of times or without.
enum EventTable {
    Dated(Table<5>),
    Undated(Table<4>),
}

impl EventTable {
    fn new(is_dated: bool) -> Self {
        match is_dated {
            true => Self::Dated(Table::new([
                Column::number("EVENT", 6),
                Column::text("TIME", 19),
                Column::text("KIND", 14),
                Column::text("WORKER", 15),
                Column::rest("MESSAGE", 18),
            ])),
            false => Self::Undated(Table::new([
                Column::number("EVENT", 8),
                Column::text("KIND", 14),
                Column::text("WORKER", 16),
                Column::rest("MESSAGE", 36),
            ])),
        }
    }

    fn row(
        &mut self,
        output: &mut Output,
        time: &str,
        event: &RuntimeEvent,
        message: &str,
    ) -> Result<(), Failure> {
        let worker = event.worker_ref.as_ref();
        let worker = worker.map_or("-", |worker| worker.worker_id.as_str());
        let (id, kind) = (event.id.to_string(), kind_name(event.kind));
        match self {
            Self::Dated(table) => table.row(output, [&id, time, kind, worker, message]),
            Self::Undated(table) => table.row(output, [&id, kind, worker, message]),
        }
    }
}
