//! The persistence boundary under a runtime, for hosts that keep their own runtime logic.

use crate::error::RuntimeError;
use crate::ledger::checks::{self, refuse_behind, refuse_not_after};
use crate::ledger::convert::{self, stored_size};
use crate::ledger::rows::{Rows, RuntimeRow};
use crate::ledger::table_names;
use crate::ledger::transaction::Transaction;
use crate::ledger::whole::{all_diagnostics, all_workers};
use crate::model::catalog::CreateWorkerRequest;
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::{TranscriptEntry, TranscriptProjection, TranscriptQuery};
use crate::model::layout_form::LineForm;
use crate::model::observation::{EventCursor, RuntimeEvent, RuntimeEventBatch};
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedRuntimeState, PersistedWorkerSnapshot, Stored, UnknownMember,
};
use crate::model::retention::PRUNED;
use crate::runtime::pages::{self, refuse_foreign, runtime_row, worker_row};
use crate::store::handle::Store;
use std::collections::BTreeMap;
use std::path::Path;

/// The persistence boundary of one runtime: reads and writes its state, without the rules of
/// [`Runtime`](crate::Runtime). Clones are handles of the same store.
#[derive(Clone, Debug)]
pub struct RedbRuntimeStore {
    store: Store,
    runtime_id: RuntimeId,
}

impl Store {
    /// The persistence boundary of the runtime `id`, for hosts that keep their own runtime logic.
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound` for an unknown runtime, and the errors of every read.
    pub fn runtime_store(&self, id: &RuntimeId) -> Result<RedbRuntimeStore, RuntimeError> {
        RedbRuntimeStore::new(self.clone(), id.clone())
    }
}

impl RedbRuntimeStore {
    pub(crate) fn new(store: Store, runtime_id: RuntimeId) -> Result<Self, RuntimeError> {
        checks::refuse_long_id(runtime_id.as_str())?;
        let this = Self { store, runtime_id };
        this.read("open runtime", |rows| this.row(rows))?;
        Ok(this)
    }

    fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&dyn Rows) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.store.read(operation, read)
    }

    fn row(&self, rows: &dyn Rows) -> Result<RuntimeRow, RuntimeError> {
        runtime_row(rows, &self.runtime_id)
    }

    /// The path that the store was opened at.
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    /// The runtime.
    pub fn runtime_id(&self) -> &RuntimeId {
        &self.runtime_id
    }

    /// Reads up to `limit` events, starting at `cursor`.
    ///
    /// # Errors
    ///
    /// `WrongRuntimeCursor`; `EventsPruned` for a cursor below the first event that retention has left;
    /// `RuntimeNotFound` if the runtime was removed; `LimitTooLarge` if `limit` is greater than `max_limit`; `StoreIo`,
    /// `StoreCorrupt`, `StoreClosed`.
    pub fn read_events(
        &self,
        cursor: &EventCursor,
        limit: usize,
        max_limit: usize,
    ) -> Result<RuntimeEventBatch, RuntimeError> {
        self.read("read events", |rows| {
            pages::refuse_foreign_cursor(&self.runtime_id, cursor)?;
            pages::read_events(rows, &self.runtime_id, cursor, limit, max_limit)
        })
    }

    /// A page of a worker's transcript.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`, `WorkerNotFound`; `LimitTooLarge` if the query's limit is greater than
    /// `max_limit`; `StoreIo`, `StoreCorrupt`, `StoreClosed`.
    pub fn read_transcript(
        &self,
        worker_ref: &WorkerRef,
        query: TranscriptQuery,
        max_limit: usize,
    ) -> Result<TranscriptProjection, RuntimeError> {
        self.read("read transcript", |rows| {
            refuse_foreign(&self.runtime_id, worker_ref)?;
            pages::read_transcript(rows, worker_ref, query, max_limit)
        })
    }

