//! Reads of all rows of a runtime, a page at a time. Each compares the number of rows with the number that the
//! runtime's row states: a corrupt file can lack a row without any other trace.

use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::convert;
use crate::ledger::convert::stored_size;
use crate::ledger::rows::{PAGE_ROWS, Rows, RuntimeRow, WorkerRow};
use crate::ledger::table_names;
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::persisted::{PersistedRuntimeSnapshot, Stored};

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

/// All workers of a runtime, in the order of their ids.
pub(crate) fn all_workers(
    rows: &dyn Rows,
    id: &RuntimeId,
    runtime: &RuntimeRow,
) -> Result<Vec<(WorkerRef, WorkerRow)>, RuntimeError> {
    let mut all = Vec::new();
    let mut last: Option<String> = None;
    loop {
        let page = rows.workers(id.as_str(), last.as_deref(), PAGE_ROWS)?;
        let Some((worker, _)) = page.last() else {
            refuse_miscounted(
                rows.at(),
                table_names::WORKERS,
                all.len(),
                runtime.workers(),
            )?;
            return Ok(all);
        };
        last = Some(worker.clone());
        for (worker, record) in page {
            let worker_ref =
                convert::worker_ref(id, &worker).map_err(|message| rows.at().corrupt(message))?;
            all.push((worker_ref, record));
        }
    }
}

/// All diagnostics of a runtime, in the order of their ids.
pub(crate) fn all_diagnostics(
    rows: &dyn Rows,
    id: &RuntimeId,
    runtime: &RuntimeRow,
) -> Result<Vec<Stored<RuntimeDiagnostic>>, RuntimeError> {
    let mut all = Vec::new();
    let mut from = 0;
    loop {
        let page = rows.diagnostics(id.as_str(), from, PAGE_ROWS)?;
        let last = page.last().map(|(last, _)| *last);
        for (diagnostic, row) in page {
            let stored = convert::diagnostic(id, diagnostic, row)
                .map_err(|message| rows.at().corrupt(message))?;
            all.push(stored);
        }
        match last.and_then(|last| last.checked_add(1)) {
            Some(next) => from = next,
            None => {
                refuse_miscounted(
                    rows.at(),
                    table_names::DIAGNOSTICS,
                    all.len(),
                    runtime.diagnostics,
                )?;
                return Ok(all);
            }
        }
    }
}
