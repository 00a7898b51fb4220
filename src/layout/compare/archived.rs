//! What a directory still has although the store has removed it: an archive.

use crate::error::RuntimeError;
use crate::layout::error::LayoutError;
use crate::ledger::convert;
use crate::ledger::rows::DiagnosticRow;
use crate::ledger::stored::tombstone::{TombstoneRow, WorkerEnd};
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::persisted::{PersistedRuntimeSnapshot, Stored};
use crate::model::retention::PRUNED;
use crate::store::snapshot::Snapshot;
use std::collections::BTreeMap;

/// Why the store lacks a worker that the directory has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Retention removed it, at this end: the directory keeps it.
    Pruned(WorkerEnd),
    /// It was deleted: the directory must not keep it.
    Deleted,
}

/// Why the store lacks a worker; `None` if it has the worker, or never had it.
pub(crate) fn gone_worker(
    snapshot: &Snapshot,
    worker: &WorkerRef,
) -> Result<Option<Gone>, LayoutError> {
    Ok(match snapshot.tombstone(worker)? {
        Some(TombstoneRow::Dropped { end, .. }) => Some(Gone::Pruned(end)),
        Some(TombstoneRow::Deleted { .. }) => Some(Gone::Deleted),
        Some(TombstoneRow::Unfinished(_)) | None => None,
    })
}

/// The rows that a directory has of a worker that retention removed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Archived {
    records: u64,
    /// The sequence of the last entry; 0 if there is none.
    last: u64,
}

impl Archived {
    /// Counts an entry of the directory.
    pub(crate) fn note(&mut self, sequence: u64) {
        self.records += 1;
        self.last = sequence;
    }

    /// The first and the last position that the directory lacks, if its transcript begins at `first_position`; `None` if it
    /// has the end of the transcript.
    pub(crate) fn missing(&self, first_position: u64, end: WorkerEnd) -> Option<(u64, u64)> {
        let reached = first_position.saturating_add(self.records);
        // After a gap the directory has fewer entries, but their last one has the last sequence.
        let has_end = self.records > 0 && self.last.saturating_add(1) >= end.next_sequence;
        match has_end || reached >= end.transcript_len {
            true => None,
            false => Some((reached, end.transcript_len - 1)),
        }
    }
}

/// Diagnostics by id.
pub(crate) type Diagnostics = BTreeMap<u64, DiagnosticRow>;

/// The runtime of a directory without the diagnostics that the store has removed.
pub(crate) struct Split {
    pub(crate) runtime: Stored<PersistedRuntimeSnapshot>,
    /// The diagnostics that retention removed.
    pub(crate) pruned: Diagnostics,
}

/// Takes the diagnostics that the store has removed out of `runtime`, which a directory has. Those of deleted workers are
/// dropped if `drops_deleted` is set, and stay otherwise.
pub(crate) fn split(
    snapshot: &Snapshot,
    runtime: Stored<PersistedRuntimeSnapshot>,
    stored: &PersistedRuntimeSnapshot,
    drops_deleted: bool,
) -> Result<Split, LayoutError> {
    let mut gone = BTreeMap::new();
    for diagnostic in &runtime.value.diagnostics {
        if let Some(is_pruned) = is_pruned(snapshot, diagnostic, stored)? {
            gone.insert(diagnostic.id, is_pruned);
        }
    }
    if !drops_deleted {
        gone.retain(|_, is_pruned| *is_pruned);
    }
    let mut pruned = Diagnostics::new();
    if gone.is_empty() {
        return Ok(Split { runtime, pruned });
    }
    let id = runtime.value.runtime_id.clone();
    let (row, all) = convert::runtime_rows(runtime);
    let mut rest = Vec::new();
    for (number, diagnostic) in all {
        match gone.get(&number) {
            None => rest.push((number, diagnostic)),
            Some(false) => {}
            Some(true) => {
                pruned.insert(number, diagnostic);
            }
        }
    }
    let runtime = convert::runtime_snapshot(id.clone(), row, diagnostics(&id, rest)?);
    Ok(Split { runtime, pruned })
}

/// Whether retention has removed a diagnostic from the store, or a deletion; `None` if the store has it, or never had it.
fn is_pruned(
    snapshot: &Snapshot,
    diagnostic: &RuntimeDiagnostic,
    stored: &PersistedRuntimeSnapshot,
) -> Result<Option<bool>, LayoutError> {
    let id = diagnostic.id;
    let all = &stored.diagnostics;
    let is_stored = all.binary_search_by_key(&id, |stored| stored.id).is_ok();
    if is_stored || id >= stored.next_diagnostic_id {
        return Ok(None);
    }
    let Some(worker) = &diagnostic.worker_ref else {
        return Ok((diagnostic.code == PRUNED).then_some(true));
    };
    let gone = gone_worker(snapshot, worker)?;
    Ok(gone.map(|gone| gone != Gone::Deleted))
}

/// Puts the diagnostics that [`split`] has taken out of a directory among those of the store.
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
    Ok(convert::runtime_snapshot(
        id.clone(),
        row,
        diagnostics(&id, all)?,
    ))
}

fn diagnostics(
    id: &RuntimeId,
    rows: impl IntoIterator<Item = (u64, DiagnosticRow)>,
) -> Result<Vec<Stored<RuntimeDiagnostic>>, LayoutError> {
    rows.into_iter()
        .map(|(number, row)| convert::diagnostic(id, number, row))
        .collect::<Result<_, String>>()
        .map_err(|message| RuntimeError::InvalidRequest(message).into())
}
