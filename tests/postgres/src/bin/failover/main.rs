//! Kills the primary under load, again and again, and checks that nothing that was acknowledged is lost.
//!
//! Each round has a seed and a schema of its own. Hosts send inputs while the primary is killed and its synchronous standby
//! takes over, or while one of them is cut off and loses its lease. Then the store is compared with what the hosts were
//! told: see [`history`].

mod bug;
mod history;
mod lease;
mod outage;
mod sender;

use bug::Bug;
use clap::Parser;
use postgres_tests::cluster::Cluster;
use std::process::ExitCode;
use std::time::Instant;
use torture::rng::Rng;

/// Fail-over of a primary with a synchronous standby, under load.
///
/// A seed replays the choices of its round, not how threads mix. Exits with 1 if a promise is broken; a planted bug must
/// break one.
#[derive(Debug, Parser)]
struct Arguments {
    /// The seed of the first round. Each further round has the next seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of rounds.
    #[arg(long, default_value_t = 20)]
    count: u64,
    /// Plants a bug, and runs only the rounds that can find it.
    #[arg(long)]
    plant: Option<Bug>,
    /// Runs without a synchronous standby. Exits with 1 unless acknowledged inputs are lost: the checks can fail.
    #[arg(long, conflicts_with = "plant")]
    control: bool,
    /// Lists the bugs.
    #[arg(long)]
    list: bool,
}

/// What a round did, for its line.
struct Round {
    /// The faults.
    what: String,
    tally: history::Tally,
}

impl Arguments {
    fn replay(&self, seed: u64) -> String {
        let mut command = format!(
            "cargo run --release -p postgres-tests --bin failover -- --seed {seed} --count 1"
        );
        if let Some(bug) = self.plant {
            command.push_str(&format!(" --plant {}", bug.name()));
        }
        if self.control {
            command.push_str(" --control");
        }
        command
    }

    /// Runs the round of `seed`. An error is a broken promise.
    fn round(&self, cluster: &mut Cluster, seed: u64) -> Result<Round, String> {
        let mut rng = Rng::new(seed);
        let is_lease = match self.plant {
            Some(bug) => bug.is_of_leases(),
            None => !self.control && rng.chance(25),
        };
        match is_lease {
            true => lease::round(cluster, seed, &mut rng, self.plant),
            false => outage::round(cluster, seed, &mut rng, self.plant, self.control),
        }
    }

    fn run(&self) -> ExitCode {
        let mut cluster = match self.control {
            true => Cluster::asynchronous(),
            false => Cluster::replicated(),
        };
        let (began, mut total) = (Instant::now(), history::Tally::default());
        for seed in self.seed..self.seed + self.count {
            let started = Instant::now();
            match self.round(&mut cluster, seed) {
                Ok(round) => {
                    let seconds = started.elapsed().as_secs_f64();
                    println!(
                        "seed {seed}: {}: {} in {seconds:.1} s",
                        round.what, round.tally
                    );
                    total += round.tally;
                }
                Err(violation) => {
                    println!("seed {seed}: BROKEN: {violation}");
                    println!("replay: {}", self.replay(seed));
                    return ExitCode::FAILURE;
                }
            }
        }
        let (count, seconds) = (self.count, began.elapsed().as_secs_f64());
        println!("failover: {count} rounds: {total} in {seconds:.0} s");
        match (self.control, self.plant, total.lost) {
            (true, _, 0) => {
                println!("the control lost nothing: its rounds prove nothing");
                ExitCode::FAILURE
            }
            (_, Some(bug), _) => {
                println!("the bug {} was not found", bug.name());
                ExitCode::SUCCESS
            }
            _ => ExitCode::SUCCESS,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.list {
        true => bug::list(),
        false => arguments.run(),
    }
}
