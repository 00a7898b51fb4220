//! Events and transcript entries with borrowed texts, for reading logs without allocations.

use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::{TranscriptEntry, TranscriptRole};
use crate::model::layout_form::LineForm;
use crate::model::observation::{RuntimeEvent, RuntimeEventKind};
use crate::model::persisted::{Stored, UnknownMember};
use serde::Serialize;
use std::borrow::Cow;
use std::time::SystemTime;

/// The address of a worker, with borrowed ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BorrowedRef<'a> {
    /// As [`WorkerRef::runtime_id`].
    pub runtime_id: Cow<'a, str>,
    /// As [`WorkerRef::worker_id`].
    pub worker_id: Cow<'a, str>,
}

impl BorrowedRef<'_> {
    /// The address with owned ids; `None` if an id is blank.
    pub fn to_ref(&self) -> Option<WorkerRef> {
        let runtime_id = RuntimeId::new(&*self.runtime_id)?;
        let worker_id = WorkerId::new(&*self.worker_id)?;
        Some(WorkerRef::new(runtime_id, worker_id))
    }
}

impl PartialEq<WorkerRef> for BorrowedRef<'_> {
    fn eq(&self, other: &WorkerRef) -> bool {
        self.worker_id == other.worker_id.as_str() && self.runtime_id == other.runtime_id.as_str()
    }
}

impl From<WorkerRef> for BorrowedRef<'_> {
    fn from(worker: WorkerRef) -> Self {
        Self {
            runtime_id: Cow::Owned(worker.runtime_id.into()),
            worker_id: Cow::Owned(worker.worker_id.into()),
        }
    }
}

/// A [`RuntimeEvent`] with its unknown members. Its texts are borrowed if possible. Its JSON does not
/// contain the unknown members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BorrowedEvent<'a> {
    /// As [`RuntimeEvent::id`].
    pub id: u64,
    /// As [`RuntimeEvent::worker_ref`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_ref: Option<BorrowedRef<'a>>,
    /// As [`RuntimeEvent::kind`].
    pub kind: RuntimeEventKind,
    /// As [`RuntimeEvent::message`].
    pub message: Cow<'a, str>,
    /// As [`Stored::unknown`].
    #[serde(skip)]
    pub unknown: Vec<UnknownMember>,
    /// As [`RecordedEvent::recorded_at`](crate::observation::RecordedEvent::recorded_at). Not part of the JSON.
    #[serde(skip)]
    pub recorded_at: Option<SystemTime>,
    /// How the line was written that it was imported from. Not part of the JSON.
    #[serde(skip)]
    pub form: LineForm<'a>,
}

impl From<Stored<RuntimeEvent>> for BorrowedEvent<'_> {
    fn from(event: Stored<RuntimeEvent>) -> Self {
        let Stored { value, unknown } = event;
        Self {
            id: value.id,
            worker_ref: value.worker_ref.map(BorrowedRef::from),
            kind: value.kind,
            message: Cow::Owned(value.message),
            unknown,
            recorded_at: None,
            form: LineForm::default(),
        }
    }
}

/// A [`TranscriptEntry`] with its unknown members. Its texts are borrowed if possible. Its JSON does not
/// contain the unknown members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BorrowedEntry<'a> {
    /// As [`TranscriptEntry::sequence`].
    pub sequence: u64,
    /// As [`TranscriptEntry::worker_ref`].
    pub worker_ref: BorrowedRef<'a>,
    /// As [`TranscriptEntry::role`].
    pub role: TranscriptRole,
    /// As [`TranscriptEntry::content`].
    pub content: Cow<'a, str>,
    /// As [`TranscriptEntry::event_id`].
    pub event_id: u64,
    /// As [`Stored::unknown`].
    #[serde(skip)]
    pub unknown: Vec<UnknownMember>,
    /// As [`RecordedEvent::recorded_at`](crate::observation::RecordedEvent::recorded_at). Not part of the JSON.
    #[serde(skip)]
    pub recorded_at: Option<SystemTime>,
    /// How the line was written that it was imported from. Not part of the JSON.
    #[serde(skip)]
    pub form: LineForm<'a>,
}

impl From<Stored<TranscriptEntry>> for BorrowedEntry<'_> {
    fn from(entry: Stored<TranscriptEntry>) -> Self {
        let Stored { value, unknown } = entry;
        Self {
            sequence: value.sequence,
            worker_ref: value.worker_ref.into(),
            role: value.role,
            content: Cow::Owned(value.content),
            event_id: value.event_id,
            unknown,
            recorded_at: None,
            form: LineForm::default(),
        }
    }
}
