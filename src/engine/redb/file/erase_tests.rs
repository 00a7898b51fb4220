use super::erase_unused;
use crate::engine::redb::file::write_gate::WithoutLocks;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
    WriteTransaction,
};
use std::fs::{self, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::NamedTempFile;

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const MARK: &[u8] = b"removed text";

fn file(path: &Path) -> WithoutLocks<FileBackend> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    WithoutLocks(FileBackend::new(file.unwrap()).unwrap())
}

/// Without a cache, so that every read is one of the file.
fn open(path: &Path) -> Database {
    let mut builder = Builder::new();
    builder.set_cache_size(0);
    builder.create_with_backend(file(path)).unwrap()
}

/// A durable commit.
fn commit(database: &Database, change: impl FnOnce(&WriteTransaction)) {
    let mut transaction = database.begin_write().unwrap();
    transaction.set_two_phase_commit(true);
    change(&transaction);
    transaction.commit().unwrap();
}

fn text(number: u64) -> Vec<u8> {
    let filler = usize::try_from(number % 7).unwrap() * 150;
    [MARK, &vec![b'x'; filler]].concat()
}

fn remove(database: &Database, numbers: Range<u64>) {
    commit(database, |transaction| {
        let mut rows = transaction.open_table(ROWS).unwrap();
        // Several in a page, so that redb moves the others of the page together.
        for number in numbers.filter(|number| number % 5 > 0) {
            rows.remove(number).unwrap();
        }
        rows.insert(u64::MAX, &b"stays"[..]).unwrap();
    });
}

fn written() -> (NamedTempFile, Database) {
    let directory = NamedTempFile::new().unwrap();
    let database = open(directory.path());
    commit(&database, |transaction| {
        let mut rows = transaction.open_table(ROWS).unwrap();
        for number in 0..600 {
            rows.insert(number, text(number).as_slice()).unwrap();
        }
    });
    (directory, database)
}

fn rows(table: &impl ReadableTable<u64, &'static [u8]>) -> Vec<(u64, Vec<u8>)> {
    let all = table.iter().unwrap().map(|row| row.unwrap());
    all.map(|(number, text)| (number.value(), text.value().to_vec()))
        .collect()
}

fn rows_of(database: &Database) -> Vec<(u64, Vec<u8>)> {
    rows(&database.begin_read().unwrap().open_table(ROWS).unwrap())
}

fn marks(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes.windows(MARK.len()).filter(|one| *one == MARK).count()
}

#[test]
fn pages_of_a_snapshot_stay() {
    let (path, database) = written();
    {
        let snapshot = database.begin_read().unwrap();
        let snapshot = snapshot.open_table(ROWS).unwrap();
        let before = rows(&snapshot);
        remove(&database, 0..600);
        assert!(erase_unused(&file(path.path())).unwrap());
        assert_eq!(rows(&snapshot), before);
    }
    // The next commits give up the pages of the snapshot.
    (0..3).for_each(|_| commit(&database, |_| {}));
    let left = rows_of(&database);
    assert!(marks(path.path()) > left.len());
    assert!(erase_unused(&file(path.path())).unwrap());
    assert_eq!(marks(path.path()), left.len() - 1);
    assert_eq!(rows_of(&database), left);
    drop(database);
    assert!(open(path.path()).check_integrity().unwrap());
}

/// A file whose write number `left` is torn, and all later ones fail.
#[derive(Debug)]
struct Torn {
    file: WithoutLocks<FileBackend>,
    left: AtomicUsize,
}

impl StorageBackend for Torn {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let take = |left: usize| left.checked_sub(1);
        let before = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        match before {
            Ok(1) => self.file.write(offset, &data[..data.len() / 2])?,
            Ok(_) => return self.file.write(offset, data),
            Err(_) => {}
        }
        Err(io::Error::other("the power is lost"))
    }
}

#[test]
fn torn_erasing_damages_no_row() {
    let (path, database) = written();
    remove(&database, 100..500);
    let left = rows_of(&database);
    drop(database);
    let before = fs::read(path.path()).unwrap();
    let mut writes = 0;
    loop {
        writes += 1;
        fs::write(path.path(), &before).unwrap();
        let torn = Torn {
            file: file(path.path()),
            left: AtomicUsize::new(writes),
        };
        let is_done = erase_unused(&torn).is_ok();
        let mut database = open(path.path());
        assert_eq!(rows_of(&database), left, "after {writes} writes");
        assert!(database.check_integrity().unwrap());
        if is_done {
            break;
        }
    }
    assert!(writes > 5, "{writes}");
}

#[test]
fn damaged_page_leaves_free_pages_alone() {
    let (path, database) = written();
    remove(&database, 0..600);
    (0..3).for_each(|_| commit(&database, |_| {}));
    let left = rows_of(&database).len();
    drop(database);
    assert!(marks(path.path()) > left, "free pages have texts");
    let mut bytes = fs::read(path.path()).unwrap();
    let at = bytes.windows(5).rposition(|text| text == b"stays").unwrap();
    bytes[at] ^= 1;
    fs::write(path.path(), &bytes).unwrap();
    assert!(!erase_unused(&file(path.path())).unwrap());
    let after = fs::read(path.path()).unwrap();
    // Every page begins as before: at most bytes at the ends of pages are erased.
    let beginnings = |bytes: &[u8]| bytes.chunks(4096).map(|page| page[..16].to_vec()).collect();
    let (before, after): (Vec<_>, Vec<_>) = (beginnings(&bytes), beginnings(&after));
    assert_eq!(before, after);
}
