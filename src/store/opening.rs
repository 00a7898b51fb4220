//! Opening a store with options.

use crate::engine::redb::open::options::StoreOptions;
#[cfg(feature = "fault-injection")]
use crate::engine::redb::open::simulated;
use crate::engine::redb::open::{create, existing, plan};
use crate::engine::redb::schema::migrate::MigrationPlan;
use crate::error::RuntimeError;
use crate::ledger::deletion;
use crate::ledger::table_names::UNFINISHED;
use crate::store::handle::Store;
#[cfg(feature = "fault-injection")]
use redb::StorageBackend;
use std::path::Path;

impl StoreOptions {
    /// Opens the store at `path` with these options; see [`Store::open`].
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store, RuntimeError> {
        let open = || existing::open(path.as_ref(), self);
        let store = Store::new(open()?, self.read_only);
        if !self.finish_deletions || self.read_only {
            return Ok(store);
        }
        match store.finish_deletions("open") {
            Ok(()) => Ok(store),
            // For example on a full disk. The rest stays hidden, and the store can be read. A failed commit ends the
            // writes of a store until it is opened again.
            Err(_) => {
                drop(store);
                Ok(Store::new(open()?, self.read_only))
            }
        }
    }

    /// Returns the migrations that an open for writing would run on the store at `path`. Changes nothing.
    ///
    /// # Errors
    ///
    /// The errors of [`Store::open_read_only`], except `NeedsRepair`: the plan needs no repair.
    /// [`StoreLocked`](RuntimeError::StoreLocked) while another process repairs the store.
    pub fn migration_plan(&self, path: impl AsRef<Path>) -> Result<MigrationPlan, RuntimeError> {
        plan::migration_plan(path.as_ref(), self)
    }

    /// Opens the store in `backend`, or creates one if the backend is empty. All clones of the backend
    /// must access the same bytes. For simulators of faults.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    pub fn open_backend(
        &self,
        backend: impl StorageBackend + Clone,
    ) -> Result<Store, RuntimeError> {
        let store = Store::new(simulated::open_backend(backend, self)?, false);
        store.finish_deletions("open")?;
        Ok(store)
    }
}

impl Store {
    /// Removes the rows that interrupted deletions have left. Where several hosts write, another one may be deleting: what it
    /// has locked is left to it.
    pub(crate) fn finish_deletions(&self, operation: &'static str) -> Result<(), RuntimeError> {
        let mut last: Option<String> = None;
        loop {
            let next = self.read(operation, |rows| {
                deletion::next_unfinished(rows, last.as_deref())
            });
            // An error of a read is returned to the host that reads.
            let Ok(Some(runtime)) = next else {
                return Ok(());
            };
            let finished = loop {
                let locks = [runtime.as_str(), UNFINISHED];
                let step = self.write_if_free(operation, &locks, |transaction| {
                    deletion::step(transaction, &runtime, deletion::STEP_BYTES)
                });
                match step {
                    Ok(Some(false)) => {}
                    Ok(Some(true) | None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            match finished {
                Ok(()) => {}
                // Hidden rows that are corrupt must not make the others unreachable; a verification reports them. A
                // closure of a store that is open already cannot write, and the host that deletes continues.
                Err(RuntimeError::StoreCorrupt { .. } | RuntimeError::InvalidRequest(_)) => {}
                Err(
                    RuntimeError::StoreLocked { .. }
                    | RuntimeError::StoreBusy { .. }
                    | RuntimeError::StoreConflict { .. },
                ) if self.shared.shares_turns() => {}
                Err(error) => return Err(error),
            }
            last = Some(runtime);
        }
    }

    /// Opens the store at `path` for reading and writing. Creates it with mode 0600 if the path does not
    /// exist.
    ///
    /// A new store appears atomically: after a crash the path does not exist, or leads to a complete
    /// store. A crash can leave a directory `.NAME.partial-XXXXXX` next to it, with six letters or
    /// digits. The next open for writing removes it.
    ///
    /// ```
    /// use redb_runtime_store::Store;
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("agents.redb");
    /// let store = Store::open(path)?;
    /// println!("{} runtimes", store.runtimes()?.len());
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - `NotAStore` for a directory, an empty file, a file of another format, and a redb file of another program.
    /// - `StoreSchemaTooNew` for a store with a newer schema version.
    /// - `StoreLocked` for a store that another process has open.
    /// - `LocksUnsupported` on a file system without open-file-description locks.
    /// - `BytesAfterEnd` for a store followed by bytes that are no whole page.
    /// - `StoreCorrupt` for a corrupt store.
    /// - `StoreIo` for a dangling symbolic link, if the system returned an error, and if nothing is at the path and it
    ///   ends in `/` or `/.`, so it names no file.
    ///
    /// A file that is rejected is not changed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        Self::options().open(path)
    }

    /// Opens the store at `path` read-only. Another process may write to it at the same time; reads see
    /// its commits.
    ///
    /// If this process has the file open for writing already, the result is a read-only handle of that
    /// store. Otherwise the result is a separate store, and stays separate if the process opens the file
    /// for writing later: each is closed on its own, and an open with
    /// [`Exclusive`](crate::store::Sharing::Exclusive) returns `StoreLocked` until the read-only store is
    /// closed. A host that needs both opens for writing first.
    ///
    /// ```
    /// use redb_runtime_store::Store;
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("agents.redb");
    /// # let host = redb_runtime_store::Runtime::with_redb_store(redb_runtime_store::RedbRuntimeStoreOptions::new(&path))?;
    /// let store = Store::open_read_only(path)?;
    /// for runtime in store.runtimes()? {
    ///     println!("{}: {} workers", runtime.runtime_id, runtime.worker_count);
    /// }
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`open`](Self::open); `StoreMissing` if the path does not exist; `NeedsRepair` for a
    /// store that was not closed cleanly and that no process has open for writing; `StoreLocked` while
    /// another process repairs the store. [`StoreOptions::recover_in_memory`] reads a store that needs a
    /// repair.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        Self::options().read_only(true).open(path)
    }

    /// Creates a store in memory. It runs the same code, without a file, and is freed with its last
    /// handle.
    ///
    /// # Errors
    ///
    /// `StoreIo` if the system returns no random bytes for the store's id.
    pub fn in_memory() -> Result<Self, RuntimeError> {
        let store = create::in_memory()?;
        Ok(Self::new(store, false))
    }
}
