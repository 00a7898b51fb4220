use super::{BadPages, CheckedPages, Role};
use redb::backends::FileBackend;
use redb::{
    BackendError, Builder, Database, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition,
};
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const EVENTS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("events");
const FIXED: TableDefinition<'_, u64, u32> = TableDefinition::new("fixed");

/// A backend that counts the reads of pages with and without an expected checksum.
#[derive(Debug)]
struct Watched {
    checked: CheckedPages<FileBackend>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Whether reads are counted yet.
    begun: AtomicBool,
    known: AtomicUsize,
    unknown: AtomicUsize,
    bad: Arc<BadPages>,
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.checked.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset > 0 && self.counts.begun.load(Ordering::Relaxed) {
            let expected = self.checked.known().expected(offset);
            let count = match expected {
                Some(_) => &self.counts.known,
                None => &self.counts.unknown,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.checked.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.checked.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.checked.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.checked.write(offset, data)
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}

/// A database without a cache, and the counts of its reads. Reads are counted from the beginning if
/// `at_once` is set, otherwise after the open.
fn open(path: &Path, at_once: bool) -> (Database, Arc<Counts>) {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .unwrap();
    let counts = Arc::new(Counts::default());
    counts.begun.store(at_once, Ordering::Relaxed);
    let bad = Arc::clone(&counts.bad);
    let checked = CheckedPages::new(FileBackend::new(file).unwrap(), Role::OnlyWriter, bad);
    let backend = Watched {
        checked,
        counts: Arc::clone(&counts),
    };
    let mut builder = Builder::new();
    builder.set_cache_size(0);
    let database = builder.create_with_backend(backend).unwrap();
    counts.begun.store(true, Ordering::Relaxed);
    (database, counts)
}

/// Replaces and adds rows, some of them larger than a page, in transactions of one or two phases.
fn work(database: &Database, seed: u64, two_phase: bool) {
    for round in 0..6 {
        let mut transaction = database.begin_write().unwrap();
        transaction.set_two_phase_commit(two_phase);
        let mut events = transaction.open_table(EVENTS).unwrap();
        let mut fixed = transaction.open_table(FIXED).unwrap();
        for row in 0..300 {
            let number = (seed * 7_919 + round * 104_729 + row * 31) % 5_000;
            let long = if row % 97 == 0 { 20_000 } else { 60 };
            events
                .insert(("r", number), vec![row as u8; long].as_slice())
                .unwrap();
            fixed.insert(number * number, row as u32).unwrap();
            if row % 3 == 0 {
                events.remove(("r", (number + 17) % 5_000)).unwrap();
            }
        }
        drop((events, fixed));
        transaction.commit().unwrap();
        read(database);
    }
}

fn read(database: &Database) -> usize {
    let transaction = database.begin_read().unwrap();
    let events = transaction.open_table(EVENTS).unwrap();
    let fixed = transaction.open_table(FIXED).unwrap();
    let events = events.iter().unwrap().map(Result::unwrap).count();
    events + fixed.iter().unwrap().map(Result::unwrap).count()
}

#[track_caller]
fn assert_all_known(counts: &Counts) {
    let unknown = counts.unknown.load(Ordering::Relaxed);
    assert_eq!(unknown, 0, "pages were read unchecked");
    assert!(counts.known.load(Ordering::Relaxed) > 100);
    assert_eq!(counts.bad.describe(None), None);
}

#[test]
fn every_page_that_is_read_is_known_and_whole_pages_are_what_they_must_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("whole.redb");
    let mut rows = 0;
    for seed in 0..4 {
        let (mut database, counts) = open(&path, true);
        if seed > 0 {
            assert_eq!(read(&database), rows, "rows after a reopen");
        }
        work(&database, seed, true);
        if seed == 2 {
            database.compact().unwrap();
        }
        rows = read(&database);
        database.close().unwrap();
        assert_all_known(&counts);
    }
}

#[test]
fn pages_are_known_after_a_crash_as_well() {
    let directory = tempfile::tempdir().unwrap();
    for two_phase in [true, false] {
        let path = directory.path().join(format!("{two_phase}.redb"));
        let crashed = path.with_extension("crashed");
        let (database, _) = open(&path, true);
        work(&database, 1, two_phase);
        let rows = read(&database);
        std::fs::copy(&path, &crashed).unwrap();
        // After commits of one phase redb chooses a commit while it opens the file, and verifies
        // all of it.
        let (database, counts) = open(&crashed, two_phase);
        assert_eq!(read(&database), rows);
        work(&database, 2, true);
        database.close().unwrap();
        assert_all_known(&counts);
    }
}

#[test]
fn an_error_is_about_what_its_thread_was_refused_in_its_operation() {
    let bad = BadPages::default();
    let names = |table, page| bad.describe(table).is_some_and(|text| text.ends_with(page));
    bad.note(4096);
    bad.begin();
    assert_eq!(bad.describe(Some("a")), None, "an operation before");
    bad.note(8192);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| bad.describe(Some("a")));
        assert_eq!(other.join().unwrap(), None, "another thread");
    });
    assert!(names(Some("a"), "at byte 8192"));
    assert_eq!(bad.describe(Some("b")), None, "another table");
    // redb may return the page from its cache, without a read.
    bad.begin();
    assert!(names(Some("a"), "at byte 8192"));
    bad.note(12288);
    assert!(names(Some("a"), "at byte 12288"));
    assert!(names(Some("a"), "at byte 8192, 12288"));
}

#[test]
fn a_header_names_regions_and_pages_as_redb_does() {
    use crate::engine::redb::file::page_layout::Header;
    let mut bytes = [0; 320];
    bytes[..9].copy_from_slice(b"redb\x1A\x0A\xA9\x0D\x0A");
    bytes[16] = 1;
    bytes[20..24].copy_from_slice(&1024_u32.to_le_bytes());
    let geometry = Header::parse(&bytes).unwrap().geometry().unwrap();
    let page = |region: u64, index: u64, order: u64| index | region << 20 | order << 59;
    assert_eq!(geometry.offset(page(0, 0, 0)), 4096 * 2);
    assert_eq!(geometry.offset(page(0, 3, 2)), 4096 * (2 + 12));
    assert_eq!(
        geometry.offset(page(2, 5, 0)),
        4096 * (1 + 2 * 1025 + 1 + 5)
    );
}
