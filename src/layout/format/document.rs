//! The two documents of the layout. Their members are declared in the order in which they are written.

use crate::layout::format::json::{Record, Tagged};
use crate::ledger::rows::FIRST_EVENT_ID;
use crate::model::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, MountRef, ProfileSelector,
    WorkerIntent, WorkerStatus, WorkspaceRef,
};
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::management::{RuntimeLimits, RuntimeStatus};
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored, WorkerRetention,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The version of the layout.
pub(crate) const SCHEMA_VERSION: u64 = 1;

/// The backend in every `runtime.json`, also of an export: the directory store rejects any other.
pub(crate) const BACKEND: &str = "fs_store";

/// The greatest floor that is read. No log has so many rows, and the numbers after it must not run out.
const MAX_FLOOR: u64 = u64::MAX >> 1;

/// `runtime.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct RuntimeDocument {
    pub(crate) schema_version: u64,
    pub(crate) runtime_id: RuntimeId,
    pub(crate) display_name: Option<String>,
    pub(crate) backend: String,
    pub(crate) status: RuntimeStatus,
    #[serde(deserialize_with = "WholeLimits::deserialize")]
    pub(crate) limits: RuntimeLimits,
    pub(crate) next_worker_sequence: u64,
    pub(crate) next_event_id: u64,
    pub(crate) next_diagnostic_id: u64,
    pub(crate) diagnostics: Vec<RuntimeDiagnostic>,
    /// The floor of the event log; `None` for 1.
    #[serde(
        default,
        deserialize_with = "event_floor",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) first_event_id: Option<u64>,
    /// The workers without a directory that retention removed; `None` for none. Their ids are not used again.
    #[serde(
        default,
        deserialize_with = "list",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) pruned_workers: Option<Vec<PrunedWorker>>,
    /// The deleted workers that no event of the log reports; `None` for none.
    #[serde(
        default,
        deserialize_with = "list",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) deleted_workers: Option<Vec<WorkerId>>,
}

/// A worker that retention removed, and its state by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrunedWorker {
    pub(crate) worker_id: WorkerId,
    /// The position after its last entry.
    pub(crate) transcript_len: u64,
    pub(crate) next_transcript_sequence: u64,
    pub(crate) last_event_id: u64,
}

/// The workers whose ids a directory says are not used again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RemovedWorkers {
    pub(crate) pruned: Vec<PrunedWorker>,
    pub(crate) deleted: Vec<WorkerId>,
}

impl RemovedWorkers {
    pub(crate) fn ids(&self) -> impl Iterator<Item = String> {
        let pruned = self.pruned.iter().map(|worker| &worker.worker_id);
        pruned.chain(&self.deleted).map(WorkerId::to_string)
    }
}

impl RuntimeDocument {
    /// The workers that the document reports as removed.
    pub(crate) fn removed_workers(&self) -> RemovedWorkers {
        RemovedWorkers {
            pruned: self.pruned_workers.clone().unwrap_or_default(),
            deleted: self.deleted_workers.clone().unwrap_or_default(),
        }
    }

    /// The document of a runtime, with the floor of its event log and its removed workers.
    pub(crate) fn of_stored(
        runtime: Stored<PersistedRuntimeSnapshot>,
        floor: u64,
        removed: RemovedWorkers,
    ) -> Stored<Self> {
        let document = Self::from(runtime.value);
        Stored {
            value: document.beginning_at(floor).without_workers(removed),
            unknown: runtime.unknown,
        }
    }

    /// Adds the removed workers.
    fn without_workers(mut self, removed: RemovedWorkers) -> Self {
        self.pruned_workers = Some(removed.pruned).filter(|workers| !workers.is_empty());
        self.deleted_workers = Some(removed.deleted).filter(|workers| !workers.is_empty());
        self
    }

    /// Adds the floor of the event log.
    fn beginning_at(mut self, first_event_id: u64) -> Self {
        self.first_event_id = Some(first_event_id).filter(|first| *first > FIRST_EVENT_ID);
        self
    }
}

impl From<PersistedRuntimeSnapshot> for RuntimeDocument {
    fn from(runtime: PersistedRuntimeSnapshot) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            runtime_id: runtime.runtime_id,
            display_name: runtime.display_name,
            backend: BACKEND.to_owned(),
            status: runtime.status,
            limits: runtime.limits,
            next_worker_sequence: runtime.next_worker_sequence,
            next_event_id: runtime.next_event_id,
            next_diagnostic_id: runtime.next_diagnostic_id,
            diagnostics: runtime.diagnostics,
            first_event_id: None,
            pruned_workers: None,
            deleted_workers: None,
        }
    }
}

impl From<RuntimeDocument> for PersistedRuntimeSnapshot {
    fn from(document: RuntimeDocument) -> Self {
        Self {
            runtime_id: document.runtime_id,
            display_name: document.display_name,
            status: document.status,
            limits: document.limits,
            next_worker_sequence: document.next_worker_sequence,
            next_event_id: document.next_event_id,
            next_diagnostic_id: document.next_diagnostic_id,
            diagnostics: document.diagnostics,
        }
    }
}

impl Record for RuntimeDocument {}

