//! Updates an exported directory with the records that the store has got since.
//!
//! The update first reads the whole directory and compares it with the store record by record: the
//! directory must be an earlier state of the store. Then it writes the documents, and appends new
//! records to the logs. Counters come first and events last, as in every writer of this layout, so a
//! concurrent reader finds counters that are ahead of their logs, which is no damage. A killed update
//! leaves such a state, and at most one incomplete line, which the next update completes.
//!
//! The steps of the update of a runtime, and what the next update finds if a kill comes after one. The store can have
//! removed rows since.
//!
//! | step | left by a kill | if the store removed rows since |
//! |---|---|---|
//! | 1. `runtime.json` is replaced | counters ahead of the logs; new workers without directories | the logs show what the directory lacks: refused, unless allowed |
//! | 2. incomplete lines of removed records are cut off | some logs still have theirs | the gap is the same; the worker is in `pruned_workers` by then, or the gap is refused again |
//! | 3. each worker: its document is replaced, then lines are appended; a new one is renamed into its place | a document ahead of its log, an incomplete line | as for 1; an incomplete line of a removed record is part of the gap |
//! | 4. directories of deleted workers are renamed, then removed | a temporary directory, which the next update removes | the same |
//! | 5. events are appended | fewer events than the counter says, an incomplete line | as for 1 |
//!
//! So counters decide nothing: a worker that retention removed is in the directory with its last entry, or in the list
//! `pruned_workers`, which only an update that was allowed to leave a gap writes for it.

use crate::layout::compare::archived::{Archived, Gone, gone_worker, split, with_pruned};
use crate::layout::compare::documents::Style;
use crate::layout::compare::removed::{Present, removed_workers};
use crate::layout::compare::store_log::{Outcome, StoreLogs};
use crate::layout::dir::target::{TargetDir, temporary_name};
use crate::layout::error::LayoutError;
use crate::layout::export::earlier_state::{
    check_runtime, check_worker, go_along, not_a_prefix, without_retention,
};
use crate::layout::export::file_update::{FileUpdate, add_missing};
use crate::layout::export::log_tail::{LastOf, Reached, append_rest, damaged, take_tail_of};
use crate::layout::export::log_writer::write_document;
use crate::layout::export::redacted::{Redacted, rewrite_log};
use crate::layout::export::runtime_writer::RuntimeWriter;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::document::{RemovedWorkers, RuntimeDocument, WorkerDocument};
use crate::layout::format::names::{self, WORKERS};
use crate::layout::options::ImportOptions;
use crate::layout::read::documents::Document;
use crate::layout::read::listing::Entry;
use crate::layout::read::log_record::LogRecord;
use crate::layout::read::reading::read_runtime;
use crate::layout::read::sink::{Place, Sink};
use crate::layout::report::RuntimeExport;
use crate::ledger::convert::{owned_ref, stored_size};
use crate::ledger::rows::FIRST_EVENT_ID;
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::ledger::stored::tombstone::{TombstoneRow, WorkerEnd};
use crate::model::borrowed::{BorrowedEntry, BorrowedEvent};
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::TranscriptEntry;
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, RuntimeFacts, Stored, WorkerRetention,
};
use crate::model::retention::PRUNED;
use crate::store::snapshot::Snapshot;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// A runtime directory that is an earlier state of the store.
pub(crate) struct Update {
    /// Whether the runtime lies in the root.
    is_in_root: bool,
    /// The document of the runtime and its floor, where they are not current.
    runtime: Option<(Stored<PersistedRuntimeSnapshot>, u64, RemovedWorkers)>,
    events: Reached,
    workers: HashMap<WorkerId, WorkerUpdate>,
    /// Workers of the directory that were deleted.
    deleted: Vec<WorkerId>,
    /// The stored paths of kept files that the directory lacks.
    files: Vec<String>,
    /// Logs that end before what the store has pruned, with the workers of transcripts.
    gaps: HashMap<PathBuf, Option<WorkerId>>,
    /// Those whose incomplete last lines are cut off, with the lengths of these lines.
    cuts: Vec<(PathBuf, Option<WorkerId>, u64)>,
}

