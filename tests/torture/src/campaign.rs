//! Campaigns: rounds of a fault, each with its own seed, until enough cases were tried.

use crate::child::Start;
use crate::plant::Plant;
use crate::workload::name_of;
use crate::world::Violation;
use crate::{bit_rot, crash_steps, disk_errors, generations, kills, legacy, power_loss, stops};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

/// A simulated fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Power is lost at any point, and again during the recovery.
    PowerLoss,
    /// Power losses, failed syncs and kills follow each other in one store.
    Generations,
    /// A process is killed in the middle of its work.
    Kill,
    /// Processes that share a store are stopped and continued, and killed between.
    Stop,
    /// The disk gives an error at every change, and at reads.
    DiskErrors,
    /// Bits flip, pages are zeroed or swapped, the file is truncated or extended.
    BitRot,
    /// Creating, importing, exporting, copying, compacting and migrating are interrupted at every step.
    CrashSteps,
    /// Directories to import are malformed.
    Legacy,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 8] = [
        Self::PowerLoss,
        Self::Generations,
        Self::Kill,
        Self::Stop,
        Self::DiskErrors,
        Self::BitRot,
        Self::CrashSteps,
        Self::Legacy,
    ];

    /// The fault's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::PowerLoss => "power-loss",
            Self::Generations => "generations",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::DiskErrors => "disk-errors",
            Self::BitRot => "bit-rot",
            Self::CrashSteps => "crash-steps",
            Self::Legacy => "legacy",
        }
    }

    /// A description of the fault, with the unit of its counts.
    pub fn description(self) -> &'static str {
        match self {
            Self::PowerLoss => "power lost at any point, and again during the recovery (images)",
            Self::Generations => {
                "power losses, failed syncs and kills, each in the store that the last one left (images)"
            }
            Self::Kill => "kill -9 of a process in the middle of real work (kills)",
            Self::Stop => {
                "SIGSTOP and SIGCONT of writers and readers of a store, kills between (stops)"
            }
            Self::DiskErrors => "EIO and ENOSPC at every change of the disk and at reads (errors)",
            Self::BitRot => "flipped bits, zeroed and swapped pages, truncation, extension (files)",
            Self::CrashSteps => {
                "create, import, export, backup, compact, migrate interrupted at every step (steps)"
            }
            Self::Legacy => "malformed directories to import (directories)",
        }
    }

    /// The number of cases that one round tries. A run of this count replays one round.
    pub fn per_round(self) -> usize {
        match self {
            Self::PowerLoss | Self::BitRot => 200,
            Self::Generations => generations::PER_ROUND,
            Self::Kill => 11,
            Self::Stop => 10,
            Self::Legacy => 50,
            // A round tries every error, or every step, of its workload.
            Self::DiskErrors | Self::CrashSteps => 1,
        }
    }

    /// Runs one round. Returns how many cases it tried, in all and by kind.
    fn round(self, seed: u64, count: usize, task: &Task<'_>) -> Result<Tried, Violation> {
        match self {
            Self::PowerLoss => power_loss::round(seed, count, task.plant).map(|done| {
                let recoveries = ("in a recovery", done.recoveries);
                let shared = (
                    "operations of real threads in the commit of another",
                    done.shared,
                );
                let sharing = (name_of(done.sharing), done.images);
                Tried::new(done.images, &[recoveries, shared, sharing])
            }),
            Self::Generations => generations::round(seed, count, task.plant)
                .map(|done| Tried::new(done.images, &done.figures())),
            Self::Kill => kills::round(seed, count, task.start).map(|done| {
                let late = ("that came after the end of their work", done.late);
                let maintenance = ("in maintenance", done.maintenance);
                Tried::new(done.landed, &[late, maintenance])
            }),
            Self::Stop => {
                stops::round(seed, count, task.plant, task.start).map(|done| Tried::of_stops(&done))
            }
            Self::DiskErrors => disk_errors::round(seed, task.start).map(|done| {
                let by_path = ("under a path", done.by_path);
                let in_jobs = ("in maintenance", done.in_jobs);
                let images = ("images after them", done.images);
                let mut tried = Tried::new(done.errors, &[by_path, in_jobs, images]);
                tried.figures.extend(done.parts);
                tried
            }),
            Self::BitRot => bit_rot::limited_round(seed, count, task.plant, task.start_limited)
                .map(|done| {
                    let refused = ("refused when opened", done.refused);
                    Tried::new(done.tried, &[refused, ("found later", done.noticed)])
                }),
            Self::CrashSteps => crash_steps::round(seed, task.start).map(|done| {
                let killed = ("by killing a process", done.killed);
                let failing = ("in a migration that fails", done.failing);
                Tried::new(done.simulated + done.killed, &[killed, failing])
            }),
            Self::Legacy => legacy::round(seed, count).map(|done| {
                let refused = ("refused when strict", done.refused);
                Tried::new(done.tried, &[refused, ("salvaged", done.salvaged)])
            }),
        }
    }
}

