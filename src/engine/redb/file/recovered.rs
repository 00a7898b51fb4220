//! The file of a writer that died, read as a repair would leave it.
//!
//! A repair finds the last commit ([`unclean`]) and keeps its pages. It rebuilds the record of free pages, which
//! only writers need, and clears two flags of the header: that the file was not closed, and that the last
//! commit may not be flushed. redb refuses to read the file because of these flags. This backend, between redb
//! and the file, answers for them, and nothing has to be written.
//!
//! The readers over it hold the locks of all readers, and exclude no process: a host may open the file, repair
//! it and commit. Its first commits keep the pages that these readers see, as they do for all readers,
//! and from then on the flags in the header are the host's and pass unchanged.

use crate::engine::redb::file::lock_holder::CONSISTENT_BYTE;
use crate::engine::redb::file::page_layout::{HEADER_BYTES, Header};
use crate::engine::redb::file::planted::Planted;
use crate::engine::redb::file::unclean::{self, Plan};
use crate::engine::redb::file::write_gate::lock_error;
use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;

/// The lock that redb asks for to find out whether a file that is not closed has a writer.
const CONSISTENT: Bound<u64> = Bound::Included(CONSISTENT_BYTE);

/// How often the last commit is looked for while the header changes.
const TRIES: usize = 5;

/// A file that was not closed, as a repair would leave it.
#[derive(Debug)]
pub(crate) struct RecoveredFile<B> {
    file: B,
    /// The header as the dead writer left it.
    header: Vec<u8>,
    /// The header as a repair would leave it.
    recovered: Vec<u8>,
}

impl<B: StorageBackend> RecoveredFile<B> {
    /// `file` without a repair; `None` if its last commit is not known to be complete. Then a repair has to
    /// choose a commit, and reads all pages to do so.
    pub(crate) fn new(file: B) -> io::Result<Option<Self>> {
        for _ in 0..TRIES {
            let header = header_of(&file)?;
            let planned =
                unclean::plan(&file, file.len()?, Planted::default())?.and_then(|plan| plan.header);
            // A host may open the file meanwhile, and write over pages of the commits that were compared. It
            // writes the header first.
            if header != header_of(&file)? {
                continue;
            }
            let mut recovered = planned.unwrap_or_else(|| header.clone());
            Header::publish_primary(&mut recovered);
            let is_known = Header::parse(&recovered).is_some_and(Header::is_two_phase);
            return Ok(is_known.then_some(Self {
                file,
                header,
                recovered,
            }));
        }
        Ok(None)
    }

    /// The header that a reader gets for the one in the file, which starts with `bytes`.
    fn answer(&self, bytes: &mut [u8]) -> io::Result<()> {
        if self.header.starts_with(bytes) {
            let len = bytes.len();
            bytes.copy_from_slice(&self.recovered[..len]);
            return Ok(());
        }
        // Another writer was here. While it lives its header is right.
        if self
            .file
            .query_lock_range(CONSISTENT, CONSISTENT)
            .map_err(lock_error)?
        {
            return Ok(());
        }
        let plan = unclean::plan(&self.file, self.file.len()?, Planted::default())?;
        if let Some(Plan {
            header: Some(header),
            ..
        }) = plan
        {
            let len = bytes.len().min(header.len());
            bytes[..len].copy_from_slice(&header[..len]);
        }
        Header::publish_primary(bytes);
        Ok(())
    }
}

/// The header of `file`; fewer bytes if the file is too short for one.
fn header_of(file: &impl StorageBackend) -> io::Result<Vec<u8>> {
    let len = file.len()?.min(HEADER_BYTES as u64);
    let mut header = vec![0; len as usize];
    file.read(0, &mut header)?;
    Ok(header)
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
        if offset == 0 {
            self.answer(out)?;
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
