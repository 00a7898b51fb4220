//! Deletion of workers and runtimes.

use crate::error::RuntimeError;
use crate::ledger::checks;
use crate::ledger::convert;
use crate::ledger::deletion::{self, DiagnosticsOf, ROW_BYTES, STEP_BYTES};
use crate::ledger::removals::Removals;
use crate::ledger::rows::{ImportRow, Rows, RuntimeRow, WorkerRow};
use crate::ledger::table_names;
use crate::ledger::tombstone::TombstoneRow;
use crate::ledger::transaction::Transaction;
use crate::model::identity::{RuntimeId, WorkerRef, directory_name};
use crate::model::management::{RuntimeStatus, WorkerDeleteResult};
use crate::model::observation::RuntimeEventKind;
use crate::runtime::handle::Runtime;
use crate::runtime::operations;
use crate::runtime::pages;
use crate::store::handle::Store;

/// The options of the deletion of a runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeleteRuntimeOptions {
    even_if_running: bool,
}

impl DeleteRuntimeOptions {
    /// Options that reject a running runtime.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether a running runtime is deleted, too. `false` by default.
    #[must_use]
    pub fn even_if_running(mut self, even_if_running: bool) -> Self {
        self.even_if_running = even_if_running;
        self
    }
}

impl Runtime {
    /// Deletes a worker that is not running: its row, its transcript and its diagnostics. Logs `WorkerDeleted`. The events
    /// of the worker stay, with their messages. Its id is never used again. Works on a stopped runtime, too.
    ///
    /// No reader sees any of it once the first commit is on disk. A worker with more than 4 MiB takes several commits,
    /// with other operations between them. When this returns `Ok`, all of it is removed from the tables on disk. If a
    /// later commit fails, or the process ends, the worker is deleted all the same, and the next open for writing removes
    /// the rest; so does another call. The bytes stay in free pages of the file until
    /// [`Store::compact`]: see [deletion](crate::guide::deletion).
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a running worker; `WrongRuntime`, `WorkerNotFound`; the errors of every write, except
    /// `RuntimeStopped`.
    pub fn delete_worker(
        &self,
        worker_ref: &WorkerRef,
    ) -> Result<WorkerDeleteResult, RuntimeError> {
        let operation = "delete worker";
        let id = &self.runtime_id;
        let known = self.read(operation, |rows| known_diagnostics(rows, id, worker_ref))?;
        let is_done = self.store.write(operation, |transaction| {
            delete_worker(transaction, id, worker_ref, known)
        })?;
        if !is_done {
            self.store.finish_deletions_of(operation, id)?;
        }
        Ok(deleted(worker_ref))
    }
}

impl Store {
    /// Deletes a stopped runtime; see [`delete_runtime_with`](Self::delete_runtime_with).
    ///
    /// # Errors
    ///
    /// As [`delete_runtime_with`](Self::delete_runtime_with).
    pub fn delete_runtime(&self, id: &RuntimeId) -> Result<(), RuntimeError> {
        self.delete_runtime_with(id, &DeleteRuntimeOptions::default())
    }

    /// Deletes a runtime with all its rows: workers, events, transcripts, diagnostics, and its import record. Every handle
    /// of the runtime returns `RuntimeNotFound` afterwards. The id can be used again.
    ///
    /// No reader sees any of it once the first commit is on disk. A runtime with more than 4 MiB takes several commits,
    /// with other operations between them. When this returns `Ok`, all of it is removed from the tables on disk. If a
    /// later commit fails, or the process ends, the runtime is deleted all the same, and the next open for writing removes
    /// the rest; so does another call, and the creation of a runtime with this id. The bytes stay in free pages of the
    /// file until [`compact`](Self::compact): see [deletion](crate::guide::deletion).
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a running runtime, unless the options accept it; `RuntimeNotFound`; the errors of every
    /// write, except `RuntimeStopped`.
    pub fn delete_runtime_with(
        &self,
        id: &RuntimeId,
        options: &DeleteRuntimeOptions,
    ) -> Result<(), RuntimeError> {
        let operation = "delete runtime";
        checks::refuse_long_id(id.as_str())?;
        let is_done = self.write(operation, |transaction| {
            delete_runtime(transaction, id, *options)
        })?;
        match is_done {
            true => Ok(()),
            false => self.finish_deletions_of(operation, id),
        }
    }

    /// Removes the rows that unfinished deletions of a runtime have left, a commit for each step.
    pub(crate) fn finish_deletions_of(
        &self,
        operation: &'static str,
        id: &RuntimeId,
    ) -> Result<(), RuntimeError> {
        while !self.write(operation, |transaction| {
            deletion::step(transaction, id.as_str(), STEP_BYTES)
        })? {}
        Ok(())
    }
}

pub(crate) fn deleted(worker_ref: &WorkerRef) -> WorkerDeleteResult {
    WorkerDeleteResult {
        runtime_id: worker_ref.runtime_id.clone(),
        worker_id: worker_ref.worker_id.clone(),
        deleted: true,
    }
}

/// The diagnostics of a worker in a snapshot.
pub(crate) fn known_diagnostics(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
) -> Result<DiagnosticsOf, RuntimeError> {
    pages::refuse_foreign(runtime_id, worker_ref)?;
    let (id, worker) = convert::owner_of(worker_ref);
    let mut known = DiagnosticsOf::default();
    known.read_on(rows, id, worker)?;
    Ok(known)
}