    /// The runtime's state without its logs, in one snapshot.
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound` if the runtime was removed; `StoreIo`, `StoreCorrupt`, `StoreClosed`.
    pub fn load_runtime_state(&self) -> Result<PersistedRuntimeState, RuntimeError> {
        self.read("load runtime state", |rows| {
            let id = &self.runtime_id;
            let row = runtime_row(rows, id)?;
            let workers = all_workers(rows, id, &row)?
                .into_iter()
                .map(|(worker_ref, row)| convert::worker_snapshot(worker_ref, row).value)
                .collect();
            let diagnostics = all_diagnostics(rows, id, &row)?;
            let runtime = convert::runtime_snapshot(id.clone(), row, diagnostics);
            Ok(PersistedRuntimeState {
                runtime: runtime.value,
                workers,
            })
        })
    }

    /// Runs `stage` and commits its writes as one transaction. When this returns `Ok`, the writes are on
    /// disk. An `Err` or a panic of `stage` undoes all of them.
    ///
    /// `stage` runs once, on the calling thread, while other writers of the store wait: keep it short. It may
    /// use the store through its argument only.
    ///
    /// # Errors
    ///
    /// The error of `stage`, and the errors of every write: `StoreReadOnly`, `StoreClosed`, `StoreFailed`,
    /// `StoreIo`, `StoreCorrupt`; `CommitUncertain` if it is unknown whether the store has the writes.
    pub fn commit<T>(
        &self,
        stage: impl FnOnce(&mut RuntimeStoreTransaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.store
            .write_from(&self.runtime_id, "commit", |transaction| {
                runtime_row(transaction, &self.runtime_id)?;
                RuntimeStoreTransaction::run(transaction, &self.runtime_id, stage)
            })
    }
}

/// The writes of one commit. See [`RedbRuntimeStore::commit`].
#[derive(Debug)]
pub struct RuntimeStoreTransaction<'t> {
    transaction: Transaction<'t>,
    runtime_id: &'t RuntimeId,
    /// The `next_transcript_sequence` that workers had before this commit wrote their snapshots.
    sequences_before: BTreeMap<WorkerId, u64>,
}

impl RuntimeStoreTransaction<'_> {
    /// Runs `stage` on `transaction`. If it fails, the caller drops the transaction.
    fn run<T>(
        transaction: &mut Transaction<'_>,
        runtime_id: &RuntimeId,
        stage: impl FnOnce(&mut RuntimeStoreTransaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let mut own = RuntimeStoreTransaction {
            transaction: transaction.lend(),
            runtime_id,
            sequences_before: BTreeMap::new(),
        };
        let result = stage(&mut own)?;
        transaction.give_back(own.transaction);
        Ok(result)
    }

    /// Runs one method. If it fails, its changes are discarded.
    fn part<T>(
        &mut self,
        stage: impl FnOnce(&mut RuntimeStoreTransaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let runtime_id = self.runtime_id;
        self.transaction
            .nested(|transaction| RuntimeStoreTransaction::run(transaction, runtime_id, stage))
    }

    fn refuse_foreign(&self, worker_ref: Option<&WorkerRef>) -> Result<(), RuntimeError> {
        worker_ref.map_or(Ok(()), |worker_ref| {
            refuse_foreign(self.runtime_id, worker_ref)
        })
    }

    /// Replaces the row of the runtime, and appends new diagnostics. The diagnostics of `runtime` must begin
    /// with the stored ones, unchanged. Diagnostics of `runtime` that the store has removed, those of deleted workers and records of
    /// prunes, are ignored. If `next_diagnostic_id` is smaller than the stored one, that stays.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a snapshot of another runtime, for a counter that is not greater than every
    /// assigned id, and for diagnostics that do not continue the stored ones; `WrongRuntime` for a
    /// diagnostic about a worker of another runtime.
    pub fn write_runtime_snapshot(
        &mut self,
        snapshot: &PersistedRuntimeSnapshot,
    ) -> Result<(), RuntimeError> {
        self.part(|part| part.stage_runtime(snapshot))
    }

    fn stage_runtime(&mut self, snapshot: &PersistedRuntimeSnapshot) -> Result<(), RuntimeError> {
        let id = self.runtime_id;
        if snapshot.runtime_id != *id {
            return Err(RuntimeError::InvalidRequest(format!(
                "the snapshot is of runtime {}, this is runtime {id}",
                snapshot.runtime_id
            )));
        }
        let current = runtime_row(&self.transaction, id)?;
        let stored = all_diagnostics(&self.transaction, id, &current)?;
        let given = &snapshot.diagnostics;
        checks::refuse_unordered_diagnostics(given.iter().map(|one| one.id), None)?;
        let Some(added) = self.added_diagnostics(&current, &stored, given)? else {
            return Err(RuntimeError::InvalidRequest(
                "the diagnostics of the snapshot do not continue the stored ones".to_owned(),
            ));
        };
        let kept = stored_size(stored.len());
        let stored = stored.last().map(|stored| stored.value.id);
        let last = added.last().map(|added| added.id).or(stored);
        let (mut new, _) = convert::runtime_rows(snapshot.clone().into());
        convert::keep_runtime_additions(&mut new, &current);
        for diagnostic in added {
            self.refuse_foreign(diagnostic.worker_ref.as_ref())?;
            let mut row = convert::diagnostic_row(diagnostic.clone().into());
            row.recorded_at_ms = Some(new.tick(self.transaction.now_ms()));
            self.transaction
                .changes()
                .put_diagnostic(id.as_str(), diagnostic.id, row)?;
        }
        let last_event = self.last_event(&current)?;
        checks::refuse_counters_behind(&new, last_event, last)?;
        // The host does not know the ids of records that prunes have written, and removed since.
        new.next_diagnostic_id = new.next_diagnostic_id.max(current.next_diagnostic_id);
        new.diagnostics = kept.saturating_add(stored_size(added.len()));
        new.running_workers = current.running_workers;
        new.stopped_workers = current.stopped_workers;
        new.cancelled_workers = current.cancelled_workers;
        new.unknown = current.unknown;
        self.transaction.changes().put_runtime(id.as_str(), new)
    }

    /// Adds a worker, or replaces its row. Unknown JSON members of a stored worker stay, if the object that
    /// contains them is still part of its request.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`; `InvalidRequest` for a `next_transcript_sequence` that is not greater than every
    /// assigned sequence, and for a new worker in a runtime that was imported in a form whose ids have another shape:
    /// numbers in the forms e, f and g, UUIDs in form h.
    pub fn write_worker_snapshot(
        &mut self,
        snapshot: &PersistedWorkerSnapshot,
    ) -> Result<(), RuntimeError> {
        if let Some(next_before) = self.part(|part| part.stage_worker(snapshot))? {
            let worker = snapshot.worker_ref.worker_id.clone();
            self.sequences_before.entry(worker).or_insert(next_before);
        }
        Ok(())
    }

