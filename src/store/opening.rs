//! Opening a store with options.

use crate::engine::redb::open::options::StoreOptions;
#[cfg(feature = "fault-injection")]
use crate::engine::redb::open::simulated;
use crate::engine::redb::open::{create, existing, plan};
use crate::engine::redb::schema::migrate::MigrationPlan;
use crate::error::RuntimeError;
use crate::store::handle::Store;
#[cfg(feature = "fault-injection")]
use redb::StorageBackend;
use std::path::Path;

impl StoreOptions {
    /// Opens the store at `path` like this; see [`Store::open`].
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store, RuntimeError> {
        let store = existing::open(path.as_ref(), self)?;
        Ok(Store::new(store, self.read_only))
    }

    /// What opening the store at `path` for writing would do to its schema. Changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Store::open_read_only`], but a store that was not closed cleanly is no error; it is
    /// [`StoreLocked`](RuntimeError::StoreLocked) while a host repairs it.
    pub fn migration_plan(&self, path: impl AsRef<Path>) -> Result<MigrationPlan, RuntimeError> {
        plan::migration_plan(path.as_ref(), self)
    }

    /// Opens the store in `backend`, whose clones are the same file, or creates it in an empty one.
    /// For simulators of faults.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    pub fn open_backend(
        &self,
        backend: impl StorageBackend + Clone,
    ) -> Result<Store, RuntimeError> {
        let store = simulated::open_backend(backend, self)?;
        Ok(Store::new(store, false))
    }
}

impl Store {
    /// Opens the store at `path` for reading and writing; creates it, with mode 0600, where there
    /// is nothing. A crash while it is created leaves nothing at the path, or a whole store. It can
    /// leave a directory `.NAME.partial-XXXXXX` beside it, with six letters or digits, which the next
    /// open for writing removes.
    ///
    /// # Errors
    ///
    /// | at the path | error |
    /// |---|---|
    /// | a directory, an empty or other file, a redb file of another program | `NotAStore` |
    /// | a store of a newer schema | `StoreSchemaTooNew` |
    /// | a store that another process has open | `StoreLocked` |
    /// | a damaged store | `StoreCorrupt` |
    /// | a dangling symbolic link, anything the system refuses | `StoreIo` |
    /// | nothing, and the path ends in `/` or `/.`: it names no file | `StoreIo` |
    ///
    /// Whatever is refused is not touched.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        Self::options().open(path)
    }

    /// Opens the store at `path` for reading only, also while another process writes to it, whose
    /// commits it follows.
    ///
    /// Where this process writes to the file already, this is a read-only handle of that store.
    /// Opened first it is a store of its own, as in another process, and stays one when the process
    /// opens the file for writing later: each is closed by itself, and an open with
    /// [`Exclusive`](crate::store::Sharing::Exclusive) is refused (`StoreLocked`) until this one is closed. A host that does
    /// both opens for writing first.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); `StoreMissing` where there is nothing, `NeedsRepair` for a store
    /// that was not closed cleanly and that nobody writes to, `StoreLocked` while another process
    /// repairs it.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        Self::options().read_only(true).open(path)
    }

    /// A new store in memory: the same code without a file. Gone when the last handle is dropped.
    ///
    /// # Errors
    ///
    /// `StoreIo` where the system has no random numbers.
    pub fn in_memory() -> Result<Self, RuntimeError> {
        let store = create::in_memory()?;
        Ok(Self::new(store, false))
    }
}
