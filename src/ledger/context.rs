//! The context of an operation: its name and the store's place, which its errors name.

use crate::error::{Place, RuntimeError};
use crate::fs::process::Process;
use crate::fs::staging::Unpublished;
use std::path::Path;

/// The name of the operation under way and the place of the store that it works on.
///
/// Every error of a store is made here, so that none lacks the two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpContext<'a> {
    pub(crate) operation: &'static str,
    pub(crate) place: &'a Place,
}

impl<'a> OpContext<'a> {
    pub(crate) fn new(operation: &'static str, place: &'a Place) -> Self {
        Self { operation, place }
    }

    /// The path of the store's file; of a store in no file, the name of its place.
    pub(crate) fn path(self) -> &'a Path {
        self.place.name()
    }

    pub(crate) fn io(self, source: std::io::Error) -> RuntimeError {
        RuntimeError::StoreIo {
            operation: self.operation,
            path: self.path().to_owned(),
            source,
        }
    }

    /// A file that was not published, or whose publication a power loss can undo.
    pub(crate) fn unpublished(self, error: Unpublished) -> RuntimeError {
        match error {
            Unpublished::Failed(source) => self.io(source),
            Unpublished::Moved(source) => RuntimeError::DurabilityUncertain {
                operation: self.operation,
                place: self.place.clone(),
                source,
            },
        }
    }

    pub(crate) fn corrupt(self, message: impl Into<String>) -> RuntimeError {
        RuntimeError::StoreCorrupt {
            operation: self.operation,
            path: self.path().to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn missing(self) -> RuntimeError {
        RuntimeError::StoreMissing {
            operation: self.operation,
            path: self.path().to_owned(),
        }
    }

    /// The file that is open is no longer the one at the store's place. `is_uncertain` says whether the
    /// operation may be in that file.
    pub(crate) fn moved(self, is_uncertain: bool) -> RuntimeError {
        RuntimeError::StoreMoved {
            operation: self.operation,
            place: self.place.clone(),
            is_uncertain,
        }
    }

    /// Rejects a call from a fork of `process`, which opened the store. Before any lock: the child has copies
    /// of locks that no thread of it gives up.
    pub(crate) fn refuse_fork(self, process: Process) -> Result<(), RuntimeError> {
        match process.is_current() {
            true => Ok(()),
            false => Err(self.forked()),
        }
    }

    /// The calling process is a fork of the one that opened the store.
    pub(crate) fn forked(self) -> RuntimeError {
        RuntimeError::StoreForked {
            operation: self.operation,
            place: self.place.clone(),
        }
    }

    /// Another process holds a lock on the store's file: `holder`, where the system reports it.
    pub(crate) fn locked(self, holder: Option<u32>) -> RuntimeError {
        RuntimeError::StoreLocked {
            path: self.path().to_owned(),
            holder,
        }
    }

    /// The system does not lock the store's file.
    pub(crate) fn locks_unsupported(self) -> RuntimeError {
        RuntimeError::LocksUnsupported {
            operation: self.operation,
            place: self.place.clone(),
        }
    }

    pub(crate) fn bytes_after_end(self, bytes: u64) -> RuntimeError {
        RuntimeError::BytesAfterEnd {
            operation: self.operation,
            place: self.place.clone(),
            bytes,
        }
    }

    pub(crate) fn busy(self, reason: impl Into<String>) -> RuntimeError {
        RuntimeError::StoreBusy {
            operation: self.operation,
            path: self.path().to_owned(),
            reason: reason.into(),
        }
    }

    /// Another host changed the rows that the operation had read.
    #[cfg(feature = "postgres")]
    pub(crate) fn conflict(self) -> RuntimeError {
        RuntimeError::StoreConflict {
            operation: self.operation,
            place: self.place.clone(),
        }
    }

    pub(crate) fn closed(self) -> RuntimeError {
        RuntimeError::StoreClosed {
            operation: self.operation,
            path: self.path().to_owned(),
        }
    }

    pub(crate) fn failed(self) -> RuntimeError {
        RuntimeError::StoreFailed {
            operation: self.operation,
            path: self.path().to_owned(),
        }
    }

    pub(crate) fn read_only(self) -> RuntimeError {
        RuntimeError::StoreReadOnly {
            operation: self.operation,
            path: self.path().to_owned(),
        }
    }

    pub(crate) fn not_a_store(self, message: impl Into<String>) -> RuntimeError {
        RuntimeError::NotAStore {
            path: self.path().to_owned(),
            message: message.into(),
        }
    }
}
