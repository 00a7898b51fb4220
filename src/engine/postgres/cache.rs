//! The last committed rows of runtimes and workers, in memory.
//!
//! They are valid as long as the version of their runtime is the one of the commit that they were read or written at: the
//! turn that uses them has the runtime locked and has read its version.

use crate::engine::postgres::lock_row::{LockRow, Token, Version};
use crate::ledger::change_set::{ChangeSet, RuntimeChanges};
use crate::ledger::rows::{RuntimeRow, WorkerRow};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most bytes of rows that are in memory, by an estimate.
const MOST_BYTES: usize = 64 << 20;

/// Memory of a row besides its texts.
const ROW_BYTES: usize = 256;

#[derive(Default)]
pub(crate) struct RowCache(Mutex<Rows>);

#[derive(Default)]
struct Rows {
    runtimes: HashMap<String, Cached>,
    /// The sum of those of the runtimes.
    bytes: usize,
}

/// The rows of a runtime at a version. The inner `None` says that there is no such row.
#[derive(Default)]
struct Cached {
    version: Version,
    runtime: Option<Option<RuntimeRow>>,
    workers: HashMap<String, Option<WorkerRow>>,
    bytes: usize,
}

fn runtime_bytes(row: Option<&RuntimeRow>) -> usize {
    ROW_BYTES + row.map_or(0, RuntimeRow::text_bytes)
}

fn worker_bytes(id: &str, row: Option<&WorkerRow>) -> usize {
    ROW_BYTES + id.len() + row.map_or(0, WorkerRow::text_bytes)
}

impl Cached {
    fn at(id: &str, version: Version) -> Self {
        Self {
            version,
            bytes: ROW_BYTES + id.len(),
            ..Self::default()
        }
    }

    fn set_runtime(&mut self, row: Option<RuntimeRow>) {
        self.bytes += runtime_bytes(row.as_ref());
        if let Some(replaced) = self.runtime.replace(row) {
            self.bytes -= runtime_bytes(replaced.as_ref());
        }
    }

    fn set_worker(&mut self, id: &str, row: Option<WorkerRow>) {
        self.bytes += worker_bytes(id, row.as_ref());
        if let Some(replaced) = self.workers.insert(id.to_owned(), row) {
            self.bytes -= worker_bytes(id, replaced.as_ref());
        }
    }

    fn apply(&mut self, token: Token, changes: &RuntimeChanges) {
        self.version = self.version.after(token);
        if changes.removed.runtime {
            self.set_runtime(None);
        }
        if let Some(row) = &changes.row {
            self.set_runtime(Some(row.clone()));
        }
        for worker in &changes.removed.workers {
            self.set_worker(worker, None);
        }
        for (worker, row) in &changes.workers {
            self.set_worker(worker, Some(row.clone()));
        }
    }
}

