//! What an operator sees of an import: what it says, leaves in the store and returns.

use super::layout_support::*;
use super::program::run;
use redb_runtime_store::Store;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_dry_run_changes_no_store_and_needs_no_lock_or_permission() {
    let scratch = tempfile::tempdir().unwrap();
    let (store, root) = (scratch.path().join("store"), small());
    run(&[&"import", &SMALL, &store]).expect_code(0);
    edit(
        &runtime_dir(root.path()).join("runtime.json"),
        "A small",
        "Another",
    );
    fs::set_permissions(&store, fs::Permissions::from_mode(0o444)).unwrap();
    let before = fs::read(&store).unwrap();
    run(&[&"import", &SMALL, &store, &"--dry-run"]).expect_code(0);
    run(&[&"import", &root.path(), &store, &"--dry-run"]).expect_code(4);
    run(&[&"import", &root.path(), &store, &"--dry-run", &"--replace"]).expect_code(0);
    assert!(fs::read(&store).unwrap() == before);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);

    fs::set_permissions(&store, fs::Permissions::from_mode(0o600)).unwrap();
    let host = Store::open(&store).unwrap();
    run(&[&"import", &SMALL, &store, &"--dry-run"]).expect_code(0);

    // As a kill leaves it.
    let killed = scratch.path().join("killed");
    fs::copy(&store, &killed).unwrap();
    drop(host);
    let before = fs::read(&killed).unwrap();
    let refused = run(&[&"import", &SMALL, &killed, &"--dry-run"]);
    let said = refused.expect_code(1).stderr();
    assert!(
        said.contains("`runtime-store runtimes`, which repairs it"),
        "{said}"
    );
    assert!(fs::read(&killed).unwrap() == before);
}

#[test]
fn a_dry_run_to_where_no_store_can_be_made_fails_as_the_import_would() {
    let scratch = tempfile::tempdir().unwrap();
    let store = scratch.path().join("nowhere/store");
    run(&[&"import", &SMALL, &store]).expect_code(1);
    run(&[&"import", &SMALL, &store, &"--dry-run"]).expect_code(1);
}
