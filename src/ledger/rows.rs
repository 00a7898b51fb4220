//! The rows of a store and their bounded reads, without saying which engine stores them.

use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::stored::kept_file::{FileChunkRow, FileKey};
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::model::catalog::{CreateWorkerRequest, ProfileSelector, WorkerIntent, WorkerStatus};
use crate::model::diagnostics::DiagnosticSeverity;
use crate::model::interaction::TranscriptRole;
use crate::model::layout_form::{LayoutForm, LineForm};
use crate::model::management::RuntimeStatus;
use crate::model::observation::RuntimeEventKind;
use crate::model::persisted::{ImportRecord, UnknownMember, WorkerRetention};
use std::borrow::Cow;

/// How many rows a reader that walks a whole table takes at a time.
pub(crate) const PAGE_ROWS: usize = 1024;

/// Receives the rows of a log in the order of their numbers. An error that it returns ends the read.
pub(crate) type EachEvent<'e> =
    dyn for<'v> FnMut(u64, EventRow<'v>) -> Result<(), RuntimeError> + 'e;

/// As [`EachEvent`], with the position of each entry.
pub(crate) type EachEntry<'e> =
    dyn for<'v> FnMut(u64, TranscriptRow<'v>) -> Result<(), RuntimeError> + 'e;

/// The rows of a store at one point in time. Pages begin at a key or after one, and have at most
/// `limit` rows in the order of their keys.
///
/// An engine implements this for its transactions, and
/// [`Transaction`](crate::ledger::transaction::Transaction) for an operation that sees its own changes above
/// them. The rules of the runtime are written once against this trait.
pub(crate) trait Rows {
    /// The operation and the store, for errors.
    fn at(&self) -> OpContext<'_>;

    /// The number of the last opening of the store for writing that recorded open work; 0 for none.
    fn last_opening(&self) -> Result<u32, RuntimeError>;

    /// Whether another host that lives has the right to write to `runtime`, as far as the engine knows of hosts.
    fn is_held_elsewhere(&self, runtime: &str) -> Result<bool, RuntimeError> {
        let _ = runtime;
        Ok(false)
    }

    fn runtime(&self, runtime: &str) -> Result<Option<RuntimeRow>, RuntimeError>;

    fn runtimes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, RuntimeRow)>, RuntimeError>;

    fn worker(&self, runtime: &str, worker: &str) -> Result<Option<WorkerRow>, RuntimeError>;

    fn workers(
        &self,
        runtime: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, WorkerRow)>, RuntimeError>;

    /// Passes the first `limit` events with an id of at least `from` to `each`.
    fn events(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
        each: &mut EachEvent<'_>,
    ) -> Result<(), RuntimeError>;

    fn last_event_id(&self, runtime: &str) -> Result<Option<u64>, RuntimeError>;

    /// Passes the first `limit` entries from position `from` on to `each`.
    fn transcript(
        &self,
        runtime: &str,
        worker: &str,
        from: u64,
        limit: usize,
        each: &mut EachEntry<'_>,
    ) -> Result<(), RuntimeError>;

    fn diagnostics(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, DiagnosticRow)>, RuntimeError>;

    fn import(&self, runtime: &str) -> Result<Option<ImportRow>, RuntimeError>;

    fn tombstone(&self, runtime: &str, worker: &str) -> Result<Option<TombstoneRow>, RuntimeError>;

    /// Tombstones of `runtime`; of [`UNFINISHED`](crate::ledger::table_names::UNFINISHED) the runtimes with
    /// unfinished deletions.
    fn tombstones(
        &self,
        runtime: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, TombstoneRow)>, RuntimeError>;

    /// A chunk of the file at `path`.
    fn file_chunk(
        &self,
        runtime: &str,
        path: &str,
        chunk: u64,
    ) -> Result<Option<FileChunkRow>, RuntimeError>;

    /// The keys of the first `limit` chunks of files from the path and the chunk `from` on, and below the path `end`.
    fn file_keys(
        &self,
        runtime: &str,
        from: (&str, u64),
        end: Option<&str>,
        limit: usize,
    ) -> Result<Vec<FileKey>, RuntimeError>;
}

/// A row of the `imports` table. It needs nothing that the public fact lacks.
pub(crate) type ImportRow = ImportRecord;

