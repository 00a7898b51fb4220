//! The context of an operation: its name and the store's place, which its errors name.

use crate::error::RuntimeError;
use std::path::Path;

/// The name of the operation under way and the place of the store that it works on.
///
/// Every error of a store is made here, so that none lacks the two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpContext<'a> {
    pub(crate) operation: &'static str,
    pub(crate) path: &'a Path,
}

impl<'a> OpContext<'a> {
    pub(crate) fn new(operation: &'static str, path: &'a Path) -> Self {
        Self { operation, path }
    }

    pub(crate) fn io(self, source: std::io::Error) -> RuntimeError {
        RuntimeError::StoreIo {
            operation: self.operation,
            path: self.path.to_owned(),
            source,
        }
    }

    pub(crate) fn corrupt(self, message: impl Into<String>) -> RuntimeError {
        RuntimeError::StoreCorrupt {
            operation: self.operation,
            path: self.path.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn missing(self) -> RuntimeError {
        RuntimeError::StoreMissing {
            operation: self.operation,
            path: self.path.to_owned(),
        }
    }

    pub(crate) fn closed(self) -> RuntimeError {
        RuntimeError::StoreClosed {
            operation: self.operation,
            path: self.path.to_owned(),
        }
    }

    pub(crate) fn failed(self) -> RuntimeError {
        RuntimeError::StoreFailed {
            operation: self.operation,
            path: self.path.to_owned(),
        }
    }

    pub(crate) fn read_only(self) -> RuntimeError {
        RuntimeError::StoreReadOnly {
            operation: self.operation,
            path: self.path.to_owned(),
        }
    }

    pub(crate) fn not_a_store(self, message: impl Into<String>) -> RuntimeError {
        RuntimeError::NotAStore {
            path: self.path.to_owned(),
            message: message.into(),
        }
    }
}
