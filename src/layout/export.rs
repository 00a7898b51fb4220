//! From a store into a directory.

use super::ahead::{Outbox, ahead};
use super::document::{RuntimeDocument, WorkerDocument};
use super::error::LayoutError;
use super::json::{self, Form};
use super::listing::RUNTIMES;
use super::log::LogRecord;
use super::names::{self, MAX_NAME_BYTES};
use super::options::{ExistingDirectory, ExportOptions};
use super::reader::Document;
use super::report::{ExportOutcome, ExportReport, RuntimeExport};
use super::source::EntryKind;
use super::staging::{TargetDir, TargetFile, temporary_name};
use super::walk::WORKERS;
use crate::error::RuntimeError;
use crate::model::identity::{RuntimeId, WorkerId};
use crate::model::interaction::TranscriptEntry;
use crate::model::observation::RuntimeEvent;
use crate::store::{PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Snapshot, Store, Stored};
use std::path::Path;

/// How many records of a log are read before a thread that reads ahead is worth its start.
const READ_HERE_RECORDS: usize = 2048;

/// Exports runtimes of `store` to directories under `root`, as they are at one moment, while
/// writers go on.
///
/// Every directory is written and synced under a temporary name beside its place, and renamed into
/// it when all are whole: a crash at any point leaves the old directory or the new one. What an
/// export that was killed has left under such names, the next one removes. Without runtimes the
/// layout is empty.
///
/// # Errors
///
/// [`LayoutError::Exists`], unless [`ExportOptions::existing`] says otherwise, and
/// [`LayoutError::NameTooLong`] before anything is written; wherever the store cannot be read or
/// the directory not be written.
pub fn export(
    store: &Store,
    root: impl AsRef<Path>,
    options: &ExportOptions,
) -> Result<ExportReport, LayoutError> {
    let root = root.as_ref();
    let snapshot = store.snapshot()?;
    let ids = wanted(store, &snapshot, options)?;
    for id in &ids {
        check_names(&snapshot, id)?;
    }
    let on_bytes = options.progress_of_writing();
    let runtimes = TargetDir::open_or_create(root)?.ensure_dir(RUNTIMES)?;
    runtimes.lock()?;
    let plan = plan(&runtimes, ids, options.existing)?;
    runtimes.remove_leftovers()?;
    let export = Export {
        snapshot: &snapshot,
        runtimes: &runtimes,
        on_bytes: &*on_bytes,
    };
    let mut staged = Vec::new();
    let done = export.run(plan, &mut staged);
    if done.is_err() {
        for name in staged {
            // The error that led here is the one to tell; the next export tries again.
            let _ = runtimes.remove(&name);
        }
    }
    done
}

fn wanted(
    store: &Store,
    snapshot: &Snapshot,
    options: &ExportOptions,
) -> Result<Vec<RuntimeId>, LayoutError> {
    let all = snapshot.runtime_ids()?;
    if options.runtimes.is_empty() {
        return Ok(all);
    }
    if let Some(missing) = options.runtimes.iter().find(|id| !all.contains(id)) {
        return Err(RuntimeError::RuntimeNotFound {
            path: store.path().to_owned(),
            runtime_id: missing.clone(),
        }
        .into());
    }
    let is_wanted = |id: &RuntimeId| options.runtimes.contains(id);
    Ok(all.into_iter().filter(is_wanted).collect())
}

fn check_names(snapshot: &Snapshot, id: &RuntimeId) -> Result<(), LayoutError> {
    let check = |text: &str, worker_id: Option<&WorkerId>| {
        let bytes = names::encode(text).len();
        match bytes > MAX_NAME_BYTES {
            false => Ok(()),
            true => Err(LayoutError::NameTooLong {
                runtime_id: id.clone(),
                worker_id: worker_id.cloned(),
                bytes,
                limit: MAX_NAME_BYTES,
            }),
        }
    };
    check(id.as_str(), None)?;
    for worker in snapshot.workers(id)? {
        let worker_id = worker?.value.worker_ref.worker_id;
        check(worker_id.as_str(), Some(&worker_id))?;
    }
    Ok(())
}

/// What is to be done with one runtime.
struct Step {
    id: RuntimeId,
    name: String,
    outcome: ExportOutcome,
}

