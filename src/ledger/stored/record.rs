//! Stored records: the form in which postcard writes the rows.
//!
//! postcard (wire format: <https://postcard.jamesmunns.com/wire-format>) writes fields in order and
//! variants by index. It knows neither names nor defaults. So the records are types of their own, without
//! serde attributes that change how they are written, and **fields and variants are only ever appended,
//! under a new version**. The tests pin the bytes of each.
//!
//! The records of version 2 are these and [additions](crate::ledger::stored::additions).

use crate::ledger::rows::{
    DiagnosticRow, EventRow, FIRST_EVENT_ID, ImportRow, RuntimeRow, TranscriptRow, WorkerRow,
};
use crate::ledger::stored::additions::{self, Additions};
use crate::ledger::stored::envelope::Record;
use crate::model::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, MountRef, ProfileSelector,
    WorkerIntent, WorkerStatus, WorkspaceRef,
};
use crate::model::diagnostics::DiagnosticSeverity;
use crate::model::interaction::TranscriptRole;
use crate::model::management::RuntimeStatus;
use crate::model::observation::RuntimeEventKind;
use crate::model::persisted::UnknownMember;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A value of the `meta` table: row and record in one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MetaRecord {
    Number(u32),
    Text(String),
}

impl Record for MetaRecord {
    type Stored<'v> = Self;
    type Read<'v> = Self;

    fn stored(&self) -> Self {
        self.clone()
    }

    fn read<'v>(stored: Self::Stored<'v>, _: Additions<'v>) -> Self::Read<'v> {
        stored
    }
}

/// A value of the `runtimes` table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RuntimeRecord<'v> {
    display_name: Option<&'v str>,
    status: RuntimeStatusRecord,
    max_transcript_projection_items: u64,
    max_event_batch_items: u64,
    next_worker_sequence: u64,
    next_event_id: u64,
    next_diagnostic_id: u64,
    running_workers: u64,
    stopped_workers: u64,
    cancelled_workers: u64,
    diagnostics: u64,
    #[serde(borrow)]
    unknown: Vec<UnknownRecord<'v>>,
}

impl Record for RuntimeRow {
    const VERSION: u8 = 2;
    const ADDITIONS: u32 =
        additions::TIME | additions::CHANGE | additions::FLOOR | additions::SPELLING;

    type Stored<'v> = RuntimeRecord<'v>;
    type Read<'v> = Self;

    fn stored(&self) -> RuntimeRecord<'_> {
        RuntimeRecord {
            display_name: self.display_name.as_deref(),
            status: self.status.into(),
            max_transcript_projection_items: self.max_transcript_projection_items,
            max_event_batch_items: self.max_event_batch_items,
            next_worker_sequence: self.next_worker_sequence,
            next_event_id: self.next_event_id,
            next_diagnostic_id: self.next_diagnostic_id,
            running_workers: self.running_workers,
            stopped_workers: self.stopped_workers,
            cancelled_workers: self.cancelled_workers,
            diagnostics: self.diagnostics,
            unknown: unknown_records(&self.unknown),
        }
    }

    fn additions(&self) -> Additions<'_> {
        Additions {
            time_ms: self.latest_time_ms,
            change: self.last_change,
            // The usual floor is not stored.
            floor: match self.first_event_id {
                FIRST_EVENT_ID => 0,
                floor => floor,
            },
            spelling: self.form.number().into(),
            ..Additions::default()
        }
    }

    fn read<'v>(stored: Self::Stored<'v>, additions: Additions<'v>) -> Self::Read<'v> {
        Self {
            display_name: stored.display_name.map(str::to_owned),
            status: stored.status.into(),
            max_transcript_projection_items: stored.max_transcript_projection_items,
            max_event_batch_items: stored.max_event_batch_items,
            next_worker_sequence: stored.next_worker_sequence,
            next_event_id: stored.next_event_id,
            next_diagnostic_id: stored.next_diagnostic_id,
            running_workers: stored.running_workers,
            stopped_workers: stored.stopped_workers,
            cancelled_workers: stored.cancelled_workers,
            diagnostics: stored.diagnostics,
            unknown: unknown_members(&stored.unknown),
            latest_time_ms: additions.time_ms,
            last_change: additions.change,
            first_event_id: additions.floor.max(FIRST_EVENT_ID),
            form: additions.layout_form(),
        }
    }
}

/// A value of the `workers` table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WorkerRecord<'v> {
    status: WorkerStatusRecord,
    #[serde(borrow)]
    request: RequestRecord<'v>,
    next_transcript_sequence: u64,
    last_event_id: u64,
    transcript_len: u64,
    unknown: Vec<UnknownRecord<'v>>,
}

