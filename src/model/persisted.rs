//! Complete state of runtimes and workers: the form for imports, exports and hosts with their own logic.

use crate::model::catalog::{CreateWorkerRequest, WorkerStatus};
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::layout_form::LayoutForm;
use crate::model::management::{RuntimeLimits, RuntimeStatus};

/// A member of imported JSON that this version does not know. The store records it unchanged, and an
/// export writes it after the known members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMember {
    /// The object that contains it: a JSON Pointer (RFC 6901) from the record, document or line. Empty
    /// for the outermost object.
    pub pointer: String,
    /// The member's name.
    pub name: String,
    /// The member's value as JSON text, byte for byte as it was read.
    pub json: String,
}

/// A record with its unknown members, in the order in which they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// The record.
    pub value: T,
    /// The members that this version does not know.
    pub unknown: Vec<UnknownMember>,
}

impl<T> Stored<T> {
    /// The record, without the members that this version does not know.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Another record with the same unknown members.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Stored<U> {
        Stored {
            value: map(self.value),
            unknown: self.unknown,
        }
    }
}

impl<T> From<T> for Stored<T> {
    fn from(value: T) -> Self {
        Self {
            value,
            unknown: Vec::new(),
        }
    }
}

/// The state of a runtime without its workers and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersistedRuntimeSnapshot {
    /// The runtime's id.
    pub runtime_id: RuntimeId,
    /// Its name for people.
    pub display_name: Option<String>,
    /// Its lifecycle status.
    pub status: RuntimeStatus,
    /// Limits of a single read.
    pub limits: RuntimeLimits,
    /// The number in the next generated worker id, from 1.
    pub next_worker_sequence: u64,
    /// The id of the next event, from 1; greater than every id in the log.
    pub next_event_id: u64,
    /// The id of the next diagnostic, from 1; greater than every diagnostic's.
    pub next_diagnostic_id: u64,
    /// Its diagnostics, in the order of their ids.
    pub diagnostics: Vec<RuntimeDiagnostic>,
}

impl PersistedRuntimeSnapshot {
    /// The state of a runtime that runs, without a name, a worker, an event and a diagnostic, with the default limits. A
    /// host sets what differs.
    pub fn new(runtime_id: RuntimeId) -> Self {
        Self {
            runtime_id,
            display_name: None,
            status: RuntimeStatus::Running,
            limits: RuntimeLimits::default(),
            next_worker_sequence: 1,
            next_event_id: 1,
            next_diagnostic_id: 1,
            diagnostics: Vec::new(),
        }
    }
}

/// The state of a worker without its transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersistedWorkerSnapshot {
    /// The worker's address.
    pub worker_ref: WorkerRef,
    /// Its lifecycle status.
    pub status: WorkerStatus,
    /// The request that created it.
    pub request: CreateWorkerRequest,
    /// The sequence of the next transcript entry, from 1; greater than every entry's.
    pub next_transcript_sequence: u64,
    /// The id of the last event that changed the worker.
    pub last_event_id: u64,
}

impl PersistedWorkerSnapshot {
    /// The state of a running worker without an entry, which the event `last_event_id` created. A host sets what differs.
    pub fn new(worker_ref: WorkerRef, request: CreateWorkerRequest, last_event_id: u64) -> Self {
        Self {
            worker_ref,
            status: WorkerStatus::Running,
            request,
            next_transcript_sequence: 1,
            last_event_id,
        }
    }
}

/// What retention knows of a worker, apart from its snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkerRetention {
    /// The floor of the transcript: the position of the first entry that it can have.
    pub(crate) first_position: u64,
    /// Whether retention leaves the worker out.
    pub(crate) is_pinned: bool,
}

/// The members of a runtime's row apart from its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeFacts {
    /// The floor of the event log.
    pub(crate) first_event_id: u64,
    /// The newest form of its directory.
    pub(crate) form: LayoutForm,
}

/// The state of a runtime and its workers without their logs. A host loads it when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersistedRuntimeState {
    /// The runtime itself.
    pub runtime: PersistedRuntimeSnapshot,
    /// Its workers, in the order of their ids.
    pub workers: Vec<PersistedWorkerSnapshot>,
}

/// The origin of an imported runtime, and the findings of its import. It is written in the transaction
/// that imports the runtime. A runtime that a salvage import left out has a record with counts of zero.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportRecord {
    /// The directory that was read: the path as the caller gave it.
    pub source: String,
    /// A digest of all bytes that were read; a repeated import of the same bytes has the same digest.
    pub fingerprint: u128,
    /// The time at which the import began, in seconds since 1970-01-01 00:00 UTC.
    pub imported_at_s: u64,
    /// The number of imported workers.
    pub workers: u64,
    /// The number of imported events.
    pub events: u64,
    /// The number of imported transcript entries.
    pub transcript_entries: u64,
    /// The number of bytes that were read.
    pub bytes: u64,
    /// Whether a strict import would have been rejected: data was left out, missing or repaired.
    pub salvaged: bool,
    /// The findings. Each is a JSON object in the form that `runtime-store import --json` prints.
    pub findings: Vec<String>,
}
