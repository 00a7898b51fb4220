//! The handle of an open store.

use crate::commit::pending::Pending;
use crate::commit::queue::Reach;
#[cfg(feature = "postgres")]
use crate::engine::postgres::engine::PostgresStore;
use crate::engine::redb::database::redb_engine::OpenStore;
use crate::engine::redb::file::unclean::Recovery;
use crate::engine::redb::open::options::StoreOptions;
use crate::error::RuntimeError;
use crate::ledger::rows::Rows;
use crate::ledger::transaction::Transaction;
use crate::model::identity::RuntimeId;
use crate::store::any_store::AnyStore;
use std::path::Path;
use std::sync::Arc;

/// A handle of an open store. Clones are handles of the same store. The store closes when its last
/// handle is dropped; [`close`](Self::close) closes it for all handles.
///
/// While this process has the file open for writing, every further open of the file returns a handle of
/// the same store, also with [`read_only`](StoreOptions::read_only). Each such handle holds the store
/// open for writing, and so keeps other writers out.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: AnyStore,
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
    /// A store in a file or in memory.
    pub(crate) fn new(store: Arc<OpenStore>, read_only: bool) -> Self {
        Self {
            shared: AnyStore::Redb(store),
            read_only,
        }
    }

    /// A store in a PostgreSQL database.
    #[cfg(feature = "postgres")]
    pub(crate) fn on_server(store: Arc<PostgresStore>, read_only: bool) -> Self {
        Self {
            shared: AnyStore::Postgres(store),
            read_only,
        }
    }

    /// Options for opening a store, at their defaults.
    ///
    /// ```
    /// use redb_runtime_store::Store;
    /// use std::time::Duration;
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("agents.redb");
    /// let store = Store::options()
    ///     .lock_timeout(Duration::from_secs(5))
    ///     .cache_bytes(16 << 20)
    ///     .open(path)?;
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    #[must_use]
    pub fn options() -> StoreOptions {
        StoreOptions::default()
    }

    /// The path that the store was opened at.
    pub fn path(&self) -> &Path {
        self.shared.place().name()
    }

    /// Whether the path that the store was opened at still leads to the open file.
    ///
    /// If the file was moved or replaced, this store still uses the moved file, and later opens of the path
    /// get another file or none. `true` for a store in memory, and where files have no identity.
    pub fn is_in_place(&self) -> bool {
        self.shared.redb("find").map_or(true, |store| {
            let engine = store.engine();
            engine.file().is_none() || engine.file_path().is_ok()
        })
    }

    /// Whether this handle rejects writes.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether the file was not closed cleanly when it was opened, and is read as a repair would leave it:
    /// see [`StoreOptions::recover_in_memory`]. Opening it for writing repairs the file.
    pub fn recovered_in_memory(&self) -> bool {
        let redb = self.shared.redb("open");
        redb.is_ok_and(|store| store.engine().recovered_in_memory)
    }

    /// The outcome of the recovery, if this process opened the file for writing and it had not been closed
    /// cleanly: after a kill or a power loss. `None` for a file that was closed, and for a read-only store.
    ///
    /// [`Recovery::RolledBack`](crate::store::Recovery::RolledBack) means that the last commit had not reached
    /// the disk, so the store has the one before it. No operation of the last commit was
    /// acknowledged, unless the disk damaged one of its pages before the open. Every recovery is an event of
    /// `tracing`, too.
    pub fn recovery(&self) -> Option<Recovery> {
        self.shared.redb("open").ok()?.engine().recovery
    }

    /// Closes the store for all its handles. Later operations return
    /// [`RuntimeError::StoreClosed`].
    ///
    /// Running operations and submitted operations complete first. When this returns, the file is closed and
    /// its lock released. Closing a closed store does nothing. A store that was opened read-only before
    /// this process opened the file for writing is a separate store and stays open: see
    /// [`open_read_only`](Self::open_read_only).
    ///
    /// # Errors
    ///
    /// `StoreIo` if closing fails; every acknowledged operation is on disk nevertheless.
    /// `InvalidRequest` inside a closure, inside a callback that writers wait for, and inside a waker while
    /// [`ManyWriters`](crate::store::Sharing::ManyWriters) has further submissions to run; nothing is closed
    /// then. See [closures and callbacks](crate::guide::transactions#closures-and-callbacks).
    pub fn close(&self) -> Result<(), RuntimeError> {
        self.shared.close()
    }

    /// The number of followers that wait for a commit, for tests that must not act before one waits.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    pub fn waiting_followers(&self) -> usize {
        self.shared.commits().waiting()
    }

    /// Runs `read` on one snapshot of the committed rows.
    pub(crate) fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&dyn Rows) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.shared.read(operation, read)
    }

    pub(crate) fn refuse_read_only(&self, operation: &'static str) -> Result<(), RuntimeError> {
        if self.read_only {
            return Err(self.shared.context(operation).read_only());
        }
        Ok(())
    }

    /// Runs one operation and waits for its commit.
    pub(crate) fn write<T>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.refuse_read_only(operation)?;
        self.shared.write((operation, Reach::Store(None)), run)
    }

    /// Runs one operation that reads and writes rows of `runtime` only, and waits for its commit.
    pub(crate) fn write_to<T>(
        &self,
        runtime: &RuntimeId,
        operation: &'static str,
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.refuse_read_only(operation)?;
        let reach = Reach::Runtime(runtime.as_str());
        self.shared.write((operation, reach), run)
    }

    /// Runs one operation that reads and writes rows of `runtime` first, and others of the store, and waits for its commit.
    pub(crate) fn write_from<T>(
        &self,
        runtime: &RuntimeId,
        operation: &'static str,
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.refuse_read_only(operation)?;
        let reach = Reach::Store(Some(runtime.as_str()));
        self.shared.write((operation, reach), run)
    }

    /// Runs one operation unless another host has one of `runtimes` locked: `None` then.
    pub(crate) fn write_if_free<T>(
        &self,
        operation: &'static str,
        runtimes: &[&str],
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<Option<T>, RuntimeError> {
        self.refuse_read_only(operation)?;
        self.shared.write_if_free(operation, runtimes, run)
    }

    /// Runs one operation as [`write_to`](Self::write_to) does; a background thread commits it.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        runtime: &RuntimeId,
        operation: &'static str,
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Pending<T> {
        match self.refuse_read_only(operation) {
            Ok(()) => self.shared.submit((operation, runtime.as_str()), run),
            Err(error) => Pending::refused(operation, error),
        }
    }
}
