//! One step of a prune: rows, floors, counts and the record of the prune change in one commit.

use crate::error::RuntimeError;
use crate::ledger::checks;
use crate::ledger::convert::size;
use crate::ledger::removals::{ALL, Removals};
use crate::ledger::retention::RowFacts;
use crate::ledger::rows::{DiagnosticRow, FIRST_EVENT_ID, Rows, RuntimeRow, WorkerRow};
use crate::ledger::table_names;
use crate::ledger::tombstone::TombstoneRow;
use crate::ledger::transaction::Transaction;
use crate::model::diagnostics::DiagnosticSeverity;
use crate::model::identity::{RuntimeId, WorkerId};
use crate::model::retention::{PRUNED, RuntimePrune};
use crate::runtime::import_texts;
use crate::runtime::pages;
use crate::store::prune_plan::{Cut, Dropped, Step};

/// What a prune has removed of one runtime so far, which its diagnostic says.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) removed: RuntimePrune,
    /// The id of the first removed event.
    first_event: Option<u64>,
    /// The id of the diagnostic, once there is one.
    diagnostic: Option<u64>,
}

/// The outcome of a step.
pub(crate) struct Done {
    /// The record after the step; `None` if nothing was removed.
    pub(crate) record: Option<Record>,
    /// Whether a log was not as planned and still has rows that the plan removes.
    pub(crate) is_stale: bool,
}

impl Record {
    pub(crate) fn new(runtime_id: RuntimeId) -> Self {
        Self {
            removed: RuntimePrune {
                runtime_id,
                events: 0,
                transcript_entries: 0,
                workers: 0,
                diagnostics: 0,
                bytes: 0,
                first_event_id: FIRST_EVENT_ID,
            },
            first_event: None,
            diagnostic: None,
        }
    }

    /// Whether nothing was removed.
    pub(crate) fn is_empty(&self) -> bool {
        self.diagnostic.is_none()
    }

    fn message(&self) -> String {
        let removed = &self.removed;
        let mut parts = Vec::new();
        if removed.events > 0 {
            let first = self.first_event.unwrap_or(FIRST_EVENT_ID);
            let last = removed.first_event_id - 1;
            parts.push(format!("{} events (ids {first} to {last})", removed.events));
        }
        for (rows, of) in [
            (removed.transcript_entries, "transcript entries"),
            (removed.workers, "workers that had ended"),
            (removed.diagnostics, "diagnostics"),
        ] {
            if rows > 0 {
                parts.push(format!("{rows} {of}"));
            }
        }
        format!(
            "retention removed {}: {} bytes",
            parts.join(", "),
            removed.bytes
        )
    }
}

/// Whether a log is as planned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    AsPlanned,
    /// The rows are gone already, or it is another log: nothing is left to do.
    Gone,
    /// Rows that the plan removes are still there, but not as planned.
    Stale,
}

/// What a step changes, before it is staged.
pub(crate) struct Changes<'p> {
    id: RuntimeId,
    runtime: RuntimeRow,
    record: Record,
    removals: Removals,
    workers: Vec<(&'p str, WorkerRow)>,
    /// Workers that go as a whole.
    dropped: Vec<&'p str>,
    is_stale: bool,
    /// The size of the rows that the step removes.
    bytes: u64,
}

/// Decides what `step` removes, with `old_records`, and adds it to the `record` of the prune.
pub(crate) fn changes<'p>(
    transaction: &Transaction<'_>,
    step: &'p Step,
    old_records: &[(u64, u64)],
    record: &Record,
) -> Result<Changes<'p>, RuntimeError> {
    let id = record.removed.runtime_id.clone();
    let before = record.removed.bytes;
    let mut changes = Changes {
        runtime: pages::runtime_row(transaction, &id)?,
        id,
        record: record.clone(),
        removals: Removals::default(),
        workers: Vec::new(),
        dropped: Vec::new(),
        is_stale: false,
        bytes: 0,
    };
    for cut in &step.cuts {
        match &cut.log {
            None => changes.cut_events(transaction, cut)?,
            Some(worker) => changes.cut_entries(transaction, worker, cut)?,
        }
    }
    for worker in &step.dropped {
        changes.drop_worker(transaction, worker)?;
    }
    if changes.record.removed.bytes > before {
        for (id, bytes) in old_records {
            let is_removed = changes.remove_diagnostic(transaction, *id)?;
            changes.record.removed.bytes += if is_removed { *bytes } else { 0 };
        }
    }
    changes.bytes = changes.record.removed.bytes - before;
    Ok(changes)
}

