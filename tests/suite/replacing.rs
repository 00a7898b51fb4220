//! An export that replaces a directory where the system cannot exchange two directories, and one into the root, which
//! cannot be exchanged at all.
//!
//! A child process is killed after each of its steps. Whatever it leaves: an import of the directory gets
//! the old runtime or the new one, or is refused, by a salvage too; and the next export completes what was begun.

use super::layout_later::{id_of, of_form};
use super::layout_support::{exported, tree};
use crate::support::{TestChild, named, scratch, tell, told_as_child};
use redb_runtime_store::Store;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::{
    ExistingDirectory, ExportOptions, Finding, ImportOptions, LayoutError, check, compare, export,
    import,
};
use redb_runtime_store::steps::{on_step, without_exchange, without_moves};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// The directory, and the store that it is an older export of.
fn root_and_store(at: &Path) -> (PathBuf, PathBuf) {
    (at.join("root"), at.join("store.redb"))
}

/// Exports the directory of a form, then changes the store. Returns what was exported.
fn prepare(at: &Path, form: &str) -> Tree {
    let (root, path) = root_and_store(at);
    let store = Store::open(path).unwrap();
    import(&store, of_form(form).path(), ImportOptions::new()).unwrap();
    export(&store, &root, ExportOptions::new()).unwrap();
    let runtime = store.runtime(named(id_of(form))).unwrap();
    let worker = &runtime.list_workers().unwrap()[0].worker_ref;
    runtime
        .send_input(worker, WorkerInput::user("new"))
        .unwrap();
    tree(&root)
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
fn at_every_step(name: &str, form: &str) -> usize {
    for stop in 1.. {
        let (directory, _) = scratch();
        let at = directory.path();
        let before = prepare(at, form);
        fs::write(at.join("stop"), stop.to_string()).unwrap();
        let mut child = TestChild::start(name, at);
        let told = child.hear();
        child.kill();
        check_left(at, stop, &before);
        if told.as_deref() == Some("done") {
            return stop - 1;
        }
        assert_eq!(told.as_deref(), Some("stopped"));
    }
    unreachable!()
}

fn check_left(at: &Path, stop: usize, before: &Tree) {
    let (root, path) = root_and_store(at);
    let store = Store::open(path).unwrap();
    let now = exported(&store);
    // Never a directory without the runtime, and never half of it without a word.
    for is_salvage in [false, true] {
        match check(&root, ImportOptions::new().salvage(is_salvage)) {
            Ok(report) if is_salvage && says_next_export(&report.findings) => {}
            Ok(report) => {
                assert_eq!(report.runtimes.len(), 1, "step {stop}");
                let there = without_leftovers(&root);
                assert!(
                    there == *before || there == tree(now.path()),
                    "step {stop}: {there:?}"
                );
            }
            Err(LayoutError::Refused { findings, .. }) => {
                assert!(says_next_export(&findings), "step {stop}: {findings:?}");
            }
            Err(LayoutError::UnfinishedExport { left, .. }) => assert!(left.is_dir()),
            Err(error) => panic!("step {stop}: {error}"),
        }
    }
    // Any export completes it, also one that would replace nothing.
    let update = ExportOptions::new().existing(ExistingDirectory::Update);
    export(&store, &root, update).unwrap();
    assert!(compare(&store, &root).unwrap().is_same(), "step {stop}");
    // With the names of the export, and nothing else.
    assert_eq!(tree(&root), tree(now.path()), "step {stop}");
}

fn says_next_export(findings: &[Finding]) -> bool {
    let says = |finding: &Finding| finding.message.contains("next export");
    findings.iter().any(says)
}

/// The files of a root without those of interrupted exports.
fn without_leftovers(root: &Path) -> Tree {
    let mut there = tree(root);
    let is_of_export = |name: std::path::Component<'_>| {
        let name = name.as_os_str().as_encoded_bytes();
        name.starts_with(b".export.")
    };
    there.retain(|path, _| !path.components().any(is_of_export));
    there
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
    let steps = at_every_step(
        "replacing::killed_replacement_without_exchange_is_completed",
        "a",
    );
    assert!(steps > 20, "{steps}");
}

#[test]
fn killed_replacement_on_overlayfs_is_completed() {
    if let Some(at) = told_as_child() {
        without_moves();
        return replace_until(stop_of(&at), &at);
    }
    let steps = at_every_step(
        "replacing::killed_replacement_on_overlayfs_is_completed",
        "a",
    );
    assert!(steps > 20, "{steps}");
}

#[test]
fn killed_replacement_in_the_root_is_completed() {
    if let Some(at) = told_as_child() {
        return replace_until(stop_of(&at), &at);
    }
    let steps = at_every_step(
        "replacing::killed_replacement_in_the_root_is_completed",
        "f",
    );
    assert!(steps > 20, "{steps}");
}