impl Record for WorkerRow {
    const VERSION: u8 = 2;
    const ADDITIONS: u32 = additions::TIME
        | additions::CHANGE
        | additions::ATTRIBUTES
        | additions::FLOOR
        | additions::PINNED
        | additions::ENDED_AT;

    type Stored<'v> = WorkerRecord<'v>;
    type Read<'v> = Self;

    fn stored(&self) -> WorkerRecord<'_> {
        WorkerRecord {
            status: self.status.into(),
            request: RequestRecord::of(&self.request),
            next_transcript_sequence: self.next_transcript_sequence,
            last_event_id: self.last_event_id,
            transcript_len: self.transcript_len,
            unknown: unknown_records(&self.unknown),
        }
    }

    fn additions(&self) -> Additions<'_> {
        Additions {
            time_ms: self.changed_at_ms,
            change: self.change,
            attributes: self.attributes.as_deref(),
            floor: self.first_position,
            is_pinned: self.is_pinned,
            ended_at_ms: self.ended_at_ms,
            ..Additions::default()
        }
    }

    fn read<'v>(stored: Self::Stored<'v>, additions: Additions<'v>) -> Self::Read<'v> {
        Self {
            status: stored.status.into(),
            request: stored.request.to_request(),
            next_transcript_sequence: stored.next_transcript_sequence,
            last_event_id: stored.last_event_id,
            transcript_len: stored.transcript_len,
            unknown: unknown_members(&stored.unknown),
            changed_at_ms: additions.time_ms,
            change: additions.change,
            attributes: additions.attributes.map(str::to_owned),
            first_position: additions.floor,
            is_pinned: additions.is_pinned,
            ended_at_ms: additions.ended_at_ms,
        }
    }
}

/// A value of the `events` table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventRecord<'v> {
    worker_id: Option<&'v str>,
    kind: EventKindRecord,
    /// `None` for the kind's standard message, which most events have. It is a quarter of the row.
    message: Option<&'v str>,
    #[serde(borrow)]
    unknown: Vec<UnknownRecord<'v>>,
}

impl Record for EventRow<'_> {
    const VERSION: u8 = 2;
    const ADDITIONS: u32 = additions::TIME | additions::SPELLING | additions::OWN_TEXT;

    type Stored<'v> = EventRecord<'v>;
    type Read<'v> = EventRow<'v>;

    fn stored(&self) -> EventRecord<'_> {
        EventRecord {
            worker_id: self.worker_id.as_deref(),
            kind: self.kind.into(),
            message: self.message.as_deref(),
            unknown: unknown_records(&self.unknown),
        }
    }

    fn additions(&self) -> Additions<'_> {
        Additions::of_line(self.recorded_at_ms, &self.form)
    }

    fn read<'v>(stored: Self::Stored<'v>, additions: Additions<'v>) -> Self::Read<'v> {
        EventRow {
            worker_id: stored.worker_id.map(Cow::Borrowed),
            kind: stored.kind.into(),
            message: stored.message.map(Cow::Borrowed),
            unknown: unknown_members(&stored.unknown),
            recorded_at_ms: additions.time_ms,
            form: additions.line_form(),
        }
    }
}

/// A value of the `transcripts` table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TranscriptRecord<'v> {
    sequence: u64,
    role: RoleRecord,
    event_id: u64,
    content: &'v str,
    #[serde(borrow)]
    unknown: Vec<UnknownRecord<'v>>,
}

impl Record for TranscriptRow<'_> {
    const VERSION: u8 = 2;
    const ADDITIONS: u32 =
        additions::TIME | additions::ATTRIBUTES | additions::SPELLING | additions::OWN_TEXT;

    type Stored<'v> = TranscriptRecord<'v>;
    type Read<'v> = TranscriptRow<'v>;

    fn stored(&self) -> TranscriptRecord<'_> {
        TranscriptRecord {
            sequence: self.sequence,
            role: self.role.into(),
            event_id: self.event_id,
            content: &self.content,
            unknown: unknown_records(&self.unknown),
        }
    }

    fn additions(&self) -> Additions<'_> {
        Additions {
            attributes: self.attributes.as_deref(),
            ..Additions::of_line(self.recorded_at_ms, &self.form)
        }
    }

    fn read<'v>(stored: Self::Stored<'v>, additions: Additions<'v>) -> Self::Read<'v> {
        TranscriptRow {
            sequence: stored.sequence,
            role: stored.role.into(),
            event_id: stored.event_id,
            content: Cow::Borrowed(stored.content),
            unknown: unknown_members(&stored.unknown),
            recorded_at_ms: additions.time_ms,
            attributes: additions.attributes.map(Cow::Borrowed),
            form: additions.line_form(),
        }
    }
}

