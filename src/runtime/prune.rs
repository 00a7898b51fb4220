//! Retention: pruning a runtime or a whole store, and pinning workers.

use crate::error::RuntimeError;
use crate::ledger::checks;
use crate::ledger::convert::stored_size;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::retention::{PruneOptions, PruneReport, Retention, RuntimePrune, Tear};
use crate::runtime::handle::Runtime;
use crate::runtime::operations;
use crate::runtime::pages;
use crate::runtime::prune_step::{self, Done, Found, Planned, Record};
use crate::store::handle::Store;
use crate::store::prune_plan::{Plan, RuntimePlan};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

const OPERATION: &str = "prune";

/// The bytes of files of dropped workers that one commit removes.
const FILE_STEP_BYTES: usize = 512 << 10;

/// How often a prune plans anew because other writers have pruned or replaced the same logs meanwhile.
const ATTEMPTS: usize = 8;

impl Runtime {
    /// Removes what `policy` does not keep: the oldest events and transcript entries, and whole workers that ended long
    /// ago. Nothing is ever pruned without this call. Also works on a stopped runtime. See
    /// [the guide](crate::guide::retention).
    ///
    /// The prune plans in a snapshot, which holds up no one, and then removes at most 512 KiB of rows in each of several
    /// commits, which it shares with other writers. Each of them moves the floors of its logs together with the rows and
    /// adds up in one diagnostic `runtime.pruned` of severity `Info` with counts and bounds. The last 100 of these
    /// diagnostics stay. Ids and positions of what stays do not change. No event is logged.
    ///
    /// When this returns `Ok`, all of it is on disk. After an error, and after a crash, the steps before it are: a smaller
    /// prune, which its diagnostic describes.
    ///
    /// Cursors and followers below the new floor get [`EventsPruned`](RuntimeError::EventsPruned). Workers that other
    /// writers pin meanwhile, and logs that they replace, are left alone.
    ///
    /// ```
    /// use redb_runtime_store::retention::{PruneOptions, Retention};
    ///
    /// # let runtime = redb_runtime_store::Runtime::new_memory();
    /// let policy = Retention::new().keep_events(100_000);
    /// let report = runtime.prune(&policy, PruneOptions::new())?;
    /// println!("{} rows, {} bytes", report.rows(), report.bytes());
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound`, `InvalidRequest` within a closure; otherwise as for every write of [`Runtime`], without
    /// `RuntimeStopped`. A dry run has the errors of a read.
    pub fn prune(
        &self,
        policy: &Retention,
        options: impl Borrow<PruneOptions>,
    ) -> Result<PruneReport, RuntimeError> {
        self.read(OPERATION, |rows| pages::runtime_row(rows, &self.runtime_id))?;
        prune(
            &self.store,
            Some(&self.runtime_id),
            policy,
            options.borrow(),
        )
    }

    /// Protects a worker from retention, or ends the protection: [`prune`](Self::prune) then leaves its row, its
    /// diagnostics and its whole transcript alone. Also works on a stopped runtime and for a worker that ended. Setting
    /// what is set already changes nothing. On disk when this returns; see [`Runtime`] for failures.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`, `WorkerNotFound`; the errors of every write without `RuntimeStopped`.
    pub fn set_pinned(&self, worker_ref: &WorkerRef, is_pinned: bool) -> Result<(), RuntimeError> {
        self.store
            .write_to(&self.runtime_id, "pin worker", |transaction| {
                operations::set_pinned(transaction, &self.runtime_id, worker_ref, is_pinned)
            })
    }

    /// Whether a worker is protected from retention.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`, `WorkerNotFound`; the errors of every read.
    pub fn is_pinned(&self, worker_ref: &WorkerRef) -> Result<bool, RuntimeError> {
        self.read("read worker", |rows| {
            pages::refuse_foreign(&self.runtime_id, worker_ref)?;
            Ok(pages::worker_row(rows, worker_ref)?.is_pinned)
        })
    }
}

impl Store {
    /// Prunes every runtime of the store, each as [`Runtime::prune`] does. `keep_bytes` applies to the events and entries
    /// of all runtimes together. A runtime that is deleted meanwhile is skipped.
    ///
    /// # Errors
    ///
    /// As [`Runtime::prune`], without `RuntimeNotFound`.
    pub fn prune(
        &self,
        policy: &Retention,
        options: impl Borrow<PruneOptions>,
    ) -> Result<PruneReport, RuntimeError> {
        prune(self, None, policy, options.borrow())
    }
}

