//! Writes one runtime into a directory.

use crate::error::RuntimeError;
use crate::layout::compare::documents::{Style, WrittenDocument, written};
use crate::layout::compare::removed::removed_workers;
use crate::layout::dir::target::{TargetDir, TargetFile};
use crate::layout::error::LayoutError;
use crate::layout::export::form_a::losses;
use crate::layout::export::log_writer::{Appended, Log, Written, write_document};
use crate::layout::export::parallel;
use crate::layout::format::document::{RemovedWorkers, RuntimeDocument, WorkerDocument};
use crate::layout::format::names::WORKERS;
use crate::layout::read::documents::Document;
use crate::layout::read::log_record::{LogRecord, LogRow};
use crate::layout::report::RuntimeExport;
use crate::ledger::stored::kept_file::{FileChunkRow, stored_path, worker_files};
use crate::model::identity::RuntimeId;
use crate::model::interaction::TranscriptEntry;
use crate::model::layout_form::{AbsentMember, DocumentOrigin, LayoutForm};
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored, WorkerRetention,
};
use crate::store::snapshot::Snapshot;
use std::path::Path;
use std::sync::Mutex;

/// Writes the runtimes of a snapshot. `on_bytes` gets the number of bytes of each write.
pub(crate) struct RuntimeWriter<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// Whether the lines of logs have times.
    pub(crate) times: bool,
    /// Whether every runtime is written in form a.
    pub(crate) is_form_a: bool,
    pub(crate) on_bytes: &'a (dyn Fn(u64) + Sync),
}

impl RuntimeWriter<'_> {
    /// Writes one runtime into an empty directory, and syncs it.
    pub(crate) fn write_runtime(
        &self,
        dir: &TargetDir,
        id: &RuntimeId,
        report: &mut RuntimeExport,
    ) -> Result<(), LayoutError> {
        let style = &self.style(id)?;
        let runtime = self.runtime(id)?;
        let file = dir.create_file(RuntimeDocument::FILE)?;
        let removed = removed_workers(self.snapshot, id)?;
        let floor = self.snapshot.first_event_id(id)?;
        let next = runtime.value.next_event_id;
        let document = self.runtime_document(style, runtime, (floor, removed))?;
        report.bytes += write_document(file, &document.bytes)?;
        report.form = style.form;
        let events = NewLog::of(
            style,
            document.origin.as_ref(),
            ("/next_event_id", next),
            LayoutForm::G,
        );
        let worker_dirs = dir.create_dir(WORKERS)?;
        let workers = self.snapshot.workers(id)?;
        // Readers of form a refuse files among the directories of workers.
        let files = (!style.is_form_a).then_some(Ok(Part::Files));
        let parts = std::iter::once(Ok(Part::Events))
            .chain(files)
            .chain(workers.map(|worker| worker.map(|worker| Part::Worker(Box::new(worker)))));
        let done = Mutex::new(Written::default());
        parallel::for_each(parts, |part| {
            let written = match part? {
                Part::Events => self.write_events(style, dir, id, events)?,
                Part::Files => self.write_files(dir, (id, "r/"))?,
                Part::Worker(worker) => {
                    let worker_id = worker.value.worker_ref.worker_id.as_str();
                    let worker_dir = worker_dirs.create_dir(style.worker_dir(worker_id))?;
                    self.write_worker(style, &worker_dir, *worker)?
                }
            };
            // No thread panics while it holds this lock, so it is never poisoned.
            if let Ok(mut done) = done.lock() {
                done.add(&written);
            }
            Ok::<_, LayoutError>(())
        })?;
        done.into_inner().unwrap_or_default().add_to(report);
        if style.is_form_a {
            report.losses = losses(self.snapshot, id)?;
        }
        worker_dirs.sync()?;
        Ok(dir.sync()?)
    }

    pub(crate) fn runtime(
        &self,
        id: &RuntimeId,
    ) -> Result<Stored<PersistedRuntimeSnapshot>, LayoutError> {
        // It was listed in the same snapshot; without it there is nothing to write.
        let missing = || RuntimeError::InvalidRequest(format!("runtime {id} is not in the store"));
        Ok(self.snapshot.runtime(id)?.ok_or_else(missing)?)
    }

    /// The style of a runtime.
    pub(crate) fn style(&self, id: &RuntimeId) -> Result<Style, LayoutError> {
        match self.is_form_a {
            true => Ok(Style::form_a()),
            false => Style::of(self.snapshot, id),
        }
    }

    /// The document of a runtime, with its floor and its removed workers.
    pub(crate) fn runtime_document(
        &self,
        style: &Style,
        runtime: Stored<PersistedRuntimeSnapshot>,
        (floor, removed): (u64, RemovedWorkers),
    ) -> Result<WrittenDocument, LayoutError> {
        let id = runtime.value.runtime_id.clone();
        let document = RuntimeDocument::of_stored(runtime, floor, removed);
        written(self.snapshot, style, &id, &document)
    }

    /// The document of a worker.
    pub(crate) fn worker_document(
        &self,
        style: &Style,
        worker: Stored<PersistedWorkerSnapshot>,
        retention: WorkerRetention,
    ) -> Result<WrittenDocument, LayoutError> {
        let worker_ref = worker.value.worker_ref.clone();
        let document = WorkerDocument::of_stored(worker, retention);
        written(self.snapshot, style, &worker_ref, &document)
    }

    fn write_events(
        &self,
        style: &Style,
        dir: &TargetDir,
        id: &RuntimeId,
        new: NewLog,
    ) -> Result<Written, LayoutError> {
        let path = stored_path(None, Path::new(RuntimeEvent::FILE));
        let mut log = self.begin_log::<RuntimeEvent>(style, dir, (id, &path), new)?;
        self.snapshot.each_event(id, |event| log.append(&event))?;
        let (written, new_logs) = log.finish()?;
        Ok(Written {
            events: written.records,
            bytes: written.bytes,
            not_in_form: written.not_in_form,
            new_logs,
            ..Written::default()
        })
    }

    /// Writes one worker into an empty directory, and syncs it.
    pub(crate) fn write_worker(
        &self,
        style: &Style,
        dir: &TargetDir,
        worker: Stored<PersistedWorkerSnapshot>,
    ) -> Result<Written, LayoutError> {
        let worker_ref = worker.value.worker_ref.clone();
        let next = worker.value.next_transcript_sequence;
        let retention = self.snapshot.retention(&worker_ref)?;
        let document = self.worker_document(style, worker, retention)?;
        let sequence = ("/next_transcript_sequence", next);
        let new = NewLog::of(style, document.origin.as_ref(), sequence, LayoutForm::D);
        let worker_id = Some(worker_ref.worker_id.as_str());
        let path = stored_path(worker_id, Path::new(TranscriptEntry::FILE));
        let of = (&worker_ref.runtime_id, &*path);
        let mut log = self.begin_log::<TranscriptEntry>(style, dir, of, new)?;
        self.snapshot
            .each_entry(&worker_ref, |entry| log.append(&entry))?;
        let (written, new_logs) = log.finish()?;
        let file = dir.create_file(WorkerDocument::FILE)?;
        let bytes = written.bytes + write_document(file, &document.bytes)?;
        let mut written = Written {
            workers: 1,
            transcript_entries: written.records,
            bytes,
            not_in_form: written.not_in_form,
            new_logs,
            ..Written::default()
        };
        let files = worker_files(worker_ref.worker_id.as_str());
        if !style.is_form_a {
            written.add(&self.write_files(dir, (&worker_ref.runtime_id, &files))?);
        }
        dir.sync()?;
        Ok(written)
    }

    /// A log to be written: with the blank lines of one that was imported without a record.
    fn begin_log<'w, T: LogRecord>(
        &'w self,
        style: &Style,
        dir: &'w TargetDir,
        (id, stored): (&RuntimeId, &str),
        new: NewLog,
    ) -> Result<LazyLog<'w>, LayoutError> {
        let mut lazy = LazyLog {
            dir,
            name: T::FILE,
            writer: self,
            style: *style,
            log: None,
            new_logs: u64::from(new == NewLog::New),
        };
        if new == NewLog::OnceItHasRows {
            return Ok(lazy);
        }
        let mut log = self.log(style, dir.create_file(T::FILE)?);
        if new == NewLog::AsImported && !style.is_form_a {
            self.snapshot
                .each_file_chunk(Some(id), stored, |path, _, row| match row {
                    FileChunkRow::Bytes(bytes) if path == stored => log.append_text(&bytes),
                    _ => Ok(()),
                })?;
        }
        lazy.log = Some(log);
        Ok(lazy)
    }

    /// A writer for the log `file`.
    pub(crate) fn log(&self, style: &Style, file: TargetFile) -> Log<'_> {
        Log::new(file, (*style, self.times), self.on_bytes)
    }
}

