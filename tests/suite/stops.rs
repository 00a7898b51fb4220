//! Real processes that are stopped and continued while others share their store.

use crate::faults::{assert_finds, assert_holds};
use torture::campaign::Fault;
use torture::plant::Plant;

#[test]
fn stopped_process_holds_no_commit_up() {
    let figures = [
        "stops at an access of the file",
        "stops in an open",
        "continues",
        "kills",
        "commits acknowledged",
        "snapshots read",
        "lock waits that reached their limit",
        "errors that name the stopped process",
    ];
    assert_holds(Fault::Stop, 20, &figures);
}

#[test]
fn planted_endless_lock_wait_is_found() {
    assert_finds(Plant::LockLimitOff);
}

#[test]
fn planted_acknowledgement_without_lock_is_found() {
    assert_finds(Plant::MarkLost);
}

#[test]
fn planted_moving_snapshot_is_found() {
    assert_finds(Plant::MovingSnapshot);
}
