//! Sends what is read to the thread that writes the store.

use crate::layout::error::LayoutError;
use crate::layout::import::pipeline::Outbox;
use crate::layout::read::sink::{Place, Sink};
use crate::ledger::convert::owned_ref;
use crate::ledger::run::{EventRun, TranscriptRun};
use crate::model::borrowed::{BorrowedEntry, BorrowedEvent};
use crate::model::identity::RuntimeId;
use crate::model::persisted::{PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored};
use std::io::ErrorKind;

/// A batch of rows or a snapshot on its way to the thread that writes.
pub(crate) enum Record {
    Transcript(TranscriptRun),
    Worker(Stored<PersistedWorkerSnapshot>),
    Events(EventRun),
    Runtime(Box<Stored<PersistedRuntimeSnapshot>>),
}

/// The approximate size of a snapshot, in bytes.
const RECORD_BYTES: usize = 1024;

/// Sends records to the thread that writes. Rows of a log are encoded here, as runs, because reading
/// has time to spare: the thread that writes only inserts them.
pub(crate) struct Sending<'o> {
    out: &'o mut Outbox<Record>,
    /// The rows of the current transcript that were not sent yet.
    transcript: Option<TranscriptRun>,
    events: EventRun,
}

impl<'o> Sending<'o> {
    pub(crate) fn new(out: &'o mut Outbox<Record>, id: &RuntimeId) -> Self {
        Self {
            out,
            transcript: None,
            events: EventRun::new(id.clone()),
        }
    }

    fn send(&mut self, record: Record) -> Result<(), LayoutError> {
        let bytes = match &record {
            Record::Transcript(run) => run.bytes(),
            Record::Events(run) => run.bytes(),
            Record::Worker(_) | Record::Runtime(_) => RECORD_BYTES,
        };
        // The error that stopped the consumer is returned instead of this one.
        let stopped = |_| LayoutError::io("write to", "the store")(ErrorKind::BrokenPipe.into());
        self.out.push(record, bytes).map_err(stopped)
    }
}

impl Sink for Sending<'_> {
    fn entry(&mut self, _: Place<'_>, entry: BorrowedEntry<'_>) -> Result<(), LayoutError> {
        let run = match &mut self.transcript {
            Some(run) => run,
            none => none.insert(TranscriptRun::new(owned_ref(&entry.worker_ref)?, 0)),
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
    ) -> Result<(), LayoutError> {
        if let Some(rest) = self.transcript.take() {
            self.send(Record::Transcript(rest))?;
        }
        self.send(Record::Worker(worker))
    }

    fn event(&mut self, _: Place<'_>, event: BorrowedEvent<'_>) -> Result<(), LayoutError> {
        self.events.push(&event)?;
        if self.events.is_full() {
            let full = self.events.take();
            self.send(Record::Events(full))?;
        }
        Ok(())
    }

    fn runtime(
        &mut self,
        _: Place<'_>,
        runtime: Stored<PersistedRuntimeSnapshot>,
    ) -> Result<(), LayoutError> {
        let rest = self.events.take();
        self.send(Record::Events(rest))?;
        self.send(Record::Runtime(Box::new(runtime)))
    }
}