impl<'p> Changes<'p> {
    fn cut_events(&mut self, rows: &dyn Rows, cut: &Cut) -> Result<(), RuntimeError> {
        let mut last = None;
        rows.events(self.id.as_str(), cut.last.number, 1, &mut |number, row| {
            last = Some((number, row.recorded_at_ms));
            Ok(())
        })?;
        let (floor, end) = (self.runtime.first_event_id, self.runtime.next_event_id);
        if !self.is_as_planned(cut, (floor, end), last) {
            return Ok(());
        }
        self.removals.events_below = cut.to;
        self.runtime.first_event_id = cut.to;
        self.record.first_event.get_or_insert(cut.from);
        self.record.removed.events += cut.amount.rows;
        self.record.removed.bytes += cut.amount.bytes;
        Ok(())
    }

    fn cut_entries(
        &mut self,
        transaction: &Transaction<'_>,
        worker: &'p WorkerId,
        cut: &Cut,
    ) -> Result<(), RuntimeError> {
        let worker = worker.as_str();
        let row = transaction.worker(self.id.as_str(), worker)?;
        // A worker that was pinned or removed meanwhile is left alone.
        let Some(mut row) = row.filter(|row| !row.is_pinned) else {
            return Ok(());
        };
        let mut last = None;
        transaction.transcript(
            self.id.as_str(),
            worker,
            cut.last.number,
            1,
            &mut |position, row| {
                last = Some((position, row.recorded_at_ms));
                Ok(())
            },
        )?;
        if !self.is_as_planned(cut, (row.first_position, row.transcript_len), last) {
            return Ok(());
        }
        self.removals.raise_entries(worker.to_owned(), cut.to);
        row.first_position = cut.to;
        row.touch(&mut self.runtime, transaction.now_ms());
        self.workers.push((worker, row));
        self.record.removed.transcript_entries += cut.amount.rows;
        self.record.removed.bytes += cut.amount.bytes;
        Ok(())
    }

    /// Whether the log with these bounds is the planned one. `last` is the row at the number of the last one to remove, or
    /// the one after it.
    fn is_as_planned(
        &mut self,
        cut: &Cut,
        (floor, end): (u64, u64),
        last: Option<(u64, Option<u64>)>,
    ) -> bool {
        let RowFacts {
            number, time_ms, ..
        } = cut.last;
        let found = match (floor, end) {
            (floor, _) if floor >= cut.to => Found::Gone,
            // An end that has shrunk, or a floor, is that of another log.
            (floor, end) if end < cut.end || floor < cut.from => Found::Stale,
            _ if last != Some((number, time_ms)) => Found::Stale,
            (floor, _) if floor > cut.from => Found::Stale,
            _ => Found::AsPlanned,
        };
        self.is_stale |= found == Found::Stale;
        found == Found::AsPlanned
    }

    /// Removes a worker with all its rows, unless it was pinned, removed or changed since the plan.
    fn drop_worker(
        &mut self,
        rows: &Transaction<'_>,
        planned: &'p Dropped,
    ) -> Result<(), RuntimeError> {
        let worker = planned.worker_id.as_str();
        let is_same = |row: &WorkerRow| {
            let bounds = (row.first_position, row.transcript_len);
            !row.is_pinned
                && !row.status.is_active()
                && row.ended_at_ms == planned.ended_at_ms
                && bounds == (planned.first_position, planned.end)
        };
        let staged = self
            .workers
            .iter()
            .position(|(staged, _)| *staged == worker);
        let row = match staged {
            // The same step has removed the entries before.
            Some(index) => Some(self.workers.swap_remove(index).1),
            None => rows.worker(self.id.as_str(), worker)?,
        };
        let Some(row) = row else {
            return Ok(());
        };
        if !is_same(&row) {
            self.is_stale |= !row.is_pinned && !row.status.is_active();
            return Ok(());
        }
        self.removals.workers.insert(worker.to_owned());
        self.removals.raise_entries(worker.to_owned(), ALL);
        let at = rows.at();
        let (name, count) = self.runtime.workers_in(row.status);
        *count = count.checked_sub(1).ok_or_else(|| {
            let (table, id) = (table_names::RUNTIMES, self.id.as_str());
            at.corrupt(format!(
                "table {table}, key {id:?}: {name} is 0, but a worker has that status"
            ))
        })?;
        self.dropped.push(worker);
        self.record.removed.workers += 1;
        self.record.removed.transcript_entries += planned.entries;
        self.record.removed.bytes += planned.bytes;
        for id in &planned.diagnostics {
            self.remove_diagnostic(rows, *id)?;
        }
        Ok(())
    }

