//! Power losses, failed syncs and kills that follow each other in one store.

use crate::faults::{assert_finds, assert_holds};
use torture::campaign::Fault;
use torture::plant::Plant;

#[test]
fn generations_of_faults_keep_acknowledged_work() {
    let figures = [
        "in a recovery",
        "with the allocator state in every commit",
        "operations that failed",
        "opens that failed",
        "kills",
        "removals",
        "compactions",
        "commits around 1 and 4 MiB",
        "changes of the length",
        "with one writer",
        "in an exclusive file",
        "with many writers",
    ];
    assert_holds(Fault::Generations, 6_000, &figures);
}

#[test]
fn planted_trust_in_the_primary_is_found() {
    assert_finds(Plant::PrimaryTrusted);
}

#[test]
fn planted_pages_not_written_again_is_found() {
    assert_finds(Plant::PagesNotRewritten);
}

#[test]
fn planted_descent_one_level_short_is_found() {
    assert_finds(Plant::DescentTooShort);
}

#[test]
fn planted_older_primary_is_found() {
    assert_finds(Plant::OlderPrimary);
}

#[test]
fn planted_recovery_in_one_sync_is_found() {
    assert_finds(Plant::RecoveryOneSync);
}

#[test]
fn planted_slot_not_written_again_is_found() {
    assert_finds(Plant::SlotNotRewritten);
}

#[test]
fn planted_abandoned_slot_is_found() {
    assert_finds(Plant::AbandonedSlotKept);
}
