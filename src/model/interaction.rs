//! Input for workers, transcripts, and pages of transcripts.

use super::attributes::Attributes;
use super::catalog::WorkerStatus;
use super::identity::WorkerRef;
use super::names::named;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// The sender of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerInputKind {
    /// A person.
    User,
    /// The host.
    System,
}

named! {
    WorkerInputKind, "kind of input",
    User => "user",
    System => "system",
}

/// Input for a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInput {
    /// The sender.
    pub kind: WorkerInputKind,
    /// The text, at most 512 MiB. A runtime rejects blank text.
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

/// The result of an accepted input or reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInteractionAck {
    /// The worker that accepted or gave it.
    pub worker_ref: WorkerRef,
    /// The worker's status.
    pub status: WorkerStatus,
    /// The sequence of the new transcript entry.
    pub transcript_sequence: u64,
    /// The id of the logged event; of a reply, that of the runtime's last event.
    pub event_id: u64,
}

/// The author of a transcript entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TranscriptRole {
    /// A person.
    User,
    /// The worker itself. Readers of the original directory layout know only the other two roles.
    Assistant,
    /// The host.
    System,
}

named! {
    TranscriptRole, "role",
    User => "user",
    Assistant => "assistant",
    System => "system",
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
    /// Its sequence, from 1, strictly increasing within the transcript. An imported transcript can have
    /// gaps.
    pub sequence: u64,
    /// The worker it belongs to.
    pub worker_ref: WorkerRef,
    /// The author.
    pub role: TranscriptRole,
    /// The text.
    pub content: String,
    /// The id of the event that was logged with it; of a reply, that of the runtime's last event before it.
    pub event_id: u64,
}

/// The part of a transcript to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscriptQuery {
    /// The position of the first entry, from 0. Positions have no gaps; sequences can have.
    pub start: usize,
    /// The most entries to return; larger than the runtime's limit is an error.
    pub limit: usize,
}

impl TranscriptQuery {
    /// A query for up to `limit` entries from position `start` on.
    pub fn new(start: usize, limit: usize) -> Self {
        Self { start, limit }
    }
}

/// A page of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscriptProjection {
    /// The worker it belongs to.
    pub worker_ref: WorkerRef,
    /// The position of the first item, from 0.
    pub start: usize,
    /// The limit of the query.
    pub limit: usize,
    /// The number of entries in the whole transcript.
    pub total_items: usize,
    /// The entries of this page.
    pub items: Vec<TranscriptEntry>,
    /// The position of the next page; `None` at the end.
    pub next_start: Option<usize>,
}

/// A transcript entry with the time at which it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEntry {
    /// The entry.
    pub entry: TranscriptEntry,
    /// As [`RecordedEvent::recorded_at`](crate::observation::RecordedEvent::recorded_at).
    pub recorded_at: Option<SystemTime>,
    /// The attributes of the entry.
    pub attributes: Attributes,
}

/// A page of a transcript, with times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedTranscript {
    /// The worker it belongs to.
    pub worker_ref: WorkerRef,
    /// The position of the first item, from 0.
    pub start: usize,
    /// The limit of the query.
    pub limit: usize,
    /// The number of entries in the whole transcript.
    pub total_items: usize,
    /// The entries of this page.
    pub items: Vec<RecordedEntry>,
    /// The position of the next page; `None` at the end.
    pub next_start: Option<usize>,
}
