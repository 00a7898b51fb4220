//! Loading whole runtimes in one transaction, in constant memory.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, IMPORTS, RUNTIMES, TRANSCRIPTS, TableOf, WORKERS,
};
use crate::engine::redb::tables::row_writer::RowWriter;
use crate::engine::redb::tables::view::{View, after_runtime};
use crate::error::RuntimeError;
use crate::ledger::checks::WorkerTotals;
use crate::ledger::convert;
use crate::ledger::rows::{Rows, WorkerRow};
use crate::ledger::run::{EventRun, Run, TranscriptRun};
use crate::ledger::table_names::NO_RUNTIME;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::TranscriptEntry;
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::{
    ImportRecord, PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored,
};
use crate::store::handle::Store;
use redb::{CursorError, Key, ReadableTable, WriteTransaction};
use std::ops::{Bound, RangeBounds};

/// A write transaction that takes whole runtimes: [`Store::bulk_load`](crate::store::handle::Store::bulk_load).
///
/// For each runtime: its workers and their transcripts, its events, then the runtime itself, whose
/// worker counts are taken from the workers that came before it.
pub struct BulkLoad<'a> {
    transaction: &'a WriteTransaction,
    at: RedbContext<'a>,
    events: Option<EventRun>,
    /// The entries on their way, and with them how many entries the transcript has.
    transcript: Option<TranscriptRun>,
}

/// Appends rows of one log to `table`. Appending them through one cursor is about three times as
/// fast as inserting each, and leaves fuller pages.
fn append<'k, K: Key + 'static, R>(
    (transaction, at): (&WriteTransaction, RedbContext<'_>),
    table: &TableOf<K, R>,
    run: &Run,
    key: impl Fn(u64) -> K::SelfType<'k>,
) -> Result<(), RuntimeError> {
    let mut rows = run.rows().peekable();
    let Some(&(first, _)) = rows.peek() else {
        return Ok(());
    };
    at.guard(|| {
        let mut open = transaction
            .open_table(table.definition)
            .map_err(|error| at.redb(error))?;
        let mut cursor = open
            .lower_bound_mut(Bound::Included(key(first)))
            .map_err(|error| at.redb(error))?;
        for (number, value) in rows {
            cursor
                .insert_before(key(number), value)
                .map_err(|error| match error {
                    CursorError::UnorderedKey => RuntimeError::InvalidRequest(format!(
                        "table {}: {number} is not greater than what came before it",
                        table.name
                    )),
                    error => at.redb(error),
                })?;
        }
        cursor.close().map_err(|error| at.redb(error))
    })
}

impl std::fmt::Debug for BulkLoad<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkLoad")
            .field("path", &self.at.path())
            .finish()
    }
}

impl Store {
    /// Runs `load` in one transaction of its own, while all other writers wait. When this returns
    /// `Ok`, all of it is on disk; after an error none of it is in the store.
    ///
    /// # Errors
    ///
    /// What `load` returns, and the errors of every write: `StoreReadOnly`, `StoreClosed`,
    /// `StoreFailed`, `StoreIo`, `StoreCorrupt`; `CommitUncertain` where it is unknown whether the
    /// load is in the store.
    pub fn bulk_load<T, E: From<RuntimeError>>(
        &self,
        load: impl FnOnce(&mut BulkLoad<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.refuse_read_only("load")?;
        let at = self.engine().at("load");
        self.shared.write_exclusively("load", |transaction| {
            let mut bulk = BulkLoad::new(transaction, at);
            let result = load(&mut bulk)?;
            bulk.finish()?;
            Ok(result)
        })
    }
}

impl<'a> BulkLoad<'a> {
    pub(crate) fn new(transaction: &'a WriteTransaction, at: RedbContext<'a>) -> Self {
        Self {
            transaction,
            at,
            events: None,
            transcript: None,
        }
    }

    fn view(&self) -> View<'_, WriteTransaction> {
        View {
            tables: self.transaction,
            at: self.at,
        }
    }

