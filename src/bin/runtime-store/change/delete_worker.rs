//! `delete-worker`: deletes a worker that is not running.

use crate::arguments::confirm::{ConfirmArguments, Going, refuse_change, refuse_running, shown};
use crate::arguments::help;
use crate::arguments::select::{WritableArgument, parse_worker_id, worker_of};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::{count, visible};
use clap::Args;
use redb_runtime_store::identity::{WorkerId, WorkerRef};
use redb_runtime_store::store::Snapshot;
use redb_runtime_store::{Runtime, Store};
use serde::Serialize;
use std::ops::ControlFlow;

/// Delete a worker that is not running, with its transcript
///
/// Its events stay in the log, and its id is never used again. The deleted text can stay in free pages of the file until
/// the store is compacted; a backup has none of it. Shows the rows that would be removed, and asks. Fails with exit code 3 while a host
/// has the store open.
#[derive(Args)]
#[command(after_help = help::DELETE_WORKER)]
pub(crate) struct DeleteWorker {
    #[command(flatten)]
    store: WritableArgument,
    /// The worker: its id, the beginning of its id, or its number
    #[arg(value_name = "WORKER", value_parser = parse_worker_id)]
    worker: WorkerId,
    #[command(flatten)]
    confirm: ConfirmArguments,
}

/// The rows that are deleted with a worker.
#[derive(PartialEq, Eq, Serialize)]
struct WorkerRows {
    worker_ref: WorkerRef,
    transcript_entries: u64,
    diagnostics: u64,
    kept_files: u64,
    deleted: bool,
}

impl DeleteWorker {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let mode = self.confirm.mode(output)?;
        let shown = match shown(output, mode, |output| self.find(output))? {
            ControlFlow::Continue(shown) => shown,
            ControlFlow::Break(status) => return Ok(status),
        };
        let Some(shown) = shown else {
            let (store, runtime, worker_ref) = self.store.open_worker(&self.worker, output)?;
            return delete((&store, &runtime), &worker_ref, output);
        };
        // The worker that was shown, and no other one that the text names by now.
        let worker_ref = &shown.worker_ref;
        let (store, runtime) = self.store.open_of(&worker_ref.runtime_id, output)?;
        let now = WorkerRows::of(&store.snapshot()?, &runtime, worker_ref)?;
        refuse_change(now == shown, "the rows of the worker")?;
        delete((&store, &runtime), worker_ref, output)
    }

    /// The rows of a worker that can be deleted.
    fn find(&self, output: &Output) -> Result<WorkerRows, Failure> {
        let (store, runtime) = self.store.open_for_reading(output)?;
        let rows = {
            let snapshot = store.snapshot()?;
            let worker_ref = worker_of(&snapshot, &runtime.runtime_id()?, &self.worker)?;
            let is_running = runtime.worker_detail(&worker_ref)?.status.is_active();
            let what = ("worker", &worker_ref.worker_id);
            refuse_running(is_running, what, "stop or cancel")?;
            WorkerRows::of(&snapshot, &runtime, &worker_ref)?
        };
        store.close()?;
        Ok(rows)
    }
}

fn delete(
    (store, runtime): (&Store, &Runtime),
    worker_ref: &WorkerRef,
    output: &mut Output,
) -> Result<Status, Failure> {
    let deleted = runtime.delete_worker(worker_ref)?;
    store.close()?;
    if output.json {
        output.object(&deleted)?;
        return Ok(Status::Done);
    }
    let worker = visible(&deleted.worker_id);
    output.summary(format!("deleted worker {worker}"))?;
    Ok(Status::Done)
}

impl WorkerRows {
    fn of(snapshot: &Snapshot, runtime: &Runtime, worker_ref: &WorkerRef) -> Result<Self, Failure> {
        // Of a worker that is gone there is nothing to count, which is a failure.
        runtime.worker_detail(worker_ref)?;
        let diagnostics = runtime.diagnostics()?.into_iter();
        let is_about = |about: Option<WorkerRef>| about.as_ref() == Some(worker_ref);
        let files = snapshot.kept_files(&worker_ref.runtime_id)?;
        let is_of = |file: Option<&WorkerId>| file == Some(&worker_ref.worker_id);
        let entries = snapshot
            .transcript_len(worker_ref)?
            .saturating_sub(snapshot.first_position(worker_ref)?);
        Ok(Self {
            worker_ref: worker_ref.clone(),
            transcript_entries: entries,
            diagnostics: diagnostics
                .filter(|one| is_about(one.worker_ref.clone()))
                .count() as u64,
            kept_files: files
                .iter()
                .filter(|file| is_of(file.worker_id.as_ref()))
                .count() as u64,
            deleted: false,
        })
    }
}

impl Going for WorkerRows {
    fn in_words(&self) -> String {
        let (id, runtime) = (&self.worker_ref.worker_id, &self.worker_ref.runtime_id);
        format!(
            "worker {id} of {runtime}: {}, {}, {}; its events stay",
            count(self.transcript_entries, "entry", "entries"),
            count(self.diagnostics, "diagnostic", "diagnostics"),
            count(self.kept_files, "kept file", "kept files"),
        )
    }
}
