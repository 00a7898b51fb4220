//! Kills the primary under load, again and again, and checks that nothing that was acknowledged is lost.
//!
//! Each round has a seed and a schema of its own, and promotes the standby once. Host processes send inputs through proxies
//! that cut their connections at chosen messages. Servers and hosts are stopped (SIGSTOP) and killed meanwhile. Then the
//! store is compared with what the hosts were told: see [`history`].

mod bug;
mod cuts;
mod history;
mod host;
mod lease;
mod outage;
mod plan;
mod process;
mod report;

use bug::Bug;
use clap::{Parser, Subcommand};
use postgres_tests::cluster::Cluster;
use std::fmt;
use std::ops::AddAssign;
use std::process::ExitCode;
use std::time::Instant;
use torture::rng::Rng;

/// Fail-over of a primary with a synchronous standby, under load.
///
/// A seed replays the choices of its round, not how processes mix. Exits with 1 if a promise is broken; a planted bug must
/// break one.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    job: Option<Job>,
    /// The seed of the first round. Each further round has the next seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of rounds, each with one promotion.
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

#[derive(Debug, Subcommand)]
enum Job {
    /// Runs a host of the campaign.
    #[command(hide = true)]
    Host(Box<host::HostArguments>),
}

/// What a round did.
struct Round {
    /// The faults, in words.
    what: String,
    tally: history::Tally,
    /// Whether its hosts had leases.
    is_lease: bool,
    faults: Faults,
}

/// Counts of faults besides the kills of primaries.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    /// Connections cut at a message.
    cut: usize,
    hosts_killed: usize,
    hosts_stopped: usize,
    servers_stopped: usize,
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.cut += other.cut;
        self.hosts_killed += other.hosts_killed;
        self.hosts_stopped += other.hosts_stopped;
        self.servers_stopped += other.servers_stopped;
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cut,
            hosts_killed,
            hosts_stopped,
            servers_stopped,
        } = self;
        write!(
            f,
            "{cut} connections cut, {hosts_killed} hosts killed, {hosts_stopped} stopped, {servers_stopped} servers stopped"
        )
    }
}

/// The schema of the round `seed`.
fn schema(seed: u64) -> String {
    format!("round_{seed}")
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
            None => !self.control && seed.is_multiple_of(4),
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
        let (mut faults, mut leases) = (Faults::default(), 0);
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
                    faults += round.faults;
                    leases += usize::from(round.is_lease);
                }
                Err(violation) => {
                    println!("seed {seed}: BROKEN: {violation}");
                    println!("replay: {}", self.replay(seed));
                    return ExitCode::FAILURE;
                }
            }
        }
        let (count, seconds) = (self.count, began.elapsed().as_secs_f64());
        println!("failover: {count} promotions ({leases} with leases): {total} in {seconds:.0} s");
        println!("failover: {faults}");
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
    match &arguments.job {
        Some(Job::Host(host)) => host::run(host),
        None if arguments.list => bug::list(),
        None => arguments.run(),
    }
}
