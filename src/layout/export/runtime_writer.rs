//! Writes one runtime into a directory.

use crate::error::RuntimeError;
use crate::layout::compare::removed::removed_workers;
use crate::layout::dir::target::{TargetDir, TargetFile};
use crate::layout::error::LayoutError;
use crate::layout::export::log_writer::{
    Log, Written, write_runtime_document, write_worker_document,
};
use crate::layout::export::parallel;
use crate::layout::format::document::{RuntimeDocument, WorkerDocument};
use crate::layout::format::names::{self, WORKERS};
use crate::layout::read::documents::Document;
use crate::layout::read::log_record::LogRecord;
use crate::layout::report::RuntimeExport;
use crate::model::identity::RuntimeId;
use crate::model::interaction::TranscriptEntry;
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::{PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored};
use crate::store::snapshot::Snapshot;
use std::sync::Mutex;

/// Writes the runtimes of a snapshot. `on_bytes` gets the number of bytes of each write.
pub(crate) struct RuntimeWriter<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// Whether the lines of logs have times.
    pub(crate) times: bool,
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
        let runtime = self.runtime(id)?;
        let file = dir.create_file(RuntimeDocument::FILE)?;
        let removed = removed_workers(self.snapshot, id)?;
        let floor = self.snapshot.first_event_id(id)?;
        report.bytes += write_runtime_document(file, runtime, floor, removed)?;
        let worker_dirs = dir.create_dir(WORKERS)?;
        let workers = self.snapshot.workers(id)?;
        let parts = std::iter::once(Ok(Part::Events))
            .chain(workers.map(|worker| worker.map(|worker| Part::Worker(Box::new(worker)))));
        let done = Mutex::new(Written::default());
        parallel::for_each(parts, |part| {
            let written = match part? {
                Part::Events => self.write_events(dir, id)?,
                Part::Worker(worker) => {
                    let worker_id = worker.value.worker_ref.worker_id.as_str();
                    let worker_dir = worker_dirs.create_dir(&names::encode(worker_id))?;
                    self.write_worker(&worker_dir, *worker)?
                }
            };
            // No thread panics while it holds this lock, so it is never poisoned.
            if let Ok(mut done) = done.lock() {
                done.add(&written);
            }
            Ok::<_, LayoutError>(())
        })?;
        done.into_inner().unwrap_or_default().add_to(report);
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

    fn write_events(&self, dir: &TargetDir, id: &RuntimeId) -> Result<Written, LayoutError> {
        let mut log = self.log(dir.create_file(RuntimeEvent::FILE)?);
        self.snapshot.each_event(id, |event| log.append(&event))?;
        let (events, bytes) = log.finish()?;
        Ok(Written {
            events,
            bytes,
            ..Written::default()
        })
    }

    /// Writes one worker into an empty directory, and syncs it.
    pub(crate) fn write_worker(
        &self,
        dir: &TargetDir,
        worker: Stored<PersistedWorkerSnapshot>,
    ) -> Result<Written, LayoutError> {
        let mut log = self.log(dir.create_file(TranscriptEntry::FILE)?);
        let worker_ref = &worker.value.worker_ref;
        self.snapshot
            .each_entry(worker_ref, |entry| log.append(&entry))?;
        let (transcript_entries, bytes) = log.finish()?;
        let retention = self.snapshot.retention(worker_ref)?;
        let file = dir.create_file(WorkerDocument::FILE)?;
        let bytes = bytes + write_worker_document(file, worker, retention)?;
        dir.sync()?;
        Ok(Written {
            workers: 1,
            events: 0,
            transcript_entries,
            bytes,
        })
    }

    /// A writer for the log `file`.
    pub(crate) fn log(&self, file: TargetFile) -> Log<'_> {
        Log::new(file, self.times, self.on_bytes)
    }
}

/// A part of a runtime that a thread writes while other threads write other parts.
enum Part {
    Events,
    Worker(Box<Stored<PersistedWorkerSnapshot>>),
}
