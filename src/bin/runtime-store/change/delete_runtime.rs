//! `delete-runtime`: deletes a runtime with all its rows.

use crate::arguments::confirm::{ConfirmArguments, Going, refuse_change, refuse_running, shown};
use crate::arguments::help;
use crate::arguments::location::Location;
use crate::arguments::repair;
use crate::arguments::select::{find_runtime, parse_runtime_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::{count, visible};
use clap::Args;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::management::{RuntimeStatus, RuntimeSummary};
use redb_runtime_store::store::{DeleteRuntimeOptions, Snapshot};
use redb_runtime_store::{RuntimeError, Store};
use serde::Serialize;
use std::ops::ControlFlow;

/// Delete a stopped runtime with all its records
///
/// The deleted text can stay in free pages of the file until the store is compacted; a backup has none of it. Shows the
/// rows that would be removed, and asks. Fails with exit code 3 while a host has the store open.
#[derive(Args)]
#[command(after_help = help::DELETE_RUNTIME)]
pub(crate) struct DeleteRuntime {
    /// The store's file
    #[arg(value_name = "STORE")]
    store: Location,
    /// The runtime, or the beginning of its id
    #[arg(value_name = "ID", value_parser = parse_runtime_id)]
    runtime: RuntimeId,
    /// Delete the runtime also if it is running
    #[arg(long)]
    even_if_running: bool,
    #[command(flatten)]
    confirm: ConfirmArguments,
}

#[derive(Serialize)]
struct Printed<'a> {
    runtime_id: &'a RuntimeId,
    deleted: bool,
}

/// The rows that are deleted with a runtime.
#[derive(PartialEq, Eq, Serialize)]
struct RuntimeRows {
    runtime_id: RuntimeId,
    workers: u64,
    events: u64,
    transcript_entries: u64,
    diagnostics: u64,
    kept_files: u64,
    deleted: bool,
}

impl DeleteRuntime {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let mode = self.confirm.mode(output)?;
        let shown = match shown(output, mode, |output| self.find(output))? {
            ControlFlow::Continue(shown) => shown,
            ControlFlow::Break(status) => return Ok(status),
        };
        let store = repair::for_writing(&self.store, output)?;
        let Some(shown) = shown else {
            let id = find_runtime(&store, &self.runtime)?.runtime_id;
            return self.delete(&store, &id, output);
        };
        // The runtime that was shown, and no other one that the text names by now.
        let now = find_runtime(&store, &shown.runtime_id)?;
        let now = RuntimeRows::of(&store.snapshot()?, &now)?;
        refuse_change(now == shown, "the rows of the runtime")?;
        self.delete(&store, &shown.runtime_id, output)
    }

    /// The rows of a runtime that can be deleted.
    fn find(&self, output: &Output) -> Result<RuntimeRows, Failure> {
        let store = repair::for_reading_repaired(&self.store, output)?;
        let summary = find_runtime(&store, &self.runtime)?;
        let is_running = summary.status == RuntimeStatus::Running && !self.even_if_running;
        refuse_running(is_running, ("runtime", &summary.runtime_id), "stop")?;
        let rows = RuntimeRows::of(&store.snapshot()?, &summary)?;
        store.close()?;
        Ok(rows)
    }

    fn delete(
        &self,
        store: &Store,
        id: &RuntimeId,
        output: &mut Output,
    ) -> Result<Status, Failure> {
        let options = DeleteRuntimeOptions::new().even_if_running(self.even_if_running);
        store.delete_runtime_with(id, &options)?;
        store.close()?;
        if output.json {
            output.object(&Printed {
                runtime_id: id,
                deleted: true,
            })?;
            return Ok(Status::Done);
        }
        output.summary(format!("deleted runtime {}", visible(id)))?;
        Ok(Status::Done)
    }
}

impl RuntimeRows {
    fn of(snapshot: &Snapshot, summary: &RuntimeSummary) -> Result<Self, Failure> {
        let id = &summary.runtime_id;
        let mut entries = 0;
        for worker in snapshot.workers(id)? {
            let worker = worker?.value.worker_ref;
            let first = snapshot.first_position(&worker)?;
            entries += snapshot.transcript_len(&worker)?.saturating_sub(first);
        }
        let mut events = 0;
        snapshot.each_event(id, |_| {
            events += 1;
            Ok::<_, RuntimeError>(())
        })?;
        Ok(Self {
            runtime_id: id.clone(),
            workers: summary.worker_count as u64,
            events,
            transcript_entries: entries,
            diagnostics: summary.diagnostic_count as u64,
            kept_files: snapshot.kept_files(id)?.len() as u64,
            deleted: false,
        })
    }
}

impl Going for RuntimeRows {
    fn in_words(&self) -> String {
        format!(
            "runtime {}: {}, {}, {}, {}, {}",
            self.runtime_id,
            count(self.workers, "worker", "workers"),
            count(self.events, "event", "events"),
            count(self.transcript_entries, "entry", "entries"),
            count(self.diagnostics, "diagnostic", "diagnostics"),
            count(self.kept_files, "kept file", "kept files"),
        )
    }
}