    fn writer(&self) -> RowWriter<'_> {
        RowWriter {
            transaction: self.transaction,
            at: self.at,
        }
    }

    /// Whether the store has the runtime, as this transaction sees it.
    ///
    /// # Errors
    ///
    /// As every access to the file: `StoreIo`, `StoreCorrupt`, `StoreFailed`.
    pub fn contains_runtime(&self, id: &RuntimeId) -> Result<bool, RuntimeError> {
        Ok(self.view().runtime(id.as_str())?.is_some())
    }

    /// Where a runtime was imported from; `None` where it was not.
    ///
    /// # Errors
    ///
    /// As [`contains_runtime`](Self::contains_runtime).
    pub fn import_record(&self, id: &RuntimeId) -> Result<Option<ImportRecord>, RuntimeError> {
        self.view().import(id.as_str())
    }

    /// Removes a runtime with everything of it. Nothing where there is none.
    ///
    /// # Errors
    ///
    /// As [`contains_runtime`](Self::contains_runtime).
    pub fn remove_runtime(&mut self, id: &RuntimeId) -> Result<(), RuntimeError> {
        self.flush()?;
        let (id, next) = (id.as_str(), after_runtime(id.as_str()));
        let next = next.as_str();
        self.remove(&RUNTIMES, id..next)?;
        self.remove(&IMPORTS, id..next)?;
        self.remove(&WORKERS, (id, "")..(next, ""))?;
        self.remove(&EVENTS, (id, 0)..(next, 0))?;
        self.remove(&DIAGNOSTICS, (id, 0)..(next, 0))?;
        self.remove(&TRANSCRIPTS, (id, "", 0)..(next, "", 0))
    }

    fn remove<'r, K: Key + 'static, R>(
        &self,
        table: &TableOf<K, R>,
        range: impl RangeBounds<K::SelfType<'r>> + 'r,
    ) -> Result<(), RuntimeError> {
        let at = self.at;
        at.guard(|| {
            let mut open = self
                .transaction
                .open_table(table.definition)
                .map_err(|error| at.redb(error))?;
            open.retain_in::<K::SelfType<'r>, _>(range, |_, _| false)
                .map_err(|error| at.redb(error))
        })
    }

    /// Adds a worker, or replaces its own state, not its transcript.
    ///
    /// # Errors
    ///
    /// As [`contains_runtime`](Self::contains_runtime).
    pub fn put_worker(
        &mut self,
        worker: Stored<PersistedWorkerSnapshot>,
    ) -> Result<(), RuntimeError> {
        let worker_ref = worker.value.worker_ref.clone();
        let len = self.transcript_len(&worker_ref)?;
        self.write_worker(&worker_ref, &convert::worker_row(worker, len))
    }

    fn write_worker(&self, worker: &WorkerRef, row: &WorkerRow) -> Result<(), RuntimeError> {
        let key = (worker.runtime_id.as_str(), worker.worker_id.as_str());
        let at = self.at;
        at.guard(|| self.writer().write(&WORKERS, std::iter::once((key, row))))
    }

    /// How many entries the transcript of `worker` has.
    fn transcript_len(&self, worker: &WorkerRef) -> Result<u64, RuntimeError> {
        if let Some(open) = self.transcript.as_ref().filter(|t| t.worker_ref == *worker) {
            return Ok(open.end());
        }
        let at = self.at;
        at.guard(|| {
            let open = self
                .transaction
                .open_table(TRANSCRIPTS.definition)
                .map_err(|error| at.redb(error))?;
            let (runtime, worker) = (worker.runtime_id.as_str(), worker.worker_id.as_str());
            let mut range = open
                .range((runtime, worker, 0)..=(runtime, worker, u64::MAX))
                .map_err(|error| at.redb(error))?;
            let last = range.next_back().transpose();
            let last = last.map_err(|error| at.redb(error))?;
            Ok(last.map_or(0, |(key, _)| key.value().2 + 1))
        })
    }

    /// Appends an entry to the transcript of its worker. Entries of one worker come one after
    /// another, with increasing sequences.
    ///
    /// # Errors
    ///
    /// As [`contains_runtime`](Self::contains_runtime).
    pub fn append_transcript_entry(
        &mut self,
        entry: Stored<TranscriptEntry>,
    ) -> Result<(), RuntimeError> {
        let transcript = match self.transcript.take() {
            Some(open) if open.worker_ref == entry.value.worker_ref => open,
            other => {
                self.transcript = other;
                self.end_transcript()?;
                let worker = entry.value.worker_ref.clone();
                let len = self.transcript_len(&worker)?;
                TranscriptRun::new(worker, len)
            }
        };
        let transcript = self.transcript.insert(transcript);
        transcript.push(&entry.into())?;
        if transcript.is_full() {
            self.write_transcript()?;
        }
        Ok(())
    }

    /// Appends a run of entries to the transcript of their worker.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` where the run does not begin where the transcript ends. Otherwise as
    /// [`contains_runtime`](Self::contains_runtime).
    pub fn append_transcript(&mut self, run: TranscriptRun) -> Result<(), RuntimeError> {
        match &self.transcript {
            Some(open) if open.worker_ref == run.worker_ref => self.write_transcript()?,
            _ => self.end_transcript()?,
        }
        let len = self.transcript_len(&run.worker_ref)?;
        if run.start != len {
            return Err(RuntimeError::InvalidRequest(format!(
                "table {}: {} has {len} entries, the run begins at position {}",
                TRANSCRIPTS.name, run.worker_ref, run.start
            )));
        }
        self.transcript = Some(run);
        self.write_transcript()
    }

    /// Puts the entries on their way into the file.
    fn write_transcript(&mut self) -> Result<(), RuntimeError> {
        let Some(run) = self.transcript.as_mut().map(TranscriptRun::take) else {
            return Ok(());
        };
        let (runtime, worker) = run.owner();
        let into = (self.transaction, self.at);
        append(into, &TRANSCRIPTS, &run.run, |position| {
            (runtime, worker, position)
        })
    }

    /// Writes what is left of the last transcript, and brings the length that its worker says up to
    /// date, if that was put already.
    fn end_transcript(&mut self) -> Result<(), RuntimeError> {
        self.write_transcript()?;
        let Some(ended) = self.transcript.take() else {
            return Ok(());
        };
        let (runtime_id, worker_id) = ended.owner();
        match self.view().worker(runtime_id, worker_id)? {
            Some(mut row) if row.transcript_len != ended.end() => {
                row.transcript_len = ended.end();
                self.write_worker(&ended.worker_ref, &row)
            }
            _ => Ok(()),
        }
    }

    /// Appends an event to a runtime's log. Ids increase.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for an id that is not greater than the last one; it can come with a later
    /// call. Otherwise as [`contains_runtime`](Self::contains_runtime).
    pub fn append_event(
        &mut self,
        runtime_id: &RuntimeId,
        event: Stored<RuntimeEvent>,
    ) -> Result<(), RuntimeError> {
        if self
            .events
            .as_ref()
            .is_none_or(|run| run.runtime_id != *runtime_id)
        {
            self.write_events()?;
        }
        let new = || EventRun::new(runtime_id.clone());
        let events = self.events.get_or_insert_with(new);
        events.push(&event.into())?;
        if events.is_full() {
            self.write_events()?;
        }
        Ok(())
    }

    /// Appends a run of events to their runtime's log.
    ///
    /// # Errors
    ///
    /// As [`append_event`](Self::append_event).
    pub fn append_events(&mut self, run: EventRun) -> Result<(), RuntimeError> {
        self.write_events()?;
        self.events = Some(run);
        self.write_events()
    }

    /// Puts the events on their way into the file.
    fn write_events(&mut self) -> Result<(), RuntimeError> {
        let Some(events) = self.events.take() else {
            return Ok(());
        };
        let runtime = events.runtime_id.as_str();
        let into = (self.transaction, self.at);
        append(into, &EVENTS, &events.run, |id| (runtime, id))
    }

    fn flush(&mut self) -> Result<(), RuntimeError> {
        self.end_transcript()?;
        self.write_events()
    }

    /// Adds a runtime, or replaces its own state, with its diagnostics. Its workers are there
    /// already: they are counted.
    ///
    /// # Errors
    ///
    /// As [`contains_runtime`](Self::contains_runtime).
    pub fn put_runtime(
        &mut self,
        runtime: Stored<PersistedRuntimeSnapshot>,
    ) -> Result<(), RuntimeError> {
        self.flush()?;
        let id = runtime.value.runtime_id.clone();
        let (id, next) = (id.as_str(), after_runtime(id.as_str()));
        let (mut row, diagnostics) = convert::runtime_rows(runtime);
        WorkerTotals::read(&self.view(), id)?.count_in(&mut row);
        self.remove(&DIAGNOSTICS, (id, 0)..(next.as_str(), 0))?;
        let at = self.at;
        at.guard(|| {
            let writer = self.writer();
            writer.write(&RUNTIMES, std::iter::once((id, &row)))?;
            let rows = diagnostics.iter();
            writer.write(
                &DIAGNOSTICS,
                rows.map(|(diagnostic, row)| ((id, *diagnostic), row)),
            )
        })
    }

    /// Records where a runtime came from; without one, what belongs to none.
    ///
    /// # Errors
    ///
    /// As [`contains_runtime`](Self::contains_runtime).
    pub(crate) fn put_import_record(
        &mut self,
        id: Option<&RuntimeId>,
        record: ImportRecord,
    ) -> Result<(), RuntimeError> {
        let at = self.at;
        at.guard(|| {
            let key = id.map_or(NO_RUNTIME, RuntimeId::as_str);
            let rows = std::iter::once((key, &record));
            self.writer().write(&IMPORTS, rows)
        })
    }

    /// Ends the load: everything is written, nothing committed.
    pub(crate) fn finish(mut self) -> Result<(), RuntimeError> {
        self.flush()
    }
}
