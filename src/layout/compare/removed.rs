//! The removed workers that `runtime.json` lists, so that an import does not use their ids again.

use crate::layout::error::LayoutError;
use crate::layout::format::document::{PrunedWorker, RemovedWorkers};
use crate::ledger::stored::tombstone::{TombstoneRow, WorkerEnd};
use crate::model::borrowed::BorrowedEvent;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::observation::RuntimeEventKind;
use crate::store::snapshot::Snapshot;
use std::collections::{BTreeSet, HashSet};

/// The workers of a runtime that retention removed, and the deleted ones that no event reports.
pub(crate) fn removed_workers(
    snapshot: &Snapshot,
    id: &RuntimeId,
) -> Result<RemovedWorkers, LayoutError> {
    let mut removed = RemovedWorkers::default();
    let mut deleted = BTreeSet::new();
    for found in snapshot.tombstones(id) {
        let (worker, tombstone) = found?;
        match tombstone {
            TombstoneRow::Dropped { end, .. } => {
                let worker = WorkerId::new(worker);
                let listed = worker.map(|worker_id| listed_worker(worker_id, end));
                removed.pruned.extend(listed);
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

/// A worker that the directory lists, with the state that it had when retention removed it.
fn listed_worker(worker_id: WorkerId, end: WorkerEnd) -> PrunedWorker {
    PrunedWorker {
        worker_id,
        transcript_len: end.transcript_len,
        next_transcript_sequence: end.next_sequence,
        last_event_id: end.last_event_id,
    }
}

/// The workers of a directory that the store does not have.
#[derive(Debug, Default)]
pub(crate) struct Present {
    /// The workers with a directory.
    pub(crate) workers: HashSet<WorkerId>,
    /// The workers that events below the floor of the store report as deleted.
    deleted: HashSet<String>,
}

impl Present {
    /// Takes note of an event of the directory which the store has pruned.
    pub(crate) fn pruned_event(&mut self, event: &BorrowedEvent<'_>) {
        if event.kind == RuntimeEventKind::WorkerDeleted
            && let Some(worker) = &event.worker_ref
        {
            self.deleted.insert(worker.worker_id.to_string());
        }
    }

    /// Whether the directory says without a list that the worker was deleted.
    pub(crate) fn reports_deleted(&self, worker: &WorkerId) -> bool {
        self.deleted.contains(worker.as_str())
    }

    /// The differences between the removed workers that the directory lists and those of the store, in words.
    pub(crate) fn differences(
        &self,
        snapshot: &Snapshot,
        id: &RuntimeId,
        listed: &RemovedWorkers,
    ) -> Result<Vec<String>, LayoutError> {
        let mut differences = Vec::new();
        for worker in &listed.pruned {
            let worker_ref = WorkerRef::new(id.clone(), worker.worker_id.clone());
            let name = &worker.worker_id;
            match snapshot.tombstone(&worker_ref)? {
                Some(TombstoneRow::Dropped { end, .. })
                    if listed_worker(name.clone(), end) == *worker => {}
                Some(TombstoneRow::Dropped { .. }) => differences.push(format!(
                    "pruned_workers: worker \"{name}\" ended otherwise in the store"
                )),
                // Of a worker with a directory the list only says where it ended, and a store can have imported it.
                _ if self.workers.contains(name) => {}
                _ => differences.push(format!(
                    "pruned_workers: retention did not remove worker \"{name}\" from the store"
                )),
            }
        }
        for name in &listed.deleted {
            let worker_ref = WorkerRef::new(id.clone(), name.clone());
            if !matches!(
                snapshot.tombstone(&worker_ref)?,
                Some(TombstoneRow::Deleted { .. })
            ) {
                differences.push(format!(
                    "deleted_workers: worker \"{name}\" was not deleted from the store"
                ));
            }
        }
        let of_store = removed_workers(snapshot, id)?;
        let is_listed = |worker: &PrunedWorker| {
            let mut listed = listed.pruned.iter();
            listed.any(|listed| listed.worker_id == worker.worker_id)
        };
        let mut lacking = of_store.pruned;
        lacking.retain(|one| !self.workers.contains(&one.worker_id) && !is_listed(one));
        differences.extend(lacking.into_iter().map(|one| {
            let name = one.worker_id;
            format!("pruned_workers: the directory lacks worker \"{name}\", which retention removed from the store")
        }));
        let mut lacking = of_store.deleted;
        lacking.retain(|name| !listed.deleted.contains(name) && !self.reports_deleted(name));
        differences.extend(lacking.into_iter().map(|name| {
            format!("deleted_workers: the directory lacks worker \"{name}\", which was deleted from the store")
        }));
        Ok(differences)
    }
}