    /// Returns the `next_transcript_sequence` that the worker had, if it is not new.
    fn stage_worker(
        &mut self,
        snapshot: &PersistedWorkerSnapshot,
    ) -> Result<Option<u64>, RuntimeError> {
        let worker_ref = &snapshot.worker_ref;
        self.refuse_foreign(Some(worker_ref))?;
        let (id, worker) = (self.runtime_id.as_str(), worker_ref.worker_id.as_str());
        let last = self.last_sequence(&worker_ref.worker_id, None)?;
        refuse_behind(
            "next_transcript_sequence",
            snapshot.next_transcript_sequence,
            last,
        )?;
        let current = self.transaction.worker(id, worker)?;
        if current.is_none() {
            checks::refuse_deleted(&self.transaction, worker_ref)?;
        }
        let mut runtime = runtime_row(&self.transaction, self.runtime_id)?;
        if current.is_none() {
            checks::refuse_other_shape(runtime.form, worker)?;
        }
        let len = current.as_ref().map_or(0, |current| current.transcript_len);
        let mut new = convert::worker_row(Stored::from(snapshot.clone()), len);
        let from = current.as_ref().map(|current| current.status);
        let next_before = current
            .as_ref()
            .map(|current| current.next_transcript_sequence);
        let at = self.transaction.at();
        checks::recount_worker(at, id, &mut runtime, from, snapshot.status)?;
        if let Some(current) = current {
            convert::keep_worker_additions(&mut new, &current);
            new.unknown = current.unknown;
            new.unknown
                .retain(|member| has_place(&snapshot.request, member));
        }
        new.touch(&mut runtime, self.transaction.now_ms());
        new.ended_at_ms = match (new.status.is_active(), from) {
            (true, _) => None,
            (false, Some(from)) if !from.is_active() => new.ended_at_ms,
            (false, _) => new.changed_at_ms,
        };
        self.transaction.changes().put_runtime(id, runtime)?;
        self.transaction.changes().put_worker(id, worker, new)?;
        Ok(next_before)
    }