fn plan(
    runtimes: &TargetDir,
    ids: Vec<RuntimeId>,
    existing: ExistingDirectory,
) -> Result<Vec<Step>, LayoutError> {
    let mut steps = Vec::new();
    for id in ids {
        let name = names::encode(id.as_str());
        let kind = runtimes
            .as_source()
            .kind_of(&name)
            .map_err(LayoutError::io("look at", runtimes.path_of(&name)))?;
        let outcome = match (kind, existing) {
            (None, _) => ExportOutcome::Written,
            (Some(EntryKind::Directory), ExistingDirectory::Replace) => ExportOutcome::Replaced,
            (Some(EntryKind::Directory), ExistingDirectory::Update) => ExportOutcome::Updated,
            (Some(EntryKind::Directory), ExistingDirectory::Refuse) => {
                return Err(LayoutError::Exists {
                    path: runtimes.path_of(&name),
                });
            }
            (Some(EntryKind::File), _) => return Err(in_the_way(runtimes, &name, "a file")),
            (Some(EntryKind::Other(what)), _) => return Err(in_the_way(runtimes, &name, what)),
        };
        steps.push(Step { id, name, outcome });
    }
    Ok(steps)
}

fn in_the_way(runtimes: &TargetDir, name: &str, what: &str) -> LayoutError {
    LayoutError::InTheWay {
        path: runtimes.path_of(name),
        message: format!("this is {what}, not a runtime directory"),
    }
}

/// An export under way.
pub(super) struct Export<'a> {
    pub(super) snapshot: &'a Snapshot,
    runtimes: &'a TargetDir,
    pub(super) on_bytes: &'a dyn Fn(u64),
}

