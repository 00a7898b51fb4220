//! The context of a call into redb: the operation, the table, and the damaged pages that were
//! found.

use crate::engine::redb::file::checked_pages::BadPages;
use crate::engine::redb::file::shared_file::LockTimeout;
use crate::error::{Place, RuntimeError};
use crate::fs::process::Process;
use crate::ledger::context::OpContext;
use std::any::Any;
use std::io::ErrorKind;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The context of a call into redb. It dereferences to [`OpContext`], which makes the errors that
/// do not depend on redb.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedbContext<'a> {
    operation: OpContext<'a>,
    table: Option<&'static str>,
    bad_pages: Option<&'a Arc<BadPages>>,
    /// The process that the store belongs to; `None` while a call opens it.
    process: Option<Process>,
}

impl<'a> Deref for RedbContext<'a> {
    type Target = OpContext<'a>;

    fn deref(&self) -> &Self::Target {
        &self.operation
    }
}

impl<'a> RedbContext<'a> {
    /// A context without a table and without a record of damaged pages.
    pub(crate) fn new(operation: &'static str, place: &'a Place) -> Self {
        Self {
            operation: OpContext::new(operation, place),
            table: None,
            bad_pages: None,
            process: None,
        }
    }

    /// Wraps the context of an operation.
    pub(crate) fn of(operation: OpContext<'a>) -> Self {
        Self {
            operation,
            table: None,
            bad_pages: None,
            process: None,
        }
    }

    /// Of a store that belongs to `process`.
    pub(crate) fn of_process(self, process: Process) -> Self {
        Self {
            process: Some(process),
            ..self
        }
    }

    /// The context of the operation, without the table and the damaged pages.
    pub(crate) fn operation(self) -> OpContext<'a> {
        self.operation
    }

    /// The same context under the name of another operation.
    pub(crate) fn named(self, operation: &'static str) -> Self {
        Self {
            operation: OpContext::new(operation, self.operation.place),
            ..self
        }
    }

    /// The same context for a call that reads the table `name`.
    pub(crate) fn in_table(self, name: &'static str) -> Self {
        Self {
            table: Some(name),
            ..self
        }
    }

    /// The same context with `bad_pages`, the record of damaged pages of the store.
    pub(crate) fn noting(self, bad_pages: &'a Arc<BadPages>) -> Self {
        Self {
            bad_pages: Some(bad_pages),
            ..self
        }
    }

    /// The record of damaged pages of the store; an empty one if the context has none.
    pub(crate) fn bad_pages(self) -> Arc<BadPages> {
        self.bad_pages.cloned().unwrap_or_default()
    }

    /// Converts an error of redb to the error that callers of the library get.
    pub(crate) fn redb(self, error: impl Into<redb::Error>) -> RuntimeError {
        use redb::Error;
        match error.into() {
            // A writer truncates only free pages at the end of the file, which no snapshot reads.
            // So a read past the end is damage, not a race with another process.
            Error::Io(source) if source.kind() == ErrorKind::UnexpectedEof => {
                self.corrupt("the file is cut off: it refers to a page past its end")
            }
            Error::Io(source) => match LockTimeout::of(&source) {
                Some(timeout) => self.locked(timeout.holder),
                None => self.io(source),
            },
            Error::Corrupted(message) => self.damaged(&message),
            // redb refuses every access after the first I/O error, until the file is opened again.
            Error::PreviousIo => self.failed(),
            Error::DatabaseClosed => self.closed(),
            Error::LockPoisoned(_) => RuntimeError::StatePoisoned,
            error @ Error::ValueTooLarge(_) => RuntimeError::InvalidRequest(error.to_string()),
            // A mismatch means that another process has the file open, with a version of redb that
            // uses the locks in another way. In both cases the caller has to wait for that process.
            Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => RuntimeError::StoreLocked {
                path: self.path().to_owned(),
                holder: None,
            },
            // Returned by an open for reading, which repairs nothing, and by an open for writing
            // whose repair callback stopped the repair.
            Error::RepairAborted => RuntimeError::NeedsRepair {
                path: self.path().to_owned(),
            },
            // Only locks can be unsupported: a read or write that the system does not support is `Io`.
            Error::Unsupported => self.locks_unsupported(),
            error @ Error::TransactionInProgress => self.busy(error.to_string()),
            error @ Error::UpgradeRequired(_) => self.not_a_store(error.to_string()),
            // The other errors report a missing table or a table of another type. Every store has
            // all tables, with fixed types, so they are damage too.
            error => self.damaged(&error.to_string()),
        }
    }

    /// The error for damage that redb found: it names the table, the damaged pages and the message
    /// of redb.
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

    /// Runs `access`, which calls redb, and returns a panic as an error. redb may panic on a
    /// damaged page instead of returning an error, so a panic is reported as damage.
    /// A call from a fork is refused before any lock is taken.
    pub(crate) fn guard<T>(
        self,
        access: impl FnOnce() -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        if let Some(process) = self.process {
            self.refuse_fork(process)?;
        }
        // Guarded calls nest: a walk of one table reads other tables. The pages that the outer call
        // found so far must not appear in the error of the inner one, and are restored after it.
        let before = self.bad_pages.map(|bad_pages| bad_pages.begin());
        let done = catch_unwind(AssertUnwindSafe(access)).unwrap_or_else(|panic| {
            Err(self.damaged(&format!("redb panicked: {}", panic_message(&*panic))))
        });
        if let (Some(bad_pages), Some(before)) = (self.bad_pages, before) {
            bad_pages.end(before);
        }
        done
    }
}

/// The message of a panic, from what `catch_unwind` caught.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