struct WorkerUpdate {
    is_current: bool,
    /// The members of its document that say what the directory has.
    retention: WorkerRetention,
    transcript: Reached,
    redacted: Vec<Redacted>,
}

impl Update {
    /// Reads the directory of a runtime and compares it with the store.
    pub(crate) fn check(
        snapshot: &Snapshot,
        runtimes: &TargetDir,
        entry: &Entry,
        limits: (usize, bool),
    ) -> Result<Self, LayoutError> {
        match Self::checked(snapshot, runtimes, entry, limits) {
            Err(LayoutError::NotAPrefix { difference, .. }) => Err(LayoutError::NotAPrefix {
                difference,
                has_pruned: has_pruned(snapshot, &entry.id)?,
            }),
            checked => checked,
        }
    }

    fn checked(
        snapshot: &Snapshot,
        runtimes: &TargetDir,
        entry: &Entry,
        (max_line_bytes, allow_gap): (usize, bool),
    ) -> Result<Self, LayoutError> {
        let id = &entry.id;
        let mut checking = Checking {
            snapshot,
            logs: StoreLogs::new(snapshot, id)?,
            allow_gap,
            update: Self {
                is_in_root: names::is_in_root(&entry.name),
                runtime: None,
                events: Reached::default(),
                workers: HashMap::new(),
                deleted: Vec::new(),
                files: Vec::new(),
                gaps: HashMap::new(),
                cuts: Vec::new(),
            },
            gone: None,
            files: FileUpdate::new(snapshot, entry, runtimes),
            archived: Archived::default(),
            incomplete: Vec::new(),
            listed: HashSet::new(),
            present: Present::default(),
            redacted: Vec::new(),
        };
        // Not strict: an incomplete last line is accepted if the store can complete it.
        let rules = ImportOptions::rules_for_exports(max_line_bytes);
        let reading = read_runtime(runtimes.as_source(), entry, rules, &mut checking, &|_| {})?;
        let dir = runtimes.path_of(&entry.name);
        let workers = checking.update.workers.keys().collect();
        let missing = checking
            .files
            .missing(&runtimes.open_dir(&entry.name)?, &workers)?;
        checking.update.files = missing;
        checking.refuse_pruned_workers(&dir, id)?;
        checking.refuse_dropped_workers(&dir, id)?;
        let mut update = checking.update;
        for finding in reading.findings {
            if !finding.kind.is_accepted() {
                update.take_tail(snapshot, &dir, id, finding)?;
            }
        }
        Ok(update)
    }

    /// Accepts an incomplete last line that is the beginning of the next record, or of one that the store has pruned if
    /// the log may have a gap, and everything in the directories of deleted workers. All other damage is refused.
    fn take_tail(
        &mut self,
        snapshot: &Snapshot,
        dir: &Path,
        id: &RuntimeId,
        finding: Finding,
    ) -> Result<(), LayoutError> {
        let is_in_root = self.is_in_root;
        let name_of = |worker: &WorkerId| names::of_worker(worker.as_str(), is_in_root);
        let of_worker = |worker: &WorkerId| {
            let dir = dir.join(WORKERS).join(name_of(worker));
            finding.path.starts_with(dir)
        };
        if self.deleted.iter().any(of_worker) {
            return Ok(());
        }
        let text = match &finding.text {
            Some(text) if finding.kind == FindingKind::CutOff => text.as_bytes(),
            _ => return Err(damaged(&finding)),
        };
        if let Some(worker) = self.gaps.get(&finding.path) {
            let length = stored_size(text.len());
            self.cuts
                .push((finding.path.clone(), worker.clone(), length));
            return Ok(());
        }
        if finding.path == dir.join(RuntimeEvent::FILE) {
            let reached = &mut self.events;
            let mut rest = snapshot.written_events(id, reached.next)?;
            return take_tail_of::<RuntimeEvent>(reached, rest.next(), text, &finding);
        }
        for (worker_id, worker) in &mut self.workers {
            let worker_dir = dir.join(WORKERS).join(name_of(worker_id));
            if finding.path == worker_dir.join(TranscriptEntry::FILE) {
                let reached = &mut worker.transcript;
                let worker_ref = WorkerRef::new(id.clone(), worker_id.clone());
                let mut rest = snapshot.written_transcript(&worker_ref, reached.next)?;
                return take_tail_of::<TranscriptEntry>(reached, rest.next(), text, &finding);
            }
        }
        Err(damaged(&finding))
    }

