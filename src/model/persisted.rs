//! What a store holds, as others see it: the form in which state goes in and comes out whole.

use crate::model::catalog::{CreateWorkerRequest, WorkerStatus};
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::management::{RuntimeLimits, RuntimeStatus};

/// A JSON member that came from outside and that this version does not know. It is kept as it
/// came, and goes out again after the members that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMember {
    /// The object that has it: a JSON Pointer (RFC 6901) from the record, document or line it came
    /// with. Empty for the outermost object.
    pub pointer: String,
    /// The member's name.
    pub name: String,
    /// The member's value as JSON text, exactly as it came.
    pub json: String,
}

/// A record, and the members that came with it and that this version does not know, in the order
/// in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// What is known.
    pub value: T,
    /// What is only kept.
    pub unknown: Vec<UnknownMember>,
}

impl<T> From<T> for Stored<T> {
    fn from(value: T) -> Self {
        Self {
            value,
            unknown: Vec::new(),
        }
    }
}

/// A runtime's own state: everything but its workers and its logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistedRuntimeSnapshot {
    /// The runtime's id.
    pub runtime_id: RuntimeId,
    /// Its name for people.
    pub display_name: Option<String>,
    /// Where it is in its life.
    pub status: RuntimeStatus,
    /// How much one read may return.
    pub limits: RuntimeLimits,
    /// The number of the next worker to generate an id for, from 1.
    pub next_worker_sequence: u64,
    /// The id of the next event, from 1; greater than every id in the log.
    pub next_event_id: u64,
    /// The id of the next diagnostic, from 1; greater than every diagnostic's.
    pub next_diagnostic_id: u64,
    /// What the runtime noticed, in the order of their ids.
    pub diagnostics: Vec<RuntimeDiagnostic>,
}

/// A worker's own state: everything but its transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistedWorkerSnapshot {
    /// The worker's address.
    pub worker_ref: WorkerRef,
    /// Where it is in its life.
    pub status: WorkerStatus,
    /// What it was created with.
    pub request: CreateWorkerRequest,
    /// The sequence of the next transcript entry, from 1; greater than every entry's.
    pub next_transcript_sequence: u64,
    /// The id of the last event that changed the worker.
    pub last_event_id: u64,
}

/// A runtime's state without its logs: what a host loads when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistedRuntimeState {
    /// The runtime itself.
    pub runtime: PersistedRuntimeSnapshot,
    /// Its workers, in the order of their ids.
    pub workers: Vec<PersistedWorkerSnapshot>,
}

/// Where an imported runtime came from, or what was left out. Written in the transaction that imported
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRecord {
    /// The directory that was read, as it was given.
    pub source: String,
    /// A digest of everything that was read, to recognise the same source again.
    pub fingerprint: u128,
    /// When the import began: seconds since 1970-01-01 00:00 UTC.
    pub imported_at_s: u64,
    /// Workers that were imported.
    pub workers: u64,
    /// Events that were imported.
    pub events: u64,
    /// Transcript entries that were imported.
    pub transcript_entries: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Whether something was left out.
    pub salvaged: bool,
    /// What was noticed, a JSON object each, in the form that the importer prints.
    pub findings: Vec<String>,
}