    /// Appends an event to the log, and raises the runtime's `next_event_id` past its id.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`; `InvalidRequest` for an id that is not greater than the last one.
    pub fn append_event(&mut self, event: &RuntimeEvent) -> Result<(), RuntimeError> {
        self.part(|part| part.stage_event(event))
    }

    fn stage_event(&mut self, event: &RuntimeEvent) -> Result<(), RuntimeError> {
        self.refuse_foreign(event.worker_ref.as_ref())?;
        let id = self.runtime_id.as_str();
        let mut runtime = runtime_row(&self.transaction, self.runtime_id)?;
        refuse_not_after("event id", event.id, self.last_event(&runtime)?)?;
        runtime.next_event_id = runtime.next_event_id.max(event.id + 1);
        let mut row = convert::event_row(self.runtime_id, event.clone().into());
        row.recorded_at_ms = Some(runtime.tick(self.transaction.now_ms()));
        row.form = LineForm::spelled(runtime.form.spelling());
        self.transaction.changes().put_runtime(id, runtime)?;
        self.transaction.changes().put_event(id, event.id, row)
    }

    /// Appends an entry to the transcript of its worker, and raises the worker's `next_transcript_sequence`
    /// past its sequence.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`, `WorkerNotFound`; `InvalidRequest` for a sequence that is not greater than
    /// the last one.
    pub fn append_transcript_entry(&mut self, entry: &TranscriptEntry) -> Result<(), RuntimeError> {
        // A host may raise the counter in the snapshot before it appends the entries.
        let before = self.sequences_before.get(&entry.worker_ref.worker_id);
        let before = before.copied();
        self.part(|part| part.stage_entry(entry, before))
    }

    fn stage_entry(
        &mut self,
        entry: &TranscriptEntry,
        next_before: Option<u64>,
    ) -> Result<(), RuntimeError> {
        self.refuse_foreign(Some(&entry.worker_ref))?;
        let worker_id = &entry.worker_ref.worker_id;
        let (id, worker) = (self.runtime_id.as_str(), worker_id.as_str());
        let mut owner = worker_row(&self.transaction, &entry.worker_ref)?;
        let last = self.last_sequence(worker_id, next_before)?;
        refuse_not_after("transcript sequence", entry.sequence, last)?;
        let position = owner.transcript_len;
        checks::grow(
            self.transaction.at(),
            (table_names::WORKERS, &(id, worker)),
            ("transcript_len", &mut owner.transcript_len),
            1,
        )?;
        // `refuse_not_after` has rejected the greatest number.
        owner.next_transcript_sequence = owner.next_transcript_sequence.max(entry.sequence + 1);
        let mut runtime = runtime_row(&self.transaction, self.runtime_id)?;
        owner.touch(&mut runtime, self.transaction.now_ms());
        let mut row = convert::transcript_row(entry.clone().into());
        row.recorded_at_ms = owner.changed_at_ms;
        row.form = LineForm::spelled(runtime.form.spelling());
        self.transaction.changes().put_runtime(id, runtime)?;
        self.transaction.changes().put_worker(id, worker, owner)?;
        self.transaction
            .changes()
            .put_transcript(id, worker, position, row)
    }

