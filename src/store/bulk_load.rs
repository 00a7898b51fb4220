//! Loading whole runtimes in one transaction, in constant memory.

use crate::error::RuntimeError;
use crate::ledger::checks::{self, WorkerTotals};
use crate::ledger::convert::{self, owner_of};
use crate::ledger::deletion;
use crate::ledger::load_rows::LoadRows;
use crate::ledger::rows::{Rows, WorkerRow};
use crate::ledger::run::{EventRun, Run, TranscriptRun};
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::ledger::table_names::TRANSCRIPTS;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::TranscriptEntry;
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::{
    ImportRecord, PersistedRuntimeSnapshot, PersistedWorkerSnapshot, RuntimeFacts, Stored,
    WorkerRetention,
};
use crate::store::handle::Store;
use std::collections::{BTreeMap, BTreeSet};

/// A write transaction that loads complete runtimes; see
/// [`Store::bulk_load`](crate::store::handle::Store::bulk_load).
///
/// For each runtime, append the transcripts and put their workers, append the events, then put the runtime
/// itself: [`put_runtime`](Self::put_runtime) counts the workers that the runtime has by then.
///
/// The load is validated before the commit: the counts of workers, the counters against the logs, the order
/// of sequences and diagnostics, the length of ids ([`MAX_ID_BYTES`](crate::identity::MAX_ID_BYTES)), and
/// that every row has its worker and its runtime. A load that breaks one of these rules returns
/// `InvalidRequest` and commits nothing. The validation reads no log a second time. It needs constant memory
/// if each transcript is followed by its worker, and the workers and events of a runtime by the runtime.
pub struct BulkLoad<'a> {
    pub(super) target: &'a dyn LoadRows,
    events: Option<EventRun>,
    /// The unwritten entries of the transcript that the load appends to.
    transcript: Option<TranscriptRun>,
    /// The worker whose transcript begins next at this position, or began there.
    pub(super) begun: Option<(WorkerRef, u64)>,
    /// The last written sequence of that transcript.
    last_sequence: Option<u64>,
    /// The latest time of the rows that were appended to each runtime since its `put_runtime`.
    latest_time_ms: BTreeMap<RuntimeId, u64>,
    /// The last change number of each runtime whose workers the load has put or removed.
    pub(super) last_changes: BTreeMap<RuntimeId, u64>,
    /// Runtimes whose workers or events changed after `put_runtime`; `finish` checks them.
    unfinished: BTreeSet<RuntimeId>,
    /// Workers with a transcript but without a row so far.
    without_row: BTreeSet<WorkerRef>,
    /// Runtimes that have nothing left of an unfinished deletion.
    prepared: BTreeSet<RuntimeId>,
    /// The workers that the events of each runtime report as deleted, without those that exist.
    pub(super) deleted: BTreeSet<WorkerRef>,
    /// Tombstones that a load brings along.
    pub(super) removed: BTreeMap<WorkerRef, TombstoneRow>,
    pub(super) is_checked: bool,
}

/// The end of a transcript: the number of entries, and the sequence of the last entry.
type TranscriptEnd = (u64, Option<u64>);

impl std::fmt::Debug for BulkLoad<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkLoad")
            .field("path", &self.target.at().path())
            .finish()
    }
}

impl Store {
    /// Runs `load` in one write transaction and commits it. All other writers wait meanwhile.
    ///
    /// When this returns `Ok`, the load is on disk. After an error the store has none of it; after
    /// `CommitUncertain` it has all of it or none.
    ///
    /// # Errors
    ///
    /// The error of `load`; `InvalidRequest` for a load that breaks a rule of [`BulkLoad`]; the errors of
    /// every write: `StoreReadOnly`, `StoreClosed`, `StoreFailed`, `StoreIo`, `StoreCorrupt`,
    /// `CommitUncertain`. On a server `StoreConflict`, with none of the load stored, if another host loads the same runtimes in
    /// another order: the server ends one of the two. Loads that take runtimes in the order of their ids only wait, unless ids
    /// agree in their first 1,024 bytes.
    pub fn bulk_load<T, E: From<RuntimeError>>(
        &self,
        load: impl FnOnce(&mut BulkLoad<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.refuse_read_only("load")?;
        self.shared.load("load", |target| {
            let mut bulk = BulkLoad::new(target);
            let result = load(&mut bulk)?;
            bulk.finish()?;
            Ok(result)
        })
    }
}

impl<'a> BulkLoad<'a> {
    pub(crate) fn new(target: &'a dyn LoadRows) -> Self {
        Self {
            target,
            events: None,
            transcript: None,
            begun: None,
            last_sequence: None,
            latest_time_ms: BTreeMap::new(),
            last_changes: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            without_row: BTreeSet::new(),
            prepared: BTreeSet::new(),
            deleted: BTreeSet::new(),
            removed: BTreeMap::new(),
            is_checked: true,
        }
    }

