//! Damaged files: reads return an error or the right data, never wrong data or a panic, and an attempt
//! to open a file does not change it.

use crate::support::{
    Sight, assert_refused, bulk, event, named, runtime_snapshot, say, scratch, seed, worker_ref,
};
use redb::{Database, TableDefinition};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::interaction::TranscriptQuery;
use redb_runtime_store::store::Stored;
use redb_runtime_store::{RuntimeError, Store};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use torture::rng::Rng;

/// The whole content of a store.
#[derive(Debug, PartialEq)]
struct Whole {
    /// Runtimes with their diagnostics, workers with their transcripts.
    counted: Vec<String>,
    events: Vec<String>,
}

/// Reads the whole content of a store.
fn whole(store: &Store) -> Result<Whole, RuntimeError> {
    let snapshot = store.snapshot()?;
    let (mut counted, mut events) = (Vec::new(), Vec::new());
    for id in snapshot.runtime_ids()? {
        counted.push(format!("{:?}", snapshot.runtime(&id)?));
        for worker in snapshot.workers(&id)? {
            let worker = worker?;
            counted.push(format!("{worker:?}"));
            for entry in snapshot.transcript(&worker.value.worker_ref, 0)? {
                counted.push(format!("{:?}", entry?));
            }
        }
        for event in snapshot.events(&id, 0)? {
            events.push(format!("{:?}", event?));
        }
    }
    Ok(Whole { counted, events })
}

/// The result of opening a damaged store for writing and reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    /// The store was not opened.
    Refused,
    /// The store was opened; reading gave an error.
    FoundLater,
    /// Everything was read, and right.
    Right,
}

/// Asserts that at least one damaged store was rejected when it was opened, and at least one was opened
/// and its damage found later. Otherwise the test covers only one of the two cases.
#[track_caller]
fn assert_both(met: &[Met]) {
    let count = |wanted: Met| met.iter().filter(|met| **met == wanted).count();
    let (refused, later) = (count(Met::Refused), count(Met::FoundLater));
    println!(
        "{} damaged: {refused} refused, {later} found later",
        met.len()
    );
    assert!(
        refused > 0,
        "no damage was refused when the store was opened"
    );
    assert!(later > 0, "no damage was found after the store was opened");
}

/// A store to damage, as bytes, and its content.
struct Sample {
    _directory: TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    whole: Whole,
}

impl Sample {
    /// A store that was closed or, if `unclean`, as a kill leaves it.
    fn new(unclean: bool) -> Self {
        let (_directory, path) = scratch();
        let live = path.with_extension("live");
        let store = Store::open(&live).unwrap();
        for id in ["r", "s"] {
            let runtime = store.runtime(named(id)).unwrap();
            for _ in 0..3 {
                let worker = runtime
                    .create_worker(CreateWorkerRequest::default())
                    .unwrap();
                for number in 0..8 {
                    say(
                        &runtime,
                        &worker.worker_ref,
                        &format!("{number}").repeat(40),
                    )
                    .unwrap();
                }
            }
        }
        let whole = whole(&store).unwrap();
        let unclean_bytes = std::fs::read(&live).unwrap();
        store.close().unwrap();
        let bytes = if unclean {
            unclean_bytes
        } else {
            std::fs::read(&live).unwrap()
        };
        std::fs::remove_file(live).unwrap();
        Self {
            _directory,
            path,
            bytes,
            whole,
        }
    }

    /// Asserts that the damaged store `bytes` is rejected without a change, or that its reads return
    /// the right data or an error, and that no call panics.
    fn assert_safe(&self, bytes: &[u8], what: &str) -> Met {
        std::fs::write(&self.path, bytes).unwrap();
        let before = Sight::of(&self.path);
        let path: &Path = &self.path;
        let opened = catch_unwind(|| {
            match Store::open_read_only(path) {
                Ok(store) => drop(self.assert_reads(&store, what)),
                Err(error) => assert_says_damage(&error, what),
            }
            before.assert_unchanged(path);
            match Store::options().verify_on_open(true).open(path) {
                Ok(store) => drop(self.assert_reads(&store, what)),
                Err(error) => {
                    assert_says_damage(&error, what);
                    before.assert_unchanged(path);
                }
            }
            std::fs::write(path, bytes).unwrap();
            let before = Sight::of(path);
            match Store::open(path) {
                Ok(store) => {
                    let met = self.assert_reads(&store, what);
                    self.assert_writes(&store, what);
                    met
                }
                Err(error) => {
                    assert_says_damage(&error, what);
                    before.assert_unchanged(path);
                    Met::Refused
                }
            }
        });
        opened.unwrap_or_else(|_| panic!("{what}: a panic reached the caller"))
    }