/// Deletes a worker, and logs it. Returns whether all of its rows are removed.
pub(crate) fn delete_worker(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
    known: DiagnosticsOf,
) -> Result<bool, RuntimeError> {
    pages::refuse_foreign(runtime_id, worker_ref)?;
    let mut runtime = pages::runtime_row(transaction, runtime_id)?;
    let (id, worker_id) = convert::owner_of(worker_ref);
    let row = transaction.worker(id, worker_id)?;
    if row.is_none() && is_unfinished(transaction, worker_ref)? {
        return Ok(false);
    }
    let row = match row {
        Some(row) => row,
        None => pages::worker_row(transaction, worker_ref)?,
    };
    if row.status.is_active() {
        return Err(RuntimeError::InvalidRequest(format!(
            "worker {worker_id} is running: stop or cancel it before it is deleted"
        )));
    }
    let event = (Some(worker_ref), RuntimeEventKind::WorkerDeleted, None);
    operations::log(transaction, runtime_id, &mut runtime, event)?;
    let at_ms = runtime.latest_time_ms;
    let tombstone = TombstoneRow::Deleted { at_ms };
    remove_worker(transaction, worker_ref, (runtime, row), known, tombstone)
}

/// As [`delete_worker`], for an operation that shares its commit: all of the worker's rows or an error.
pub(crate) fn delete_worker_whole(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
) -> Result<WorkerDeleteResult, RuntimeError> {
    let known = known_diagnostics(transaction, runtime_id, worker_ref)?;
    match delete_worker(transaction, runtime_id, worker_ref, known)? {
        true => Ok(deleted(worker_ref)),
        false => Err(RuntimeError::InvalidRequest(format!(
            "worker {} has more rows than the {STEP_BYTES} bytes that one commit removes: delete it outside of a \
             transaction",
            worker_ref.worker_id
        ))),
    }
}

fn is_unfinished(rows: &dyn Rows, worker_ref: &WorkerRef) -> Result<bool, RuntimeError> {
    let (id, worker_id) = convert::owner_of(worker_ref);
    let unfinished = deletion::unfinished(rows, id)?;
    Ok(unfinished.workers.iter().any(|worker| worker == worker_id))
}

/// Removes a worker from `runtime`, whose row it writes. It logs no event. Returns whether all rows of the worker are
/// removed; the rest is listed as unfinished.
pub(crate) fn remove_worker(
    transaction: &mut Transaction<'_>,
    worker_ref: &WorkerRef,
    (mut runtime, row): (RuntimeRow, WorkerRow),
    known: DiagnosticsOf,
    tombstone: TombstoneRow,
) -> Result<bool, RuntimeError> {
    let (id, worker) = convert::owner_of(worker_ref);
    let counted = runtime.diagnostics;
    let diagnostics = known.confirmed(transaction, (id, worker), counted)?;
    let at = transaction.at();
    let (name, count) = runtime.workers_in(row.status);
    checks::shrink(at, (table_names::RUNTIMES, &id), (name, count), 1)?;
    let removed = convert::stored_size(diagnostics.len());
    let count = ("diagnostics", &mut runtime.diagnostics);
    checks::shrink(at, (table_names::RUNTIMES, &id), count, removed)?;
    forget_findings(transaction, worker_ref)?;
    let mut removed = Removals::default();
    removed.workers.insert(worker.to_owned());
    let bytes = row.text_bytes() + ROW_BYTES * (1 + diagnostics.len());
    removed.diagnostics.extend(diagnostics);
    let changes = transaction.changes();
    changes.put_runtime(id, runtime)?;
    changes.remove(id, removed, bytes);
    changes.put_tombstone(id, worker, tombstone)?;
    let budget = STEP_BYTES.saturating_sub(bytes);
    deletion::begin_worker(transaction, id, worker, budget)
}

/// Removes the findings about the files of a worker from the import record of its runtime: they can quote lines
/// that the import left out.
fn forget_findings(
    transaction: &mut Transaction<'_>,
    worker_ref: &WorkerRef,
) -> Result<(), RuntimeError> {
    let (id, worker) = convert::owner_of(worker_ref);
    let Some(mut import) = transaction.import(id)? else {
        return Ok(());
    };
    let directory = format!("/workers/{}", directory_name(worker));
    let before = import.findings.len();
    import
        .findings
        .retain(|finding| !is_about(finding, &directory));
    match import.findings.len() == before {
        true => Ok(()),
        false => transaction.changes().put_import(id, ImportRow { ..import }),
    }
}

/// Whether a finding names the directory of a worker or a file in it. The JSON of a finding has the path first; the
/// name of the directory consists of hex digits, so that no other name begins with it and goes on with another character.
fn is_about(finding: &str, directory: &str) -> bool {
    let mut rest = finding;
    while let Some(at) = rest.find(directory) {
        rest = rest.get(at + directory.len()..).unwrap_or_default();
        if !rest.starts_with(|next: char| next.is_ascii_hexdigit()) {
            return true;
        }
    }
    false
}

/// Deletes a runtime. Returns whether all of its rows are removed.
fn delete_runtime(
    transaction: &mut Transaction<'_>,
    id: &RuntimeId,
    options: DeleteRuntimeOptions,
) -> Result<bool, RuntimeError> {
    if deletion::unfinished(transaction, id.as_str())?.is_whole {
        return Ok(false);
    }
    let row = pages::runtime_row(transaction, id)?;
    if row.status == RuntimeStatus::Running && !options.even_if_running {
        return Err(RuntimeError::InvalidRequest(format!(
            "runtime {id} is running: stop it before it is deleted"
        )));
    }
    deletion::begin_runtime(transaction, id.as_str(), STEP_BYTES)
}
