//! Power losses at any point: every acknowledged operation is stored, and every other one completely or
//! not at all.

use crate::campaign::count_tried;
use crate::disk::Disk;
use crate::image::Timeline;
use crate::pages::Pages;
use crate::plant::Plant;
use crate::rng::Rng;
use crate::threads;
use crate::workload::{Host, Outcome, Workload, open, runtime, sharing_of};
use crate::world::{Context, Violation, World, check_rules};
use redb_runtime_store::Store;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::store::Sharing;

/// The greatest number of operations of a round.
const MAX_OPS: usize = 60;

/// One run of a workload, with all changes of its disk.
#[derive(Debug)]
pub struct Run {
    workload: Workload,
    outcomes: Vec<Outcome>,
    timeline: Timeline,
    sharing: Sharing,
    /// The changes that created the store.
    created: usize,
}

/// The cases that were tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Images that were opened.
    pub images: usize,
    /// Those among them that a power loss during the recovery of another image left.
    pub recoveries: usize,
    /// Operations of real threads that shared the commit of another.
    pub shared: usize,
    /// The mode of sharing.
    pub sharing: Sharing,
}

impl Run {
    /// Runs the workload of `seed`.
    ///
    /// # Errors
    ///
    /// If an operation fails, or the store's content is not the expected one afterwards.
    pub fn of(seed: u64, plant: Option<Plant>) -> Result<Self, Violation> {
        let mut rng = Rng::new(seed);
        let ops = rng.between(10, MAX_OPS);
        let mut workload = Workload::any(ops, &mut rng)?;
        if matches!(
            plant,
            Some(Plant::FloorWithoutRows | Plant::RowsWithoutFloor)
        ) {
            workload.push_prunes()?;
        }
        let sharing = sharing_of(seed);
        // Where several processes write, open work is refused.
        if sharing != Sharing::ManyWriters {
            workload.push_open_work()?;
        }
        let disk = Disk::shared(sharing);
        if plant == Some(Plant::LyingSync) {
            disk.lie_about_syncs();
        }
        let store = open(&disk).or_violation("creating a store")?;
        let created = disk.position();
        let mut host = Host::new(disk.clone(), store, plant);
        let outcomes = host.run(&workload.ops);
        check_outcomes(&workload, &outcomes)?;
        check_world(host.store(), std::slice::from_ref(workload.last()))?;
        if rng.chance(50) {
            host.store().close().or_violation("closing the store")?;
        }
        Ok(Self {
            workload,
            outcomes,
            timeline: Timeline::new(Pages::default(), disk.log()),
            sharing,
            created,
        })
    }

    /// The changes of the disk by kind and place, without the bytes, because some of them are random
    /// ids.
    pub fn changes(&self) -> Vec<String> {
        self.timeline.shape()
    }

    /// The worlds that are allowed after a power loss that follows `changes` changes.
    fn possible(&self, changes: usize) -> &[World] {
        let acknowledged = self.outcomes.iter().filter(|one| one.ended <= changes);
        let begun = self.outcomes.iter().filter(|one| one.begun < changes);
        let first = acknowledged.count();
        let last = begun.count().max(first);
        &self.workload.worlds[first..=last]
    }

    /// Adds to `violation` whether the content that was found is that of another point of the workload.
    fn explain(&self, store: &Store, changes: usize, violation: Violation) -> Violation {
        let found = World::of(store).ok();
        if !violation.0.contains(UNEXPECTED) {
            return violation;
        }
        let acknowledged = self.outcomes.iter().filter(|one| one.ended <= changes);
        let mut worlds = self.workload.worlds.iter();
        let what = match worlds.rposition(|one| found.as_ref() == Some(one)) {
            Some(there) if there < acknowledged.count() => "what was acknowledged is lost",
            Some(_) => "what was not begun is there",
            None => "a part of an operation is there",
        };
        Violation(format!("{what}: {violation}"))
    }

    /// Loses power at random points until `images` images were tried.
    ///
    /// # Errors
    ///
    /// The first image that breaks a guarantee.
    pub fn lose_power(&self, images: usize, rng: &mut Rng) -> Result<Counts, Violation> {
        let check = |changes: usize, store: &Store| {
            let checked = check_world(store, self.possible(changes));
            checked.map_err(|violation| self.explain(store, changes, violation))?;
            check_works(store)
        };
        let first = self.created;
        lose_power(&self.timeline, self.sharing, first, images, rng, &check)
    }
}

/// Checks a store that was opened after a power loss, given the number of changes before it.
pub(crate) type Check<'c> = &'c dyn Fn(usize, &Store) -> Result<(), Violation>;

