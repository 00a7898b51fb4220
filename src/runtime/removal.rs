//! The rules of deletions, for an operation of its own and for one within a transaction.

use crate::error::RuntimeError;
use crate::ledger::checks;
use crate::ledger::convert;
use crate::ledger::deletion::{self, DiagnosticsOf, ROW_BYTES, STEP_BYTES};
use crate::ledger::removals::Removals;
use crate::ledger::rows::{Rows, RuntimeRow, WorkerRow};
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::ledger::table_names;
use crate::ledger::transaction::Transaction;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::management::{RuntimeStatus, WorkerDeleteResult};
use crate::model::observation::RuntimeEventKind;
use crate::runtime::import_texts;
use crate::runtime::operations;
use crate::runtime::pages;

/// The result of a deletion.
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
    import_texts::forget_workers(transaction, id, &[worker])?;
    let mut removed = Removals::default();
    removed.workers.insert(worker.to_owned());
    let bytes = row.text_bytes() + ROW_BYTES * (1 + diagnostics.len());
    if !diagnostics.is_empty() {
        let document = deletion::runtime_document(transaction, id)?;
        removed.files.extend(document);
    }
    removed.diagnostics.extend(diagnostics);
    let changes = transaction.changes();
    changes.put_runtime(id, runtime)?;
    changes.remove(id, removed, bytes);
    changes.put_tombstone(id, worker, tombstone)?;
    let budget = STEP_BYTES.saturating_sub(bytes);
    deletion::begin_worker(transaction, id, worker, budget)
}

/// Deletes a runtime. Returns whether all of its rows are removed.
pub(crate) fn delete_runtime(
    transaction: &mut Transaction<'_>,
    id: &RuntimeId,
    even_if_running: bool,
) -> Result<bool, RuntimeError> {
    if deletion::unfinished(transaction, id.as_str())?.is_whole {
        return Ok(false);
    }
    let row = pages::runtime_row(transaction, id)?;
    if row.status == RuntimeStatus::Running && !even_if_running {
        return Err(RuntimeError::InvalidRequest(format!(
            "runtime {id} is running: stop it before it is deleted"
        )));
    }
    import_texts::forget_runtime(transaction, id.as_str())?;
    deletion::begin_runtime(transaction, id.as_str(), STEP_BYTES)
}
