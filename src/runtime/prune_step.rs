//! One step of a prune: rows, floors, counts and the record of the prune change in one commit.

use crate::error::RuntimeError;
use crate::ledger::checks;
use crate::ledger::convert::size;
use crate::ledger::deletion;
use crate::ledger::removals::{ALL, Removals};
use crate::ledger::rows::{DiagnosticRow, FIRST_EVENT_ID, Rows, RuntimeRow, WorkerRow};
use crate::ledger::stored::tombstone::{TombstoneRow, WorkerEnd};
use crate::ledger::table_names;
use crate::ledger::transaction::Transaction;
use crate::ledger::whole::each_diagnostic;
use crate::model::diagnostics::DiagnosticSeverity;
use crate::model::identity::{RuntimeId, WorkerId};
use crate::model::retention::{PRUNED, RuntimePrune};
use crate::runtime::import_texts;
use crate::runtime::pages;
use crate::store::prune_plan::{Cut, Dropped, FoundRow, Step, row_at};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

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
    /// The record and the row of the runtime after the step; `None` if nothing was removed.
    pub(crate) after: Option<(Record, RuntimeRow)>,
    pub(crate) found: Found,
}

/// A step, and the state of the runtime that it expects.
#[derive(Clone, Copy)]
pub(crate) struct Planned<'p> {
    pub(crate) step: &'p Step,
    /// Old records of prunes to remove, each with its size in bytes.
    pub(crate) old_records: &'p [(u64, u64)],
    pub(crate) row: &'p RuntimeRow,
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

    /// The id of the diagnostic of the prune, once there is one.
    pub(crate) fn diagnostic(&self) -> Option<u64> {
        self.diagnostic
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

/// Whether a runtime is as planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    AsPlanned,
    /// Other writers have pruned it or added to it: rows that the plan removes are still there, and need a new plan.
    Stale,
    /// Another writer has replaced it: its rows are not those that the policy was applied to.
    Replaced,
}

/// Whether a runtime with the row `now` is another one than that with the row `planned`. These numbers of a runtime never
/// shrink.
fn is_replaced(now: &RuntimeRow, planned: &RuntimeRow) -> bool {
    let numbers = |row: &RuntimeRow| {
        [
            row.first_event_id,
            row.next_event_id,
            row.next_diagnostic_id,
            row.last_change,
        ]
    };
    let (numbers_now, numbers_planned) = (numbers(now), numbers(planned));
    let mut pairs = numbers_now.iter().zip(&numbers_planned);
    pairs.any(|(now, planned)| now < planned) || now.latest_time_ms < planned.latest_time_ms
}

/// What a step changes, before it is staged.
pub(crate) struct Changes<'p> {
    id: RuntimeId,
    runtime: RuntimeRow,
    record: Record,
    removals: Removals,
    workers: Vec<(&'p str, WorkerRow)>,
    /// Workers that go as a whole.
    dropped: Vec<(&'p str, WorkerEnd)>,
    found: Found,
    /// The size of the rows that the step removes.
    bytes: u64,
    /// The size of the files of dropped workers. Steps of a deletion remove them.
    file_bytes: u64,
}

/// Decides what a step removes, and adds it to the `record` of the prune.
pub(crate) fn changes<'p>(
    transaction: &Transaction<'_>,
    planned: Planned<'p>,
    record: &Record,
) -> Result<Changes<'p>, RuntimeError> {
    let id = record.removed.runtime_id.clone();
    let runtime = pages::runtime_row(transaction, &id)?;
    let found = match is_replaced(&runtime, planned.row) {
        true => Found::Replaced,
        false => Found::AsPlanned,
    };
    let unchanged = || Changes {
        runtime: runtime.clone(),
        id: id.clone(),
        record: record.clone(),
        removals: Removals::default(),
        workers: Vec::new(),
        dropped: Vec::new(),
        found,
        bytes: 0,
        file_bytes: 0,
    };
    let mut changes = unchanged();
    if found == Found::AsPlanned {
        changes.take(transaction, planned)?;
    }
    match changes.found {
        // Nothing of the step, also if another log of it looked as planned.
        Found::Replaced => Ok(Changes {
            found: Found::Replaced,
            ..unchanged()
        }),
        _ => Ok(changes),
    }
}

impl<'p> Changes<'p> {
    /// Takes what the step removes.
    fn take(
        &mut self,
        transaction: &Transaction<'_>,
        planned: Planned<'p>,
    ) -> Result<(), RuntimeError> {
        let before = self.record.removed.bytes;
        for cut in &planned.step.cuts {
            match &cut.log {
                None => self.cut_events(transaction, cut)?,
                Some(worker) => self.cut_entries(transaction, worker, cut)?,
            }
        }
        let newer = match planned.step.dropped.is_empty() {
            true => BTreeSet::new(),
            false => {
                workers_with_diagnostics(transaction, &self.id, planned.row.next_diagnostic_id)?
            }
        };
        for worker in &planned.step.dropped {
            self.drop_worker(transaction, worker, &newer)?;
        }
        if self.record.removed.bytes > before {
            for (id, bytes) in planned.old_records {
                let is_record = |row: &DiagnosticRow| row.code == PRUNED;
                let is_removed = self.remove_diagnostic(transaction, *id, &is_record)?;
                self.record.removed.bytes += if is_removed { *bytes } else { 0 };
            }
        }
        if !self.removals.diagnostics.is_empty() {
            let document = deletion::runtime_document(transaction, self.id.as_str())?;
            self.removals.files.extend(document);
        }
        self.bytes = self.record.removed.bytes - before;
        Ok(())
    }

