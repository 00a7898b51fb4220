//! Generations of a store: power losses, failed syncs and kills that follow each other.
//!
//! The other simulations begin each case with a store that nothing happened to. Some damage needs more: a
//! sync that fails leaves pages that can be read until the power is lost, and are not on the disk. A store
//! that is opened again in the same boot builds its commits on them, and is lost one power loss later.
//!
//! A generation begins with an image of the disk. Opening it is the recovery, whose own syncs can fail. Then
//! the store works: inputs, transactions, imports, removals, compactions, commits of about 1 and 4 MiB. Syncs
//! fail, the process is killed, and the store is opened again in the same boot. Then the power is lost, at
//! any change of the generation and often right after a write of the header, also within the recovery. Each
//! image is opened and checked, and one of them begins the next generation.
//!
//! The promise is that of every simulation, and one more: the content that an open store shows stays. An
//! operation whose commit failed is found or not when the store is opened again, and is never lost
//! or found later.

use crate::campaign::count_tried;
use crate::disk::{Disk, EIO, Errors, Fault, FaultKind};
use crate::generation_ops::{FIRST, Op};
use crate::image::Timeline;
use crate::model::Refusal;
use crate::moods::Mood;
use crate::pages::Pages;
use crate::plant::Plant;
use crate::power_loss::{check_works, found_world};
use crate::rng::Rng;
use crate::workload::{name_of, open, sharing_of};
use crate::world::{Context, Violation, World};
use redb_runtime_store::Store;
use redb_runtime_store::store::{PlantedBug, Sharing};
use std::ops::Range;

/// The images that one round tries.
pub(crate) const PER_ROUND: usize = 200;

/// The images of a generation, besides those of their recoveries.
const IMAGES: usize = 8;

/// Those of a generation where power is lost in the first commit after the recovery.
const EARLY_IMAGES: usize = 2;

/// The writes of the header that the first commits after a recovery make.
const EARLY_HEADERS: usize = 2;

/// The greatest number of operations of a generation.
const MAX_OPS: usize = 10;

/// The cases that were tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Images that were opened.
    pub images: usize,
    /// Those among them of a power loss within the recovery of another.
    pub recoveries: usize,
    /// Those among them of stores that save the allocator state in every commit.
    pub quick: usize,
    /// Operations that failed because a sync did.
    pub failed: usize,
    /// Opens that failed because a sync did.
    pub failed_opens: usize,
    /// Kills.
    pub kills: usize,
    /// Removals of a runtime.
    pub removals: usize,
    /// Compactions.
    pub compactions: usize,
    /// Commits of about 1 MiB and of about 4 MiB.
    pub large: usize,
    /// Changes of the length of the file.
    pub resized: usize,
    /// The mode of sharing.
    pub sharing: Sharing,
}

impl Counts {
    /// The cases by kind.
    pub(crate) fn figures(&self) -> [(&'static str, usize); 10] {
        [
            ("in a recovery", self.recoveries),
            ("with the allocator state in every commit", self.quick),
            ("operations that failed", self.failed),
            ("opens that failed", self.failed_opens),
            ("kills", self.kills),
            ("removals", self.removals),
            ("compactions", self.compactions),
            ("commits around 1 and 4 MiB", self.large),
            ("changes of the length", self.resized),
            (name_of(self.sharing), self.images),
        ]
    }
}

/// The content that a power loss may leave, by the number of changes before it.
#[derive(Debug)]
struct History(Vec<(usize, Vec<World>)>);

impl History {
    /// From `changes` changes on the content is one of `worlds`.
    fn mark(&mut self, changes: usize, worlds: Vec<World>) {
        self.0.push((changes, worlds));
    }

