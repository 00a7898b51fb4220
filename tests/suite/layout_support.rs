//! Helpers of the tests of directories.

use crate::hosts::{REPOSITORY, fresh};
use redb_runtime_store::layout::{
    ExportOptions, FindingKind, ImportOptions, ImportReport, LayoutError, export, import,
};
use redb_runtime_store::store::{Store, Stored};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The small directory that ships with the tests.
pub(crate) const SMALL: &str = crate::hosts::SMALL;

/// A directory with the content of an archive of `tests/fixtures`: what a directory store wrote, or left
/// behind where it was interrupted. `directory_store.py` next to the archives writes them.
pub(crate) fn unpack(archive: &str) -> TempDir {
    let fixtures = Path::new(REPOSITORY).join("tests/fixtures");
    let packed = fs::File::open(fixtures.join(archive)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(packed))
        .unpack(dir.path())
        .unwrap();
    dir
}

/// Three runtimes under one root: `runtime-alpha`, one whose name has other letters and slashes, and
/// `r`, which is empty.
pub(crate) fn several() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = runtime_dir(Path::new(SMALL));
    let runtimes = dir.path().join("runtimes");
    for id in ["runtime-alpha", "ランタイム/βeta ../x"] {
        let to = runtimes.join(dir_of(id));
        copy(&from, &to);
        for (path, content) in tree(&to) {
            if let Some(content) = content {
                let text = String::from_utf8(content).unwrap();
                let named = text.replace("\"demo\"", &format!("\"{id}\""));
                fs::write(to.join(path), named).unwrap();
            }
        }
    }
    let r = runtimes.join(dir_of("r"));
    fs::create_dir_all(r.join("workers")).unwrap();
    fs::write(r.join("events.jsonl"), EMPTY_EVENTS).unwrap();
    fs::write(r.join("runtime.json"), EMPTY_RUNTIME).unwrap();
    dir
}

const EMPTY_EVENTS: &str =
    "{\"id\":1,\"kind\":{\"kind\":\"runtime_started\"},\"message\":\"runtime started\"}\n";

const EMPTY_RUNTIME: &str = r#"{
  "schema_version": 1,
  "runtime_id": "r",
  "display_name": null,
  "backend": "fs_store",
  "status": "running",
  "limits": {
    "max_transcript_projection_items": 256,
    "max_event_batch_items": 256
  },
  "next_worker_sequence": 1,
  "next_event_id": 2,
  "next_diagnostic_id": 1,
  "diagnostics": []
}
"#;

/// A copy of the small directory that ships with the tests, to be damaged.
pub(crate) fn small() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(Path::new(SMALL), dir.path());
    dir
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The directory of an id.
pub(crate) fn dir_of(id: &str) -> String {
    let hex: String = id.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("id-{hex}")
}

/// The only runtime directory under a root. Other files and directories may be there.
pub(crate) fn runtime_dir(root: &Path) -> PathBuf {
    let dirs = fs::read_dir(root.join("runtimes")).unwrap();
    let mut paths: Vec<PathBuf> = dirs.map(|entry| entry.unwrap().path()).collect();
    let is_id = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("id-")
    };
    match paths.iter().position(is_id) {
        Some(runtime) => paths.swap_remove(runtime),
        None => paths.swap_remove(0),
    }
}

/// The directory of the `n`-th worker of the only runtime.
pub(crate) fn worker_dir(root: &Path, n: u64) -> PathBuf {
    let worker = dir_of(&format!("worker-{n:08x}"));
    runtime_dir(root).join("workers").join(worker)
}

/// Every file under `root` with its content, and every directory.
pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let relative = path.strip_prefix(root).unwrap().to_owned();
        if path.is_dir() {
            found.insert(relative, None);
            walk(root, &path, found);
        } else {
            found.insert(relative, Some(fs::read(&path).unwrap()));
        }
    }
}

pub(crate) fn store() -> Store {
    fresh()
}

pub(crate) fn strict(store: &Store, root: &Path) -> Result<ImportReport, LayoutError> {
    import(store, root, ImportOptions::new())
}

pub(crate) fn salvage(store: &Store, root: &Path) -> ImportReport {
    import(store, root, ImportOptions::new().salvage(true)).unwrap()
}

/// A fresh export of everything.
pub(crate) fn exported(store: &Store) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    export(store, dir.path(), ExportOptions::new()).unwrap();
    dir
}

/// The whole content of a store, as text.
pub(crate) fn content(store: &Store) -> Vec<String> {
    fn line<T: std::fmt::Debug>(stored: &Stored<T>) -> String {
        format!("{stored:?}")
    }
    let snapshot = store.snapshot().unwrap();
    let mut all = Vec::new();
    for id in snapshot.runtime_ids().unwrap() {
        all.push(line(&snapshot.runtime(&id).unwrap().unwrap()));
        for event in snapshot.events(&id, 0).unwrap() {
            all.push(line(&event.unwrap()));
        }
        for worker in snapshot.workers(&id).unwrap() {
            let worker = worker.unwrap();
            all.push(line(&worker));
            for entry in snapshot.transcript(&worker.value.worker_ref, 0).unwrap() {
                all.push(line(&entry.unwrap()));
            }
        }
    }
    all
}

/// Replaces `old` by `new` in a file, once.
pub(crate) fn edit(path: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(old), "{}: no {old:?}", path.display());
    fs::write(path, text.replacen(old, new, 1)).unwrap();
}

/// Appends bytes to a file.
pub(crate) fn append(path: &Path, bytes: &[u8]) {
    let mut all = fs::read(path).unwrap();
    all.extend_from_slice(bytes);
    fs::write(path, all).unwrap();
}

/// Whether a strict import of an export can have a finding: the store keeps gaps, names of workers and files as they are.
pub(super) fn accepted_after_export(kind: FindingKind) -> bool {
    matches!(
        kind,
        FindingKind::Gap
            | FindingKind::UnknownWorker
            | FindingKind::OtherFile
            | FindingKind::TemporaryFile
            | FindingKind::InvalidName
            | FindingKind::DuplicateDirectory
            | FindingKind::LineEnding
            | FindingKind::NoHistory
    )
}