    /// Writes the changes since the last export to the directory of a runtime.
    pub(crate) fn apply(
        self,
        writer: &RuntimeWriter<'_>,
        dir: &TargetDir,
        id: &RuntimeId,
        report: &mut RuntimeExport,
    ) -> Result<(), LayoutError> {
        dir.remove_leftovers()?;
        let updated = self.write_changes(writer, dir, id, report);
        if updated.is_err() {
            // Temporary files that were not moved to their places. The next update removes them if this
            // fails.
            let _ = dir.remove_leftovers();
        }
        updated
    }

    fn write_changes(
        mut self,
        writer: &RuntimeWriter<'_>,
        dir: &TargetDir,
        id: &RuntimeId,
        report: &mut RuntimeExport,
    ) -> Result<(), LayoutError> {
        let style = &writer.style(id)?;
        if let Some((runtime, floor, removed)) = self.runtime {
            let temporary = temporary_name();
            let file = dir.create_file(&temporary)?;
            let document = writer.runtime_document(style, runtime, (floor, removed))?;
            report.bytes += write_document(file, &document.bytes)?;
            dir.rename_over(&temporary, dir, RuntimeDocument::FILE)?;
            dir.sync()?;
        }
        let workers = dir.open_dir(WORKERS)?;
        add_missing(writer, dir, (id, &self.files), report)?;
        for (path, worker, length) in self.cuts {
            match &worker {
                None => dir.append_to(RuntimeEvent::FILE)?.cut(length)?,
                Some(worker) => workers
                    .open_dir(style.worker_dir(worker.as_str()))?
                    .append_to(TranscriptEntry::FILE)?
                    .cut(length)?,
            }
            report.cut_off.push(path);
        }
        for worker in writer.snapshot.workers(id)? {
            let worker = worker?;
            let worker_id = &worker.value.worker_ref.worker_id;
            let name = style.worker_dir(worker_id.as_str());
            match self.workers.remove(worker_id) {
                Some(known) => {
                    let worker_dir = workers.open_dir(&name)?;
                    known.apply((writer, style), (dir, &worker_dir), worker, report)?;
                }
                None => {
                    let temporary = temporary_name();
                    let written =
                        writer.write_worker(style, &dir.create_dir(&temporary)?, worker)?;
                    written.add_to(report);
                    dir.rename_into(&temporary, &workers, &name)?;
                }
            }
        }
        for worker in self.deleted {
            // A kill leaves the worker or a temporary directory, which the next update removes, and never a part of it.
            let temporary = temporary_name();
            workers.rename_into(&style.worker_dir(worker.as_str()), dir, &temporary)?;
            dir.remove(&temporary)?;
            report.removed_workers.push(worker);
        }
        workers.sync()?;
        let reached = self.events;
        let rest = writer.snapshot.written_events(id, reached.next)?;
        let last = || {
            let before = reached.next.saturating_sub(1);
            let mut last = writer.snapshot.written_events(id, before)?;
            Ok(last.next().transpose()?)
        };
        let reached = (&reached, &last as LastOf<'_, RuntimeEvent>);
        report.events += append_rest::<RuntimeEvent>((writer, style), dir, rest, reached, report)?;
        Ok(())
    }
}

impl WorkerUpdate {
    /// Writes the changes of one worker. `runtime_dir` is the directory of its runtime.
    fn apply(
        self,
        (writer, style): (&RuntimeWriter<'_>, &Style),
        (runtime_dir, worker_dir): (&TargetDir, &TargetDir),
        worker: Stored<PersistedWorkerSnapshot>,
        report: &mut RuntimeExport,
    ) -> Result<(), LayoutError> {
        let worker_ref = worker.value.worker_ref.clone();
        if !self.is_current {
            // In the directory of the runtime, so that a worker directory never has a temporary file.
            let temporary = temporary_name();
            let file = runtime_dir.create_file(&temporary)?;
            let document = writer.worker_document(style, worker, self.retention)?;
            report.bytes += write_document(file, &document.bytes)?;
            runtime_dir.rename_over(&temporary, worker_dir, WorkerDocument::FILE)?;
            worker_dir.sync()?;
            report.workers += 1;
        }
        let dirs = (runtime_dir, worker_dir);
        rewrite_log(writer.snapshot, dirs, &worker_ref, &self.redacted, report)?;
        let reached = self.transcript;
        let rest = writer
            .snapshot
            .written_transcript(&worker_ref, reached.next)?;
        let last = || {
            let before = reached.next.saturating_sub(1);
            let mut last = writer.snapshot.written_transcript(&worker_ref, before)?;
            Ok(last.next().transpose()?)
        };
        let reached = (&reached, &last as LastOf<'_, TranscriptEntry>);
        report.transcript_entries +=
            append_rest::<TranscriptEntry>((writer, style), worker_dir, rest, reached, report)?;
        Ok(())
    }
}

/// Whether the store has pruned rows of a runtime. The directory can have the only copy of these.
fn has_pruned(snapshot: &Snapshot, id: &RuntimeId) -> Result<bool, LayoutError> {
    if snapshot.first_event_id(id)? > FIRST_EVENT_ID {
        return Ok(true);
    }
    for worker in snapshot.workers(id)? {
        if snapshot.first_position(&worker?.value.worker_ref)? > 0 {
            return Ok(true);
        }
    }
    // A prune that removed nothing but whole workers raised no floor.
    let runtime = snapshot.runtime(id)?;
    let is_record = |runtime: Stored<PersistedRuntimeSnapshot>| {
        let diagnostics = &runtime.value.diagnostics;
        diagnostics.iter().any(|one| one.code == PRUNED)
    };
    Ok(runtime.is_some_and(is_record))
}

/// The comparison of a directory with the store, record by record.
struct Checking<'s> {
    snapshot: &'s Snapshot,
    logs: StoreLogs<'s>,
    allow_gap: bool,
    /// Why the store lacks the worker whose transcript is read.
    gone: Option<Gone>,
    files: FileUpdate<'s>,
    /// What the directory has of that worker.
    archived: Archived,
    /// Workers that lack entries which retention removed with them, with their logs and the missing positions.
    incomplete: Vec<(WorkerId, PathBuf, (u64, u64))>,
    /// The workers that the directory lists as removed by retention: it can lack these, or entries of theirs.
    listed: HashSet<WorkerId>,
    /// The workers of the directory that the store has removed.
    present: Present,
    /// The entries of the worker whose transcript is read that the store has redacted since.
    redacted: Vec<Redacted>,
    update: Update,
}

impl Checking<'_> {
    /// Refuses a log of the directory that ends before the first row that the store still has: the rows from `first` to
    /// `last` are in neither.
    fn refuse_gap(
        &mut self,
        path: PathBuf,
        worker: Option<&WorkerId>,
        (first, last): (u64, u64),
    ) -> Result<(), LayoutError> {
        let what = match worker {
            Some(_) => POSITION,
            None => RuntimeEvent::NUMBER,
        };
        if first > last {
            return Ok(());
        }
        if self.allow_gap {
            self.update.gaps.insert(path, worker.cloned());
            return Ok(());
        }
        Err(LayoutError::PrunedGap {
            path,
            what,
            first,
            last,
        })
    }