    /// Asserts that reads return the right data, or an error of damage.
    fn assert_reads(&self, store: &Store, what: &str) -> Met {
        let mut met = Met::Right;
        match whole(store) {
            Ok(read) => {
                let counted = read.counted == self.whole.counted;
                assert!(counted, "{what}: wrong data: {read:#?}");
                // No row states the number of events, so a page that lost references to some of them
                // looks like a log with gaps. The events that are read must be right.
                let mut ours = self.whole.events.iter();
                let right = read
                    .events
                    .iter()
                    .all(|event| ours.any(|ours| ours == event));
                assert!(right, "{what}: wrong events: {:#?}", read.events);
            }
            Err(error) => {
                assert_says_damage(&error, what);
                met = Met::FoundLater;
            }
        }
        let state = RuntimeId::new("r").map(|id| store.runtime_store(&id)?.load_runtime_state());
        if let Some(Err(error)) = state {
            assert_says_damage(&error, what);
            met = Met::FoundLater;
        }
        met
    }

    /// Writes and the close may return errors, but not panic.
    fn assert_writes(&self, store: &Store, what: &str) {
        let written = catch_unwind(AssertUnwindSafe(|| {
            let runtime = store.runtime(named("r"))?;
            runtime.create_worker(CreateWorkerRequest::default())?;
            runtime.stop_runtime()
        }));
        assert!(written.is_ok(), "{what}: writing panicked");
        let closed = catch_unwind(AssertUnwindSafe(|| store.close()));
        assert!(closed.is_ok(), "{what}: closing panicked");
    }
}

#[track_caller]
fn assert_says_damage(error: &RuntimeError, what: &str) {
    match error {
        RuntimeError::StoreCorrupt { .. }
        | RuntimeError::BytesAfterEnd { .. }
        | RuntimeError::NotAStore { .. }
        | RuntimeError::NeedsRepair { .. } => {}
        // redb returns this error for every access after a failed read.
        RuntimeError::StoreFailed { .. } => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn truncated_file_is_refused_and_unchanged() {
    for unclean in [false, true] {
        let sample = Sample::new(unclean);
        let len = sample.bytes.len();
        let edges = [9, 10, 63, 64, 200, 320, 321, 4095, 4096, 4097, 8192, 16384];
        let pages = (1..20).map(|twentieth| len / 20 * twentieth);
        for cut in edges.into_iter().chain(pages).chain([len - 4096, len - 1]) {
            let what = format!("unclean {unclean}, cut at {cut}");
            let met = sample.assert_safe(&sample.bytes[..cut], &what);
            assert_eq!(met, Met::Refused, "{what}");
        }
    }
}

#[test]
fn extended_file_gives_right_data_or_error() {
    for unclean in [false, true] {
        let sample = Sample::new(unclean);
        for more in [1, 511, 4096, 1 << 20] {
            let longer = [&sample.bytes[..], &vec![0xA5; more]].concat();
            sample.assert_safe(&longer, &format!("unclean {unclean}, {more} bytes more"));
        }
    }
}

#[test]
fn overwritten_page_gives_right_data_or_error() {
    let mut met = Vec::new();
    for unclean in [false, true] {
        let sample = Sample::new(unclean);
        let pages = sample.bytes.len() / 4096;
        for page in 0..pages {
            let here = page * 4096..(page + 1) * 4096;
            let old = &sample.bytes[here.clone()];
            // Unused pages contain no data.
            if old.iter().all(|byte| *byte == 0) {
                continue;
            }
            let mut bytes = sample.bytes.clone();
            bytes[here].fill(0xFF);
            let what = format!("unclean {unclean}, page {page} overwritten");
            met.push(sample.assert_safe(&bytes, &what));
        }
    }
    assert_both(&met);
}

/// Reads all logs of a damaged store to their end. Asserts that they end, and that every event is in
/// `known`.
fn assert_walks_end(
    store: &Store,
    known: &HashSet<String>,
    what: &str,
) -> Result<(), RuntimeError> {
    let snapshot = store.snapshot()?;
    for id in ["r", "s"].map(|id| RuntimeId::new(id).unwrap()) {
        let mut seen = 0;
        for event in snapshot.events(&id, 0)? {
            let event = format!("{id} {:?}", event?);
            assert!(known.contains(&event), "{what}: {event} was never there");
            seen += 1;
            assert!(seen <= known.len(), "{what}: the log of {id} never ends");
        }
    }
    Ok(())
}

#[test]
fn swapped_pages_end_walks_without_foreign_events() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let mut known = HashSet::new();
    for id in ["r", "s"] {
        let runtime_id = RuntimeId::new(id).unwrap();
        bulk(&store, |load| {
            for number in 1..=2_500 {
                let event = event(number, &format!("{id} {number}"));
                known.insert(format!("{id} {:?}", Stored::from(event.clone())));
                load.append_event(&runtime_id, event.into())?;
            }
            load.put_runtime(runtime_snapshot(id, 2_501).into())
        });
    }
    store.close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut random = Rng::new(seed());
    let pages = whole.len() / 4096;
    let mut met = Vec::new();
    // Each page once: only two of them are read when the store is opened.
    for a in 1..pages {
        let b = 1 + random.below(pages - 1);
        let mut bytes = whole.clone();
        bytes[a * 4096..][..4096].copy_from_slice(&whole[b * 4096..][..4096]);
        bytes[b * 4096..][..4096].copy_from_slice(&whole[a * 4096..][..4096]);
        std::fs::write(&path, bytes).unwrap();
        let what = format!("pages {a} and {b}");
        let walked =
            Store::open_read_only(&path).map(|store| assert_walks_end(&store, &known, &what));
        met.push(match walked {
            Ok(Ok(())) => Met::Right,
            Ok(Err(error)) => {
                assert_says_damage(&error, &what);
                Met::FoundLater
            }
            Err(error) => {
                assert_says_damage(&error, &what);
                Met::Refused
            }
        });
    }
    assert_both(&met);
    assert!(
        met.contains(&Met::Right),
        "some swaps change nothing that is read"
    );
}

/// The byte of redb's flags in the header. No checksum covers it.
const FLAGS: usize = 9;

/// The flag that selects the last of redb's two commits. In a file that was not closed, a flip of it
/// undoes the last commit.
const LAST_COMMIT: (usize, usize) = (FLAGS, 0);

#[test]
fn flipped_bit_gives_right_data_or_error() {
    let mut random = Rng::new(seed());
    let mut met = Vec::new();
    for unclean in [false, true] {
        let sample = Sample::new(unclean);
        let used: Vec<usize> = (0..sample.bytes.len())
            .filter(|at| {
                sample.bytes[at / 512 * 512..at / 512 * 512 + 512]
                    .iter()
                    .any(|b| *b != 0)
            })
            .collect();
        // Half of them in the header, which decides how redb reads the rest.
        let anywhere = (0..60).map(|round| {
            let at = match round % 2 {
                0 => random.below(320),
                _ => used[random.below(used.len())],
            };
            (at, random.below(8))
        });
        let flags = (0..8).map(|bit| (FLAGS, bit));
        for (at, bit) in anywhere.chain(flags) {
            if (at, bit) == LAST_COMMIT && unclean {
                continue;
            }
            let mut bytes = sample.bytes.clone();
            bytes[at] ^= 1 << bit;
            met.push(sample.assert_safe(
                &bytes,
                &format!("unclean {unclean}, bit {bit} of byte {at} flipped"),
            ));
        }
    }
    assert_both(&met);
}

/// Removes a row of a closed store, as if a page had lost it. redb's checksums stay right.
fn lose<K: redb::Key + 'static>(path: &Path, table: &str, key: K::SelfType<'_>) {
    let definition: TableDefinition<'_, K, &[u8]> = TableDefinition::new(table);
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut open = transaction.open_table(definition).unwrap();
    assert!(
        open.remove(&key).unwrap().is_some(),
        "{table} has no such row"
    );
    drop(open);
    transaction.commit().unwrap();
}

