//! A runtime directory made of arbitrary bytes: documents, lines, names.
//!
//! `cargo +nightly fuzz run layout_directory`

#![no_main]

// What bytes become is written once, for the property test in the suite and for this.
#[path = "../../tests/suite/layout_bytes.rs"]
mod layout_bytes;

use layout_bytes::{Files, changed, read, whole, write};
use libfuzzer_sys::fuzz_target;
use redb_runtime_store::Store;
use redb_runtime_store::layout::{
    ExportOptions, ImportOptions, LayoutError, check, compare, export, import,
};
use std::path::Path;
use std::sync::OnceLock;

/// A directory in memory where there is one.
fn scratch() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in(Path::new("/dev/shm"));
    memory
        .or_else(|_| tempfile::tempdir())
        .expect("a directory")
}

/// A whole directory of each form.
fn forms() -> &'static [Files] {
    static FOUND: OnceLock<Vec<Files>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let later = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/later");
        let mut forms = vec![whole()];
        for entry in std::fs::read_dir(later).expect("the directories") {
            forms.push(read(&entry.expect("an entry").path()).expect("readable"));
        }
        forms
    })
}

fuzz_target!(|bytes: &[u8]| {
    let dir = scratch();
    write(dir.path(), &changed(forms(), bytes)).expect("written");
    let salvaged = Store::in_memory().expect("a store");
    let salvage = ImportOptions::new().salvage(true);
    let report = match import(&salvaged, dir.path(), &salvage) {
        // A runtime in the root that lost its document and its log is no directory, and one that got `runtimes` is two.
        Err(LayoutError::NoLayout { .. } | LayoutError::TwoLayouts { .. }) => return,
        done => done.expect("salvage goes on"),
    };
    match check(dir.path(), &ImportOptions::new()) {
        Ok(strict) => assert_eq!(strict, report),
        // A salvage can tell the same damage otherwise: it reads a log out of order as a whole.
        Err(LayoutError::Refused { .. }) => assert!(!report.findings.is_empty()),
        Err(error) => panic!("{error}"),
    }
    let out = scratch();
    export(&salvaged, out.path(), &ExportOptions::new()).expect("exported");
    check(out.path(), &ImportOptions::new()).expect("what was exported imports");
    assert!(compare(&salvaged, out.path()).expect("compared").is_same());
});
