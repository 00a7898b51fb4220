//! Snapshots of a store. Reads of any length take constant memory.

use crate::error::{Place, RuntimeError};
use crate::fs::process::Process;
use crate::ledger::checks::{refuse_long_id, refuse_long_ref};
use crate::ledger::context::OpContext;
use crate::ledger::convert::{self, WorkerRefs};
use crate::ledger::pages::{transcript_entries, transcript_rows};
use crate::ledger::rows::{EventRow, FIRST_EVENT_ID, PAGE_ROWS, TranscriptRow, WorkerRow};
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::ledger::table_names;
use crate::ledger::whole::{all_runtimes, refuse_miscounted, runtime_snapshot};
use crate::model::borrowed::{BorrowedEntry, BorrowedEvent};
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::{RecordedEntry, TranscriptEntry};
use crate::model::layout_form::{LayoutForm, LineForm};
use crate::model::observation::{RecordedEvent, RuntimeEvent};
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored, WorkerRetention,
};
use crate::store::handle::Store;
use crate::store::snapshot_view::{HeldSnapshot, SnapshotView};
use std::ops::Range;

/// A point-in-time view of the store: all reads see the same commit, also while others write.
///
/// The store cannot reuse the pages of the snapshot before it is dropped, so the file can grow.
pub struct Snapshot {
    held: HeldSnapshot,
    pub(crate) process: Process,
    place: Place,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("path", &self.place.name())
            .finish()
    }
}

/// Iterates over a table a page at a time. `next_page` gets the last key of the page before.
pub(super) struct Paged<K, T, F> {
    page: std::vec::IntoIter<T>,
    last: Option<K>,
    next_page: F,
    ended: bool,
}

impl<K: Clone, T, F> Paged<K, T, F>
where
    F: FnMut(Option<&K>) -> Result<Vec<(K, T)>, RuntimeError>,
{
    pub(super) fn new(next_page: F) -> Self {
        Self {
            page: Vec::new().into_iter(),
            last: None,
            next_page,
            ended: false,
        }
    }
}

impl<K: Clone, T, F> Iterator for Paged<K, T, F>
where
    F: FnMut(Option<&K>) -> Result<Vec<(K, T)>, RuntimeError>,
{
    type Item = Result<T, RuntimeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(item) = self.page.next() {
            return Some(Ok(item));
        }
        if self.ended {
            return None;
        }
        match (self.next_page)(self.last.as_ref()) {
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
            Ok(page) => {
                // A short page is the last one: asking for another would cost a seek.
                self.ended = page.len() < PAGE_ROWS;
                self.last = page.last().map(|(key, _)| key.clone());
                let items: Vec<T> = page.into_iter().map(|(_, item)| item).collect();
                self.page = items.into_iter();
                self.page.next().map(Ok)
            }
        }
    }
}

impl Store {
    /// Takes a snapshot of the store: a point-in-time view of the last commit.
    ///
    /// ```
    /// # let runtime = redb_runtime_store::Runtime::new_memory();
    /// # let store = runtime.store();
    /// let snapshot = store.snapshot()?;
    /// for id in snapshot.runtime_ids()? {
    ///     for event in snapshot.events(&id, 0)? {
    ///         println!("{}", event?.value.message);
    ///     }
    /// }
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `StoreIo`, `StoreCorrupt`, `StoreClosed`.
    pub fn snapshot(&self) -> Result<Snapshot, RuntimeError> {
        Snapshot::new(self)
    }
}

impl Snapshot {
    pub(crate) fn new(store: &Store) -> Result<Self, RuntimeError> {
        Ok(Self {
            held: store.shared.snapshot()?,
            process: Process::current(),
            place: store.shared.place().clone(),
        })
    }

