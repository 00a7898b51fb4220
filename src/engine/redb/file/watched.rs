//! The file of a store with a hook at every access, for simulations of faults on a real file.

use crate::engine::redb::file::write_gate::locks_of_file;
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::io;
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

    locks_of_file!();
}
