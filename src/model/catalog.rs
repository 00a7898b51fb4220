//! What a worker is: the request that created it, and how it is listed.

use super::identity::{RuntimeId, WorkerId, WorkerRef};
use serde::{Deserialize, Serialize};

/// What a worker is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkerIntent {
    /// Helps whoever writes to it.
    Assistant {
        /// What it helps with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<String>,
    },
    /// Works towards one goal.
    Task {
        /// The goal. A runtime refuses a blank one.
        objective: String,
    },
    /// Fills a role.
    Role {
        /// The role's name.
        role: String,
        /// What the role is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<String>,
    },
}

impl Default for WorkerIntent {
    fn default() -> Self {
        Self::Assistant { purpose: None }
    }
}

/// Which profile a worker runs with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum ProfileSelector {
    /// The runtime's own.
    #[default]
    RuntimeDefault,
    /// One that ships with the host.
    Builtin(String),
    /// One that the operator named.
    Named(String),
}

/// The configuration bundle that a worker was created with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigBundleRef {
    /// The bundle's id.
    pub id: String,
}

/// A capability that a worker asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityRequest {
    /// The capability's name. A runtime refuses a blank one.
    pub name: String,
    /// Why the worker needs it.
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
    /// The name the worker knows it by.
    pub name: String,
    /// Where it is, in the host's own terms.
    pub reference: String,
}

/// A mount that a worker may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRef {
    /// The name the worker knows it by.
    pub name: String,
    /// Where it is, in the host's own terms.
    pub reference: String,
}

/// What to create a worker with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateWorkerRequest {
    /// What the worker is for.
    pub intent: WorkerIntent,
    /// The profile it runs with.
    pub profile: ProfileSelector,
    /// Its configuration; without one the runtime's local defaults apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_bundle: Option<ConfigBundleRef>,
    /// The tools it asks for.
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
    /// A worker with an intent and a profile, and nothing else.
    pub fn tools_less(intent: WorkerIntent, profile: ProfileSelector) -> Self {
        Self {
            intent,
            profile,
            ..Self::default()
        }
    }
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerStatus {
    /// Accepts input.
    Running,
    /// Ended in order. Terminal.
    Stopped,
    /// Ended before it was done. Terminal.
    Cancelled,
}

impl WorkerStatus {
    /// Whether the worker accepts input.
    pub fn is_active(self) -> bool {
        self == Self::Running
    }
}

/// A worker as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSummary {
    /// The worker's address.
    pub worker_ref: WorkerRef,
    /// The runtime that owns it.
    pub runtime_id: RuntimeId,
    /// Its id within the runtime.
    pub worker_id: WorkerId,
    /// Where it is in its life.
    pub status: WorkerStatus,
    /// What it is for.
    pub intent: WorkerIntent,
    /// The profile it runs with.
    pub profile: ProfileSelector,
    /// How many capabilities it asked for.
    pub requested_capability_count: usize,
    /// Whether it was created with a configuration bundle.
    pub has_config_bundle: bool,
    /// Entries in its transcript.
    pub transcript_len: usize,
    /// The id of the last event that changed it.
    pub last_event_id: u64,
}

/// A worker with everything it was created with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDetail {
    /// The worker's address.
    pub worker_ref: WorkerRef,
    /// The runtime that owns it.
    pub runtime_id: RuntimeId,
    /// Its id within the runtime.
    pub worker_id: WorkerId,
    /// Where it is in its life.
    pub status: WorkerStatus,
    /// What it is for.
    pub intent: WorkerIntent,
    /// The profile it runs with.
    pub profile: ProfileSelector,
    /// Its configuration, if it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_bundle: Option<ConfigBundleRef>,
    /// The tools it asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requested_capabilities: Vec<CapabilityRequest>,
    /// The workspaces it may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspace_refs: Vec<WorkspaceRef>,
    /// The mounts it may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_refs: Vec<MountRef>,
    /// Entries in its transcript.
    pub transcript_len: usize,
    /// The id of the last event that changed it.
    pub last_event_id: u64,
}

/// What a stop or a cancel left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLifecycleAck {
    /// The worker's address.
    pub worker_ref: WorkerRef,
    /// Its status now: the first terminal status it reached.
    pub status: WorkerStatus,
    /// The event that brought it there.
    pub event_id: u64,
}
