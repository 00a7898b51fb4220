//! What a directory still has although the store has pruned it: an archive.

use crate::error::RuntimeError;
use crate::layout::error::LayoutError;
use crate::ledger::convert;
use crate::ledger::rows::DiagnosticRow;
use crate::model::persisted::{PersistedRuntimeSnapshot, Stored};
use crate::model::retention::PRUNED;
use crate::store::snapshot::Snapshot;
use std::collections::BTreeMap;

/// Diagnostics by id.
pub(crate) type Diagnostics = BTreeMap<u64, DiagnosticRow>;

/// Takes the diagnostics that `stored` has lost to retention out of `runtime`, which a directory has.
pub(crate) fn take_pruned(
    _snapshot: &Snapshot,
    runtime: Stored<PersistedRuntimeSnapshot>,
    stored: &PersistedRuntimeSnapshot,
) -> Result<(Stored<PersistedRuntimeSnapshot>, Diagnostics), LayoutError> {
    let diagnostics = runtime.value.diagnostics.iter();
    let mut pruned = Vec::new();
    for diagnostic in diagnostics {
        let id = diagnostic.id;
        let is_stored = stored.diagnostics.binary_search_by_key(&id, |stored| stored.id);
        if is_stored.is_ok() || id >= stored.next_diagnostic_id {
            continue;
        }
        if diagnostic.code == PRUNED {
            pruned.push(id);
        }
    }
    if pruned.is_empty() {
        return Ok((runtime, Diagnostics::new()));
    }
    let id = runtime.value.runtime_id.clone();
    let (row, all) = convert::runtime_rows(runtime);
    let is_pruned = |(id, _): &(u64, DiagnosticRow)| pruned.binary_search(id).is_ok();
    let (pruned, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(is_pruned);
    let rest = rest
        .into_iter()
        .map(|(number, row)| convert::diagnostic(&id, number, row))
        .collect::<Result<Vec<_>, String>>()
        .map_err(RuntimeError::InvalidRequest)?;
    let runtime = convert::runtime_snapshot(id, row, rest);
    Ok((runtime, pruned.into_iter().collect()))
}

/// Puts the diagnostics that [`take_pruned`] has taken out of a directory among those of the store.
pub(crate) fn with_pruned(
    stored: Stored<PersistedRuntimeSnapshot>,
    pruned: Diagnostics,
) -> Result<Stored<PersistedRuntimeSnapshot>, LayoutError> {
    if pruned.is_empty() {
        return Ok(stored);
    }
    let id = stored.value.runtime_id.clone();
    let (row, own) = convert::runtime_rows(stored);
    let mut all = pruned;
    all.extend(own);
    let all = all
        .into_iter()
        .map(|(number, row)| convert::diagnostic(&id, number, row))
        .collect::<Result<Vec<_>, String>>()
        .map_err(RuntimeError::InvalidRequest)?;
    Ok(convert::runtime_snapshot(id, row, all))
}
