//! Ids that are longer than the limit: every operation that takes one rejects it.

use crate::support::{
    assert_refused, cursor, entry, event, fresh, named, runtime_id, runtime_snapshot, say,
    worker_ref, worker_snapshot,
};
use redb_runtime_store::RuntimeError;
use redb_runtime_store::identity::MAX_ID_BYTES;
use redb_runtime_store::interaction::TranscriptQuery;

#[test]
fn worker_refs_over_the_limit_are_rejected() {
    let long = "x".repeat(MAX_ID_BYTES + 1);
    let store = fresh();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = worker_ref("r", &long);
    let mut foreign = worker_ref("r", "w");
    foreign.runtime_id = runtime_id(&long);
    for worker in [&worker, &foreign] {
        assert_refused!(
            runtime.worker_detail(worker),
            RuntimeError::InvalidRequest(_)
        );
        assert_refused!(
            say(&runtime, worker, "hello"),
            RuntimeError::InvalidRequest(_)
        );
        assert_refused!(
            runtime.stop_worker(worker, None),
            RuntimeError::InvalidRequest(_)
        );
        assert_refused!(
            runtime.cancel_worker(worker, None),
            RuntimeError::InvalidRequest(_)
        );
        let query = TranscriptQuery::new(0, 1);
        assert_refused!(
            runtime.transcript_projection(worker, query),
            RuntimeError::InvalidRequest(_)
        );
        let snapshot = store.snapshot().unwrap();
        assert_refused!(snapshot.worker(worker), RuntimeError::InvalidRequest(_));
        assert_refused!(
            snapshot.transcript_len(worker),
            RuntimeError::InvalidRequest(_)
        );
        assert_refused!(
            snapshot.transcript(worker, 0).map(|_| ()),
            RuntimeError::InvalidRequest(_)
        );
        let own_logic = store.runtime_store(&runtime_id("r")).unwrap();
        let staged = own_logic.commit(|tx| tx.write_worker_snapshot(&worker_snapshot(worker, 1)));
        assert_refused!(staged, RuntimeError::InvalidRequest(_));
        let loaded = store.bulk_load(|load| load.put_worker(worker_snapshot(worker, 1).into()));
        assert_refused!(loaded, RuntimeError::InvalidRequest(_));
        let said = entry(worker, 1, "hello");
        let loaded = store.bulk_load(|load| load.append_transcript_entry(said.into()));
        assert_refused!(loaded, RuntimeError::InvalidRequest(_));
        let mut event = event(5, "m");
        event.worker_ref = Some(worker.clone());
        let staged = own_logic.commit(|tx| tx.append_event(&event));
        assert_refused!(staged, RuntimeError::InvalidRequest(_));
    }
    let mut about = event(5, "m");
    about.worker_ref = Some(worker);
    let loaded = store.bulk_load(|load| load.append_event(&runtime_id("r"), about.into()));
    assert_refused!(loaded, RuntimeError::InvalidRequest(_));
}

#[test]
fn runtime_ids_over_the_limit_are_rejected() {
    let long = "x".repeat(MAX_ID_BYTES + 1);
    let store = fresh();
    let runtime = store.runtime(named("r")).unwrap();
    assert_refused!(store.runtime(named(&long)), RuntimeError::InvalidRequest(_));
    assert_refused!(
        store.runtime_store(&runtime_id(&long)),
        RuntimeError::InvalidRequest(_)
    );
    let id = runtime_id(&long);
    assert_refused!(
        store.bulk_load(|load| load.put_runtime(runtime_snapshot(&long, 1).into())),
        RuntimeError::InvalidRequest(_)
    );
    assert_refused!(
        store.bulk_load(|load| load.append_event(&id, event(1, "m").into())),
        RuntimeError::InvalidRequest(_)
    );
    assert_refused!(
        store.bulk_load(|load| load.remove_runtime(&id)),
        RuntimeError::InvalidRequest(_)
    );
    let snapshot = store.snapshot().unwrap();
    assert_refused!(snapshot.runtime(&id), RuntimeError::InvalidRequest(_));
    assert_refused!(
        snapshot.events(&id, 0).map(|_| ()),
        RuntimeError::InvalidRequest(_)
    );
    let cursor = cursor(&long, 1);
    assert_refused!(
        runtime.read_events(&cursor, 1),
        RuntimeError::InvalidRequest(_)
    );
    // The longest id works.
    let longest = store.runtime(named(&long[1..])).unwrap();
    assert_eq!(longest.summary().unwrap().runtime_id.as_str(), &long[1..]);
    assert_eq!(store.runtimes().unwrap().len(), 2);
}
