//! The context of an access to redb: the operation, the table, and the damaged pages found so far.

use crate::engine::redb::file::checked_pages::BadPages;
use crate::error::{Place, RuntimeError};
use crate::ledger::context::OpContext;
use std::io::ErrorKind;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The context of an access to redb. It dereferences to the operation's context, whose errors it makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedbContext<'a> {
    operation: OpContext<'a>,
    table: Option<&'static str>,
    bad_pages: Option<&'a Arc<BadPages>>,
}

impl<'a> Deref for RedbContext<'a> {
    type Target = OpContext<'a>;

    fn deref(&self) -> &Self::Target {
        &self.operation
    }
}

impl<'a> RedbContext<'a> {
    pub(crate) fn new(operation: &'static str, place: &'a Place) -> Self {
        Self {
            operation: OpContext::new(operation, place),
            table: None,
            bad_pages: None,
        }
    }

    /// The context of the operation `operation`, without a table.
    pub(crate) fn of(operation: OpContext<'a>) -> Self {
        Self {
            operation,
            table: None,
            bad_pages: None,
        }
    }

    /// The context without redb's part.
    pub(crate) fn operation(self) -> OpContext<'a> {
        self.operation
    }

    /// The same context with the name of another operation.
    pub(crate) fn named(self, operation: &'static str) -> Self {
        Self {
            operation: OpContext::new(operation, self.operation.place),
            ..self
        }
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
                path: self.path().to_owned(),
                holder: None,
            },
            Error::RepairAborted => RuntimeError::NeedsRepair {
                path: self.path().to_owned(),
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
