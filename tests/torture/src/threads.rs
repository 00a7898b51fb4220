//! Power losses with real threads that share commits.
//!
//! Each thread records the number of disk changes before and after each of its operations. An operation
//! that was acknowledged before the power loss must be stored; one that began after it cannot be.
//!
//! The system's scheduler decides which operations share a commit. So a seed repeats the operations but
//! not the changes: to replay a round, run its seed several times.

use crate::disk::{Access, Disk};
use crate::image::Timeline;
use crate::kills::{ANSWERED, RUNTIME, said_by};
use crate::pages::Pages;
use crate::power_loss::{Counts, check_works, lose_power};
use crate::rng::Rng;
use crate::workload::{open, runtime, sharing_of};
use crate::world::{Context, Violation, World, check_rules};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::{Runtime, Store};
use std::ops::Range;
use std::time::Duration;

const THREADS: usize = 4;
const WORKERS: usize = 2;

/// The number of operations of a thread.
const OPERATIONS: usize = 15;

/// The duration of a sync, so that other threads gather behind it.
const SYNC_TAKES: Duration = Duration::from_micros(100);

/// An acknowledged operation.
#[derive(Debug)]
struct Acknowledged {
    thread: usize,
    /// The thread's first input after it.
    next: usize,
    /// The number of disk changes before the operation, and at its acknowledgement.
    changes: Range<usize>,
}

/// Runs threads and loses power at random points, until `images` images were tried.
///
/// # Errors
///
/// The first broken guarantee.
pub fn round(seed: u64, images: usize) -> Result<Counts, Violation> {
    let sharing = sharing_of(seed);
    let disk = Disk::shared(sharing);
    let store = open(&disk).or_violation("creating a store")?;
    let runtime = runtime(&store, RUNTIME).or_violation("creating a runtime")?;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let created = runtime.create_worker(CreateWorkerRequest::default());
        workers.push(created.or_violation("creating a worker")?.worker_ref);
    }
    let prepared = disk.position();
    disk.slow_syncs(SYNC_TAKES);
    let rng = Rng::new(seed);
    let acknowledged = work(&disk, &runtime, &workers, &rng)?;
    let log = disk.log();
    let syncs = |access: &&Access| matches!(access, Access::Sync);
    let commits = log[prepared..].iter().filter(syncs).count() / 2;
    let timeline = Timeline::new(Pages::default(), log);
    let check = |changes: usize, store: &Store| {
        check_threads(store, changes, &acknowledged)?;
        check_works(store)
    };
    let mut rng = rng.part(1);
    let mut counts = lose_power(&timeline, sharing, prepared, images, &mut rng, &check)?;
    counts.shared = (THREADS * OPERATIONS).saturating_sub(commits);
    Ok(counts)
}

fn work(
    disk: &Disk,
    runtime: &Runtime,
    workers: &[WorkerRef],
    rng: &Rng,
) -> Result<Vec<Acknowledged>, Violation> {
    let acknowledged = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let mut rng = rng.part(thread as u64 + 2);
                scope.spawn(move || thread_of_work(disk, runtime, workers, thread, &mut rng))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.collect::<Result<Vec<_>, _>>()
    });
    let panicked = |_| Violation("a thread panicked".to_owned());
    let acknowledged: Result<Vec<_>, _> = acknowledged.map_err(panicked)?.into_iter().collect();
    Ok(acknowledged
        .or_violation("sending")?
        .into_iter()
        .flatten()
        .collect())
}

/// Sends inputs: one call each, or submitted, or three in a transaction where the number of the first
/// is divided by 7, or with its reply in one.
fn thread_of_work(
    disk: &Disk,
    runtime: &Runtime,
    workers: &[WorkerRef],
    thread: usize,
    rng: &mut Rng,
) -> Result<Vec<Acknowledged>, RuntimeError> {
    let mut acknowledged = Vec::new();
    let mut next: usize = 0;
    for _ in 0..OPERATIONS {
        let worker = rng.pick(workers).clone();
        let input = move |number: usize| WorkerInput::user(format!("{thread}:{number}"));
        let first = next;
        let begun = disk.position();
        if first.is_multiple_of(7) {
            next += 3;
            runtime.transaction(|tx| {
                (first..first + 3).try_for_each(|one| tx.send_input(&worker, input(one)).map(drop))
            })?;
        } else if first % 7 == ANSWERED {
            next += 1;
            runtime.transaction(|tx| {
                tx.send_input(&worker, input(first))?;
                tx.append_reply(&worker, format!("{thread}:{first}"))
                    .map(drop)
            })?;
        } else if rng.chance(30) {
            next += 1;
            let pending = runtime.submit(move |tx| tx.send_input(&worker, input(first)).map(drop));
            pending.wait()?;
        } else {
            next += 1;
            runtime.send_input(&worker, input(first))?;
        }
        acknowledged.push(Acknowledged {
            thread,
            next,
            changes: begun..disk.position(),
        });
    }
    Ok(acknowledged)
}

/// Checks for each thread that all operations acknowledged within the first `changes` changes are
/// stored, and none that began after them.
fn check_threads(
    store: &Store,
    changes: usize,
    acknowledged: &[Acknowledged],
) -> Result<(), Violation> {
    let world = World::of(store).or_violation("reading the store")?;
    check_rules(store, &world)?;
    let Some(state) = world.0.get(RUNTIME) else {
        return Err(Violation("the runtime is missing".to_owned()));
    };
    let found = said_by(state)?;
    for thread in 0..THREADS {
        let of_thread = || acknowledged.iter().filter(|one| one.thread == thread);
        let next = |one: Option<&Acknowledged>| one.map_or(0, |one| one.next);
        let least = next(of_thread().rfind(|one| one.changes.end <= changes));
        let most = next(of_thread().rfind(|one| one.changes.start < changes));
        let there = found.get(&thread).copied().unwrap_or(0);
        if there < least || there > most.max(least) {
            return Err(Violation(format!(
                "thread {thread}: {there} inputs are there, not {least} to {most}"
            )));
        }
    }
    Ok(())
}
