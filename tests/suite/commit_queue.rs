//! How operations share commits, seen from under redb.

use crate::support::{all_entries, named, say};
use redb::{BackendError, StorageBackend};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::future::Future;
use std::io;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

/// What a test sees of the disk and does to it.
#[derive(Debug, Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    syncs: AtomicU64,
    /// Syncs take this long, in milliseconds.
    sync_ms: AtomicU64,
    /// Syncs that began, and whether they wait.
    begun: AtomicU64,
    held: AtomicBool,
    fails: AtomicBool,
}

impl Disk {
    fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }
}

/// A disk in memory that grants every lock, as nobody else has it.
#[derive(Clone, Debug, Default)]
struct DiskBackend(Arc<Disk>);

impl StorageBackend for DiskBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.bytes.lock().unwrap();
        let range = offset as usize..offset as usize + out.len();
        let stored = bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(stored);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        let wait = self.0.sync_ms.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(wait));
        while self.0.held.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.bytes.lock().unwrap();
        let range = offset as usize..offset as usize + data.len();
        bytes[range].copy_from_slice(data);
        Ok(())
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}

fn on_disk() -> (Arc<Disk>, Runtime, WorkerRef) {
    let backend = DiskBackend::default();
    let disk = Arc::clone(&backend.0);
    let store = Store::options().open_backend(backend).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let request = CreateWorkerRequest::default();
    let worker = runtime.create_worker(request).unwrap().worker_ref;
    (disk, runtime, worker)
}

/// Syncs of one commit: two, and one more where the file grows.
const SYNCS: u64 = 3;

#[test]
fn one_thread_has_a_commit_of_two_syncs_for_each_operation() {
    let (disk, runtime, worker) = on_disk();
    let before = disk.syncs();
    for _ in 0..20 {
        say(&runtime, &worker, "hello").unwrap();
    }
    assert_eq!(disk.syncs() - before, 40);
}

#[test]
fn an_operation_that_changes_nothing_costs_no_commit() {
    let (disk, runtime, worker) = on_disk();
    runtime.stop_worker(&worker, None).unwrap();
    let before = disk.syncs();
    runtime.stop_worker(&worker, None).unwrap();
    runtime.cancel_worker(&worker, None).unwrap();
    say(&runtime, &worker, "hello").unwrap_err();
    runtime.transaction(|tx| tx.summary()).unwrap();
    assert_eq!(disk.syncs(), before);
}

#[test]
fn operations_that_arrive_during_a_commit_share_the_next_one() {
    let (disk, runtime, worker) = on_disk();
    disk.sync_ms.store(5, Ordering::SeqCst);
    let before = disk.syncs();
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                (0..5).for_each(|_| assert!(say(&runtime, &worker, "hello").unwrap() > 0))
            });
        }
    });
    let syncs = disk.syncs() - before;
    assert_eq!(all_entries(&runtime, &worker).len(), 160);
    // Alone they would have cost 320.
    assert!(
        syncs < 160,
        "160 operations of 32 threads took {syncs} syncs"
    );
}

#[test]
fn no_operation_waits_for_more_than_the_commit_under_way_and_its_own() {
    let (disk, runtime, worker) = on_disk();
    disk.sync_ms.store(1, Ordering::SeqCst);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let mut staged_at = 0;
                    runtime
                        .transaction(|tx| {
                            staged_at = disk.syncs();
                            tx.send_input(&worker, WorkerInput::user("hello"))
                        })
                        .unwrap();
                    // The next commit may have begun when this thread looks again.
                    let waited = disk.syncs() - staged_at;
                    assert!(waited <= 3 * SYNCS, "{waited} syncs");
                }
            });
        }
    });
}

#[test]
fn nothing_is_acknowledged_before_it_is_synced() {
    let (disk, runtime, worker) = on_disk();
    disk.sync_ms.store(1, Ordering::SeqCst);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let before = disk.syncs();
                    let pending = {
                        let worker = worker.clone();
                        runtime.submit(move |tx| tx.send_input(&worker, WorkerInput::user("x")))
                    };
                    pending.wait().unwrap();
                    assert!(disk.syncs() >= before + 2, "acknowledged without a commit");
                }
            });
        }
    });
}

