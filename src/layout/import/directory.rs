//! Imports a directory into a store.

use crate::error::RuntimeError;
use crate::layout::compare::directory::{Comparing, damage_as_differences};
use crate::layout::compare::root_name::name_for_import;
use crate::layout::error::{Conflict, LayoutError};
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::document::RemovedWorkers;
use crate::layout::import::left_out::LeftOutTexts;
use crate::layout::import::pipeline::{Outbox, ahead};
use crate::layout::import::sending::{Record, Sending};
use crate::layout::import::{import_record, other_files};
use crate::layout::options::{ImportOptions, Rules};
use crate::layout::read::listing::{Entry, Listing};
use crate::layout::read::reading::{ReadOutcome, Reading, read_runtime};
use crate::layout::read::sink::{DiscardSink, Sink};
use crate::layout::report::{Comparison, ImportOutcome, ImportReport, RuntimeImport};
use crate::ledger::stored::tombstone::{TombstoneRow, WorkerEnd};
use crate::model::identity::WorkerId;
use crate::model::persisted::ImportRecord;
use crate::store::bulk_load::BulkLoad;
use crate::store::handle::Store;
use crate::store::snapshot::Snapshot;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Imports the directory `root` into `store`.
///
/// A strict import is one transaction: it imports all runtimes, or none. A salvage import is one
/// transaction for each runtime. A runtime that the store has already is skipped where its directory
/// has the same content or has not changed since it was imported. Otherwise it is a conflict, unless
/// [`ImportOptions::replace`] is set. The import is on disk when it returns.
///
/// ```
/// use redb_runtime_store::Store;
/// use redb_runtime_store::layout::{self, ImportOptions};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let root = directory.path().join("agents");
/// # let seed = redb_runtime_store::Runtime::new_memory();
/// # layout::export(seed.store(), &root, layout::ExportOptions::new())?;
/// # let path = directory.path().join("agents.redb");
/// let store = Store::open(path)?;
/// let report = layout::import(&store, root, ImportOptions::new())?;
/// for finding in &report.findings {
///     println!("{finding}");
/// }
/// # assert_eq!(store.runtimes()?.len(), 1);
/// # Ok::<(), layout::LayoutError>(())
/// ```
///
/// # Errors
///
/// [`LayoutError::Refused`] where a strict import finds damage, [`LayoutError::Conflict`] where the
/// store has a runtime with other content, and the errors of reading the directory and of writing the
/// store. After an error of a salvage import the runtimes before it stay imported.
pub fn import(
    store: &Store,
    root: impl AsRef<Path>,
    options: impl Borrow<ImportOptions>,
) -> Result<ImportReport, LayoutError> {
    Import::new(root.as_ref(), options.borrow(), Some(store))?.run(Some(store))
}

/// Reads the directory `root` as an import into an empty store would, without writing.
///
/// # Errors
///
/// As [`import`].
pub fn check(
    root: impl AsRef<Path>,
    options: impl Borrow<ImportOptions>,
) -> Result<ImportReport, LayoutError> {
    Import::new(root.as_ref(), options.borrow(), None)?.run(None)
}

/// The state of an import.
struct Import<'a> {
    root: &'a Path,
    options: &'a ImportOptions,
    listing: Listing,
    report: ImportReport,
    refused: Vec<Finding>,
    conflicts: Vec<Conflict>,
    /// Files of no runtime that the store has with other bytes.
    file_conflicts: Vec<PathBuf>,
    /// Findings for which no runtime gets an import record.
    rest: Vec<Finding>,
    progress: Box<dyn Fn(u64) + Sync + 'a>,
}

