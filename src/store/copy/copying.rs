//! Copying: finding what to write, and the loads that write it.

use crate::engine::redb::maintenance::progress::Meter;
use crate::error::{Place, RuntimeError};
use crate::ledger::load_rows::LoadRows;
use crate::ledger::rows::{Rows, RuntimeRow};
use crate::ledger::snapshot_rows::SnapshotRows;
use crate::ledger::whole::{all_runtimes, each_diagnostic, each_worker};
use crate::model::identity::RuntimeId;
use crate::store::copy::compared::Compared;
use crate::store::copy::options::CopyOptions;
use crate::store::copy::others::Others;
use crate::store::copy::report::{CopyOutcome, CopyReport, RuntimeCopy};
use crate::store::copy::walk::{Counted, Passed, Receiver, Stopped, Walk};
use crate::store::copy::written::Written;
use crate::store::handle::Store;
use std::ops::ControlFlow;

/// A load takes further runtimes until it has this many bytes of their logs and files.
const LOAD_BYTES: u64 = 4 << 20;

impl Store {
    /// Copies the runtimes of this store to `destination`, whichever engines the two have: all rows of one snapshot, with
    /// their times, floors, pins, change numbers, keys of inputs, open work, tombstones, import records and kept files.
    ///
    /// Runtimes are written by bulk loads, each with one runtime or several small ones. Hosts of this store write meanwhile;
    /// so do those of a destination on a server, and those of a destination in a file wait during a load. Memory does not
    /// grow with the logs.
    ///
    /// A copy that was interrupted is run again: it skips the runtimes that the destination has with the same content. Readers
    /// of the destination never see a part of a runtime. Stop the hosts that write to the runtimes, or copy from a backup:
    /// a runtime that has changed since it was copied has other content, and is a conflict unless
    /// [`CopyOptions::replace`] is set.
    ///
    /// A host that follows a runtime which is replaced has to start anew.
    ///
    /// ```
    /// use redb_runtime_store::Store;
    /// use redb_runtime_store::store::CopyOptions;
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("agents.redb");
    /// # let store = redb_runtime_store::Runtime::new_memory().store().clone();
    /// let destination = Store::open(path)?;
    /// let report = store.copy_to(&destination, &CopyOptions::new())?;
    /// println!("{} runtimes", report.runtimes.len());
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - `CopyConflict` if the destination has something with other content. Nothing was written, unless another host of
    ///   the destination created a runtime meanwhile: then earlier loads stay.
    /// - `RuntimeNotFound` if this store does not have a runtime that the options name.
    /// - `InvalidRequest` for a number that a destination on a server cannot have: above `i64::MAX`. Nothing was written.
    /// - `StoreReadOnly` for a read-only destination. The errors of reading this store and of
    ///   [`bulk_load`](Self::bulk_load): the loads before the error stay.
    pub fn copy_to(
        &self,
        destination: &Self,
        options: &CopyOptions,
    ) -> Result<CopyReport, RuntimeError> {
        destination.refuse_read_only("copy")?;
        let snapshot = self.snapshot()?;
        let view = snapshot.view_for("copy");
        let mut copying = Copying::begin(&*view, self, options)?;
        copying.refuse_numbers(destination.shared.greatest_number())?;
        let plan = copying.plan(Some(destination))?;
        copying.raise_opening(destination)?;
        copying.load_runtimes(destination, plan.runtimes)?;
        copying.load_others(destination, &plan.others)?;
        Ok(copying.ended())
    }

    /// Reads this store and `destination` as [`copy_to`](Self::copy_to) would, and reports what it would write. Changes
    /// nothing. Without a destination it is one that does not exist yet.
    ///
    /// # Errors
    ///
    /// As [`copy_to`](Self::copy_to).
    pub fn check_copy(
        &self,
        destination: Option<&Self>,
        options: &CopyOptions,
    ) -> Result<CopyReport, RuntimeError> {
        let snapshot = self.snapshot()?;
        let view = snapshot.view_for("copy");
        let mut copying = Copying::begin(&*view, self, options)?;
        let greatest = destination.map(|store| store.shared.greatest_number());
        copying.refuse_numbers(greatest.unwrap_or(u64::MAX))?;
        let plan = copying.plan(destination)?;
        for runtime in plan.runtimes {
            copying.pass(Counted, &runtime.id, &runtime.row, runtime.outcome)?;
        }
        copying.report.files = plan.others.files.len() as u64;
        copying.report.import_records = plan.others.records();
        Ok(copying.ended())
    }
}

