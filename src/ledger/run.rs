//! Runs of encoded log rows, for bulk loads. Any thread can encode a run; the engine only inserts its bytes.

use crate::error::RuntimeError;
use crate::ledger::checks;
use crate::ledger::convert::{owner_of, stored_size};
use crate::ledger::rows::{EventRow, TranscriptRow};
use crate::ledger::stored::envelope::{self, Crc, CrcPrefix, KeyBytes, Record};
use crate::ledger::table_names;
use crate::model::attributes;
use crate::model::borrowed::{BorrowedEntry, BorrowedEvent};
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::observation::{RuntimeEvent, RuntimeEventKind};
use crate::model::time::milliseconds;
use std::borrow::Cow;

/// A run is full when its values have this many bytes, or it has this many rows. redb takes in runs
/// of 1 MiB with their keys; a little more would be two.
const RUN_BYTES: usize = 768 << 10;
const RUN_ROWS: usize = 16 << 10;

/// Rows of one log by increasing number, with their values encoded.
pub(crate) struct Run {
    /// The checksum over the part of the key that all rows share.
    checksum: CrcPrefix,
    /// Each row's number, and the end of its value in `values`.
    rows: Vec<(u64, usize)>,
    values: Vec<u8>,
    /// The latest time of the rows.
    latest_time_ms: Option<u64>,
}

impl Run {
    /// An empty run of rows of `table` whose keys begin with `owner`.
    pub(crate) fn new(table: &str, owner: &impl KeyBytes) -> Self {
        Self {
            checksum: CrcPrefix::new(table, owner),
            rows: Vec::new(),
            values: Vec::new(),
            latest_time_ms: None,
        }
    }

    pub(crate) fn push<R: Record>(&mut self, number: u64, row: &R) -> Result<(), RuntimeError> {
        let begin = self.values.len();
        let values = std::mem::take(&mut self.values);
        self.values = envelope::append_body(row, values).map_err(RuntimeError::InvalidRequest)?;
        let mut checksum = Crc::after(&self.checksum);
        number.digest(&mut checksum);
        checksum.update(&self.values[begin..]);
        self.values
            .extend_from_slice(&checksum.finalize().to_le_bytes());
        envelope::refuse_too_large(self.values.len() - begin)
            .map_err(RuntimeError::InvalidRequest)?;
        self.rows.push((number, self.values.len()));
        self.latest_time_ms = self.latest_time_ms.max(row.additions().time_ms);
        Ok(())
    }

    /// Takes all rows out of the run.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            checksum: self.checksum.clone(),
            rows: std::mem::take(&mut self.rows),
            values: std::mem::take(&mut self.values),
            latest_time_ms: self.latest_time_ms.take(),
        }
    }

    /// The latest time of the rows; `None` if no row has one.
    pub(crate) fn latest_time_ms(&self) -> Option<u64> {
        self.latest_time_ms
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= RUN_ROWS || self.values.len() >= RUN_BYTES
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The bytes of all encoded values.
    pub(crate) fn bytes(&self) -> usize {
        self.values.len()
    }

    /// The number of the last row.
    pub(crate) fn last(&self) -> Option<u64> {
        self.rows.last().map(|(number, _)| *number)
    }

    /// Whether two runs have the same rows.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.rows == other.rows && self.values == other.values
    }

    /// The numbers with their encoded values.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut begin = 0;
        self.rows.iter().map(move |(number, end)| {
            let value = &self.values[begin..*end];
            begin = *end;
            (*number, value)
        })
    }
}

/// Encoded events of one runtime.
pub struct EventRun {
    pub(crate) runtime_id: RuntimeId,
    pub(crate) run: Run,
    /// The workers that the events report as deleted.
    deleted: Vec<WorkerId>,
}

impl EventRun {
    /// An empty run of events of the runtime `runtime_id`.
    pub fn new(runtime_id: RuntimeId) -> Self {
        let run = Run::new(table_names::EVENTS, &runtime_id.as_str());
        Self {
            runtime_id,
            run,
            deleted: Vec::new(),
        }
    }

