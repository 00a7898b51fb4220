//! `workers`: lists the workers of a runtime.

use crate::arguments::help;
use crate::arguments::select::{RuntimeArgument, StoreArgument};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::table::{Column, Table};
use clap::Args;
use redb_runtime_store::catalog::{WorkerIntent, WorkerSummary};
use redb_runtime_store::management::RuntimeOptions;

/// List the workers of a runtime
#[derive(Args)]
#[command(after_help = help::WORKERS)]
pub(crate) struct Workers {
    #[command(flatten)]
    store: StoreArgument,
    #[command(flatten)]
    runtime: RuntimeArgument,
}

impl Workers {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime_id) = self.runtime.open(&self.store, output)?;
        let runtime = store.runtime(RuntimeOptions {
            runtime_id: Some(runtime_id),
            ..RuntimeOptions::default()
        })?;
        let mut table = Table::new([
            Column::text("WORKER", 16),
            Column::text("STATUS", 9),
            Column::number("ENTRIES", 8),
            Column::number("LAST EVENT", 10),
            Column::rest("INTENT", 29),
        ]);
        let workers = runtime.list_workers()?;
        if workers.is_empty() {
            output.summary("this runtime has no workers")?;
        }
        for worker in workers {
            if output.json {
                output.object(&worker)?;
            } else {
                row(&mut table, output, &worker)?;
            }
        }
        Ok(Status::Done)
    }
}

/// The purpose of a worker, in words.
pub(crate) fn intent_text(intent: &WorkerIntent) -> String {
    match intent {
        WorkerIntent::Assistant { purpose: None } => "assistant".to_owned(),
        WorkerIntent::Assistant {
            purpose: Some(purpose),
        } => format!("assistant: {purpose}"),
        WorkerIntent::Task { objective } => format!("task: {objective}"),
        WorkerIntent::Role { role, .. } => format!("role: {role}"),
    }
}

fn row(table: &mut Table<5>, output: &mut Output, worker: &WorkerSummary) -> Result<(), Failure> {
    let intent = intent_text(&worker.intent);
    let cells = [
        worker.worker_id.as_str(),
        worker.status.as_str(),
        &worker.transcript_len.to_string(),
        &worker.last_event_id.to_string(),
        &intent,
    ];
    table.row(output, cells)
}
