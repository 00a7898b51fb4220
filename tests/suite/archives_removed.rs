//! Archives: workers that the store has removed, and updates that were killed before.

use crate::archives::{archived, compared, prune, restored, talk, update, update_with_gap, worker};
use crate::layout_support::{copy, edit, exported, strict, tree, worker_dir};
use crate::sharing::{as_child, child};
use crate::support::{named, runtime_id, tell};
use redb_runtime_store::Store;
use redb_runtime_store::layout::{
    Comparison, ExistingDirectory, ExportOptions, FindingKind, LayoutError, compare, export,
};
use redb_runtime_store::retention::Retention;
use redb_runtime_store::store::DeleteRuntimeOptions;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn all_ended() -> Retention {
    Retention::new().ended_before(Duration::ZERO)
}

fn document(root: &Path) -> PathBuf {
    root.join("runtimes/id-72/runtime.json")
}

/// The words of all differences.
fn differences(comparison: &Comparison) -> String {
    let all = comparison.differences.iter().map(|one| one.what.clone());
    all.collect::<Vec<_>>().join("\n")
}

#[test]
fn gap_of_a_dropped_worker_is_allowed_once() {
    let (_directory, runtime, [one, _], archive) = archived();
    talk(&runtime, &one, 2);
    runtime.stop_worker(&one, None).unwrap();
    prune(&runtime, all_ended());
    let store = runtime.store();
    let gap = |refused: LayoutError| match refused {
        LayoutError::PrunedGap { first, last, .. } => (first, last),
        other => panic!("{other}"),
    };
    assert_eq!(gap(update(store, archive.path()).unwrap_err()), (6, 7));
    let comparison = compare(store, archive.path()).unwrap();
    assert!(differences(&comparison).contains("positions 6 to 7 are missing"));
    update_with_gap(store, archive.path());
    let allowed = tree(archive.path());
    assert_eq!(update(store, archive.path()).unwrap().runtimes[0].bytes, 0);
    assert_eq!(tree(archive.path()), allowed);
    // The comparison reports the gap, and accepts it.
    let findings = compared(store, archive.path()).findings;
    assert_eq!(findings[0].kind, FindingKind::Gap);
    assert!(
        findings[0].message.contains("positions 6 to 7"),
        "{findings:?}"
    );
    // The entries that the archive has come back, and the archive stays one of the restored store.
    let back = restored(archive.path());
    let runtime = back.runtime(named("r")).unwrap();
    assert_eq!(runtime.worker_detail(&one).unwrap().transcript_len, 6);
    compared(&back, archive.path());
    update(&back, archive.path()).unwrap();
    compared(&back, archive.path());
}

/// Another gap of the same worker is another loss.
#[test]
fn listed_end_allows_no_other_gap() {
    let (_directory, runtime, [one, other], archive) = archived();
    talk(&runtime, &one, 1);
    talk(&runtime, &other, 1);
    runtime.stop_worker(&one, None).unwrap();
    prune(&runtime, all_ended());
    update_with_gap(runtime.store(), archive.path());
    talk(&runtime, &other, 2);
    runtime.stop_worker(&other, None).unwrap();
    prune(&runtime, all_ended());
    let refused = update(runtime.store(), archive.path()).unwrap_err();
    assert!(
        matches!(
            refused,
            LayoutError::PrunedGap {
                first: 7,
                last: 8,
                ..
            }
        ),
        "{refused}"
    );
}

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
    let name = "archives_removed::killed_update_hides_no_dropped_worker";
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
    let (directory, runtime, [one, other], archive) = archived();
    let directory = directory.path();
    talk(&runtime, &one, 2);
    let new = worker(&runtime);
    talk(&runtime, &new, 3);
    for worker in [&one, &new, &other] {
        runtime.stop_worker(worker, None).unwrap();
    }
    runtime.delete_worker(&other).unwrap();
    runtime.store().close().unwrap();
    let states = killed_updates(directory, archive.path());
    let path = directory.join("store.redb");
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

