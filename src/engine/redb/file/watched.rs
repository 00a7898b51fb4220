//! The file of a store with a hook at every access, for simulations of faults on a real file.

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::Arc;

/// An access to the file of a store that is about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAccess {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A change of the length.
    SetLen,
    /// A sync.
    Sync,
    /// A try to take a lock.
    Lock,
    /// A lock was taken; it is held.
    Locked,
}

/// The hook: called before every access. If it returns an error, the access fails with it.
pub(crate) type OnAccess = Arc<dyn Fn(FileAccess) -> io::Result<()> + Send + Sync>;

/// The file and its hook.
pub(crate) struct WatchedFile {
    pub(crate) file: FileBackend,
    pub(crate) on_access: Option<OnAccess>,
}

impl std::fmt::Debug for WatchedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchedFile").finish_non_exhaustive()
    }
}

impl WatchedFile {
    fn report(&self, access: FileAccess) -> io::Result<()> {
        match &self.on_access {
            Some(on_access) => on_access(access),
            None => Ok(()),
        }
    }
}

impl WatchedFile {
    fn lock(
        &self,
        lock: impl FnOnce(&FileBackend) -> Result<bool, BackendError>,
    ) -> Result<bool, BackendError> {
        self.report(FileAccess::Lock)?;
        let is_locked = lock(&self.file)?;
        if is_locked {
            self.report(FileAccess::Locked)?;
        }
        Ok(is_locked)
    }
}

impl StorageBackend for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.report(FileAccess::Read)?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.report(FileAccess::SetLen)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.report(FileAccess::Sync)?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.report(FileAccess::Write)?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock(|file| file.try_lock_range(start, end))
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.lock(|file| file.try_lock_shared_range(start, end))
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
