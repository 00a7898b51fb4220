//! `events`: prints the event log of a runtime.

use crate::arguments::help;
use crate::arguments::rows::{EndArguments, TextArguments, event_kind};
use crate::arguments::select::{RuntimeArgument, StoreArgument, parse_worker_id, worker_of};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::table::{Column, Table};
use crate::read::backwards::{Backwards, show_end};
use crate::read::follow::{Log, Next, refuse_replaced};
use crate::read::times::{TimeArguments, Times};
use clap::Args;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::observation::{RecordedEvent, RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::store::{Snapshot, Stored};
use redb_runtime_store::{RuntimeError, Store};
use std::ops::Range;
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
    #[command(flatten)]
    end: EndArguments,
    #[command(flatten)]
    times: TimeArguments,
    /// Keep printing new events until interrupted
    #[arg(long)]
    follow: bool,
}

impl Events {
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
            if self.selects(&event.value, recorded_at) {
                self.left -= 1;
                self.one(output, &event, recorded_at)?;
            }
            self.last = Some(event.value);
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
    type Row = (Stored<RuntimeEvent>, Option<SystemTime>);

    fn numbers(&self, snapshot: &Snapshot) -> Result<Range<u64>, Failure> {
        let last = snapshot
            .last_event_id(&self.runtime_id)?
            .unwrap_or_default();
        Ok(snapshot.first_event_id(&self.runtime_id)?..last.saturating_add(1))
    }

    fn selected(
        &self,
        snapshot: &Snapshot,
        numbers: Range<u64>,
    ) -> Result<Vec<(u64, Self::Row)>, Failure> {
        let mut selected = Vec::new();
        for event in snapshot.recorded_events(&self.runtime_id, numbers.start)? {
            let (event, recorded_at) = dated(event?);
            if event.value.id >= numbers.end {
                break;
            }
            if self.selects(&event.value, recorded_at) {
                selected.push((event.value.id, (event, recorded_at)));
            }
        }
        Ok(selected)
    }

    fn begin_at(&mut self, number: u64) {
        self.from = Some(number);
    }

    fn row(&mut self, output: &mut Output, (event, time): Self::Row) -> Result<(), Failure> {
        self.one(output, &event, time)
    }
}

/// An event and its time.
fn dated(event: Stored<RecordedEvent>) -> (Stored<RuntimeEvent>, Option<SystemTime>) {
    let recorded_at = event.value.recorded_at;
    (event.map(|recorded| recorded.event), recorded_at)
}

impl Printer<'_> {
    fn selects(&self, event: &RuntimeEvent, recorded_at: Option<SystemTime>) -> bool {
        let is_about = |worker: &WorkerRef| event.worker_ref.as_ref() == Some(worker);
        self.worker.as_ref().is_none_or(is_about)
            && (self.events.kind.is_empty() || self.events.kind.contains(&event.kind))
            && self.events.text.select(&event.message)
            && self.times.select(recorded_at)
    }

    fn one(
        &mut self,
        output: &mut Output,
        event: &Stored<RuntimeEvent>,
        recorded_at: Option<SystemTime>,
    ) -> Result<(), Failure> {
        if output.json {
            return output.record(event, recorded_at.filter(|_| self.times.are_shown));
        }
        let time = self.times.date_and_time(recorded_at);
        self.table.row(output, &time, &event.value)
    }
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
    ) -> Result<(), Failure> {
        let worker = event.worker_ref.as_ref();
        let worker = worker.map_or("-", |worker| worker.worker_id.as_str());
        let (id, kind, message) = (event.id.to_string(), kind_name(event.kind), &event.message);
        match self {
            Self::Dated(table) => table.row(output, [&id, time, kind, worker, message]),
            Self::Undated(table) => table.row(output, [&id, kind, worker, message]),
        }
    }
}
