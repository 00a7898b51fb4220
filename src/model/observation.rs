//! The event log of a runtime, and cursors into it.

// Hosts of the directory store know the transcript's types by this path.
pub use super::interaction::{
    RecordedEntry, RecordedTranscript, TranscriptEntry, TranscriptProjection, TranscriptQuery,
    TranscriptRole,
};

use super::identity::{RuntimeId, WorkerRef};
use super::names::named;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::SystemTime;

/// A position in a runtime's event log. Store it as JSON to continue after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCursor {
    /// The runtime that owns the log.
    pub runtime_id: RuntimeId,
    /// The first id that the next read may return.
    pub next_event_id: u64,
}

/// How a subscriber receives new events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventSubscriptionMode {
    /// The subscriber polls: it reads again from its cursor.
    PollOnly,
}

/// A subscription to a runtime's events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSubscription {
    /// The runtime that owns the events.
    pub runtime_id: RuntimeId,
    /// The cursor of the next read.
    pub cursor: EventCursor,
    /// How new events are received.
    pub mode: EventSubscriptionMode,
}

/// The kind of an event. Its JSON is an object: `{"kind":"worker_created"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
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
    /// A worker was deleted. The events that it logged stay.
    WorkerDeleted,
    /// The execution of a worker was restored. Later releases of the directory store log it; this crate does not.
    WorkerExecutionRestored,
}

named! {
    RuntimeEventKind, "kind of event",
    RuntimeStarted => "runtime_started",
    RuntimeStopped => "runtime_stopped",
    WorkerCreated => "worker_created",
    WorkerInputAccepted => "worker_input_accepted",
    WorkerStopped => "worker_stopped",
    WorkerCancelled => "worker_cancelled",
    WorkerDeleted => "worker_deleted",
    WorkerExecutionRestored => "worker_execution_restored",
}

/// One event of a runtime's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeEvent {
    /// Its id, from 1, strictly increasing within the runtime. An imported log can have gaps.
    pub id: u64,
    /// The worker that it concerns; `None` if it concerns the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_ref: Option<WorkerRef>,
    /// The kind of event.
    pub kind: RuntimeEventKind,
    /// The message for people.
    pub message: String,
}

impl RuntimeEvent {
    /// The message of an event of `kind` that was logged without a message.
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
            RuntimeEventKind::WorkerDeleted => "worker deleted".into(),
            RuntimeEventKind::WorkerExecutionRestored => "worker execution restored".into(),
        }
    }
}

/// A page of a runtime's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeEventBatch {
    /// The runtime that owns the log.
    pub runtime_id: RuntimeId,
    /// The cursor of the next read; an empty batch does not change it.
    pub cursor: EventCursor,
    /// The events.
    pub events: Vec<RuntimeEvent>,
    /// Whether an event at or past `cursor` exists.
    pub has_more: bool,
}

/// An event with the time at which it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The event.
    pub event: RuntimeEvent,
    /// The time at which the store accepted the operation that logged it, in whole milliseconds. All rows of one
    /// operation or transaction have the same time. It never decreases within a runtime: if the clock of the machine was
    /// set back, it is the time of the row before. `None` for an event that a release without times wrote, and
    /// for an imported line without a time.
    pub recorded_at: Option<SystemTime>,
}

/// A page of a runtime's log, with times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEventBatch {
    /// The runtime that owns the log.
    pub runtime_id: RuntimeId,
    /// The cursor of the next read; an empty batch does not change it.
    pub cursor: EventCursor,
    /// The events.
    pub events: Vec<RecordedEvent>,
    /// Whether an event at or past `cursor` exists.
    pub has_more: bool,
}