impl<'a> Import<'a> {
    fn new(
        root: &'a Path,
        options: &'a ImportOptions,
        store: Option<&Store>,
    ) -> Result<Self, LayoutError> {
        let listing = Listing::open(root, &options.runtimes)?;
        let writes = store.is_some() && !options.dry_run;
        let progress = options.progress_over(writes, || listing.total_bytes());
        Ok(Self {
            root,
            options,
            listing,
            report: ImportReport::default(),
            refused: Vec::new(),
            conflicts: Vec::new(),
            file_conflicts: Vec::new(),
            rest: Vec::new(),
            progress,
        })
    }

    fn run(mut self, store: Option<&Store>) -> Result<ImportReport, LayoutError> {
        self.take_findings_of_listing();
        let snapshot = store.map(Store::snapshot).transpose()?;
        let lenient = self.options.lenient_rules();
        name_for_import(&mut self.listing, snapshot.as_ref(), lenient)?;
        let others = self.plan_others(snapshot.as_ref())?;
        let mut to_load = Vec::new();
        for entry in std::mem::take(&mut self.listing.entries) {
            let is_there = match &snapshot {
                Some(snapshot) => snapshot.runtime(&entry.id)?.is_some(),
                None => false,
            };
            match &snapshot {
                Some(snapshot) if is_there && !self.options.replace => {
                    self.recognise(snapshot, &entry)?;
                }
                _ => to_load.push((entry, is_there)),
            }
        }
        drop(snapshot);
        match store.filter(|_| !self.options.dry_run) {
            None => self.load_nothing(&to_load)?,
            Some(store) if self.options.salvage => {
                for (entry, is_there) in &to_load {
                    self.load_salvaged(store, entry, *is_there)?;
                }
                if !others.is_empty() {
                    store.bulk_load(|load| self.load_others(load, &others))?;
                }
                self.keep_rest_alone(store)?;
            }
            Some(_) if self.is_refused() => self.load_nothing(&to_load)?,
            Some(store) => self.load_all(store, &to_load, &others)?,
        }
        self.verdict()?;
        self.report
            .runtimes
            .sort_by(|a, b| a.runtime_id.cmp(&b.runtime_id));
        Ok(self.report)
    }

    /// Reads the files that belong to no runtime. Returns the stored paths of those to write.
    fn plan_others(&mut self, snapshot: Option<&Snapshot>) -> Result<HashSet<String>, LayoutError> {
        let rules = (self.options.rules(), self.options.replace);
        let mut plan = other_files::plan(snapshot, &self.listing, rules, &*self.progress)?;
        if plan.reading.outcome == ReadOutcome::Refused {
            self.refused.extend(plan.reading.findings.pop());
            return Ok(HashSet::new());
        }
        self.rest.extend_from_slice(&plan.reading.findings);
        self.report.findings.append(&mut plan.reading.findings);
        match self.options.salvage {
            true => {
                let left_out = plan.conflicts.into_iter().map(other_files::conflict);
                let left_out: Vec<_> = left_out.collect();
                self.rest.extend_from_slice(&left_out);
                self.report.findings.extend(left_out);
            }
            false => self.file_conflicts = plan.conflicts,
        }
        self.report.files = plan.files;
        Ok(plan.to_write)
    }

    fn load_others(
        &self,
        load: &mut BulkLoad<'_>,
        others: &HashSet<String>,
    ) -> Result<(), LayoutError> {
        let rules = (self.options.rules(), others);
        other_files::load(load, &self.listing, rules, &*self.progress)
    }

    fn take_findings_of_listing(&mut self) {
        for finding in std::mem::take(&mut self.listing.findings) {
            if !self.options.salvage && !finding.kind.is_accepted() {
                self.refused.push(finding);
            } else {
                self.rest.push(finding.clone());
                self.report.findings.push(finding);
            }
        }
    }

    /// Stores the findings that belong to no runtime, unless they are stored already.
    fn keep_rest(&self, load: &mut BulkLoad<'_>, snapshot: &Snapshot) -> Result<(), RuntimeError> {
        match self.rest_record(snapshot)? {
            Some(record) => load.put_import_record(None, record),
            None => Ok(()),
        }
    }

