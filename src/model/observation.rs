//! Watching a runtime: its event log, and cursors into it.

// Hosts of the directory store know the transcript's types by this path.
pub use super::interaction::{
    TranscriptEntry, TranscriptProjection, TranscriptQuery, TranscriptRole,
};

use super::identity::{RuntimeId, WorkerRef};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A place in a runtime's event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCursor {
    /// The runtime whose log it is.
    pub runtime_id: RuntimeId,
    /// The first id that the next read may return.
    pub next_event_id: u64,
}

/// How a subscriber learns of new events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventSubscriptionMode {
    /// By reading again from its cursor.
    PollOnly,
}

/// A subscription to a runtime's events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSubscription {
    /// The runtime that is watched.
    pub runtime_id: RuntimeId,
    /// Where to read on.
    pub cursor: EventCursor,
    /// How new events are learnt of.
    pub mode: EventSubscriptionMode,
}

/// What happened. In JSON an object: `{"kind":"worker_created"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RuntimeEventKind {
    /// The runtime was created.
    RuntimeStarted,
    /// The runtime was stopped.
    RuntimeStopped,
    /// A worker was created.
    WorkerCreated,
    /// A worker accepted input.
    WorkerInputAccepted,
    /// A worker was stopped.
    WorkerStopped,
    /// A worker was cancelled.
    WorkerCancelled,
}

/// One event of a runtime's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeEvent {
    /// Its number, from 1, strictly increasing; an imported log can have gaps.
    pub id: u64,
    /// The worker it is about; none where it is about the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_ref: Option<WorkerRef>,
    /// What happened.
    pub kind: RuntimeEventKind,
    /// What happened, for people.
    pub message: String,
}

impl RuntimeEvent {
    /// The message of an event of `kind` that came without words of its own.
    pub(crate) fn standard_message(
        kind: RuntimeEventKind,
        runtime_id: &RuntimeId,
        worker_ref: Option<&WorkerRef>,
    ) -> String {
        let worker_id = worker_ref.map(|worker| worker.worker_id.as_str());
        Self::standard_text(kind, runtime_id.as_str(), worker_id).into_owned()
    }

    /// As [`standard_message`](Self::standard_message).
    ///
    /// Part of stored format version 1, which leaves such a message out: these texts never change.
    pub(crate) fn standard_text(
        kind: RuntimeEventKind,
        runtime_id: &str,
        worker_id: Option<&str>,
    ) -> Cow<'static, str> {
        let worker_id = worker_id.unwrap_or_default();
        match kind {
            RuntimeEventKind::RuntimeStarted => "runtime started".into(),
            RuntimeEventKind::RuntimeStopped => format!("runtime {runtime_id} stopped").into(),
            RuntimeEventKind::WorkerCreated => format!("worker {worker_id} created").into(),
            RuntimeEventKind::WorkerInputAccepted => "worker input accepted".into(),
            RuntimeEventKind::WorkerStopped => "worker stopped".into(),
            RuntimeEventKind::WorkerCancelled => "worker cancelled".into(),
        }
    }
}

/// A page of a runtime's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeEventBatch {
    /// The runtime whose log it is.
    pub runtime_id: RuntimeId,
    /// Where to read on; unchanged by an empty batch.
    pub cursor: EventCursor,
    /// The events.
    pub events: Vec<RuntimeEvent>,
    /// Whether an event at or past `cursor` exists.
    pub has_more: bool,
}
