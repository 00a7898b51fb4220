//! The logs of a stored runtime, read in step with those of a directory.

use crate::error::RuntimeError;
use crate::layout::compare::diff::{DIRECTORY_AND_STORE, Found, first_difference, record_json};
use crate::layout::error::LayoutError;
use crate::layout::read::log_record::{LogRecord, LogRow};
use crate::layout::read::sink::Place;
use crate::ledger::convert::owned_ref;
use crate::model::borrowed::BorrowedRef;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::TranscriptEntry;
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::Stored;
use crate::store::snapshot::Snapshot;
use std::iter::Peekable;

type Rows<'s, T> =
    Box<dyn Iterator<Item = Result<<T as LogRecord>::Row<'static>, RuntimeError>> + 's>;

/// A record of the directory against one that can be redacted since.
pub(crate) enum Outcome {
    /// The store has redacted it.
    Redacted,
    /// The difference in words; `None` for the same record.
    Compared(Option<Found>),
}

/// A log of the store, and how far it equals that of the directory.
pub(crate) struct StoreLog<'s, T: LogRecord> {
    rows: Peekable<Rows<'s, T>>,
    /// The number of records that are equal on both sides.
    pub(crate) same: u64,
    /// The number of the last equal record; 0 if there is none.
    pub(crate) last_same: u64,
    /// The equal records whose time only the store has, and those whose time only the directory has.
    pub(crate) times_on_one_side: (u64, u64),
    /// The equal records whose lines differ in their bytes.
    pub(crate) only_bytes: u64,
    /// The first number that the log can have: rows with smaller numbers were pruned. 0 if none was.
    floor: u64,
    /// The records of the directory below the floor so far.
    pub(crate) pruned: u64,
    /// The number of the last of them; 0 if there is none.
    last_pruned: u64,
}

impl<'s, T: LogRecord> StoreLog<'s, T> {
    fn new(
        floor: u64,
        records: impl Iterator<Item = Result<Stored<T::Recorded>, RuntimeError>> + 's,
    ) -> Self {
        let rows: Rows<'s, T> = Box::new(records.map(|record| record.map(T::of_store)));
        Self {
            rows: rows.peekable(),
            same: 0,
            last_same: 0,
            times_on_one_side: (0, 0),
            only_bytes: 0,
            floor,
            pruned: 0,
            last_pruned: 0,
        }
    }

    /// Whether retention has removed the record with this number of the directory from the store. Counts it if so.
    pub(crate) fn is_pruned(&mut self, number: u64) -> bool {
        let is_pruned = number < self.floor;
        if is_pruned {
            self.pruned += 1;
            self.last_pruned = number;
        }
        is_pruned
    }

    /// The records of the directory that agree with the log so far.
    pub(crate) fn records(&self) -> u64 {
        self.pruned + self.same
    }

    /// Whether the records of the directory reach the first one that the log still has, or follow each other up to it.
    pub(crate) fn reaches_floor(&self) -> bool {
        self.same > 0 || self.last_pruned.saturating_add(1) >= self.floor
    }

    /// The number of the last record of the directory that agrees; 0 if there is none.
    pub(crate) fn last_record(&self) -> u64 {
        self.last_same.max(self.last_pruned)
    }

    /// The number of the next record; `None` at the end.
    pub(crate) fn next_number(&mut self) -> Result<Option<u64>, LayoutError> {
        match self.rows.peek() {
            Some(Ok(next)) => Ok(Some(next.number())),
            Some(Err(_)) => Ok(self.rows.next().transpose()?.map(|row| row.number())),
            None => Ok(None),
        }
    }

    /// Skips the next record.
    pub(crate) fn skip(&mut self) {
        self.rows.next();
    }

    /// Compares a record of the directory with the next one here. Returns the difference in words.
    pub(crate) fn expect(
        &mut self,
        place: Place<'_>,
        row: &T::Row<'_>,
    ) -> Result<Option<Found>, LayoutError> {
        let Some(next) = self.rows.next().transpose()? else {
            return Ok(Some(lacks::<T>(row.number()).into()));
        };
        self.compared(place, row, &next)
    }

    /// As [`expect`](Self::expect), but the record here can be redacted since.
    pub(crate) fn expect_or_redacted(
        &mut self,
        place: Place<'_>,
        row: &T::Row<'_>,
    ) -> Result<Outcome, LayoutError> {
        let Some(next) = self.rows.next().transpose()? else {
            return Ok(Outcome::Compared(Some(lacks::<T>(row.number()).into())));
        };
        if !T::is_same(&next, row) && T::has_redacted(&next, row) {
            self.same += 1;
            self.last_same = row.number();
            return Ok(Outcome::Redacted);
        }
        self.compared(place, row, &next).map(Outcome::Compared)
    }