    pub(crate) fn view(&self) -> SnapshotView<'_> {
        self.view_for("read")
    }

    /// The rows of the snapshot, whose errors name `operation`.
    pub(crate) fn view_for(&self, operation: &'static str) -> SnapshotView<'_> {
        self.held.view(operation, (&self.place, self.process))
    }

    /// The ids of all runtimes, sorted by their bytes.
    ///
    /// # Errors
    ///
    /// The errors of every read: `StoreIo`, `StoreCorrupt`, `StoreClosed`. The methods that take an id return
    /// `InvalidRequest` for one that is longer than [`MAX_ID_BYTES`](crate::identity::MAX_ID_BYTES).
    pub fn runtime_ids(&self) -> Result<Vec<RuntimeId>, RuntimeError> {
        all_runtimes(&*self.view())?
            .into_iter()
            .map(|(id, _)| Ok(id))
            .collect()
    }

    /// Whether the store has the runtime.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn has_runtime(&self, id: &RuntimeId) -> Result<bool, RuntimeError> {
        refuse_long_id(id.as_str())?;
        self.is_known(id)
    }

    /// Whether the store has the runtime. The rows of a runtime without one are those of an unfinished deletion: they are
    /// hidden.
    fn is_known(&self, id: &RuntimeId) -> Result<bool, RuntimeError> {
        Ok(self.view().runtime(id.as_str())?.is_some())
    }

    /// The row of a runtime with its diagnostics; `None` for an unknown runtime. Unknown members of a
    /// diagnostic have pointers that begin with `/diagnostics/<index>`.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn runtime(
        &self,
        id: &RuntimeId,
    ) -> Result<Option<Stored<PersistedRuntimeSnapshot>>, RuntimeError> {
        refuse_long_id(id.as_str())?;
        runtime_snapshot(&*self.view(), id)
    }

    /// The workers of a runtime, sorted by the bytes of their ids.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids), also of each item.
    pub fn workers(
        &self,
        id: &RuntimeId,
    ) -> Result<
        impl Iterator<Item = Result<Stored<PersistedWorkerSnapshot>, RuntimeError>> + use<'_>,
        RuntimeError,
    > {
        refuse_long_id(id.as_str())?;
        let id = id.clone();
        let row = self.view().runtime(id.as_str())?;
        let is_known = row.is_some();
        let (counted, mut seen) = (row.map_or(0, |row| row.workers()), 0);
        Ok(Paged::new(move |last: Option<&String>| {
            if !is_known {
                return Ok(Vec::new());
            }
            let view = self.view();
            let page = view.workers(id.as_str(), last.map(String::as_str), PAGE_ROWS)?;
            seen += page.len();
            // Only the last page completes the count.
            if page.len() < PAGE_ROWS {
                refuse_miscounted(view.at(), table_names::WORKERS, seen, counted)?;
            }
            page.into_iter()
                .map(|(worker, record)| {
                    let worker_ref = convert::worker_ref(&id, &worker)
                        .map_err(|message| view.at().corrupt(message))?;
                    Ok((worker, convert::worker_snapshot(worker_ref, record)))
                })
                .collect()
        }))
    }

    /// The row of a worker; `None` for an unknown worker.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn worker(
        &self,
        worker: &WorkerRef,
    ) -> Result<Option<Stored<PersistedWorkerSnapshot>>, RuntimeError> {
        let record = self.worker_row(worker)?;
        Ok(record.map(|record| convert::worker_snapshot(worker.clone(), record)))
    }

    fn worker_row(&self, worker: &WorkerRef) -> Result<Option<WorkerRow>, RuntimeError> {
        refuse_long_ref(worker)?;
        let (runtime_id, worker_id) = convert::owner_of(worker);
        match self.is_known(&worker.runtime_id)? {
            true => self.view().worker(runtime_id, worker_id),
            false => Ok(None),
        }
    }

    /// The id of the first event that the log of a runtime can have: events with smaller ids were pruned. 1 if none was,
    /// and for an unknown runtime.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn first_event_id(&self, id: &RuntimeId) -> Result<u64, RuntimeError> {
        refuse_long_id(id.as_str())?;
        let row = self.view().runtime(id.as_str())?;
        Ok(row.map_or(FIRST_EVENT_ID, |row| row.first_event_id))
    }

    /// The position of the first entry that a worker's transcript has: entries before it were pruned. 0 if none was, and
    /// for an unknown worker.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn first_position(&self, worker: &WorkerRef) -> Result<u64, RuntimeError> {
        Ok(self.positions(worker)?.start)
    }

    /// Whether a worker is protected from retention; `false` for an unknown worker.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn is_pinned(&self, worker: &WorkerRef) -> Result<bool, RuntimeError> {
        Ok(self.retention(worker)?.is_pinned)
    }

    pub(crate) fn retention(&self, worker: &WorkerRef) -> Result<WorkerRetention, RuntimeError> {
        let row = self.worker_row(worker)?;
        Ok(row.map_or_else(WorkerRetention::default, |row| row.retention()))
    }

    /// The newest form of the directory that a runtime was imported from; form a for other runtimes.
    pub(crate) fn layout_form(&self, id: &RuntimeId) -> Result<LayoutForm, RuntimeError> {
        refuse_long_id(id.as_str())?;
        let row = self.view().runtime(id.as_str())?;
        Ok(row.map_or(LayoutForm::A, |row| row.form))
    }

    /// The tombstone of a worker that the store had; `None` for one that it has or never had.
    pub(crate) fn tombstone(
        &self,
        worker: &WorkerRef,
    ) -> Result<Option<TombstoneRow>, RuntimeError> {
        refuse_long_ref(worker)?;
        let (runtime, worker) = convert::owner_of(worker);
        self.view().tombstone(runtime, worker)
    }

    /// The position after the last entry of a worker's transcript, which is the number of entries that it ever had; 0 for
    /// an unknown worker.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn transcript_len(&self, worker: &WorkerRef) -> Result<u64, RuntimeError> {
        Ok(self.positions(worker)?.end)
    }

    /// The positions of the entries of a worker's transcript.
    pub(crate) fn positions(&self, worker: &WorkerRef) -> Result<Range<u64>, RuntimeError> {
        let row = self.worker_row(worker)?;
        Ok(row.map_or(0..0, |row| row.first_position..row.transcript_len))
    }

    /// The events of a runtime with ids of at least `from`, by increasing id.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids), also of each item.
    pub fn events(
        &self,
        id: &RuntimeId,
        from: u64,
    ) -> Result<
        impl Iterator<Item = Result<Stored<RuntimeEvent>, RuntimeError>> + use<'_>,
        RuntimeError,
    > {
        self.event_pages(id, from, convert::event)
    }

    /// As [`events`](Self::events), with the time of each event.
    ///
    /// # Errors
    ///
    /// As [`events`](Self::events).
    pub fn recorded_events(
        &self,
        id: &RuntimeId,
        from: u64,
    ) -> Result<
        impl Iterator<Item = Result<Stored<RecordedEvent>, RuntimeError>> + use<'_>,
        RuntimeError,
    > {
        self.event_pages(id, from, convert::recorded_event)
    }

    /// As [`recorded_events`](Self::recorded_events), with the form of the line of each event.
    pub(crate) fn written_events(
        &self,
        id: &RuntimeId,
        from: u64,
    ) -> Result<
        impl Iterator<Item = Result<Stored<(RecordedEvent, LineForm<'static>)>, RuntimeError>> + use<'_>,
        RuntimeError,
    > {
        self.event_pages(id, from, |refs, event, row| {
            let form = row.form.clone().into_owned();
            Ok(convert::recorded_event(refs, event, row)?.map(|event| (event, form)))
        })
    }

    /// The events from `from` on, each in the form that `form` gives it.
    fn event_pages<T, F>(
        &self,
        id: &RuntimeId,
        from: u64,
        form: F,
    ) -> Result<impl Iterator<Item = Result<Stored<T>, RuntimeError>> + use<'_, T, F>, RuntimeError>
    where
        F: Fn(&mut WorkerRefs<'_>, u64, EventRow<'_>) -> Result<Stored<T>, String>,
    {
        refuse_long_id(id.as_str())?;
        let (id, is_known) = (id.clone(), self.is_known(id)?);
        Ok(Paged::new(move |last: Option<&u64>| {
            if !is_known {
                return Ok(Vec::new());
            }
            let from = match last {
                Some(&u64::MAX) => return Ok(Vec::new()),
                Some(last) => last + 1,
                None => from,
            };
            let view = self.view();
            let mut refs = WorkerRefs::new(&id);
            let mut page = Vec::with_capacity(PAGE_ROWS);
            view.events(id.as_str(), from, PAGE_ROWS, &mut |event, row| {
                let stored =
                    form(&mut refs, event, row).map_err(|message| view.at().corrupt(message))?;
                page.push((event, stored));
                Ok(())
            })?;
            Ok(page)
        }))
    }

    /// The entries of a worker's transcript from position `from`, counted from 0. Below the
    /// [first position](Self::first_position) it begins there.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids), also of each item.
    pub fn transcript(
        &self,
        worker: &WorkerRef,
        from: u64,
    ) -> Result<
        impl Iterator<Item = Result<Stored<TranscriptEntry>, RuntimeError>> + use<'_>,
        RuntimeError,
    > {
        self.entry_pages(worker, from, |worker, row| {
            Ok(convert::transcript_entry(worker, row))
        })
    }

    /// As [`transcript`](Self::transcript), with the time of each entry.
    ///
    /// # Errors
    ///
    /// As [`transcript`](Self::transcript).
    pub fn recorded_transcript(
        &self,
        worker: &WorkerRef,
        from: u64,
    ) -> Result<
        impl Iterator<Item = Result<Stored<RecordedEntry>, RuntimeError>> + use<'_>,
        RuntimeError,
    > {
        self.entry_pages(worker, from, convert::recorded_entry)
    }

    /// As [`recorded_transcript`](Self::recorded_transcript), with the form of the line of each entry.
    pub(crate) fn written_transcript(
        &self,
        worker: &WorkerRef,
        from: u64,
    ) -> Result<
        impl Iterator<Item = Result<Stored<(RecordedEntry, LineForm<'static>)>, RuntimeError>> + use<'_>,
        RuntimeError,
    > {
        self.entry_pages(worker, from, |worker, row| {
            let form = row.form.clone().into_owned();
            Ok(convert::recorded_entry(worker, row)?.map(|entry| (entry, form)))
        })
    }

    /// The entries from position `from` on, each in the form that `form` gives it.
    fn entry_pages<T, F>(
        &self,
        worker: &WorkerRef,
        from: u64,
        form: F,
    ) -> Result<impl Iterator<Item = Result<Stored<T>, RuntimeError>> + use<'_, T, F>, RuntimeError>
    where
        F: Fn(&WorkerRef, TranscriptRow<'_>) -> Result<Stored<T>, String>,
    {
        let worker = worker.clone();
        let positions = self.positions(&worker)?;
        let from = from.max(positions.start);
        Ok(Paged::new(move |last: Option<&u64>| {
            let from = match last {
                Some(&u64::MAX) => return Ok(Vec::new()),
                Some(last) => last + 1,
                None => from,
            };
            let range = (from, PAGE_ROWS);
            let total = positions.end;
            let page = transcript_entries(&*self.view(), &worker, range, total, &form)?;
            Ok((from..).zip(page).collect())
        }))
    }

    /// Calls `each` with every event of a runtime, by increasing id. The events borrow their texts.
    ///
    /// # Errors
    ///
    /// The first error of `each`, which ends the walk. Otherwise as [`runtime_ids`](Self::runtime_ids).
    pub fn each_event<E: From<RuntimeError>>(
        &self,
        id: &RuntimeId,
        mut each: impl FnMut(BorrowedEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        refuse_long_id(id.as_str())?;
        if !self.is_known(id)? {
            return Ok(());
        }
        let view = self.view();
        until_error(|stop| {
            view.events(id.as_str(), 0, usize::MAX, &mut |event, row| {
                let event = convert::borrowed_event(id, event, row)
                    .map_err(|message| view.at().corrupt(message))?;
                stop.unless(view.at(), each(event))
            })
        })
    }

    /// Calls `each` with every entry of a worker's transcript, by increasing position. The entries borrow
    /// their texts.
    ///
    /// # Errors
    ///
    /// As [`each_event`](Self::each_event).
    pub fn each_entry<E: From<RuntimeError>>(
        &self,
        worker: &WorkerRef,
        mut each: impl FnMut(BorrowedEntry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let view = self.view();
        let positions = self.positions(worker)?;
        until_error(|stop| {
            let all = (positions.start, usize::MAX);
            transcript_rows(&*view, worker, all, positions.end, &mut |row| {
                stop.unless(view.at(), each(convert::borrowed_entry(worker, row)))
            })
            .map(|_| ())
        })
    }

    /// The id of the last event of a runtime; `None` for an empty log.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn last_event_id(&self, id: &RuntimeId) -> Result<Option<u64>, RuntimeError> {
        refuse_long_id(id.as_str())?;
        match self.is_known(id)? {
            true => self.view().last_event_id(id.as_str()),
            false => Ok(None),
        }
    }
}

/// The error of a caller's closure, held while the walk ends. A walk can only return a [`RuntimeError`].
pub(super) struct Stop<E>(Option<E>);

impl<E> Stop<E> {
    /// Ends the walk if `shown` is an error. [`until_error`] discards the error that ends the walk.
    pub(super) fn unless(
        &mut self,
        at: OpContext<'_>,
        shown: Result<(), E>,
    ) -> Result<(), RuntimeError> {
        shown.map_err(|error| {
            self.0 = Some(error);
            at.closed()
        })
    }
}

/// Runs `walk` and returns the error of the closure if it failed, else the result of the walk.
pub(super) fn until_error<E: From<RuntimeError>>(
    walk: impl FnOnce(&mut Stop<E>) -> Result<(), RuntimeError>,
) -> Result<(), E> {
    let mut stop = Stop(None);
    let walked = walk(&mut stop);
    match stop.0 {
        Some(error) => Err(error),
        None => walked.map_err(E::from),
    }
}
