//! Talking to a worker: input, transcripts, and pages of them.

use super::catalog::WorkerStatus;
use super::identity::WorkerRef;
use serde::{Deserialize, Serialize};

/// Who speaks to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerInputKind {
    /// A person.
    User,
    /// The host.
    System,
}

/// Input for a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInput {
    /// Who speaks.
    pub kind: WorkerInputKind,
    /// What is said. A runtime refuses blank content.
    pub content: String,
}

impl WorkerInput {
    /// Input from a person.
    pub fn user(content: impl Into<String>) -> Self {
        Self {
            kind: WorkerInputKind::User,
            content: content.into(),
        }
    }

    /// Input from the host.
    pub fn system(content: impl Into<String>) -> Self {
        Self {
            kind: WorkerInputKind::System,
            content: content.into(),
        }
    }
}

/// Accepted input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInteractionAck {
    /// The worker that accepted it.
    pub worker_ref: WorkerRef,
    /// The worker's status.
    pub status: WorkerStatus,
    /// The transcript entry's sequence.
    pub transcript_sequence: u64,
    /// The event that was logged.
    pub event_id: u64,
}

/// Who said a transcript entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TranscriptRole {
    /// A person.
    User,
    /// The worker itself. Readers of the directory layout know only the other two.
    Assistant,
    /// The host.
    System,
}

impl From<WorkerInputKind> for TranscriptRole {
    fn from(kind: WorkerInputKind) -> Self {
        match kind {
            WorkerInputKind::User => Self::User,
            WorkerInputKind::System => Self::System,
        }
    }
}

/// One entry of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscriptEntry {
    /// Its number, from 1, strictly increasing; an imported transcript can have gaps.
    pub sequence: u64,
    /// The worker it belongs to.
    pub worker_ref: WorkerRef,
    /// Who said it.
    pub role: TranscriptRole,
    /// What was said.
    pub content: String,
    /// The event that was logged with it.
    pub event_id: u64,
}

/// Which part of a transcript to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscriptQuery {
    /// The position of the first entry, from 0. A position, not a sequence.
    pub start: usize,
    /// How many entries at most.
    pub limit: usize,
}

impl TranscriptQuery {
    /// Up to `limit` entries from position `start` on.
    pub fn new(start: usize, limit: usize) -> Self {
        Self { start, limit }
    }
}

/// A page of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscriptProjection {
    /// The worker it belongs to.
    pub worker_ref: WorkerRef,
    /// The position of the first item.
    pub start: usize,
    /// The limit that was asked for.
    pub limit: usize,
    /// Entries in the whole transcript.
    pub total_items: usize,
    /// The entries.
    pub items: Vec<TranscriptEntry>,
    /// The position to go on from; `None` at the end.
    pub next_start: Option<usize>,
}
