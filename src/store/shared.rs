//! What all handles of one open store share: the redb database, and the queue of its commits.

use super::commit::Pipeline;
use super::context::At;
use super::options::Sharing;
use super::read::View;
use super::registry::Registration;
use crate::error::RuntimeError;
use crate::model::management::RuntimeBackendKind;
use redb::{
    Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, TransactionError,
    WriteTransaction,
};
use std::path::{Path, PathBuf};
use std::sync::{RwLock, RwLockReadGuard};

/// The open redb database.
pub(crate) enum Handle {
    /// Open for writing and reading.
    Writer(Database),
    /// Open for reading.
    Reader(ReadOnlyDatabase),
    /// Closed, for every handle of the store.
    Closed,
}

/// One open store. Nothing of the runtimes' state is held here: what an operation decides on it
/// reads.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) backend: RuntimeBackendKind,
    pub(crate) sharing: Sharing,
    pub(crate) pipeline: Pipeline,
    handle: RwLock<Handle>,
    /// Declared after `handle`: the file is closed before the store leaves the registry.
    registration: Option<Registration>,
}

impl Shared {
    pub(crate) fn new(
        path: PathBuf,
        backend: RuntimeBackendKind,
        sharing: Sharing,
        handle: Handle,
        registration: Option<Registration>,
    ) -> Self {
        Self {
            path,
            backend,
            sharing,
            pipeline: Pipeline::default(),
            handle: RwLock::new(handle),
            registration,
        }
    }

    pub(crate) fn at(&self, operation: &'static str) -> At<'_> {
        At::new(operation, &self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn handle(&self) -> Result<RwLockReadGuard<'_, Handle>, RuntimeError> {
        self.handle.read().map_err(|_| RuntimeError::StatePoisoned)
    }

    /// Begins a read transaction: everything that was committed before.
    pub(crate) fn begin_read(&self, at: At<'_>) -> Result<ReadTransaction, RuntimeError> {
        let handle = self.handle()?;
        let transaction = match &*handle {
            Handle::Writer(database) => database.begin_read(),
            Handle::Reader(database) => database.begin_read(),
            Handle::Closed => return Err(at.closed()),
        };
        transaction.map_err(|error| at.redb(error))
    }

    /// Begins a write transaction that commits in two phases. Waits for other processes' where
    /// several may write.
    pub(crate) fn begin_write(&self, at: At<'_>) -> Result<WriteTransaction, RuntimeError> {
        let handle = self.handle()?;
        let transaction: Result<WriteTransaction, TransactionError> = match &*handle {
            Handle::Writer(database) => database.begin_write(),
            Handle::Reader(_) => return Err(at.read_only()),
            Handle::Closed => return Err(at.closed()),
        };
        let mut transaction = transaction.map_err(|error| at.redb(error))?;
        transaction.set_two_phase_commit(true);
        Ok(transaction)
    }

    /// Runs `read` on everything that is committed.
    pub(crate) fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&View<'_, ReadTransaction>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let at = self.at(operation);
        at.guard(|| {
            let transaction = self.begin_read(at)?;
            read(&View {
                tables: &transaction,
                at,
            })
        })
    }

    /// Closes the file for every handle. The commits under way end first.
    pub(crate) fn close(&self) -> Result<(), RuntimeError> {
        let at = self.at("close");
        self.pipeline.close()?;
        let closed = self.close_file(at);
        if let Some(registration) = &self.registration {
            registration.vacate();
        }
        closed
    }

    fn close_file(&self, at: At<'_>) -> Result<(), RuntimeError> {
        let mut handle = self
            .handle
            .write()
            .map_err(|_| RuntimeError::StatePoisoned)?;
        match std::mem::replace(&mut *handle, Handle::Closed) {
            Handle::Writer(database) => {
                at.guard(|| database.close().map_err(|error| at.redb(error)))
            }
            Handle::Reader(database) => {
                at.guard(|| database.close().map_err(|error| at.redb(error)))
            }
            Handle::Closed => Ok(()),
        }
    }

    /// Whether the store was closed, or refuses writes until it is opened again.
    pub(crate) fn is_over(&self) -> bool {
        self.pipeline.is_over()
    }
}
