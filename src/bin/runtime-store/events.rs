//! `events`: the event log of a runtime.

use crate::failure::{Failure, Status};
use crate::output::Output;
use crate::select::{RuntimeArgument, StoreArgument};
use crate::table::{Column, Table};
use clap::Args;
use redb_runtime_store::layout;
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};

/// Print the event log of a runtime
#[derive(Args)]
pub(crate) struct Events {
    #[command(flatten)]
    store: StoreArgument,
    #[command(flatten)]
    runtime: RuntimeArgument,
    /// Begin at this event id
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// Print at most this many events
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print only events about this worker
    #[arg(long, value_name = "ID")]
    worker: Option<String>,
}

impl Events {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let store = self.store.open()?;
        let runtime_id = self.runtime.find(&store)?.runtime_id;
        let mut table = Table::new([
            Column::number("EVENT", 8),
            Column::text("KIND", 14),
            Column::text("WORKER", 16),
            Column::text("MESSAGE", 36),
        ]);
        let mut line = Vec::new();
        let mut left = self.limit.unwrap_or(usize::MAX);
        let snapshot = store.snapshot()?;
        for event in snapshot.events(&runtime_id, self.from)? {
            if left == 0 {
                break;
            }
            let event = event?;
            if !self.wants(&event.value) {
                continue;
            }
            left -= 1;
            if output.json {
                line.clear();
                layout::write_line(&event, &mut line)?;
                output.bytes(&line)?;
            } else {
                row(&mut table, output, &event.value)?;
            }
        }
        Ok(Status::Done)
    }

    fn wants(&self, event: &RuntimeEvent) -> bool {
        let about = event
            .worker_ref
            .as_ref()
            .map(|worker| worker.worker_id.as_str());
        self.worker
            .as_deref()
            .is_none_or(|worker| about == Some(worker))
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
