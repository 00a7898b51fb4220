//! Running the faults of the package `torture` as tests.

use crate::support::seed;
use std::path::Path;
use std::process::Command;
use torture::campaign::{self, Fault, Task};
use torture::plant::Plant;

const JOB: &str = "TORTURE_JOB";
const DIRECTORY: &str = "TORTURE_DIRECTORY";

/// The job and the directory of this process, where it is a child that is to be killed.
pub(crate) fn as_child() -> Option<(String, String)> {
    Some((std::env::var(JOB).ok()?, std::env::var(DIRECTORY).ok()?))
}

/// A process of this binary that does `job`.
fn start(job: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "kills::a_child_works_until_it_is_killed",
        "--nocapture",
    ]);
    command.env(JOB, job).env(DIRECTORY, directory);
    command
}

fn task(seed: u64, count: usize, plant: Option<Plant>) -> Task<'static> {
    Task {
        seed,
        count,
        plant,
        start: &start,
        start_limited: None,
        progress: false,
    }
}

/// Asserts that the store keeps its promises whatever `fault` does, `count` times.
pub(crate) fn assert_holds(fault: Fault, count: usize) {
    let task = task(seed(), count, None);
    let outcome = campaign::run(fault, &task);
    if let Some((seed, violation)) = outcome.broken {
        panic!("{violation}\nreplay: {}", fault.replay(seed, &task));
    }
    println!(
        "{}: {} tried in {:?}",
        fault.name(),
        outcome.tried,
        outcome.took
    );
    assert!(outcome.tried >= count);
}

/// Asserts that `plant` is found.
pub(crate) fn assert_finds(plant: Plant) {
    let fault = plant.found_by();
    let outcome = campaign::run(fault, &task(seed(), 10_000, Some(plant)));
    let Some((seed, _)) = outcome.broken else {
        panic!("{plant:?} was not found");
    };
    // The same round without the bug.
    let outcome = campaign::run(fault, &task(seed, fault.per_round(), None));
    assert!(outcome.broken.is_none(), "{:?}", outcome.broken);
}