/// A value of the `diagnostics` table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DiagnosticRecord<'v> {
    severity: SeverityRecord,
    code: &'v str,
    message: &'v str,
    worker_id: Option<&'v str>,
    #[serde(borrow)]
    unknown: Vec<UnknownRecord<'v>>,
}

impl Record for DiagnosticRow {
    const VERSION: u8 = 2;
    const ADDITIONS: u32 = additions::TIME;

    type Stored<'v> = DiagnosticRecord<'v>;
    type Read<'v> = Self;

    fn stored(&self) -> DiagnosticRecord<'_> {
        DiagnosticRecord {
            severity: self.severity.into(),
            code: &self.code,
            message: &self.message,
            worker_id: self.worker_id.as_deref(),
            unknown: unknown_records(&self.unknown),
        }
    }

    fn additions(&self) -> Additions<'_> {
        Additions::of_time(self.recorded_at_ms)
    }

    fn read<'v>(stored: Self::Stored<'v>, additions: Additions<'v>) -> Self::Read<'v> {
        Self {
            severity: stored.severity.into(),
            code: stored.code.to_owned(),
            message: stored.message.to_owned(),
            worker_id: stored.worker_id.map(str::to_owned),
            unknown: unknown_members(&stored.unknown),
            recorded_at_ms: additions.time_ms,
        }
    }
}

/// A value of the `imports` table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImportNoteRecord<'v> {
    source: &'v str,
    fingerprint: u128,
    imported_at_s: u64,
    workers: u64,
    events: u64,
    transcript_entries: u64,
    bytes: u64,
    salvaged: bool,
    #[serde(borrow)]
    findings: Vec<&'v str>,
}

impl Record for ImportRow {
    type Stored<'v> = ImportNoteRecord<'v>;
    type Read<'v> = Self;

    fn stored(&self) -> ImportNoteRecord<'_> {
        ImportNoteRecord {
            source: &self.source,
            fingerprint: self.fingerprint,
            imported_at_s: self.imported_at_s,
            workers: self.workers,
            events: self.events,
            transcript_entries: self.transcript_entries,
            bytes: self.bytes,
            salvaged: self.salvaged,
            findings: self.findings.iter().map(String::as_str).collect(),
        }
    }

    fn read<'v>(stored: Self::Stored<'v>, _: Additions<'v>) -> Self::Read<'v> {
        Self {
            source: stored.source.to_owned(),
            fingerprint: stored.fingerprint,
            imported_at_s: stored.imported_at_s,
            workers: stored.workers,
            events: stored.events,
            transcript_entries: stored.transcript_entries,
            bytes: stored.bytes,
            salvaged: stored.salvaged,
            findings: stored.findings.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// A JSON member that came from outside and that this version does not know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UnknownRecord<'v> {
    pointer: &'v str,
    name: &'v str,
    json: &'v str,
}

fn unknown_records(members: &[UnknownMember]) -> Vec<UnknownRecord<'_>> {
    members
        .iter()
        .map(|member| UnknownRecord {
            pointer: &member.pointer,
            name: &member.name,
            json: &member.json,
        })
        .collect()
}

fn unknown_members(records: &[UnknownRecord<'_>]) -> Vec<UnknownMember> {
    let member = |record: &UnknownRecord<'_>| UnknownMember {
        pointer: record.pointer.to_owned(),
        name: record.name.to_owned(),
        json: record.json.to_owned(),
    };
    records.iter().map(member).collect()
}

/// The request that created a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RequestRecord<'v> {
    #[serde(borrow)]
    intent: IntentRecord<'v>,
    profile: ProfileRecord<'v>,
    config_bundle: Option<&'v str>,
    /// (name, reason)
    requested_capabilities: Vec<(&'v str, Option<&'v str>)>,
    /// (name, reference)
    workspace_refs: Vec<(&'v str, &'v str)>,
    /// (name, reference)
    mount_refs: Vec<(&'v str, &'v str)>,
}

impl<'v> RequestRecord<'v> {
    fn of(request: &'v CreateWorkerRequest) -> Self {
        let capabilities = request.requested_capabilities.iter();
        let workspaces = request.workspace_refs.iter();
        let mounts = request.mount_refs.iter();
        Self {
            intent: IntentRecord::of(&request.intent),
            profile: match &request.profile {
                ProfileSelector::RuntimeDefault => ProfileRecord::RuntimeDefault,
                ProfileSelector::Builtin(value) => ProfileRecord::Builtin(value),
                ProfileSelector::Named(value) => ProfileRecord::Named(value),
            },
            config_bundle: request.config_bundle.as_ref().map(|bundle| &*bundle.id),
            requested_capabilities: capabilities
                .map(|capability| (&*capability.name, capability.reason.as_deref()))
                .collect(),
            workspace_refs: workspaces
                .map(|workspace| (&*workspace.name, &*workspace.reference))
                .collect(),
            mount_refs: mounts
                .map(|mount| (&*mount.name, &*mount.reference))
                .collect(),
        }
    }

