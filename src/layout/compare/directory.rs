//! Compares a directory with a store.
//!
//! The directory is read as by a salvage import. Each record is compared with the stored one as it is
//! read, so memory does not grow with either side.

use crate::layout::compare::archived::{Archived, Gone, gone_worker, split};
use crate::layout::compare::diff::{
    DIRECTORY_AND_STORE, first_difference, have_same_values, runtime_json, worker_json,
};
use crate::layout::compare::documents::{StoredDocument, Style, has_other_bytes};
use crate::layout::compare::files::{
    ComparedFile, FileComparison, LeftOut, ONLY_IN_STORE, differ, shown, take_file,
};
use crate::layout::compare::other_files::compare_others;
use crate::layout::compare::removed::Present;
use crate::layout::compare::root_name::name_for_compare;
use crate::layout::compare::store_log::{StoreLog, StoreLogs, lacks};
use crate::layout::dir::source::SourceDir;
use crate::layout::error::LayoutError;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::document::{RemovedWorkers, RuntimeDocument, WorkerDocument};
use crate::layout::format::names::{self, WORKERS};
use crate::layout::options::{CompareOptions, ImportOptions, Rules};
use crate::layout::read::listing::{Entry, Listing};
use crate::layout::read::log_record::{LogRecord, LogRow};
use crate::layout::read::reading::{ReadOutcome, read_runtime};
use crate::layout::read::sink::{Place, Sink};
use crate::layout::report::{Comparison, DifferenceKind};
use crate::ledger::convert::stored_size;
use crate::ledger::stored::kept_file::{FileChunkRow, is_document, parsed_path};
use crate::ledger::stored::tombstone::WorkerEnd;
use crate::model::borrowed::{BorrowedEntry, BorrowedEvent};
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::TranscriptEntry;
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, RuntimeFacts, Stored, WorkerRetention,
};
use crate::store::handle::Store;
use crate::store::snapshot::Snapshot;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Compares all runtimes of the directory `root` and of `store`, member by member, including members
/// that this version does not know. Damage in the directory is a difference, a line of more
/// than [`DEFAULT_MAX_LINE_BYTES`](crate::layout::DEFAULT_MAX_LINE_BYTES) included; other formatting is not.
///
/// ```
/// use redb_runtime_store::layout::{self, ExportOptions};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let root = directory.path().join("agents");
/// # let runtime = redb_runtime_store::Runtime::new_memory();
/// # let store = runtime.store();
/// layout::export(store, &root, ExportOptions::new())?;
/// assert!(layout::compare(store, &root)?.is_same());
/// # Ok::<(), layout::LayoutError>(())
/// ```
///
/// # Errors
///
/// The errors of reading the directory and the store. A difference is not an error.
pub fn compare(store: &Store, root: impl AsRef<Path>) -> Result<Comparison, LayoutError> {
    compare_runtimes(store, root, &[])
}

/// As [`compare`], for the given runtimes only. An empty list means all.
///
/// # Errors
///
/// As [`compare_with`].
pub fn compare_runtimes(
    store: &Store,
    root: impl AsRef<Path>,
    runtimes: &[RuntimeId],
) -> Result<Comparison, LayoutError> {
    let options = CompareOptions::new().runtimes(runtimes.iter().cloned());
    compare_with(store, root, options)
}

/// As [`compare`], with options.
///
/// # Errors
///
/// As [`compare`]; [`LayoutError::RuntimeNotInDirectory`] where neither side has a given runtime.
pub fn compare_with(
    store: &Store,
    root: impl AsRef<Path>,
    options: impl Borrow<CompareOptions>,
) -> Result<Comparison, LayoutError> {
    compare_to(store, root.as_ref(), options.borrow())
}

