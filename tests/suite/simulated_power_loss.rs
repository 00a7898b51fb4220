//! Power losses on a simulated disk, and planted bugs that the simulation must find.

use crate::faults::{assert_finds, assert_holds, task};
use crate::support::seed;
use torture::campaign::{self, Fault};
use torture::plant::Plant;
use torture::power_loss::Run;

#[test]
fn power_loss_keeps_acknowledged_work_whole() {
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
fn planted_empty_sync_is_found() {
    assert_finds(Plant::LyingSync);
}

#[test]
fn planted_early_acknowledgement_is_found() {
    assert_finds(Plant::EarlyAck);
}

#[test]
fn planted_split_transaction_is_found() {
    assert_finds(Plant::SplitTransaction);
}

#[test]
fn planted_counter_without_event_is_found() {
    assert_finds(Plant::CounterWithoutEvent);
}

#[test]
fn planted_hidden_row_is_found() {
    assert_finds(Plant::OrphanRow);
}

#[test]
fn planted_count_that_stays_is_found() {
    assert_finds(Plant::CountThatStays);
}

#[test]
fn planted_floor_without_rows_is_found() {
    assert_finds(Plant::FloorWithoutRows);
}

#[test]
fn planted_rows_without_floor_is_found() {
    assert_finds(Plant::RowsWithoutFloor);
}

#[test]
fn same_seed_makes_same_disk_changes() {
    let seed = seed();
    for seed in seed..seed + 5 {
        for plant in [None, Some(Plant::LyingSync)] {
            let changes = || Run::of(seed, plant).unwrap().changes();
            assert_eq!(changes(), changes(), "seed {seed}, {plant:?}");
        }
    }
}

#[test]
fn single_round_replays_from_its_seed() {
    assert_eq!(assert_holds(Fault::PowerLoss, 5, &[]).tried, 5);
}

#[test]
fn tries_before_a_violation_are_counted() {
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
fn first_broken_round_is_reported() {
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
