//! Many threads on one runtime, and a store that closes while they work.

use crate::hosts::HIGHEST;
use crate::support::{
    Host, Kept, all_entries, assert_refused, assert_whole, cursor, entry, event, fresh, named,
    on_both, say, worker_ref, worker_snapshot,
};
use redb_runtime_store::catalog::{CapabilityRequest, CreateWorkerRequest};
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

const THREADS: usize = 8;

/// The inputs of each thread to worker 1, in order.
fn text(thread: usize, number: usize) -> String {
    format!("{thread} {number}")
}

/// The numbers of each thread, in the order in which they stand in the transcript.
fn by_thread(runtime: &Runtime) -> BTreeMap<usize, Vec<usize>> {
    let mut sent: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for entry in all_entries(runtime, &worker_ref("r", "worker-00000001")) {
        let (thread, number) = entry.content.split_once(' ').unwrap();
        let numbers = sent.entry(thread.parse().unwrap()).or_default();
        numbers.push(number.parse().unwrap());
    }
    sent
}

/// Operations that fail or panic after they staged something.
fn misbehave(runtime: &Runtime, number: usize) {
    let blank = CreateWorkerRequest {
        requested_capabilities: vec![CapabilityRequest::named(" ")],
        ..CreateWorkerRequest::default()
    };
    assert!(runtime.create_worker(blank).is_err());
    let id = runtime.runtime_id().unwrap();
    let store = runtime.store().runtime_store(&id).unwrap();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        store.commit(|transaction| -> Result<(), RuntimeError> {
            transaction.append_event(&event(HIGHEST - 1, "never"))?;
            let worker = worker_ref("r", "never");
            transaction.write_worker_snapshot(&worker_snapshot(&worker, 1))?;
            transaction.append_transcript_entry(&entry(&worker, 1, "never"))?;
            if number.is_multiple_of(2) {
                panic!("in the middle of an operation");
            }
            Err(RuntimeError::InvalidRequest("in the middle".to_owned()))
        })
    }));
    assert_eq!(outcome.is_err(), number.is_multiple_of(2));
    assert!(!matches!(outcome, Ok(Ok(()))));
}

#[test]
fn failing_operations_do_not_disturb_others() {
    on_both(|host| {
        host.runtime
            .create_worker(CreateWorkerRequest::default())
            .unwrap();
        let shared = worker_ref("r", "worker-00000001");
        let each = if host.kept == Kept::LASTING { 15 } else { 40 };
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (runtime, shared, start) = (host.runtime.clone(), &shared, &start);
                scope.spawn(move || {
                    start.wait();
                    for number in 0..each {
                        say(&runtime, shared, &text(thread, number)).unwrap();
                        if number % 3 == 0 {
                            let own = runtime.create_worker(CreateWorkerRequest::default());
                            let own = own.unwrap().worker_ref;
                            say(&runtime, &own, "own").unwrap();
                            runtime.cancel_worker(&own, None).unwrap();
                            say(&runtime, &own, "too late").unwrap_err();
                        }
                        if number % 5 == 0 {
                            misbehave(&runtime, number);
                        }
                    }
                });
            }
        });
        for _ in 0..2 {
            assert_whole(&host.runtime);
            let sent = by_thread(&host.runtime);
            assert_eq!(sent.len(), THREADS);
            for (thread, numbers) in sent {
                assert_eq!(numbers, (0..each).collect::<Vec<_>>(), "thread {thread}");
            }
            let never = host.runtime.worker_detail(&worker_ref("r", "never"));
            assert_refused!(never, RuntimeError::WorkerNotFound { .. });
            host.reopen();
        }
    });
}

