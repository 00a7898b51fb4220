//! Files of a directory that are not part of the layout: stored as they are, and written again.

use crate::layout_support::*;
use crate::support::{Place, runtime_id};
use redb_runtime_store::Store;
use redb_runtime_store::layout::{
    ExistingDirectory, ExportOptions, FindingKind, ImportOptions, ImportOutcome, LayoutError,
    compare, export, import,
};
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

const CHUNK: usize = (1 << 20) - (8 << 10);

/// Bytes that differ from chunk to chunk.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 % 251) as u8).collect()
}

/// The small directory, with files in every place that has none in the layout.
pub(crate) fn with_files() -> TempDir {
    let dir = small();
    let (runtime, worker) = (runtime_dir(dir.path()), worker_dir(dir.path(), 1));
    let runtimes = dir.path().join("runtimes");
    let odd = OsStr::from_bytes(b"100% \xFF\xFE");
    fs::write(runtime.join("empty"), "").unwrap();
    fs::write(runtime.join(".runtime.json.tmp-1-2"), "{").unwrap();
    fs::write(runtime.join(odd), "name").unwrap();
    fs::write(runtime.join("one-chunk"), bytes(CHUNK)).unwrap();
    fs::create_dir_all(runtime.join("session/empty/below")).unwrap();
    fs::write(runtime.join("session").join(odd), bytes(2 * CHUNK + 1)).unwrap();
    fs::write(runtime.join("session-log"), "sorts between").unwrap();
    fs::write(worker.join("observations.jsonl"), "{}\n").unwrap();
    fs::write(worker.join(".worker.json.tmp-1-2"), "").unwrap();
    fs::create_dir(worker.join("metadata")).unwrap();
    fs::write(worker.join("metadata/a.json"), "{}").unwrap();
    let workers = runtime.join("workers");
    fs::write(workers.join(".DS_Store"), "\0").unwrap();
    copy(&worker, &workers.join("id-zz"));
    fs::write(runtimes.join("README"), bytes(CHUNK + 1)).unwrap();
    copy(&worker, &runtimes.join("backup"));
    fs::create_dir(runtimes.join("nothing")).unwrap();
    dir
}

#[test]
fn kept_files_come_back_byte_for_byte() {
    let dir = with_files();
    let place = Place::new();
    let store = place.open();
    let report = strict(&store, dir.path()).unwrap();
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.kind.is_accepted())
    );
    assert_eq!(report.runtimes[0].files, 16);
    assert_eq!(report.findings.len(), 14, "{:?}", report.findings);
    let out = exported(&store);
    assert!(tree(out.path()) == tree(dir.path()));
    let comparison = compare(&store, dir.path()).unwrap();
    assert!(comparison.is_same(), "{:?}", comparison.differences);
    assert_eq!((comparison.files, comparison.files_left_out), (23, 0));
    let verified = store.verify().unwrap();
    assert_eq!(
        verified.errors + verified.warnings,
        0,
        "{:?}",
        verified.findings
    );

    // A backup has them, too.
    let beside = tempfile::tempdir().unwrap();
    let copy = beside.path().join("copy");
    store.backup(&copy).unwrap();
    let copy = Store::open(&copy).unwrap();
    assert!(tree(exported(&copy).path()) == tree(dir.path()));
}

#[test]
fn snapshot_lists_and_reads_kept_files() {
    let dir = with_files();
    let store = store();
    strict(&store, dir.path()).unwrap();
    let snapshot = store.snapshot().unwrap();
    let files = snapshot.kept_files(&runtime_id("demo")).unwrap();
    let of_worker = files.iter().filter(|file| {
        file.worker_id
            .as_ref()
            .is_some_and(|worker| worker.as_str() == "worker-00000001")
    });
    assert_eq!(of_worker.count(), 3);
    let odd = OsStr::from_bytes(b"session/100% \xFF\xFE");
    let large = files
        .iter()
        .find(|file| file.path.as_os_str() == odd)
        .unwrap();
    assert_eq!(
        (large.bytes, large.is_directory),
        (2 * CHUNK as u64 + 1, false)
    );
    let mut read = Vec::new();
    let demo = runtime_id("demo");
    snapshot
        .write_kept_file(Some(&demo), large, &mut read)
        .unwrap();
    assert!(read == bytes(2 * CHUNK + 1));
    let directory = files.iter().find(|file| file.is_directory).unwrap();
    assert_eq!(directory.path, Path::new("session/empty/below"));
    let others = snapshot.kept_files_of_no_runtime().unwrap();
    let names: Vec<_> = others
        .iter()
        .map(|file| file.path.to_str().unwrap())
        .collect();
    assert!(
        names.contains(&"README") && names.contains(&"backup/worker.json"),
        "{names:?}"
    );
    assert!(
        snapshot
            .kept_files(&runtime_id("unknown"))
            .unwrap()
            .is_empty()
    );
    let census = store.census().unwrap();
    assert_eq!(
        (census.runtimes[0].files.items, census.files.items),
        (16, 7)
    );
}

