//! Runtimes: options, limits and summaries.

use super::identity::{RuntimeId, WorkerId};
use super::names::named;
use serde::{Deserialize, Serialize};

/// The storage of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RuntimeBackendKind {
    /// Memory; lost when the process ends.
    Memory,
    /// A directory of JSON.
    FsStore,
    /// A redb file.
    RedbStore,
    /// A PostgreSQL database.
    PostgresStore,
}

named! {
    RuntimeBackendKind, "storage of a runtime",
    Memory => "memory",
    FsStore => "fs_store",
    RedbStore => "redb_store",
    PostgresStore => "postgres_store",
}

/// The lifecycle status of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeStatus {
    /// Accepts changes.
    Running,
    /// Rejects every change; reads work. Terminal.
    Stopped,
}

named! {
    RuntimeStatus, "status of a runtime",
    Running => "running",
    Stopped => "stopped",
}

/// Limits of a single read. The default is 256 items each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeLimits {
    /// The most entries in one transcript page.
    pub max_transcript_projection_items: usize,
    /// The most events in one batch.
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

/// Options for opening or creating a runtime. The name and the limits apply only to a new runtime; an
/// existing runtime keeps its stored name, limits and status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeOptions {
    /// The runtime's id. `None` stands for the store's only runtime, or for a new unique id in an empty
    /// store.
    pub runtime_id: Option<RuntimeId>,
    /// A name for people.
    pub display_name: Option<String>,
    /// Limits of a single read.
    pub limits: RuntimeLimits,
}

/// The result of the deletion of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDeleteResult {
    /// The runtime of the worker.
    pub runtime_id: RuntimeId,
    /// The id of the worker, which no later worker of the runtime gets.
    pub worker_id: WorkerId,
    /// Whether the worker is deleted: always `true`. A failure is an error.
    pub deleted: bool,
}

/// A summary of a runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeSummary {
    /// The runtime's id.
    pub runtime_id: RuntimeId,
    /// Its name for people.
    pub display_name: Option<String>,
    /// Its storage.
    pub backend: RuntimeBackendKind,
    /// Its lifecycle status.
    pub status: RuntimeStatus,
    /// The number of its workers.
    pub worker_count: usize,
    /// The number of running workers.
    pub active_worker_count: usize,
    /// The number of stopped workers.
    pub stopped_worker_count: usize,
    /// The number of cancelled workers.
    pub cancelled_worker_count: usize,
    /// The number of its diagnostics.
    pub diagnostic_count: usize,
    /// Limits of a single read.
    pub limits: RuntimeLimits,
}