    /// As [`refuse_gap`](Self::refuse_gap), for the workers that the directory does not have yet.
    fn refuse_pruned_workers(&mut self, dir: &Path, id: &RuntimeId) -> Result<(), LayoutError> {
        for worker in self.snapshot.workers(id)? {
            let worker_ref = worker?.value.worker_ref;
            if self.update.workers.contains_key(&worker_ref.worker_id) {
                continue;
            }
            let first = self.snapshot.first_position(&worker_ref)?;
            if first > 0 {
                let is_in_root = self.update.is_in_root;
                let name = names::of_worker(worker_ref.worker_id.as_str(), is_in_root);
                let path = dir.join(WORKERS).join(name).join(TranscriptEntry::FILE);
                self.refuse_gap(path, Some(&worker_ref.worker_id), (0, first - 1))?;
            }
        }
        Ok(())
    }
}

impl Checking<'_> {
    /// Takes note of a worker of the directory that retention removed at `end` from the store.
    fn archived(&mut self, path: &Path, worker: WorkerId, (first_position, end): (u64, WorkerEnd)) {
        if let Some(missing) = self.archived.missing(first_position, end) {
            let path = path.with_file_name(TranscriptEntry::FILE);
            self.incomplete.push((worker.clone(), path, missing));
        }
        self.present.workers.insert(worker);
    }

