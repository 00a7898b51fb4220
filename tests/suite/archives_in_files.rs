//! Archives whose update was killed.

use crate::archives::{archived, compared, prune, talk, update, update_with_gap, worker};
use crate::archives_removed::all_ended;
use crate::layout_support::{copy, exported, strict, tree, worker_dir};
use crate::sharing::{as_child, child};
use crate::support::{named, tell};
use redb_runtime_store::Store;
use redb_runtime_store::layout::LayoutError;
use std::fs;
use std::path::{Path, PathBuf};

/// Runs an update of the archive in `directory`, and copies the archive after each of its steps.
fn copy_each_step(directory: &Path) {
    let archive = directory.join("archive");
    let (from, to) = (archive.clone(), directory.to_owned());
    let steps = std::sync::atomic::AtomicUsize::new(0);
    redb_runtime_store::steps::on_step(move |_| {
        let step = steps.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        copy(&from, &to.join(format!("step-{step:03}")));
    });
    update(
        &Store::open(directory.join("store.redb")).unwrap(),
        &archive,
    )
    .unwrap();
    tell("done");
}

/// The states of the archive `root` that a kill of an update can leave.
fn killed_updates(directory: &Path, archive: &Path) -> Vec<PathBuf> {
    copy(archive, &directory.join("archive"));
    let name = "archives_in_files::killed_update_hides_no_dropped_worker";
    let mut child = child(name, "update", directory);
    assert_eq!(child.hear().as_deref(), Some("done"));
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_state = |path: &PathBuf| path.to_string_lossy().contains("step-");
    let mut states: Vec<_> = paths.filter(is_state).collect();
    states.sort();
    states.push(directory.join("archive"));
    states
}

/// The number of lines of the transcript of a worker; `None` without one.
fn entries(root: &Path, worker: u64) -> Option<usize> {
    let text = fs::read_to_string(worker_dir(root, worker).join("transcript.jsonl")).ok()?;
    Some(text.matches('\n').count())
}

/// Kills come after each step; then retention removes the workers that the update had to write.
#[test]
fn killed_update_hides_no_dropped_worker() {
    if let Some((_, directory)) = as_child() {
        return copy_each_step(&directory);
    }
    let (_place, runtime, [one, other], archive) = archived();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    talk(&runtime, &one, 2);
    let new = worker(&runtime);
    talk(&runtime, &new, 3);
    for worker in [&one, &new, &other] {
        runtime.stop_worker(worker, None).unwrap();
    }
    runtime.delete_worker(&other).unwrap();
    let path = directory.join("store.redb");
    runtime.store().backup(&path).unwrap();
    let states = killed_updates(directory, archive.path());
    let store = Store::open(&path).unwrap();
    let whole = exported(&store);
    store.close().unwrap();
    let pruned = directory.join("pruned.redb");
    fs::copy(&path, &pruned).unwrap();
    let (store, pruned) = (Store::open(&path).unwrap(), Store::open(&pruned).unwrap());
    prune(&pruned.runtime(named("r")).unwrap(), all_ended());
    let (mut refused, mut hidden) = (0, 0);
    for state in &states {
        let again = tempfile::tempdir().unwrap();
        copy(state, again.path());
        update(&store, again.path()).unwrap();
        assert_eq!(
            tree(again.path()),
            tree(whole.path()),
            "{}",
            state.display()
        );
        let has_all = entries(state, 1) == Some(8) && entries(state, 3) == Some(3);
        match update(&pruned, state) {
            Ok(_) => assert!(has_all, "{} lacks entries", state.display()),
            Err(LayoutError::PrunedGap { first, last, .. }) => {
                let has = entries(state, 1).unwrap() as u64;
                assert_eq!((first, last), (has, 7), "{}", state.display());
                refused += 1;
            }
            Err(LayoutError::PrunedWorker { worker_id, .. }) => {
                assert_eq!(worker_id, new.worker_id);
                hidden += 1;
            }
            Err(error) => panic!("{}: {error}", state.display()),
        }
        update_with_gap(&pruned, state);
        update(&pruned, state).unwrap();
        compared(&pruned, state);
        strict(&Store::in_memory().unwrap(), state).unwrap();
    }
    assert!(
        refused > 3 && hidden > 2,
        "{refused} and {hidden} of {}",
        states.len()
    );
}
