//! Errors of the disk, at every change and at reads, once and from then on.

use crate::faults::assert_holds;
use torture::campaign::Fault;

#[test]
fn a_disk_error_is_typed_and_loses_nothing_and_a_reopened_store_works() {
    let figures = [
        "under a path",
        "in maintenance",
        "images after them",
        "with one writer",
        "in an exclusive file",
        "with many writers",
        "read",
        "write",
        "set_len",
        "sync",
        "create",
        "create a directory",
        "rename",
        "remove",
    ];
    assert_holds(Fault::DiskErrors, 2_000, &figures);
}