/// Its text stays readable there, so an operator has to know.
#[test]
fn update_reports_directories_of_deleted_runtimes() {
    let (_directory, runtime, _, archive) = archived();
    let store = runtime.store();
    for name in ["x", "y"] {
        store.runtime(named(name)).unwrap();
    }
    assert_eq!(
        update(store, archive.path()).unwrap().not_in_store,
        [""; 0].map(PathBuf::from)
    );
    let options = DeleteRuntimeOptions::new().even_if_running(true);
    store
        .delete_runtime_with(&runtime_id("x"), &options)
        .unwrap();
    let runtimes = archive.path().join("runtimes");
    fs::create_dir(runtimes.join("no-runtime")).unwrap();
    let before = tree(archive.path());
    let report = update(store, archive.path()).unwrap();
    assert_eq!(report.not_in_store, [runtimes.join("id-78")]);
    assert_eq!(tree(archive.path()), before);
    // An update of some runtimes says nothing about the others.
    let options = ExportOptions::new().existing(ExistingDirectory::Update);
    let report = export(store, archive.path(), options.runtimes([runtime_id("y")])).unwrap();
    assert!(report.not_in_store.is_empty());
}

#[test]
fn removed_workers_that_differ_are_differences() {
    let (_directory, runtime, [one, other], _archive) = archived();
    for worker in [&one, &other] {
        runtime.stop_worker(worker, None).unwrap();
    }
    runtime.delete_worker(&other).unwrap();
    prune(&runtime, all_ended().keep_events(0));
    let store = runtime.store();
    let fresh = exported(store);
    compared(store, fresh.path());
    let document = document(fresh.path());
    let original = fs::read_to_string(&document).unwrap();
    let list = |name: &str| {
        let begin = original.find(&format!(",\n  \"{name}\": [")).unwrap();
        let end = begin + original[begin..].find("\n  ]").unwrap() + "\n  ]".len();
        original[begin..end].to_owned()
    };
    let (pruned, deleted) = (list("pruned_workers"), list("deleted_workers"));
    let unknown = deleted.replace(other.worker_id.as_str(), "never-there");
    for (from, to, what) in [
        (
            &pruned,
            String::new(),
            "pruned_workers: the directory lacks worker \"worker-00000001\"",
        ),
        (
            &deleted,
            String::new(),
            "deleted_workers: the directory lacks worker \"worker-00000002\"",
        ),
        (&deleted, unknown, "worker \"never-there\" was not deleted"),
        (
            &pruned,
            pruned.replace("\"transcript_len\": 6", "\"transcript_len\": 5"),
            "worker \"worker-00000001\" ended otherwise",
        ),
        (
            &pruned,
            pruned.replace(one.worker_id.as_str(), "never-there"),
            "retention did not remove worker \"never-there\"",
        ),
    ] {
        fs::write(&document, original.replace(from, &to)).unwrap();
        let comparison = compare(store, fresh.path()).unwrap();
        assert!(differences(&comparison).contains(what), "{comparison:?}");
    }
    fs::write(&document, &original).unwrap();
    compared(store, fresh.path());
}

/// An archive has rows of the removed workers, and says by these that they were removed.
#[test]
fn archived_rows_stand_for_removed_workers() {
    let (_directory, runtime, [one, other], archive) = archived();
    for worker in [&one, &other] {
        runtime.stop_worker(worker, None).unwrap();
    }
    runtime.delete_worker(&other).unwrap();
    let store = runtime.store();
    update(store, archive.path()).unwrap();
    prune(&runtime, all_ended().keep_events(0));
    update(store, archive.path()).unwrap();
    compared(store, archive.path());
    let text = fs::read_to_string(document(archive.path())).unwrap();
    assert!(!text.contains("_workers\""), "{text}");
    // Without the event of the deletion nothing says that the id is used.
    let events = archive.path().join("runtimes/id-72/events.jsonl");
    edit(&events, "worker_deleted", "worker_stopped");
    let comparison = compare(store, archive.path()).unwrap();
    assert!(
        differences(&comparison).contains("deleted_workers"),
        "{comparison:?}"
    );
}
