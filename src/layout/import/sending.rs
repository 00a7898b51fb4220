//! Sends what is read to the thread that writes the store.

use crate::layout::error::LayoutError;
use crate::layout::format::document::RemovedWorkers;
use crate::layout::import::pipeline::Outbox;
use crate::layout::read::sink::{Place, Sink};
use crate::ledger::convert::owned_ref;
use crate::ledger::run::{EventRun, TranscriptRun};
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::model::borrowed::{BorrowedEntry, BorrowedEvent};
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, RuntimeFacts, Stored, WorkerRetention,
};
use std::io::ErrorKind;

/// A batch of rows or a snapshot on its way to the thread that writes.
pub(crate) enum Record {
    Transcript(TranscriptRun),
    /// The floor of the transcript that follows.
    Floor(WorkerRef, u64),
    Worker(Stored<PersistedWorkerSnapshot>, WorkerRetention),
    Events(EventRun),
    /// A chunk of a file of the runtime: its path, its number.
    File(String, u64, FileChunkRow),
    /// A runtime, its facts and its removed workers.
    Runtime(
        Box<Stored<PersistedRuntimeSnapshot>>,
        RuntimeFacts,
        RemovedWorkers,
    ),
}

/// The approximate size of a snapshot, in bytes.
const RECORD_BYTES: usize = 1024;

/// Sends records to the thread that writes. Rows of a log are encoded here, as runs, because reading
/// has time to spare: the thread that writes only inserts them.
pub(crate) struct Sending<'o> {
    out: &'o mut Outbox<Record>,
    /// The rows of the current transcript that were not sent yet.
    transcript: Option<TranscriptRun>,
    /// The floor of that transcript.
    first_position: u64,
    events: EventRun,
}

impl<'o> Sending<'o> {
    pub(crate) fn new(out: &'o mut Outbox<Record>, id: &RuntimeId) -> Self {
        Self {
            out,
            transcript: None,
            first_position: 0,
            events: EventRun::new(id.clone()),
        }
    }

    fn send(&mut self, record: Record) -> Result<(), LayoutError> {
        let bytes = match &record {
            Record::Transcript(run) => run.bytes(),
            Record::Events(run) => run.bytes(),
            Record::File(_, _, FileChunkRow::Bytes(bytes)) => RECORD_BYTES + bytes.len(),
            Record::File(..) | Record::Floor(..) | Record::Worker(..) | Record::Runtime(..) => {
                RECORD_BYTES
            }
        };
        // The error that stopped the consumer is returned instead of this one.
        let stopped = |_| LayoutError::io("write to", "the store")(ErrorKind::BrokenPipe.into());
        self.out.push(record, bytes).map_err(stopped)
    }
}

impl Sink for Sending<'_> {
    fn begin_worker(
        &mut self,
        worker: &WorkerRef,
        retention: WorkerRetention,
    ) -> Result<(), LayoutError> {
        self.first_position = retention.first_position;
        match retention.first_position {
            0 => Ok(()),
            first => self.send(Record::Floor(worker.clone(), first)),
        }
    }

    fn entry(&mut self, _: Place<'_>, entry: BorrowedEntry<'_>) -> Result<(), LayoutError> {
        let run = match &mut self.transcript {
            Some(run) => run,
            none => {
                let worker = owned_ref(&entry.worker_ref)?;
                none.insert(TranscriptRun::new(worker, self.first_position))
            }
        };
        run.push(&entry)?;
        if run.is_full() {
            let full = run.take();
            self.send(Record::Transcript(full))?;
        }
        Ok(())
    }

    fn worker(
        &mut self,
        _: Place<'_>,
        worker: Stored<PersistedWorkerSnapshot>,
        retention: WorkerRetention,
    ) -> Result<(), LayoutError> {
        if let Some(rest) = self.transcript.take() {
            self.send(Record::Transcript(rest))?;
        }
        self.send(Record::Worker(worker, retention))
    }

    fn event(&mut self, _: Place<'_>, event: BorrowedEvent<'_>) -> Result<(), LayoutError> {
        self.events.push(&event)?;
        if self.events.is_full() {
            let full = self.events.take();
            self.send(Record::Events(full))?;
        }
        Ok(())
    }

    fn file(&mut self, path: &str, chunk: u64, row: FileChunkRow) -> Result<(), LayoutError> {
        self.send(Record::File(path.to_owned(), chunk, row))
    }

    fn runtime(
        &mut self,
        _: Place<'_>,
        runtime: Stored<PersistedRuntimeSnapshot>,
        facts: RuntimeFacts,
        removed: RemovedWorkers,
    ) -> Result<(), LayoutError> {
        let rest = self.events.take();
        self.send(Record::Events(rest))?;
        self.send(Record::Runtime(Box::new(runtime), facts, removed))
    }
}
