//! Limits that a host sets, and the counts of commits.

use crate::support::{named, new_worker, say, scratch};
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::store::CommitSyncs;
use redb_runtime_store::{Runtime, RuntimeError, Store};

#[test]
fn entry_over_the_limit_is_refused_before_anything_is_written() {
    let (_directory, path) = scratch();
    let store = Store::options().max_entry_bytes(10).open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    say(&runtime, &worker, "0123456789").unwrap();
    let events = runtime.event_cursor_now().unwrap();
    let refused = [
        runtime.send_input(&worker, WorkerInput::user("0123456789a")),
        runtime.append_reply(&worker, "0123456789a"),
        runtime.append_reply_with(&worker, "0123", Attributes::new().with("a", 1).unwrap()),
    ];
    for refused in refused {
        match refused {
            Err(RuntimeError::EntryTooLarge { bytes: 11, max: 10 }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(runtime.event_cursor_now().unwrap(), events);
}

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
fn metrics_count_commits_operations_and_syncs() {
    for (syncs, each) in [(CommitSyncs::One, 1), (CommitSyncs::Two, 2)] {
        let (_directory, path) = scratch();
        let store = Store::options().commit_syncs(syncs).open(&path).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let worker = new_worker(&runtime);
        let before = store.metrics();
        for _ in 0..10 {
            say(&runtime, &worker, "hello").unwrap();
        }
        runtime
            .transaction(|transaction| transaction.send_input(&worker, WorkerInput::user("x")))
            .unwrap();
        runtime
            .send_input(&worker, WorkerInput::user(" "))
            .unwrap_err();
        let after = store.metrics();
        assert_eq!(after.commits - before.commits, 11, "{syncs:?}");
        assert_eq!(after.operations - before.operations, 11);
        assert_eq!(after.syncs - before.syncs, 11 * each, "{syncs:?}");
        assert_eq!(after.failures, 0);
        assert!(after.bytes > before.bytes);
        assert_eq!(after.file_bytes, std::fs::metadata(&path).unwrap().len());
        let timed: u64 = after.commit_times.iter().map(|class| class.commits).sum();
        assert_eq!(timed, after.commits);
    }
    let runtime = Runtime::new_memory();
    new_worker(&runtime);
    let metrics = runtime.store().metrics();
    assert_eq!(
        (metrics.commits, metrics.syncs, metrics.file_bytes),
        (2, 0, 0)
    );
}
