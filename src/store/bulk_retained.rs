//! What a bulk load writes besides the rows of the model: floors, pins and import records, and the inconsistent rows of
//! tests.

use crate::error::RuntimeError;
use crate::ledger::convert::owner_of;
use crate::ledger::run::EventRun;
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::ledger::table_names::NO_RUNTIME;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::persisted::{
    ImportRecord, PersistedRuntimeSnapshot, PersistedWorkerSnapshot, RuntimeFacts, Stored,
    WorkerRetention,
};
use crate::store::bulk_load::BulkLoad;

impl BulkLoad<'_> {
    /// As [`put_worker`](Self::put_worker), with the floor of the transcript and the pin.
    pub(crate) fn put_retained_worker(
        &mut self,
        worker: Stored<PersistedWorkerSnapshot>,
        retention: WorkerRetention,
    ) -> Result<(), RuntimeError> {
        self.put_worker_of(worker, Some(retention))
    }

    /// As [`put_runtime`](Self::put_runtime), with the floor of the event log and the form of the directory.
    pub(crate) fn put_retained_runtime(
        &mut self,
        runtime: Stored<PersistedRuntimeSnapshot>,
        facts: RuntimeFacts,
    ) -> Result<(), RuntimeError> {
        self.put_runtime_of(runtime, Some(facts))
    }

    /// Adds tombstones of workers, except of those that the runtime has when the load ends.
    pub(crate) fn put_removed_workers(
        &mut self,
        id: &RuntimeId,
        workers: impl Iterator<Item = (WorkerId, TombstoneRow)>,
    ) {
        let workers = workers.map(|(worker, row)| (WorkerRef::new(id.clone(), worker), row));
        self.removed.extend(workers);
    }

    /// Writes the tombstones of the load, and those of the workers that its events report as deleted.
    pub(super) fn write_tombstones(&mut self) -> Result<(), RuntimeError> {
        let mut rows = Vec::new();
        let mut all = std::mem::take(&mut self.removed);
        for worker in std::mem::take(&mut self.deleted) {
            all.insert(worker, TombstoneRow::Deleted { at_ms: None });
        }
        for (worker, row) in all {
            let (runtime_id, worker_id) = owner_of(&worker);
            if self.view().worker(runtime_id, worker_id)?.is_none() {
                rows.push((worker, row));
            }
        }
        self.target.put_tombstones(&rows)
    }

    /// Notes the last change number of a runtime that the store has. The workers that replace its workers get later
    /// numbers, so that a host which follows the changes of the runtime reads them.
    pub(super) fn note_last_change(&mut self, id: &RuntimeId) -> Result<(), RuntimeError> {
        if !self.last_changes.contains_key(id) {
            let row = self.view().runtime(id.as_str())?;
            let last = row.map_or(0, |row| row.last_change);
            self.last_changes.insert(id.clone(), last);
        }
        Ok(())
    }

    /// The change number of a worker that the load puts.
    pub(super) fn next_change(&mut self, id: &RuntimeId) -> Result<u64, RuntimeError> {
        self.note_last_change(id)?;
        let last = self.last_changes.entry(id.clone()).or_default();
        *last = last.saturating_add(1);
        Ok(*last)
    }

    /// Stores the last change numbers of runtimes whose workers were put after them.
    pub(super) fn write_last_changes(&mut self) -> Result<(), RuntimeError> {
        for (id, last) in std::mem::take(&mut self.last_changes) {
            let Some(mut row) = self.view().runtime(id.as_str())? else {
                continue;
            };
            if row.last_change < last {
                row.last_change = last;
                self.target.put_runtime(id.as_str(), &row)?;
            }
        }
        Ok(())
    }

    /// Begins the transcript of a worker, which has no entries, at a position: those before it were pruned.
    pub(crate) fn begin_transcript(
        &mut self,
        worker: WorkerRef,
        first_position: u64,
    ) -> Result<(), RuntimeError> {
        self.end_transcript()?;
        self.begun = Some((worker, first_position));
        Ok(())
    }

    /// The position of the first entry of a transcript that has none.
    pub(super) fn begin_of(&self, worker: &WorkerRef) -> Result<u64, RuntimeError> {
        if let Some((_, first)) = self.begun.as_ref().filter(|(begun, _)| begun == worker) {
            return Ok(*first);
        }
        let (runtime_id, worker_id) = owner_of(worker);
        // Retention can have removed all entries of a stored worker. Its positions do not shift.
        let row = self.view().worker(runtime_id, worker_id)?;
        Ok(row.map_or(0, |row| row.first_position))
    }

    /// Rejects events below the floor of a stored log: retention has removed those with their ids.
    pub(super) fn refuse_below_floor(&self, events: &EventRun) -> Result<(), RuntimeError> {
        let Some((first, _)) = events.run.rows().next().filter(|_| self.is_checked) else {
            return Ok(());
        };
        let id = events.runtime_id.as_str();
        match self.view().runtime(id)? {
            Some(row) if first < row.first_event_id => Err(RuntimeError::InvalidRequest(format!(
                "event id {first} of runtime {id}: everything before {} was pruned",
                row.first_event_id
            ))),
            _ => Ok(()),
        }
    }

    /// Counts one worker too many, for simulations of a deletion that forgets the count.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    pub fn count_one_more(&mut self, id: &RuntimeId) -> Result<(), RuntimeError> {
        self.without_checks();
        if let Some(mut row) = self.view().runtime(id.as_str())? {
            row.stopped_workers += 1;
            self.target.put_runtime(id.as_str(), &row)?;
        }
        Ok(())
    }

    /// Raises the floor of an event log and leaves its rows, for tests of verification.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    pub fn raise_floor(&mut self, id: &RuntimeId, first_event_id: u64) -> Result<(), RuntimeError> {
        if let Some(mut row) = self.view().runtime(id.as_str())? {
            row.first_event_id = first_event_id;
            self.target.put_runtime(id.as_str(), &row)?;
        }
        Ok(())
    }

    /// Writes a chunk of a file of a runtime, or with `None` of no runtime. `path` is a path of
    /// [`kept_file`](crate::ledger::stored::kept_file).
    pub(crate) fn put_file_chunk(
        &mut self,
        id: Option<&RuntimeId>,
        (path, chunk): (&str, u64),
        row: &FileChunkRow,
    ) -> Result<(), RuntimeError> {
        if let Some(id) = id {
            // Otherwise a later row would remove this one with what is left of a deleted runtime.
            self.prepare(id)?;
        }
        let key = (id.map_or(NO_RUNTIME, RuntimeId::as_str), path, chunk);
        self.target.put_file_chunk(key, row)
    }

    /// Removes a file that belongs to no runtime, those that have its path as their directory, and those whose paths are
    /// its directories: a file and a directory of one name exclude each other.
    pub(crate) fn remove_file_of_no_runtime(&mut self, path: &str) -> Result<(), RuntimeError> {
        let (below, end) = (format!("{path}/"), format!("{path}0"));
        let mut above = path;
        while above != "r" {
            self.target.remove_file(NO_RUNTIME, above)?;
            above = above.rsplit_once('/').map_or("r", |(above, _)| above);
        }
        self.target.remove_files(NO_RUNTIME, &below, &end)
    }

    /// Writes the import record of a runtime, or with `None` the record of the files that belong to no
    /// runtime.
    ///
    /// # Errors
    ///
    /// As [`contains_runtime`](Self::contains_runtime).
    pub(crate) fn put_import_record(
        &mut self,
        id: Option<&RuntimeId>,
        record: ImportRecord,
    ) -> Result<(), RuntimeError> {
        let key = id.map_or(NO_RUNTIME, RuntimeId::as_str);
        self.target.put_import(key, &record)
    }
}
