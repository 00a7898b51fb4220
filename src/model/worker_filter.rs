//! A filter over the workers of a runtime, and the pages that it returns.

use super::attributes::Attributes;
use super::catalog::{WorkerStatus, WorkerSummary};
use super::identity::WorkerId;
use std::time::SystemTime;

/// The most workers of a page, unless the filter says otherwise.
const DEFAULT_LIMIT: usize = 256;

/// Selects workers of a runtime; see [`Runtime::workers`](crate::Runtime::workers). The default selects all.
///
/// ```
/// use redb_runtime_store::attributes::Attributes;
/// use redb_runtime_store::catalog::{WorkerFilter, WorkerStatus};
///
/// let reports = Attributes::new().with("title", "Report")?;
/// let filter = WorkerFilter::new().status(WorkerStatus::Running).attributes(reports);
/// # Ok::<(), redb_runtime_store::attributes::InvalidAttributes>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerFilter {
    statuses: Vec<WorkerStatus>,
    attributes: Attributes,
    changed_since: u64,
    changed_at: Option<SystemTime>,
    pub(crate) after: Option<WorkerId>,
    pub(crate) limit: usize,
}

impl Default for WorkerFilter {
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            attributes: Attributes::new(),
            changed_since: 0,
            changed_at: None,
            after: None,
            limit: DEFAULT_LIMIT,
        }
    }
}

impl WorkerFilter {
    /// A filter that selects all workers, 256 a page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects workers with this status; a second call adds a status.
    #[must_use]
    pub fn status(mut self, status: WorkerStatus) -> Self {
        self.statuses.push(status);
        self
    }

    /// Selects workers whose attributes contain these members with these values. Of a member that is an object, its
    /// members have to be contained.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Selects workers that changed after the change number `change`, which is [`WorkerPage::last_change`] of an
    /// earlier page.
    #[must_use]
    pub fn changed_since(mut self, change: u64) -> Self {
        self.changed_since = change;
        self
    }

    /// Selects workers whose last change was at `time` or later. Workers without a time are left out.
    #[must_use]
    pub fn changed_at_or_after(mut self, time: SystemTime) -> Self {
        self.changed_at = Some(time);
        self
    }

    /// Begins after this worker, in the order of the ids: [`WorkerPage::next`] of the page before.
    #[must_use]
    pub fn after(mut self, worker: WorkerId) -> Self {
        self.after = Some(worker);
        self
    }

    /// The most workers of a page.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Whether the filter selects the worker.
    pub(crate) fn selects(&self, worker: &WorkerEntry) -> bool {
        let has_status = self.statuses.is_empty() || self.statuses.contains(&worker.summary.status);
        let is_later = |time| worker.changed_at.is_some_and(|changed| changed >= time);
        has_status
            && (self.changed_since == 0 || worker.change > self.changed_since)
            && self.changed_at.is_none_or(is_later)
            && worker.attributes.contains(&self.attributes)
    }
}

/// A worker with its attributes and its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerEntry {
    /// The worker.
    pub summary: WorkerSummary,
    /// Its attributes.
    pub attributes: Attributes,
    /// The number of its last change. A runtime gives one number to each change of a worker, in ascending order, and to
    /// each worker that an import brings; 0 for a worker that has not changed since the store was migrated.
    pub change: u64,
    /// The time of its last change.
    pub changed_at: Option<SystemTime>,
}

/// A page of workers, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerPage {
    /// The workers.
    pub workers: Vec<WorkerEntry>,
    /// The worker that the next page begins [after](WorkerFilter::after); `None` at the end.
    pub next: Option<WorkerId>,
    /// The number of the last change of any worker of the runtime. A mirror that has read all pages requests
    /// [later changes](WorkerFilter::changed_since) next.
    pub last_change: u64,
}
