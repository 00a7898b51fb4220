//! Rebuilds runtimes and workers whose documents are damaged or missing, for a salvage.
//!
//! A runtime is rebuilt from the name of its directory and its logs, a worker from the name of its directory, its
//! transcript and the events that name it. Counters follow the last numbers of the logs. A status is that of the last
//! event that stopped, cancelled or deleted. Members that are certain are taken from the damaged document: see
//! [`mending`](super::mending). All others have the model's defaults.

use crate::layout::dir::source::{NotOpened, SourceDir};
use crate::layout::error::LayoutError;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::document::{RuntimeDocument, WorkerDocument};
use crate::layout::format::names::{self, WORKERS};
use crate::layout::format::problem::Problem;
use crate::layout::read::documents::{Document, ReadDocument, Unread};
use crate::layout::read::log_record::LogRecord;
use crate::layout::read::mending::mended;
use crate::layout::read::reader::Reader;
use crate::layout::read::sink::ReadStop;
use crate::model::catalog::{CreateWorkerRequest, WorkerStatus};
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::TranscriptEntry;
use crate::model::layout_form::{AbsentMember, DocumentOrigin};
use crate::model::management::{RuntimeLimits, RuntimeStatus};
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::{PersistedRuntimeSnapshot, PersistedWorkerSnapshot};
use std::os::unix::ffi::OsStrExt;

/// The members of `runtime.json` whose values can be derived.
const OF_RUNTIME: &[&str] = &[
    "status",
    "next_worker_sequence",
    "next_event_id",
    "next_diagnostic_id",
];

/// The members of `worker.json` whose values can be derived.
const OF_WORKER: &[&str] = &["status", "next_transcript_sequence", "last_event_id"];