#[test]
fn acknowledged_change_is_seen_by_later_reads() {
    on_both(|host| {
        let worker = host
            .runtime
            .create_worker(CreateWorkerRequest::default())
            .unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (runtime, worker) = (host.runtime.clone(), &worker.worker_ref);
                scope.spawn(move || {
                    for number in 0..25 {
                        let event = say(&runtime, worker, &text(thread, number)).unwrap();
                        assert!(runtime.event_cursor_now().unwrap().next_event_id > event);
                        let from = cursor("r", event);
                        let batch = runtime.read_events(&from, 1).unwrap();
                        assert_eq!(batch.events[0].id, event);
                    }
                });
            }
        });
    });
}

#[test]
fn acknowledged_before_close_survives_reopening() {
    for round in 0..5 {
        let mut host = Host::new(Kept::LASTING, named("r"));
        host.runtime
            .create_worker(CreateWorkerRequest::default())
            .unwrap();
        let worker = worker_ref("r", "worker-00000001");
        let done = AtomicUsize::new(0);
        let acknowledged: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (runtime, worker, done) = (host.runtime.clone(), &worker, &done);
                    scope.spawn(move || {
                        for number in 0.. {
                            match say(&runtime, worker, &text(thread, number)) {
                                Ok(_) => done.fetch_add(1, Ordering::Relaxed),
                                Err(RuntimeError::StoreClosed { .. }) => return number,
                                Err(other) => panic!("{other:?}"),
                            };
                        }
                        unreachable!()
                    })
                })
                .collect();
            while done.load(Ordering::Relaxed) < 10 * round {
                std::thread::yield_now();
            }
            host.runtime.store().close().unwrap();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        host.reopen();
        assert_whole(&host.runtime);
        let sent = by_thread(&host.runtime);
        for (thread, count) in acknowledged.into_iter().enumerate() {
            let numbers = sent.get(&thread).cloned().unwrap_or_default();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "thread {thread}");
        }
    }
}

#[test]
fn closed_store_refuses_every_handle() {
    on_both(|host| {
        let worker = host
            .runtime
            .create_worker(CreateWorkerRequest::default())
            .unwrap();
        let worker = worker.worker_ref;
        let (clone, store) = (host.runtime.clone(), host.runtime.store().clone());
        let id = clone.runtime_id().unwrap();
        let below = store.runtime_store(&id).unwrap();
        store.close().unwrap();
        store.close().unwrap();
        macro_rules! assert_closed {
            ($result:expr) => {
                assert_refused!($result, RuntimeError::StoreClosed { .. })
            };
        }
        assert_closed!(clone.summary());
        assert_closed!(say(&clone, &worker, "a"));
        assert_closed!(clone.create_worker(CreateWorkerRequest::default()));
        assert_closed!(clone.stop_runtime());
        assert_closed!(clone.list_workers());
        assert_closed!(store.runtimes());
        assert_closed!(store.snapshot());
        assert_closed!(store.runtime(named("r")));
        assert_closed!(store.runtime(named("new")));
        assert_closed!(store.bulk_load(|_| Ok::<(), RuntimeError>(())));
        assert_closed!(below.load_runtime_state());
        assert_closed!(below.commit(|_| Ok(())));
    });
}

#[test]
fn concurrent_requests_create_one_runtime() {
    on_both(|host| {
        let store: &Store = host.runtime.store();
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for number in 0..5 {
                        start.wait();
                        let runtime = store.runtime(named(&format!("new {number}"))).unwrap();
                        runtime
                            .create_worker(CreateWorkerRequest::default())
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(store.runtimes().unwrap().len(), 6);
        for number in 0..5 {
            let runtime = store.runtime(named(&format!("new {number}"))).unwrap();
            assert_eq!(runtime.list_workers().unwrap().len(), THREADS);
            assert_whole(&runtime);
        }
    });
}

#[test]
fn concurrent_anonymous_requests_create_one_runtime() {
    for _ in 0..5 {
        let store = fresh();
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    store.runtime(RuntimeOptions::default()).unwrap();
                });
            }
        });
        assert_eq!(store.runtimes().unwrap().len(), 1);
    }
}