fn prune(
    store: &Store,
    only: Option<&RuntimeId>,
    policy: &Retention,
    options: &PruneOptions,
) -> Result<PruneReport, RuntimeError> {
    if let Some(only) = only {
        checks::refuse_long_id(only.as_str())?;
    }
    if options.dry_run {
        return Ok(of_plan(Plan::new(store, only, (policy, options), &|_| {
            None
        })?));
    }
    store.refuse_read_only(OPERATION)?;
    let mut records: BTreeMap<RuntimeId, Record> = BTreeMap::new();
    let mut replaced = BTreeSet::new();
    let mut compacting_frees_bytes = None;
    for attempt in 0..ATTEMPTS {
        let own_record = |id: &RuntimeId| records.get(id).and_then(Record::diagnostic);
        let plan = Plan::new(store, only, (policy, options), &own_record)?;
        if attempt == 0 {
            compacting_frees_bytes = plan.compacting_frees_bytes;
        }
        let mut is_stale = false;
        for runtime in plan.runtimes {
            let id = runtime.runtime_id.clone();
            if replaced.contains(&id) {
                continue;
            }
            let record = records
                .entry(id.clone())
                .or_insert_with(|| Record::new(id.clone()));
            match carry_out(store, runtime, record, options.tear) {
                Ok(Found::AsPlanned) => {}
                Ok(Found::Stale) => is_stale = true,
                Ok(Found::Replaced) => {
                    replaced.insert(id);
                }
                Err(RuntimeError::RuntimeNotFound { .. }) if only.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        if !is_stale {
            break;
        }
    }
    let runtimes = records.into_values().filter(|record| !record.is_empty());
    Ok(PruneReport {
        runtimes: runtimes.map(|record| record.removed).collect(),
        compacting_frees_bytes,
    })
}

/// Removes what the plan of one runtime says, a commit for each step. Returns whether the runtime was as planned.
fn carry_out(
    store: &Store,
    plan: RuntimePlan,
    record: &mut Record,
    tear: Option<Tear>,
) -> Result<Found, RuntimeError> {
    let (mut old_records, mut row) = (plan.old_records, plan.row);
    let mut found = Found::AsPlanned;
    for step in plan.steps {
        let planned = Planned {
            step: &step,
            old_records: &old_records,
            row: &row,
        };
        let done = match tear {
            None => store.write_from(&plan.runtime_id, OPERATION, |transaction| {
                prune_step::changes(transaction, planned, record)?.stage(transaction)
            })?,
            Some(tear) => torn(store, (planned, record), tear)?,
        };
        match done.found {
            Found::AsPlanned => {}
            Found::Stale => found = Found::Stale,
            Found::Replaced => return Ok(Found::Replaced),
        }
        if let Some((record_after, row_after)) = done.after {
            (*record, row) = (record_after, row_after);
            old_records.clear();
        }
        if step.dropped.iter().any(|worker| worker.file_bytes > 0) {
            store.finish_deletions_of(OPERATION, &plan.runtime_id, FILE_STEP_BYTES)?;
        }
    }
    Ok(found)
}

/// A step as two commits: the bug that simulations of faults plant.
fn torn(
    store: &Store,
    (planned, record): (Planned<'_>, &Record),
    tear: Tear,
) -> Result<Done, RuntimeError> {
    let mut changes = store.write(OPERATION, |transaction| {
        let mut changes = prune_step::changes(transaction, planned, record)?;
        match tear {
            Tear::RowsFirst => changes.stage_rows(transaction),
            Tear::FloorsFirst => changes.stage_floors(transaction)?,
        }
        Ok(changes)
    })?;
    store.write(OPERATION, |transaction| match tear {
        Tear::RowsFirst => changes.stage_floors(transaction),
        Tear::FloorsFirst => {
            changes.stage_rows(transaction);
            Ok(())
        }
    })?;
    Ok(changes.done())
}

/// The report of a plan: what carrying it out would remove.
fn of_plan(plan: Plan) -> PruneReport {
    let of_runtime = |plan: &RuntimePlan| {
        let steps = plan.steps.iter();
        let cuts = || steps.clone().flat_map(|step| &step.cuts);
        let dropped = || steps.clone().flat_map(|step| &step.dropped);
        let rows = |is_event: bool| -> u64 {
            let cuts = cuts().filter(|cut| cut.log.is_none() == is_event);
            cuts.map(|cut| cut.amount.rows).sum()
        };
        let of_workers: usize = dropped().map(|worker| worker.diagnostics.len()).sum();
        RuntimePrune {
            runtime_id: plan.runtime_id.clone(),
            events: rows(true),
            transcript_entries: rows(false) + dropped().map(|worker| worker.entries).sum::<u64>(),
            workers: dropped().map(|_| 1).sum(),
            diagnostics: stored_size(of_workers + plan.old_records.len()),
            bytes: plan.bytes(),
            first_event_id: plan.first_event_id,
        }
    };
    PruneReport {
        runtimes: plan.runtimes.iter().map(of_runtime).collect(),
        compacting_frees_bytes: plan.compacting_frees_bytes,
    }
}
