//! Reads of all rows of a runtime, a page at a time. Each compares the number of rows with the number that the
//! runtime's row states: a corrupt file can lack a row without any other trace.

use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::convert;
use crate::ledger::convert::stored_size;
use crate::ledger::rows::{DiagnosticRow, PAGE_ROWS, Rows, RuntimeRow, WorkerRow};
use crate::ledger::table_names;
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::persisted::{PersistedRuntimeSnapshot, Stored};
use std::ops::ControlFlow;

/// The id and the row of every runtime.
pub(crate) fn all_runtimes(rows: &dyn Rows) -> Result<Vec<(RuntimeId, RuntimeRow)>, RuntimeError> {
    let mut all = Vec::new();
    let mut last: Option<String> = None;
    loop {
        let page = rows.runtimes(last.as_deref(), PAGE_ROWS)?;
        let Some((id, _)) = page.last() else {
            return Ok(all);
        };
        last = Some(id.clone());
        for (id, row) in page {
            let id = RuntimeId::new(id)
                .ok_or_else(|| rows.at().corrupt("a stored runtime id is blank"))?;
            all.push((id, row));
        }
    }
}

/// A runtime's own state with all its diagnostics.
pub(crate) fn runtime_snapshot(
    rows: &dyn Rows,
    id: &RuntimeId,
) -> Result<Option<Stored<PersistedRuntimeSnapshot>>, RuntimeError> {
    let Some(row) = rows.runtime(id.as_str())? else {
        return Ok(None);
    };
    let diagnostics = all_diagnostics(rows, id, &row)?;
    Ok(Some(convert::runtime_snapshot(
        id.clone(),
        row,
        diagnostics,
    )))
}

/// Reports a table that does not have the number of rows that the runtime's row states.
pub(crate) fn refuse_miscounted(
    at: OpContext<'_>,
    table: &str,
    seen: usize,
    counted: u64,
) -> Result<(), RuntimeError> {
    if stored_size(seen) == counted {
        return Ok(());
    }
    Err(at.corrupt(format!(
        "table {table}: {seen} rows, but the runtime says {counted}"
    )))
}

/// Passes every worker of a runtime to `each`, in the order of their ids.
pub(crate) fn each_worker(
    rows: &dyn Rows,
    id: &RuntimeId,
    mut each: impl FnMut(WorkerRef, WorkerRow) -> Result<(), RuntimeError>,
) -> Result<(), RuntimeError> {
    let mut last: Option<String> = None;
    loop {
        let page = rows.workers(id.as_str(), last.as_deref(), PAGE_ROWS)?;
        let Some((worker, _)) = page.last() else {
            return Ok(());
        };
        last = Some(worker.clone());
        for (worker, row) in page {
            let worker =
                convert::worker_ref(id, &worker).map_err(|message| rows.at().corrupt(message))?;
            each(worker, row)?;
        }
    }
}

/// All workers of a runtime, in the order of their ids.
pub(crate) fn all_workers(
    rows: &dyn Rows,
    id: &RuntimeId,
    runtime: &RuntimeRow,
) -> Result<Vec<(WorkerRef, WorkerRow)>, RuntimeError> {
    let mut all = Vec::new();
    each_worker(rows, id, |worker, row| {
        all.push((worker, row));
        Ok(())
    })?;
    let counted = runtime.workers();
    refuse_miscounted(rows.at(), table_names::WORKERS, all.len(), counted)?;
    Ok(all)
}

/// Passes the diagnostics of a runtime from the id `from` on to `each`, in the order of their ids, until it breaks.
/// Returns whether it did not.
pub(crate) fn each_diagnostic(
    rows: &dyn Rows,
    runtime: &str,
    from: u64,
    mut each: impl FnMut(u64, DiagnosticRow) -> Result<ControlFlow<()>, RuntimeError>,
) -> Result<bool, RuntimeError> {
    let mut next = Some(from);
    while let Some(first) = next {
        let page = rows.diagnostics(runtime, first, PAGE_ROWS)?;
        next = page.last().and_then(|(last, _)| last.checked_add(1));
        for (id, row) in page {
            if each(id, row)?.is_break() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// All diagnostics of a runtime, in the order of their ids.
pub(crate) fn all_diagnostics(
    rows: &dyn Rows,
    id: &RuntimeId,
    runtime: &RuntimeRow,
) -> Result<Vec<Stored<RuntimeDiagnostic>>, RuntimeError> {
    let mut all = Vec::new();
    each_diagnostic(rows, id.as_str(), 0, |diagnostic, row| {
        let stored = convert::diagnostic(id, diagnostic, row)
            .map_err(|message| rows.at().corrupt(message))?;
        all.push(stored);
        Ok(ControlFlow::Continue(()))
    })?;
    let counted = runtime.diagnostics;
    refuse_miscounted(rows.at(), table_names::DIAGNOSTICS, all.len(), counted)?;
    Ok(all)
}