fn compare_to(
    store: &Store,
    root: &Path,
    options: &CompareOptions,
) -> Result<Comparison, LayoutError> {
    let mut listing = Listing::open(root, &[])?;
    let runtimes = options.runtimes.as_slice();
    let is_wanted = |id: &RuntimeId| runtimes.is_empty() || runtimes.contains(id);
    let snapshot = store.snapshot()?;
    let mut out = Comparison::default();
    let findings = std::mem::take(&mut listing.findings);
    let rules = ImportOptions::rules_for_exports(options.max_line_bytes);
    if runtimes.is_empty() {
        take_findings(&mut out, findings);
        of_others(&snapshot, &listing, rules, &mut out)?;
    }
    name_for_compare(&mut listing, &snapshot, runtimes, rules)?;
    let in_store: HashSet<RuntimeId> = snapshot.runtime_ids()?.into_iter().collect();
    let in_directory: HashSet<&RuntimeId> = listing.entries.iter().map(|entry| &entry.id).collect();
    let is_nowhere = |id: &&RuntimeId| !in_store.contains(*id) && !in_directory.contains(*id);
    if let Some(missing) = runtimes.iter().find(is_nowhere) {
        return Err(LayoutError::RuntimeNotInDirectory {
            path: root.to_owned(),
            runtime_id: missing.clone(),
        });
    }
    for entry in listing.entries.iter().filter(|entry| is_wanted(&entry.id)) {
        if !in_store.contains(&entry.id) {
            let path = listing.runtimes.path_of(&entry.name);
            let what = "the store does not have this runtime";
            differ(&mut out, DifferenceKind::Runtime, (&path, None), what);
            continue;
        }
        out.runtimes += 1;
        let before = out.total_differences;
        of_one(&snapshot, &listing, entry, rules, &mut out)?;
        out.same_runtimes += u64::from(out.total_differences == before);
    }
    let mut only_in_store: Vec<_> = in_store.iter().filter(|id| is_wanted(id)).collect();
    only_in_store.retain(|id| !in_directory.contains(id));
    only_in_store.sort();
    for id in only_in_store {
        let path = listing.runtimes.path_of(names::encode(id.as_str()));
        let what = format!("the directory does not have runtime \"{id}\" of the store");
        differ(&mut out, DifferenceKind::Runtime, (&path, None), what);
    }
    Ok(out)
}

/// Compares the files that belong to no runtime.
fn of_others(
    snapshot: &Snapshot,
    listing: &Listing,
    rules: Rules,
    out: &mut Comparison,
) -> Result<(), LayoutError> {
    if listing
        .entries
        .iter()
        .any(|entry| names::is_in_root(&entry.name))
    {
        // The root of a runtime has no place for files of no runtime.
        return Ok(());
    }
    let dir = listing.runtimes.path();
    let others = compare_others(snapshot, listing, rules, &|_| {})?;
    let record = snapshot.import_record_without_runtime()?;
    let left_out = LeftOut::of(record.as_ref());
    for file in others.found {
        take_file(&left_out, dir, dir, file, out);
    }
    for path in others.only_in_store {
        differ(
            out,
            DifferenceKind::File,
            (&shown(dir, &path), None),
            ONLY_IN_STORE,
        );
    }
    take_findings(out, others.reading.findings);
    Ok(())
}

/// Compares one runtime that is on both sides.
fn of_one(
    snapshot: &Snapshot,
    listing: &Listing,
    entry: &Entry,
    rules: Rules,
    out: &mut Comparison,
) -> Result<(), LayoutError> {
    let mut comparing = Comparing::new(snapshot, &listing.runtimes, entry, out)?;
    let reading = read_runtime(&listing.runtimes, entry, rules, &mut comparing, &|_| {})?;
    if reading.outcome != ReadOutcome::Read {
        let path = listing.runtimes.path_of(&entry.name);
        let what = "the directory has no runtime that can be read";
        differ(out, DifferenceKind::Damage, (&path, None), what);
    }
    take_findings(out, reading.findings);
    Ok(())
}

/// Counts damage as differences, and passes the other findings on.
fn take_findings(out: &mut Comparison, findings: Vec<Finding>) {
    damage_as_differences(out, &findings);
    let accepted = findings.into_iter().filter(|f| f.kind.is_accepted());
    out.findings.extend(accepted);
}

/// Counts the damage among `findings` as differences: the store cannot have the same.
pub(crate) fn damage_as_differences(out: &mut Comparison, findings: &[Finding]) {
    for finding in findings.iter().filter(|f| !f.kind.is_accepted()) {
        let what = format!("{}: {}", finding.kind, finding.message);
        differ(
            out,
            DifferenceKind::Damage,
            (&finding.path, finding.line),
            what,
        );
    }
}

