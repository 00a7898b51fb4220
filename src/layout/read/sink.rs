//! The sink that receives the records of a reading, and the reasons to stop early.

use crate::layout::error::LayoutError;
use crate::layout::format::document::RemovedWorkers;
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::model::borrowed::{BorrowedEntry, BorrowedEvent};
use crate::model::identity::WorkerRef;
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, RuntimeFacts, Stored, WorkerRetention,
};
use std::path::Path;

/// The position of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) path: &'a Path,
    pub(crate) line: Option<u64>,
    /// The offset in the file, in bytes.
    pub(crate) byte: Option<u64>,
}

impl<'a> Place<'a> {
    /// A whole file.
    pub(crate) fn whole(path: &'a Path) -> Self {
        Self {
            path,
            line: None,
            byte: None,
        }
    }
}

/// Receives the records of a reading. A worker follows its transcript, and its files follow the worker; the runtime comes
/// last. What an implementation does not override is discarded.
pub(crate) trait Sink {
    /// Comes before the entries of the worker.
    fn begin_worker(&mut self, _: &WorkerRef, _: WorkerRetention) -> Result<(), LayoutError> {
        Ok(())
    }

    fn entry(&mut self, _: Place<'_>, _: BorrowedEntry<'_>) -> Result<(), LayoutError> {
        Ok(())
    }

    fn worker(
        &mut self,
        _: Place<'_>,
        _: Stored<PersistedWorkerSnapshot>,
        _: WorkerRetention,
    ) -> Result<(), LayoutError> {
        Ok(())
    }

    fn event(&mut self, _: Place<'_>, _: BorrowedEvent<'_>) -> Result<(), LayoutError> {
        Ok(())
    }

    /// A chunk of a kept file or of the own text of a document, at a path of
    /// [`kept_file`](crate::ledger::stored::kept_file). Chunks of one file follow each other.
    fn file(&mut self, _path: &str, _chunk: u64, _row: FileChunkRow) -> Result<(), LayoutError> {
        Ok(())
    }

    fn runtime(
        &mut self,
        _: Place<'_>,
        _: Stored<PersistedRuntimeSnapshot>,
        _: RuntimeFacts,
        _: RemovedWorkers,
    ) -> Result<(), LayoutError> {
        Ok(())
    }
}

/// A sink that discards all records: for dry runs.
pub(crate) struct DiscardSink;

impl Sink for DiscardSink {}

/// Why a reading stopped early.
pub(crate) enum ReadStop {
    /// The last finding is one that a strict reading does not accept.
    Refused,
    /// An error.
    Failed(LayoutError),
}

impl From<LayoutError> for ReadStop {
    fn from(error: LayoutError) -> Self {
        Self::Failed(error)
    }
}

/// The numbers of intact records, and of bytes read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) workers: u64,
    pub(crate) events: u64,
    pub(crate) transcript_entries: u64,
    /// Files and empty directories that are not part of the layout.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}
