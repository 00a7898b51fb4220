//! Silent damage to files, and malformed directories.

use crate::faults::{assert_finds, assert_holds};
use torture::campaign::Fault;
use torture::plant::Plant;

#[test]
fn damaged_file_gives_right_data_or_error() {
    let figures = ["found later", "refused when opened"];
    let outcome = assert_holds(Fault::BitRot, 2_000, &figures);
    // A rejected file is not read, so most files must be accepted.
    let refused = outcome.figures["refused when opened"];
    assert!(refused * 2 < outcome.tried, "{:?}", outcome.figures);
}

#[test]
fn planted_unchecked_pages_are_found() {
    assert_finds(Plant::UncheckedPages);
}

#[test]
fn malformed_directory_is_refused_or_salvaged_whole() {
    assert_holds(Fault::Legacy, 200, &["refused when strict", "salvaged"]);
}
