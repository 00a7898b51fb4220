//! Group commit, observed at the storage backend below redb.

use crate::support::{all_entries, named, say};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::store::Sharing;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use torture::disk::{Disk, EIO, Errors, Fault, FaultKind};

fn on_disk() -> (Disk, Runtime, WorkerRef) {
    let disk = Disk::default();
    let store = Store::options().open_backend(disk.clone()).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let request = CreateWorkerRequest::default();
    let worker = runtime.create_worker(request).unwrap().worker_ref;
    (disk, runtime, worker)
}

/// Every sync fails from now on.
fn break_syncs(disk: &Disk) {
    disk.set_fault(Some(Fault {
        kind: FaultKind::Sync,
        after: 0,
        errors: Errors::only(EIO, true),
    }));
}

/// The most syncs of one commit: two and one more if the file grows.
const SYNCS: usize = 3;

#[test]
fn single_thread_commits_with_one_sync_each() {
    let (disk, runtime, worker) = on_disk();
    let before = disk.syncs();
    for _ in 0..20 {
        say(&runtime, &worker, "hello").unwrap();
    }
    assert_eq!(disk.syncs() - before, 20);
}

#[test]
fn operation_without_changes_makes_no_commit() {
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
fn operations_during_a_commit_share_the_next() {
    let (disk, runtime, worker) = on_disk();
    disk.slow_syncs(Duration::from_millis(5));
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
    // Without sharing they would take 320.
    assert!(
        syncs < 160,
        "160 operations of 32 threads took {syncs} syncs"
    );
}

/// Every batch has a leader that commits it, however its threads arrive.
#[test]
fn repeating_threads_starve_no_operation() {
    let (disk, runtime, worker) = on_disk();
    disk.slow_syncs(Duration::from_micros(200));
    let (done, all_done) = channel();
    for _ in 0..16 {
        let (runtime, worker, done) = (runtime.clone(), worker.clone(), done.clone());
        std::thread::spawn(move || {
            for _ in 0..150 {
                say(&runtime, &worker, "hello").unwrap();
            }
            done.send(()).unwrap();
        });
    }
    for _ in 0..16 {
        let finished = all_done.recv_timeout(Duration::from_secs(30));
        finished.expect("no thread commits the operation");
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker of the host");
    }
}

struct Tells(Sender<()>);

impl Wake for Tells {
    fn wake(self: Arc<Self>) {
        self.0.send(()).unwrap();
    }
}

#[test]
fn panicking_waker_delays_no_other_submission() {
    let (disk, runtime, worker) = on_disk();
    disk.slow_syncs(Duration::from_millis(5));
    let submit = |waker: &Waker| {
        let to = worker.clone();
        let mut pending = runtime.submit(move |tx| tx.send_input(&to, WorkerInput::user("hello")));
        let polled = Pin::new(&mut pending).poll(&mut Context::from_waker(waker));
        (pending, polled.is_ready())
    };
    for _ in 0..5 {
        let (tell, told) = channel();
        let (panicking, _) = submit(&Waker::from(Arc::new(Panics)));
        let (good, ready) = submit(&Waker::from(Arc::new(Tells(tell))));
        if !ready {
            told.recv_timeout(Duration::from_secs(30))
                .expect("no thread commits the operation and wakes the waker");
        }
        good.wait().unwrap();
        panicking.wait().unwrap();
    }
}

/// Submits an operation, and closes the store when it is woken.
struct Closes(Runtime, Store, WorkerRef, Sender<()>);

impl Wake for Closes {
    fn wake(self: Arc<Self>) {
        let Self(runtime, store, worker, closed) = &*self;
        let (worker, input) = (worker.clone(), WorkerInput::user("late"));
        let late = runtime.submit(move |tx| tx.send_input(&worker, input));
        store.close().unwrap();
        late.wait().unwrap();
        let _ = closed.send(());
    }
}

#[test]
fn waker_that_closes_store_does_not_deadlock() {
    let disk = Disk::default();
    let store = Store::options().open_backend(disk.clone()).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let request = CreateWorkerRequest::default();
    let worker = runtime.create_worker(request).unwrap().worker_ref;
    disk.slow_syncs(Duration::from_millis(20));
    let (closed, is_closed) = channel();
    let closes = Closes(runtime.clone(), store, worker.clone(), closed);
    let waker = Waker::from(Arc::new(closes));
    let mut first = runtime.submit(move |tx| tx.send_input(&worker, WorkerInput::user("first")));
    let polled = Pin::new(&mut first).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    is_closed.recv_timeout(Duration::from_secs(60)).unwrap();
    first.wait().unwrap();
}

#[test]
fn operation_waits_at_most_two_commits() {
    const LATER: usize = 16;
    let (disk, runtime, worker) = on_disk();
    for _ in 0..20 {
        let before = disk.syncs();
        let staged = AtomicUsize::new(0);
        let operation = || {
            runtime.transaction(|tx| {
                staged.fetch_add(1, Ordering::SeqCst);
                tx.send_input(&worker, WorkerInput::user("hello"))
            })
        };
        disk.hold();
        std::thread::scope(|scope| {
            scope.spawn(operation);
            disk.wait_until_held(Duration::MAX);
            // The first commit is held until all other operations were submitted.
            let later: Vec<_> = (0..LATER).map(|_| scope.spawn(operation)).collect();
            while staged.load(Ordering::SeqCst) <= LATER {
                std::thread::yield_now();
            }
            disk.release();
            for operation in later {
                operation.join().unwrap().unwrap();
            }
        });
        let waited = disk.syncs() - before;
        assert!(waited <= 2 * SYNCS, "two commits took {waited} syncs");
    }
}

#[test]
fn nothing_is_acknowledged_before_its_sync() {
    let (disk, runtime, worker) = on_disk();
    disk.slow_syncs(Duration::from_millis(1));
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
                    assert!(disk.syncs() > before, "acknowledged without a commit");
                }
            });
        }
    });
}