/// A runtime's own row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeRow {
    pub(crate) display_name: Option<String>,
    pub(crate) status: RuntimeStatus,
    /// The limits are stored numbers here: a machine with smaller words must not cut them when it
    /// writes the row back.
    pub(crate) max_transcript_projection_items: u64,
    pub(crate) max_event_batch_items: u64,
    pub(crate) next_worker_sequence: u64,
    pub(crate) next_event_id: u64,
    pub(crate) next_diagnostic_id: u64,
    pub(crate) running_workers: u64,
    pub(crate) stopped_workers: u64,
    pub(crate) cancelled_workers: u64,
    pub(crate) diagnostics: u64,
    pub(crate) unknown: Vec<UnknownMember>,
    /// The latest time of the runtime's rows; `None` if none has a time. See [`tick`](Self::tick).
    pub(crate) latest_time_ms: Option<u64>,
    /// The last change number that was given to a worker; 0 for none.
    pub(crate) last_change: u64,
    /// The floor of the event log: events below were removed. 1 if none was.
    pub(crate) first_event_id: u64,
    /// The newest form of the layout that the directory had which the runtime was imported from. New workers and rows
    /// are exported in it.
    pub(crate) form: LayoutForm,
}

/// The id of the first event of a log that nothing was removed from.
pub(crate) const FIRST_EVENT_ID: u64 = 1;

impl RuntimeRow {
    /// The time of a change that is made at `now_ms`: never before that of an earlier change of this runtime, also
    /// if the clock was set back.
    pub(crate) fn tick(&mut self, now_ms: u64) -> u64 {
        let time_ms = self.latest_time_ms.map_or(now_ms, |last| last.max(now_ms));
        self.latest_time_ms = Some(time_ms);
        time_ms
    }

    /// The id of the last event that the log had, given that of its last row: if retention removed all rows, it is the
    /// one below the floor.
    pub(crate) fn last_event_id(&self, last_row: Option<u64>) -> Option<u64> {
        let removed = (self.first_event_id > FIRST_EVENT_ID).then(|| self.first_event_id - 1);
        last_row.max(removed)
    }

    /// The number of all workers. A sum that overflows is corrupt, and equals no number of rows.
    pub(crate) fn workers(&self) -> u64 {
        self.running_workers
            .saturating_add(self.stopped_workers)
            .saturating_add(self.cancelled_workers)
    }

    /// The count of the workers with `status`, and its name. [`checks`](crate::ledger::checks) changes it
    /// without overflow.
    pub(crate) fn workers_in(&mut self, status: WorkerStatus) -> (&'static str, &mut u64) {
        match status {
            WorkerStatus::Running => ("running_workers", &mut self.running_workers),
            WorkerStatus::Stopped => ("stopped_workers", &mut self.stopped_workers),
            WorkerStatus::Cancelled => ("cancelled_workers", &mut self.cancelled_workers),
        }
    }

    /// The bytes of all texts in the row.
    pub(crate) fn text_bytes(&self) -> usize {
        text_bytes(&self.display_name) + unknown_bytes(&self.unknown)
    }
}

/// A worker's own row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerRow {
    pub(crate) status: WorkerStatus,
    pub(crate) request: CreateWorkerRequest,
    pub(crate) next_transcript_sequence: u64,
    pub(crate) last_event_id: u64,
    /// The position after the last entry. It never shrinks, also if entries are removed.
    pub(crate) transcript_len: u64,
    pub(crate) unknown: Vec<UnknownMember>,
    /// The time of the last change of the row or the transcript.
    pub(crate) changed_at_ms: Option<u64>,
    /// The number of that change within the runtime; 0 for none.
    pub(crate) change: u64,
    /// A JSON object of the host; `None` for none.
    pub(crate) attributes: Option<String>,
    /// The floor of the transcript: entries at positions below were removed.
    pub(crate) first_position: u64,
    /// Whether retention leaves the worker out.
    pub(crate) is_pinned: bool,
    /// The time at which the worker was stopped or cancelled, if that is known.
    pub(crate) ended_at_ms: Option<u64>,
}

impl WorkerRow {
    pub(crate) fn retention(&self) -> WorkerRetention {
        WorkerRetention {
            first_position: self.first_position,
            is_pinned: self.is_pinned,
        }
    }

    /// Notes a change of the worker at `now_ms`: its time, and the next change number of the runtime.
    pub(crate) fn touch(&mut self, runtime: &mut RuntimeRow, now_ms: u64) {
        self.changed_at_ms = Some(runtime.tick(now_ms));
        // Not used up in any lifetime; a damaged number must not fail the change.
        runtime.last_change = runtime.last_change.saturating_add(1);
        self.change = runtime.last_change;
    }

