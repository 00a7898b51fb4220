//! A backend of redb over a staged file.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::file_backend;
use crate::engine::redb::file::write_gate::WithoutLocks;
use crate::error::RuntimeError;
use crate::fs::staged_file::StagedFile;
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::io;

/// A backend over a staged file. No other process knows the file, so it is used without locks.
pub(crate) fn backend_of(
    staged: &StagedFile,
    at: RedbContext<'_>,
) -> Result<WithoutLocks<FileBackend>, RuntimeError> {
    let file = staged.try_clone_file().map_err(|error| at.io(error))?;
    Ok(WithoutLocks(file_backend::over(file, at)?))
}

/// A backend over a staged file that is synced as a whole before it is published: the syncs of redb
/// do nothing. After a crash no one reads the file, and each sync would stop the writing.
pub(crate) fn unsynced_backend_of(
    staged: &StagedFile,
    at: RedbContext<'_>,
) -> Result<impl StorageBackend + 'static, RuntimeError> {
    Ok(Unsynced(backend_of(staged, at)?))
}

#[derive(Debug)]
struct Unsynced<B>(B);

impl<B: StorageBackend> StorageBackend for Unsynced<B> {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}
