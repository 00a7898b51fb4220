//! The diagnostics of a host that keeps its own list, after the store has deleted a worker.

use crate::host_store::{below, changed, diagnostic};
use crate::support::{Host, assert_refused, on_both};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::store::PersistedRuntimeSnapshot;
use redb_runtime_store::{RedbRuntimeStore, RuntimeError};

/// A store with a deleted worker, whose diagnostics had the ids 2 and 4, and the list of a host that still has them.
fn after_deletion(host: &Host) -> (RedbRuntimeStore, PersistedRuntimeSnapshot) {
    let store = below(host);
    let [gone, stays] = [(); 2].map(|()| {
        let worker = host.runtime.create_worker(CreateWorkerRequest::default());
        worker.unwrap().worker_ref
    });
    let of = |worker: &WorkerRef| Some(worker.worker_id.to_string());
    let (gone_id, stays_id) = (of(&gone), of(&stays));
    let mut known = changed(&store, |state| {
        // A new worker has a diagnostic of its own.
        let next = state.next_diagnostic_id;
        let workers = [&gone_id, &stays_id, &gone_id];
        let added = (next..).zip(workers);
        let added = added.map(|(id, worker)| diagnostic(id, worker.as_deref()));
        state.diagnostics.extend(added);
        state.next_diagnostic_id = next + 3;
    });
    store
        .commit(|tx| tx.write_runtime_snapshot(&known))
        .unwrap();
    host.runtime.stop_worker(&gone, None).unwrap();
    host.runtime.delete_worker(&gone).unwrap();
    known.next_event_id = store.load_runtime_state().unwrap().runtime.next_event_id;
    (store, known)
}

#[test]
fn old_list_brings_no_deleted_diagnostics_back() {
    on_both(|host| {
        let (store, mut known) = after_deletion(host);
        let left = store.load_runtime_state().unwrap().runtime.diagnostics;
        assert!(left.len() < known.diagnostics.len());
        store
            .commit(|tx| tx.write_runtime_snapshot(&known))
            .unwrap();
        assert_eq!(host.runtime.diagnostics().unwrap(), left);
        let next = known.next_diagnostic_id;
        known.diagnostics.push(diagnostic(next, None));
        known.next_diagnostic_id += 1;
        store
            .commit(|tx| tx.write_runtime_snapshot(&known))
            .unwrap();
        let all = host.runtime.diagnostics().unwrap();
        assert_eq!(all[..left.len()], left);
        assert_eq!(all[left.len()..], [diagnostic(next, None)]);
        assert_eq!(host.runtime.summary().unwrap().diagnostic_count, all.len());
    });
}

#[test]
fn diagnostic_ids_of_deleted_workers_are_not_reused() {
    on_both(|host| {
        let (store, known) = after_deletion(host);
        let used = known.next_diagnostic_id - 1;
        let mut again = store.load_runtime_state().unwrap().runtime;
        again.diagnostics.push(diagnostic(used, None));
        let refused = store.commit(|tx| tx.write_runtime_snapshot(&again));
        assert_refused!(refused, RuntimeError::InvalidRequest(_));
        // Also not after a host has written an older counter.
        again.diagnostics.pop();
        again.next_diagnostic_id = used;
        store
            .commit(|tx| tx.write_runtime_snapshot(&again))
            .unwrap();
        let stored = store.load_runtime_state().unwrap().runtime;
        assert_eq!(stored.next_diagnostic_id, used + 1);
    });
}
