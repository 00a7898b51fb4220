//! Plans a prune in one snapshot: the rows that a policy removes, in steps that are one commit each.
//!
//! The plan holds no lock, and rows are only appended while it is carried out. Each step says which state it expects, so
//! that what another writer has removed or replaced meanwhile is left alone.

use crate::engine::redb::maintenance::census::compacting_frees;
use crate::error::RuntimeError;
use crate::ledger::convert::owner_of;
use crate::ledger::deletion::bytes_of_files;
use crate::ledger::retention::{Amount, Cutter, LogLimits, Mark, RowFacts, shares};
use crate::ledger::rows::{Rows, RuntimeRow, WorkerRow};
use crate::ledger::stored::envelope::{Record, append_body};
use crate::ledger::whole::{all_runtimes, each_worker};
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::retention::{PRUNED, PruneOptions, Retention};
use crate::store::any_store::AnyStore;
use crate::store::handle::Store;
use crate::store::snapshot_view::SnapshotView;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::time::Duration;

/// The most bytes of rows that one step removes. Writers wait for at most one step; the smaller it is, the more commits a
/// prune takes.
const STEP_BYTES: u64 = 512 << 10;

/// The most logs and workers of one step.
const STEP_PARTS: usize = 512;

/// The records of prunes that stay.
const KEPT_RECORDS: usize = 100;

/// The log of a cut; `None` is the event log.
pub(crate) type Log = Option<WorkerId>;

/// Rows to remove from the beginning of a log.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) log: Log,
    /// The floor that the log has.
    pub(crate) from: u64,
    /// The floor that the log gets.
    pub(crate) to: u64,
    pub(crate) amount: Amount,
    /// The last row to remove, and its fingerprint, by which the log is recognised.
    pub(crate) last: RowFacts,
    pub(crate) fingerprint: u64,
    /// The end of the log at the time of the plan. It never shrinks.
    pub(crate) end: u64,
}

/// A worker to remove as a whole, with its remaining entries.
#[derive(Clone, Debug)]
pub(crate) struct Dropped {
    pub(crate) worker_id: WorkerId,
    pub(crate) ended_at_ms: Option<u64>,
    /// The positions of its entries.
    pub(crate) first_position: u64,
    pub(crate) end: u64,
    pub(crate) entries: u64,
    pub(crate) diagnostics: Vec<u64>,
    /// The size of all these rows.
    pub(crate) bytes: u64,
    /// The size of its files. They go after its other rows, as after a deletion.
    pub(crate) file_bytes: u64,
}

/// What one commit removes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) cuts: Vec<Cut>,
    pub(crate) dropped: Vec<Dropped>,
    bytes: u64,
}

/// The plan of one runtime.
#[derive(Clone, Debug)]
pub(crate) struct RuntimePlan {
    pub(crate) runtime_id: RuntimeId,
    /// The row of the runtime. No number in it ever shrinks, unless the runtime is replaced.
    pub(crate) row: RuntimeRow,
    pub(crate) steps: Vec<Step>,
    /// Old records of prunes to remove with the first step, each with its size in bytes.
    pub(crate) old_records: Vec<(u64, u64)>,
    /// The floor of the event log after the plan.
    pub(crate) first_event_id: u64,
    step_bytes: u64,
}

/// The plan of a prune.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) runtimes: Vec<RuntimePlan>,
    pub(crate) compacting_frees_bytes: Option<u64>,
}

impl Plan {
    /// Plans to prune the runtime `only`, or all runtimes. `own_record` is the id of the record that the prune has written
    /// for a runtime already.
    pub(crate) fn new(
        store: &Store,
        only: Option<&RuntimeId>,
        (policy, options): (&Retention, &PruneOptions),
        own_record: &dyn Fn(&RuntimeId) -> Option<u64>,
    ) -> Result<Self, RuntimeError> {
        let snapshot = store.snapshot()?;
        let view = snapshot.view_for("prune");
        let runtimes = match only {
            None => all_runtimes(&*view)?,
            Some(id) => {
                let row = view.runtime(id.as_str())?;
                row.map(|row| (id.clone(), row)).into_iter().collect()
            }
        };
        let now_ms = store.shared.now_ms();
        let mut planning = Planning::new(&view, policy, now_ms, own_record);
        planning.step_bytes = options.step_bytes.unwrap_or(STEP_BYTES);
        let shares = planning.shares(&runtimes)?;
        let mut plan = Self::default();
        for (id, row) in runtimes {
            let runtime = planning.runtime(&id, &row, &shares)?;
            if !runtime.steps.is_empty() {
                plan.runtimes.push(runtime);
            }
        }
        let bytes = plan.runtimes.iter().map(RuntimePlan::bytes).sum();
        plan.compacting_frees_bytes = frees_bytes(store, &view, bytes)?;
        Ok(plan)
    }
}