#[test]
fn reimport_notices_changed_and_added_files() {
    let dir = with_files();
    let store = store();
    strict(&store, dir.path()).unwrap();
    let again = strict(&store, dir.path()).unwrap();
    assert_eq!(again.count(ImportOutcome::AlreadyImported), 1);

    let observations = worker_dir(dir.path(), 1).join("observations.jsonl");
    for changed in ["{}\n\n", "[]\n", ""] {
        fs::write(&observations, changed).unwrap();
        let comparison = compare(&store, dir.path()).unwrap();
        assert_eq!(
            comparison.total_differences, 1,
            "{:?}",
            comparison.differences
        );
        assert_eq!(comparison.differences[0].path, observations);
        let refused = strict(&store, dir.path());
        assert!(
            matches!(refused, Err(LayoutError::Conflict { .. })),
            "{refused:?}"
        );
    }
    fs::remove_file(&observations).unwrap();
    fs::write(runtime_dir(dir.path()).join("added"), "").unwrap();
    let comparison = compare(&store, dir.path()).unwrap();
    assert_eq!(
        comparison.total_differences, 2,
        "{:?}",
        comparison.differences
    );
    import(&store, dir.path(), ImportOptions::new().replace(true)).unwrap();
    assert!(tree(exported(&store).path()) == tree(dir.path()));
}

#[test]
fn files_of_no_runtime_conflict_unless_replaced() {
    let (dir, other) = (with_files(), tempfile::tempdir().unwrap());
    let store = store();
    strict(&store, dir.path()).unwrap();
    let runtimes = other.path().join("runtimes");
    fs::create_dir(&runtimes).unwrap();
    fs::write(runtimes.join("README"), bytes(CHUNK)).unwrap();
    fs::write(runtimes.join("new"), "new").unwrap();
    match strict(&store, other.path()) {
        Err(LayoutError::FileConflict { paths }) => assert_eq!(paths, [runtimes.join("README")]),
        other => panic!("{other:?}"),
    }
    let names = || {
        let files = store
            .snapshot()
            .unwrap()
            .kept_files_of_no_runtime()
            .unwrap();
        let of_root = files
            .into_iter()
            .filter(|file| file.path.components().count() == 1);
        of_root
            .map(|file| (file.path, file.bytes))
            .collect::<Vec<_>>()
    };
    assert_eq!(names().len(), 2, "{:?}", names());
    let report = salvage(&store, other.path());
    assert_eq!(
        report
            .findings
            .iter()
            .filter(|one| one.kind == FindingKind::Conflict)
            .count(),
        1
    );
    assert_eq!(names()[0], ("README".into(), CHUNK as u64 + 1));
    import(&store, other.path(), ImportOptions::new().replace(true)).unwrap();
    assert_eq!(names()[0], ("README".into(), CHUNK as u64));
    assert_eq!(names().len(), 3, "{:?}", names());

    // A file in the place of a directory, and the other way round.
    let swapped = tempfile::tempdir().unwrap();
    fs::create_dir_all(swapped.path().join("runtimes/README/below")).unwrap();
    fs::write(swapped.path().join("runtimes/backup"), "").unwrap();
    let refused = strict(&store, swapped.path());
    assert!(
        matches!(&refused, Err(LayoutError::FileConflict { paths }) if paths.len() == 2),
        "{refused:?}"
    );
    import(&store, swapped.path(), ImportOptions::new().replace(true)).unwrap();
    assert!(
        export(
            &store,
            tempfile::tempdir().unwrap().path(),
            ExportOptions::new()
        )
        .is_ok()
    );
}