    fn rest_record(&self, snapshot: &Snapshot) -> Result<Option<ImportRecord>, RuntimeError> {
        let before = snapshot.import_record_without_runtime()?;
        let dir = self.listing.runtimes.path();
        Ok(import_record::of_rest(self.root, dir, &self.rest, before))
    }

    fn keep_rest_alone(&self, store: &Store) -> Result<(), RuntimeError> {
        match self.rest_record(&store.snapshot()?)? {
            Some(record) => store.bulk_load(|load| load.put_import_record(None, record)),
            None => Ok(()),
        }
    }

    /// Stores why a runtime was left out.
    fn keep_left_out(
        &mut self,
        store: &Store,
        entry: &Entry,
        is_there: bool,
        reading: &Reading,
    ) -> Result<(), LayoutError> {
        if is_there {
            // The import record of the stored runtime must stay: it says where that came from.
            self.rest.extend_from_slice(&reading.findings);
            return Ok(());
        }
        let dir = self.listing.runtimes.path_of(&entry.name);
        let record = import_record::of_left_out(self.root, &dir, reading);
        let before = store.snapshot()?.import_record(&entry.id)?;
        if before.is_some_and(|before| before.findings == record.findings) {
            return Ok(());
        }
        store.bulk_load(|load| {
            load.put_import_record(Some(&entry.id), record)?;
            if reading.has_stored_texts {
                // The transaction that got the texts was rolled back.
                self.read(entry, &mut LeftOutTexts::new(load, &entry.name))?;
            }
            Ok(())
        })
    }

    fn is_refused(&self) -> bool {
        !self.refused.is_empty() || !self.conflicts.is_empty() || !self.file_conflicts.is_empty()
    }

    /// Returns the error of a refused import.
    fn verdict(&mut self) -> Result<(), LayoutError> {
        let root = self.root.to_owned();
        if !self.refused.is_empty() {
            return Err(LayoutError::Refused {
                root,
                findings: std::mem::take(&mut self.refused),
                conflicts: std::mem::take(&mut self.conflicts),
            });
        }
        if !self.conflicts.is_empty() {
            let conflicts = std::mem::take(&mut self.conflicts);
            return Err(LayoutError::Conflict { root, conflicts });
        }
        if !self.file_conflicts.is_empty() {
            let paths = std::mem::take(&mut self.file_conflicts);
            return Err(LayoutError::FileConflict { paths });
        }
        Ok(())
    }

    fn read(&self, entry: &Entry, sink: &mut dyn Sink) -> Result<Reading, LayoutError> {
        self.read_by(self.options.rules(), entry, sink)
    }

    fn read_by(
        &self,
        rules: Rules,
        entry: &Entry,
        sink: &mut dyn Sink,
    ) -> Result<Reading, LayoutError> {
        read_runtime(&self.listing.runtimes, entry, rules, sink, &*self.progress)
    }

    /// Reads a runtime as this import would, and compares it with the store.
    fn compare(
        &self,
        snapshot: &Snapshot,
        entry: &Entry,
    ) -> Result<(Reading, Comparison), LayoutError> {
        let runtimes = &self.listing.runtimes;
        let mut comparison = Comparison::default();
        let mut comparing = Comparing::new(snapshot, runtimes, entry, &mut comparison)?;
        if self.options.without_files {
            comparing = comparing.without_files();
        }
        let reading = self.read(entry, &mut comparing)?;
        damage_as_differences(&mut comparison, &reading.findings);
        Ok((reading, comparison))
    }