    /// The diagnostics that `given` adds to the stored ones, with which it begins; `None` if it does not begin with them.
    /// Prunes write and remove their records without the host, so these may be missing on either side. The store can have
    /// removed diagnostics of workers that it has deleted; a host that still has them in its list does not write them again.
    fn added_diagnostics<'g>(
        &self,
        current: &RuntimeRow,
        stored: &[Stored<RuntimeDiagnostic>],
        given: &'g [RuntimeDiagnostic],
    ) -> Result<Option<&'g [RuntimeDiagnostic]>, RuntimeError> {
        let is_record = |diagnostic: &RuntimeDiagnostic| diagnostic.code == PRUNED;
        // The last diagnostics can be those of a deleted worker: then only the counter says which ids are assigned.
        let has_deleted = !self
            .transaction
            .tombstones(self.runtime_id.as_str(), None, 1)?
            .is_empty();
        let first_new = match stored.last() {
            _ if has_deleted => current.next_diagnostic_id,
            Some(last) => last.value.id.saturating_add(1),
            None => 0,
        };
        let stored = stored.iter().map(|stored| &stored.value);
        let mut stored = stored.filter(|stored| !is_record(stored)).peekable();
        let known = given.partition_point(|given| given.id < first_new);
        let (before, added) = given.split_at(known);
        for given in before.iter().filter(|given| !is_record(given)) {
            let is_stored = stored.peek().is_some_and(|stored| stored.id == given.id);
            let is_continued = match is_stored {
                true => stored.next() == Some(given),
                false => self.is_of_deleted_worker(given)?,
            };
            if !is_continued {
                return Ok(None);
            }
        }
        Ok(stored.next().is_none().then_some(added))
    }

    fn is_of_deleted_worker(&self, diagnostic: &RuntimeDiagnostic) -> Result<bool, RuntimeError> {
        let Some(worker) = &diagnostic.worker_ref else {
            return Ok(false);
        };
        let (id, worker) = convert::owner_of(worker);
        Ok(self.transaction.tombstone(id, worker)?.is_some())
    }

    /// The id of the last event, also if retention removed it.
    fn last_event(&self, runtime: &RuntimeRow) -> Result<Option<u64>, RuntimeError> {
        let last = self.transaction.last_event_id(self.runtime_id.as_str())?;
        Ok(runtime.last_event_id(last))
    }

    /// The sequence of the worker's last entry. `next_before` is its counter before this commit, if that wrote it.
    fn last_sequence(
        &self,
        worker: &WorkerId,
        next_before: Option<u64>,
    ) -> Result<Option<u64>, RuntimeError> {
        let (id, worker) = (self.runtime_id.as_str(), worker.as_str());
        let len = match self.transaction.worker(id, worker)? {
            // Retention removed all entries: the counter alone says which sequences are assigned.
            Some(record) if record.transcript_len == record.first_position => {
                let next = next_before.unwrap_or(record.next_transcript_sequence);
                let last = next.saturating_sub(1);
                return Ok((record.transcript_len > 0).then_some(last));
            }
            Some(record) => record.transcript_len,
            None => return Ok(None),
        };
        let mut last = None;
        let transaction = &self.transaction;
        transaction.transcript(id, worker, len - 1, 1, &mut |_, entry| {
            last = Some(entry.sequence);
            Ok(())
        })?;
        Ok(last)
    }
}

/// Whether the object that contained `member` is still part of the worker's document.
fn has_place(request: &CreateWorkerRequest, member: &UnknownMember) -> bool {
    let counts = [
        (
            "/request/requested_capabilities/",
            request.requested_capabilities.len(),
        ),
        ("/request/workspace_refs/", request.workspace_refs.len()),
        ("/request/mount_refs/", request.mount_refs.len()),
    ];
    for (prefix, count) in counts {
        if let Some(index) = member.pointer.strip_prefix(prefix) {
            return index.parse::<usize>().is_ok_and(|index| index < count);
        }
    }
    member.pointer != "/request/config_bundle" || request.config_bundle.is_some()
}