    fn possible(&self, changes: usize) -> &[World] {
        let after = self.0.partition_point(|(from, _)| *from <= changes);
        &self.0[after.max(1) - 1].1
    }
}

/// A sync that fails, after `after` others.
fn failing_sync(after: usize) -> Option<Fault> {
    Some(Fault {
        kind: FaultKind::Sync,
        after,
        errors: Errors::only(EIO, false),
    })
}

/// One generation of a store.
struct Generation {
    start: Pages,
    disk: Disk,
    store: Store,
    world: World,
    history: History,
    /// What happened, for the message of a violation.
    events: Vec<&'static str>,
    /// The changes of the recovery, and those that created the store, where no power is lost.
    opened: usize,
    created: usize,
    /// The changes of the last open in the same boot.
    reopened: Range<usize>,
}

impl Generation {
    /// Opens the store in the image `start`, whose content is one of `possible`.
    fn begin(
        start: Pages,
        like: &Disk,
        possible: &[World],
        fails: usize,
        counts: &mut Counts,
        rng: &mut Rng,
    ) -> Result<Self, Violation> {
        let disk = like.replaced(start.clone());
        let store = open_failing(&disk, fails, counts, rng)?;
        let world = found_world(&store, possible)?;
        let opened = disk.position();
        let mut history = History(vec![(0, possible.to_vec())]);
        history.mark(opened, vec![world.clone()]);
        Ok(Self {
            start,
            disk,
            store,
            world,
            history,
            events: Vec::new(),
            opened,
            created: 0,
            reopened: 0..0,
        })
    }

    /// Runs any operations.
    fn work(&mut self, mood: &Mood, counts: &mut Counts, rng: &mut Rng) -> Result<(), Violation> {
        let ops = rng.between(0, MAX_OPS);
        let fails_in = |disk: &Disk, rng: &mut Rng| {
            if rng.chance(mood.fails) {
                disk.set_fault(failing_sync(rng.below(2 * ops + 2)));
            }
        };
        fails_in(&self.disk, rng);
        for number in 0..ops {
            let op = Op::any(&self.world, mood, rng);
            let context = |one: Violation| Violation(format!("operation {number}, {op:?}: {one}"));
            if self.run(&op, counts).map_err(context)? {
                continue;
            }
            counts.failed += 1;
            self.reopen(mood.fails, counts, rng).map_err(context)?;
            fails_in(&self.disk, rng);
        }
        self.disk.set_fault(None);
        if rng.chance(15) {
            counts.kills += 1;
            let killed = |one| Violation(format!("after a kill: {one}"));
            self.kill(mood.fails, counts, rng).map_err(killed)?;
        }
        Ok(())
    }

    /// Runs an operation. `false` if it failed because the disk did.
    fn run(&mut self, op: &Op, counts: &mut Counts) -> Result<bool, Violation> {
        self.events.push(op.name());
        let expected = op.expected(&self.world);
        let begun = self.disk.position();
        let result = op.execute(&mut self.store, &self.disk, &self.world);
        let ended = self.disk.position();
        let before = self.world.clone();
        match (result, expected) {
            (Ok(()), Some(after)) => {
                if begun < ended {
                    self.history.mark(begun + 1, vec![before, after.clone()]);
                }
                self.history.mark(ended, vec![after.clone()]);
                self.world = after;
                match op {
                    Op::Remove(_) => counts.removals += 1,
                    Op::Compact => counts.compactions += 1,
                    _ if op.is_large() => counts.large += 1,
                    _ => {}
                }
                Ok(true)
            }
            (Err(error), None) if Refusal::of(&error).is_some() => Ok(true),
            (Err(_), expected) if self.disk.first_strike().is_some() => {
                let mut possible = vec![before];
                possible.extend(expected);
                self.history.mark(begun + 1, possible);
                Ok(false)
            }
            (Err(error), _) => Err(Violation(format!("{error}"))),
            (Ok(()), None) => Err(Violation("accepted against the rules".to_owned())),
        }
    }

