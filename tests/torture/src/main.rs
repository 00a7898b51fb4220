//! Runs the faults, prints figures, and exits with 1 if a guarantee was broken.

use clap::{Parser, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use torture::bit_rot;
use torture::campaign::{self, Fault, Task};
use torture::child;
use torture::plant::Plant;
use torture::world::Violation;

/// Power losses, kills, stops, disk errors and bit rot for redb-runtime-store.
///
/// A seed replays its round. Exits with 1 if a guarantee is broken; a planted bug must break one.
#[derive(Debug, Parser)]
struct Arguments {
    /// The faults to run; all if none is named.
    faults: Vec<Fault>,
    /// The seed of the first round.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of cases of each fault to try at least.
    #[arg(long, default_value_t = 1_000)]
    count: usize,
    /// Plants a bug. `--list` names the fault that must find it.
    #[arg(long)]
    plant: Option<Plant>,
    /// Lists the faults and the bugs.
    #[arg(long)]
    list: bool,
    /// Runs a round with little memory.
    #[arg(long, hide = true)]
    limited: bool,
    /// Runs the job of a child process.
    #[arg(long, hide = true, num_args = 2, value_names = ["JOB", "DIRECTORY"])]
    child: Vec<String>,
}

fn start(job: &str, directory: &Path) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("torture"));
    let mut command = Command::new(program);
    command.args(["--child", job]).arg(directory);
    command
}

fn start_limited(seed: u64, count: usize, plant: Option<Plant>) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("torture"));
    let mut command = Command::new(program);
    command.arg("--limited");
    command.args(["--seed", &seed.to_string(), "--count", &count.to_string()]);
    if let Some(plant) = plant {
        command.args(["--plant", plant.name()]);
    }
    command
}

fn list() -> ExitCode {
    println!("faults:");
    for fault in Fault::ALL {
        println!("  {:13} {}", fault.name(), fault.description());
    }
    println!("bugs, each with the fault that has to find it:");
    for plant in Plant::value_variants() {
        let Some(value) = plant.to_possible_value() else {
            continue;
        };
        let help = value.get_help().map(ToString::to_string);
        let found_by = plant.found_by().name();
        println!(
            "  {:21} {found_by:12} {}",
            value.get_name(),
            help.unwrap_or_default()
        );
    }
    ExitCode::SUCCESS
}

/// Exits with 1 if `done` is a violation, and prints it to standard error.
fn exit<T>(done: Result<T, Violation>) -> ExitCode {
    match done {
        Ok(_) => ExitCode::SUCCESS,
        Err(violation) => {
            eprintln!("{violation}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        return list();
    }
    if let [job, directory] = arguments.child.as_slice() {
        return exit(child::run(job, Path::new(directory)));
    }
    if arguments.limited {
        return exit(bit_rot::limited(
            arguments.seed,
            arguments.count,
            arguments.plant,
        ));
    }
    let task = Task {
        seed: arguments.seed,
        count: arguments.count,
        plant: arguments.plant,
        start: &start,
        start_limited: &start_limited,
        progress: true,
    };
    let faults = match (arguments.faults.is_empty(), arguments.plant) {
        (true, Some(plant)) => vec![plant.found_by()],
        (true, None) => Fault::ALL.to_vec(),
        (false, Some(plant)) if arguments.faults != [plant.found_by()] => {
            eprintln!(
                "this bug is planted in, and found by, {}",
                plant.found_by().name()
            );
            return ExitCode::from(2);
        }
        (false, _) => arguments.faults,
    };
    let broken = faults.into_iter().filter(|fault| !report(*fault, &task));
    match broken.count() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs one fault and prints its result. Returns false if a guarantee was broken.
fn report(fault: Fault, task: &Task<'_>) -> bool {
    let outcome = campaign::run(fault, task);
    let seconds = outcome.took.as_secs_f64();
    let figures = outcome.figures.iter();
    let figures: Vec<String> = figures
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    let figures = match figures.is_empty() {
        true => String::new(),
        false => format!(" ({})", figures.join(", ")),
    };
    let (name, tried) = (fault.name(), outcome.tried);
    println!("{name}: {tried} tried{figures} in {seconds:.1} s");
    let Some((seed, violation)) = outcome.broken else {
        return true;
    };
    println!("{}: BROKEN by seed {seed}: {violation}", fault.name());
    println!("replay: {}", fault.replay(seed, task));
    false
}
