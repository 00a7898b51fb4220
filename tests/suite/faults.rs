//! Runs the faults of the package `torture` as tests.

use crate::support::seed;
use std::path::Path;
use std::process::Command;
use torture::campaign::{self, Fault, Outcome, Task};
use torture::plant::Plant;
use torture::world::Violation;

const JOB: &str = "TORTURE_JOB";
const DIRECTORY: &str = "TORTURE_DIRECTORY";
const LIMITED: &str = "TORTURE_LIMITED";

/// The test that a child process runs. It never counts as a pass of its own: [`be_child`] does the job
/// that the environment names and ends the process before the harness can say "ok".
const CHILD: &str = "kills::killed_process_keeps_acknowledged_work_whole";

/// Runs the job of this process and exits, if it is a child of a fault's test.
fn be_child() {
    let finish = |done: Result<(), Violation>| {
        // A panic would print nothing: the tests of bit rot silence panics.
        let failed = done.inspect_err(|violation| eprintln!("{violation}"));
        std::process::exit(i32::from(failed.is_err()))
    };
    if let (Ok(job), Some(directory)) = (std::env::var(JOB), std::env::var_os(DIRECTORY)) {
        finish(torture::child::run(&job, Path::new(&directory)));
    }
    if let Ok(told) = std::env::var(LIMITED) {
        let told: Vec<&str> = told.split(' ').collect();
        let (seed, count) = (told[0].parse().unwrap(), told[1].parse().unwrap());
        finish(torture::bit_rot::limited(
            seed,
            count,
            Plant::named(told[2]),
        ));
    }
}

/// A process of this binary that runs as a child.
fn child() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", CHILD, "--nocapture"]);
    command
}

/// A process that runs `job` until it is killed.
fn start(job: &str, directory: &Path) -> Command {
    let mut command = child();
    command.env(JOB, job).env(DIRECTORY, directory);
    command
}

/// A process that runs a round of bit rot with little memory.
fn start_limited(seed: u64, count: usize, plant: Option<Plant>) -> Command {
    let mut command = child();
    let plant = plant.map_or("none", Plant::name);
    command.env(LIMITED, format!("{seed} {count} {plant}"));
    command
}

pub(crate) fn task(seed: u64, count: usize, plant: Option<Plant>) -> Task<'static> {
    Task {
        seed,
        count,
        plant,
        start: &start,
        start_limited: &start_limited,
        progress: false,
    }
}

/// Asserts that the store keeps its guarantees in `count` cases of `fault`, and that each of `figures`
/// was counted, because a guarantee that was never tested holds too.
pub(crate) fn assert_holds(fault: Fault, count: usize, figures: &[&str]) -> Outcome {
    be_child();
    let task = task(seed(), count, None);
    let outcome = campaign::run(fault, &task);
    if let Some((seed, violation)) = outcome.broken {
        panic!("{violation}\nreplay: {}", fault.replay(seed, &task));
    }
    println!(
        "{}: {} tried in {:?}: {:?}",
        fault.name(),
        outcome.tried,
        outcome.took,
        outcome.figures
    );
    assert!(outcome.tried >= count);
    for figure in figures {
        let counted = outcome.figures.get(figure);
        assert!(
            counted.is_some_and(|counted| *counted > 0),
            "nothing {figure}: {:?}",
            outcome.figures
        );
    }
    outcome
}

/// Asserts that the fault of `plant` finds it.
pub(crate) fn assert_finds(plant: Plant) {
    let fault = plant.found_by();
    let outcome = campaign::run(fault, &task(seed(), 10_000, Some(plant)));
    let Some((seed, violation)) = outcome.broken else {
        panic!("{plant:?} was not found");
    };
    println!("{plant:?} after {}: {violation}", outcome.tried);
    // The violation must describe the bug, not a failure of the simulation.
    let shows_as = plant.shows_as();
    let says = |phrases: &[&str]| phrases.iter().all(|phrase| violation.0.contains(phrase));
    assert!(
        shows_as.iter().any(|phrases| says(phrases)),
        "{plant:?} shows as {violation}, not as one of {shows_as:?}"
    );
    // The same round passes without the bug.
    let outcome = campaign::run(fault, &task(seed, fault.per_round(), None));
    let broken = outcome.broken.map(|(_, violation)| violation);
    assert!(broken.is_none(), "{broken:?}");
}
