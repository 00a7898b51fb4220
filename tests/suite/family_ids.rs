//! Ids that are longer than a key of a server, and that begin alike: they work everywhere, in the order of their texts.

use crate::copying::{copied, has_all};
use crate::deleting::assert_sound;
use crate::hosts::fresh;
use crate::searching::all;
use crate::support::{
    all_entries, all_events, assert_refused, bulk, named, runtime_id, runtime_snapshot, say,
    worker_ref, worker_snapshot,
};
use redb_runtime_store::identity::{MAX_ID_BYTES, RuntimeId, WorkerRef};
use redb_runtime_store::layout::{CompareOptions, compare_stores};
use redb_runtime_store::search::{Search, SearchRow};
use redb_runtime_store::store::DeleteRuntimeOptions;
use redb_runtime_store::{RuntimeError, Store};
use std::collections::BTreeSet;
use torture::rng::Rng;

/// The most bytes of an id that is its own key on a server.
const KEY: usize = 1024;

/// An id that no compression makes shorter.
fn noise(length: usize) -> String {
    Rng::new(1).text(length)
}

/// Ids in their order: short ones, and several that have their first bytes in common, as a server's keys end within them.
fn ids() -> BTreeSet<String> {
    let base = noise(KEY);
    let cut = format!("{}é", &base[1..]);
    let tails = ["", "\0", "a", "ab", "b", "\u{7f}", "é", "\u{10ffff}"];
    let long = tails.into_iter().map(|tail| format!("{base}{tail}"));
    let mut ids: BTreeSet<String> = long.collect();
    ids.extend(["a", "m", "n", "\u{10ffff}"].map(str::to_owned));
    ids.extend([format!("{cut}y"), format!("{cut}x"), cut]);
    ids.extend(["x".repeat(KEY), "x".repeat(KEY + 1), noise(MAX_ID_BYTES)]);
    ids
}

/// Puts a runtime with a worker of each id in `store`.
fn fill(store: &Store, runtime: &str) {
    bulk(store, |load| {
        for id in ids() {
            load.put_worker(worker_snapshot(&worker_ref(runtime, &id), 1).into())?;
        }
        load.put_runtime(runtime_snapshot(runtime, 1).into())
    });
}

/// The runtimes and workers of the rows that `search` finds, in the order of the store.
fn owners(
    store: &Store,
    search: Search,
    newest_first: bool,
) -> Vec<(RuntimeId, Option<WorkerRef>)> {
    let found = all(
        &store.snapshot().unwrap(),
        &search.newest_first(newest_first),
    );
    let found = found.into_iter().map(|found| match found.row {
        SearchRow::Event { cursor, event, .. } => (cursor.runtime_id, event.worker_ref),
        SearchRow::Entry { entry, .. } => {
            (entry.worker_ref.runtime_id.clone(), Some(entry.worker_ref))
        }
        other => panic!("{other:?}"),
    });
    let mut found: Vec<_> = found.collect();
    if newest_first {
        found.reverse();
    }
    found
}