    /// The bytes of all texts in the row.
    pub(crate) fn text_bytes(&self) -> usize {
        let request = &self.request;
        let intent = match &request.intent {
            WorkerIntent::Assistant { purpose } => text_bytes(purpose),
            WorkerIntent::Task { objective } => objective.len(),
            WorkerIntent::Role { role, purpose } => role.len() + text_bytes(purpose),
        };
        let profile = match &request.profile {
            ProfileSelector::RuntimeDefault => 0,
            ProfileSelector::Builtin(value) | ProfileSelector::Named(value) => value.len(),
        };
        let bundle = request.config_bundle.iter();
        let capabilities = request.requested_capabilities.iter();
        let workspaces = request.workspace_refs.iter();
        let mounts = request.mount_refs.iter();
        intent
            + profile
            + text_bytes(bundle.map(|bundle| &bundle.id))
            + text_bytes(capabilities.flat_map(|c| std::iter::once(&c.name).chain(&c.reason)))
            + text_bytes(workspaces.flat_map(|workspace| [&workspace.name, &workspace.reference]))
            + text_bytes(mounts.flat_map(|mount| [&mount.name, &mount.reference]))
            + unknown_bytes(&self.unknown)
            + text_bytes(&self.attributes)
    }
}

/// A row of an event log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventRow<'v> {
    pub(crate) worker_id: Option<Cow<'v, str>>,
    pub(crate) kind: RuntimeEventKind,
    /// `None` for the kind's standard message.
    pub(crate) message: Option<Cow<'v, str>>,
    pub(crate) unknown: Vec<UnknownMember>,
    /// The time of the commit; `None` for rows of version 1 and imported lines without one.
    pub(crate) recorded_at_ms: Option<u64>,
    pub(crate) form: LineForm<'v>,
}

impl EventRow<'_> {
    /// The bytes of all texts in the row.
    pub(crate) fn text_bytes(&self) -> usize {
        let worker = self.worker_id.as_ref().map_or(0, |text| text.len());
        let message = self.message.as_ref().map_or(0, |text| text.len());
        worker + message + unknown_bytes(&self.unknown) + self.form.text_bytes()
    }
}

impl<'v> From<&'v EventRow<'static>> for EventRow<'v> {
    fn from(row: &'v EventRow<'static>) -> Self {
        Self {
            worker_id: row.worker_id.as_deref().map(Cow::Borrowed),
            kind: row.kind,
            message: row.message.as_deref().map(Cow::Borrowed),
            unknown: row.unknown.clone(),
            recorded_at_ms: row.recorded_at_ms,
            form: row.form.borrowed(),
        }
    }
}

/// A row of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TranscriptRow<'v> {
    pub(crate) sequence: u64,
    pub(crate) role: TranscriptRole,
    pub(crate) event_id: u64,
    pub(crate) content: Cow<'v, str>,
    pub(crate) unknown: Vec<UnknownMember>,
    /// As [`EventRow::recorded_at_ms`].
    pub(crate) recorded_at_ms: Option<u64>,
    /// A JSON object of the host; `None` for none.
    pub(crate) attributes: Option<Cow<'v, str>>,
    pub(crate) form: LineForm<'v>,
}

impl TranscriptRow<'_> {
    /// The bytes of all texts in the row.
    pub(crate) fn text_bytes(&self) -> usize {
        let attributes = self.attributes.as_ref().map_or(0, |text| text.len());
        self.content.len() + unknown_bytes(&self.unknown) + attributes + self.form.text_bytes()
    }
}

impl<'v> From<&'v TranscriptRow<'static>> for TranscriptRow<'v> {
    fn from(row: &'v TranscriptRow<'static>) -> Self {
        Self {
            sequence: row.sequence,
            role: row.role,
            event_id: row.event_id,
            content: Cow::Borrowed(&row.content),
            unknown: row.unknown.clone(),
            recorded_at_ms: row.recorded_at_ms,
            attributes: row.attributes.as_deref().map(Cow::Borrowed),
            form: row.form.borrowed(),
        }
    }
}

/// A row of a runtime's diagnostics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiagnosticRow {
    pub(crate) severity: DiagnosticSeverity,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) worker_id: Option<String>,
    pub(crate) unknown: Vec<UnknownMember>,
    /// As [`EventRow::recorded_at_ms`].
    pub(crate) recorded_at_ms: Option<u64>,
}

impl DiagnosticRow {
    /// The bytes of all texts in the row.
    pub(crate) fn text_bytes(&self) -> usize {
        self.code.len()
            + self.message.len()
            + text_bytes(&self.worker_id)
            + unknown_bytes(&self.unknown)
    }
}

fn text_bytes<'t>(texts: impl IntoIterator<Item = &'t String>) -> usize {
    texts.into_iter().map(String::len).sum()
}

fn unknown_bytes(unknown: &[UnknownMember]) -> usize {
    text_bytes(
        unknown
            .iter()
            .flat_map(|member| [&member.pointer, &member.name, &member.json]),
    )
}