    fn cut_events(&mut self, rows: &dyn Rows, cut: &Cut) -> Result<(), RuntimeError> {
        let last = row_at(rows, &self.id, (&cut.log, cut.last.number))?;
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
        let last = row_at(transaction, &self.id, (&cut.log, cut.last.number))?;
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
        last: Option<FoundRow>,
    ) -> bool {
        let planned = FoundRow {
            number: cut.last.number,
            time_ms: cut.last.time_ms,
            fingerprint: cut.fingerprint,
        };
        if floor >= cut.to {
            // The rows are gone already: nothing is left to do.
            return false;
        }
        let found = match last == Some(planned) && end >= cut.end {
            false => Found::Replaced,
            // Another prune has removed some of the rows, or an earlier cut of this log was stale.
            true if floor != cut.from => Found::Stale,
            true => Found::AsPlanned,
        };
        self.note(found);
        found == Found::AsPlanned
    }

    fn note(&mut self, found: Found) {
        match (self.found, found) {
            (_, Found::AsPlanned) | (Found::Replaced, _) => {}
            _ => self.found = found,
        }
    }

    /// Removes a worker with all its rows, unless it was pinned, removed or changed since the plan, or has diagnostics that
    /// are `newer` than the plan.
    fn drop_worker(
        &mut self,
        rows: &Transaction<'_>,
        planned: &'p Dropped,
        newer: &BTreeSet<String>,
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
        if !is_same(&row) || newer.contains(worker) {
            if !row.is_pinned && !row.status.is_active() {
                self.note(Found::Stale);
            }
            if staged.is_some() {
                self.workers.push((worker, row));
            }
            return Ok(());
        }
        self.removals.workers.insert(worker.to_owned());
        self.removals.raise_entries(worker.to_owned(), ALL);
        let at = rows.at();
        let key = (table_names::RUNTIMES, &self.id.as_str());
        checks::shrink(at, key, self.runtime.workers_in(row.status), 1)?;
        let end = WorkerEnd {
            transcript_len: row.transcript_len,
            next_sequence: row.next_transcript_sequence,
            last_event_id: row.last_event_id,
        };
        self.dropped.push((worker, end));
        self.record.removed.workers += 1;
        self.record.removed.transcript_entries += planned.entries;
        self.record.removed.bytes += planned.bytes + planned.file_bytes;
        self.file_bytes += planned.file_bytes;
        for id in &planned.diagnostics {
            let is_about = |row: &DiagnosticRow| row.worker_id.as_deref() == Some(worker);
            self.remove_diagnostic(rows, *id, &is_about)?;
        }
        Ok(())
    }

    /// Removes a diagnostic. Returns whether it still existed, and is the planned one.
    fn remove_diagnostic(
        &mut self,
        rows: &dyn Rows,
        number: u64,
        is_planned: &dyn Fn(&DiagnosticRow) -> bool,
    ) -> Result<bool, RuntimeError> {
        let there = rows.diagnostics(self.id.as_str(), number, 1)?;
        let there = there.first().filter(|(there, _)| *there == number);
        let exists = there.is_some_and(|(_, row)| is_planned(row));
        if !exists || !self.removals.diagnostics.insert(number) {
            return Ok(false);
        }
        let key = (table_names::RUNTIMES, &self.id.as_str());
        let counted = ("diagnostics", &mut self.runtime.diagnostics);
        checks::shrink(rows.at(), key, counted, 1)?;
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
            after: (self.bytes > 0).then_some((self.record, self.runtime)),
            found: self.found,
        }
    }

    /// Stages the removal of the rows.
    pub(crate) fn stage_rows(&mut self, transaction: &mut Transaction<'_>) {
        let removals = std::mem::take(&mut self.removals);
        let changes = transaction.changes();
        let bytes = self.bytes.saturating_sub(self.file_bytes);
        changes.remove(self.id.as_str(), removals, size(bytes));
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
        let dropped: Vec<_> = self.dropped.iter().map(|(worker, _)| *worker).collect();
        import_texts::forget_workers(transaction, id, &dropped)?;
        if self.file_bytes > 0 {
            for worker in &dropped {
                deletion::list_worker(transaction, id, worker)?;
            }
        }
        let changes = transaction.changes();
        for (worker, end) in self.dropped.drain(..) {
            let at_ms = recorded_at_ms;
            changes.put_tombstone(id, worker, TombstoneRow::Dropped { at_ms, end })?;
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

/// The workers that diagnostics from the id `from` on name.
fn workers_with_diagnostics(
    rows: &dyn Rows,
    id: &RuntimeId,
    from: u64,
) -> Result<BTreeSet<String>, RuntimeError> {
    let mut workers = BTreeSet::new();
    each_diagnostic(rows, id.as_str(), from, |_, row| {
        workers.extend(row.worker_id);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(workers)
}
