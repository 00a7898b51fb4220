//! A runtime directory made of arbitrary bytes: documents, lines, names.
//!
//! `cargo +nightly fuzz run layout_directory`

#![no_main]

// What bytes become is written once, for the property test in the suite and for this.
#[path = "../../tests/suite/layout_bytes.rs"]
mod layout_bytes;

use layout_bytes::{changed, write};
use libfuzzer_sys::fuzz_target;
use redb_runtime_store::Store;
use redb_runtime_store::layout::{
    ExportOptions, ImportOptions, LayoutError, check, compare, export, import,
};
use std::path::Path;

/// A directory in memory where there is one.
fn scratch() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in(Path::new("/dev/shm"));
    memory
        .or_else(|_| tempfile::tempdir())
        .expect("a directory")
}

fuzz_target!(|bytes: &[u8]| {
    let dir = scratch();
    write(dir.path(), &changed(bytes)).expect("written");
    let salvaged = Store::in_memory().expect("a store");
    let salvage = ImportOptions::new().salvage(true);
    let report = import(&salvaged, dir.path(), &salvage).expect("salvage goes on");
    match check(dir.path(), &ImportOptions::new()) {
        Ok(strict) => assert_eq!(strict, report),
        Err(LayoutError::Refused { findings, .. }) => {
            assert!(
                findings
                    .iter()
                    .all(|finding| report.findings.contains(finding))
            );
        }
        Err(error) => panic!("{error}"),
    }
    let out = scratch();
    export(&salvaged, out.path(), &ExportOptions::new()).expect("exported");
    check(out.path(), &ImportOptions::new()).expect("what was exported imports");
    assert!(compare(&salvaged, out.path()).expect("compared").is_same());
});
