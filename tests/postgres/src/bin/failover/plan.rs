//! The choices of a round whose primary is killed.

use crate::bug::Bug;
use std::fmt;
use std::time::Duration;
use torture::rng::Rng;

/// What happens before the primary is killed. The standby is promoted in every round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// The link to the standby is held; without `is_restored` the standby never gets what was held.
    LinkHeld {
        held: Duration,
        /// Whether the link is restored before the kill: then the standby gets everything, and what is in doubt is stored.
        is_restored: bool,
        /// Whether somebody cancels what waits for the standby meanwhile.
        is_cancelled: bool,
        /// How often the connections whose COMMIT is under way are lost meanwhile.
        ends: usize,
    },
    /// The primary is stopped (SIGSTOP). It is killed while it is stopped, unless it is continued.
    PrimaryStopped {
        stopped: Duration,
        is_continued: bool,
    },
    /// The standby is stopped, and commits wait for it.
    StandbyStopped {
        stopped: Duration,
        continued: Continued,
    },
}

/// When a standby that was stopped goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Continued {
    /// Long before the primary is killed: commits go on.
    Early,
    /// Right before the kill.
    Late,
    /// After the kill, right before its promotion.
    AfterKill,
}

/// What happens to a host process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostFault {
    /// The number of the host.
    pub(crate) host: usize,
    /// For how long it is stopped (SIGSTOP), at least; `None` if it is killed.
    pub(crate) stopped: Option<Duration>,
    pub(crate) at: Moment,
}

/// When it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before anything happens to the servers.
    Before,
    /// Before the promotion; a stopped host is continued after it.
    Across,
    /// After the promotion.
    After,
}

/// The choices of a round.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) hosts: usize,
    pub(crate) threads: usize,
    /// How long the hosts work before anything happens.
    pub(crate) work: Duration,
    pub(crate) trouble: Trouble,
    pub(crate) host_fault: Option<HostFault>,
    /// How many connections of hosts are cut at a message, at most.
    pub(crate) cuts: usize,
    /// How long an operation waits for a server that takes it.
    pub(crate) patience: Duration,
    /// How long an operation waits for the lock of another.
    pub(crate) lock_patience: Duration,
    /// After what time a server ends a transaction that says nothing.
    pub(crate) idle: Duration,
}

fn millis(rng: &mut Rng, from: usize, to: usize) -> Duration {
    Duration::from_millis(rng.between(from, to) as u64)
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng, plant: Option<Bug>, is_control: bool) -> Self {
        let (hosts, is_directed) = (rng.between(2, 3), plant.is_some() || is_control);
        // A host that is stopped before the kill can hold the lock, and then no commit waits for the standby.
        let is_apt = |fault: &HostFault| !is_directed || fault.at == Moment::After;
        Self {
            hosts,
            threads: rng.between(1, 3),
            work: millis(rng, 50, 300),
            trouble: match is_directed {
                true => Trouble::directed(rng, plant),
                false => Trouble::any(rng),
            },
            host_fault: HostFault::any(rng, hosts).filter(is_apt),
            cuts: rng.between(4, 16),
            patience: Duration::from_secs(if rng.chance(35) { 1 } else { 30 }),
            lock_patience: Duration::from_millis(if rng.chance(30) { 200 } else { 10_000 }),
            idle: Duration::from_millis(if rng.chance(30) { 300 } else { 10_000 }),
        }
    }
}

impl Trouble {
    fn any(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 => Self::None,
            1 => Self::LinkHeld {
                held: millis(rng, 50, 300),
                is_restored: rng.chance(50),
                is_cancelled: rng.chance(50),
                ends: rng.below(4),
            },
            2 => Self::PrimaryStopped {
                stopped: millis(rng, 100, 1_500),
                is_continued: rng.chance(50),
            },
            _ => Self::StandbyStopped {
                stopped: millis(rng, 100, 1_500),
                continued: *rng.pick(&[Continued::Early, Continued::Late, Continued::AfterKill]),
            },
        }
    }

    pub(crate) fn stops_a_server(self) -> bool {
        matches!(
            self,
            Self::PrimaryStopped { .. } | Self::StandbyStopped { .. }
        )
    }

    /// What finds a bug, or a missing standby.
    fn directed(rng: &mut Rng, plant: Option<Bug>) -> Self {
        let is_doubt = matches!(plant, Some(Bug::TokenMissing | Bug::SettledWithoutLock));
        Self::LinkHeld {
            held: millis(rng, 50, 300),
            // A commit without a token is found where it is stored and reported as undone; the others where it is lost.
            is_restored: plant == Some(Bug::TokenMissing),
            is_cancelled: plant == Some(Bug::CancelTakenForSuccess),
            ends: if is_doubt { 4 } else { 0 },
        }
    }
}

impl HostFault {
    fn any(rng: &mut Rng, hosts: usize) -> Option<Self> {
        let stopped = match rng.below(4) {
            0 => None,
            1 | 2 => Some(millis(rng, 50, 600)),
            _ => return None,
        };
        Some(Self {
            host: rng.below(hosts),
            stopped,
            at: *rng.pick(&[Moment::Before, Moment::Across, Moment::After]),
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hosts, threads, work) = (self.hosts, self.threads, self.work.as_millis());
        write!(f, "{hosts} hosts x {threads} senders, {work} ms of work")?;
        if let Some(fault) = self.host_fault {
            write!(f, ", {fault}")?;
        }
        write!(f, "{}, primary killed", self.trouble)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::LinkHeld {
                held,
                is_restored,
                is_cancelled,
                ends,
            } => {
                let end = if *is_restored { "" } else { " until the end" };
                write!(f, ", standby cut off for {} ms{end}", held.as_millis())?;
                if *ends > 0 {
                    write!(f, ", waits ended {ends} times")?;
                }
                f.write_str(if *is_cancelled {
                    ", waits cancelled"
                } else {
                    ""
                })
            }
            Self::PrimaryStopped {
                stopped,
                is_continued,
            } => {
                let end = if *is_continued { " and continued" } else { "" };
                write!(f, ", primary stopped for {} ms{end}", stopped.as_millis())
            }
            Self::StandbyStopped { stopped, continued } => {
                let end = match continued {
                    Continued::Early => "",
                    Continued::Late => " until right before the kill",
                    Continued::AfterKill => " until after the kill",
                };
                write!(f, ", standby stopped for {} ms{end}", stopped.as_millis())
            }
        }
    }
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {} ", self.host)?;
        match self.stopped {
            Some(stopped) => write!(f, "stopped for {} ms ", stopped.as_millis())?,
            None => f.write_str("killed ")?,
        }
        f.write_str(match self.at {
            Moment::Before => "before",
            Moment::Across => "across the promotion",
            Moment::After => "after the promotion",
        })
    }
}
