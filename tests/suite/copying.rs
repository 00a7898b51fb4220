//! Copies of stores to other stores, of any engine. What needs a file is in `copying_in_files`.

use crate::hosts::{HIGHEST, REPOSITORY, fresh};
use crate::support::{
    all_entries, bulk, event, named, new_worker, runtime_id, runtime_snapshot, say, scratch,
};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::{CompareOptions, compare_stores};
use redb_runtime_store::store::{CopyOptions, CopyOutcome, CopyReport};
use redb_runtime_store::{RuntimeError, Store};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A copy of the golden store, which has rows of every kind.
pub(crate) fn golden() -> (TempDir, Store) {
    let (directory, path) = scratch();
    let fixture = Path::new(REPOSITORY).join("tests/fixtures/schema-2.redb");
    fs::copy(fixture, &path).unwrap();
    (directory, Store::open(&path).unwrap())
}

pub(crate) fn copied(from: &Store, to: &Store) -> CopyReport {
    from.copy_to(to, &CopyOptions::new()).unwrap()
}

/// Whether a copy would find each row of `from` in `to`, and what belongs to no runtime.
pub(crate) fn has_all(to: &Store, from: &Store) -> bool {
    match from.check_copy(Some(to), &CopyOptions::new()) {
        Ok(report) => {
            let same = report.count(CopyOutcome::Same);
            same == report.runtimes.len() && report.files == 0 && report.import_records == 0
        }
        Err(RuntimeError::CopyConflict { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn copy_has_every_row_there_and_back() {
    let (_directory, store) = golden();
    let (there, back) = (fresh(), Store::in_memory().unwrap());
    let report = copied(&store, &there);
    assert_eq!(report.count(CopyOutcome::Copied), report.runtimes.len());
    assert!(has_all(&there, &store));
    copied(&there, &back);
    assert!(has_all(&back, &store));
    let comparison = compare_stores(&store, &there, CompareOptions::new()).unwrap();
    assert!(comparison.is_same(), "{comparison:?}");
    assert_eq!((comparison.only_bytes, comparison.import_records), (0, 0));
    let sum = |of: fn(&redb_runtime_store::store::RuntimeCopy) -> u64| -> u64 {
        report.runtimes.iter().map(of).sum()
    };
    assert_eq!(sum(|one| one.workers), comparison.workers);
    assert_eq!(sum(|one| one.events), comparison.events);
    assert_eq!(
        sum(|one| one.transcript_entries),
        comparison.transcript_entries
    );
    assert_eq!(sum(|one| one.diagnostics), comparison.diagnostics);
    assert!(comparison.files > 0 && comparison.workers > 0);
}

#[test]
fn repeated_copy_writes_nothing() {
    let (_directory, store) = golden();
    let there = fresh();
    let first = copied(&store, &there);
    let commits = there.metrics().commits;
    let again = copied(&store, &there);
    assert_eq!(again.count(CopyOutcome::Same), first.runtimes.len());
    assert_eq!((again.files, again.import_records), (0, 0));
    assert_eq!(there.metrics().commits, commits);
}

#[test]
fn copy_goes_on_as_the_store_would() {
    let store = Store::in_memory().unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    let input = || WorkerInput::user("hello");
    let sent = runtime.send_input_once(&worker, "key", input()).unwrap();
    let gone = new_worker(&runtime);
    runtime.stop_worker(&gone, None).unwrap();
    runtime.delete_worker(&gone).unwrap();
    let there = fresh();
    copied(&store, &there);
    let copy = there.runtime(named("r")).unwrap();
    // The key of the input, the next ids, and the id of the deleted worker.
    assert_eq!(copy.send_input_once(&worker, "key", input()).unwrap(), sent);
    let now = |runtime: &redb_runtime_store::Runtime| runtime.event_cursor_now().unwrap();
    assert_eq!(now(&copy), now(&runtime));
    assert_eq!(new_worker(&copy), new_worker(&runtime));
    assert_eq!(
        say(&copy, &worker, "on").unwrap(),
        say(&runtime, &worker, "on").unwrap()
    );
    assert_eq!(all_entries(&copy, &worker), all_entries(&runtime, &worker));
}

/// A store with the runtimes `a` and `b`, of which `there` has both, and `b` with one more entry.
fn differing(there: &Store) -> Store {
    let store = Store::in_memory().unwrap();
    for id in ["a", "b"] {
        let runtime = store.runtime(named(id)).unwrap();
        let worker = new_worker(&runtime);
        say(&runtime, &worker, "hello").unwrap();
    }
    copied(&store, there);
    let changed = there.runtime(named("b")).unwrap();
    let worker = changed.list_workers().unwrap().swap_remove(0).worker_ref;
    say(&changed, &worker, "more").unwrap();
    store
}

#[test]
fn other_content_is_a_conflict_and_changes_nothing() {
    let there = fresh();
    let store = differing(&there);
    store.runtime(named("c")).unwrap();
    for attempt in [
        store.copy_to(&there, &CopyOptions::new()),
        store.check_copy(Some(&there), &CopyOptions::new()),
    ] {
        match attempt {
            Err(RuntimeError::CopyConflict { runtimes, .. }) => {
                assert_eq!(runtimes, [runtime_id("b")]);
            }
            other => panic!("{other:?}"),
        }
    }
    let ids = there.snapshot().unwrap().runtime_ids().unwrap();
    assert_eq!(ids, ["a", "b"].map(runtime_id));
    // Others can be copied.
    let only = CopyOptions::new().runtimes([runtime_id("c")]);
    let report = store.copy_to(&there, &only).unwrap();
    assert_eq!(report.count(CopyOutcome::Copied), 1);
}

#[test]
fn replaced_runtime_is_the_copied_one() {
    let there = fresh();
    let store = differing(&there);
    let replace = CopyOptions::new().replace(true);
    let report = store.copy_to(&there, &replace).unwrap();
    let outcomes = report.runtimes.iter().map(|runtime| runtime.outcome);
    assert_eq!(
        outcomes.collect::<Vec<_>>(),
        [CopyOutcome::Same, CopyOutcome::Replaced]
    );
    assert!(has_all(&there, &store));
}

#[test]
fn pin_alone_is_other_content() {
    let (_directory, store) = golden();
    let there = fresh();
    copied(&store, &there);
    for id in store.snapshot().unwrap().runtime_ids().unwrap() {
        let only = CopyOptions::new().runtimes([id.clone()]);
        let runtime = there.runtime(named(id.as_str())).unwrap();
        let Some(worker) = runtime.list_workers().unwrap().pop() else {
            continue;
        };
        let is_pinned = store.snapshot().unwrap().is_pinned(&worker.worker_ref);
        let set = |pin| runtime.set_pinned(&worker.worker_ref, pin).unwrap();
        set(!is_pinned.unwrap());
        let refused = store.check_copy(Some(&there), &only);
        assert!(
            matches!(refused, Err(RuntimeError::CopyConflict { .. })),
            "{id}"
        );
    }
}

#[test]
fn number_above_the_highest_is_refused_before_the_first_row() {
    if HIGHEST == u64::MAX {
        return;
    }
    let store = Store::in_memory().unwrap();
    store.runtime(named("a")).unwrap();
    let row = runtime_snapshot("b", u64::MAX);
    let events = [event(u64::MAX - 1, "far away")];
    bulk(&store, |load| {
        for event in events.clone() {
            load.append_event(&runtime_id("b"), event.into())?;
        }
        load.put_runtime(row.clone().into())
    });
    let there = fresh();
    match store.copy_to(&there, &CopyOptions::new()) {
        Err(RuntimeError::InvalidRequest(why)) => assert!(why.contains("above"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(there.runtimes().unwrap().is_empty());
}

#[test]
fn unknown_runtime_is_refused() {
    let (store, there) = (Store::in_memory().unwrap(), fresh());
    let options = CopyOptions::new().runtimes([runtime_id("x")]);
    let error = store.copy_to(&there, &options).unwrap_err();
    assert!(
        matches!(error, RuntimeError::RuntimeNotFound { .. }),
        "{error}"
    );
}