    /// Opens the store again in the same boot, after an operation failed.
    fn reopen(
        &mut self,
        fails: usize,
        counts: &mut Counts,
        rng: &mut Rng,
    ) -> Result<(), Violation> {
        self.events.push("failed");
        // The process may have been killed before it closed the file.
        if rng.chance(50) {
            self.events.push("killed");
            self.disk = self.disk.forked();
        }
        self.disk.set_fault(None);
        let possible = self.history.possible(usize::MAX).to_vec();
        // Dropped before the file is opened again, so that the locks of a real file would be free.
        self.store = Store::in_memory().or_violation("opening a store in memory")?;
        let begun = self.disk.position();
        self.store = open_failing(&self.disk, fails, counts, rng)?;
        self.reopened = begun..self.disk.position();
        self.world = found_world(&self.store, &possible)
            .map_err(|one| Violation(format!("opened again: {one}")))?;
        self.history
            .mark(self.disk.position(), vec![self.world.clone()]);
        Ok(())
    }

    /// Kills the process, and opens the store again in the same boot.
    fn kill(&mut self, fails: usize, counts: &mut Counts, rng: &mut Rng) -> Result<(), Violation> {
        self.events.push("killed");
        self.disk = self.disk.forked();
        self.store = open_failing(&self.disk, fails, counts, rng)?;
        found_world(&self.store, std::slice::from_ref(&self.world)).map(drop)
    }

    /// A number of changes after which the power is lost: often right after a write of the header.
    fn any_moment(
        &self,
        timeline: &Timeline,
        (is_early, at_headers): (bool, bool),
        rng: &mut Rng,
    ) -> usize {
        if is_early && let headers @ [_, ..] = timeline.after_headers(self.opened).as_slice() {
            return *rng.pick(&headers[..headers.len().min(EARLY_HEADERS)]);
        }
        let from = match rng.chance(25) {
            true => self.created,
            false => self.opened,
        };
        let mut headers = timeline.after_headers(from);
        if at_headers && headers.iter().any(|at| self.reopened.contains(at)) {
            headers.retain(|at| self.reopened.contains(at));
        }
        match (at_headers || rng.chance(60)) && !headers.is_empty() {
            true => *rng.pick(&headers),
            false => rng.between(from, timeline.len()),
        }
    }
}

/// Opens the store on `disk`. In `fails` percent of the cases a sync of that fails: then again, in the same
/// boot.
fn open_failing(
    disk: &Disk,
    fails: usize,
    counts: &mut Counts,
    rng: &mut Rng,
) -> Result<Store, Violation> {
    for _ in 0..3 {
        if !rng.chance(fails) {
            break;
        }
        disk.set_fault(failing_sync(rng.below(3)));
        let opened = open(disk);
        let has_failed = disk.first_strike().is_some();
        disk.set_fault(None);
        match opened {
            Ok(store) => return Ok(store),
            Err(_) if has_failed => counts.failed_opens += 1,
            Err(error) => return Err(Violation(format!("opening: {error}"))),
        }
    }
    open(disk).or_violation("opening")
}

/// A round: the chain of generations of one seed.
struct Chain {
    rng: Rng,
    mood: Mood,
    counts: Counts,
    most_images: usize,
    saves_allocator_state: bool,
}

impl Chain {
    fn is_done(&self) -> bool {
        self.counts.images >= self.most_images
    }

    fn count_image(&mut self) {
        count_tried(1);
        self.counts.images += 1;
        self.counts.quick += usize::from(self.saves_allocator_state);
    }

    /// Opens an image of `generation`, and power losses within the recovery of that. Returns the generation
    /// that begins with it, if it can be continued.
    fn lose_power(
        &mut self,
        generation: &Generation,
        timeline: &Timeline,
        continues: bool,
    ) -> Result<Generation, Violation> {
        let moment = (self.mood.is_early && !continues, self.mood.at_headers);
        let (rng, fails) = (&mut self.rng, self.mood.fails / 3);
        let changes = generation.any_moment(timeline, moment, rng);
        let context = |one| {
            let (of, events) = (timeline.len(), generation.events.join(", "));
            Violation(format!("after {changes} of {of} changes ({events}): {one}"))
        };
        let image = self.mood.image(timeline, changes, continues, rng);
        self.count_image();
        let possible = generation.history.possible(changes);
        let (rng, counts) = (&mut self.rng, &mut self.counts);
        let next = Generation::begin(image, &generation.disk, possible, fails, counts, rng);
        let next = next.map_err(context)?;
        if next.opened > 0 && !self.mood.is_early && self.rng.chance(30) {
            self.lose_power_again(&next).map_err(context)?;
        }
        if !continues {
            check_works(&next.store).map_err(context)?;
        }
        Ok(next)
    }