/// The number of cases that were tried, in all and by kind.
#[derive(Debug, Default)]
struct Tried {
    all: usize,
    figures: BTreeMap<&'static str, usize>,
    /// Figures of which the highest counts.
    highest: BTreeMap<&'static str, usize>,
}

impl Tried {
    fn new(all: usize, figures: &[(&'static str, usize)]) -> Self {
        Self {
            all,
            figures: figures.iter().copied().collect(),
            highest: BTreeMap::new(),
        }
    }

    fn of_stops(done: &stops::Counts) -> Self {
        let answers = &done.answers;
        let mut tried = Self::new(
            done.stopped,
            &[
                ("stops at an access of the file", done.at_accesses),
                ("stops in an open", done.in_opening),
                ("continues", done.continued),
                ("kills", done.killed),
                ("commits acknowledged", answers.acknowledged),
                (
                    "commits acknowledged after the limit for locks",
                    answers.late,
                ),
                ("snapshots read", answers.read),
                ("lock waits that reached their limit", answers.limited),
                ("errors that name the stopped process", answers.named),
                ("errors that name no process", answers.unnamed),
                (
                    "reads that reached the limit for locks",
                    answers.reads_limited,
                ),
                ("uncertain commits", answers.uncertain),
            ],
        );
        let longest = answers.longest_micros.div_ceil(1_000) as usize;
        tried.highest.insert("ms for the longest commit", longest);
        tried
    }

    fn add(&mut self, other: Self) {
        self.all += other.all;
        for (what, count) in other.figures {
            *self.figures.entry(what).or_default() += count;
        }
        for (what, count) in other.highest {
            let highest = self.highest.entry(what).or_default();
            *highest = count.max(*highest);
        }
    }
}

/// The parameters of a campaign.
#[derive(Clone, Copy)]
pub struct Task<'s> {
    /// The seed of the first round. Each further round has the next seed.
    pub seed: u64,
    /// The number of cases to try at least.
    pub count: usize,
    /// The bug to plant.
    pub plant: Option<Plant>,
    /// Starts a child process.
    pub start: Start<'s>,
    /// Starts a process that runs a round with little memory.
    pub start_limited: bit_rot::Start<'s>,
    /// Whether to print the progress to standard error.
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

impl Fault {
    /// The command that replays the round of `seed`.
    pub fn replay(self, seed: u64, task: &Task<'_>) -> String {
        let plant = task.plant.map(|plant| format!(" --plant {}", plant.name()));
        let plant = plant.unwrap_or_default();
        let chance = match self {
            Self::Kill | Self::Stop => " # the moments are not repeated: try more often",
            Self::DiskErrors => " # what was met by its path is on a real file system",
            Self::CrashSteps => {
                " # what was killed is on a real file system, some of it with threads"
            }
            Self::PowerLoss if power_loss::has_threads(seed, task.plant) => {
                " # real threads: the operations are repeated, not how they mix"
            }
            _ => "",
        };
        format!(
            "cargo run --release -p torture -- --seed {seed} --count {} {}{plant}{chance}",
            self.per_round().min(task.count),
            self.name()
        )
    }
}

/// The result of a campaign.
#[derive(Debug)]
pub struct Outcome {
    /// The number of cases that were tried, including one that broke a guarantee.
    pub tried: usize,
    /// The cases by kind, and other counts.
    pub figures: BTreeMap<&'static str, usize>,
    /// The duration of the campaign.
    pub took: Duration,
    /// The first round that broke a guarantee, by its seed, and the violation.
    pub broken: Option<(u64, Violation)>,
}

/// The greatest number of rounds that run at the same time.
const THREADS: usize = 2;

/// Runs rounds of `fault` until enough cases were tried, or one breaks a guarantee.
pub fn run(fault: Fault, task: &Task<'_>) -> Outcome {
    let begun = Instant::now();
    let per_round = fault.per_round().min(task.count);
    let next = AtomicU64::new(task.seed);
    let tried = AtomicUsize::new(0);
    let sum = Mutex::new(Tried::default());
    let ended = AtomicBool::new(false);
    let broken = Mutex::new(None);
    let work = || {
        silence_rounds();
        while tried.load(Ordering::Relaxed) < task.count && !ended.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            TRIED.set(0);
            let round = catch_unwind(AssertUnwindSafe(|| fault.round(seed, per_round, task)));
            let panicked = |_| Err(Violation(format!("a panic: {}", last_panic())));
            match round.unwrap_or_else(panicked) {
                Ok(done) => {
                    tried.fetch_add(done.all, Ordering::Relaxed);
                    if let Ok(mut sum) = sum.lock() {
                        sum.add(done);
                    }
                }
                Err(violation) => {
                    tried.fetch_add(TRIED.get(), Ordering::Relaxed);
                    if let Ok(mut sum) = sum.lock() {
                        sum.all += TRIED.get();
                    }
                    ended.store(true, Ordering::Relaxed);
                    // Earlier rounds that still run may fail too: the first one is reported.
                    if let Ok(mut broken) = broken.lock() {
                        let known = broken.take().filter(|(first, _)| *first < seed);
                        *broken = known.or(Some((seed, violation)));
                    }
                }
            }
        }
    };
    // A count that one round reaches runs one round: this is how a round is replayed.
    let threads = task.count.div_ceil(per_round.max(1)).min(THREADS);
    let running = AtomicUsize::new(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
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
    let mut sum = sum.into_inner().unwrap_or_default();
    sum.figures.append(&mut sum.highest);
    Outcome {
        tried: sum.all,
        figures: sum.figures,
        took: begun.elapsed(),
        broken: broken.into_inner().unwrap_or(None),
    }
}

thread_local! {
    /// Whether this thread runs rounds, and the message of its last panic.
    static RUNS_ROUNDS: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    /// The cases that this thread's round has tried so far, including one that breaks a guarantee.
    static TRIED: Cell<usize> = const { Cell::new(0) };
}

/// Counts cases of a round while it runs, because a round that breaks a guarantee returns no counts.
pub(crate) fn count_tried(tried: usize) {
    TRIED.set(TRIED.get() + tried);
}

/// The cases that this thread's round has tried so far.
pub(crate) fn tried_so_far() -> usize {
    TRIED.get()
}

/// Silences the panics of rounds. On damaged files the store catches many panics of redb and returns
/// errors. Any other panic fails the round, whose violation contains its message.
pub(crate) fn silence_rounds() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match RUNS_ROUNDS.get() {
            true => LAST_PANIC.with_borrow_mut(|last| *last = panic.to_string()),
            false => others(panic),
        }));
    });
    RUNS_ROUNDS.set(true);
}

/// The message and place of this thread's last panic.
pub(crate) fn last_panic() -> String {
    LAST_PANIC.with_borrow(Clone::clone)
}
