//! Several runtimes at a time, which two hosts lock in opposite orders.

use crate::hosts::{assert_refused, named, options, said, say};
use postgres_tests::cluster::Cluster;
use redb_runtime_store::identity::{RuntimeId, WorkerRef};
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::store::PersistedRuntimeSnapshot;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How many deadlocks the server has ended.
fn deadlocks(cluster: &Cluster) -> usize {
    let log = cluster.primary().ask("SHOW data_directory");
    let log = std::fs::read_to_string(format!("{log}/../log")).unwrap();
    log.matches("deadlock detected").count()
}

/// The operations of many threads share batches, each of which locks the runtimes in the order in which they come.
#[test]
fn batches_of_two_hosts_never_deadlock() {
    const RUNTIMES: usize = 4;
    const ROUNDS: usize = 20;
    let cluster = Cluster::single();
    let open = |url: &str| {
        let store = Store::connect(options(url, "s")).unwrap();
        let runtimes = (0..RUNTIMES).map(|id| store.runtime(named(&id.to_string())).unwrap());
        runtimes.collect::<Vec<Runtime>>()
    };
    let (one, other) = (open(&cluster.url()), open(&cluster.url()));
    let workers: Vec<WorkerRef> = one
        .iter()
        .map(|runtime| {
            runtime
                .create_worker(Default::default())
                .unwrap()
                .worker_ref
        })
        .collect();
    let runs = AtomicUsize::new(0);
    thread::scope(|scope| {
        for (host, is_reversed) in [(&one, false), (&other, true)] {
            for first in 0..RUNTIMES {
                let (workers, runs) = (&workers, &runs);
                scope.spawn(move || {
                    for round in 0..ROUNDS * RUNTIMES {
                        let step = (first + round) % RUNTIMES;
                        let at = if is_reversed {
                            RUNTIMES - 1 - step
                        } else {
                            step
                        };
                        host[at]
                            .transaction(|transaction| {
                                runs.fetch_add(1, Ordering::Relaxed);
                                transaction.append_reply(&workers[at], "reply")
                            })
                            .unwrap();
                    }
                });
            }
        }
    });
    let sent = 2 * RUNTIMES * RUNTIMES * ROUNDS;
    assert_eq!(runs.into_inner(), sent);
    let counts = workers.iter().zip(&one).map(|(worker, runtime)| {
        let detail = runtime.worker_detail(worker).unwrap();
        detail.transcript_len
    });
    assert_eq!(counts.sum::<usize>(), sent);
    assert_eq!(deadlocks(&cluster), 0);
}

/// Replaces a runtime by one that has an event.
fn put(load: &mut redb_runtime_store::store::BulkLoad<'_>, id: &str) -> Result<(), RuntimeError> {
    let id = RuntimeId::new(id).unwrap();
    let event = RuntimeEvent {
        id: 1,
        worker_ref: None,
        kind: RuntimeEventKind::RuntimeStarted,
        message: "loaded".to_owned(),
    };
    let mut snapshot = PersistedRuntimeSnapshot::new(id.clone());
    snapshot.next_event_id = 2;
    load.remove_runtime(&id)?;
    load.append_event(&id, event.into())?;
    load.put_runtime(snapshot.into())
}

/// A load has written when it locks the second runtime, so it cannot begin again.
#[test]
fn loads_in_opposite_orders_end_one_of_them() {
    let cluster = Cluster::single();
    let open = || Store::connect(options(&cluster.url(), "s")).unwrap();
    let (one, other) = (open(), open());
    // So that their rows of locks are there.
    for id in ["a", "b"] {
        one.runtime(named(id)).unwrap();
    }
    let both_have_one = Barrier::new(2);
    let runs = AtomicUsize::new(0);
    let load = |store: &Store, order: [&str; 2]| {
        store.bulk_load(|load| {
            runs.fetch_add(1, Ordering::Relaxed);
            put(load, order[0])?;
            both_have_one.wait();
            put(load, order[1])
        })
    };
    let began = Instant::now();
    let answers = thread::scope(|scope| {
        let answers = [(&one, ["b", "a"]), (&other, ["a", "b"])];
        let answers = answers.map(|(store, order)| scope.spawn(move || load(store, order)));
        answers.map(|answer| answer.join().unwrap())
    });
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "after the limit for locks"
    );
    let [failed, done] = match answers {
        [Ok(()), other] => [other, Ok(())],
        [other, done] => [other, done],
    };
    done.unwrap();
    assert_refused!(failed, RuntimeError::StoreConflict { .. });
    assert_eq!(runs.into_inner(), 2);
    assert_eq!(deadlocks(&cluster), 1);
    // The one that lost has left nothing, and both stores go on.
    assert_eq!(one.runtimes().unwrap().len(), 2);
    for store in [&one, &other] {
        let runtime = store.runtime(named("a")).unwrap();
        let worker = runtime.create_worker(Default::default()).unwrap();
        say(&runtime, &worker.worker_ref, "hello").unwrap();
        assert_eq!(said(&runtime, &worker.worker_ref), ["hello"]);
    }
}
