//! Deletions that take several commits, on every engine. What an interrupted one leaves is in `deleting_in_steps`, and for a
//! server in `deletions` of `tests/postgres/doubt`.

use crate::deleting::{
    assert_invalid, assert_no_runtime, assert_sound, long_text, rows_of, stopped_worker,
};
use crate::hosts::{Host, fresh, on_both};
use crate::support::{all_entries, all_events, cursor, named, new_worker, runtime_id, say};
use redb_runtime_store::Runtime;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::store::DeleteRuntimeOptions;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A stopped worker with about 13 MiB, more than three commits remove.
pub(crate) fn large_worker(runtime: &Runtime, mark: &str) -> WorkerRef {
    let worker = new_worker(runtime);
    for _ in 0..11 {
        let said = runtime.transaction(|tx| {
            let input = || WorkerInput::user(long_text(mark));
            (0..6).try_for_each(|_| tx.send_input(&worker, input()).map(drop))
        });
        said.unwrap();
    }
    runtime.stop_worker(&worker, None).unwrap();
    worker
}

#[test]
fn transaction_refuses_more_than_one_commit_removes() {
    let runtime = fresh().runtime(named("r")).unwrap();
    let large = large_worker(&runtime, "large");
    let small = stopped_worker(&runtime, &["small"]);
    runtime
        .transaction(|tx| {
            assert_invalid(tx.delete_worker(&large), "4194304 bytes");
            assert_eq!(tx.worker_detail(&large)?.transcript_len, 66);
            tx.delete_worker(&small).map(drop)
        })
        .unwrap();
    assert_eq!(all_entries(&runtime, &large).len(), 66);
    let given = large.clone();
    let submitted = runtime.submit(move |tx| tx.delete_worker(&given));
    assert_invalid(submitted.wait(), "4194304 bytes");
    assert_sound(runtime.store());
    runtime.delete_worker(&large).unwrap();
    assert_eq!(rows_of(runtime.store(), "transcripts"), 0);
    assert_sound(runtime.store());
}

#[test]
fn deleted_runtime_is_gone_for_every_handle() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let store = runtime.store().clone();
        stopped_worker(&runtime, &["a", "b"]);
        let other = store.runtime(named("r\0")).unwrap();
        stopped_worker(&other, &["kept"]);
        let before = store.snapshot().unwrap();
        let r = runtime_id("r");
        assert_no_runtime(store.delete_runtime(&runtime_id("unknown")));
        assert_invalid(store.delete_runtime(&r), "is running");
        let follower = runtime.follow_events(cursor("r", 1));
        let options = DeleteRuntimeOptions::new().even_if_running(true);
        store.delete_runtime_with(&r, &options).unwrap();
        assert_no_runtime(store.delete_runtime(&r));
        assert_no_runtime(runtime.summary());
        assert_no_runtime(runtime.list_workers());
        assert_no_runtime(runtime.create_worker(CreateWorkerRequest::default()));
        assert_no_runtime(runtime.stop_runtime());
        assert_no_runtime(follower.unwrap().next_batch(std::time::Duration::ZERO));
        assert_eq!(store.runtimes().unwrap().len(), 1);
        assert!(before.has_runtime(&r).unwrap());
        assert_eq!(before.events(&r, 0).unwrap().count(), 5);
        drop(before);
        assert_sound(&store);
        let again = store.runtime(named("r")).unwrap();
        assert_eq!(all_events(&again).len(), 1);
        assert_eq!(new_worker(&again).worker_id.as_str(), "worker-00000001");
        assert_eq!(all_events(&other).len(), 4);
        assert_sound(&store);
    });
}

#[test]
fn creation_waits_for_the_deletion_of_the_same_runtime() {
    let store = fresh();
    let runtime = store.runtime(named("r")).unwrap();
    large_worker(&runtime, "x");
    runtime.stop_runtime().unwrap();
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| store.delete_runtime(&runtime_id("r")));
        while !store.runtimes().unwrap().is_empty() {
            std::thread::yield_now();
        }
        let again = store.runtime(named("r")).unwrap();
        assert_eq!(all_events(&again).len(), 1);
        say(&again, &new_worker(&again), "new").unwrap();
        deleting.join().unwrap().unwrap();
        assert_eq!(rows_of(&store, "transcripts"), 1);
        assert_eq!(all_events(&again).len(), 3);
    });
    assert_sound(&store);
}

#[test]
fn others_work_on_while_a_worker_is_deleted() {
    let store = fresh();
    let runtime = store.runtime(named("r")).unwrap();
    let large = large_worker(&runtime, "x");
    let mine = new_worker(&runtime);
    let (is_deleted, between) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_deleted.load(Ordering::SeqCst) {
                say(&runtime, &mine, "meanwhile").unwrap();
                between.fetch_add(1, Ordering::SeqCst);
            }
        });
        runtime.delete_worker(&large).unwrap();
        is_deleted.store(true, Ordering::SeqCst);
    });
    let said = between.load(Ordering::SeqCst);
    assert_eq!(all_entries(&runtime, &mine).len(), said);
    assert_sound(&store);
}