#[test]
fn a_commit_that_is_on_its_way_is_not_acknowledged() {
    let (disk, runtime, worker) = on_disk();
    let before = disk.begun.load(Ordering::SeqCst);
    disk.held.store(true, Ordering::SeqCst);
    let mut pending = runtime.submit(move |tx| tx.send_input(&worker, WorkerInput::user("x")));
    while disk.begun.load(Ordering::SeqCst) == before {
        std::thread::yield_now();
    }
    let mut context = Context::from_waker(Waker::noop());
    let polled = Pin::new(&mut pending).poll(&mut context);
    disk.held.store(false, Ordering::SeqCst);
    assert!(
        polled.is_pending(),
        "its first sync is still under way: {polled:?}"
    );
    pending.wait().unwrap();
}

#[test]
fn a_failed_commit_is_uncertain_for_its_operations_and_ends_all_later_ones() {
    let (disk, runtime, worker) = on_disk();
    disk.fails.store(true, Ordering::SeqCst);
    let failed = say(&runtime, &worker, "on its way");
    assert!(
        matches!(failed, Err(RuntimeError::CommitUncertain { .. })),
        "{failed:?}"
    );
    disk.fails.store(false, Ordering::SeqCst);
    let later = say(&runtime, &worker, "later");
    assert!(
        matches!(later, Err(RuntimeError::StoreFailed { .. })),
        "{later:?}"
    );
    let submitted = runtime.submit(|tx| tx.summary()).wait();
    assert!(
        matches!(submitted, Err(RuntimeError::StoreFailed { .. })),
        "{submitted:?}"
    );
    let read = runtime.summary();
    assert!(
        matches!(read, Err(RuntimeError::StoreFailed { .. })),
        "{read:?}"
    );
    runtime.store().close().unwrap_or(());
    let store = Store::options().open_backend(DiskBackend(disk)).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let there = all_entries(&runtime, &worker).len();
    assert!(there <= 1, "wholly there or not at all");
    say(&runtime, &worker, "works again").unwrap();
    assert_eq!(all_entries(&runtime, &worker).len(), there + 1);
}

#[test]
fn submissions_of_a_failed_commit_are_told_by_wait_and_by_await() {
    let (disk, runtime, worker) = on_disk();
    disk.sync_ms.store(20, Ordering::SeqCst);
    let submit = || {
        let worker = worker.clone();
        runtime.submit(move |tx| tx.send_input(&worker, WorkerInput::user("x")))
    };
    disk.fails.store(true, Ordering::SeqCst);
    let mut outcomes = vec![];
    let all: Vec<_> = (0..10).map(|_| submit()).collect();
    for (number, pending) in all.into_iter().enumerate() {
        outcomes.push(match number % 2 {
            0 => pending.wait(),
            _ => pollster::block_on(pending),
        });
    }
    for outcome in &outcomes {
        let told = matches!(
            outcome,
            Err(RuntimeError::CommitUncertain { .. } | RuntimeError::StoreFailed { .. })
        );
        assert!(told, "{outcome:?}");
    }
    assert!(
        outcomes
            .iter()
            .any(|o| matches!(o, Err(RuntimeError::CommitUncertain { .. })))
    );
}

#[test]
fn a_large_operation_does_not_hold_up_the_queue() {
    let (_, runtime, worker) = on_disk();
    let large = "x".repeat(20 << 20);
    std::thread::scope(|scope| {
        scope.spawn(|| say(&runtime, &worker, &large).unwrap());
        for _ in 0..8 {
            scope.spawn(|| {
                (0..10).for_each(|_| assert!(say(&runtime, &worker, "small").unwrap() > 0))
            });
        }
    });
    assert_eq!(runtime.worker_detail(&worker).unwrap().transcript_len, 81);
}
