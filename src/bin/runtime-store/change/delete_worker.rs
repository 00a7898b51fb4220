//! `delete-worker`: deletes a worker that is not running.

use crate::arguments::help;
use crate::arguments::select::{WritableArgument, parse_worker_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::visible;
use clap::Args;
use redb_runtime_store::identity::{WorkerId, WorkerRef};

/// Delete a worker that is not running, with its transcript
///
/// Its events stay in the log, and its id is never used again. The deleted text can stay in free pages of the file until
/// the store is compacted; a backup has none of it. Fails with exit code 3 while a host has the store open.
#[derive(Args)]
#[command(after_help = help::DELETE_WORKER)]
pub(crate) struct DeleteWorker {
    #[command(flatten)]
    store: WritableArgument,
    /// The worker
    #[arg(value_name = "WORKER", value_parser = parse_worker_id)]
    worker: WorkerId,
}

impl DeleteWorker {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime) = self.store.open(output)?;
        let worker_ref = WorkerRef::new(runtime.runtime_id()?, self.worker.clone());
        let deleted = runtime.delete_worker(&worker_ref)?;
        store.close()?;
        if output.json {
            output.object(&deleted)?;
            return Ok(Status::Done);
        }
        let worker = visible(&deleted.worker_id);
        output.summary(format!("deleted worker {worker}"))?;
        Ok(Status::Done)
    }
}
