//! What a prune of a store in a file frees.

use crate::retention::{assert_sound, texts, worker};
use crate::support::{named, scratch};
use redb_runtime_store::Store;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::retention::{PruneOptions, Retention};

#[test]
fn dry_run_says_what_a_compaction_frees() {
    let (directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let talks = worker(&runtime);
    let text = "x".repeat(100);
    for _ in 0..10 {
        let said = runtime.transaction(|tx| {
            (0..2_000).try_for_each(|_| tx.append_reply(&talks, text.clone()).map(drop))
        });
        said.unwrap();
    }
    store.compact().unwrap();
    let bytes = || std::fs::metadata(&path).unwrap().len();
    let (before, policy) = (bytes(), Retention::new().keep_entries(2_000));
    let planned = runtime.prune(&policy, PruneOptions::new().dry_run(true));
    let frees = planned.unwrap().compacting_frees_bytes.unwrap();
    let report = runtime.prune(&policy, PruneOptions::new()).unwrap();
    assert_eq!(report.compacting_frees_bytes, Some(frees));
    store.compact().unwrap();
    let freed = before - bytes();
    assert!(freed > 1_500_000, "{freed}");
    assert!(
        frees.abs_diff(freed) < before / 5,
        "said {frees}, freed {freed}"
    );
    drop(directory);
}

#[test]
fn file_does_not_grow_in_rounds_of_writing_and_pruning() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let talks = worker(&runtime);
    let mut sizes = Vec::new();
    for _ in 0..200 {
        runtime
            .transaction(|tx| {
                for _ in 0..100 {
                    let text = "x".repeat(1_000);
                    tx.send_input(&talks, WorkerInput::user(text))?;
                }
                Ok(())
            })
            .unwrap();
        let policy = Retention::new().keep_events(100).keep_entries(100);
        runtime.prune(&policy, PruneOptions::new()).unwrap();
        sizes.push(std::fs::metadata(&path).unwrap().len());
    }
    // In the first rounds the records of the prunes come to their number.
    assert_eq!(sizes[199], sizes[99], "{sizes:?}");
    assert_eq!(texts(&runtime, &talks).len(), 100);
    assert_sound(&store);
}
