//! The handle of an open store.

use crate::commit::pending::Pending;
use crate::engine::redb::database::redb_engine::{OpenStore, RedbEngine};
use crate::engine::redb::open::options::StoreOptions;
use crate::error::RuntimeError;
use crate::ledger::rows::Rows;
use crate::ledger::transaction::Transaction;
use std::path::Path;
use std::sync::Arc;

/// An open store. Clones are handles of the same store; it closes when the last is dropped, or for
/// all of them by [`close`](Self::close).
///
/// What is opened while this process has the file open for writing is a handle of that store too, also
/// with [`read_only`](StoreOptions::read_only): as long as it is kept, the store stays open for
/// writing, and no other process gets it.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<OpenStore>,
    read_only: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path())
            .field("read_only", &self.read_only)
            .finish()
    }
}

impl Store {
    pub(crate) fn new(shared: Arc<OpenStore>, read_only: bool) -> Self {
        Self { shared, read_only }
    }

    /// How to open a store in any other way.
    #[must_use]
    pub fn options() -> StoreOptions {
        StoreOptions::default()
    }

    /// The path that the store was opened at.
    pub fn path(&self) -> &Path {
        self.engine().path()
    }

    /// Whether the path that the store was opened at still leads to the file that is open. A file that was moved away, or in
    /// whose place another one was put, is still read, and nobody who opens the path writes to it.
    /// `true` in memory, and where files have no identity.
    pub fn is_in_place(&self) -> bool {
        self.engine().file().is_none() || self.engine().file_path().is_ok()
    }

    /// Whether this handle refuses writes.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Closes the store for every handle, also other clones: what they do then is
    /// [`RuntimeError::StoreClosed`]. Operations under way end first, also those that were submitted
    /// and that nobody waits for. The file is free when this returns. Closing it again is no error. A
    /// store that was opened read-only before this process opened it for writing is another one: see
    /// [`open_read_only`](Self::open_read_only).
    ///
    /// # Errors
    ///
    /// `StoreIo` where closing fails; everything acknowledged is on disk all the same.
    /// `InvalidRequest`, with nothing closed, from within a transaction, and from a waker where
    /// [`ManyWriters`](crate::store::Sharing::ManyWriters) has further submissions to run on the thread that called it.
    pub fn close(&self) -> Result<(), RuntimeError> {
        self.shared.close()
    }

    /// The engine that the store is in.
    pub(crate) fn engine(&self) -> &RedbEngine {
        self.shared.engine()
    }

    /// Runs `read` on everything that is committed.
    pub(crate) fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&dyn Rows) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.engine().read(operation, |view| read(view))
    }

    pub(crate) fn refuse_read_only(&self, operation: &'static str) -> Result<(), RuntimeError> {
        if self.read_only {
            return Err(self.engine().at(operation).read_only());
        }
        Ok(())
    }

    /// Runs one operation; see [`OpenStore`].
    pub(crate) fn write<T>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.refuse_read_only(operation)?;
        self.shared.write(operation, run)
    }

    /// Runs one operation and leaves its commit to the background; see [`OpenStore`].
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Pending<T> {
        match self.refuse_read_only(operation) {
            Ok(()) => self.shared.submit(operation, run),
            Err(error) => Pending::refused(operation, error),
        }
    }
}
