//! The disk returns errors: the store returns typed errors, loses no acknowledged operation, and works
//! again after it is reopened.

use crate::campaign::count_tried;
use crate::child::Start;
use crate::disk::{Disk, Errors, Fault, FaultKind, Strike};
use crate::image::Timeline;
use crate::pages::Pages;
use crate::power_loss::{check_works, check_world};
use crate::rng::Rng;
use crate::workload::{
    Host, Op, Outcome, SHARINGS, Workload, is_failure, name_of, open_with, runtime,
};
use crate::world::{Context, Violation, World};
use crate::{job_errors, path_errors};
use redb_runtime_store::Store;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::store::Sharing;
use std::collections::BTreeMap;

/// The greatest number of operations of a round.
const MAX_OPS: usize = 14;

/// The cases that were tried.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Errors that the disk returned, each in a separate run.
    pub errors: usize,
    /// Those among them in stores that were opened by path.
    pub by_path: usize,
    /// Those among them during maintenance.
    pub in_jobs: usize,
    /// Images of a power loss after them.
    pub images: usize,
    /// The errors by mode of sharing, as [`SHARINGS`] names it, and by the kind of step that failed.
    pub parts: BTreeMap<&'static str, usize>,
}

impl Counts {
    pub(crate) fn add(&mut self, what: &'static str, errors: usize) {
        *self.parts.entry(what).or_default() += errors;
    }

    /// Adds errors that were returned. Returns their number.
    pub(crate) fn add_given(&mut self, errors: &Errors) -> usize {
        for (step, given) in errors.given() {
            self.add(step, *given);
        }
        errors.given().values().sum()
    }
}

/// Returns an error at every change that the workload of `seed` makes to the disk, and at some of its
/// reads, in every mode of sharing, and every error to each kind of step. Then runs [`path_errors`] and
/// [`job_errors`].
///
/// # Errors
///
/// The first broken guarantee.
pub fn round(seed: u64, start: Start<'_>) -> Result<Counts, Violation> {
    let mut counts = Counts::default();
    for (sharing, name) in SHARINGS {
        let context = |one| Violation(format!("{name}: {one}"));
        simulated(seed, sharing, &mut counts).map_err(context)?;
    }
    counts.by_path = path_errors::round(seed, &mut counts)?;
    counts.in_jobs = job_errors::round(seed, start, &mut counts)?;
    counts.errors += counts.by_path + counts.in_jobs;
    Ok(counts)
}

/// The part of a round on a simulated disk, in one mode of sharing.
///
/// # Errors
///
/// The first broken guarantee.
fn simulated(seed: u64, sharing: Sharing, counts: &mut Counts) -> Result<(), Violation> {
    let mut rng = Rng::new(seed);
    let ops = rng.between(10, MAX_OPS);
    let workload = Workload::any(ops, &mut rng)?;
    for kind in [FaultKind::Change, FaultKind::Read] {
        let mut images = 0;
        let errors = at_every_step(kind, &mut rng, |fault, rng| {
            let trial = Trial::run(&workload, sharing, fault)?;
            let strike = trial.disk.first_strike();
            if let Some(strike) = strike {
                let tried = trial.check(rng);
                images += tried.map_err(|one| Violation(format!("{strike:?}: {one}")))?;
            }
            Ok(strike)
        })?;
        let given = counts.add_given(&errors);
        counts.add(name_of(sharing), given);
        counts.errors += given;
        counts.images += images;
    }
    Ok(())
}

/// Runs one trial for each change, or for some of the reads, and returns an error at that access, until
/// a trial ends without reaching it. The first step of a kind gets every error in turn; later steps get
/// the next error each. Returns the errors that were returned to trials.
///
/// # Errors
///
/// As a trial, with the place of its fault.
pub fn at_every_step(
    kind: FaultKind,
    rng: &mut Rng,
    mut trial: impl FnMut(Fault, &mut Rng) -> Result<Option<Strike>, Violation>,
) -> Result<Errors, Violation> {
    let mut errors = Errors::in_turn();
    let mut after = 0;
    loop {
        let fault = Fault {
            kind,
            after,
            errors: errors.clone(),
        };
        let context = |one| {
            count_tried(1);
            Violation(format!("after {after}: {one}"))
        };
        let Some(strike) = trial(fault, rng).map_err(context)? else {
            return Ok(errors);
        };
        count_tried(1);
        if errors.count(strike) {
            after += match kind {
                FaultKind::Change | FaultKind::Sync => 1,
                FaultKind::Read => rng.between(1, 20),
            };
        }
    }
}