/// An estimate, in bytes, of how much the store's file shrinks if it is compacted after rows of `removed` bytes were
/// removed. `None` for a store without a file.
fn frees_bytes(
    store: &Store,
    view: &SnapshotView<'_>,
    removed: u64,
) -> Result<Option<u64>, RuntimeError> {
    match (&store.shared, view) {
        (AnyStore::Redb(store), SnapshotView::Redb(view)) => {
            compacting_frees(store.engine(), view, removed)
        }
        #[cfg(feature = "postgres")]
        _ => Ok(None),
    }
}

impl RuntimePlan {
    /// The size of all rows that the plan removes.
    pub(crate) fn bytes(&self) -> u64 {
        let old = self.old_records.iter().map(|(_, bytes)| bytes);
        let dropped = self.steps.iter().flat_map(|step| &step.dropped);
        let files: u64 = dropped.map(|worker| worker.file_bytes).sum();
        self.steps.iter().map(|step| step.bytes).sum::<u64>() + old.sum::<u64>() + files
    }

    fn add(&mut self, bytes: u64, part: impl FnOnce(&mut Step)) {
        let fits = |step: &&mut Step| {
            let parts = step.cuts.len() + step.dropped.len();
            parts < STEP_PARTS && step.bytes + bytes <= self.step_bytes
        };
        match self.steps.last_mut().filter(fits) {
            Some(step) => {
                step.bytes += bytes;
                part(step);
            }
            None => {
                let mut step = Step {
                    bytes,
                    ..Step::default()
                };
                part(&mut step);
                self.steps.push(step);
            }
        }
    }

    /// Adds the cuts of one log up to `marks`.
    fn cut(&mut self, log: &Log, (floor, end): (u64, u64), marks: Vec<Mark>) {
        let (mut from, mut before) = (floor, Amount::default());
        for mark in marks {
            let amount = mark.amount.without(before);
            let cut = Cut {
                log: log.clone(),
                from,
                to: mark.to,
                amount,
                last: mark.last,
                fingerprint: 0,
                end,
            };
            (from, before) = (mark.to, mark.amount);
            self.add(amount.bytes, |step| step.cuts.push(cut));
        }
    }
}

/// The bytes that each log may keep, by runtime and worker. Logs without an entry are not limited.
type Shares = HashMap<(RuntimeId, Log), u64>;

/// A policy at one point in time, over one snapshot.
struct Planning<'a> {
    view: &'a SnapshotView<'a>,
    policy: &'a Retention,
    until_ms: Option<u64>,
    ended_until_ms: Option<u64>,
    step_bytes: u64,
    own_record: &'a dyn Fn(&RuntimeId) -> Option<u64>,
}

impl<'a> Planning<'a> {
    fn new(
        view: &'a SnapshotView<'a>,
        policy: &'a Retention,
        now_ms: u64,
        own_record: &'a dyn Fn(&RuntimeId) -> Option<u64>,
    ) -> Self {
        // An age that reaches back before 1970 takes nothing.
        let ago = |age: Duration| now_ms.checked_sub(u64::try_from(age.as_millis()).ok()?);
        Self {
            view,
            policy,
            until_ms: policy.newer_than.and_then(ago),
            ended_until_ms: policy.ended_before.and_then(ago),
            step_bytes: STEP_BYTES,
            own_record,
        }
    }

    fn limits(&self, log: &Log) -> LogLimits {
        LogLimits {
            keep_rows: match log {
                None => self.policy.keep_events,
                Some(_) => self.policy.keep_entries,
            },
            keep_bytes: None,
            until_ms: self.until_ms,
        }
    }

    /// Whether the worker goes as a whole.
    fn is_dropped(&self, worker: &WorkerRow) -> bool {
        let Some(until_ms) = self.ended_until_ms else {
            return false;
        };
        !worker.is_pinned
            && !worker.status.is_active()
            && worker.ended_at_ms.is_some_and(|ended| ended <= until_ms)
    }

