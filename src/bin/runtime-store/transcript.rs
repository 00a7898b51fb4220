//! `transcript`: what was said to and by a worker.

use crate::failure::{Failure, Status};
use crate::output::{Output, visible};
use crate::select::{RuntimeArgument, StoreArgument};
use crate::table::WIDTH;
use clap::Args;
use redb_runtime_store::RuntimeError;
use redb_runtime_store::identity::{WorkerId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptEntry, TranscriptRole};
use redb_runtime_store::layout;

/// Print the transcript of a worker
#[derive(Args)]
pub(crate) struct Transcript {
    #[command(flatten)]
    store: StoreArgument,
    /// The worker
    #[arg(value_name = "WORKER")]
    worker: String,
    #[command(flatten)]
    runtime: RuntimeArgument,
    /// Begin at this position, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    start: u64,
    /// Print at most this many entries
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl Transcript {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let store = self.store.open()?;
        let runtime_id = self.runtime.find(&store)?.runtime_id;
        let worker_id = WorkerId::new(&self.worker)
            .ok_or_else(|| Failure::WrongUse("a worker id must not be blank".to_owned()))?;
        let worker = WorkerRef::new(runtime_id, worker_id);
        let snapshot = store.snapshot()?;
        if snapshot.worker(&worker)?.is_none() {
            return Err(Failure::Store(RuntimeError::WorkerNotFound {
                runtime_id: worker.runtime_id,
                worker_id: worker.worker_id,
            }));
        }
        let mut line = Vec::new();
        let limit = self.limit.unwrap_or(usize::MAX);
        for entry in snapshot.transcript(&worker, self.start)?.take(limit) {
            let entry = entry?;
            if output.json {
                line.clear();
                layout::write_line(&entry, &mut line)?;
                output.bytes(&line)?;
            } else {
                print(output, &entry.value)?;
            }
        }
        Ok(Status::Done)
    }
}

/// What stands before each line of an entry but the first.
const INDENT: &str = "                   ";

/// Prints an entry: sequence and role, and beside them what was said, wrapped.
fn print(output: &mut Output, entry: &TranscriptEntry) -> Result<(), Failure> {
    let role = match entry.role {
        TranscriptRole::User => "user",
        TranscriptRole::Assistant => "assistant",
        TranscriptRole::System => "system",
    };
    let mut before = format!("{:>7} {role:<10} ", entry.sequence);
    for paragraph in entry.content.split('\n') {
        let shown = visible(&paragraph.replace('\t', "    "));
        for line in textwrap::wrap(&shown, WIDTH - INDENT.len()) {
            output.line(format!("{before}{line}"))?;
            INDENT.clone_into(&mut before);
        }
    }
    Ok(())
}
