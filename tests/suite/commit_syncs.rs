//! How many syncs a commit takes, and the recovery that makes up for the one left out.

use crate::support::{all_events, named, say, scratch};
use redb_runtime_store::Sharing;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::store::{CommitSyncs, FileAccess, Recovery, StoreOptions};
use redb_runtime_store::{Runtime, Store};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The flags in the header of redb, and the one that says that the last commit is durable.
const FLAGS: usize = 9;
const TWO_PHASE: u8 = 4;
const PAGE: usize = 4096;

fn worker(runtime: &Runtime) -> WorkerRef {
    let created = runtime.create_worker(CreateWorkerRequest::default());
    created.unwrap().worker_ref
}

/// How many syncs an input of `bytes` bytes takes.
fn syncs_of_input(options: StoreOptions, bytes: usize) -> usize {
    let (_directory, path) = scratch();
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    let options = options.on_access(move |access| {
        if access == FileAccess::Sync {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
    let runtime = options.open(path).unwrap().runtime(named("r")).unwrap();
    let worker = worker(&runtime);
    // So that the file does not grow in the input that is counted.
    say(&runtime, &worker, &"x".repeat(4 << 20)).unwrap();
    say(&runtime, &worker, "hello").unwrap();
    let before = syncs.load(Ordering::Relaxed);
    say(&runtime, &worker, &"x".repeat(bytes)).unwrap();
    syncs.load(Ordering::Relaxed) - before
}

#[test]
fn small_commit_takes_one_sync() {
    let with = |sharing| Store::options().sharing(sharing);
    for sharing in [Sharing::OneWriter, Sharing::Exclusive] {
        assert_eq!(syncs_of_input(with(sharing), 200), 1, "{sharing:?}");
        let two = with(sharing).commit_syncs(CommitSyncs::Two);
        assert_eq!(syncs_of_input(two, 200), 2, "{sharing:?}");
        assert_eq!(syncs_of_input(with(sharing), 1 << 20), 2, "{sharing:?}");
    }
    assert_eq!(syncs_of_input(with(Sharing::ManyWriters), 200), 2);
}

/// The file at `path` before and after one input, of a store that is open and never closed.
fn around_an_input(path: &Path) -> [Vec<u8>; 2] {
    let runtime = Store::open(path).unwrap().runtime(named("r")).unwrap();
    let worker = worker(&runtime);
    say(&runtime, &worker, "before").unwrap();
    let before = std::fs::read(path).unwrap();
    say(&runtime, &worker, "after").unwrap();
    [before, std::fs::read(path).unwrap()]
}

/// Opens a file with these bytes. Returns the outcome of its recovery and the number of its events.
fn opened(bytes: &[u8]) -> (Option<Recovery>, usize) {
    let (_directory, path) = scratch();
    std::fs::write(&path, bytes).unwrap();
    let read_only = Store::options().read_only(true).recover_in_memory(true);
    let count = |store: &Store| all_events(&store.runtime(named("r")).unwrap()).len();
    let store = read_only.open(&path).unwrap();
    assert_eq!(store.recovery(), None);
    let read = count(&store);
    store.close().unwrap();
    assert_eq!(
        std::fs::read(&path).unwrap(),
        bytes,
        "a reader changes nothing"
    );

    let store = Store::open(&path).unwrap();
    let opened = (store.recovery(), count(&store));
    assert_eq!(read, opened.1, "a reader sees what a repair leaves");
    assert!(store.verify().unwrap().is_clean());
    store.close().unwrap();
    assert_eq!(
        Store::open(&path).unwrap().recovery(),
        None,
        "it was closed"
    );
    opened
}

#[test]
fn recovery_tells_what_became_of_last_commit() {
    let (_directory, path) = scratch();
    let [before, after] = around_an_input(&path);
    let (durable, events) = opened(&after);
    assert_eq!(durable, Some(Recovery::Durable));

    // A power loss before the flag was written.
    let mut unproven = after.clone();
    unproven[FLAGS] &= !TWO_PHASE;
    let (completed, of_completed) = opened(&unproven);
    assert!(
        matches!(completed, Some(Recovery::Completed { pages: 2..20 })),
        "{completed:?}"
    );
    assert_eq!(of_completed, events);

    // The same, and one page was lost.
    let pages = (PAGE..after.len()).step_by(PAGE);
    let written: Vec<usize> = pages
        .filter(|at| before[*at..*at + PAGE] != after[*at..*at + PAGE])
        .collect();
    assert!(written.len() > 2, "{written:?}");
    for at in written {
        let mut lost = unproven.clone();
        lost[at..at + PAGE].copy_from_slice(&before[at..at + PAGE]);
        assert_eq!(
            opened(&lost),
            (Some(Recovery::RolledBack), events - 1),
            "page at {at}"
        );
    }
}