    /// Passes the rows of a log from `from` on to `each`, until it returns `false`.
    fn rows(
        &self,
        id: &RuntimeId,
        log: &Log,
        from: u64,
        mut each: impl FnMut(RowFacts) -> bool,
    ) -> Result<(), RuntimeError> {
        let mut each = |row, _| match each(row) {
            true => Ok(ControlFlow::Continue(())),
            false => Ok(ControlFlow::Break(())),
        };
        match log {
            None => self.view.event_facts(id.as_str(), from, &mut each),
            Some(worker) => {
                let owner = (id.as_str(), worker.as_str());
                self.view.entry_facts(owner, from, &mut each)
            }
        }
    }

    fn total(&self, id: &RuntimeId, log: &Log, from: u64) -> Result<Amount, RuntimeError> {
        let mut total = Amount::default();
        self.rows(id, log, from, |row| {
            total.add(Amount {
                rows: 1,
                bytes: row.bytes,
            });
            true
        })?;
        Ok(total)
    }

    /// The places up to which the rows of a log go.
    fn marks(
        &self,
        id: &RuntimeId,
        log: &Log,
        from: u64,
        limits: LogLimits,
    ) -> Result<Vec<Mark>, RuntimeError> {
        if limits.is_empty() {
            return Ok(Vec::new());
        }
        let total = match limits.need_total() {
            true => self.total(id, log, from)?,
            false => Amount::default(),
        };
        let mut cutter = Cutter::new(limits, total, self.step_bytes);
        self.rows(id, log, from, |row| cutter.take(row))?;
        Ok(cutter.finish())
    }

    /// The bytes that each log keeps of what the other limits leave.
    fn shares(&self, runtimes: &[(RuntimeId, RuntimeRow)]) -> Result<Shares, RuntimeError> {
        let Some(keep) = self.policy.keep_bytes else {
            return Ok(Shares::new());
        };
        let (mut logs, mut sizes, mut pinned) = (Vec::new(), Vec::new(), 0_u64);
        for (id, row) in runtimes {
            let mut note = |log: Log, from: u64, is_pinned: bool| {
                let total = self.total(id, &log, from)?;
                if is_pinned {
                    pinned = pinned.saturating_add(total.bytes);
                    return Ok::<_, RuntimeError>(());
                }
                let marks = self.marks(id, &log, from, self.limits(&log))?;
                let goes = marks.last().map_or(Amount::default(), |mark| mark.amount);
                sizes.push(total.without(goes).bytes);
                logs.push((id.clone(), log));
                Ok(())
            };
            note(None, row.first_event_id, false)?;
            each_worker(&**self.view, id, |worker, row| {
                match self.is_dropped(&row) {
                    true => Ok(()),
                    false => note(Some(worker.worker_id), row.first_position, row.is_pinned),
                }
            })?;
        }
        let shares = shares(&sizes, pinned, keep).unwrap_or_default();
        Ok(logs.into_iter().zip(shares).collect())
    }

    fn runtime(
        &self,
        id: &RuntimeId,
        row: &RuntimeRow,
        shares: &Shares,
    ) -> Result<RuntimePlan, RuntimeError> {
        let mut plan = RuntimePlan {
            runtime_id: id.clone(),
            row: row.clone(),
            steps: Vec::new(),
            old_records: Vec::new(),
            first_event_id: row.first_event_id,
            step_bytes: self.step_bytes,
        };
        let with_share = |log: &Log| LogLimits {
            keep_bytes: shares.get(&(id.clone(), log.clone())).copied(),
            ..self.limits(log)
        };
        let from = row.first_event_id;
        let marks = self.marks(id, &None, from, with_share(&None))?;
        plan.first_event_id = marks.last().map_or(from, |mark| mark.to);
        plan.cut(&None, (from, row.next_event_id), marks);
        let mut dropped = BTreeMap::new();
        each_worker(&**self.view, id, |worker, row| {
            if self.is_dropped(&row) {
                dropped.insert(worker.worker_id, row);
                return Ok(());
            }
            let log = Some(worker.worker_id);
            if !row.is_pinned {
                let marks = self.marks(id, &log, row.first_position, with_share(&log))?;
                plan.cut(&log, (row.first_position, row.transcript_len), marks);
            }
            Ok(())
        })?;
        self.drop_workers(id, dropped, &mut plan)?;
        for cut in plan.steps.iter_mut().flat_map(|step| &mut step.cuts) {
            let row = row_at(&**self.view, id, (&cut.log, cut.last.number))?;
            cut.fingerprint = row.map_or(0, |row| row.fingerprint);
        }
        Ok(plan)
    }

