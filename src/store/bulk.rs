//! Loading whole runtimes in one transaction, in constant memory.

use super::context::At;
use super::convert;
use super::persisted::{ImportRecord, PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored};
use super::read::{PAGE_ROWS, Rows, View, after_runtime};
use super::record::{self, ImportRow, KeyBytes, Record, WorkerRecord};
use super::tables::{DIAGNOSTICS, EVENTS, IMPORTS, RUNTIMES, TRANSCRIPTS, TableOf, WORKERS};
use super::transaction::RowWriter;
use crate::error::RuntimeError;
use crate::model::catalog::WorkerStatus;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::TranscriptEntry;
use crate::model::observation::RuntimeEvent;
use redb::{Key, ReadableTable, Table, WriteTransaction};
use std::ops::RangeBounds;

type LogTable<'a, K> = Option<Table<'a, K, &'static [u8]>>;

/// A write transaction that takes whole runtimes: [`Store::bulk_load`](super::Store::bulk_load).
///
/// For each runtime: its workers and their transcripts, its events, then the runtime itself, whose
/// worker counts are taken from the workers that came before it.
pub struct BulkLoad<'a> {
    transaction: &'a WriteTransaction,
    at: At<'a>,
    /// Opened by the first row, and kept open.
    events: LogTable<'a, (&'static str, u64)>,
    transcripts: LogTable<'a, (&'static str, &'static str, u64)>,
    /// The worker whose transcript came last, and the entries that it has.
    transcript: Option<(WorkerRef, u64)>,
    /// Reused for every value.
    value: Vec<u8>,
}

impl std::fmt::Debug for BulkLoad<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkLoad")
            .field("path", &self.at.path)
            .finish()
    }
}

/// Inserts one row into a table that is opened by the first.
fn insert<'a, K, R>(
    (transaction, at): (&'a WriteTransaction, At<'_>),
    open: &mut LogTable<'a, K>,
    table: &TableOf<K, R>,
    (key, row): (K::SelfType<'_>, &R),
    value: &mut Vec<u8>,
) -> Result<(), RuntimeError>
where
    K: Key + 'static,
    R: Record,
    for<'k> K::SelfType<'k>: KeyBytes,
{
    record::encode(table.name, &key, row, value).map_err(RuntimeError::InvalidRequest)?;
    at.guard(|| {
        let open = match open {
            Some(open) => open,
            None => open.insert(
                transaction
                    .open_table(table.definition)
                    .map_err(|error| at.redb(error))?,
            ),
        };
        open.insert(&key, value.as_slice())
            .map_err(|error| at.redb(error))?;
        Ok(())
    })
}

impl<'a> BulkLoad<'a> {
    pub(crate) fn new(transaction: &'a WriteTransaction, at: At<'a>) -> Self {
        Self {
            transaction,
            at,
            events: None,
            transcripts: None,
            transcript: None,
            value: Vec::new(),
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
        Ok(self.view().import(id.as_str())?.map(ImportRecord::from))
    }

    /// Removes a runtime with everything of it. Nothing where there is none.
    ///
    /// # Errors
    ///
    /// As [`contains_runtime`](Self::contains_runtime).
    pub fn remove_runtime(&mut self, id: &RuntimeId) -> Result<(), RuntimeError> {
        self.close_logs()?;
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
        self.write_worker(&worker_ref, &convert::worker_record(worker, len))
    }

    fn write_worker(&self, worker: &WorkerRef, row: &WorkerRecord) -> Result<(), RuntimeError> {
        let key = (worker.runtime_id.as_str(), worker.worker_id.as_str());
        let at = self.at;
        at.guard(|| self.writer().write(&WORKERS, std::iter::once((key, row))))
    }

    /// How many entries the transcript of `worker` has.
    fn transcript_len(&mut self, worker: &WorkerRef) -> Result<u64, RuntimeError> {
        if let Some((current, len)) = &self.transcript
            && current == worker
        {
            return Ok(*len);
        }
        self.transcripts = None;
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
        let worker_ref = &entry.value.worker_ref;
        let known = matches!(&self.transcript, Some((current, _)) if current == worker_ref);
        if !known {
            self.end_transcript()?;
            let len = self.transcript_len(worker_ref)?;
            self.transcript = Some((worker_ref.clone(), len));
        }
        let Some((worker, len)) = &mut self.transcript else {
            return Err(self.at.corrupt("no transcript was begun"));
        };
        let row = convert::transcript_record(entry);
        insert(
            (self.transaction, self.at),
            &mut self.transcripts,
            &TRANSCRIPTS,
            (
                (worker.runtime_id.as_str(), worker.worker_id.as_str(), *len),
                &row,
            ),
            &mut self.value,
        )?;
        *len += 1;
        Ok(())
    }

    /// Brings the length that the last transcript's worker says up to date, if it was put already.
    fn end_transcript(&mut self) -> Result<(), RuntimeError> {
        let Some((worker, len)) = self.transcript.take() else {
            return Ok(());
        };
        let (runtime_id, worker_id) = (worker.runtime_id.as_str(), worker.worker_id.as_str());
        match self.view().worker(runtime_id, worker_id)? {
            Some(mut row) if row.transcript_len != len => {
                row.transcript_len = len;
                self.write_worker(&worker, &row)
            }
            _ => Ok(()),
        }
    }

    fn close_logs(&mut self) -> Result<(), RuntimeError> {
        self.end_transcript()?;
        self.events = None;
        self.transcripts = None;
        Ok(())
    }

    /// Appends an event to a runtime's log. Ids increase.
    ///
    /// # Errors
    ///
    /// As [`contains_runtime`](Self::contains_runtime).
    pub fn append_event(
        &mut self,
        runtime_id: &RuntimeId,
        event: Stored<RuntimeEvent>,
    ) -> Result<(), RuntimeError> {
        let id = event.value.id;
        let row = convert::event_record(runtime_id, event);
        insert(
            (self.transaction, self.at),
            &mut self.events,
            &EVENTS,
            ((runtime_id.as_str(), id), &row),
            &mut self.value,
        )
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
        self.close_logs()?;
        let id = runtime.value.runtime_id.clone();
        let (id, next) = (id.as_str(), after_runtime(id.as_str()));
        let (mut row, diagnostics) = convert::runtime_records(runtime);
        let mut last: Option<String> = None;
        loop {
            let page = self.view().workers(id, last.as_deref(), PAGE_ROWS)?;
            for (_, worker) in &page {
                *row.workers_in(WorkerStatus::from(worker.status)) += 1;
            }
            last = match page.into_iter().next_back() {
                Some((worker, _)) => Some(worker),
                None => break,
            };
        }
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

    /// Records where a runtime came from.
    ///
    /// # Errors
    ///
    /// As [`contains_runtime`](Self::contains_runtime).
    pub fn put_import_record(
        &mut self,
        id: &RuntimeId,
        record: ImportRecord,
    ) -> Result<(), RuntimeError> {
        let row = ImportRow::from(record);
        let at = self.at;
        at.guard(|| {
            let rows = std::iter::once((id.as_str(), &row));
            self.writer().write(&IMPORTS, rows)
        })
    }

    /// Ends the load: everything is written, nothing committed.
    pub(crate) fn finish(mut self) -> Result<(), RuntimeError> {
        self.close_logs()
    }
}
