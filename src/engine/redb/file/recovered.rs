//! The file of a writer that died, read as a repair would leave it.
//!
//! Our commits have two phases: the pages of the last commit were on disk before the header named it. So a
//! repair keeps that commit and its pages. It rebuilds the record of free pages, which only writers need,
//! and clears two flags of the header: that the file was not closed, and that the last commit may not be
//! flushed. redb refuses to read the file because of these flags. This backend, between redb and the
//! file, answers for them, and nothing has to be written.
//!
//! The readers over it hold the locks of all readers, and exclude no process: a host may open the file, repair
//! it and commit. Its first commits keep the pages that these readers see, as they do for all readers,
//! and from then on the flags in the header are the host's and pass unchanged.

use crate::engine::redb::file::lock_holder::CONSISTENT_BYTE;
use crate::engine::redb::file::page_layout::{HEADER_BYTES, Header};
use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;

/// The lock that redb asks for to find out whether a file that is not closed has a writer.
const CONSISTENT: Bound<u64> = Bound::Included(CONSISTENT_BYTE);

/// A file that was not closed, as a repair would leave it.
#[derive(Debug)]
pub(crate) struct RecoveredFile<B> {
    file: B,
    /// The header as the dead writer left it.
    header: [u8; HEADER_BYTES],
}

impl<B: StorageBackend> RecoveredFile<B> {
    /// `file` without a repair; `None` if its last commit has one phase, or its header is not one. Then a
    /// repair has to choose a commit, and reads all pages to do so.
    pub(crate) fn new(file: B) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER_BYTES];
        if file.len()? < HEADER_BYTES as u64 {
            return Ok(None);
        }
        file.read(0, &mut header)?;
        let is_two_phase = Header::parse(&header).is_some_and(Header::is_two_phase);
        Ok(is_two_phase.then_some(Self { file, header }))
    }
}

impl<B: StorageBackend> StorageBackend for RecoveredFile<B> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)?;
        // redb holds its lock on the header here, and a writer changes the flags only under that lock:
        // the flags that were read are those of the writer that is found, or of a dead one. A new writer is
        // found before its own header is in the file: until then the dead one's counts, so that no later
        // snapshot is older than an earlier one.
        if offset == 0
            && (out.starts_with(&self.header)
                || !self.file.query_lock_range(CONSISTENT, CONSISTENT)?)
        {
            Header::publish_primary(out);
        }
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if (start, end) == (CONSISTENT, CONSISTENT) {
            return Ok(true);
        }
        self.file.query_lock_range(start, end)
    }
}
