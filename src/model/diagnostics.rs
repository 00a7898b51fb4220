//! Diagnostics that a runtime records about itself.

use super::identity::WorkerRef;
use super::names::named;
use serde::{Deserialize, Serialize};

/// Severity of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiagnosticSeverity {
    /// Information; no action is needed.
    Info,
    /// A possible problem.
    Warning,
    /// A failure.
    Error,
}

named! {
    DiagnosticSeverity, "severity",
    Info => "info",
    Warning => "warning",
    Error => "error",
}

/// A diagnostic that a runtime recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeDiagnostic {
    /// Its id within the runtime, from 1.
    pub id: u64,
    /// Severity.
    pub severity: DiagnosticSeverity,
    /// A stable code for programs.
    pub code: String,
    /// The message for people.
    pub message: String,
    /// The worker that it concerns; `None` if it concerns the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_ref: Option<WorkerRef>,
}