impl RowCache {
    fn lock(&self) -> MutexGuard<'_, Rows> {
        // No code that can panic leaves the rows half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn runtime(&self, id: &str, version: Version) -> Option<Option<RuntimeRow>> {
        let rows = self.lock();
        let cached = rows.runtimes.get(id);
        cached
            .filter(|cached| cached.version == version)?
            .runtime
            .clone()
    }

    pub(crate) fn worker(
        &self,
        id: &str,
        version: Version,
        worker: &str,
    ) -> Option<Option<WorkerRow>> {
        let rows = self.lock();
        let cached = rows.runtimes.get(id);
        let cached = cached.filter(|cached| cached.version == version)?;
        cached.workers.get(worker).cloned()
    }

    fn note(&self, id: &str, version: Version, note: impl FnOnce(&mut Cached)) {
        let mut rows = self.lock();
        let mut cached = rows.runtimes.remove(id).unwrap_or_default();
        rows.bytes -= cached.bytes;
        if cached.version != version || cached.bytes == 0 {
            cached = Cached::at(id, version);
        }
        note(&mut cached);
        if rows.bytes + cached.bytes > MOST_BYTES {
            *rows = Rows::default();
        }
        if cached.bytes <= MOST_BYTES {
            rows.bytes += cached.bytes;
            rows.runtimes.insert(id.to_owned(), cached);
        }
    }

    pub(crate) fn note_runtime(&self, id: &str, version: Version, row: Option<&RuntimeRow>) {
        self.note(id, version, |cached| cached.set_runtime(row.cloned()));
    }

    pub(crate) fn note_worker(
        &self,
        id: &str,
        version: Version,
        (worker, row): (&str, Option<&WorkerRow>),
    ) {
        self.note(id, version, |cached| {
            cached.set_worker(worker, row.cloned());
        });
    }

    /// Notes what the commit with `token` has written to the runtimes that it had locked.
    pub(crate) fn committed(
        &self,
        locked: &BTreeMap<String, LockRow>,
        token: Token,
        changes: &ChangeSet,
    ) {
        for (id, changes) in &changes.runtimes {
            if let Some(row) = locked.get(id) {
                self.note(id, row.version, |cached| cached.apply(token, changes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_BYTES, RowCache};
    use crate::engine::postgres::lock_row::{LockRow, Token, Version};
    use crate::ledger::change_set::ChangeSet;
    use crate::ledger::removals::Removals;
    use std::collections::BTreeMap;

    /// The token of the commits of these tests.
    const TOKEN: Token = [7; 16];

    fn version(number: i64) -> Version {
        Version {
            number,
            stamp: Some(TOKEN),
        }
    }

    fn locked(number: i64) -> BTreeMap<String, LockRow> {
        let row = LockRow {
            version: version(number),
            holder: None,
            epoch: 0,
            is_held: false,
        };
        BTreeMap::from([("r".to_owned(), row)])
    }

    #[test]
    fn rows_of_another_version_are_unknown() {
        let cache = RowCache::default();
        cache.note_runtime("r", version(4), None);
        assert_eq!(cache.runtime("r", version(4)), Some(None));
        assert_eq!(cache.runtime("r", version(5)), None);
        cache.note_worker("r", version(5), ("w", None));
        assert_eq!(
            cache.runtime("r", version(5)),
            None,
            "the row of version 4 is gone"
        );
    }

    /// A fail-over that lost commits: the new primary counts to the same number with others.
    #[test]
    fn same_number_of_another_commit_is_unknown() {
        let cache = RowCache::default();
        cache.note_runtime("r", version(4), None);
        let other = Version {
            stamp: Some([8; 16]),
            ..version(4)
        };
        assert_eq!(cache.runtime("r", other), None);
        assert_ne!(version(4).digest(), other.digest());
    }

    #[test]
    fn commit_carries_known_rows_to_next_version() {
        let cache = RowCache::default();
        cache.note_worker("r", version(4), ("w", None));
        let mut changes = ChangeSet::default();
        let removed = Removals {
            runtime: true,
            ..Removals::default()
        };
        changes.remove("r", removed, 0);
        cache.committed(&locked(4), TOKEN, &changes);
        assert_eq!(cache.runtime("r", version(5)), Some(None));
        assert_eq!(cache.worker("r", version(5), "w"), Some(None));
        assert_eq!(cache.runtime("r", version(4)), None);
    }

    #[test]
    fn memory_of_rows_is_bounded() {
        let cache = RowCache::default();
        let long = "x".repeat(MOST_BYTES / 8);
        for number in 0..20 {
            let id = format!("{number} {long}");
            cache.note_worker("r", version(4), (&id, None));
            cache.note_worker(&id, version(4), ("w", None));
            let rows = cache.lock();
            let sum: usize = rows.runtimes.values().map(|cached| cached.bytes).sum();
            assert_eq!(rows.bytes, sum);
            assert!(sum <= MOST_BYTES);
        }
        assert_eq!(cache.worker("r", version(5), "w"), None);
    }
}
