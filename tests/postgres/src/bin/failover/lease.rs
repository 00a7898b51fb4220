//! A round in which a host is stopped or cut off, and loses its lease.

use crate::bug::Bug;
use crate::history::{Answer, Input};
use crate::host::{HostArguments, options, set_up};
use crate::outage::read;
use crate::process::HostProcess;
use crate::{Faults, Round, schema};
use postgres_tests::cluster::Cluster;
use postgres_tests::proxy::{Fault, Point, Proxy};
use std::fmt;
use std::thread;
use std::time::Duration;
use torture::rng::Rng;

/// How long a lease lasts, and a transaction of a host that says nothing.
const LEASE: Duration = Duration::from_millis(400);

/// How long a host waits for a server or for a lock.
const PATIENCE: Duration = Duration::from_secs(20);

/// The choices of a round.
struct Plan {
    /// After which request of the first host nothing passes to it or from it; `None` if it is stopped (SIGSTOP).
    held_after: Option<usize>,
    /// How long the first host works, where it is stopped.
    work: Duration,
    /// The inputs of the second host.
    inputs: usize,
    promoted: Promoted,
}

/// When the primary is killed and the standby is promoted.
#[derive(Clone, Copy)]
enum Promoted {
    /// Before the second host begins.
    Before,
    /// While the second host sends.
    During,
    /// After the first host has continued.
    After,
}

impl Plan {
    fn new(rng: &mut Rng) -> Self {
        let nth = rng.between(1, 40);
        Self {
            held_after: rng.chance(50).then_some(nth),
            work: Duration::from_millis(rng.between(1, 60) as u64),
            inputs: rng.between(1, 20),
            promoted: *rng.pick(&[Promoted::Before, Promoted::During, Promoted::After]),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.held_after {
            Some(nth) => write!(f, "a host with a lease cut off after request {nth}")?,
            None => {
                let work = self.work.as_millis();
                write!(f, "a host with a lease stopped after {work} ms")?;
            }
        }
        write!(
            f,
            ", {} inputs of the next one, primary killed ",
            self.inputs
        )?;
        f.write_str(match self.promoted {
            Promoted::Before => "before it began",
            Promoted::During => "meanwhile",
            Promoted::After => "after the first went on",
        })
    }
}

/// Runs the round of `seed`: a host is stopped or cut off until its lease has ended, a second one writes and ends, and the
/// first goes on. From the second host's first event on, the first must write nothing, also on the next primary.
pub(crate) fn round(
    cluster: &mut Cluster,
    seed: u64,
    rng: &mut Rng,
    plant: Option<Bug>,
) -> Result<Round, String> {
    let plan = Plan::new(rng);
    let worker = set_up(options(&cluster.url(), &schema(seed)))?;
    let (proxies, url) = cluster.proxies();
    let arguments = HostArguments {
        url,
        schema: schema(seed),
        worker: worker.worker_id.as_str().to_owned(),
        name: "first".to_owned(),
        threads: 1,
        inputs: None,
        local: false,
        lock_timeout: PATIENCE.as_millis() as u64,
        outage_timeout: PATIENCE.as_millis() as u64,
        idle_timeout: LEASE.as_millis() as u64,
        lease: Some(LEASE.as_millis() as u64),
        plant,
    };
    let first = HostProcess::start(cluster.directory(), &arguments)?;
    first.wait("acknowledged input", |counts| counts.acknowledged > 0)?;
    seize(cluster, &plan, &proxies, &first);
    thread::sleep(2 * LEASE);
    let second = HostArguments {
        url: cluster.url(),
        inputs: Some(plan.inputs),
        ..arguments.named("second")
    };
    let theirs = take_over(cluster, &plan, &second)?;
    let before = first.counts();
    release(&proxies, &first);
    first.wait("answer", |counts| counts.answers > before.answers)?;
    if matches!(plan.promoted, Promoted::After) {
        promote(cluster);
    }
    // It has found the lease lost, also on the next primary.
    let before = first.counts();
    first.wait("answer", |counts| counts.answers > before.answers + 1)?;
    let ours = first.end()?;

    let mut senders: Vec<Vec<Input>> = ours.iter().chain(&theirs).cloned().collect();
    let history = read(cluster, seed, &worker, &mut senders)?;
    let since = theirs.iter().flatten().filter_map(acknowledged).min();
    let late = ours
        .iter()
        .flatten()
        .find(|input| history.event(input) > since);
    if let (Some(late), Some(since)) = (late, since) {
        return Err(format!(
            "{:?} of the host without a lease: {:?}, after event {since} of the next one",
            late.text, late.answer
        ));
    }
    Ok(Round {
        tally: history.check(&senders, false)?,
        is_lease: true,
        faults: Faults {
            hosts_stopped: usize::from(plan.held_after.is_none()),
            ..Faults::default()
        },
        what: plan.to_string(),
    })
}

fn acknowledged(input: &Input) -> Option<u64> {
    match input.answer {
        Answer::Acknowledged(event) => Some(event),
        Answer::Uncertain | Answer::Refused(_) | Answer::Missing => None,
    }
}

fn promote(cluster: &mut Cluster) {
    cluster.fail_over();
    cluster.rejoin();
}

/// Stops the first host, or cuts it off from both servers without closing a connection.
fn seize(cluster: &Cluster, plan: &Plan, proxies: &[Proxy], first: &HostProcess) {
    let Some(nth) = plan.held_after else {
        thread::sleep(plan.work);
        first.pause();
        return;
    };
    let is_primary = |proxy: &&Proxy| proxy.target() == cluster.primary().port();
    for proxy in proxies.iter().filter(is_primary) {
        proxy.plan(Point::after_request(nth), Fault::Hold);
        proxy.wait_fired();
    }
    // It must not reach the next primary either.
    proxies.iter().for_each(|proxy| proxy.fail(Fault::Hold));
}

/// Has the first host go on.
fn release(proxies: &[Proxy], first: &HostProcess) {
    proxies.iter().for_each(Proxy::restore);
    first.resume();
}

/// Has a second host send its inputs once it gets the lease, and end. It gives the lease up then: the first host could take it
/// again.
fn take_over(
    cluster: &mut Cluster,
    plan: &Plan,
    second: &HostArguments,
) -> Result<Vec<Vec<Input>>, String> {
    if matches!(plan.promoted, Promoted::Before) {
        promote(cluster);
    }
    let mut second = HostProcess::start(cluster.directory(), second)?;
    if matches!(plan.promoted, Promoted::During) {
        let half = plan.inputs.div_ceil(2);
        second.wait("lease", |counts| counts.acknowledged >= half)?;
        promote(cluster);
    }
    second.wait_closed()
}
