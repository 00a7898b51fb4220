//! What the system refuses: locks, space, permission, reads. None of it is damage.

use crate::maintenance::rich;
use crate::support::{
    Sight, TestChild, all_entries, all_events, assert_refused, assert_whole, named, say, scratch,
    tell, told_as_child, worker_ref,
};
use redb::{BackendError, StorageBackend};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::store::{FileAccess, Sharing, Snapshot, StoreOptions, VerifyKind};
use redb_runtime_store::{RuntimeError, Store};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use torture::disk::Disk;

/// A disk on a file system without locks.
#[derive(Clone, Debug)]
struct WithoutLocks(Disk);

impl StorageBackend for WithoutLocks {
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
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        // What redb makes of EINVAL, EOPNOTSUPP and ENOSYS.
        Err(io::Error::from(ErrorKind::Unsupported).into())
    }
}

#[test]
fn missing_locks_are_no_damage() {
    let disk = Disk::default();
    let store = Store::options().open_backend(disk.clone()).unwrap();
    store.close().unwrap();
    for sharing in [Sharing::OneWriter, Sharing::ManyWriters] {
        let options = Store::options().sharing(sharing);
        let opened = options.open_backend(WithoutLocks(disk.clone()));
        let Err(error @ RuntimeError::LocksUnsupported { .. }) = opened else {
            panic!("{sharing:?}: {opened:?}");
        };
        let message = error.to_string();
        assert!(message.contains("locks"), "{message}");
        assert!(message.contains("local file system"), "{message}");
    }
}

fn read_unrepaired() -> StoreOptions {
    Store::options().read_only(true).recover_in_memory(true)
}

fn worker() -> WorkerRef {
    worker_ref("r", "worker-00000001")
}

/// Sends input until killed.
fn send_until_killed(path: &Path) {
    let runtime = Store::open(path).unwrap().runtime(named("r")).unwrap();
    let request = CreateWorkerRequest::default();
    runtime.create_worker(request).unwrap();
    for number in 0.. {
        say(&runtime, &worker(), &number.to_string()).unwrap();
        tell("sent");
    }
}

/// Leaves a store at `path` as a kill does, with at least `sent` inputs.
fn killed_store(test: &str, path: &Path, sent: usize) {
    let mut child = TestChild::start(test, path);
    for _ in 0..sent {
        child.hear().unwrap();
    }
    child.kill();
}