impl Reader<'_> {
    /// Rebuilds the `runtime.json` of the runtime in `dir`; `None` where it stays left out.
    pub(crate) fn rebuilt_runtime(
        &mut self,
        dir: &SourceDir,
        id: &RuntimeId,
        unread: &Unread,
    ) -> Result<Option<ReadDocument<RuntimeDocument>>, ReadStop> {
        if matches!(unread, Unread::Missing) && !self.has_contents(dir)? {
            return Ok(None);
        }
        let made = RuntimeDocument::from(PersistedRuntimeSnapshot {
            runtime_id: id.clone(),
            display_name: None,
            status: RuntimeStatus::Running,
            limits: RuntimeLimits::default(),
            next_worker_sequence: 1,
            next_event_id: 1,
            next_diagnostic_id: 1,
            diagnostics: Vec::new(),
        });
        let Some(mut document) = self.rebuilt(dir, id, (unread, made), OF_RUNTIME)? else {
            return Ok(None);
        };
        let value = &mut document.stored.value;
        self.next_event_id =
            (!document.origin.lacks("/next_event_id")).then_some(value.next_event_id);
        let states = self.states(dir, id)?;
        if document.origin.lacks("/status") && states.is_runtime_stopped() {
            value.status = RuntimeStatus::Stopped;
        }
        if document.origin.lacks("/next_worker_sequence") {
            // The events of deleted workers name ids that must not be used again.
            value.next_worker_sequence = states.next_sequence();
        }
        Ok(Some(document))
    }

    /// Rebuilds the `worker.json` of `worker_ref`; `None` where the worker stays left out.
    pub(crate) fn rebuilt_worker(
        &mut self,
        (runtime_dir, dir): (&SourceDir, &SourceDir),
        worker_ref: &WorkerRef,
        unread: &Unread,
    ) -> Result<Option<ReadDocument<WorkerDocument>>, ReadStop> {
        if matches!(unread, Unread::Missing) && !self.is_known(runtime_dir, dir, worker_ref)? {
            return Ok(None);
        }
        let made = WorkerDocument::from(PersistedWorkerSnapshot {
            worker_ref: worker_ref.clone(),
            status: WorkerStatus::Running,
            request: CreateWorkerRequest::default(),
            next_transcript_sequence: 1,
            last_event_id: 0,
        });
        let document = self.rebuilt(dir, worker_ref, (unread, made), OF_WORKER)?;
        if let Some(document) = &document {
            self.report_rebuilt(dir, document, "its transcript and its events")?;
        }
        Ok(document)
    }

    /// Whether the transcript or an event shows that a worker without `worker.json` existed. A kill between the first
    /// two steps of its creation leaves a directory alone.
    fn is_known(
        &mut self,
        runtime_dir: &SourceDir,
        dir: &SourceDir,
        worker_ref: &WorkerRef,
    ) -> Result<bool, ReadStop> {
        if !self.rules.mends() {
            return Ok(false);
        }
        if self.has_bytes(dir, TranscriptEntry::FILE)? {
            return Ok(true);
        }
        let states = self.states(runtime_dir, &worker_ref.runtime_id)?;
        Ok(states.of(&worker_ref.worker_id).1 > 0)
    }

    /// Whether a runtime directory without `runtime.json` has a log with a line, or a worker.
    fn has_contents(&mut self, dir: &SourceDir) -> Result<bool, ReadStop> {
        if self.has_bytes(dir, RuntimeEvent::FILE)? {
            return Ok(true);
        }
        let workers = match dir.open_dir(WORKERS) {
            Ok(workers) => workers,
            Err(NotOpened::Io(error)) => {
                self.refused("open", dir.path_of(WORKERS), error)?;
                return Ok(false);
            }
            Err(_) => return Ok(false),
        };
        let names = self.tried("list", workers.path(), workers.names())?;
        for name in names.into_iter().flatten() {
            if names::worker_of(name.as_bytes(), self.is_in_root).is_err() {
                continue;
            }
            let worker = match workers.open_dir(&name) {
                Ok(worker) => worker,
                Err(NotOpened::Io(error)) => {
                    self.refused("open", workers.path_of(&name), error)?;
                    continue;
                }
                Err(_) => continue,
            };
            if self.has_bytes(&worker, WorkerDocument::FILE)?
                || self.has_bytes(&worker, TranscriptEntry::FILE)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether `name` is a file that is not empty. The reading of the file reports it otherwise.
    fn has_bytes(&mut self, dir: &SourceDir, name: &str) -> Result<bool, ReadStop> {
        match dir.open_file(name) {
            Ok(file) => Ok(file.len() > 0),
            Err(NotOpened::Io(error)) => {
                self.refused("open", dir.path_of(name), error)?;
                Ok(false)
            }
            Err(_) => Ok(false),
        }
    }

    fn rebuilt<T: Document>(
        &mut self,
        dir: &SourceDir,
        of: &T::Of,
        (unread, made): (&Unread, T),
        derived: &[&str],
    ) -> Result<Option<ReadDocument<T>>, ReadStop> {
        let damaged = match unread {
            Unread::Damaged(bytes) => bytes.as_slice(),
            Unread::Missing => &[],
            Unread::Unsupported => return Ok(None),
        };
        if !self.rules.mends() {
            return Ok(None);
        }
        let path = dir.path_of(T::FILE);
        let unwritable = |problem: Problem| LayoutError::Unwritable {
            path: path.clone(),
            message: problem.message,
        };
        let mended = mended(damaged, made, of, &mut self.scratch).map_err(unwritable)?;
        if !mended.stored.value.stamp().is_supported::<T>() {
            return Ok(None);
        }
        let guessed = derived.iter().filter(|name| !mended.taken.contains(**name));
        let absent = guessed.map(|name| AbsentMember {
            pointer: format!("/{name}"),
            json: String::new(),
        });
        Ok(Some(ReadDocument {
            origin: DocumentOrigin {
                absent: absent.collect(),
                ..DocumentOrigin::default()
            },
            stored: mended.stored,
            bytes: damaged.to_vec(),
            has_own_text: false,
            rebuilt: Some(mended.taken.into_iter().collect()),
        }))
    }

    /// Reports a document as rebuilt. `sources` are the files that it was made of.
    pub(crate) fn report_rebuilt<T: Document>(
        &mut self,
        dir: &SourceDir,
        document: &ReadDocument<T>,
        sources: &str,
    ) -> Result<(), ReadStop> {
        let Some(taken) = &document.rebuilt else {
            return Ok(());
        };
        let mut message = format!("rebuilt from the name of its directory, {sources}");
        if !taken.is_empty() {
            let mut names: Vec<&str> = taken.iter().map(String::as_str).collect();
            names.sort_unstable();
            message += &format!("; the damaged text still had {}", names.join(", "));
        }
        self.report(Finding::new(
            FindingKind::Rebuilt,
            dir.path_of(T::FILE),
            message,
        ))
    }
}
