//! Workers: the request that creates one, its summary and its details.

use super::identity::{RuntimeId, WorkerId, WorkerRef};
use super::names::named;
use serde::{Deserialize, Serialize};

/// The purpose of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkerIntent {
    /// An assistant that answers users.
    Assistant {
        /// The subject of its help.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<String>,
    },
    /// A worker with one goal.
    Task {
        /// The goal. A runtime rejects a blank one.
        objective: String,
    },
    /// A worker with a named role.
    Role {
        /// The role's name.
        role: String,
        /// The purpose of the role.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<String>,
    },
}

impl Default for WorkerIntent {
    fn default() -> Self {
        Self::Assistant { purpose: None }
    }
}

/// The profile that a worker runs with. The store records it; the host interprets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum ProfileSelector {
    /// The runtime's default profile.
    #[default]
    RuntimeDefault,
    /// A profile that ships with the host, by name.
    Builtin(String),
    /// A profile that the operator defined, by name.
    Named(String),
}

/// The configuration bundle that a worker was created with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigBundleRef {
    /// The bundle's id.
    pub id: String,
}

/// A capability that a worker requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityRequest {
    /// The capability's name. A runtime rejects a blank one.
    pub name: String,
    /// The reason why the worker needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl CapabilityRequest {
    /// A request for the capability `name`, without a reason.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            reason: None,
        }
    }
}

/// A workspace that a worker may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceRef {
    /// The name that the worker uses for it.
    pub name: String,
    /// Its location, in a form that the host defines.
    pub reference: String,
}

/// A mount that a worker may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRef {
    /// The name that the worker uses for it.
    pub name: String,
    /// Its location, in a form that the host defines.
    pub reference: String,
}

/// A request to create a worker. The default is an assistant without a purpose, with the runtime's
/// default profile, and without tools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateWorkerRequest {
    /// The purpose of the worker.
    #[serde(default)]
    pub intent: WorkerIntent,
    /// The profile it runs with.
    #[serde(default)]
    pub profile: ProfileSelector,
    /// Its configuration bundle; if `None`, the runtime's local defaults apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_bundle: Option<ConfigBundleRef>,
    /// The capabilities that it requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requested_capabilities: Vec<CapabilityRequest>,
    /// The workspaces it may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspace_refs: Vec<WorkspaceRef>,
    /// The mounts it may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_refs: Vec<MountRef>,
}

impl CreateWorkerRequest {
    /// A request with an intent and a profile, and without capabilities, workspaces and mounts.
    pub fn tools_less(intent: WorkerIntent, profile: ProfileSelector) -> Self {
        Self {
            intent,
            profile,
            ..Self::default()
        }
    }
}

/// The lifecycle status of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerStatus {
    /// Accepts input.
    Running,
    /// Stopped after its work. Terminal: the worker accepts no input.
    Stopped,
    /// Cancelled before it finished. Terminal: the worker accepts no input.
    Cancelled,
}

named! {
    WorkerStatus, "status of a worker",
    Running => "running",
    Stopped => "stopped",
    Cancelled => "cancelled",
}

impl WorkerStatus {
    /// Whether the worker accepts input.
    pub fn is_active(self) -> bool {
        self == Self::Running
    }
}

/// A worker in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSummary {
    /// The worker's address.
    pub worker_ref: WorkerRef,
    /// The runtime that owns it.
    pub runtime_id: RuntimeId,
    /// Its id within the runtime.
    pub worker_id: WorkerId,
    /// Its lifecycle status.
    pub status: WorkerStatus,
    /// Its purpose.
    pub intent: WorkerIntent,
    /// The profile it runs with.
    pub profile: ProfileSelector,
    /// The number of capabilities that it requested.
    pub requested_capability_count: usize,
    /// Whether it was created with a configuration bundle.
    pub has_config_bundle: bool,
    /// The number of entries in its transcript.
    pub transcript_len: usize,
    /// The id of the last event that changed it.
    pub last_event_id: u64,
}

/// A worker with all values of the request that created it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDetail {
    /// The worker's address.
    pub worker_ref: WorkerRef,
    /// The runtime that owns it.
    pub runtime_id: RuntimeId,
    /// Its id within the runtime.
    pub worker_id: WorkerId,
    /// Its lifecycle status.
    pub status: WorkerStatus,
    /// Its purpose.
    pub intent: WorkerIntent,
    /// The profile it runs with.
    pub profile: ProfileSelector,
    /// Its configuration bundle, if it was created with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_bundle: Option<ConfigBundleRef>,
    /// The capabilities that it requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requested_capabilities: Vec<CapabilityRequest>,
    /// The workspaces it may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspace_refs: Vec<WorkspaceRef>,
    /// The mounts it may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_refs: Vec<MountRef>,
    /// The number of entries in its transcript.
    pub transcript_len: usize,
    /// The id of the last event that changed it.
    pub last_event_id: u64,
}

/// The result of stopping or cancelling a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLifecycleAck {
    /// The worker's address.
    pub worker_ref: WorkerRef,
    /// The first terminal status that the worker reached; a later stop or cancel does not change it.
    pub status: WorkerStatus,
    /// The id of the event that set this status.
    pub event_id: u64,
}
