//! Watching a runtime: its event log, and cursors into it.

use super::identity::{RuntimeId, WorkerRef};
use serde::{Deserialize, Serialize};

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
    ///
    /// Part of stored format version 1, which leaves such a message out: these texts never change.
    pub(crate) fn standard_message(
        kind: RuntimeEventKind,
        runtime_id: &RuntimeId,
        worker_ref: Option<&WorkerRef>,
    ) -> String {
        let worker_id = worker_ref.map_or("", |worker| worker.worker_id.as_str());
        match kind {
            RuntimeEventKind::RuntimeStarted => "runtime started".to_owned(),
            RuntimeEventKind::RuntimeStopped => format!("runtime {runtime_id} stopped"),
            RuntimeEventKind::WorkerCreated => format!("worker {worker_id} created"),
            RuntimeEventKind::WorkerInputAccepted => "worker input accepted".to_owned(),
            RuntimeEventKind::WorkerStopped => "worker stopped".to_owned(),
            RuntimeEventKind::WorkerCancelled => "worker cancelled".to_owned(),
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
