//! Records of the two logs with their texts borrowed, and runs of them in the form in which the file
//! has them: a run can be made on any thread, and [`BulkLoad`](super::BulkLoad) only puts it in.

use crate::error::RuntimeError;
use crate::ledger::convert::{owner_of, stored_size};
use crate::ledger::record::{
    self, Crc, CrcPrefix, EventRecord, EventRow, KeyBytes, Record, TranscriptRecord, TranscriptRow,
    UnknownRecord,
};
use crate::ledger::table_names;
use crate::model::borrowed::{BorrowedEntry, BorrowedEvent};
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::UnknownMember;
use serde::Serialize;

/// A run is full when its values have this many bytes, or it has this many rows. redb takes in runs
/// of 1 MiB with their keys; a little more would be two.
const RUN_BYTES: usize = 768 << 10;
const RUN_ROWS: usize = 16 << 10;

/// Rows of one log by increasing number, their values as the file has them.
pub(crate) struct Run {
    /// The checksum of what all values have before their numbers.
    checksum: CrcPrefix,
    /// Number, and where its value ends in `values`.
    rows: Vec<(u64, usize)>,
    values: Vec<u8>,
}

impl Run {
    fn new(table: &str, owner: &impl KeyBytes) -> Self {
        Self {
            checksum: CrcPrefix::new(table, owner),
            rows: Vec::new(),
            values: Vec::new(),
        }
    }

    fn push<R: Record>(&mut self, number: u64, body: &impl Serialize) -> Result<(), RuntimeError> {
        let begin = self.values.len();
        self.values.push(R::VERSION);
        let values = std::mem::take(&mut self.values);
        self.values = postcard::to_extend(body, values)
            .map_err(|error| RuntimeError::InvalidRequest(error.to_string()))?;
        let mut checksum = Crc::after(&self.checksum);
        number.digest(&mut checksum);
        checksum.update(&self.values[begin..]);
        self.values
            .extend_from_slice(&checksum.finalize().to_le_bytes());
        record::refuse_too_large(self.values.len() - begin)
            .map_err(RuntimeError::InvalidRequest)?;
        self.rows.push((number, self.values.len()));
        Ok(())
    }

    /// All rows, which are then gone from here.
    fn take(&mut self) -> Self {
        Self {
            checksum: self.checksum.clone(),
            rows: std::mem::take(&mut self.rows),
            values: std::mem::take(&mut self.values),
        }
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= RUN_ROWS || self.values.len() >= RUN_BYTES
    }

    /// Numbers with their values.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut begin = 0;
        self.rows.iter().map(move |(number, end)| {
            let value = &self.values[begin..*end];
            begin = *end;
            (*number, value)
        })
    }
}

/// Events of one runtime, in the form in which the file has them.
pub struct EventRun {
    pub(crate) runtime_id: RuntimeId,
    pub(crate) run: Run,
}

impl EventRun {
    /// No events yet of the runtime `runtime_id`.
    pub fn new(runtime_id: RuntimeId) -> Self {
        let run = Run::new(table_names::EVENTS, &runtime_id.as_str());
        Self { runtime_id, run }
    }

    /// Adds an event. An event about a worker is about one of the same runtime.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for an event that is too large to be stored.
    pub fn push(&mut self, event: &BorrowedEvent<'_>) -> Result<(), RuntimeError> {
        let worker_id = event.worker_ref.as_ref().map(|worker| &*worker.worker_id);
        let runtime_id = self.runtime_id.as_str();
        let standard = RuntimeEvent::standard_text(event.kind, runtime_id, worker_id);
        let body = EventRow {
            worker_id,
            kind: event.kind.into(),
            message: (event.message != standard).then_some(&*event.message),
            unknown: to_records(&event.unknown),
        };
        self.run.push::<EventRecord>(event.id, &body)
    }

    /// Whether it is time to put the run into the store.
    pub fn is_full(&self) -> bool {
        self.run.is_full()
    }

    /// The bytes of all values.
    pub fn bytes(&self) -> usize {
        self.run.values.len()
    }

    /// The events so far, as a run of their own; none are left in this one.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self {
            runtime_id: self.runtime_id.clone(),
            run: self.run.take(),
        }
    }
}

/// Entries of one transcript, in the form in which the file has them.
pub struct TranscriptRun {
    pub(crate) worker_ref: WorkerRef,
    /// The position of the first entry.
    pub(crate) start: u64,
    pub(crate) run: Run,
}

impl TranscriptRun {
    /// No entries yet of the transcript of `worker_ref`, from position `start` (from 0) on.
    pub fn new(worker_ref: WorkerRef, start: u64) -> Self {
        let run = Run::new(table_names::TRANSCRIPTS, &owner_of(&worker_ref));
        Self {
            worker_ref,
            start,
            run,
        }
    }

    /// What the keys of all entries begin with.
    pub(crate) fn owner(&self) -> (&str, &str) {
        owner_of(&self.worker_ref)
    }

    /// The position after the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.start + stored_size(self.run.rows.len())
    }

    /// Adds an entry, which is one of this worker's.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for an entry that is too large to be stored.
    pub fn push(&mut self, entry: &BorrowedEntry<'_>) -> Result<(), RuntimeError> {
        let body = TranscriptRow {
            sequence: entry.sequence,
            role: entry.role.into(),
            event_id: entry.event_id,
            content: &entry.content,
            unknown: to_records(&entry.unknown),
        };
        self.run.push::<TranscriptRecord>(self.end(), &body)
    }

    /// As [`EventRun::is_full`].
    pub fn is_full(&self) -> bool {
        self.run.is_full()
    }

    /// As [`EventRun::bytes`].
    pub fn bytes(&self) -> usize {
        self.run.values.len()
    }

    /// The entries so far, as a run of their own; this one goes on where that ends.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let end = self.end();
        let start = std::mem::replace(&mut self.start, end);
        Self {
            worker_ref: self.worker_ref.clone(),
            start,
            run: self.run.take(),
        }
    }
}

fn to_records(unknown: &[UnknownMember]) -> Vec<UnknownRecord> {
    unknown.iter().cloned().map(UnknownRecord::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::convert;
    use crate::model::identity::WorkerId;
    use crate::model::interaction::{TranscriptEntry, TranscriptRole};
    use crate::model::observation::RuntimeEventKind;
    use crate::model::persisted::Stored;

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
        record::encode(table, key, record, &mut value).unwrap();
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
            let record = convert::event_record(&worker_ref.runtime_id, event);
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
            let record = convert::transcript_record(entry);
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