impl Export<'_> {
    /// Writes everything new, then puts it in its place. `staged` names what has no place yet.
    fn run(&self, plan: Vec<Step>, staged: &mut Vec<String>) -> Result<ExportReport, LayoutError> {
        let mut reports = Vec::new();
        let mut moves = Vec::new();
        let (updates, new): (Vec<_>, Vec<_>) = plan
            .into_iter()
            .partition(|step| step.outcome == ExportOutcome::Updated);
        let updates = updates
            .into_iter()
            .map(|step| {
                let update = self.check_update(self.runtimes, &step.id)?;
                Ok((step, update))
            })
            .collect::<Result<Vec<_>, LayoutError>>()?;
        for step in new {
            let temporary = temporary_name();
            let dir = self.runtimes.create_dir(&temporary)?;
            staged.push(temporary.clone());
            let mut report = self.report(&step);
            self.write_runtime(&dir, &step.id, &mut report)?;
            reports.push(report);
            moves.push((temporary, step));
        }
        self.runtimes.sync()?;
        for (temporary, step) in moves {
            self.put_in_place(&temporary, &step)?;
        }
        for (step, update) in updates {
            let dir = self.runtimes.open_dir(&step.name)?;
            let mut report = self.report(&step);
            self.update_runtime(&dir, &step.id, update, &mut report)?;
            reports.push(report);
        }
        reports.sort_by(|a: &RuntimeExport, b| a.runtime_id.cmp(&b.runtime_id));
        Ok(ExportReport { runtimes: reports })
    }

    fn report(&self, step: &Step) -> RuntimeExport {
        RuntimeExport {
            runtime_id: step.id.clone(),
            path: self.runtimes.path_of(&step.name),
            outcome: step.outcome,
            workers: 0,
            events: 0,
            transcript_entries: 0,
            bytes: 0,
        }
    }

    fn put_in_place(&self, temporary: &str, step: &Step) -> Result<(), LayoutError> {
        match step.outcome {
            ExportOutcome::Replaced => {
                self.runtimes.exchange(temporary, &step.name)?;
                self.runtimes.sync()?;
                self.runtimes.remove(temporary)
            }
            _ => {
                self.runtimes.rename_new(temporary, &step.name)?;
                self.runtimes.sync()
            }
        }
    }

    /// Writes one runtime into an empty directory, and syncs it.
    fn write_runtime(
        &self,
        dir: &TargetDir,
        id: &RuntimeId,
        report: &mut RuntimeExport,
    ) -> Result<(), LayoutError> {
        let runtime = self.runtime(id)?;
        let file = dir.create_file(RuntimeDocument::FILE)?;
        report.bytes += write_runtime_document(file, runtime)?;
        let mut events = dir.create_file(RuntimeEvent::FILE)?;
        let records = self.snapshot.events(id, 0)?;
        report.events += self.append_all(&mut events, records, &mut report.bytes)?;
        events.finish()?;
        let workers = dir.create_dir(WORKERS)?;
        for worker in self.snapshot.workers(id)? {
            let worker = worker?;
            let name = names::encode(worker.value.worker_ref.worker_id.as_str());
            let worker_dir = workers.create_dir(&name)?;
            self.write_worker(&worker_dir, worker, report)?;
        }
        workers.sync()?;
        dir.sync()
    }

    pub(super) fn runtime(
        &self,
        id: &RuntimeId,
    ) -> Result<Stored<PersistedRuntimeSnapshot>, LayoutError> {
        // It was listed in the same snapshot; without it there is nothing to write.
        let missing = || RuntimeError::InvalidRequest(format!("runtime {id} is not in the store"));
        Ok(self.snapshot.runtime(id)?.ok_or_else(missing)?)
    }

    /// Writes one worker into an empty directory, and syncs it.
    pub(super) fn write_worker(
        &self,
        dir: &TargetDir,
        worker: Stored<PersistedWorkerSnapshot>,
        report: &mut RuntimeExport,
    ) -> Result<(), LayoutError> {
        let mut transcript = dir.create_file(TranscriptEntry::FILE)?;
        let records = self.snapshot.transcript(&worker.value.worker_ref, 0)?;
        let bytes = &mut report.bytes;
        report.transcript_entries += self.append_all(&mut transcript, records, bytes)?;
        transcript.finish()?;
        let file = dir.create_file(WorkerDocument::FILE)?;
        report.bytes += write_worker_document(file, worker)?;
        report.workers += 1;
        dir.sync()
    }

    /// Appends records to a log. Returns how many they are. A long log is read ahead on a thread of
    /// its own.
    fn append_all<T: LogRecord + Send>(
        &self,
        log: &mut TargetFile,
        mut records: impl Iterator<Item = Result<Stored<T>, RuntimeError>> + Send,
        bytes: &mut u64,
    ) -> Result<u64, LayoutError> {
        let mut count = 0;
        for record in records.by_ref().take(READ_HERE_RECORDS) {
            *bytes += self.append(log, &record?)?;
            count += 1;
        }
        if count < READ_HERE_RECORDS as u64 {
            return Ok(count);
        }
        let make = |out: &mut Outbox<Result<Stored<T>, RuntimeError>>| {
            for record in records {
                let length = record
                    .as_ref()
                    .map_or(0, |record| record.value.text_bytes());
                if out.push(record, length).is_err() {
                    break;
                }
            }
        };
        ahead(make, |record| {
            *bytes += self.append(log, &record?)?;
            count += 1;
            Ok::<_, LayoutError>(())
        })?;
        Ok(count)
    }

    /// Appends one line to a log. Returns how long it is.
    pub(super) fn append<T: LogRecord>(
        &self,
        log: &mut TargetFile,
        record: &Stored<T>,
    ) -> Result<u64, LayoutError> {
        let bytes =
            log.append(|out| json::write(&record.value, &record.unknown, Form::Line, out))?;
        (self.on_bytes)(bytes);
        Ok(bytes)
    }
}

impl Export<'_> {
    /// Appends a line of which the first `skip` bytes are there already.
    pub(super) fn append_after<T: LogRecord>(
        &self,
        log: &mut TargetFile,
        record: &Stored<T>,
        skip: usize,
    ) -> Result<u64, LayoutError> {
        let bytes = log.append(|out| {
            let mut line = Vec::new();
            json::write(&record.value, &record.unknown, Form::Line, &mut line)?;
            out.extend_from_slice(line.get(skip..).unwrap_or_default());
            Ok(())
        })?;
        (self.on_bytes)(bytes);
        Ok(bytes)
    }
}

pub(super) fn write_runtime_document(
    mut file: TargetFile,
    runtime: Stored<PersistedRuntimeSnapshot>,
) -> Result<u64, LayoutError> {
    let document = RuntimeDocument::from(runtime.value);
    file.append(|out| json::write(&document, &runtime.unknown, Form::Document, out))?;
    file.finish()
}

pub(super) fn write_worker_document(
    mut file: TargetFile,
    worker: Stored<PersistedWorkerSnapshot>,
) -> Result<u64, LayoutError> {
    let document = WorkerDocument::from(worker.value);
    file.append(|out| json::write(&document, &worker.unknown, Form::Document, out))?;
    file.finish()
}