/// Compares a record of the directory with that of the store. Returns whether they are equal.
fn next_is<T: LogRecord>(
    log: &mut StoreLog<'_, T>,
    place: Place<'_>,
    row: &T::Row<'_>,
    out: &mut Comparison,
) -> Result<bool, LayoutError> {
    let number = row.number();
    if log.is_pruned(number) {
        out.pruned_only_in_directory += 1;
        return Ok(false);
    }
    missing_before(log, place.path, Some(number), out)?;
    let difference = match log.next_number()? {
        Some(next) if next > number => Some(lacks::<T>(number).into()),
        _ => log.expect(place, row)?,
    };
    match difference {
        None => Ok(true),
        Some(found) => {
            differ(out, T::KIND, (place.path, place.line), found);
            Ok(false)
        }
    }
}

/// Counts the times that only one side has of the records of `log`, which was read to its end, and the records that differ
/// in their bytes only.
fn count_times<T: LogRecord>(log: &StoreLog<'_, T>, out: &mut Comparison) {
    out.only_bytes += log.only_bytes;
    let (of_store, of_directory) = log.times_on_one_side;
    out.times_only_in_store += of_store;
    out.times_only_in_directory += of_directory;
}

/// Reports every record of the store before `number`, or up to the end, as missing in the directory.
fn missing_before<T: LogRecord>(
    log: &mut StoreLog<'_, T>,
    path: &Path,
    number: Option<u64>,
    out: &mut Comparison,
) -> Result<(), LayoutError> {
    let is_before = |next: &u64| number.is_none_or(|number| *next < number);
    while let Some(next) = log.next_number()?.filter(is_before) {
        let what = format!(
            "the directory does not have {} {next} of the store",
            T::NUMBER
        );
        differ(out, T::KIND, (path, None), what);
        log.skip();
    }
    Ok(())
}

/// The comparison of one runtime: the sink for the records of the directory.
pub(crate) struct Comparing<'s, 'o> {
    snapshot: &'s Snapshot,
    id: &'s RuntimeId,
    dir: PathBuf,
    logs: StoreLogs<'s>,
    present: Present,
    /// The end of the worker whose transcript is read, if retention has removed it as a whole.
    pruned_worker: Option<WorkerEnd>,
    /// What the directory has of that worker.
    archived: Archived,
    /// Workers that lack entries which retention removed with them, with their documents and the missing positions.
    incomplete: Vec<(WorkerId, PathBuf, (u64, u64))>,
    style: Style,
    is_in_root: bool,
    /// The own text of the document that the directory has next.
    own_text: Option<Vec<u8>>,
    files: FileComparison<'s>,
    left_out: LeftOut,
    /// Whether files are compared: not those that the reading leaves out.
    compares_files: bool,
    /// The directory of the last worker; `None` for one that the store does not have.
    worker_dir: Option<PathBuf>,
    out: &'o mut Comparison,
}

impl<'s, 'o> Comparing<'s, 'o> {
    pub(crate) fn new(
        snapshot: &'s Snapshot,
        runtimes: &SourceDir,
        entry: &'s Entry,
        out: &'o mut Comparison,
    ) -> Result<Self, LayoutError> {
        Ok(Self {
            snapshot,
            id: &entry.id,
            dir: runtimes.path_of(&entry.name),
            logs: StoreLogs::new(snapshot, &entry.id)?,
            present: Present::default(),
            pruned_worker: None,
            archived: Archived::default(),
            incomplete: Vec::new(),
            style: Style::of(snapshot, &entry.id)?,
            is_in_root: names::is_in_root(&entry.name),
            own_text: None,
            files: FileComparison::new(snapshot, Some(&entry.id)),
            left_out: LeftOut::of(snapshot.import_record(&entry.id)?.as_ref()),
            compares_files: true,
            worker_dir: None,
            out,
        })
    }

    /// Counts a document whose bytes differ from those that an export would write. `canonical` is the text of a
    /// document of the directory that has none of its own.
    fn compare_bytes<T: StoredDocument>(
        &mut self,
        of: &T::Of,
        canonical: &[u8],
        stored: &Stored<T>,
    ) -> Result<(), LayoutError> {
        let texts = (self.own_text.take(), canonical);
        let differs = has_other_bytes(self.snapshot, &self.style, of, texts, stored)?;
        self.out.only_bytes += u64::from(differs);
        Ok(())
    }