impl Record for WorkerDocument {
    const TAGGED: &'static [Tagged] = &[Tagged {
        path: &["request", "intent"],
        members: |kind| match kind {
            "assistant" => &["kind", "purpose"],
            "task" => &["kind", "objective"],
            _ => &["kind", "role", "purpose"],
        },
    }];
}

/// `worker.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct WorkerDocument {
    pub(crate) schema_version: u64,
    pub(crate) worker_ref: WorkerRef,
    pub(crate) worker_id: WorkerId,
    pub(crate) status: WorkerStatus,
    #[serde(deserialize_with = "WholeRequest::deserialize")]
    pub(crate) request: CreateWorkerRequest,
    pub(crate) next_transcript_sequence: u64,
    pub(crate) last_event_id: u64,
    /// The floor of the transcript; `None` for 0.
    #[serde(
        default,
        deserialize_with = "floor",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) first_position: Option<u64>,
    #[serde(default, deserialize_with = "pinned", skip_serializing_if = "is_false")]
    pub(crate) pinned: bool,
}

/// [`RuntimeLimits`] in a document, which must have both. A host can leave a limit out of its JSON.
#[derive(Deserialize)]
#[serde(remote = "RuntimeLimits")]
struct WholeLimits {
    max_transcript_projection_items: usize,
    max_event_batch_items: usize,
}

/// [`CreateWorkerRequest`] in a document, which must have an intent and a profile. A host can leave them out of its JSON.
#[derive(Deserialize)]
#[serde(remote = "CreateWorkerRequest")]
struct WholeRequest {
    intent: WorkerIntent,
    profile: ProfileSelector,
    #[serde(default)]
    config_bundle: Option<ConfigBundleRef>,
    #[serde(default)]
    requested_capabilities: Vec<CapabilityRequest>,
    #[serde(default)]
    workspace_refs: Vec<WorkspaceRef>,
    #[serde(default)]
    mount_refs: Vec<MountRef>,
}

impl WorkerDocument {
    pub(crate) fn retention(&self) -> WorkerRetention {
        WorkerRetention {
            first_position: self.first_position.unwrap_or(0),
            is_pinned: self.pinned,
        }
    }

    /// The document of a worker, with the floor of its transcript and its pin.
    pub(crate) fn of_stored(
        worker: Stored<PersistedWorkerSnapshot>,
        retention: WorkerRetention,
    ) -> Stored<Self> {
        Stored {
            value: Self::from(worker.value).retained(retention),
            unknown: worker.unknown,
        }
    }

    /// Adds the floor of the transcript, and whether the worker is pinned.
    fn retained(mut self, retention: WorkerRetention) -> Self {
        self.first_position = Some(retention.first_position).filter(|first| *first > 0);
        self.pinned = retention.is_pinned;
        self
    }
}

/// Reads the floor of a log. A value that says nothing, or that is none, stays an unknown member, so that an export
/// writes it as it came.
fn floor<'de, D: Deserializer<'de>>(member: D) -> Result<Option<u64>, D::Error> {
    let json = Box::<RawValue>::deserialize(member)?;
    let floor: Option<u64> = json.get().parse().ok();
    Ok(floor.filter(|floor| (1..=MAX_FLOOR).contains(floor)))
}

/// As [`floor`], for a list: one that is empty says nothing.
fn list<'de, D, T>(member: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let json = Box::<RawValue>::deserialize(member)?;
    let list: Option<Vec<T>> = serde_json::from_str(json.get()).ok();
    Ok(list.filter(|list| !list.is_empty()))
}

/// As [`floor`], for the event log: its floor is 1 where nothing was removed.
fn event_floor<'de, D: Deserializer<'de>>(member: D) -> Result<Option<u64>, D::Error> {
    Ok(floor(member)?.filter(|floor| *floor > FIRST_EVENT_ID))
}

/// As [`floor`], for `pinned`: only `true` says something.
fn pinned<'de, D: Deserializer<'de>>(member: D) -> Result<bool, D::Error> {
    let json = Box::<RawValue>::deserialize(member)?;
    Ok(json.get() == "true")
}

fn is_false(is: &bool) -> bool {
    !is
}

impl From<PersistedWorkerSnapshot> for WorkerDocument {
    fn from(worker: PersistedWorkerSnapshot) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            worker_id: worker.worker_ref.worker_id.clone(),
            worker_ref: worker.worker_ref,
            status: worker.status,
            request: worker.request,
            next_transcript_sequence: worker.next_transcript_sequence,
            last_event_id: worker.last_event_id,
            first_position: None,
            pinned: false,
        }
    }
}

impl From<WorkerDocument> for PersistedWorkerSnapshot {
    fn from(document: WorkerDocument) -> Self {
        Self {
            worker_ref: document.worker_ref,
            status: document.status,
            request: document.request,
            next_transcript_sequence: document.next_transcript_sequence,
            last_event_id: document.last_event_id,
        }
    }
}

/// The members that identify the layout of a document. They are also read from a document that does not parse,
/// so that a document of another layout is reported as unsupported and not as invalid.
#[derive(Deserialize)]
pub(crate) struct Stamp {
    pub(crate) schema_version: u64,
    #[serde(default)]
    pub(crate) backend: Option<String>,
}
