//! Rounds of a fault, each from a seed of its own, until enough was tried.

use crate::kills::{self, Start};
use crate::plant::Plant;
use crate::world::Violation;
use crate::{bit_rot, crash_steps, disk_errors, legacy, power_loss};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Power is lost at any moment, and again during the recovery.
    PowerLoss,
    /// A process is killed in the middle of its work.
    Kill,
    /// The disk gives an error at every change, and at reads.
    DiskErrors,
    /// Bits flip, pages are zeroed or swapped, the file is cut off or goes on.
    BitRot,
    /// Creating, importing, migrating, compacting are cut off at every step.
    CrashSteps,
    /// Directories to import are malformed.
    Legacy,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 6] = [
        Self::PowerLoss,
        Self::Kill,
        Self::DiskErrors,
        Self::BitRot,
        Self::CrashSteps,
        Self::Legacy,
    ];

    /// The fault's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::PowerLoss => "power-loss",
            Self::Kill => "kill",
            Self::DiskErrors => "disk-errors",
            Self::BitRot => "bit-rot",
            Self::CrashSteps => "crash-steps",
            Self::Legacy => "legacy",
        }
    }

    /// What it is.
    pub fn description(self) -> &'static str {
        match self {
            Self::PowerLoss => "power lost at any moment, and again during the recovery (images)",
            Self::Kill => "kill -9 of a process in the middle of real work (kills)",
            Self::DiskErrors => "EIO and ENOSPC at every change of the disk and at reads (errors)",
            Self::BitRot => "flipped bits, zeroed and swapped pages, truncation, extension (files)",
            Self::CrashSteps => "create, import, migrate, compact cut off at every step (steps)",
            Self::Legacy => "malformed directories to import (directories)",
        }
    }

    /// How much one round tries: what replays a round.
    pub fn per_round(self) -> usize {
        match self {
            Self::PowerLoss | Self::BitRot => 200,
            Self::Kill => 10,
            Self::Legacy => 50,
            // A round is everything that can happen to its workload.
            Self::DiskErrors | Self::CrashSteps => 1,
        }
    }

    /// Runs one round, and returns how much it tried.
    fn round(self, seed: u64, count: usize, task: &Task<'_>) -> Result<usize, Violation> {
        match self {
            Self::PowerLoss => power_loss::round(seed, count, task.plant).map(|done| done.images),
            Self::Kill => kills::round(seed, count, task.start),
            Self::DiskErrors => disk_errors::round(seed).map(|done| done.errors),
            Self::BitRot => bit_rot::round(seed, count).map(|done| done.tried),
            Self::CrashSteps => crash_steps::round(seed),
            Self::Legacy => legacy::round(seed, count),
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy)]
pub struct Task<'s> {
    /// The seed of the first round; the next has the next.
    pub seed: u64,
    /// How much to try at least.
    pub count: usize,
    /// A bug to plant.
    pub plant: Option<Plant>,
    /// How children are started.
    pub start: Start<'s>,
    /// Whether to say how far it is, on standard error.
    pub progress: bool,
}

impl fmt::Debug for Task<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("seed", &self.seed)
            .field("count", &self.count)
            .field("plant", &self.plant)
            .finish_non_exhaustive()
    }
}

/// What a campaign came to.
#[derive(Debug)]
pub struct Outcome {
    /// How much was tried.
    pub tried: usize,
    /// How long it took.
    pub took: Duration,
    /// The round that broke a promise, and how.
    pub broken: Option<(u64, Violation)>,
}

/// How many rounds run at once.
const THREADS: usize = 2;

/// Runs rounds of `fault` until enough was tried, or a promise is broken.
pub fn run(fault: Fault, task: &Task<'_>) -> Outcome {
    let begun = Instant::now();
    let per_round = fault.per_round().min(task.count);
    let next = AtomicU64::new(task.seed);
    let tried = AtomicUsize::new(0);
    let ended = AtomicBool::new(false);
    let broken = Mutex::new(None);
    let work = || {
        while tried.load(Ordering::Relaxed) < task.count && !ended.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            match fault.round(seed, per_round, task) {
                Ok(done) => {
                    tried.fetch_add(done, Ordering::Relaxed);
                }
                Err(violation) => {
                    ended.store(true, Ordering::Relaxed);
                    if let Ok(mut broken) = broken.lock() {
                        *broken = Some((seed, violation));
                    }
                }
            }
        }
    };
    let running = AtomicUsize::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                work();
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let mut said = Instant::now();
        while running.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(Duration::from_millis(20));
            if task.progress && said.elapsed() > Duration::from_secs(5) {
                said = Instant::now();
                let tried = tried.load(Ordering::Relaxed);
                eprintln!("{}: {tried} of {}", fault.name(), task.count);
            }
        }
    });
    Outcome {
        tried: tried.into_inner(),
        took: begun.elapsed(),
        broken: broken.into_inner().unwrap_or(None),
    }
}

/// Keeps panics silent that are caught and turned into errors: on damaged files there are many.
/// Nothing that a thread of a test panics with is lost: it is the test's failure.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}
