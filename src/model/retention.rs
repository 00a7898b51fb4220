//! Retention: which rows a prune removes, and its report.

use super::identity::RuntimeId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The code of the diagnostic that records a prune.
pub(crate) const PRUNED: &str = "runtime.pruned";

/// A policy of retention: what [`Runtime::prune`](crate::Runtime::prune) and [`Store::prune`](crate::Store::prune) remove.
///
/// The default has no limit and removes nothing. With several limits a row goes if any of them says so. A log only loses
/// its oldest rows: event ids and positions of what stays do not change. A worker that is
/// [pinned](crate::Runtime::set_pinned) keeps its row, its diagnostics and its whole transcript.
///
/// ```
/// use redb_runtime_store::retention::Retention;
/// use std::time::Duration;
///
/// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// let policy = Retention::new().keep_events(100_000).newer_than(30 * DAY).ended_before(90 * DAY);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Retention {
    /// The most events that a runtime keeps: the last ones.
    pub keep_events: Option<u64>,
    /// The most entries that the transcript of each worker keeps: the last ones.
    pub keep_entries: Option<u64>,
    /// The most bytes of events and entries, keys and values as [`Store::census`](crate::Store::census) counts them. Of a
    /// store for [`Store::prune`](crate::Store::prune), of the runtime for [`Runtime::prune`](crate::Runtime::prune).
    ///
    /// It limits what the other limits leave. Each log loses its oldest rows, in proportion to its size. The entries of
    /// pinned workers count, and stay.
    pub keep_bytes: Option<u64>,
    /// The age from which on events and entries go. A row without a time goes if a later row of its log goes by its age.
    pub newer_than: Option<Duration>,
    /// The time since their end from which on workers go as a whole: row, transcript and diagnostics. A worker whose end is
    /// not known stays, and so does one that is running.
    pub ended_before: Option<Duration>,
}

impl Retention {
    /// A policy that removes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the last `events` events of each runtime.
    #[must_use]
    pub fn keep_events(mut self, events: u64) -> Self {
        self.keep_events = Some(events);
        self
    }

    /// Keeps the last `entries` entries of each transcript.
    #[must_use]
    pub fn keep_entries(mut self, entries: u64) -> Self {
        self.keep_entries = Some(entries);
        self
    }

    /// Keeps at most `bytes` bytes of events and entries; see [`keep_bytes`](Self#structfield.keep_bytes).
    #[must_use]
    pub fn keep_bytes(mut self, bytes: u64) -> Self {
        self.keep_bytes = Some(bytes);
        self
    }

    /// Keeps the events and entries that are younger than `age`.
    #[must_use]
    pub fn newer_than(mut self, age: Duration) -> Self {
        self.newer_than = Some(age);
        self
    }

    /// Removes the workers that ended at least `age` ago.
    #[must_use]
    pub fn ended_before(mut self, age: Duration) -> Self {
        self.ended_before = Some(age);
        self
    }

    /// Whether the policy has no limit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Options of a prune. The default removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneOptions {
    pub(crate) dry_run: bool,
    /// The most bytes of rows that one commit removes; `None` for the usual number.
    pub(crate) step_bytes: Option<u64>,
    /// The bug that a simulation of faults plants: each step is two commits.
    pub(crate) tear: Option<Tear>,
}

/// Which half of a step is committed first if a bug splits it.
#[cfg_attr(not(feature = "fault-injection"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tear {
    RowsFirst,
    FloorsFirst,
}

impl PruneOptions {
    /// A prune that removes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only reports what a prune would remove, and changes nothing. Default: off.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// The most bytes of rows that one commit removes, so that tests can prune in one commit or in many.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    #[must_use]
    pub fn step_bytes(mut self, step_bytes: u64) -> Self {
        self.step_bytes = Some(step_bytes);
        self
    }

    /// Plants a bug: each step is two commits, and the first one moves the floors or removes the rows.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    #[must_use]
    pub fn torn(mut self, floors_first: bool) -> Self {
        self.tear = Some(match floors_first {
            true => Tear::FloorsFirst,
            false => Tear::RowsFirst,
        });
        self
    }
}

/// What a prune has removed of one runtime. After a dry run: what it would have removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuntimePrune {
    /// The runtime.
    pub runtime_id: RuntimeId,
    /// The number of removed events.
    pub events: u64,
    /// The number of removed transcript entries, those of removed workers included.
    pub transcript_entries: u64,
    /// The number of workers that were removed as a whole.
    pub workers: u64,
    /// The number of removed diagnostics: those of removed workers, and old records of prunes.
    pub diagnostics: u64,
    /// The size of the removed rows, keys and values, in bytes.
    pub bytes: u64,
    /// The id of the first event that the log has now.
    pub first_event_id: u64,
}

/// The report of a prune.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PruneReport {
    /// The runtimes that lost rows, sorted by their ids.
    pub runtimes: Vec<RuntimePrune>,
    /// An estimate, in bytes, of how much the file shrinks if it is compacted after the prune. `None` in memory.
    pub compacting_frees_bytes: Option<u64>,
}

impl PruneReport {
    /// The number of all removed rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let rows = |runtime: &RuntimePrune| {
            runtime.events + runtime.transcript_entries + runtime.workers + runtime.diagnostics
        };
        self.runtimes.iter().map(rows).sum()
    }

    /// The size of all removed rows, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.runtimes.iter().map(|runtime| runtime.bytes).sum()
    }

    /// Whether no row was removed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }
}
