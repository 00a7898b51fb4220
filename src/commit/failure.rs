//! Why a commit failed.

use crate::error::{RuntimeError, with_causes};
use crate::ledger::context::OpContext;

/// Why a commit failed. Each operation of the batch gets it as an error.
#[derive(Clone)]
pub(crate) enum Failure {
    /// The commit itself failed: the batch may be on disk.
    Uncertain(std::io::ErrorKind, String),
    /// The failure came before the commit: the batch is not on disk.
    Refused(std::io::ErrorKind, String),
    /// The file is corrupt; the batch is not on disk.
    Corrupt(String),
    /// An earlier access to the file failed, and the engine rejects every later one; the batch is not on
    /// disk.
    Earlier,
    /// The wait for a lock reached its limit before the commit was published; the batch is not on disk.
    /// `holder` is the process that holds the lock, where the system reports it.
    Locked { holder: Option<u32> },
    /// The batch is on disk, in a file that no path of the store leads to.
    Moved,
    /// Another host changed the rows that the batch was made from; the batch is not in the store.
    Conflict,
    /// A lock was not free in time, for this reason; the batch is not in the store.
    Busy(String),
    /// The calling process is a fork of the one that opened the store; the batch is not on disk.
    Forked,
}

impl Failure {
    /// The error of an operation of the batch.
    pub(crate) fn error(&self, at: OpContext<'_>) -> RuntimeError {
        match self {
            Self::Uncertain(kind, message) => RuntimeError::CommitUncertain {
                path: at.path().to_owned(),
                source: std::io::Error::new(*kind, message.clone()),
            },
            Self::Refused(kind, message) => at.io(std::io::Error::new(*kind, message.clone())),
            Self::Corrupt(message) => at.corrupt(message.clone()),
            Self::Earlier => at.failed(),
            Self::Locked { holder } => at.locked(*holder),
            Self::Moved => at.moved(true),
            Self::Conflict => RuntimeError::StoreConflict {
                operation: at.operation,
                place: at.place.clone(),
            },
            Self::Busy(reason) => at.busy(reason.clone()),
            Self::Forked => at.forked(),
        }
    }

    /// The error of a later operation, which was not part of the batch.
    pub(crate) fn later(&self, at: OpContext<'_>) -> RuntimeError {
        match self {
            Self::Moved => at.moved(false),
            _ => at.failed(),
        }
    }

    /// A failure before the commit began: nothing of the batch is in the file.
    pub(crate) fn before_commit(error: RuntimeError) -> Self {
        match error {
            RuntimeError::StoreIo { source, .. } => {
                Self::Refused(source.kind(), source.to_string())
            }
            RuntimeError::StoreCorrupt { message, .. } => Self::Corrupt(message),
            RuntimeError::StoreFailed { .. } => Self::Earlier,
            RuntimeError::StoreLocked { holder, .. } => Self::Locked { holder },
            RuntimeError::StoreConflict { .. } => Self::Conflict,
            RuntimeError::StoreBusy { reason, .. } => Self::Busy(reason),
            RuntimeError::StoreForked { .. } => Self::Forked,
            other => Self::Refused(std::io::ErrorKind::Other, with_causes(&other)),
        }
    }
}
