//! `stop-worker`: stops a worker.

use crate::arguments::help;
use crate::arguments::select::{WritableArgument, parse_worker_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::visible;
use clap::Args;
use redb_runtime_store::identity::WorkerId;

/// Stop a worker
///
/// A worker that was stopped or cancelled stays as it is. Fails with exit code 3 while a host has the store open.
#[derive(Args)]
#[command(after_help = help::STOP_WORKER)]
pub(crate) struct StopWorker {
    #[command(flatten)]
    store: WritableArgument,
    /// The worker: its id, the beginning of its id, or its number
    #[arg(value_name = "WORKER", value_parser = parse_worker_id)]
    worker: WorkerId,
    /// The message of the event
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl StopWorker {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime, worker_ref) = self.store.open_worker(&self.worker, output)?;
        let ack = runtime.stop_worker(&worker_ref, self.reason.clone())?;
        store.close()?;
        if output.json {
            output.object(&ack)?;
            return Ok(Status::Done);
        }
        let (worker, status) = (visible(&worker_ref.worker_id), ack.status);
        output.summary(format!("worker {worker} is {status}"))?;
        Ok(Status::Done)
    }
}