    /// Removes a diagnostic. Returns whether it still existed.
    fn remove_diagnostic(&mut self, rows: &dyn Rows, number: u64) -> Result<bool, RuntimeError> {
        let there = rows.diagnostics(self.id.as_str(), number, 1)?;
        let exists = there.first().is_some_and(|(there, _)| *there == number);
        if !exists || !self.removals.diagnostics.insert(number) {
            return Ok(false);
        }
        self.runtime.diagnostics = self.runtime.diagnostics.checked_sub(1).ok_or_else(|| {
            let (table, id) = (table_names::RUNTIMES, self.id.as_str());
            rows.at().corrupt(format!(
                "table {table}, key {id:?}: diagnostics is 0, but there is one"
            ))
        })?;
        self.record.removed.diagnostics += 1;
        Ok(true)
    }

    /// Stages the whole step.
    pub(crate) fn stage(mut self, transaction: &mut Transaction<'_>) -> Result<Done, RuntimeError> {
        if self.bytes > 0 {
            self.stage_rows(transaction);
            self.stage_floors(transaction)?;
        }
        Ok(self.done())
    }

    /// The outcome of the step, once it is staged.
    pub(crate) fn done(self) -> Done {
        Done {
            record: (self.bytes > 0).then_some(self.record),
            is_stale: self.is_stale,
        }
    }

    /// Stages the removal of the rows.
    pub(crate) fn stage_rows(&mut self, transaction: &mut Transaction<'_>) {
        let removals = std::mem::take(&mut self.removals);
        let changes = transaction.changes();
        changes.remove(self.id.as_str(), removals, size(self.bytes));
    }

    /// Stages the floors, the counts and the record of the prune.
    pub(crate) fn stage_floors(
        &mut self,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), RuntimeError> {
        self.record.removed.first_event_id = self.runtime.first_event_id;
        let recorded_at_ms = Some(self.runtime.tick(transaction.now_ms()));
        let diagnostic = self.diagnostic(transaction)?;
        let row = DiagnosticRow {
            severity: DiagnosticSeverity::Info,
            code: PRUNED.to_owned(),
            message: self.record.message(),
            worker_id: None,
            unknown: Vec::new(),
            recorded_at_ms,
        };
        let id = self.id.as_str();
        import_texts::forget_workers(transaction, id, &self.dropped)?;
        let changes = transaction.changes();
        for worker in self.dropped.drain(..) {
            let at_ms = recorded_at_ms;
            changes.put_tombstone(id, worker, TombstoneRow::Dropped { at_ms })?;
        }
        for (worker, row) in self.workers.drain(..) {
            changes.put_worker(id, worker, row)?;
        }
        changes.put_diagnostic(id, diagnostic, row)?;
        changes.put_runtime(id, self.runtime.clone())
    }

    /// The id of the diagnostic of this prune: a new one, unless an earlier step has written it and it still exists.
    fn diagnostic(&mut self, rows: &dyn Rows) -> Result<u64, RuntimeError> {
        if let Some(id) = self.record.diagnostic {
            let there = rows.diagnostics(self.id.as_str(), id, 1)?;
            if there
                .first()
                .is_some_and(|(there, row)| *there == id && row.code == PRUNED)
            {
                return Ok(id);
            }
        }
        let id = self.runtime.next_diagnostic_id;
        let exhausted = || RuntimeError::InvalidRequest("diagnostic id space exhausted".to_owned());
        self.runtime.next_diagnostic_id = id.checked_add(1).ok_or_else(exhausted)?;
        let counted = ("diagnostics", &mut self.runtime.diagnostics);
        let key = (table_names::RUNTIMES, &self.id.as_str());
        checks::grow(rows.at(), key, counted, 1)?;
        self.record.diagnostic = Some(id);
        Ok(id)
    }
}
