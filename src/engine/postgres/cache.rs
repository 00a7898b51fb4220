//! The last committed rows of runtimes and workers, in memory.
//!
//! They are valid as long as the version of their runtime is the one of the commit that they were read or written at: the
//! turn that uses them has the runtime locked and has read its version.

use crate::engine::postgres::lock_row::LockRow;
use crate::ledger::change_set::{ChangeSet, RuntimeChanges};
use crate::ledger::rows::{RuntimeRow, WorkerRow};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most runtimes, and the most workers of each, that are in memory.
const MOST: usize = 4096;

#[derive(Default)]
pub(crate) struct RowCache(Mutex<HashMap<String, Cached>>);

/// The rows of a runtime at a version. The inner `None` says that there is no such row.
#[derive(Default)]
struct Cached {
    version: i64,
    runtime: Option<Option<RuntimeRow>>,
    workers: HashMap<String, Option<WorkerRow>>,
}

impl Cached {
    fn at(version: i64) -> Self {
        Self {
            version,
            ..Self::default()
        }
    }

    fn apply(&mut self, changes: &RuntimeChanges) {
        self.version += 1;
        if changes.removed.runtime {
            self.runtime = Some(None);
        }
        if let Some(row) = &changes.row {
            self.runtime = Some(Some(row.clone()));
        }
        for worker in &changes.removed.workers {
            self.workers.insert(worker.clone(), None);
        }
        for (worker, row) in &changes.workers {
            self.workers.insert(worker.clone(), Some(row.clone()));
        }
        if self.workers.len() > MOST {
            self.workers.clear();
        }
    }
}

impl RowCache {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Cached>> {
        // No code that can panic leaves the rows half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn runtime(&self, id: &str, version: i64) -> Option<Option<RuntimeRow>> {
        let rows = self.lock();
        rows.get(id)
            .filter(|cached| cached.version == version)?
            .runtime
            .clone()
    }

    pub(crate) fn worker(&self, id: &str, version: i64, worker: &str) -> Option<Option<WorkerRow>> {
        let rows = self.lock();
        let cached = rows.get(id).filter(|cached| cached.version == version)?;
        cached.workers.get(worker).cloned()
    }

    fn note(&self, id: &str, version: i64, note: impl FnOnce(&mut Cached)) {
        let mut rows = self.lock();
        if rows.len() >= MOST && !rows.contains_key(id) {
            rows.clear();
        }
        let cached = rows.entry(id.to_owned()).or_default();
        if cached.version != version {
            *cached = Cached::at(version);
        }
        note(cached);
    }

    pub(crate) fn note_runtime(&self, id: &str, version: i64, row: Option<&RuntimeRow>) {
        self.note(id, version, |cached| cached.runtime = Some(row.cloned()));
    }

    pub(crate) fn note_worker(
        &self,
        id: &str,
        version: i64,
        (worker, row): (&str, Option<&WorkerRow>),
    ) {
        self.note(id, version, |cached| {
            if cached.workers.len() < MOST {
                cached.workers.insert(worker.to_owned(), row.cloned());
            }
        });
    }

    /// Notes what a commit has written to the runtimes that it had locked.
    pub(crate) fn committed(&self, locked: &BTreeMap<String, LockRow>, changes: &ChangeSet) {
        for (id, changes) in &changes.runtimes {
            if let Some(row) = locked.get(id) {
                self.note(id, row.version, |cached| cached.apply(changes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RowCache;
    use crate::engine::postgres::lock_row::LockRow;
    use crate::ledger::change_set::ChangeSet;
    use crate::ledger::removals::Removals;
    use std::collections::BTreeMap;

    fn locked(version: i64) -> BTreeMap<String, LockRow> {
        let row = LockRow {
            version,
            holder: None,
            epoch: 0,
            is_held: false,
        };
        BTreeMap::from([("r".to_owned(), row)])
    }

    #[test]
    fn rows_of_another_version_are_unknown() {
        let cache = RowCache::default();
        cache.note_runtime("r", 4, None);
        assert_eq!(cache.runtime("r", 4), Some(None));
        assert_eq!(cache.runtime("r", 5), None);
        cache.note_worker("r", 5, ("w", None));
        assert_eq!(cache.runtime("r", 5), None, "the row of version 4 is gone");
    }

    #[test]
    fn commit_carries_known_rows_to_next_version() {
        let cache = RowCache::default();
        cache.note_worker("r", 4, ("w", None));
        let mut changes = ChangeSet::default();
        let removed = Removals {
            runtime: true,
            ..Removals::default()
        };
        changes.remove("r", removed, 0);
        cache.committed(&locked(4), &changes);
        assert_eq!(cache.runtime("r", 5), Some(None));
        assert_eq!(cache.worker("r", 5, "w"), Some(None));
        assert_eq!(cache.runtime("r", 4), None);
    }
}
