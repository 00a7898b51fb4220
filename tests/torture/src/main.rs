//! Runs the faults, prints figures, and exits non-zero where a promise was broken.

use clap::{Parser, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use torture::campaign::{self, Fault, Task};
use torture::kills::{self, Job};
use torture::plant::Plant;

/// Power losses, kills, disk errors and bit rot for redb-runtime-store.
///
/// A round is replayed by its seed. Exits with 1 where a promise is broken: with a planted bug it
/// has to be.
#[derive(Debug, Parser)]
struct Arguments {
    /// The faults; all without a name.
    faults: Vec<Fault>,
    /// The seed of the first round.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How much of each fault to try at least.
    #[arg(long, default_value_t = 1_000)]
    count: usize,
    /// Plants a bug, which the fault `power-loss` must find.
    #[arg(long)]
    plant: Option<Plant>,
    /// Lists the faults and the bugs.
    #[arg(long)]
    list: bool,
    /// Does the job of a child that is to be killed.
    #[arg(long, hide = true, num_args = 2, value_names = ["JOB", "DIRECTORY"])]
    child: Vec<String>,
}

fn start(job: Job, directory: &Path) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("torture"));
    let mut command = Command::new(program);
    command.args(["--child", job.name()]).arg(directory);
    command
}

fn list() -> ExitCode {
    println!("faults:");
    for fault in Fault::ALL {
        println!("  {:13} {}", fault.name(), fault.description());
    }
    println!("bugs, to be found by power-loss:");
    for plant in Plant::value_variants()
        .iter()
        .filter_map(Plant::to_possible_value)
    {
        let help = plant
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        println!("  {:21} {help}", plant.get_name());
    }
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        return list();
    }
    if let [job, directory] = arguments.child.as_slice() {
        let done = Job::named(job).map(|job| kills::child(job, Path::new(directory)));
        return match done {
            Some(Ok(())) => ExitCode::SUCCESS,
            Some(Err(violation)) => {
                eprintln!("{violation}");
                ExitCode::FAILURE
            }
            None => ExitCode::FAILURE,
        };
    }
    let task = Task {
        seed: arguments.seed,
        count: arguments.count,
        plant: arguments.plant,
        start: &start,
        progress: true,
    };
    let faults = match (arguments.faults.is_empty(), arguments.plant) {
        (true, Some(_)) => vec![Fault::PowerLoss],
        (true, None) => Fault::ALL.to_vec(),
        (false, _) => arguments.faults,
    };
    let broken = faults.into_iter().filter(|fault| !report(*fault, &task));
    match broken.count() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs one fault and prints what came of it. False where a promise was broken.
fn report(fault: Fault, task: &Task<'_>) -> bool {
    let outcome = campaign::run(fault, task);
    let seconds = outcome.took.as_secs_f64();
    println!(
        "{}: {} tried in {seconds:.1} s",
        fault.name(),
        outcome.tried
    );
    let Some((seed, violation)) = outcome.broken else {
        return true;
    };
    println!("{}: BROKEN by seed {seed}: {violation}", fault.name());
    println!("replay: {}", fault.replay(seed, task));
    false
}