    /// Does not compare the files that are not part of the layout.
    pub(crate) fn without_files(mut self) -> Self {
        self.compares_files = false;
        self
    }

    /// Reports a file whose chunks are complete.
    fn ended(&mut self, file: Option<ComparedFile>) {
        let Some(file) = file else {
            return;
        };
        let dir = match file.stored.starts_with("w/") {
            false => &self.dir,
            true => match &self.worker_dir {
                Some(dir) => dir,
                // Its worker was reported.
                None => return,
            },
        };
        take_file(&self.left_out, dir, &self.dir, file, self.out);
    }

    /// Reports the files that only the store has, once all files are read.
    fn only_in_store(&mut self) -> Result<(), LayoutError> {
        let ended = self.files.end_of_file()?;
        self.ended(ended);
        if !self.compares_files {
            return Ok(());
        }
        for stored in self.files.only_in_store()? {
            let owner = parsed_path(&stored).and_then(|(worker, _)| worker);
            let dir = match owner.and_then(WorkerId::new) {
                None => self.dir.clone(),
                Some(worker) if self.present.workers.contains(&worker) => {
                    let workers = self.dir.join(WORKERS);
                    workers.join(names::of_worker(worker.as_str(), self.is_in_root))
                }
                // The missing worker was reported.
                Some(_) => continue,
            };
            let path = shown(&dir, &stored);
            differ(self.out, DifferenceKind::File, (&path, None), ONLY_IN_STORE);
        }
        Ok(())
    }
}

impl Comparing<'_, '_> {
    /// Compares the removed workers that the directory lists with those of the store.
    fn removed(&mut self, place: Place<'_>, listed: &RemovedWorkers) -> Result<(), LayoutError> {
        for (worker, path, (first, last)) in std::mem::take(&mut self.incomplete) {
            let what = format!(
                "positions {first} to {last} are missing: the store has pruned them with the worker"
            );
            match listed
                .pruned
                .iter()
                .any(|listed| listed.worker_id == worker)
            {
                // An update was allowed to leave them out.
                true => {
                    let finding = Finding::new(FindingKind::Gap, path, what);
                    self.out.findings.push(finding);
                }
                false => differ(self.out, DifferenceKind::RemovedWorker, (&path, None), what),
            }
        }
        let differences = self.present.differences(self.snapshot, self.id, listed)?;
        for what in differences {
            differ(
                self.out,
                DifferenceKind::RemovedWorker,
                (place.path, None),
                what,
            );
        }
        Ok(())
    }
}

impl Sink for Comparing<'_, '_> {
    fn begin_worker(&mut self, worker: &WorkerRef, _: WorkerRetention) -> Result<(), LayoutError> {
        self.pruned_worker = match gone_worker(self.snapshot, worker)? {
            Some(Gone::Pruned(end)) => Some(end),
            _ => None,
        };
        let ended = self.files.end_of_file()?;
        self.ended(ended);
        self.worker_dir = None;
        self.archived = Archived::default();
        Ok(())
    }

    fn entry(&mut self, place: Place<'_>, entry: BorrowedEntry<'_>) -> Result<(), LayoutError> {
        if self.pruned_worker.is_some() {
            self.archived.note(entry.sequence);
            self.out.pruned_only_in_directory += 1;
            return Ok(());
        }
        let log = self.logs.transcript(&entry.worker_ref)?;
        let is_same = next_is(log, place, &entry, self.out)?;
        self.out.transcript_entries += u64::from(is_same);
        Ok(())
    }