    /// Loses power within the recovery that began `generation`.
    fn lose_power_again(&mut self, generation: &Generation) -> Result<(), Violation> {
        let timeline = Timeline::new(generation.start.clone(), generation.disk.log());
        for _ in 0..2 {
            if self.is_done() {
                return Ok(());
            }
            self.count_image();
            self.counts.recoveries += 1;
            let (rng, counts) = (&mut self.rng, &mut self.counts);
            let changes = rng.between(1, generation.opened);
            let context = |one| {
                let of = generation.opened;
                Violation(format!(
                    "then after {changes} of {of} changes of the recovery: {one}"
                ))
            };
            let image = self.mood.image(&timeline, changes, false, rng);
            let possible = generation.history.possible(changes);
            let again = Generation::begin(image, &generation.disk, possible, 0, counts, rng);
            let again = again.map_err(context)?;
            check_works(&again.store).map_err(context)?;
        }
        Ok(())
    }

    fn run(&mut self, disk: &Disk) -> Result<(), Violation> {
        let (rng, counts) = (&mut self.rng, &mut self.counts);
        let empty = [World::default()];
        let mut generation = Generation::begin(Pages::default(), disk, &empty, 0, counts, rng)?;
        let first = Op::CreateRuntime(FIRST.to_owned());
        generation.run(&first, counts)?;
        // Creating a store in place is no promise: see `create`, which does it in another file.
        generation.opened = generation.disk.position();
        generation.created = generation.opened;
        for number in 0.. {
            let context = |one| Violation(format!("generation {number}: {one}"));
            let (rng, counts) = (&mut self.rng, &mut self.counts);
            generation.work(&self.mood, counts, rng).map_err(context)?;
            self.counts.resized += generation.disk.resized();
            let log = generation.disk.log();
            let timeline = Timeline::new(generation.start.clone(), log);
            let mut next = None;
            let images = match self.mood.is_early {
                true => EARLY_IMAGES,
                false => IMAGES,
            };
            for image in 1..=images {
                if self.is_done() {
                    return Ok(());
                }
                let continues = image == images;
                let lost = self.lose_power(&generation, &timeline, continues);
                next = Some(lost.map_err(context)?);
            }
            if let Some(next) = next {
                generation = next;
            }
        }
        Ok(())
    }
}

/// Runs the generations of `seed` until `images` images were tried.
///
/// # Errors
///
/// The first broken guarantee.
pub fn round(seed: u64, images: usize, plant: Option<Plant>) -> Result<Counts, Violation> {
    let bug = plant.and_then(Plant::in_commits);
    // With many writers every commit takes two syncs.
    let sharing = match sharing_of(seed) {
        Sharing::ManyWriters if bug.is_some() => Sharing::OneWriter,
        _ if bug == Some(PlantedBug::AbandonedSlotKept) => Sharing::OneWriter,
        sharing => sharing,
    };
    let disk = Disk::shared(sharing);
    let saves_allocator_state = bug.is_some() || seed / 3 % 2 == 1;
    if saves_allocator_state {
        disk.save_allocator_state();
    }
    if let Some(bug) = bug {
        disk.plant(bug);
    }
    let mut rng = Rng::new(seed);
    let mut chain = Chain {
        mood: bug.map_or_else(|| Mood::any(seed, &mut rng), Mood::directed),
        rng,
        counts: Counts {
            sharing,
            ..Counts::default()
        },
        most_images: images,
        saves_allocator_state,
    };
    let context = |one| Violation(format!("{}: {one}", name_of(sharing)));
    chain.run(&disk).map_err(context)?;
    Ok(chain.counts)
}
