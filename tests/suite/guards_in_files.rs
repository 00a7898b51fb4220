//! A limit on the size of a file, and the counts of syncs.

use crate::support::{named, new_worker, say, scratch};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::store::CommitSyncs;
use redb_runtime_store::{Runtime, RuntimeError, Store};

fn assert_full<T: std::fmt::Debug>(result: Result<T, RuntimeError>) {
    match result {
        Err(RuntimeError::StoreFull { bytes, max, .. }) => assert!(bytes >= max),
        other => panic!("{other:?}"),
    }
}

#[test]
fn full_store_reads_deletes_and_prunes() {
    let (_directory, path) = scratch();
    let open = |max: u64| -> Runtime {
        let store = Store::options().max_store_bytes(max).open(&path).unwrap();
        store.runtime(named("r")).unwrap()
    };
    let runtime = open(u64::MAX);
    let (worker, other) = (new_worker(&runtime), new_worker(&runtime));
    for _ in 0..300 {
        say(&runtime, &worker, &"x".repeat(2000)).unwrap();
    }
    runtime.store().close().unwrap();
    let runtime = open(std::fs::metadata(&path).unwrap().len());
    let input = || WorkerInput::user("x");
    assert_full(runtime.send_input(&worker, input()));
    assert_full(runtime.append_reply(&worker, "x"));
    assert_full(runtime.fork_worker(&worker, None));
    assert_full(runtime.create_worker(Default::default()));
    let in_transaction =
        runtime.transaction(|transaction| transaction.send_input(&worker, input()));
    assert_full(in_transaction);
    assert_eq!(runtime.worker_detail(&worker).unwrap().transcript_len, 300);
    runtime.stop_worker(&other, None).unwrap();
    runtime.delete_worker(&other).unwrap();
    let policy = Retention::new().keep_entries(10);
    runtime.prune(&policy, PruneOptions::new()).unwrap();
    runtime.store().compact().unwrap();
    // The file is shorter now.
    runtime.send_input(&worker, input()).unwrap();
}

#[test]
fn metrics_count_syncs_and_bytes_of_the_file() {
    for (syncs, each) in [(CommitSyncs::One, 1), (CommitSyncs::Two, 2)] {
        let (_directory, path) = scratch();
        let store = Store::options().commit_syncs(syncs).open(&path).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let worker = new_worker(&runtime);
        let before = store.metrics();
        for _ in 0..10 {
            say(&runtime, &worker, "hello").unwrap();
        }
        let after = store.metrics();
        assert_eq!(after.commits - before.commits, 10, "{syncs:?}");
        assert_eq!(after.syncs - before.syncs, 10 * each, "{syncs:?}");
        assert_eq!(after.file_bytes, std::fs::metadata(&path).unwrap().len());
    }
    let runtime = Runtime::new_memory();
    new_worker(&runtime);
    let metrics = runtime.store().metrics();
    assert_eq!((metrics.syncs, metrics.file_bytes), (0, 0));
}