    /// The workers that the events report as deleted.
    pub(crate) fn deleted(&self) -> impl Iterator<Item = WorkerRef> {
        let workers = self.deleted.iter().cloned();
        workers.map(|worker| WorkerRef::new(self.runtime_id.clone(), worker))
    }

    /// Encodes an event. Its worker, if it has one, is of the same runtime.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for an event that is too large to be stored.
    pub fn push(&mut self, event: &BorrowedEvent<'_>) -> Result<(), RuntimeError> {
        let worker_id = event.worker_ref.as_ref().map(|worker| &*worker.worker_id);
        worker_id.map_or(Ok(()), checks::refuse_long_id)?;
        let runtime_id = self.runtime_id.as_str();
        let standard = RuntimeEvent::standard_text(event.kind, runtime_id, worker_id);
        let row = EventRow {
            worker_id: worker_id.map(Cow::Borrowed),
            kind: event.kind,
            message: (event.message != standard).then_some(Cow::Borrowed(&*event.message)),
            unknown: event.unknown.clone(),
            recorded_at_ms: event.recorded_at.map(milliseconds),
            form: event.form.borrowed(),
        };
        self.run.push(event.id, &row)?;
        if event.kind == RuntimeEventKind::WorkerDeleted {
            self.deleted.extend(worker_id.and_then(WorkerId::from_text));
        }
        Ok(())
    }

    /// Whether the run has the size that is best to append: about 768 KiB or 16,384 rows.
    pub fn is_full(&self) -> bool {
        self.run.is_full()
    }

    /// The bytes of all encoded values.
    pub fn bytes(&self) -> usize {
        self.run.values.len()
    }

    /// Takes the events out as a run of their own, and leaves this one empty.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self {
            runtime_id: self.runtime_id.clone(),
            run: self.run.take(),
            deleted: std::mem::take(&mut self.deleted),
        }
    }
}

/// The sequences of a run of entries. The run only notes them: whether they continue a transcript is known
/// where the run is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequences {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The first sequence that is not greater than the one before it, with that one.
    pub(crate) disorder: Option<(u64, u64)>,
}

impl Sequences {
    /// Rejects sequences that do not increase, starting after `last`.
    pub(crate) fn refuse_disorder(&self, last: Option<u64>) -> Result<(), RuntimeError> {
        if let Some((sequence, before)) = self.disorder {
            checks::refuse_not_after("transcript sequence", sequence, Some(before))?;
        }
        checks::refuse_not_after("transcript sequence", self.first, last)
    }

    fn add(this: &mut Option<Self>, sequence: u64) {
        let Some(sequences) = this else {
            *this = Some(Self {
                first: sequence,
                last: sequence,
                disorder: None,
            });
            return;
        };
        let last = std::mem::replace(&mut sequences.last, sequence);
        if sequence <= last && sequences.disorder.is_none() {
            sequences.disorder = Some((sequence, last));
        }
    }
}

/// Encoded entries of one transcript.
pub struct TranscriptRun {
    pub(crate) worker_ref: WorkerRef,
    /// The position of the first entry.
    pub(crate) start: u64,
    pub(crate) run: Run,
    /// What the sequences of the entries are; `None` for an empty run.
    pub(crate) sequences: Option<Sequences>,
}

impl TranscriptRun {
    /// An empty run of entries of the transcript of `worker_ref`. Its first entry gets position `start`,
    /// counted from 0.
    pub fn new(worker_ref: WorkerRef, start: u64) -> Self {
        let run = Run::new(table_names::TRANSCRIPTS, &owner_of(&worker_ref));
        Self {
            worker_ref,
            start,
            run,
            sequences: None,
        }
    }

    /// The part of the key that all entries share.
    pub(crate) fn owner(&self) -> (&str, &str) {
        owner_of(&self.worker_ref)
    }