    /// Turns the validation off, so that tests of verification can create inconsistent stores.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    pub fn without_checks(&mut self) {
        self.is_checked = false;
    }

    pub(super) fn view(&self) -> &'a dyn Rows {
        self.target.rows()
    }

    /// Whether the store has the runtime, the rows of this load included.
    ///
    /// # Errors
    ///
    /// The errors of every access to the file: `StoreIo`, `StoreCorrupt`, `StoreFailed`.
    pub fn contains_runtime(&self, id: &RuntimeId) -> Result<bool, RuntimeError> {
        checks::refuse_long_id(id.as_str())?;
        Ok(self.view().runtime(id.as_str())?.is_some())
    }

    /// The import record of a runtime; `None` if it was not imported.
    ///
    /// # Errors
    ///
    /// As [`contains_runtime`](Self::contains_runtime).
    pub fn import_record(&self, id: &RuntimeId) -> Result<Option<ImportRecord>, RuntimeError> {
        checks::refuse_long_id(id.as_str())?;
        self.view().import(id.as_str())
    }

    /// Removes a runtime with all its rows. Does nothing for an unknown runtime.
    ///
    /// # Errors
    ///
    /// As [`contains_runtime`](Self::contains_runtime).
    pub fn remove_runtime(&mut self, id: &RuntimeId) -> Result<(), RuntimeError> {
        checks::refuse_long_id(id.as_str())?;
        self.flush()?;
        self.unfinished.remove(id);
        self.latest_time_ms.remove(id);
        self.without_row.retain(|worker| worker.runtime_id != *id);
        self.deleted.retain(|worker| worker.runtime_id != *id);
        self.removed.retain(|worker, _| worker.runtime_id != *id);
        self.note_last_change(id)?;
        self.target.remove_runtime(id.as_str())
    }

    /// Removes what the unfinished deletion of an earlier runtime with this id has left.
    pub(super) fn prepare(&mut self, id: &RuntimeId) -> Result<(), RuntimeError> {
        if self.prepared.contains(id) {
            return Ok(());
        }
        if deletion::unfinished(self.view(), id.as_str())?.is_whole {
            self.remove_runtime(id)?;
        }
        self.prepared.insert(id.clone());
        Ok(())
    }

    /// Adds a worker, or replaces the row of an existing one. Its transcript is not changed.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` if `next_transcript_sequence` is not greater than every sequence of the transcript.
    /// Otherwise as [`contains_runtime`](Self::contains_runtime).
    pub fn put_worker(
        &mut self,
        worker: Stored<PersistedWorkerSnapshot>,
    ) -> Result<(), RuntimeError> {
        self.put_worker_of(worker, None)
    }

    pub(super) fn put_worker_of(
        &mut self,
        worker: Stored<PersistedWorkerSnapshot>,
        retention: Option<WorkerRetention>,
    ) -> Result<(), RuntimeError> {
        let worker_ref = worker.value.worker_ref.clone();
        checks::refuse_long_ref(&worker_ref)?;
        self.prepare(&worker_ref.runtime_id)?;
        let (len, last) = self.transcript_end(&worker_ref)?;
        let mut row = convert::worker_row(worker, len);
        let (runtime_id, worker_id) = owner_of(&worker_ref);
        match self.view().worker(runtime_id, worker_id)? {
            Some(current) => convert::keep_worker_additions(&mut row, &current),
            None if self.is_checked => checks::refuse_deleted(self.view(), &worker_ref)?,
            None => {}
        }
        row.change = self.next_change(&worker_ref.runtime_id)?;
        if let Some(retention) = retention {
            row.first_position = retention.first_position;
            row.is_pinned = retention.is_pinned;
        }
        self.refuse_sequence_behind(&row, last)?;
        self.write_worker(&worker_ref, &row)?;
        self.without_row.remove(&worker_ref);
        self.unfinished.insert(worker_ref.runtime_id);
        Ok(())
    }

    fn refuse_sequence_behind(
        &self,
        row: &WorkerRow,
        last: Option<u64>,
    ) -> Result<(), RuntimeError> {
        if !self.is_checked {
            return Ok(());
        }
        let next = row.next_transcript_sequence;
        checks::refuse_behind("next_transcript_sequence", next, last)
    }

    fn write_worker(&self, worker: &WorkerRef, row: &WorkerRow) -> Result<(), RuntimeError> {
        self.target.put_worker(owner_of(worker), row)
    }

    /// The end of the transcript of `worker`, unwritten entries included.
    fn transcript_end(&self, worker: &WorkerRef) -> Result<TranscriptEnd, RuntimeError> {
        if let Some(open) = self.transcript.as_ref().filter(|t| t.worker_ref == *worker) {
            let unwritten = open.sequences.map(|sequences| sequences.last);
            return Ok((open.end(), unwritten.or(self.last_sequence)));
        }
        let (runtime, worker_id) = owner_of(worker);
        let len = self.target.transcript_end((runtime, worker_id))?;
        let Some(len) = len else {
            return Ok((self.begin_of(worker)?, None));
        };
        let mut last = None;
        if len > 0 {
            let view = self.view();
            view.transcript(runtime, worker_id, len - 1, 1, &mut |_, entry| {
                last = Some(entry.sequence);
                Ok(())
            })?;
        }
        Ok((len, last))
    }

    /// Appends an entry to the transcript of its worker. Sequences must increase. Append all entries of a
    /// worker before those of the next: a change of the worker writes the buffered entries.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a sequence that is not greater than the last one; a later call can return it.
    /// Otherwise as [`contains_runtime`](Self::contains_runtime).
    pub fn append_transcript_entry(
        &mut self,
        entry: Stored<TranscriptEntry>,
    ) -> Result<(), RuntimeError> {
        checks::refuse_long_ref(&entry.value.worker_ref)?;
        let transcript = match self.transcript.take() {
            Some(open) if open.worker_ref == entry.value.worker_ref => open,
            other => {
                self.transcript = other;
                self.end_transcript()?;
                let worker = entry.value.worker_ref.clone();
                self.prepare(&worker.runtime_id)?;
                let (len, last) = self.transcript_end(&worker)?;
                self.last_sequence = last;
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
    /// `InvalidRequest` if the first position of the run is not the end of the transcript, and for sequences
    /// that do not increase. Otherwise as [`contains_runtime`](Self::contains_runtime).
    pub fn append_transcript(&mut self, run: TranscriptRun) -> Result<(), RuntimeError> {
        checks::refuse_long_ref(&run.worker_ref)?;
        match &self.transcript {
            Some(open) if open.worker_ref == run.worker_ref => self.write_transcript()?,
            _ => self.end_transcript()?,
        }
        self.prepare(&run.worker_ref.runtime_id)?;
        let (len, last) = self.transcript_end(&run.worker_ref)?;
        if run.start != len {
            return Err(RuntimeError::InvalidRequest(format!(
                "table {}: {} has {len} entries, the run begins at position {}",
                TRANSCRIPTS, run.worker_ref, run.start
            )));
        }
        self.last_sequence = last;
        self.transcript = Some(run);
        self.write_transcript()
    }

    /// Writes the unwritten entries.
    fn write_transcript(&mut self) -> Result<(), RuntimeError> {
        let Some(run) = self.transcript.as_mut().map(TranscriptRun::take) else {
            return Ok(());
        };
        if let Some(sequences) = run.sequences {
            if self.is_checked {
                sequences.refuse_disorder(self.last_sequence)?;
            }
            self.last_sequence = Some(sequences.last);
        }
        self.note_time(&run.worker_ref.runtime_id, &run.run);
        self.target.append_entries(run.owner(), &run.run)
    }

    /// Notes the latest time of appended rows, which the row of their runtime gets.
    fn note_time(&mut self, runtime_id: &RuntimeId, run: &Run) {
        if let Some(time_ms) = run.latest_time_ms() {
            let latest = self.latest_time_ms.entry(runtime_id.clone());
            let latest = latest.or_insert(time_ms);
            *latest = time_ms.max(*latest);
        }
    }

    /// Writes the unwritten entries and ends the transcript. If the worker was put before its transcript,
    /// updates the length in the worker's row.
    pub(super) fn end_transcript(&mut self) -> Result<(), RuntimeError> {
        self.write_transcript()?;
        let Some(ended) = self.transcript.take() else {
            return Ok(());
        };
        let (runtime_id, worker_id) = ended.owner();
        let last = self.last_sequence.take();
        let Some(mut row) = self.view().worker(runtime_id, worker_id)? else {
            self.without_row.insert(ended.worker_ref);
            return Ok(());
        };
        self.refuse_sequence_behind(&row, last)?;
        if row.transcript_len != ended.end() {
            row.transcript_len = ended.end();
            self.write_worker(&ended.worker_ref, &row)?;
        }
        Ok(())
    }

    /// Appends an event to the log of a runtime. Ids must increase.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for an id that is not greater than the last one, or that retention has removed; a later call
    /// can return it, because events are written in runs. Otherwise as [`contains_runtime`](Self::contains_runtime).
    pub fn append_event(
        &mut self,
        runtime_id: &RuntimeId,
        event: Stored<RuntimeEvent>,
    ) -> Result<(), RuntimeError> {
        checks::refuse_long_id(runtime_id.as_str())?;
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
        checks::refuse_long_id(run.runtime_id.as_str())?;
        self.write_events()?;
        self.events = Some(run);
        self.write_events()
    }

    /// Writes the unwritten events.
    fn write_events(&mut self) -> Result<(), RuntimeError> {
        let Some(events) = self.events.take() else {
            return Ok(());
        };
        self.prepare(&events.runtime_id)?;
        self.refuse_below_floor(&events)?;
        self.note_time(&events.runtime_id, &events.run);
        self.deleted.extend(events.deleted());
        self.target
            .append_events(events.runtime_id.as_str(), &events.run)?;
        self.unfinished.insert(events.runtime_id);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), RuntimeError> {
        self.end_transcript()?;
        self.write_events()
    }

    /// Adds a runtime, or replaces the row and the diagnostics of an existing one. Counts the workers that
    /// the runtime has by now, so put them first.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` if a counter is not greater than every id of its log, and for diagnostic ids that do
    /// not increase. Otherwise as [`contains_runtime`](Self::contains_runtime).
    pub fn put_runtime(
        &mut self,
        runtime: Stored<PersistedRuntimeSnapshot>,
    ) -> Result<(), RuntimeError> {
        self.put_runtime_of(runtime, None)
    }

    pub(super) fn put_runtime_of(
        &mut self,
        runtime: Stored<PersistedRuntimeSnapshot>,
        facts: Option<RuntimeFacts>,
    ) -> Result<(), RuntimeError> {
        let runtime_id = runtime.value.runtime_id.clone();
        checks::refuse_long_id(runtime_id.as_str())?;
        let diagnostics = &runtime.value.diagnostics;
        let mut workers = diagnostics.iter().filter_map(|d| d.worker_ref.as_ref());
        workers.try_for_each(checks::refuse_long_ref)?;
        self.prepare(&runtime_id)?;
        self.flush()?;
        let id = runtime_id.as_str();
        let (mut row, diagnostics) = convert::runtime_rows(runtime);
        let totals = WorkerTotals::read(self.view(), id)?;
        totals.count_in(&mut row);
        row.latest_time_ms = self.latest_time_ms.remove(&runtime_id);
        if let Some(current) = self.view().runtime(id)? {
            convert::keep_runtime_additions(&mut row, &current);
        }
        if let Some(last) = self.last_changes.get(&runtime_id) {
            row.last_change = *last;
        }
        if let Some(facts) = facts {
            row.first_event_id = facts.first_event_id;
            row.form = facts.form;
        }
        if self.is_checked {
            let ids = diagnostics.iter().map(|(id, _)| *id);
            let last = checks::refuse_unordered_diagnostics(ids, None)?;
            totals.refuse_contradicting(id, &row)?;
            let last_event = row.last_event_id(self.view().last_event_id(id)?);
            checks::refuse_counters_behind(&row, last_event, last)?;
        }
        self.target.remove_diagnostics(id)?;
        self.target.put_runtime(id, &row)?;
        self.target.put_diagnostics(id, &diagnostics)?;
        self.unfinished.remove(&runtime_id);
        Ok(())
    }

    /// Writes the unwritten rows, and validates the runtimes that changed after `put_runtime`. Does not
    /// commit.
    pub(crate) fn finish(mut self) -> Result<(), RuntimeError> {
        self.flush()?;
        self.write_tombstones()?;
        self.write_last_changes()?;
        if !self.is_checked {
            return Ok(());
        }
        if let Some(worker) = self.without_row.first() {
            return Err(RuntimeError::InvalidRequest(format!(
                "{worker} has a transcript, but is no worker of the store: put the worker, too"
            )));
        }
        let view = self.view();
        for id in &self.unfinished {
            let Some(row) = view.runtime(id.as_str())? else {
                return Err(RuntimeError::InvalidRequest(format!(
                    "runtime {id} has workers or events, but is not in the store: put the runtime, too"
                )));
            };
            WorkerTotals::read(view, id.as_str())?.refuse_contradicting(id.as_str(), &row)?;
            let last_event = row.last_event_id(view.last_event_id(id.as_str())?);
            checks::refuse_counters_behind(&row, last_event, None)?;
        }
        Ok(())
    }
}