    /// The removed workers that `runtime.json` lists: those that the directory says nothing else about, and those whose
    /// last entries it lacks.
    fn removed(&self, id: &RuntimeId) -> Result<RemovedWorkers, LayoutError> {
        let mut removed = removed_workers(self.snapshot, id)?;
        let lacks_end = |worker: &WorkerId| self.incomplete.iter().any(|(one, ..)| one == worker);
        removed.pruned.retain(|worker| {
            let worker = &worker.worker_id;
            !self.present.workers.contains(worker) || lacks_end(worker)
        });
        removed
            .deleted
            .retain(|worker| !self.present.reports_deleted(worker));
        Ok(removed)
    }

    /// Refuses a directory without a worker that retention removed, or without entries of it, unless `runtime.json` lists
    /// the worker. An earlier update listed it, and was allowed to: the counters of the directory do not show that,
    /// because they are written first, and a kill can come before the worker.
    fn refuse_dropped_workers(&mut self, dir: &Path, id: &RuntimeId) -> Result<(), LayoutError> {
        for (worker, path, missing) in std::mem::take(&mut self.incomplete) {
            match self.listed.contains(&worker) {
                true => drop(self.update.gaps.insert(path, Some(worker))),
                false => self.refuse_gap(path, Some(&worker), missing)?,
            }
        }
        for found in self.snapshot.tombstones(id) {
            let (worker, tombstone) = found?;
            let dropped = matches!(tombstone, TombstoneRow::Dropped { .. });
            let Some(worker_id) = WorkerId::new(worker).filter(|_| dropped && !self.allow_gap)
            else {
                continue;
            };
            if !self.listed.contains(&worker_id) && !self.present.workers.contains(&worker_id) {
                let is_in_root = self.update.is_in_root;
                let name = names::of_worker(worker_id.as_str(), is_in_root);
                let path = dir.join(WORKERS).join(name);
                return Err(LayoutError::PrunedWorker { path, worker_id });
            }
        }
        Ok(())
    }
}

/// The name of the number of an entry within the transcript.
const POSITION: &str = "position";