/// The flag in the header of the file that its last commit may not be flushed.
fn set_unflushed(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[9] |= 8;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn killed_store_is_read_without_repair() {
    if let Some(path) = told_as_child() {
        return send_until_killed(&path);
    }
    let (_directory, path) = scratch();
    killed_store(
        "system_faults::killed_store_is_read_without_repair",
        &path,
        20,
    );
    // As a power loss leaves it right after a commit was acknowledged.
    set_unflushed(&path);
    let before = Sight::of(&path);
    assert_refused!(
        Store::open_read_only(&path),
        RuntimeError::NeedsRepair { .. }
    );
    let store = read_unrepaired().open(&path).unwrap();
    assert!(store.recovered_in_memory());
    let runtime = store.runtime(named("r")).unwrap();
    assert_whole(&runtime);
    let seen = (all_events(&runtime), all_entries(&runtime, &worker()));
    assert!(seen.1.len() >= 20);
    assert!(store.verify().unwrap().is_clean());
    assert_refused!(
        say(&runtime, &worker(), "no"),
        RuntimeError::StoreReadOnly { .. }
    );
    store.close().unwrap();
    before.assert_unchanged(&path);

    let repaired = Store::open(&path).unwrap();
    assert!(!repaired.recovered_in_memory());
    let runtime = repaired.runtime(named("r")).unwrap();
    let kept = (all_events(&runtime), all_entries(&runtime, &worker()));
    assert_eq!(seen, kept, "a repair shows other rows");
    repaired.close().unwrap();
    let clean = read_unrepaired().open(&path).unwrap();
    assert!(!clean.recovered_in_memory());
}

/// The texts of the worker's transcript in a snapshot.
fn texts_of(snapshot: &Snapshot) -> Vec<String> {
    let entries = snapshot.transcript(&worker(), 0).unwrap();
    entries.map(|entry| entry.unwrap().value.content).collect()
}

#[test]
fn host_writes_beside_unrepaired_reader() {
    if let Some(path) = told_as_child() {
        return send_until_killed(&path);
    }
    let (_directory, path) = scratch();
    let test = "system_faults::host_writes_beside_unrepaired_reader";
    killed_store(test, &path, 20);
    let reader = read_unrepaired().open(&path).unwrap();
    let snapshot = reader.snapshot().unwrap();
    let runtime = reader.runtime(named("r")).unwrap();
    let (before, entries) = (texts_of(&snapshot), all_entries(&runtime, &worker()));
    // The host repairs the file, replaces pages, and is killed in turn.
    for round in 1..=3 {
        killed_store(test, &path, 200);
        assert_eq!(texts_of(&snapshot), before, "a snapshot changed");
        let now = all_entries(&runtime, &worker());
        assert!(now.len() >= entries.len() + round * 200, "{}", now.len());
        assert_eq!(now[..entries.len()], entries);
        assert_whole(&runtime);
    }
    drop(snapshot);
    let host = Store::open(&path).unwrap();
    assert_whole(&host.runtime(named("r")).unwrap());
    assert!(host.verify().unwrap().is_clean());
}

#[test]
fn live_store_is_never_recovered() {
    if let Some(path) = told_as_child() {
        return send_until_killed(&path);
    }
    let (_directory, path) = scratch();
    let mut child = TestChild::start("system_faults::live_store_is_never_recovered", &path);
    child.hear().unwrap();
    let reader = read_unrepaired().open(&path).unwrap();
    assert!(!reader.recovered_in_memory());
    child.kill();
    let exclusive = read_unrepaired().sharing(Sharing::Exclusive);
    drop(reader);
    assert_refused!(exclusive.open(&path), RuntimeError::NeedsRepair { .. });
}

#[test]
fn bytes_after_the_end_are_named() {
    let (_directory, path) = scratch();
    rich(&path).close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for extra in [1, 100, 4095, 4096 + 1] {
        let mut bytes = whole.clone();
        bytes.resize(whole.len() + extra, 0);
        std::fs::write(&path, &bytes).unwrap();
        for sharing in [Sharing::OneWriter, Sharing::ManyWriters, Sharing::Exclusive] {
            let opened = Store::options().sharing(sharing).open(&path);
            assert_refused!(opened, RuntimeError::BytesAfterEnd { bytes, .. } if bytes == extra as u64);
        }
        assert!(bytes == std::fs::read(&path).unwrap(), "it was changed");
        let reader = Store::open_read_only(&path).unwrap();
        let report = reader.verify().unwrap();
        let found: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
        assert!(found[0].contains(&format!("{extra} byte")), "{found:?}");
        assert_eq!(found.len(), 1);
        let copy = path.with_extension(format!("copy-{extra}"));
        reader.backup(&copy).unwrap();
        reader.close().unwrap();
        let copy = Store::open(&copy).unwrap();
        assert_eq!(copy.verify().unwrap().findings, []);
    }
    std::fs::write(&path, [whole.as_slice(), &[0; 4096]].concat()).unwrap();
    Store::open(&path).unwrap();
}

#[test]
fn verify_lists_pages_behind_the_end() {
    let (_directory, path) = scratch();
    let store = rich(&path);
    let rows = store.verify().unwrap().rows;
    store.compact().unwrap();
    store.close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut read = 0;
    for pages in 1..whole.len() / 4096 {
        std::fs::write(&path, &whole[..pages * 4096]).unwrap();
        let Ok(store) = Store::open_read_only(&path) else {
            let report = Store::verify_file(&path, &Default::default()).unwrap();
            assert!(!report.is_clean(), "{pages} pages: {report:?}");
            continue;
        };
        let report = store.verify().unwrap();
        let found = |kind| report.findings.iter().any(|found| found.kind == kind);
        assert!(found(VerifyKind::Pages), "{pages} pages: {report:?}");
        assert!(!found(VerifyKind::ReadFailed), "{pages} pages: {report:?}");
        assert!(report.rows < rows || found(VerifyKind::Unreadable) || report.rows == rows);
        read = read.max(report.rows);
        // Reads of what is missing fail as damage does, and others go on.
        for runtime in store.runtimes().unwrap_or_default() {
            let _ = store.runtime(named(runtime.runtime_id.as_str()));
        }
        assert!(!matches!(
            store.runtimes(),
            Err(RuntimeError::StoreFailed { .. })
        ));
    }
    assert!(read > 0, "no row was read of any file");
}

#[test]
fn verify_continues_after_failed_read() {
    let (_directory, path) = scratch();
    rich(&path).close().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let options = Store::options().cache_bytes(0).on_access(move |access| {
        match access == FileAccess::Read && failing.load(Ordering::Relaxed) {
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(()),
        }
    });
    let store = options.open(&path).unwrap();
    let rows = store.verify().unwrap().rows;
    fails.store(true, Ordering::Relaxed);
    let report = store.verify().unwrap();
    assert_eq!((report.rows, report.findings), (rows, vec![]));
    // As documented: the host opens the store again.
    assert_refused!(store.runtimes(), RuntimeError::StoreFailed { .. });
}