#[test]
fn runtimes_are_listed_in_the_order_of_ids() {
    let store = fresh();
    for id in ids().iter().rev() {
        let runtime = store.runtime(named(id)).unwrap();
        assert_eq!(all_events(&runtime).len(), 1);
    }
    let listed = store.runtimes().unwrap();
    let listed = listed.into_iter().map(|summary| summary.runtime_id);
    let expected: Vec<_> = ids().iter().map(|id| runtime_id(id)).collect();
    assert_eq!(listed.collect::<Vec<_>>(), expected);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.runtime_ids().unwrap(), expected);
    for newest_first in [false, true] {
        let found = owners(&store, Search::literal(""), newest_first);
        let found = found.into_iter().map(|(runtime, _)| runtime);
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn workers_are_listed_in_the_order_of_ids() {
    let store = fresh();
    let long = "r".repeat(KEY + 9);
    for runtime in ["r", &long] {
        fill(&store, runtime);
        let expected: Vec<_> = ids().iter().map(|id| worker_ref(runtime, id)).collect();
        let handle = store.runtime(named(runtime)).unwrap();
        let listed = handle.list_workers().unwrap();
        let listed = listed.into_iter().map(|worker| worker.worker_ref);
        assert_eq!(listed.collect::<Vec<_>>(), expected);
        for worker in &expected {
            say(&handle, worker, "hello").unwrap();
            assert_eq!(all_entries(&handle, worker).len(), 1);
        }
        for newest_first in [false, true] {
            let search = Search::literal("").entries_only();
            let found = owners(&store, search.runtime(runtime_id(runtime)), newest_first);
            let found = found.into_iter().filter_map(|(_, worker)| worker);
            assert_eq!(found.collect::<Vec<_>>(), expected);
        }
    }
    assert_sound(&store);
}

#[test]
fn deleted_long_ids_leave_their_like() {
    let store = fresh();
    let base = noise(KEY);
    let long = format!("{base}a");
    for runtime in [&long, &format!("{base}b")] {
        fill(&store, runtime);
        let handle = store.runtime(named(runtime)).unwrap();
        let [gone, left] = ["a", "b"].map(|tail| worker_ref(runtime, &format!("{base}{tail}")));
        for worker in [&gone, &left] {
            say(&handle, worker, "hello").unwrap();
            handle.stop_worker(worker, None).unwrap();
        }
        handle.delete_worker(&gone).unwrap();
        assert_refused!(
            handle.worker_detail(&gone),
            RuntimeError::WorkerNotFound { .. }
        );
        assert_eq!(all_entries(&handle, &left).len(), 1);
        assert_eq!(handle.list_workers().unwrap().len(), ids().len() - 1);
        // The id is never given again.
        let again = store.bulk_load(|load| load.put_worker(worker_snapshot(&gone, 1).into()));
        assert!(again.is_err(), "{again:?}");
    }
    let options = DeleteRuntimeOptions::new().even_if_running(true);
    store
        .delete_runtime_with(&runtime_id(&long), &options)
        .unwrap();
    let left = store.snapshot().unwrap().runtime_ids().unwrap();
    assert_eq!(left, [runtime_id(&format!("{base}b"))]);
    assert_sound(&store);
    // An id of a deleted runtime can be given again.
    let again = store.runtime(named(&long)).unwrap();
    assert_eq!(again.list_workers().unwrap(), []);
}

#[test]
fn stores_with_long_ids_copy_there_and_back() {
    let store = Store::in_memory().unwrap();
    let base = noise(KEY);
    for runtime in ["r", &base, &format!("{base}b"), &format!("{base}a")] {
        fill(&store, runtime);
        let handle = store.runtime(named(runtime)).unwrap();
        for id in ids() {
            say(&handle, &worker_ref(runtime, &id), "hello").unwrap();
        }
    }
    let (there, back) = (fresh(), Store::in_memory().unwrap());
    copied(&store, &there);
    assert!(has_all(&there, &store));
    copied(&there, &back);
    assert!(has_all(&back, &store));
    let comparison = compare_stores(&store, &there, CompareOptions::new()).unwrap();
    assert!(comparison.is_same(), "{comparison:?}");
    assert_sound(&there);
}

#[test]
fn long_ids_of_one_commit_are_all_stored() {
    let store = fresh();
    let id = noise(KEY + 1);
    store.runtime(named(&id)).unwrap();
    let own_logic = store.runtime_store(&runtime_id(&id)).unwrap();
    own_logic
        .commit(|tx| {
            for of in ids() {
                tx.write_worker_snapshot(&worker_snapshot(&worker_ref(&id, &of), 1))?;
            }
            Ok::<_, RuntimeError>(())
        })
        .unwrap();
    let listed = store.runtime(named(&id)).unwrap().list_workers().unwrap();
    assert_eq!(listed.len(), ids().len());
}
