//! Files that are not part of the layout, in a store in a file and in the program's output.

use crate::kept_files::{runtime_of, with_files};
use crate::layout_support::{exported, strict, tree};
use crate::program::run;
use crate::support::Place;
use std::fs;

#[test]
fn compacted_file_has_the_kept_files() {
    let (dir, place) = (with_files(), Place::new());
    let store = place.open();
    strict(&store, dir.path()).unwrap();
    store.compact().unwrap();
    assert!(tree(exported(&store).path()) == tree(dir.path()));
}

#[test]
fn program_shows_stored_and_left_out_files() {
    let dir = with_files();
    let scratch = tempfile::tempdir().unwrap();
    let (store, without) = (scratch.path().join("store"), scratch.path().join("without"));
    let said = run(&[&"import", &dir.path(), &store]);
    let said = said.expect_code(0).stdout();
    // Those of the runtime and those of none.
    assert!(
        said.contains("imported 23 files that are not part of the layout"),
        "{said}"
    );
    let said = run(&[&"stats", &store]).expect_code(0).stdout();
    assert!(said.contains("16 files of runtime demo"), "{said}");
    assert!(said.contains("7 files of no runtime"), "{said}");
    run(&[&"import", &dir.path(), &without, &"--without-files"]).expect_code(0);
    let said = run(&[&"compare", &dir.path(), &without]);
    let said = said.expect_code(0).stdout();
    assert!(
        said.contains("23 files are only in the directory: the import left them out"),
        "{said}"
    );
    let said = run(&[&"stats", &without]).expect_code(0).stdout();
    assert!(!said.contains("place in the model"), "{said}");
    fs::write(runtime_of(dir.path()).join("one-chunk"), "changed").unwrap();
    run(&[&"compare", &dir.path(), &store]).expect_code(4);
}
