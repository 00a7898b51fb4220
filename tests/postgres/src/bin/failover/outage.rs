//! A round whose primary is killed.

use crate::bug::Bug;
use crate::sender::{options, runtime, send_until, set_up};
use crate::{Round, history};
use postgres_tests::cluster::Cluster;
use postgres_tests::proxy::Fault;
use redb_runtime_store::store::Durability;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use torture::rng::Rng;

/// The choices of a round.
#[derive(Debug)]
struct Plan {
    hosts: usize,
    threads: usize,
    /// How long the hosts work before anything happens.
    work: Duration,
    /// How long the link to the standby is held before the kill; the standby never gets what was held.
    held: Duration,
    /// Whether the link is restored before the kill: then the standby gets everything, and what is in doubt is stored.
    is_restored: bool,
    /// Whether somebody cancels what waits for the standby meanwhile.
    is_cancelled: bool,
    /// How long an operation waits for a server that takes it.
    patience: Duration,
    /// How long an operation waits for the lock of another.
    lock_patience: Duration,
    /// How often the connections whose COMMIT is under way are lost, while the link is held.
    cuts: usize,
}

impl Plan {
    fn new(rng: &mut Rng, plant: Option<Bug>, is_control: bool) -> Self {
        let mut millis = |from, to| Duration::from_millis(rng.between(from, to) as u64);
        let (work, held) = (millis(50, 300), millis(50, 300));
        let is_doubt = matches!(plant, Some(Bug::TokenMissing | Bug::SettledWithoutLock));
        let is_cancel = plant == Some(Bug::CancelTakenForSuccess);
        // A commit without a token is found where it is stored and reported as undone; the others where it is lost.
        let is_restored = plant.map(|bug| bug == Bug::TokenMissing);
        let is_restored = is_restored.unwrap_or_else(|| !is_control && rng.chance(30));
        let is_held = is_control || is_cancel || is_doubt || rng.chance(60);
        Self {
            hosts: rng.between(1, 3),
            threads: rng.between(1, 4),
            work,
            held: if is_held { held } else { Duration::ZERO },
            is_restored,
            is_cancelled: is_cancel || (!is_control && rng.chance(30)),
            patience: Duration::from_secs(if rng.chance(20) { 1 } else { 30 }),
            lock_patience: Duration::from_millis(if rng.chance(30) { 200 } else { 10_000 }),
            cuts: if is_doubt { 4 } else { rng.below(4) },
        }
    }

    fn describe(&self) -> String {
        let held = match self.held.as_millis() {
            0 => String::new(),
            held => {
                let cancelled = if self.is_cancelled {
                    ", waits cancelled"
                } else {
                    ""
                };
                let end = if self.is_restored {
                    "for"
                } else {
                    "until the end for"
                };
                format!(", standby cut off {end} {held} ms{cancelled}")
            }
        };
        let (work, cuts) = (self.work.as_millis(), self.cuts);
        let (hosts, threads) = (self.hosts, self.threads);
        format!("{hosts} x {threads} senders, {cuts} connections cut, killed after {work} ms{held}")
    }
}

/// Runs the round of `seed`.
pub(crate) fn round(
    cluster: &mut Cluster,
    seed: u64,
    rng: &mut Rng,
    plant: Option<Bug>,
    is_control: bool,
) -> Result<Round, String> {
    let plan = Plan::new(rng, plant, is_control);
    let durability = if is_control {
        Durability::Local
    } else {
        Durability::Replicated
    };
    let url = cluster.url();
    let host = || {
        options(&url, seed, plant)
            .lock_timeout(plan.lock_patience)
            .durability(durability)
            .outage_timeout(plan.patience)
    };
    let (first, worker) = set_up(host())?;
    let mut hosts = vec![first];
    for _ in 1..plan.hosts {
        let host = runtime(host()).map_err(|error| format!("a host could not begin: {error}"))?;
        hosts.push(host);
    }
    let is_over = AtomicBool::new(false);
    let senders = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, runtime) in hosts.iter().enumerate() {
            for thread in 0..plan.threads {
                let (name, worker, is_over) = (format!("{number}.{thread}"), &worker, &is_over);
                let send = move || send_until(runtime, worker, &name, is_over);
                threads.push(scope.spawn(send));
            }
        }
        happen(cluster, &plan);
        // With the new primary, also for operations that were under way.
        thread::sleep(Duration::from_millis(100));
        is_over.store(true, Ordering::Relaxed);
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.collect::<Result<Vec<_>, _>>()
    });
    let senders = senders.map_err(|_| "a host panicked".to_owned())?;
    // By a host that knows nothing of what happened, and without the bug.
    let reader = runtime(options(&cluster.url(), seed, None));
    let reader = reader.map_err(|error| format!("the store cannot be opened: {error}"))?;
    Ok(Round {
        what: plan.describe(),
        tally: history::check(&reader, &worker, &senders, is_control)?,
    })
}

/// Makes the faults of `plan` happen, and a new standby.
fn happen(cluster: &mut Cluster, plan: &Plan) {
    thread::sleep(plan.work);
    if !plan.held.is_zero() {
        cluster.link().fail(Fault::Hold);
        thread::sleep(plan.held / 2);
        for _ in 0..plan.cuts {
            end_waiting(cluster, "pg_terminate_backend");
        }
        if plan.is_cancelled {
            end_waiting(cluster, "pg_cancel_backend");
        }
        thread::sleep(plan.held / 2);
        if plan.is_restored {
            cluster.link().restore();
            thread::sleep(plan.held);
        }
    }
    cluster.fail_over();
    cluster.rejoin();
}

/// Calls `function` for every process that waits for the standby. The server answers a host whose COMMIT it cancels with
/// success; one whose connection it terminates finds it lost.
fn end_waiting(cluster: &Cluster, function: &str) {
    let statement =
        format!("SELECT count({function}(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    // An operator may come too late for this server.
    let _ = cluster.primary().try_ask(&statement);
}