    /// The position after the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(stored_size(self.run.rows.len()))
    }

    /// Encodes an entry of this worker. Sequences increase.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for an entry that is too large to be stored.
    pub fn push(&mut self, entry: &BorrowedEntry<'_>) -> Result<(), RuntimeError> {
        let mut unknown = entry.unknown.clone();
        let attributes = attributes::taken_from(&mut unknown).map(Cow::Owned);
        let row = TranscriptRow {
            sequence: entry.sequence,
            role: entry.role,
            event_id: entry.event_id,
            content: Cow::Borrowed(&*entry.content),
            unknown,
            recorded_at_ms: entry.recorded_at.map(milliseconds),
            attributes,
            form: entry.form.borrowed(),
        };
        self.run.push(self.end(), &row)?;
        Sequences::add(&mut self.sequences, entry.sequence);
        Ok(())
    }

    /// As [`EventRun::is_full`].
    pub fn is_full(&self) -> bool {
        self.run.is_full()
    }

    /// As [`EventRun::bytes`].
    pub fn bytes(&self) -> usize {
        self.run.values.len()
    }

    /// Takes the entries out as a run of their own. This run continues at the position after them.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let end = self.end();
        let start = std::mem::replace(&mut self.start, end);
        Self {
            worker_ref: self.worker_ref.clone(),
            start,
            run: self.run.take(),
            sequences: self.sequences.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::convert;
    use crate::model::identity::WorkerId;
    use crate::model::interaction::{TranscriptEntry, TranscriptRole};
    use crate::model::observation::RuntimeEventKind;
    use crate::model::persisted::{Stored, UnknownMember};

    fn unknown() -> Vec<UnknownMember> {
        vec![UnknownMember {
            pointer: "/a".into(),
            name: "b".into(),
            json: "{}".into(),
        }]
    }

    fn worker_ref() -> WorkerRef {
        let runtime_id = RuntimeId::new("r").unwrap();
        WorkerRef::new(runtime_id, WorkerId::new("w").unwrap())
    }

    fn encoded<R: Record>(table: &str, key: &impl KeyBytes, record: &R) -> Vec<u8> {
        let mut value = Vec::new();
        envelope::encode(table, key, record, &mut value).unwrap();
        value
    }

    #[test]
    fn a_run_has_the_bytes_that_each_record_has_alone() {
        use RuntimeEventKind::*;
        let worker_ref = worker_ref();
        let mut events = EventRun::new(worker_ref.runtime_id.clone());
        let mut expected = Vec::new();
        for (id, kind, message) in [
            (1, RuntimeStarted, "runtime started"),
            (7, RuntimeStopped, "runtime r stopped"),
            (8, WorkerCreated, "worker w created"),
            (9, WorkerInputAccepted, &"words of its own ".repeat(20)),
        ] {
            let event = Stored {
                value: RuntimeEvent {
                    id,
                    worker_ref: (id > 7).then(|| worker_ref.clone()),
                    kind,
                    message: message.into(),
                },
                unknown: if id == 8 { unknown() } else { Vec::new() },
            };
            events.push(&event.clone().into()).unwrap();
            let record = convert::event_row(&worker_ref.runtime_id, event);
            expected.push((id, encoded(table_names::EVENTS, &("r", id), &record)));
        }
        let rows = events.run.rows();
        let rows: Vec<_> = rows.map(|(id, value)| (id, value.to_vec())).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_transcript_goes_on_in_the_next_run() {
        let mut transcript = TranscriptRun::new(worker_ref(), 5);
        for position in 5..9 {
            let entry = Stored {
                value: TranscriptEntry {
                    sequence: 2 * position,
                    worker_ref: worker_ref(),
                    role: TranscriptRole::Assistant,
                    content: "said ".repeat(position as usize),
                    event_id: 3,
                },
                unknown: if position == 6 { unknown() } else { Vec::new() },
            };
            transcript.push(&entry.clone().into()).unwrap();
            let record = convert::transcript_row(entry);
            let key = ("r", "w", position);
            let expected = encoded(table_names::TRANSCRIPTS, &key, &record);
            let run = transcript.take();
            assert_eq!(run.start, position);
            let rows: Vec<_> = run.run.rows().collect();
            assert_eq!(rows, [(position, &expected[..])]);
        }
        assert_eq!(transcript.bytes(), 0);
    }
}