/// When an export creates a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewLog {
    /// The imported directory had it, or its form has one.
    AsImported,
    /// Neither did, but operations have added rows, or the document that belongs to it.
    New,
    /// Neither did: as soon as it has a row.
    OnceItHasRows,
}

impl NewLog {
    /// The rule for a log whose document is that of `origin`. Its counter says whether it ever had a row since. Forms from
    /// `lacked_from` on have no such log.
    fn of(
        style: &Style,
        origin: Option<&DocumentOrigin>,
        (counter, next): (&str, u64),
        lacked_from: LayoutForm,
    ) -> Self {
        if style.is_form_a {
            return Self::AsImported;
        }
        let (is_lacking, is_unchanged) = match origin {
            // A document without an origin is written whole, and a whole document needs its log.
            None => (style.form >= lacked_from, false),
            Some(DocumentOrigin { absent, .. }) => {
                let json = next.to_string();
                let is_counter =
                    |member: &AbsentMember| member.pointer == counter && member.json == json;
                (
                    absent.iter().any(AbsentMember::is_log),
                    absent.iter().any(is_counter),
                )
            }
        };
        match (is_lacking, is_unchanged) {
            (false, _) => Self::AsImported,
            (true, false) => Self::New,
            (true, true) => Self::OnceItHasRows,
        }
    }
}

/// A log that is created with its first row, if not before.
struct LazyLog<'w> {
    dir: &'w TargetDir,
    name: &'static str,
    writer: &'w RuntimeWriter<'w>,
    style: Style,
    log: Option<Log<'w>>,
    new_logs: u64,
}

impl LazyLog<'_> {
    fn append(&mut self, row: &impl LogRow) -> Result<(), LayoutError> {
        if let Some(log) = &mut self.log {
            return log.append(row);
        }
        self.new_logs = 1;
        let file = self.dir.create_file(self.name)?;
        self.log
            .insert(self.writer.log(&self.style, file))
            .append(row)
    }

    /// Writes and syncs the log. Also returns the number of logs that the imported directory did not have: 0 or 1.
    fn finish(self) -> Result<(Appended, u64), LayoutError> {
        match self.log {
            Some(log) => Ok((log.finish()?, self.new_logs)),
            None => Ok((Appended::default(), 0)),
        }
    }
}

/// A part of a runtime that a thread writes while other threads write other parts.
enum Part {
    Events,
    /// The files of the runtime that are not part of the layout.
    Files,
    Worker(Box<Stored<PersistedWorkerSnapshot>>),
}
