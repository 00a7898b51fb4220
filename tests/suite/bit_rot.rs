//! Damage that nobody announces.

use crate::faults::{assert_finds, assert_holds};
use torture::campaign::Fault;
use torture::plant::Plant;

#[test]
fn a_damaged_file_gives_an_error_or_the_right_data() {
    let figures = ["noticed later", "refused when opened"];
    let outcome = assert_holds(Fault::BitRot, 2_000, &figures);
    // What is refused is not read.
    let refused = outcome.figures["refused when opened"];
    assert!(refused * 2 < outcome.tried, "{:?}", outcome.figures);
}

#[test]
fn pages_that_are_not_checked_are_found() {
    assert_finds(Plant::UncheckedPages);
}

#[test]
fn a_malformed_directory_gives_an_error_or_what_is_whole() {
    assert_holds(Fault::Legacy, 200, &["refused when strict", "salvaged"]);
}
