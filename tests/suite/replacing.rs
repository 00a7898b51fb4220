//! An export that replaces a directory where the system cannot exchange two directories.
//!
//! A child process is killed after each of its steps. Whatever it leaves: an import of the directory gets
//! the old runtime or the new one, or is refused; and the next export completes what was begun.

use super::layout_support::small;
use crate::support::{TestChild, runtime_id, scratch, tell, told_as_child, worker_ref};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::{
    ExistingDirectory, ExportOptions, ImportOptions, LayoutError, check, compare, export, import,
};
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::steps::{on_step, without_exchange, without_moves};
use redb_runtime_store::{Runtime, Store};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The directory, and the store that it is an older export of.
fn root_and_store(at: &Path) -> (PathBuf, PathBuf) {
    (at.join("root"), at.join("store.redb"))
}

/// Exports the small directory, then changes the store.
fn prepare(at: &Path) {
    let (root, path) = root_and_store(at);
    let store = Store::open(path).unwrap();
    import(&store, small().path(), ImportOptions::new()).unwrap();
    export(&store, &root, ExportOptions::new()).unwrap();
    let runtime = demo(&store);
    let worker = worker_ref("demo", "worker-00000001");
    runtime
        .send_input(&worker, WorkerInput::user("new"))
        .unwrap();
}

fn demo(store: &Store) -> Runtime {
    let options = RuntimeOptions {
        runtime_id: Some(runtime_id("demo")),
        ..RuntimeOptions::default()
    };
    store.runtime(options).unwrap()
}

/// Replaces the export in the directory of this child, and stops at its step number `stop`.
fn replace_until(stop: usize, at: &Path) {
    let (root, path) = root_and_store(at);
    let store = Store::open_read_only(path).unwrap();
    let steps = AtomicUsize::new(0);
    on_step(move |_| {
        if steps.fetch_add(1, Ordering::Relaxed) + 1 == stop {
            tell("stopped");
            loop {
                std::thread::park();
            }
        }
    });
    let replace = ExportOptions::new().existing(ExistingDirectory::Replace);
    export(&store, root, replace).unwrap();
    tell("done");
}

/// Kills the child of the test `name` after each of its steps. Returns how many there were.
fn at_every_step(name: &str) -> usize {
    for stop in 1.. {
        let (directory, _) = scratch();
        let at = directory.path();
        prepare(at);
        fs::write(at.join("stop"), stop.to_string()).unwrap();
        let mut child = TestChild::start(name, at);
        let told = child.hear();
        child.kill();
        check_left(at, stop);
        if told.as_deref() == Some("done") {
            return stop - 1;
        }
        assert_eq!(told.as_deref(), Some("stopped"));
    }
    unreachable!()
}

fn check_left(at: &Path, stop: usize) {
    let (root, path) = root_and_store(at);
    let store = Store::open(path).unwrap();
    // Never a directory without the runtime, and never half of it.
    match check(&root, ImportOptions::new()) {
        Ok(report) => assert_eq!(report.runtimes.len(), 1, "step {stop}"),
        Err(LayoutError::Refused { findings, .. }) => {
            assert!(
                findings.iter().any(|f| f.message.contains("next export")),
                "step {stop}: {findings:?}"
            );
        }
        Err(error) => panic!("step {stop}: {error}"),
    }
    // Any export completes it, also one that would replace nothing.
    let update = ExportOptions::new().existing(ExistingDirectory::Update);
    export(&store, &root, update).unwrap();
    assert!(compare(&store, &root).unwrap().is_same(), "step {stop}");
    let names = fs::read_dir(root.join("runtimes")).unwrap();
    let names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
    assert_eq!(names, ["id-64656d6f"], "step {stop}");
}

fn stop_of(at: &Path) -> usize {
    let stop = fs::read_to_string(at.join("stop")).unwrap();
    stop.parse().unwrap()
}

#[test]
fn killed_replacement_without_exchange_is_completed() {
    if let Some(at) = told_as_child() {
        without_exchange();
        return replace_until(stop_of(&at), &at);
    }
    let steps = at_every_step("replacing::killed_replacement_without_exchange_is_completed");
    assert!(steps > 20, "{steps}");
}

#[test]
fn killed_replacement_on_overlayfs_is_completed() {
    if let Some(at) = told_as_child() {
        without_moves();
        return replace_until(stop_of(&at), &at);
    }
    let steps = at_every_step("replacing::killed_replacement_on_overlayfs_is_completed");
    assert!(steps > 20, "{steps}");
}
