//! A file that the system fails to read in places: these read as bytes that are no page.
//!
//! redb ends a database for every reader when a read fails. A verification reads on where it can. So this
//! backend answers for such a read, as if the page were damaged, and notes the system's error.

use crate::engine::redb::file::write_gate::locks_of_file;
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many failed reads are noted.
const NOTED_READS: usize = 1000;

/// The bytes that redb gets instead: of no type of page.
const NO_PAGE: u8 = 0xFF;

/// The reads that failed: by their offset in bytes, how many bytes they are, and the system's error.
#[derive(Clone, Debug, Default)]
pub(crate) struct FailedReads(Arc<Mutex<BTreeMap<u64, (usize, String)>>>);

impl FailedReads {
    fn notes(&self) -> MutexGuard<'_, BTreeMap<u64, (usize, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, offset: u64, bytes: usize, error: &io::Error) {
        let mut notes = self.notes();
        if notes.len() < NOTED_READS {
            notes.insert(offset, (bytes, error.to_string()));
        }
    }

    /// Takes what was noted so far.
    pub(crate) fn take(&self) -> BTreeMap<u64, (usize, String)> {
        std::mem::take(&mut self.notes())
    }
}

/// A backend over `file` whose reads do not fail, but for those of the header.
#[derive(Debug)]
pub(crate) struct TolerantFile<B> {
    file: B,
    failed: FailedReads,
}

impl<B> TolerantFile<B> {
    pub(crate) fn new(file: B, failed: FailedReads) -> Self {
        Self { file, failed }
    }
}

impl<B: StorageBackend> StorageBackend for TolerantFile<B> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.file.read(offset, out) {
            // Behind the end there is nothing to read, which is no failure of the system.
            Err(error) if offset > 0 && error.kind() != ErrorKind::UnexpectedEof => {
                self.failed.note(offset, out.len(), &error);
                out.fill(NO_PAGE);
                Ok(())
            }
            read => read,
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    locks_of_file!();
}

#[cfg(test)]
mod tests {
    use super::{FailedReads, TolerantFile};
    use crate::engine::redb::file::page_walk::damaged_pages;
    use crate::engine::redb::file::write_gate::WithoutLocks;
    use redb::backends::FileBackend;
    use redb::{Database, StorageBackend, TableDefinition};
    use std::fs::File;
    use std::io;

    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");

    /// A file with a page that the system does not read.
    #[derive(Debug)]
    struct BadSector(WithoutLocks<FileBackend>, u64);

    impl StorageBackend for BadSector {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            match offset == self.1 {
                true => Err(io::Error::from_raw_os_error(5)),
                false => self.0.read(offset, out),
            }
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
    }

    #[test]
    fn walk_names_pages_that_do_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut table = transaction.open_table(TABLE).unwrap();
        for key in 0..200 {
            table.insert(key, [1_u8; 100].as_slice()).unwrap();
        }
        drop(table);
        transaction.commit().unwrap();
        drop(database);
        let backend = || WithoutLocks(FileBackend::new(File::open(&path).unwrap()).unwrap());
        let pages = backend().len().unwrap() / 4096;
        let (mut named, mut of_table) = (0, 0);
        for page in 1..pages {
            let file = BadSector(backend(), page * 4096);
            let found = damaged_pages(&file).unwrap().unwrap();
            assert!(found.is_only_unread() && found.pages.len() <= 1);
            for found in found.pages {
                assert_eq!(found.offset, page * 4096);
                assert!(found.in_words().contains("cannot be read: "));
                named += 1;
                of_table += u64::from(found.table == Some("events"));
            }
            let failed = FailedReads::default();
            let tolerant = TolerantFile::new(file, failed.clone());
            let mut bytes = vec![0; 4096];
            tolerant.read(page * 4096, &mut bytes).unwrap();
            assert_eq!(bytes, vec![0xFF; 4096]);
            assert_eq!(failed.take()[&(page * 4096)].0, 4096);
        }
        assert!(named > of_table && of_table > 5, "{named} {of_table}");
        let header = TolerantFile::new(BadSector(backend(), 0), FailedReads::default());
        header.read(0, &mut [0; 320]).unwrap_err();
    }
}
