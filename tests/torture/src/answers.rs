//! The messages between [`stops`](crate::stops) and the processes that it stops.

use crate::plant::Plant;
use redb_runtime_store::store::{FileAccess, Sharing};
use rustix::time::{ClockId, clock_gettime};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The limit for the wait for a lock in these stores.
pub(crate) const LIMIT: Duration = Duration::from_millis(100);

/// The longest time of an operation beyond the limit: for its own work, on a busy machine.
pub(crate) const MARGIN: Duration = Duration::from_secs(10);

/// The number of threads of a writer that send inputs.
pub(crate) const THREADS: usize = 2;

/// The part of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Writer,
    Reader,
}

/// How a process is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) role: Role,
    pub(crate) sharing: Sharing,
    /// The number of the process among those of its role. It numbers the threads of a writer.
    pub(crate) slot: usize,
    /// The lock call at which the process stops itself first; with 0 it does not.
    pub(crate) stop_at: usize,
    pub(crate) plant: Option<Plant>,
}

const JOB: &str = "stopped";

impl Spec {
    /// The job that starts such a process.
    pub(crate) fn job(&self) -> String {
        let role = match self.role {
            Role::Writer => "writer",
            Role::Reader => "reader",
        };
        let sharing = match self.sharing {
            Sharing::ManyWriters => "many",
            _ => "one",
        };
        let plant = self.plant.map_or("none", Plant::name);
        let (slot, stop_at) = (self.slot, self.stop_at);
        format!("{JOB} {role} {sharing} {slot} {stop_at} {plant}")
    }

    /// The process that `job` starts, if it is such a job.
    pub(crate) fn of(job: &str) -> Option<Self> {
        let words: Vec<&str> = job.split(' ').collect();
        let [JOB, role, sharing, slot, stop_at, plant] = words[..] else {
            return None;
        };
        Some(Self {
            role: match role {
                "writer" => Role::Writer,
                _ => Role::Reader,
            },
            sharing: match sharing {
                "many" => Sharing::ManyWriters,
                _ => Sharing::OneWriter,
            },
            slot: slot.parse().ok()?,
            stop_at: stop_at.parse().ok()?,
            plant: Plant::named(plant),
        })
    }

    /// The names under which the threads of this process send inputs.
    pub(crate) fn threads(&self) -> Range<usize> {
        self.slot * THREADS..(self.slot + 1) * THREADS
    }
}

/// The store that the processes share.
pub(crate) fn store_path(directory: &Path) -> PathBuf {
    directory.join("store.redb")
}

/// At which of its accesses of the file a process stops itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum StopAt {
    /// Any.
    Access,
    /// A try of a lock, or just after a lock was taken.
    #[default]
    Lock,
    /// Just after a lock was taken. A reader holds the header then, and every commit waits for that.
    Locked,
}

impl StopAt {
    const ALL: [Self; 3] = [Self::Access, Self::Lock, Self::Locked];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Lock => "lock",
            Self::Locked => "locked",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    pub(crate) fn counts(self, access: FileAccess) -> bool {
        match self {
            Self::Access => true,
            Self::Lock => matches!(access, FileAccess::Lock | FileAccess::Locked),
            Self::Locked => access == FileAccess::Locked,
        }
    }
}

/// The kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Open,
    Write,
    Read,
    Close,
}

/// An answer of the store, as a process reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An input of `thread` is acknowledged, or found when the store was opened: all before `next` are.
    Acknowledged {
        thread: usize,
        next: usize,
        micros: u64,
    },
    Found {
        thread: usize,
        next: usize,
    },
    /// A snapshot was read and is correct.
    Read,
    /// `StoreLocked` with the holder, 0 for none, for an operation that began at `began` of [`now`].
    Locked {
        asked: Asked,
        holder: u32,
        began: u64,
        micros: u64,
    },
    /// `StoreFailed`.
    Failed,
    /// `CommitUncertain`.
    Uncertain {
        micros: u64,
    },
    /// `NeedsRepair` for a reader: no writer has opened the store since one was killed.
    NeedsRepair,
}

impl Answer {
    /// The line for this answer.
    pub(crate) fn line(self) -> String {
        match self {
            Self::Acknowledged {
                thread,
                next,
                micros,
            } => format!("ack {thread} {next} {micros}"),
            Self::Found { thread, next } => format!("found {thread} {next}"),
            Self::Read => "read".to_owned(),
            Self::Locked {
                asked,
                holder,
                began,
                micros,
            } => {
                let asked = match asked {
                    Asked::Open => "open",
                    Asked::Write => "write",
                    Asked::Read => "read",
                    Asked::Close => "close",
                };
                format!("locked-{asked} {holder} {began} {micros}")
            }
            Self::Failed => "failed".to_owned(),
            Self::Uncertain { micros } => format!("uncertain {micros}"),
            Self::NeedsRepair => "needs-repair".to_owned(),
        }
    }

    /// The answer in `line`. `None` for a line that a kill cut off, or that a test harness printed.
    pub(crate) fn of(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let first = words.next()?;
        let numbers: Result<Vec<u64>, _> = words.map(str::parse).collect();
        let locked = |asked, numbers: &[u64]| match numbers {
            [holder, began, micros] => Some(Self::Locked {
                asked,
                holder: u32::try_from(*holder).ok()?,
                began: *began,
                micros: *micros,
            }),
            _ => None,
        };
        let numbers = numbers.ok()?;
        match (first, &numbers[..]) {
            ("ack", [thread, next, micros]) => Some(Self::Acknowledged {
                thread: *thread as usize,
                next: *next as usize,
                micros: *micros,
            }),
            ("found", [thread, next]) => Some(Self::Found {
                thread: *thread as usize,
                next: *next as usize,
            }),
            ("read", []) => Some(Self::Read),
            ("locked-open", numbers) => locked(Asked::Open, numbers),
            ("locked-write", numbers) => locked(Asked::Write, numbers),
            ("locked-read", numbers) => locked(Asked::Read, numbers),
            ("locked-close", numbers) => locked(Asked::Close, numbers),
            ("failed", []) => Some(Self::Failed),
            ("uncertain", [micros]) => Some(Self::Uncertain { micros: *micros }),
            ("needs-repair", []) => Some(Self::NeedsRepair),
            _ => None,
        }
    }
}

/// Microseconds of a clock that all processes of the machine have in common.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}
