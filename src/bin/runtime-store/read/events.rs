//! `events`: prints the event log of a runtime.

use crate::arguments::help;
use crate::arguments::select::{RuntimeArgument, StoreArgument, parse_worker_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::table::{Column, Table};
use crate::read::follow::{Log, Next, refuse_replaced, show};
use clap::Args;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::store::{Snapshot, Stored};
use redb_runtime_store::{RuntimeError, Store};
use std::path::PathBuf;

/// Print the event log of a runtime
#[derive(Args)]
#[command(after_help = help::EVENTS)]
pub(crate) struct Events {
    #[command(flatten)]
    store: StoreArgument,
    #[command(flatten)]
    runtime: RuntimeArgument,
    /// Start at this event id
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// Print at most this many events
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print only events about this worker
    #[arg(long, value_name = "ID", value_parser = parse_worker_id)]
    worker: Option<WorkerId>,
    /// Keep printing new events until interrupted
    #[arg(long)]
    follow: bool,
}

impl Events {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime_id) = self.runtime.open(&self.store, output)?;
        self.refuse_unknown_worker(&store, &runtime_id)?;
        let mut printer = Printer {
            events: self,
            runtime_id,
            table: Table::new([
                Column::number("EVENT", 8),
                Column::text("KIND", 14),
                Column::text("WORKER", 16),
                Column::rest("MESSAGE", 36),
            ]),
            from: self.from,
            until: None,
            left: self.limit.unwrap_or(usize::MAX),
            last: None,
            path: store.path().to_owned(),
        };
        show(store, &self.store, output, self.follow, &mut printer)
    }

    /// Fails if no worker has the id, unless an event names it: a directory can have lost a worker that its
    /// events are about.
    fn refuse_unknown_worker(&self, store: &Store, runtime_id: &RuntimeId) -> Result<(), Failure> {
        let Some(worker) = &self.worker else {
            return Ok(());
        };
        let worker = WorkerRef::new(runtime_id.clone(), worker.clone());
        let snapshot = store.snapshot()?;
        if snapshot.worker(&worker)?.is_some() {
            return Ok(());
        }
        for event in snapshot.events(runtime_id, 0)? {
            if event?.value.worker_ref.as_ref() == Some(&worker) {
                return Ok(());
            }
        }
        Err(Failure::Store(RuntimeError::WorkerNotFound {
            runtime_id: worker.runtime_id,
            worker_id: worker.worker_id,
        }))
    }

    fn wants(&self, event: &RuntimeEvent) -> bool {
        let about = event.worker_ref.as_ref().map(|worker| &worker.worker_id);
        self.worker
            .as_ref()
            .is_none_or(|worker| about == Some(worker))
    }
}

/// Prints an event log; each call continues after the last printed event.
struct Printer<'a> {
    events: &'a Events,
    runtime_id: RuntimeId,
    table: Table<4>,
    /// The id of the next event to read.
    from: u64,
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
        let events = snapshot.events(&self.runtime_id, self.from)?;
        let mut looked_at = 0;
        for event in events.take(rows) {
            if self.left == 0 || output.holds_enough() {
                break;
            }
            let event = event?;
            if self.until.is_some_and(|until| event.value.id > until) {
                break;
            }
            looked_at += 1;
            self.from = event.value.id.saturating_add(1);
            if self.events.wants(&event.value) {
                self.left -= 1;
                self.one(output, &event)?;
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
        let Some(last) = &self.last else {
            return Ok(());
        };
        let found = snapshot.events(&self.runtime_id, last.id)?.next();
        refuse_replaced(found, last, &self.path, format!("event {}", last.id))
    }
}

impl Printer<'_> {
    fn one(&mut self, output: &mut Output, event: &Stored<RuntimeEvent>) -> Result<(), Failure> {
        if !output.json {
            return row(&mut self.table, output, &event.value);
        }
        output.record(event)
    }
}

fn row(table: &mut Table<4>, output: &mut Output, event: &RuntimeEvent) -> Result<(), Failure> {
    let kind = match event.kind {
        RuntimeEventKind::RuntimeStarted => "started",
        RuntimeEventKind::RuntimeStopped => "stopped",
        RuntimeEventKind::WorkerCreated => "created",
        RuntimeEventKind::WorkerInputAccepted => "input accepted",
        RuntimeEventKind::WorkerStopped => "worker stopped",
        RuntimeEventKind::WorkerCancelled => "cancelled",
    };
    let worker = event.worker_ref.as_ref();
    let id = event.id.to_string();
    let cells = [
        id.as_str(),
        kind,
        worker.map_or("-", |worker| worker.worker_id.as_str()),
        &event.message,
    ];
    table.row(output, cells)
}
