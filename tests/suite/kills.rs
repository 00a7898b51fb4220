//! Real processes that are killed in the middle of real work.

use crate::faults::{as_child, assert_holds};
use std::path::Path;
use torture::campaign::Fault;

/// What the tests here start as a process of its own; does nothing otherwise.
#[test]
fn a_child_works_until_it_is_killed() {
    if let Some((job, directory)) = as_child() {
        torture::child::run(&job, Path::new(&directory)).unwrap();
    }
}

#[test]
fn a_killed_process_leaves_what_it_acknowledged_and_all_else_whole_or_absent() {
    assert_holds(Fault::Kill, 100);
}