#[test]
fn links_below_kept_directories_are_refused() {
    for damage in [
        |dir: &Path| symlink("/etc/passwd", dir.join("session/link")).unwrap(),
        |dir: &Path| symlink("/", dir.join("session/empty/link")).unwrap(),
    ] {
        let dir = with_files();
        damage(&runtime_dir(dir.path()));
        match strict(&store(), dir.path()) {
            Err(LayoutError::Refused { findings, .. }) => {
                assert_eq!(findings[0].kind, FindingKind::NotRegular);
            }
            other => panic!("{other:?}"),
        }
        let report = salvage(&store(), dir.path());
        assert!(
            report
                .findings
                .iter()
                .any(|one| one.kind == FindingKind::NotRegular)
        );
    }
}

#[test]
fn files_left_out_on_request_are_no_difference() {
    let dir = with_files();
    let store = store();
    let without = ImportOptions::new().without_files(true);
    let report = import(&store, dir.path(), &without).unwrap();
    let left_out = report
        .findings
        .iter()
        .filter(|one| one.kind == FindingKind::FileLeftOut);
    assert_eq!(left_out.count(), 14);
    assert!(!report.has_losses());
    let snapshot = store.snapshot().unwrap();
    assert!(snapshot.kept_files(&runtime_id("demo")).unwrap().is_empty());
    assert!(tree(exported(&store).path()) == tree(small().path()));
    let comparison = compare(&store, dir.path()).unwrap();
    assert!(comparison.is_same(), "{:?}", comparison.differences);
    assert_eq!((comparison.files, comparison.files_left_out), (0, 23));
    // Each way of importing it again finds the same runtime.
    for options in [without, ImportOptions::new()] {
        let again = import(&store, dir.path(), &options);
        let again = again.map(|report| report.count(ImportOutcome::AlreadyImported));
        assert_eq!(again.unwrap(), 1);
    }
    fs::write(runtime_dir(dir.path()).join("added"), "").unwrap();
    assert_eq!(compare(&store, dir.path()).unwrap().total_differences, 1);
}

#[test]
fn update_adds_missing_files_and_refuses_others() {
    let dir = with_files();
    let store = store();
    strict(&store, dir.path()).unwrap();
    let update = ExportOptions::new().existing(ExistingDirectory::Update);
    let expected = tree(dir.path());
    let (runtime, worker) = (runtime_dir(dir.path()), worker_dir(dir.path(), 1));
    fs::remove_dir_all(runtime.join("session")).unwrap();
    fs::remove_file(worker.join("observations.jsonl")).unwrap();
    fs::remove_file(dir.path().join("runtimes/README")).unwrap();
    fs::remove_dir(dir.path().join("runtimes/nothing")).unwrap();
    // A file that only the directory has stays.
    fs::write(runtime.join("own"), "").unwrap();
    let report = export(&store, dir.path(), &update).unwrap();
    assert_eq!((report.runtimes[0].files, report.files), (3, 2));
    fs::remove_file(runtime.join("own")).unwrap();
    assert!(tree(dir.path()) == expected);

    let places = [
        runtime.join("one-chunk"),
        worker.join("metadata/a.json"),
        dir.path().join("runtimes/backup/worker.json"),
    ];
    for place in places {
        let before = fs::read(&place).unwrap();
        fs::write(&place, "changed").unwrap();
        fs::remove_file(worker.join("observations.jsonl")).unwrap();
        let changed = tree(dir.path());
        match export(&store, dir.path(), &update) {
            Err(LayoutError::NotAPrefix { difference, .. }) => assert_eq!(difference.path, place),
            other => panic!("{other:?}"),
        }
        assert!(
            tree(dir.path()) == changed,
            "nothing is written before all is checked"
        );
        fs::write(&place, before).unwrap();
        export(&store, dir.path(), &update).unwrap();
        assert!(tree(dir.path()) == expected);
    }
    fs::remove_dir_all(runtime.join("session")).unwrap();
    fs::write(runtime.join("session"), "a file in its place").unwrap();
    let refused = export(&store, dir.path(), &update);
    assert!(
        matches!(refused, Err(LayoutError::NotAPrefix { .. })),
        "{refused:?}"
    );
}