#[test]
fn missing_row_is_damage_not_shorter_answer() {
    let sample = Sample::new(false);
    let path = &sample.path;
    let worker = worker_ref("r", "worker-00000002");
    let fresh = || std::fs::write(path, &sample.bytes).unwrap();
    let open = || {
        let store = Store::open(path).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        (runtime, store.snapshot().unwrap(), store)
    };
    for position in [0, 3, 7] {
        fresh();
        lose::<(&str, &str, u64)>(path, "transcripts", ("r", "worker-00000002", position));
        let (runtime, snapshot, _store) = open();
        let query = TranscriptQuery::new(0, 256);
        let page = runtime.transcript_projection(&worker, query);
        assert_refused!(page, RuntimeError::StoreCorrupt { .. });
        let entries: Result<Vec<_>, _> = snapshot.transcript(&worker, 0).unwrap().collect();
        assert_refused!(entries, RuntimeError::StoreCorrupt { .. });
    }
    fresh();
    lose::<(&str, &str)>(path, "workers", ("r", "worker-00000002"));
    let (runtime, snapshot, store) = open();
    assert_refused!(runtime.list_workers(), RuntimeError::StoreCorrupt { .. });
    let id = runtime.runtime_id().unwrap();
    let workers: Result<Vec<_>, _> = snapshot.workers(&id).unwrap().collect();
    assert_refused!(workers, RuntimeError::StoreCorrupt { .. });
    let state = store.runtime_store(&id).unwrap().load_runtime_state();
    assert_refused!(state, RuntimeError::StoreCorrupt { .. });
    drop((runtime, snapshot, store));
    fresh();
    lose::<(&str, u64)>(path, "diagnostics", ("r", 2));
    let (runtime, snapshot, _store) = open();
    assert_refused!(runtime.diagnostics(), RuntimeError::StoreCorrupt { .. });
    assert_refused!(snapshot.runtime(&id), RuntimeError::StoreCorrupt { .. });
}