    fn worker(
        &mut self,
        place: Place<'_>,
        worker: Stored<PersistedWorkerSnapshot>,
        mut retention: WorkerRetention,
    ) -> Result<(), LayoutError> {
        let worker_ref = worker.value.worker_ref.clone();
        let own_text = self.own_text.take();
        self.present.workers.insert(worker_ref.worker_id.clone());
        if let Some(end) = self.pruned_worker {
            self.out.pruned_only_in_directory += 1;
            if let Some(missing) = self.archived.missing(retention.first_position, end) {
                let path = place.path.with_file_name(TranscriptEntry::FILE);
                self.incomplete.push((worker_ref.worker_id, path, missing));
            }
            return Ok(());
        }
        let Some(stored) = self.snapshot.worker(&worker_ref)? else {
            let what = "the store does not have this worker";
            differ(self.out, DifferenceKind::Worker, (place.path, None), what);
            return Ok(());
        };
        self.worker_dir = place.path.parent().map(Path::to_owned);
        let mut rest = self.logs.end_transcript(&worker_ref)?;
        let path = place.path.with_file_name(TranscriptEntry::FILE);
        missing_before(&mut rest, &path, None, self.out)?;
        count_times(&rest, self.out);
        let of_store = self.snapshot.retention(&worker_ref)?;
        if rest.pruned > 0 {
            // The entries below the floor of the store are no difference, so the lower floor that comes with them is none.
            retention.first_position = of_store.first_position;
        }
        let one = worker_json(place.path, worker, retention)?;
        let other = worker_json(place.path, stored.clone(), of_store)?;
        if have_same_values(&one, &other) {
            self.out.workers += 1;
            let document = WorkerDocument::of_stored(stored, of_store);
            self.own_text = own_text;
            self.compare_bytes(&worker_ref, &one, &document)?;
        } else {
            let found = first_difference(DIRECTORY_AND_STORE, &one, &other);
            differ(self.out, DifferenceKind::Worker, (place.path, None), found);
        }
        Ok(())
    }

    fn file(&mut self, path: &str, chunk: u64, row: FileChunkRow) -> Result<(), LayoutError> {
        let ended = self.files.take(path, chunk, &row)?;
        self.ended(ended);
        match row {
            FileChunkRow::Origin(_) => self.own_text = Some(Vec::new()),
            FileChunkRow::Bytes(bytes) if is_document(path) => {
                self.own_text
                    .get_or_insert_default()
                    .extend_from_slice(&bytes);
            }
            FileChunkRow::Bytes(_) | FileChunkRow::Directory => {}
        }
        Ok(())
    }

    fn event(&mut self, place: Place<'_>, event: BorrowedEvent<'_>) -> Result<(), LayoutError> {
        let pruned_before = self.logs.events.pruned;
        let is_same = next_is(&mut self.logs.events, place, &event, self.out)?;
        if self.logs.events.pruned > pruned_before {
            self.present.pruned_event(&event);
        }
        self.out.events += u64::from(is_same);
        Ok(())
    }

    fn runtime(
        &mut self,
        place: Place<'_>,
        runtime: Stored<PersistedRuntimeSnapshot>,
        facts: RuntimeFacts,
        removed: RemovedWorkers,
    ) -> Result<(), LayoutError> {
        self.only_in_store()?;
        let mut first_event_id = facts.first_event_id;
        let path = place.path.with_file_name(RuntimeEvent::FILE);
        missing_before(&mut self.logs.events, &path, None, self.out)?;
        count_times(&self.logs.events, self.out);
        for worker in self.snapshot.workers(self.id)? {
            let id = worker?.value.worker_ref.worker_id;
            if !self.present.workers.contains(&id) {
                let name = names::of_worker(id.as_str(), self.is_in_root);
                let path = self.dir.join(WORKERS).join(name);
                let what = format!("the directory does not have worker \"{id}\" of the store");
                differ(self.out, DifferenceKind::Worker, (&path, None), what);
            }
        }
        let Some(stored) = self.snapshot.runtime(self.id)? else {
            let what = "the store does not have this runtime";
            differ(self.out, DifferenceKind::Runtime, (place.path, None), what);
            return Ok(());
        };
        self.removed(place, &removed)?;
        let of_store = self.snapshot.first_event_id(self.id)?;
        if self.logs.events.pruned > 0 {
            // As for a worker.
            first_event_id = of_store;
        }
        let split = split(self.snapshot, runtime, &stored.value, false)?;
        self.out.pruned_only_in_directory += stored_size(split.pruned.len());
        let one = runtime_json(place.path, split.runtime, first_event_id)?;
        let other = runtime_json(place.path, stored.clone(), of_store)?;
        if !have_same_values(&one, &other) {
            let found = first_difference(DIRECTORY_AND_STORE, &one, &other);
            differ(self.out, DifferenceKind::Runtime, (place.path, None), found);
            return Ok(());
        }
        let document = RuntimeDocument::of_stored(stored, of_store, removed);
        self.compare_bytes(self.id, &one, &document)
    }
}
