//! `pin`: protects a worker from retention.

use crate::arguments::help;
use crate::arguments::select::{WritableArgument, parse_worker_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::visible;
use clap::Args;
use redb_runtime_store::identity::{WorkerId, WorkerRef};
use serde::Serialize;

/// Protect a worker from retention
///
/// A pinned worker keeps its row, its diagnostics and its whole transcript, which no limit of `prune` removes.
#[derive(Args)]
#[command(after_help = help::PIN)]
pub(crate) struct Pin {
    #[command(flatten)]
    store: WritableArgument,
    /// The worker: its id, the beginning of its id, or its number
    #[arg(value_name = "WORKER", value_parser = parse_worker_id)]
    worker: WorkerId,
    /// End the protection
    #[arg(long)]
    off: bool,
}

#[derive(Serialize)]
struct Printed<'a> {
    worker_ref: &'a WorkerRef,
    pinned: bool,
}

impl Pin {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime, worker_ref) = self.store.open_worker(&self.worker, output)?;
        let pinned = !self.off;
        runtime.set_pinned(&worker_ref, pinned)?;
        store.close()?;
        if output.json {
            output.object(&Printed {
                worker_ref: &worker_ref,
                pinned,
            })?;
            return Ok(Status::Done);
        }
        let done = match pinned {
            true => "pinned",
            false => "not pinned any more",
        };
        output.summary(format!("{}: {done}", visible(&worker_ref.worker_id)))?;
        Ok(Status::Done)
    }
}