/// One run with one fault.
struct Trial<'w> {
    workload: &'w Workload,
    disk: Disk,
    host: Host,
    outcomes: Vec<Outcome>,
    cache_bytes: usize,
}

impl<'w> Trial<'w> {
    fn run(workload: &'w Workload, sharing: Sharing, fault: Fault) -> Result<Self, Violation> {
        // Without a cache every read reaches the disk.
        let cache_bytes = match fault.kind {
            FaultKind::Change | FaultKind::Sync => 1 << 20,
            FaultKind::Read => 0,
        };
        let disk = Disk::shared(sharing);
        let store = open_with(&disk, cache_bytes).or_violation("creating a store")?;
        disk.set_fault(Some(fault));
        let mut host = Host::new(disk.clone(), store, None).with_cache(cache_bytes);
        let outcomes = host.run(&workload.ops);
        Ok(Self {
            workload,
            disk,
            host,
            outcomes,
            cache_bytes,
        })
    }

    /// Checks the guarantees after the error. Returns the number of images that were tried.
    fn check(self, rng: &mut Rng) -> Result<usize, Violation> {
        let possible = possible_worlds(self.workload, &self.outcomes)?;
        self.check_refuses()?;
        self.disk.set_fault(None);
        let mut images = 0;
        images += self.lose_power(possible, rng)?;
        drop(self.host);
        let store = open_with(&self.disk, self.cache_bytes).or_violation("opening again")?;
        check_world(&store, possible)
            .map_err(|one| Violation(format!("after reopening: {one}")))?;
        check_works(&store)?;
        let world = World::of(&store).or_violation("reading")?;
        let timeline = Timeline::new(Pages::default(), self.disk.log());
        for _ in 0..3 {
            images += 1;
            recover(&timeline, &self.disk, std::slice::from_ref(&world), rng)
                .map_err(|one| Violation(format!("power loss after three more commits: {one}")))?;
        }
        Ok(images)
    }

    /// After a failed commit every write is rejected until the store is opened again.
    fn check_refuses(&self) -> Result<(), Violation> {
        let last = self.outcomes.last().filter(|one| is_failure(one));
        let op = &self.workload.ops[self.outcomes.len() - 1];
        if last.is_none() || matches!(op, Op::Reopen) {
            return Ok(());
        }
        let refused = runtime(self.host.store(), "first")
            .and_then(|first| first.create_worker(CreateWorkerRequest::default()));
        match refused {
            Err(RuntimeError::StoreFailed { .. }) => Ok(()),
            other => Err(Violation(format!(
                "a write after {op:?} had failed: {other:?}"
            ))),
        }
    }

    /// Loses power while the store is still open.
    fn lose_power(&self, possible: &[World], rng: &mut Rng) -> Result<usize, Violation> {
        let timeline = Timeline::new(Pages::default(), self.disk.log());
        for _ in 0..2 {
            recover(&timeline, &self.disk, possible, rng)
                .map_err(|one| Violation(format!("power loss after the error: {one}")))?;
        }
        Ok(2)
    }
}

/// The worlds that are allowed after the error: with all acknowledged operations, and with or without
/// the uncertain ones.
pub(crate) fn possible_worlds<'w>(
    workload: &'w Workload,
    outcomes: &[Outcome],
) -> Result<&'w [World], Violation> {
    let mut certain = 0;
    let mut uncertain = 0;
    let mut failed = false;
    for (number, outcome) in outcomes.iter().enumerate() {
        let wrong = |what: &str| {
            let op = &workload.ops[number];
            Err(Violation(format!(
                "operation {number}, {op:?}: {what}: {:?}",
                outcome.result
            )))
        };
        match &outcome.result {
            Err(RuntimeError::CommitUncertain { .. }) if !failed => uncertain += 1,
            Err(RuntimeError::StoreIo { .. } | RuntimeError::StoreFailed { .. }) => {
                failed = true;
            }
            _ if is_failure(outcome) => return wrong("not an error of the disk"),
            _ if failed || uncertain > 0 => return wrong("acknowledged after an error"),
            result if result.is_ok() != workload.accepted[number] => {
                return wrong("not what the rules say");
            }
            _ => certain += 1,
        }
    }
    Ok(&workload.worlds[certain..=certain + uncertain])
}

/// Opens an image of `disk` after a power loss at the end of `timeline`.
fn recover(
    timeline: &Timeline,
    disk: &Disk,
    possible: &[World],
    rng: &mut Rng,
) -> Result<(), Violation> {
    let image = timeline.image(timeline.len(), rng);
    let disk = Disk::shared_with(image, disk.sharing());
    let store: Store = open_with(&disk, 1 << 20).or_violation("opening")?;
    check_world(&store, possible)
}
