//! What a runtime noticed about itself.

use super::identity::WorkerRef;
use serde::{Deserialize, Serialize};

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiagnosticSeverity {
    /// Good to know.
    Info,
    /// Worth a look.
    Warning,
    /// Something does not work.
    Error,
}

/// Something that a runtime noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeDiagnostic {
    /// Its number, from 1.
    pub id: u64,
    /// How much it matters.
    pub severity: DiagnosticSeverity,
    /// What it is, for programs.
    pub code: String,
    /// What it is, for people.
    pub message: String,
    /// The worker it is about; none where it is about the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_ref: Option<WorkerRef>,
}
