//! Checks of the numbers that rows state. Bulk loads and the persistence boundary share them, since both
//! take numbers that a host chose.

use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::convert::stored_size;
use crate::ledger::rows::{PAGE_ROWS, Rows, RuntimeRow};
use crate::ledger::table_names;
use crate::model::catalog::WorkerStatus;
use crate::model::identity::{MAX_ID_BYTES, WorkerRef};
use crate::model::layout_form::LayoutForm;
use std::fmt::Debug;

fn invalid(message: String) -> RuntimeError {
    RuntimeError::InvalidRequest(message)
}

/// Rejects an id of a runtime or a worker that is longer than [`MAX_ID_BYTES`].
pub(crate) fn refuse_long_id(id: &str) -> Result<(), RuntimeError> {
    match id.len() {
        0..=MAX_ID_BYTES => Ok(()),
        // The id itself would not fit into a message.
        bytes => Err(invalid(format!(
            "an id has {bytes} bytes, the limit is {MAX_ID_BYTES}"
        ))),
    }
}

/// Rejects a ref with an id that is longer than [`MAX_ID_BYTES`].
pub(crate) fn refuse_long_ref(worker: &WorkerRef) -> Result<(), RuntimeError> {
    refuse_long_id(worker.runtime_id.as_str())?;
    refuse_long_id(worker.worker_id.as_str())
}

/// Rejects the id of a new worker that has another shape than those of the form in which its runtime was imported.
pub(crate) fn refuse_other_shape(form: LayoutForm, worker: &str) -> Result<(), RuntimeError> {
    match form.accepts(worker) {
        true => Ok(()),
        false => Err(invalid(format!(
            "{worker:?} is no worker id of form {form}, in which the runtime was imported"
        ))),
    }
}

/// Rejects a new worker whose id a deleted worker had.
pub(crate) fn refuse_deleted(rows: &dyn Rows, worker: &WorkerRef) -> Result<(), RuntimeError> {
    let (id, worker_id) = (worker.runtime_id.as_str(), worker.worker_id.as_str());
    match rows.tombstone(id, worker_id)? {
        None => Ok(()),
        Some(_) => Err(invalid(format!(
            "worker {worker_id} was deleted, and its id is not used again"
        ))),
    }
}

/// Rejects a number that does not follow the last one of its log, or that leaves no next one.
pub(crate) fn refuse_not_after(what: &str, id: u64, last: Option<u64>) -> Result<(), RuntimeError> {
    match last {
        _ if id == u64::MAX => Err(invalid(format!("{what} {id} leaves no next one"))),
        Some(last) if id <= last => Err(invalid(format!(
            "{what} {id} is not greater than the last one, {last}"
        ))),
        _ if id == 0 => Err(invalid(format!("{what}s begin at 1"))),
        _ => Ok(()),
    }
}

/// Rejects a counter that would give out a number a second time.
pub(crate) fn refuse_behind(
    counter: &str,
    next: u64,
    last: Option<u64>,
) -> Result<(), RuntimeError> {
    match last {
        _ if next == 0 => Err(invalid(format!("{counter} is 0, but numbers begin at 1"))),
        Some(last) if next <= last => Err(invalid(format!(
            "{counter} {next} is not greater than {last}, which is assigned already"
        ))),
        _ => Ok(()),
    }
}

/// Adds `by` to a stored count. A count that overflows is corrupt: no store has so many rows.
pub(crate) fn grow(
    at: OpContext<'_>,
    (table, key): (&str, &impl Debug),
    (name, count): (&str, &mut u64),
    by: u64,
) -> Result<(), RuntimeError> {
    *count = count
        .checked_add(by)
        .ok_or_else(|| at.corrupt(format!("table {table}, key {key:?}: {name} overflows")))?;
    Ok(())
}

/// Subtracts `by` from a stored count. The caller has found as many rows, so a smaller count is corrupt.
pub(crate) fn shrink(
    at: OpContext<'_>,
    (table, key): (&str, &impl Debug),
    (name, count): (&str, &mut u64),
    by: u64,
) -> Result<(), RuntimeError> {
    *count = count.checked_sub(by).ok_or_else(|| {
        at.corrupt(format!(
            "table {table}, key {key:?}: {name} is {count}, but {by} rows of that kind are there"
        ))
    })?;
    Ok(())
}