    fn to_request(&self) -> CreateWorkerRequest {
        let capabilities = self.requested_capabilities.iter();
        let workspaces = self.workspace_refs.iter();
        let mounts = self.mount_refs.iter();
        CreateWorkerRequest {
            intent: self.intent.to_intent(),
            profile: match self.profile {
                ProfileRecord::RuntimeDefault => ProfileSelector::RuntimeDefault,
                ProfileRecord::Builtin(value) => ProfileSelector::Builtin(value.to_owned()),
                ProfileRecord::Named(value) => ProfileSelector::Named(value.to_owned()),
            },
            config_bundle: self
                .config_bundle
                .map(|id| ConfigBundleRef { id: id.to_owned() }),
            requested_capabilities: capabilities
                .map(|(name, reason)| CapabilityRequest {
                    name: (*name).to_owned(),
                    reason: reason.map(str::to_owned),
                })
                .collect(),
            workspace_refs: workspaces
                .map(|(name, reference)| WorkspaceRef {
                    name: (*name).to_owned(),
                    reference: (*reference).to_owned(),
                })
                .collect(),
            mount_refs: mounts
                .map(|(name, reference)| MountRef {
                    name: (*name).to_owned(),
                    reference: (*reference).to_owned(),
                })
                .collect(),
        }
    }
}

/// A worker's intent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum IntentRecord<'v> {
    Assistant {
        purpose: Option<&'v str>,
    },
    Task {
        objective: &'v str,
    },
    Role {
        role: &'v str,
        purpose: Option<&'v str>,
    },
}

impl<'v> IntentRecord<'v> {
    fn of(intent: &'v WorkerIntent) -> Self {
        match intent {
            WorkerIntent::Assistant { purpose } => Self::Assistant {
                purpose: purpose.as_deref(),
            },
            WorkerIntent::Task { objective } => Self::Task { objective },
            WorkerIntent::Role { role, purpose } => Self::Role {
                role,
                purpose: purpose.as_deref(),
            },
        }
    }

    fn to_intent(&self) -> WorkerIntent {
        match *self {
            Self::Assistant { purpose } => WorkerIntent::Assistant {
                purpose: purpose.map(str::to_owned),
            },
            Self::Task { objective } => WorkerIntent::Task {
                objective: objective.to_owned(),
            },
            Self::Role { role, purpose } => WorkerIntent::Role {
                role: role.to_owned(),
                purpose: purpose.map(str::to_owned),
            },
        }
    }
}

/// A worker's profile.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ProfileRecord<'v> {
    RuntimeDefault,
    Builtin(&'v str),
    Named(&'v str),
}

/// Declares the stored twin of an enum without fields, with the conversions in both directions.
macro_rules! plain_enum_record {
    ($(#[$doc:meta])* $record:ident, $model:ident, [$($variant:ident),+]) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) enum $record {
            $($variant),+
        }

        impl From<$model> for $record {
            fn from(value: $model) -> Self {
                match value {
                    $($model::$variant => Self::$variant),+
                }
            }
        }

        impl From<$record> for $model {
            fn from(record: $record) -> Self {
                match record {
                    $($record::$variant => Self::$variant),+
                }
            }
        }
    };
}

plain_enum_record!(
    /// A runtime's status.
    RuntimeStatusRecord,
    RuntimeStatus,
    [Running, Stopped]
);
plain_enum_record!(
    /// A worker's status.
    WorkerStatusRecord,
    WorkerStatus,
    [Running, Stopped, Cancelled]
);
plain_enum_record!(
    /// An event's kind.
    EventKindRecord,
    RuntimeEventKind,
    [
        RuntimeStarted,
        RuntimeStopped,
        WorkerCreated,
        WorkerInputAccepted,
        WorkerStopped,
        WorkerCancelled,
        WorkerDeleted,
        WorkerExecutionRestored
    ]
);
plain_enum_record!(
    /// A transcript entry's role.
    RoleRecord,
    TranscriptRole,
    [User, Assistant, System]
);
plain_enum_record!(
    /// A diagnostic's severity.
    SeverityRecord,
    DiagnosticSeverity,
    [Info, Warning, Error]
);