#[test]
fn export_replaces_files_of_no_runtime_on_request() {
    let (dir, out) = (with_files(), with_files());
    let store = store();
    strict(&store, dir.path()).unwrap();
    fs::write(out.path().join("runtimes/README"), "other").unwrap();
    fs::remove_dir_all(runtime_of(out.path())).unwrap();
    let refused = export(&store, out.path(), ExportOptions::new());
    assert!(
        matches!(refused, Err(LayoutError::Exists { .. })),
        "{refused:?}"
    );
    let replace = ExportOptions::new().existing(ExistingDirectory::Replace);
    export(&store, out.path(), &replace).unwrap();
    assert!(tree(out.path()) == tree(dir.path()));
    export(&store, out.path(), &replace).unwrap();
    assert!(tree(out.path()) == tree(dir.path()));
}

pub(crate) fn runtime_of(root: &Path) -> std::path::PathBuf {
    root.join("runtimes").join(dir_of("demo"))
}

/// Creates `depth` directories in each other, with a file in the last one.
fn deep(dir: &Path, depth: usize) {
    let mode = Mode::from_raw_mode(0o700);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut here = rustix::fs::open(dir, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&here, "d", mode).unwrap();
        here = openat(&here, "d", flags, Mode::empty()).unwrap();
    }
    let file = openat(&here, "f", OFlags::WRONLY | OFlags::CREATE, mode).unwrap();
    rustix::io::write(file, b"deep").unwrap();
}

/// Removes what [`deep`] created. A recursive removal has as many open directories as the tree is deep.
fn remove_deep(dir: &Path) {
    let (outer, inner, aside) = (dir.join("d"), dir.join("d/d"), dir.join("aside"));
    while inner.exists() {
        fs::rename(&inner, &aside).unwrap();
        fs::remove_dir(&outer).unwrap();
        fs::rename(&aside, &outer).unwrap();
    }
    fs::remove_dir_all(&outer).unwrap();
}

#[test]
fn deep_trees_come_back_up_to_the_longest_path() {
    // `d/` for each directory, and the name of the file: 4095 bytes.
    let most = 2047;
    let dir = small();
    deep(&runtime_dir(dir.path()), most);
    let imported = store();
    strict(&imported, dir.path()).unwrap();
    let out = tempfile::tempdir().unwrap();
    export(&imported, out.path(), ExportOptions::new()).unwrap();
    let comparison = compare(&imported, out.path()).unwrap();
    assert!(
        comparison.is_same() && comparison.files == 1,
        "{:?}",
        comparison.differences
    );
    remove_deep(&runtime_dir(out.path()));
    remove_deep(&runtime_dir(dir.path()));

    deep(&runtime_dir(dir.path()), 2100);
    match strict(&store(), dir.path()) {
        Err(LayoutError::Refused { findings, .. }) => {
            assert_eq!(findings[0].kind, FindingKind::PathTooLong);
        }
        other => panic!("{other:?}"),
    }
    let report = salvage(&store(), dir.path());
    assert_eq!(report.count(ImportOutcome::Imported), 1);
    remove_deep(&runtime_dir(dir.path()));
}

#[test]
fn kept_file_that_changes_during_import_is_reported() {
    let dir = with_files();
    let file = runtime_dir(dir.path()).join("one-chunk");
    let changed = file.clone();
    let options = ImportOptions::new().on_progress(move |_| {
        fs::write(&changed, "changed").unwrap();
    });
    match import(&store(), dir.path(), &options) {
        Err(LayoutError::Refused { findings, .. }) => {
            assert_eq!(
                (findings[0].kind, &findings[0].path),
                (FindingKind::Changed, &file)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn leftovers_of_exports_are_not_stored() {
    let dir = small();
    fs::write(runtime_dir(dir.path()).join(".export.tmp-1-2"), "").unwrap();
    fs::create_dir(dir.path().join("runtimes/.export.tmp-1-2")).unwrap();
    let store = store();
    let report = strict(&store, dir.path()).unwrap();
    let is_temporary =
        |one: &redb_runtime_store::layout::Finding| one.kind == FindingKind::TemporaryFile;
    assert_eq!(
        report
            .findings
            .iter()
            .filter(|one| is_temporary(one))
            .count(),
        2
    );
    assert!(tree(exported(&store).path()) == tree(small().path()));
    assert!(compare(&store, dir.path()).unwrap().is_same());
}
