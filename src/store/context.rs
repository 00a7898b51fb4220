//! Where an operation stands when something fails: its name and the store's path.

use super::page_sums::BadPages;
use crate::error::RuntimeError;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// An operation on a store: what errors name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    pub(crate) operation: &'static str,
    pub(crate) path: &'a Path,
    table: Option<&'static str>,
    bad_pages: Option<&'a Arc<BadPages>>,
}

impl<'a> At<'a> {
    pub(crate) fn new(operation: &'static str, path: &'a Path) -> Self {
        Self {
            operation,
            path,
            table: None,
            bad_pages: None,
        }
    }

    /// With the name of another operation.
    pub(crate) fn named(self, operation: &'static str) -> Self {
        Self { operation, ..self }
    }

    /// With the table that is read.
    pub(crate) fn in_table(self, name: &'static str) -> Self {
        Self {
            table: Some(name),
            ..self
        }
    }

    /// With the note of the store's damaged pages.
    pub(crate) fn noting(self, bad_pages: &'a Arc<BadPages>) -> Self {
        Self {
            bad_pages: Some(bad_pages),
            ..self
        }
    }

    /// Where damaged pages are noted.
    pub(crate) fn bad_pages(self) -> Arc<BadPages> {
        self.bad_pages.cloned().unwrap_or_default()
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

    /// What an error of redb's means to our callers.
    pub(crate) fn redb(self, error: impl Into<redb::Error>) -> RuntimeError {
        use redb::Error;
        match error.into() {
            // Nobody else cuts the file while redb has it locked.
            Error::Io(source) if source.kind() == ErrorKind::UnexpectedEof => {
                self.corrupt("the file ends before what it refers to")
            }
            Error::Io(source) => self.io(source),
            Error::Corrupted(message) => self.damaged(&message),
            Error::PreviousIo => self.failed(),
            Error::DatabaseClosed => self.closed(),
            Error::LockPoisoned(_) => RuntimeError::StatePoisoned,
            error @ Error::ValueTooLarge(_) => RuntimeError::InvalidRequest(error.to_string()),
            Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => RuntimeError::StoreLocked {
                path: self.path.to_owned(),
                holder: None,
            },
            Error::RepairAborted => RuntimeError::NeedsRepair {
                path: self.path.to_owned(),
            },
            error @ Error::UpgradeRequired(_) => self.not_a_store(error.to_string()),
            // The rest speaks of tables that are missing or of another type, which no file of
            // ours has.
            error => self.damaged(&error.to_string()),
        }
    }

    /// Damage that redb met: in which table, which pages, and what redb says.
    fn damaged(self, message: &str) -> RuntimeError {
        let table = self.table.map(|name| format!("table {name}: "));
        let pages = self
            .bad_pages
            .and_then(|bad_pages| bad_pages.describe(self.table));
        let table = table.unwrap_or_default();
        self.corrupt(match pages {
            Some(pages) => format!("{table}{pages} ({message})"),
            None => format!("{table}{message}"),
        })
    }

    /// Runs `access`, which uses redb. On damaged pages redb may panic instead of returning an
    /// error: that panic is damage too, and does not reach the caller.
    pub(crate) fn guard<T>(
        self,
        access: impl FnOnce() -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let before = self.bad_pages.map(|bad_pages| bad_pages.begin());
        let done = catch_unwind(AssertUnwindSafe(access)).unwrap_or_else(|panic| {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(self.damaged(&format!("redb panicked: {message}")))
        });
        if let (Some(bad_pages), Some(before)) = (self.bad_pages, before) {
            bad_pages.end(before);
        }
        done
    }
}