#[test]
fn commit_in_progress_is_not_acknowledged() {
    let (disk, runtime, worker) = on_disk();
    disk.hold();
    let mut pending = runtime.submit(move |tx| tx.send_input(&worker, WorkerInput::user("x")));
    disk.wait_until_held(Duration::MAX);
    let mut context = Context::from_waker(Waker::noop());
    let polled = Pin::new(&mut pending).poll(&mut context);
    disk.release();
    assert!(
        polled.is_pending(),
        "its sync is still under way: {polled:?}"
    );
    pending.wait().unwrap();
}

#[test]
fn failed_commit_is_uncertain_and_ends_later_ones() {
    let (disk, runtime, worker) = on_disk();
    break_syncs(&disk);
    let failed = say(&runtime, &worker, "on its way");
    assert!(
        matches!(failed, Err(RuntimeError::CommitUncertain { .. })),
        "{failed:?}"
    );
    disk.set_fault(None);
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
    let store = Store::options().open_backend(disk).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let there = all_entries(&runtime, &worker).len();
    assert!(there <= 1, "wholly there or not at all");
    say(&runtime, &worker, "works again").unwrap();
    assert_eq!(all_entries(&runtime, &worker).len(), there + 1);
}

#[test]
fn failed_submission_reports_to_wait_and_await() {
    let (disk, runtime, worker) = on_disk();
    disk.slow_syncs(Duration::from_millis(20));
    let submit = || {
        let worker = worker.clone();
        runtime.submit(move |tx| tx.send_input(&worker, WorkerInput::user("x")))
    };
    break_syncs(&disk);
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
fn large_operation_does_not_block_the_queue() {
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

/// Undoing an operation after a failed access fails too: that error must not replace the operation's own.
#[test]
fn undoing_hides_no_error_of_an_operation() {
    for sharing in [Sharing::OneWriter, Sharing::ManyWriters] {
        let disk = Disk::default();
        let options = Store::options().sharing(sharing).cache_bytes(0);
        let store = options.open_backend(disk.clone()).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let failed = runtime.transaction(|tx| {
            disk.set_fault(Some(Fault {
                kind: FaultKind::Read,
                after: 0,
                errors: Errors::only(EIO, true),
            }));
            tx.summary()
        });
        match failed {
            Err(RuntimeError::StoreIo { source, .. }) => {
                assert_eq!(source.raw_os_error(), Some(EIO), "{sharing:?}");
            }
            other => panic!("{sharing:?}: {other:?}"),
        }
    }
}