/// Counts a worker whose status changes, or that is new (`from` is `None`), in its runtime's row.
pub(crate) fn recount_worker(
    at: OpContext<'_>,
    id: &str,
    row: &mut RuntimeRow,
    from: Option<WorkerStatus>,
    to: WorkerStatus,
) -> Result<(), RuntimeError> {
    if let Some(from) = from {
        let (name, count) = row.workers_in(from);
        // The worker's own row says that it has this status, so its runtime has counted at least one.
        *count = count.checked_sub(1).ok_or_else(|| {
            at.corrupt(format!(
                "table {}, key {id:?}: {name} is 0, but a worker has that status",
                table_names::RUNTIMES
            ))
        })?;
    }
    let counted = row.workers_in(to);
    grow(at, (table_names::RUNTIMES, &id), counted, 1)
}

/// What the rows of a runtime's workers add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkerTotals {
    pub(crate) running: u64,
    pub(crate) stopped: u64,
    pub(crate) cancelled: u64,
    /// The greatest id of an event that changed a worker.
    pub(crate) last_event_id: Option<u64>,
}

impl WorkerTotals {
    /// Adds up all workers of a runtime, a page at a time.
    pub(crate) fn read(rows: &dyn Rows, id: &str) -> Result<Self, RuntimeError> {
        let mut totals = Self::default();
        let mut last: Option<String> = None;
        loop {
            let page = rows.workers(id, last.as_deref(), PAGE_ROWS)?;
            let of = |status| {
                let has_status = page.iter().filter(|(_, worker)| worker.status == status);
                stored_size(has_status.count())
            };
            totals.running += of(WorkerStatus::Running);
            totals.stopped += of(WorkerStatus::Stopped);
            totals.cancelled += of(WorkerStatus::Cancelled);
            let last_event_id = page.iter().map(|(_, worker)| worker.last_event_id).max();
            totals.last_event_id = totals.last_event_id.max(last_event_id);
            last = match page.into_iter().next_back() {
                Some((worker, _)) => Some(worker),
                None => return Ok(totals),
            };
        }
    }

    /// Writes the counts into a runtime's row.
    pub(crate) fn count_in(self, row: &mut RuntimeRow) {
        row.running_workers = self.running;
        row.stopped_workers = self.stopped;
        row.cancelled_workers = self.cancelled;
    }

    /// Rejects a runtime's row that its workers contradict. Running workers of a stopped runtime are
    /// accepted: a directory store that was killed while it stopped a runtime leaves them, and `verify`
    /// reports them.
    pub(crate) fn refuse_contradicting(
        self,
        id: &str,
        row: &RuntimeRow,
    ) -> Result<(), RuntimeError> {
        for (name, stated, counted) in [
            ("running", row.running_workers, self.running),
            ("stopped", row.stopped_workers, self.stopped),
            ("cancelled", row.cancelled_workers, self.cancelled),
        ] {
            if stated != counted {
                return Err(invalid(format!(
                    "runtime {id} counts {stated} {name} workers, but has {counted}: put the runtime \
                     after its workers"
                )));
            }
        }
        refuse_behind("next_event_id", row.next_event_id, self.last_event_id)
    }
}

/// Rejects a runtime whose counters would give out a number again. `last_event_id` and
/// `last_diagnostic_id` are the last of its rows, which a seek finds: no log is read for this.
pub(crate) fn refuse_counters_behind(
    row: &RuntimeRow,
    last_event_id: Option<u64>,
    last_diagnostic_id: Option<u64>,
) -> Result<(), RuntimeError> {
    refuse_behind("next_event_id", row.next_event_id, last_event_id)?;
    refuse_behind("next_worker_sequence", row.next_worker_sequence, None)?;
    let next = row.next_diagnostic_id;
    refuse_behind("next_diagnostic_id", next, last_diagnostic_id)
}

/// Rejects diagnostics whose ids do not increase from `last` on. Returns the last id.
pub(crate) fn refuse_unordered_diagnostics(
    ids: impl Iterator<Item = u64>,
    last: Option<u64>,
) -> Result<Option<u64>, RuntimeError> {
    ids.into_iter().try_fold(last, |last, id| {
        refuse_not_after("diagnostic id", id, last)?;
        Ok(Some(id))
    })
}