impl Sink for Checking<'_> {
    fn begin_worker(&mut self, worker: &WorkerRef, _: WorkerRetention) -> Result<(), LayoutError> {
        self.files.begin_worker()?;
        self.gone = gone_worker(self.snapshot, worker)?;
        self.archived = Archived::default();
        self.redacted.clear();
        Ok(())
    }

    fn entry(&mut self, place: Place<'_>, entry: BorrowedEntry<'_>) -> Result<(), LayoutError> {
        if self.gone.is_some() {
            self.archived.note(entry.sequence);
            return Ok(());
        }
        let log = self.logs.transcript(&entry.worker_ref)?;
        if log.is_pruned(entry.sequence) {
            return Ok(());
        }
        let same = log.same;
        match log.expect_or_redacted(place, &entry)? {
            Outcome::Compared(difference) => go_along(place, difference),
            Outcome::Redacted => {
                let worker = owned_ref(&entry.worker_ref)?;
                self.redacted.push(Redacted {
                    byte: place.byte.unwrap_or_default(),
                    position: self.snapshot.first_position(&worker)?.saturating_add(same),
                    has_time: entry.recorded_at.is_some(),
                });
                Ok(())
            }
        }
    }

    fn worker(
        &mut self,
        place: Place<'_>,
        worker: Stored<PersistedWorkerSnapshot>,
        retention: WorkerRetention,
    ) -> Result<(), LayoutError> {
        let worker_ref = worker.value.worker_ref.clone();
        match self.gone {
            Some(Gone::Pruned(end)) => {
                let ended = (retention.first_position, end);
                self.archived(place.path, worker_ref.worker_id, ended);
                return Ok(());
            }
            Some(Gone::Deleted) => {
                self.update.deleted.push(worker_ref.worker_id);
                return Ok(());
            }
            None => {}
        }
        let Some(stored) = self.snapshot.worker(&worker_ref)? else {
            return Err(not_a_prefix(
                place.path,
                None,
                "the store does not have this worker",
            ));
        };
        self.files.enter(place.path);
        let log = self.logs.end_transcript(&worker_ref)?;
        let of_store = self.snapshot.retention(&worker_ref)?;
        let floor = of_store.first_position;
        let reached = retention.first_position.saturating_add(log.records());
        if !log.reaches_floor() && reached < floor {
            let path = place.path.with_file_name(TranscriptEntry::FILE);
            self.refuse_gap(path, Some(&worker_ref.worker_id), (reached, floor - 1))?;
        }
        let kept = WorkerRetention {
            // The directory stays what it is: it has the entries from its own floor on.
            first_position: match log.records() {
                0 => floor,
                _ => retention.first_position,
            },
            ..of_store
        };
        let (worker, stored) = (without_retention(worker), without_retention(stored));
        let is_same = worker == stored;
        if !is_same {
            check_worker(place.path, worker, stored)?;
        }
        let known = WorkerUpdate {
            is_current: is_same && retention == kept,
            retention: kept,
            transcript: Reached::until(floor.saturating_add(log.same)),
            redacted: std::mem::take(&mut self.redacted),
        };
        self.update.workers.insert(worker_ref.worker_id, known);
        Ok(())
    }

    fn file(&mut self, path: &str, chunk: u64, row: FileChunkRow) -> Result<(), LayoutError> {
        self.files.take(path, chunk, &row)
    }

    fn event(&mut self, place: Place<'_>, event: BorrowedEvent<'_>) -> Result<(), LayoutError> {
        if self.logs.events.is_pruned(event.id) {
            self.present.pruned_event(&event);
            return Ok(());
        }
        go_along(place, self.logs.events.expect(place, &event)?)
    }

    fn runtime(
        &mut self,
        place: Place<'_>,
        runtime: Stored<PersistedRuntimeSnapshot>,
        facts: RuntimeFacts,
        listed: RemovedWorkers,
    ) -> Result<(), LayoutError> {
        let first_event_id = facts.first_event_id;
        let Some(stored) = self.snapshot.runtime(&runtime.value.runtime_id)? else {
            return Err(not_a_prefix(
                place.path,
                None,
                "the store does not have this runtime",
            ));
        };
        let log = &self.logs.events;
        let floor = self.snapshot.first_event_id(&stored.value.runtime_id)?;
        let reached = log.last_record().max(first_event_id - 1);
        if !log.reaches_floor() && reached + 1 < floor {
            let path = place.path.with_file_name(RuntimeEvent::FILE);
            self.refuse_gap(path, None, (reached + 1, floor - 1))?;
        }
        let log = &self.logs.events;
        self.update.events = Reached::until(log.last_same.max(floor - 1) + 1);
        // As for a worker.
        let kept_floor = match log.records() {
            0 => floor,
            _ => first_event_id,
        };
        let runtime = without_retention(runtime);
        let whole = runtime.clone();
        let split = split(self.snapshot, runtime, &stored.value, true)?;
        let runtime_id = stored.value.runtime_id.clone();
        let bare = without_retention(stored.clone());
        if split.runtime != bare {
            check_runtime(place.path, split.runtime, bare)?;
        }
        let removed = self.removed(&runtime_id)?;
        let of_directory = listed.pruned.iter().map(|worker| worker.worker_id.clone());
        self.listed.extend(of_directory);
        let merged = with_pruned(stored, split.pruned)?;
        if whole != without_retention(merged.clone())
            || first_event_id != kept_floor
            || listed != removed
        {
            self.update.runtime = Some((merged, kept_floor, removed));
        }
        Ok(())
    }
}
