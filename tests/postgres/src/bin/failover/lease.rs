//! A round in which a host is cut off and loses its lease.

use crate::bug::Bug;
use crate::history::{Answer, Input};
use crate::sender::{options, runtime, send, send_until, set_up};
use crate::{Round, history};
use postgres_tests::cluster::Cluster;
use postgres_tests::proxy::{Fault, Point};
use redb_runtime_store::PostgresOptions;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::store::{Durability, Writers};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use torture::rng::Rng;

/// How long a lease lasts, and a transaction of a host that says nothing.
const LEASE: Duration = Duration::from_millis(400);

/// How long the second host may wait for the lease of the first.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the round of `seed`: a host is cut off at a message of an operation until its lease has ended, a second one writes
/// and ends, and the first goes on. From the second host's first event on, the first must write nothing.
pub(crate) fn round(
    cluster: &Cluster,
    seed: u64,
    rng: &mut Rng,
    plant: Option<Bug>,
) -> Result<Round, String> {
    let (proxy, url) = cluster.proxied();
    let leased = |url: &str, plant| {
        let options = options(url, seed, plant).durability(Durability::Replicated);
        let options = options.writers(Writers::OnePerRuntime).lease(LEASE);
        options.idle_timeout(LEASE).outage_timeout(PATIENCE)
    };
    let (first, worker) = set_up(leased(&url, plant))?;
    let (nth, inputs) = (rng.between(1, 40), rng.between(1, 20));
    let is_over = AtomicBool::new(false);
    let (ours, theirs) = thread::scope(|scope| {
        let (first, worker, is_over) = (&first, &worker, &is_over);
        let ours = scope.spawn(move || send_until(first, worker, "first", is_over));
        proxy.plan(Point::after_request(nth), Fault::Hold);
        proxy.wait_fired();
        thread::sleep(2 * LEASE);
        let theirs = take_over(&leased(&cluster.url(), plant), worker, inputs);
        proxy.restore();
        thread::sleep(Duration::from_millis(200));
        is_over.store(true, Ordering::Relaxed);
        (ours.join(), theirs)
    });
    let (ours, theirs) = (ours.map_err(|_| "a host panicked".to_owned())?, theirs?);
    let since = theirs.iter().filter_map(acknowledged).min();
    let late = ours.iter().find(|input| acknowledged(input) > since);
    if let (Some(late), Some(since)) = (late, since) {
        return Err(format!(
            "{:?} of the host without a lease: {:?}, after event {since} of the next one",
            late.text, late.answer
        ));
    }
    let reader = runtime(options(&cluster.url(), seed, None));
    let reader = reader.map_err(|error| format!("the store cannot be opened: {error}"))?;
    let what = format!("a host cut off after request {nth}, {inputs} inputs of the next one");
    let tally = history::check(&reader, &worker, &[ours, theirs], false)?;
    Ok(Round { what, tally })
}

fn acknowledged(input: &Input) -> Option<u64> {
    match input.answer {
        Answer::Acknowledged(event) => Some(event),
        Answer::Uncertain | Answer::Refused(_) => None,
    }
}

/// Sends inputs from a second host, once it gets the lease, and ends it.
fn take_over(
    leased: &PostgresOptions,
    worker: &WorkerRef,
    inputs: usize,
) -> Result<Vec<Input>, String> {
    let (began, mut sent) = (Instant::now(), Vec::new());
    let second = runtime(leased.clone());
    let second = second.map_err(|error| format!("the second host could not begin: {error}"))?;
    while sent.iter().filter_map(acknowledged).count() < inputs {
        sent.push(send(&second, worker, format!("second {}", sent.len())));
        if began.elapsed() > PATIENCE {
            return Err(format!("the second host gets no lease: {:?}", sent.last()));
        }
    }
    // It releases the lease: the first host could take it again.
    let closed = second.store().close();
    closed.map_err(|error| format!("the second host could not end: {error}"))?;
    Ok(sent)
}