    /// Adds a runtime to the report, or its damage to the reasons to refuse.
    fn done(&mut self, entry: &Entry, outcome: ImportOutcome, mut reading: Reading) {
        if reading.outcome == ReadOutcome::Refused {
            self.refused.extend(reading.findings.pop());
            return;
        }
        let outcome = match reading.outcome {
            ReadOutcome::LeftOut => ImportOutcome::Skipped,
            _ => outcome,
        };
        self.report.findings.append(&mut reading.findings);
        self.report.runtimes.push(RuntimeImport {
            runtime_id: entry.id.clone(),
            outcome,
            workers: reading.counts.workers,
            events: reading.counts.events,
            transcript_entries: reading.counts.transcript_entries,
            files: reading.counts.files,
            bytes: reading.counts.bytes,
            form: reading.form,
        });
    }

    /// Decides whether a runtime that the store has is unchanged or a conflict.
    fn recognise(&mut self, snapshot: &Snapshot, entry: &Entry) -> Result<(), LayoutError> {
        if let Some(known) = snapshot.import_record(&entry.id)? {
            // Lenient, because the fingerprint covers the whole directory: a strict reading of a
            // source that was salvaged would stop at its first damage.
            let whole = self.read_by(self.options.lenient_rules(), entry, &mut DiscardSink)?;
            if whole.fingerprint == known.fingerprint {
                self.done(entry, ImportOutcome::AlreadyImported, whole);
                return Ok(());
            }
        }
        // One more reading decides: it finds the damage and compares at the same time. The first one
        // does not compare, because most runtimes of a second import are unchanged, and reading the
        // store for each of them would take as long again.
        let (reading, comparison) = self.compare(snapshot, entry)?;
        if reading.outcome == ReadOutcome::LeftOut {
            self.rest.extend_from_slice(&reading.findings);
        }
        // A directory that still has what the store has pruned is another content: importing it would restore that.
        let is_same = comparison.is_same() && comparison.pruned_only_in_directory == 0;
        if reading.outcome != ReadOutcome::Read || is_same {
            self.done(entry, ImportOutcome::AlreadyImported, reading);
            return Ok(());
        }
        let conflict = Conflict {
            runtime_id: entry.id.clone(),
            path: self.listing.runtimes.path_of(&entry.name),
            differences: comparison.differences,
            total: comparison.total_differences,
        };
        if self.options.salvage {
            let kind = FindingKind::Conflict;
            let finding = Finding::new(kind, conflict.path.clone(), conflict.in_one_line());
            self.rest.push(finding.clone());
            self.report.findings.push(finding);
            self.done(entry, ImportOutcome::Skipped, reading);
        } else {
            self.conflicts.push(conflict);
        }
        Ok(())
    }

    /// Reads without writing: for a dry run, or to report all damage of a directory that is refused.
    fn load_nothing(&mut self, to_load: &[(Entry, bool)]) -> Result<(), LayoutError> {
        for (entry, is_there) in to_load {
            let reading = self.read(entry, &mut DiscardSink)?;
            self.done(entry, outcome_of(*is_there), reading);
        }
        Ok(())
    }

    /// Imports all runtimes in one transaction. After the first damaged one the others are only read,
    /// so that the error names the damage of all of them.
    fn load_all(
        &mut self,
        store: &Store,
        to_load: &[(Entry, bool)],
        others: &HashSet<String>,
    ) -> Result<(), LayoutError> {
        if to_load.is_empty() && others.is_empty() {
            return Ok(());
        }
        let snapshot = store.snapshot()?;
        store.bulk_load(|load| {
            for (entry, _) in to_load {
                if self.is_refused() {
                    let reading = self.read(entry, &mut DiscardSink)?;
                    self.done(entry, ImportOutcome::Skipped, reading);
                    continue;
                }
                let (outcome, reading) = self.load_one(load, entry)?;
                self.done(entry, outcome, reading);
            }
            self.verdict()?;
            self.load_others(load, others)?;
            Ok(self.keep_rest(load, &snapshot)?)
        })
    }