    /// Plans to remove whole workers, and the records of prunes that are too many.
    fn drop_workers(
        &self,
        id: &RuntimeId,
        dropped: BTreeMap<WorkerId, WorkerRow>,
        plan: &mut RuntimePlan,
    ) -> Result<(), RuntimeError> {
        if plan.steps.is_empty() && dropped.is_empty() {
            return Ok(());
        }
        let names: HashSet<&str> = dropped.keys().map(WorkerId::as_str).collect();
        let own_record = (self.own_record)(id);
        let mut records = Vec::new();
        let mut of_workers: HashMap<String, (Vec<u64>, u64)> = HashMap::new();
        self.view
            .sized_diagnostics(id.as_str(), &mut |(number, row), bytes| {
                if row.code == PRUNED {
                    let is_own = own_record == Some(number);
                    records.extend((!is_own).then_some((number, bytes)));
                } else if let Some(worker) = row.worker_id
                    && names.contains(worker.as_str())
                {
                    let (ids, size) = of_workers.entry(worker).or_default();
                    ids.push(number);
                    *size += bytes;
                }
                Ok(ControlFlow::Continue(()))
            })?;
        // The prune adds one, or has added it.
        records.truncate((records.len() + 1).saturating_sub(KEPT_RECORDS));
        plan.old_records = records;
        for (worker_id, row) in dropped {
            let diagnostics = of_workers.remove(worker_id.as_str()).unwrap_or_default();
            self.drop_worker(id, (worker_id, row), diagnostics, plan)?;
        }
        Ok(())
    }

    /// Plans to remove a worker. Entries that are too many for one step go before it, from the beginning.
    fn drop_worker(
        &self,
        id: &RuntimeId,
        (worker_id, row): (WorkerId, WorkerRow),
        (diagnostics, mut bytes): (Vec<u64>, u64),
        plan: &mut RuntimePlan,
    ) -> Result<(), RuntimeError> {
        let worker = WorkerRef::new(id.clone(), worker_id);
        let log = Some(worker.worker_id.clone());
        let all = LogLimits {
            keep_rows: Some(0),
            ..LogLimits::default()
        };
        let mut marks = self.marks(id, &log, row.first_position, all)?;
        let last = marks.pop();
        let before = marks.last().copied();
        let first_position = before.map_or(row.first_position, |mark| mark.to);
        plan.cut(&log, (row.first_position, row.transcript_len), marks);
        let gone = before.map_or(Amount::default(), |mark| mark.amount);
        let rest = last.map_or(Amount::default(), |mark| mark.amount.without(gone));
        let own = self.view.sized_worker(owner_of(&worker))?;
        bytes += rest.bytes + own.map_or(0, |(_, bytes)| bytes);
        let file_bytes = bytes_of_files(&**self.view, id.as_str(), worker.worker_id.as_str())?;
        let dropped = Dropped {
            file_bytes,
            worker_id: worker.worker_id,
            ended_at_ms: row.ended_at_ms,
            first_position,
            end: row.transcript_len,
            entries: rest.rows,
            diagnostics,
            bytes,
        };
        plan.add(bytes, |step| step.dropped.push(dropped));
        Ok(())
    }
}

/// A row by which a log is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundRow {
    pub(crate) number: u64,
    pub(crate) time_ms: Option<u64>,
    pub(crate) fingerprint: u64,
}

/// The first row of a log from `number` on.
pub(crate) fn row_at(
    rows: &dyn Rows,
    id: &RuntimeId,
    (log, number): (&Log, u64),
) -> Result<Option<FoundRow>, RuntimeError> {
    let mut found = None;
    match log {
        None => rows.events(id.as_str(), number, 1, &mut |number, row| {
            found = Some(FoundRow {
                number,
                time_ms: row.recorded_at_ms,
                fingerprint: fingerprint(&row)?,
            });
            Ok(())
        })?,
        Some(worker) => {
            let worker = worker.as_str();
            rows.transcript(id.as_str(), worker, number, 1, &mut |position, row| {
                found = Some(FoundRow {
                    number: position,
                    time_ms: row.recorded_at_ms,
                    fingerprint: fingerprint(&row)?,
                });
                Ok(())
            })?;
        }
    }
    Ok(found)
}

/// A hash of the stored body of a row.
fn fingerprint(row: &impl Record) -> Result<u64, RuntimeError> {
    let body = append_body(row, Vec::new()).map_err(RuntimeError::InvalidRequest)?;
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    Ok(hasher.finish())
}