/// Loses power at random points of `timeline` from `first` on, and sometimes again during the recovery,
/// until `images` images were tried.
pub(crate) fn lose_power(
    timeline: &Timeline,
    sharing: Sharing,
    first: usize,
    images: usize,
    rng: &mut Rng,
    check: Check<'_>,
) -> Result<Counts, Violation> {
    let mut counts = Counts {
        sharing,
        ..Counts::default()
    };
    while counts.images < images {
        let changes = rng.between(first, timeline.len());
        let image = timeline.image(changes, rng);
        let of = timeline.len();
        let context =
            |violation| Violation(format!("after {changes} of {of} changes: {violation}"));
        counts.images += 1;
        count_tried(1);
        let check = |store: &Store| check(changes, store);
        let recovery = recover(image.clone(), sharing, &check).map_err(context)?;
        if !recovery.is_empty() && rng.chance(10) {
            for changes in 1..=recovery.len().min(images - counts.images) {
                let image = recovery.image(changes, rng);
                counts.images += 1;
                count_tried(1);
                counts.recoveries += 1;
                recover(image, sharing, &check).map_err(|violation| {
                    context(Violation(format!(
                        "then after {changes} of {} changes of the recovery: {violation}",
                        recovery.len()
                    )))
                })?;
            }
        }
    }
    Ok(counts)
}

fn check_outcomes(workload: &Workload, outcomes: &[Outcome]) -> Result<(), Violation> {
    let accepted = workload.accepted.iter().zip(&workload.ops);
    for (number, (outcome, (accepted, op))) in outcomes.iter().zip(accepted).enumerate() {
        if outcome.result.is_ok() != *accepted {
            let result = &outcome.result;
            return Err(Violation(format!("operation {number}, {op:?}: {result:?}")));
        }
    }
    Ok(())
}

/// Opens the store in `image` and checks it. Returns the changes that opening made.
fn recover(
    image: Pages,
    sharing: Sharing,
    check: &dyn Fn(&Store) -> Result<(), Violation>,
) -> Result<Timeline, Violation> {
    let disk = Disk::shared_with(image.clone(), sharing);
    let store = open(&disk).or_violation("opening the store")?;
    let recovery = Timeline::new(image, disk.log());
    check(&store)?;
    Ok(recovery)
}

/// The message for a consistent store with unexpected content.
const UNEXPECTED: &str = "not as expected:";

/// Checks that `store` contains one of the worlds `possible`, and that its rows are consistent.
///
/// # Errors
///
/// The difference to the expected content.
pub fn check_world(store: &Store, possible: &[World]) -> Result<(), Violation> {
    found_world(store, possible).map(drop)
}

/// The world among `possible` that `store` contains, if its rows are consistent.
///
/// # Errors
///
/// The difference to the expected content.
pub(crate) fn found_world(store: &Store, possible: &[World]) -> Result<World, Violation> {
    let world = World::of(store).or_violation("reading the store")?;
    check_rules(store, &world)?;
    if possible.contains(&world) {
        return Ok(world);
    }
    let differences: Vec<String> = possible
        .iter()
        .filter_map(|expected| world.difference(expected))
        .map(|difference| format!("\n  {UNEXPECTED} {difference}"))
        .collect();
    Err(Violation(differences.concat()))
}

/// Checks that `store` accepts new operations.
///
/// # Errors
///
/// The error of an operation.
pub fn check_works(store: &Store) -> Result<(), Violation> {
    let what = "working on after the fault";
    let runtime = runtime(store, "after the fault").or_violation(what)?;
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let worker = worker.or_violation(what)?.worker_ref;
    let ack = runtime.send_input(&worker, WorkerInput::user("still there?"));
    let sequence = ack.or_violation(what)?.transcript_sequence;
    let len = runtime
        .worker_detail(&worker)
        .or_violation(what)?
        .transcript_len;
    match (sequence, len) {
        (1, 1) => Ok(()),
        _ => Err(Violation(format!("{what}: entry {sequence} of {len}"))),
    }
}

/// Whether the round of `seed` uses real threads.
pub(crate) fn has_threads(seed: u64, plant: Option<Plant>) -> bool {
    seed.is_multiple_of(4) && plant.is_none()
}

/// Runs the workload of `seed` and tries `images` images. Every fourth round is one of [`threads`],
/// which have no planted bugs.
///
/// # Errors
///
/// The first broken guarantee.
pub fn round(seed: u64, images: usize, plant: Option<Plant>) -> Result<Counts, Violation> {
    if has_threads(seed, plant) {
        return threads::round(seed, images);
    }
    let run = Run::of(seed, plant)?;
    run.lose_power(images, &mut Rng::new(seed).part(1))
}