    /// Imports the intact part of one runtime in its own transaction.
    fn load_salvaged(
        &mut self,
        store: &Store,
        entry: &Entry,
        is_there: bool,
    ) -> Result<(), LayoutError> {
        let loaded = store.bulk_load(|load| {
            let (outcome, reading) = self.load_one(load, entry)?;
            match reading.outcome {
                ReadOutcome::Read => Ok((outcome, reading)),
                // An error rolls back: the runtime that was to be replaced stays.
                _ => Err(NotLoaded::LeftOut(Box::new(reading))),
            }
        });
        let (outcome, reading) = match loaded {
            Ok(loaded) => loaded,
            Err(NotLoaded::LeftOut(reading)) => {
                self.keep_left_out(store, entry, is_there, &reading)?;
                (ImportOutcome::Skipped, *reading)
            }
            Err(NotLoaded::Failed(error)) => return Err(error),
        };
        self.done(entry, outcome, reading);
        Ok(())
    }

    fn load_one(
        &self,
        load: &mut BulkLoad<'_>,
        entry: &Entry,
    ) -> Result<(ImportOutcome, Reading), LayoutError> {
        let is_there = load.contains_runtime(&entry.id)?;
        if is_there && !self.options.replace {
            // Another writer created it after the import took its snapshot.
            return Err(LayoutError::Conflict {
                root: self.root.to_owned(),
                conflicts: vec![Conflict {
                    runtime_id: entry.id.clone(),
                    path: self.listing.runtimes.path_of(&entry.name),
                    differences: Vec::new(),
                    total: 0,
                }],
            });
        }
        if is_there {
            load.remove_runtime(&entry.id)?;
        }
        let make = |out: &mut Outbox<Record>| {
            let mut sending = Sending::new(out, &entry.id);
            self.read(entry, &mut sending)
        };
        let reading = ahead(make, |record| {
            match record {
                Record::Transcript(run) => load.append_transcript(run),
                Record::Floor(worker, first) => load.begin_transcript(worker, first),
                Record::Worker(worker, retention) => load.put_retained_worker(worker, retention),
                Record::Events(run) => load.append_events(run),
                Record::File(path, chunk, row) => {
                    load.put_file_chunk(Some(&entry.id), (&path, chunk), &row)
                }
                Record::Runtime(runtime, facts, removed) => {
                    load.put_removed_workers(&runtime.value.runtime_id, tombstones(removed));
                    load.put_retained_runtime(*runtime, facts)
                }
            }
            .map_err(LayoutError::from)
        })??;
        if reading.outcome == ReadOutcome::Read {
            let dir = self.listing.runtimes.path_of(&entry.name);
            let record = import_record::of_runtime(self.root, &dir, &reading);
            load.put_import_record(Some(&entry.id), record)?;
        }
        Ok((outcome_of(is_there), reading))
    }
}

fn outcome_of(is_there: bool) -> ImportOutcome {
    match is_there {
        true => ImportOutcome::Replaced,
        false => ImportOutcome::Imported,
    }
}

/// Why the transaction of a runtime was rolled back.
enum NotLoaded {
    LeftOut(Box<Reading>),
    Failed(LayoutError),
}

impl From<RuntimeError> for NotLoaded {
    fn from(error: RuntimeError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<LayoutError> for NotLoaded {
    fn from(error: LayoutError) -> Self {
        Self::Failed(error)
    }
}

/// The tombstones of the workers that a directory reports as removed.
fn tombstones(removed: RemovedWorkers) -> impl Iterator<Item = (WorkerId, TombstoneRow)> {
    let at_ms = None;
    let deleted = removed.deleted.into_iter();
    let pruned = removed.pruned.into_iter().map(move |worker| {
        let end = WorkerEnd {
            transcript_len: worker.transcript_len,
            next_sequence: worker.next_transcript_sequence,
            last_event_id: worker.last_event_id,
        };
        (worker.worker_id, TombstoneRow::Dropped { at_ms, end })
    });
    pruned.chain(deleted.map(move |worker| (worker, TombstoneRow::Deleted { at_ms })))
}
