//! Imports to a path.

use crate::layout_support::*;
use redb_runtime_store::Store;
use redb_runtime_store::layout::{
    ImportOptions, ImportOutcome, LayoutError, check, compare, import_to_path,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn import_leaves_the_hosts_store_open() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("store");
    let host = Store::open(&path).unwrap();
    let root = small();
    import_to_path(root.path(), &path, &Store::options(), ImportOptions::new()).unwrap();
    assert_eq!(host.runtimes().unwrap().len(), 1);
}

#[test]
fn failed_import_leaves_no_new_file() {
    let dir = small();
    let store_dir = tempfile::tempdir().unwrap();
    let path = store_dir.path().join("store.redb");
    append(&runtime_dir(dir.path()).join("events.jsonl"), b"{\"id\":9");
    let options = ImportOptions::new();
    let error = import_to_path(dir.path(), &path, &Store::options(), &options).unwrap_err();
    assert!(matches!(error, LayoutError::Refused { .. }), "{error}");
    assert_eq!(fs::read_dir(store_dir.path()).unwrap().count(), 0);

    let report = import_to_path(SMALL, &path, &Store::options(), &options).unwrap();
    assert_eq!(report.count(ImportOutcome::Imported), 1);
    assert_eq!(fs::read_dir(store_dir.path()).unwrap().count(), 1);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let report = import_to_path(SMALL, &path, &Store::options(), &options).unwrap();
    assert_eq!(report.count(ImportOutcome::AlreadyImported), 1);
    let store = Store::open(&path).unwrap();
    assert!(compare(&store, SMALL).unwrap().is_same());
}

#[test]
fn import_to_unusable_path_makes_nothing() {
    let (from, to) = (small(), tempfile::tempdir().unwrap());
    for name in ["store/", "store/."] {
        for dry_run in [true, false] {
            let options = ImportOptions::new().dry_run(dry_run);
            let path = to.path().join(name);
            let error = import_to_path(from.path(), path, &Store::options(), &options).unwrap_err();
            assert!(matches!(error, LayoutError::InTheWay { .. }), "{error}");
        }
    }
    assert_eq!(to.path().read_dir().unwrap().count(), 0);
}

#[test]
fn dry_run_makes_no_file() {
    let dir = small();
    append(&runtime_dir(dir.path()).join("events.jsonl"), b"{\"id\":9");
    let dry = ImportOptions::new().salvage(true).dry_run(true);
    let beside = tempfile::tempdir().unwrap();
    let path = beside.path().join("store.redb");
    let planned = import_to_path(dir.path(), &path, &Store::options(), &dry).unwrap();
    assert_eq!(fs::read_dir(beside.path()).unwrap().count(), 0);
    let checked = check(dir.path(), ImportOptions::new().salvage(true));
    assert_eq!(checked.unwrap(), planned);
}
