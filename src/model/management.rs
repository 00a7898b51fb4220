//! A runtime as a whole: how it is set up, and how it is summed up.

use super::identity::RuntimeId;
use serde::{Deserialize, Serialize};

/// Where a runtime keeps its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeBackendKind {
    /// In memory; gone with the process.
    Memory,
    /// In the directory layout.
    FsStore,
    /// In a redb file.
    RedbStore,
}

/// Where a runtime is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeStatus {
    /// Takes changes.
    Running,
    /// Refuses every change; everything stays readable. Terminal.
    Stopped,
}

/// How much one read may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeLimits {
    /// Entries in one transcript page.
    pub max_transcript_projection_items: usize,
    /// Events in one batch.
    pub max_event_batch_items: usize,
}

impl Default for RuntimeLimits {
    fn default() -> Self {
        Self {
            max_transcript_projection_items: 256,
            max_event_batch_items: 256,
        }
    }
}

/// What to create a runtime with. A runtime that exists keeps its own name, limits and status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeOptions {
    /// The runtime's id; without one a fresh unique id, or the store's only runtime.
    #[serde(default)]
    pub runtime_id: Option<RuntimeId>,
    /// A name for people.
    #[serde(default)]
    pub display_name: Option<String>,
    /// How much one read may return.
    #[serde(default)]
    pub limits: RuntimeLimits,
}

/// A runtime as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeSummary {
    /// The runtime's id.
    pub runtime_id: RuntimeId,
    /// Its name for people.
    pub display_name: Option<String>,
    /// Where it keeps its state.
    pub backend: RuntimeBackendKind,
    /// Where it is in its life.
    pub status: RuntimeStatus,
    /// All its workers.
    pub worker_count: usize,
    /// Workers that run.
    pub active_worker_count: usize,
    /// Workers that were stopped.
    pub stopped_worker_count: usize,
    /// Workers that were cancelled.
    pub cancelled_worker_count: usize,
    /// Its diagnostics.
    pub diagnostic_count: usize,
    /// How much one read may return.
    pub limits: RuntimeLimits,
}