/// A runtime to write.
struct Planned {
    id: RuntimeId,
    row: RuntimeRow,
    outcome: CopyOutcome,
}

/// What to write.
struct Plan {
    runtimes: Vec<Planned>,
    others: Others,
}

/// The state of a copy.
struct Copying<'a> {
    source: &'a dyn SnapshotRows,
    options: &'a CopyOptions,
    /// The runtimes to copy, in the order of their ids.
    runtimes: Vec<(RuntimeId, RuntimeRow)>,
    meter: Meter,
    report: CopyReport,
}

impl<'a> Copying<'a> {
    /// Finds the runtimes to copy, and counts their rows.
    fn begin(
        source: &'a dyn SnapshotRows,
        store: &Store,
        options: &'a CopyOptions,
    ) -> Result<Self, RuntimeError> {
        let mut runtimes = all_runtimes(source)?;
        let is_there = |id: &&RuntimeId| runtimes.iter().any(|(known, _)| known == *id);
        if let Some(missing) = options.runtimes.iter().find(|id| !is_there(id)) {
            return Err(RuntimeError::RuntimeNotFound {
                path: store.path().to_owned(),
                runtime_id: missing.clone(),
            });
        }
        let wanted = &options.runtimes;
        runtimes.retain(|(id, _)| wanted.is_empty() || wanted.contains(id));
        let mut total: u64 = 0;
        for (id, row) in &runtimes {
            // Ids of imported events can have gaps, so this is a bound.
            let events = row.next_event_id.saturating_sub(row.first_event_id);
            total = total.saturating_add(events);
            each_worker(source, id, |_, worker| {
                let entries = worker.transcript_len.saturating_sub(worker.first_position);
                total = total.saturating_add(entries.saturating_add(1));
                Ok(())
            })?;
        }
        Ok(Self {
            source,
            options,
            runtimes,
            meter: options.on_progress.meter(total),
            report: CopyReport::default(),
        })
    }

    /// Rejects rows with numbers above `greatest`.
    fn refuse_numbers(&self, greatest: u64) -> Result<(), RuntimeError> {
        if greatest == u64::MAX {
            return Ok(());
        }
        for (id, row) in &self.runtimes {
            let refuse = |what: &str, number: u64| match number <= greatest {
                true => Ok(()),
                false => Err(RuntimeError::InvalidRequest(format!(
                    "runtime {id}: {what} {number} is above {greatest}, the greatest that a store on a server can have"
                ))),
            };
            let last = self.source.last_event_id(id.as_str())?;
            refuse("event id", last.unwrap_or(0))?;
            each_worker(self.source, id, |_, worker| {
                refuse("position", worker.transcript_len.saturating_sub(1))
            })?;
            if row.next_diagnostic_id > greatest {
                let (source, id) = (self.source, id.as_str());
                each_diagnostic(source, id, greatest, |number, _| {
                    refuse("diagnostic id", number)?;
                    Ok(ControlFlow::Continue(()))
                })?;
            }
        }
        Ok(())
    }

    /// Compares with a snapshot of the destination. Rejects other content unless it is to be replaced.
    fn plan(&mut self, destination: Option<&Store>) -> Result<Plan, RuntimeError> {
        let snapshot = destination.map(Store::snapshot).transpose()?;
        let view = snapshot.as_ref().map(|snapshot| snapshot.view_for("copy"));
        let there = view.as_deref().map(|view| view as &dyn Rows);
        let (mut runtimes, mut differing) = (Vec::new(), Vec::new());
        for (id, row) in std::mem::take(&mut self.runtimes) {
            let outcome = self.find(there, &id, &row)?;
            match outcome {
                CopyOutcome::Same => continue,
                CopyOutcome::Replaced => differing.push(id.clone()),
                CopyOutcome::Copied => {}
            }
            runtimes.push(Planned { id, row, outcome });
        }
        let others = match self.options.runtimes.is_empty() {
            true => Others::find(self.source, there)?,
            false => Others::default(),
        };
        if let Some(destination) = destination {
            let place = destination.shared.place();
            self.refuse_conflict(place, differing, &others.conflicts)?;
        }
        Ok(Plan { runtimes, others })
    }

    fn refuse_conflict(
        &self,
        place: &Place,
        runtimes: Vec<RuntimeId>,
        others: &[String],
    ) -> Result<(), RuntimeError> {
        if self.options.replace || (runtimes.is_empty() && others.is_empty()) {
            return Ok(());
        }
        Err(RuntimeError::CopyConflict {
            place: place.clone(),
            runtimes,
            others: others.to_vec(),
        })
    }

