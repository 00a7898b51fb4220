//! The removed workers that an export lists, so that an import does not use their ids again.

use crate::layout::error::LayoutError;
use crate::layout::format::document::{PrunedWorker, RemovedWorkers};
use crate::ledger::tombstone::TombstoneRow;
use crate::model::identity::{RuntimeId, WorkerId};
use crate::model::observation::RuntimeEventKind;
use crate::store::snapshot::Snapshot;
use std::collections::BTreeSet;

/// The workers of a runtime that retention removed, and the deleted ones that no event reports.
pub(crate) fn removed_workers(
    snapshot: &Snapshot,
    id: &RuntimeId,
) -> Result<RemovedWorkers, LayoutError> {
    let mut removed = RemovedWorkers::default();
    let mut deleted = BTreeSet::new();
    for (worker, tombstone) in snapshot.tombstones(id)? {
        match tombstone {
            TombstoneRow::Dropped { end, .. } => {
                removed
                    .pruned
                    .extend(WorkerId::new(worker).map(|worker_id| PrunedWorker {
                        worker_id,
                        transcript_len: end.transcript_len,
                        next_transcript_sequence: end.next_sequence,
                        last_event_id: end.last_event_id,
                    }));
            }
            TombstoneRow::Deleted { .. } => drop(deleted.insert(worker)),
            TombstoneRow::Unfinished(_) => {}
        }
    }
    if !deleted.is_empty() {
        snapshot.each_event(id, |event| {
            if event.kind == RuntimeEventKind::WorkerDeleted
                && let Some(worker) = &event.worker_ref
            {
                deleted.remove(&*worker.worker_id);
            }
            Ok::<_, LayoutError>(())
        })?;
    }
    removed.deleted = deleted.into_iter().filter_map(WorkerId::new).collect();
    Ok(removed)
}