    fn compared(
        &mut self,
        place: Place<'_>,
        row: &T::Row<'_>,
        next: &T::Row<'_>,
    ) -> Result<Option<Found>, LayoutError> {
        if T::is_same(next, row) {
            self.same += 1;
            self.last_same = row.number();
            self.only_bytes += u64::from(has_other_bytes(next, row));
            let (of_store, of_directory) = (next.recorded_at(), row.recorded_at());
            self.times_on_one_side.0 += u64::from(of_directory.is_none() && of_store.is_some());
            self.times_on_one_side.1 += u64::from(of_store.is_none() && of_directory.is_some());
            return Ok(None);
        }
        let (one, other) = (
            record_json(place.path, row, true)?,
            record_json(place.path, next, true)?,
        );
        Ok(Some(first_difference(DIRECTORY_AND_STORE, &one, &other)))
    }
}

/// Whether the lines of equal records differ in their bytes, apart from the newline after the last line of a log.
pub(crate) fn has_other_bytes(store: &impl LogRow, directory: &impl LogRow) -> bool {
    let is_same_form = store.spelling() == directory.spelling();
    if is_same_form && store.own_text() == directory.own_text() {
        return false;
    }
    let times = directory.recorded_at().is_some();
    let (mut here, mut there) = (Vec::new(), Vec::new());
    let written = directory
        .write_own(times, &mut here)
        .and_then(|()| store.write_own(times, &mut there));
    let end = |line: &[u8]| line.strip_suffix(b"\n").map_or(line.len(), <[u8]>::len);
    written.is_err() || here[..end(&here)] != there[..end(&there)]
}

pub(crate) fn lacks<T: LogRecord>(number: u64) -> String {
    format!("the store does not have {} {number}", T::NUMBER)
}

/// The logs of one runtime of the store.
pub(crate) struct StoreLogs<'s> {
    snapshot: &'s Snapshot,
    pub(crate) events: StoreLog<'s, RuntimeEvent>,
    /// The current transcript and its worker.
    transcript: Option<(WorkerRef, StoreLog<'s, TranscriptEntry>)>,
}

impl<'s> StoreLogs<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot, id: &RuntimeId) -> Result<Self, LayoutError> {
        Ok(Self {
            snapshot,
            events: StoreLog::new(
                snapshot.first_event_id(id)?,
                snapshot.written_events(id, 0)?,
            ),
            transcript: None,
        })
    }

    /// The transcript of `worker`, at its current position.
    pub(crate) fn transcript(
        &mut self,
        worker: &BorrowedRef<'_>,
    ) -> Result<&mut StoreLog<'s, TranscriptEntry>, LayoutError> {
        let open = self.transcript.take();
        let open = match open.filter(|(of, _)| *worker == *of) {
            Some(open) => open,
            None => {
                let worker = owned_ref(worker)?;
                let log = transcript(self.snapshot, &worker)?;
                (worker, log)
            }
        };
        Ok(&mut self.transcript.insert(open).1)
    }

    /// Removes and returns the transcript of `worker` after its last record.
    pub(crate) fn end_transcript(
        &mut self,
        worker: &WorkerRef,
    ) -> Result<StoreLog<'s, TranscriptEntry>, LayoutError> {
        match self.transcript.take() {
            Some((of, log)) if of == *worker => Ok(log),
            _ => transcript(self.snapshot, worker),
        }
    }
}

/// The transcript of `worker`, from its beginning. Its floor is a position in the store; here it is a sequence, which the
/// records of a directory have.
fn transcript<'s>(
    snapshot: &'s Snapshot,
    worker: &WorkerRef,
) -> Result<StoreLog<'s, TranscriptEntry>, LayoutError> {
    let floor = first_sequence(snapshot, worker)?;
    Ok(StoreLog::new(
        floor,
        snapshot.written_transcript(worker, 0)?,
    ))
}

/// The first sequence that the transcript of `worker` can have: entries with smaller ones were pruned. 0 if none was.
pub(crate) fn first_sequence(snapshot: &Snapshot, worker: &WorkerRef) -> Result<u64, LayoutError> {
    if snapshot.first_position(worker)? == 0 {
        return Ok(0);
    }
    if let Some(first) = snapshot.transcript(worker, 0)?.next() {
        return Ok(first?.value.sequence);
    }
    // All entries were pruned. The next one gets this sequence.
    let row = snapshot.worker(worker)?;
    Ok(row.map_or(0, |row| row.value.next_transcript_sequence))
}
