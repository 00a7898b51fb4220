//! Power losses on a simulated disk, and the planted bugs that the simulation has to find.

use crate::faults::{assert_finds, assert_holds, task};
use crate::support::seed;
use torture::campaign::{self, Fault};
use torture::plant::Plant;
use torture::power_loss::Run;

#[test]
fn power_loss_keeps_what_was_acknowledged_and_all_else_whole_or_absent() {
    let figures = [
        "in a recovery",
        "operations of real threads in the commit of another",
        "with one writer",
        "in an exclusive file",
        "with many writers",
    ];
    assert_holds(Fault::PowerLoss, 10_000, &figures);
}

#[test]
fn a_sync_that_does_nothing_is_found() {
    assert_finds(Plant::LyingSync);
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    assert_finds(Plant::EarlyAck);
}

#[test]
fn an_operation_that_is_two_transactions_is_found() {
    assert_finds(Plant::SplitTransaction);
}

#[test]
fn a_counter_that_is_committed_without_its_event_is_found() {
    assert_finds(Plant::CounterWithoutEvent);
}

#[test]
fn a_row_that_no_read_shows_is_found() {
    assert_finds(Plant::OrphanRow);
}

#[test]
fn commits_of_one_phase_are_found() {
    assert_finds(Plant::OnePhase);
}

#[test]
fn the_same_seed_makes_the_same_changes_of_the_disk() {
    let seed = seed();
    for seed in seed..seed + 5 {
        for plant in [None, Some(Plant::LyingSync)] {
            let changes = || Run::of(seed, plant).unwrap().changes();
            assert_eq!(changes(), changes(), "seed {seed}, {plant:?}");
        }
    }
}

#[test]
fn a_round_is_replayed_alone() {
    assert_eq!(assert_holds(Fault::PowerLoss, 5, &[]).tried, 5);
}

#[test]
fn what_was_tried_until_a_promise_was_broken_is_counted() {
    let plant = Some(Plant::CounterWithoutEvent);
    let run = |seed, count| campaign::run(Fault::PowerLoss, &task(seed, count, plant));
    let (seed, _) = run(seed(), 10_000).broken.unwrap();
    let tried = run(seed, Fault::PowerLoss.per_round()).tried;
    assert!(run(seed, tried).broken.is_some(), "{tried} of seed {seed}");
    if tried > 1 {
        let before = run(seed, tried - 1);
        assert!(before.broken.is_none(), "{tried} of seed {seed}");
    }
}

#[test]
fn the_first_round_that_is_broken_is_told() {
    let first = seed();
    let plant = Some(Plant::EarlyAck);
    let told = campaign::run(Fault::PowerLoss, &task(first, 10_000, plant));
    let (told, _) = told.broken.unwrap();
    for seed in first..=told {
        let count = Fault::PowerLoss.per_round();
        let alone = campaign::run(Fault::PowerLoss, &task(seed, count, plant));
        assert_eq!(alone.broken.is_some(), seed == told, "{seed} of {told}");
    }
}