    /// Whether a runtime is to be written: the outcome of that, or [`Same`](CopyOutcome::Same), which is reported.
    fn find(
        &mut self,
        there: Option<&dyn Rows>,
        id: &RuntimeId,
        row: &RuntimeRow,
    ) -> Result<CopyOutcome, RuntimeError> {
        let Some(there) = there else {
            return Ok(CopyOutcome::Copied);
        };
        if there.runtime(id.as_str())?.is_none() {
            return Ok(CopyOutcome::Copied);
        }
        let compared = Compared::new(there, id.as_str());
        match self.pass(compared, id, row, CopyOutcome::Same)? {
            true => Ok(CopyOutcome::Same),
            false => Ok(CopyOutcome::Replaced),
        }
    }

    /// Passes the rows of a runtime to `receiver`. Returns whether it took all of them, and reports the runtime then.
    fn pass(
        &mut self,
        receiver: impl Receiver,
        id: &RuntimeId,
        row: &RuntimeRow,
        outcome: CopyOutcome,
    ) -> Result<bool, RuntimeError> {
        let mut walk = Walk {
            rows: self.source,
            id: id.as_str(),
            receiver,
            meter: &mut self.meter,
            passed: Passed::default(),
        };
        match walk.run(row) {
            Ok(()) => {}
            Err(Stopped::Early) => return Ok(false),
            Err(Stopped::Failed(error)) => return Err(error),
        }
        let passed = walk.passed;
        self.report.runtimes.push(RuntimeCopy {
            runtime_id: id.clone(),
            outcome,
            workers: passed.workers,
            events: passed.events,
            transcript_entries: passed.entries,
            diagnostics: passed.diagnostics,
            files: passed.files,
            bytes: passed.bytes,
        });
        Ok(true)
    }

    /// Raises the number of the last opening of the destination to that of the source: open work has the number of its
    /// opening, and is unfinished for later ones.
    fn raise_opening(&self, destination: &Store) -> Result<(), RuntimeError> {
        let last = self.source.last_opening()?;
        if destination.read("copy", |rows| rows.last_opening())? >= last {
            return Ok(());
        }
        destination.shared.load("copy", |target| {
            match target.rows().last_opening()? < last {
                true => target.put_last_opening(last),
                false => Ok(()),
            }
        })
    }

    /// Writes the runtimes, in the order of their ids: that is the order in which a server locks them.
    fn load_runtimes(
        &mut self,
        destination: &Store,
        planned: Vec<Planned>,
    ) -> Result<(), RuntimeError> {
        let mut planned = planned.into_iter().peekable();
        while planned.peek().is_some() {
            destination.shared.load("copy", |target| {
                let mut bytes = 0;
                while bytes < LOAD_BYTES
                    && let Some(runtime) = planned.next()
                {
                    self.load_runtime(target, runtime, destination.shared.place())?;
                    bytes += self.report.runtimes.last().map_or(0, |last| last.bytes);
                }
                Ok::<_, RuntimeError>(())
            })?;
        }
        Ok(())
    }

    fn load_runtime(
        &mut self,
        target: &dyn LoadRows,
        runtime: Planned,
        place: &Place,
    ) -> Result<(), RuntimeError> {
        let Planned { id, row, outcome } = runtime;
        // Another host can have created it since.
        if outcome == CopyOutcome::Copied {
            match self.find(Some(target.rows()), &id, &row)? {
                CopyOutcome::Same => return Ok(()),
                CopyOutcome::Replaced => self.refuse_conflict(place, vec![id.clone()], &[])?,
                CopyOutcome::Copied => {}
            }
        }
        let written = Written { target, id: &id };
        self.pass(written, &id, &row, outcome).map(|_| ())
    }

    fn load_others(&mut self, destination: &Store, planned: &Others) -> Result<(), RuntimeError> {
        if planned.is_empty() {
            return Ok(());
        }
        let place = destination.shared.place();
        let others = destination.shared.load("copy", |target| {
            let others = Others::find(self.source, Some(target.rows()))?;
            self.refuse_conflict(place, Vec::new(), &others.conflicts)?;
            others.write(self.source, target)?;
            Ok::<_, RuntimeError>(others)
        })?;
        self.report.files = others.files.len() as u64;
        self.report.import_records = others.records();
        Ok(())
    }

    /// The report.
    fn ended(mut self) -> CopyReport {
        let runtimes = &mut self.report.runtimes;
        runtimes.sort_by(|a, b| a.runtime_id.cmp(&b.runtime_id));
        self.report
    }
}
