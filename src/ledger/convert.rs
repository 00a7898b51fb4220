//! Stored records to the model and back. The key's part of a record is passed beside it.

use crate::error::RuntimeError;
use crate::ledger::record::{
    DiagnosticRecord, EventRecord, EventRow, ImportRow, IntentRecord, ProfileRecord, RequestRecord,
    RuntimeRecord, TranscriptRecord, TranscriptRow, UnknownRecord, WorkerRecord,
};
use crate::model::borrowed::{BorrowedEntry, BorrowedEvent, BorrowedRef};
use crate::model::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, MountRef, ProfileSelector,
    WorkerIntent, WorkspaceRef,
};
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::TranscriptEntry;
use crate::model::management::RuntimeLimits;
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::{
    ImportRecord, PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored, UnknownMember,
};
use std::borrow::Cow;

/// Numbers are 64 bits in the file. A size that this machine cannot hold reads as the largest.
pub(crate) fn size(stored: u64) -> usize {
    usize::try_from(stored).unwrap_or(usize::MAX)
}

/// The inverse of [`size`].
pub(crate) fn stored_size(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

fn to_records(unknown: Vec<UnknownMember>) -> Vec<UnknownRecord> {
    unknown.into_iter().map(UnknownRecord::from).collect()
}

pub(crate) fn to_members(unknown: Vec<UnknownRecord>) -> Vec<UnknownMember> {
    unknown.into_iter().map(UnknownMember::from).collect()
}

pub(crate) const BLANK_WORKER: &str = "a stored worker id is blank";

/// A worker id out of the file. The layers above never store a blank one, so a blank one is damage.
pub(crate) fn worker_ref(runtime_id: &RuntimeId, worker_id: &str) -> Result<WorkerRef, String> {
    WorkerId::from_text(worker_id)
        .map(|worker_id| WorkerRef::new(runtime_id.clone(), worker_id))
        .ok_or_else(|| BLANK_WORKER.to_owned())
}

impl From<CreateWorkerRequest> for RequestRecord {
    fn from(request: CreateWorkerRequest) -> Self {
        Self {
            intent: match request.intent {
                WorkerIntent::Assistant { purpose } => IntentRecord::Assistant { purpose },
                WorkerIntent::Task { objective } => IntentRecord::Task { objective },
                WorkerIntent::Role { role, purpose } => IntentRecord::Role { role, purpose },
            },
            profile: match request.profile {
                ProfileSelector::RuntimeDefault => ProfileRecord::RuntimeDefault,
                ProfileSelector::Builtin(value) => ProfileRecord::Builtin(value),
                ProfileSelector::Named(value) => ProfileRecord::Named(value),
            },
            config_bundle: request.config_bundle.map(|bundle| bundle.id),
            requested_capabilities: request
                .requested_capabilities
                .into_iter()
                .map(|capability| (capability.name, capability.reason))
                .collect(),
            workspace_refs: request
                .workspace_refs
                .into_iter()
                .map(|workspace| (workspace.name, workspace.reference))
                .collect(),
            mount_refs: request
                .mount_refs
                .into_iter()
                .map(|mount| (mount.name, mount.reference))
                .collect(),
        }
    }
}

impl From<RequestRecord> for CreateWorkerRequest {
    fn from(record: RequestRecord) -> Self {
        Self {
            intent: match record.intent {
                IntentRecord::Assistant { purpose } => WorkerIntent::Assistant { purpose },
                IntentRecord::Task { objective } => WorkerIntent::Task { objective },
                IntentRecord::Role { role, purpose } => WorkerIntent::Role { role, purpose },
            },
            profile: match record.profile {
                ProfileRecord::RuntimeDefault => ProfileSelector::RuntimeDefault,
                ProfileRecord::Builtin(value) => ProfileSelector::Builtin(value),
                ProfileRecord::Named(value) => ProfileSelector::Named(value),
            },
            config_bundle: record.config_bundle.map(|id| ConfigBundleRef { id }),
            requested_capabilities: record
                .requested_capabilities
                .into_iter()
                .map(|(name, reason)| CapabilityRequest { name, reason })
                .collect(),
            workspace_refs: record
                .workspace_refs
                .into_iter()
                .map(|(name, reference)| WorkspaceRef { name, reference })
                .collect(),
            mount_refs: record
                .mount_refs
                .into_iter()
                .map(|(name, reference)| MountRef { name, reference })
                .collect(),
        }
    }
}

/// The limits of a runtime.
pub(crate) fn limits(record: &RuntimeRecord) -> RuntimeLimits {
    RuntimeLimits {
        max_transcript_projection_items: size(record.max_transcript_projection_items),
        max_event_batch_items: size(record.max_event_batch_items),
    }
}

/// A runtime's snapshot. `diagnostics` are all of the runtime's; what is unknown of them goes under
/// `/diagnostics/<index>`, where the document has it.
pub(crate) fn runtime_snapshot(
    runtime_id: RuntimeId,
    record: RuntimeRecord,
    diagnostics: Vec<Stored<RuntimeDiagnostic>>,
) -> Stored<PersistedRuntimeSnapshot> {
    let limits = limits(&record);
    let mut unknown = to_members(record.unknown);
    let mut known = Vec::with_capacity(diagnostics.len());
    for (index, diagnostic) in diagnostics.into_iter().enumerate() {
        unknown.extend(diagnostic.unknown.into_iter().map(|member| UnknownMember {
            pointer: format!("{DIAGNOSTICS_POINTER}{index}{}", member.pointer),
            ..member
        }));
        known.push(diagnostic.value);
    }
    Stored {
        value: PersistedRuntimeSnapshot {
            runtime_id,
            display_name: record.display_name,
            status: record.status.into(),
            limits,
            next_worker_sequence: record.next_worker_sequence,
            next_event_id: record.next_event_id,
            next_diagnostic_id: record.next_diagnostic_id,
            diagnostics: known,
        },
        unknown,
    }
}

const DIAGNOSTICS_POINTER: &str = "/diagnostics/";

/// Splits what is unknown of a runtime's document into the runtime's own part and that of each
/// diagnostic, by index. The inverse of what [`runtime_snapshot`] does.
fn split_diagnostics(
    unknown: Vec<UnknownMember>,
    diagnostics: usize,
) -> (Vec<UnknownMember>, Vec<Vec<UnknownMember>>) {
    let mut own = Vec::new();
    let mut each = vec![Vec::new(); diagnostics];
    for member in unknown {
        let rest = member.pointer.strip_prefix(DIAGNOSTICS_POINTER);
        let (index, pointer) =
            match rest.map(|rest| rest.split_at(rest.find('/').unwrap_or(rest.len()))) {
                Some((index, pointer)) => (index.parse::<usize>().ok(), pointer.to_owned()),
                None => (None, String::new()),
            };
        match index.and_then(|index| each.get_mut(index)) {
            Some(members) => members.push(UnknownMember { pointer, ..member }),
            None => own.push(member),
        }
    }
    (own, each)
}

/// The records of a runtime's snapshot: its row, with worker counts of zero, and its diagnostics.
pub(crate) fn runtime_records(
    snapshot: Stored<PersistedRuntimeSnapshot>,
) -> (RuntimeRecord, Vec<(u64, DiagnosticRecord)>) {
    let Stored { value, unknown } = snapshot;
    let (own, each) = split_diagnostics(unknown, value.diagnostics.len());
    let record = RuntimeRecord {
        display_name: value.display_name,
        status: value.status.into(),
        max_transcript_projection_items: stored_size(value.limits.max_transcript_projection_items),
        max_event_batch_items: stored_size(value.limits.max_event_batch_items),
        next_worker_sequence: value.next_worker_sequence,
        next_event_id: value.next_event_id,
        next_diagnostic_id: value.next_diagnostic_id,
        running_workers: 0,
        stopped_workers: 0,
        cancelled_workers: 0,
        diagnostics: stored_size(value.diagnostics.len()),
        unknown: to_records(own),
    };
    let diagnostics = value
        .diagnostics
        .into_iter()
        .zip(each)
        .map(|(value, unknown)| (value.id, diagnostic_record(Stored { value, unknown })))
        .collect();
    (record, diagnostics)
}

/// A worker's snapshot.
pub(crate) fn worker_snapshot(
    worker_ref: WorkerRef,
    record: WorkerRecord,
) -> Stored<PersistedWorkerSnapshot> {
    Stored {
        value: PersistedWorkerSnapshot {
            worker_ref,
            status: record.status.into(),
            request: record.request.into(),
            next_transcript_sequence: record.next_transcript_sequence,
            last_event_id: record.last_event_id,
        },
        unknown: to_members(record.unknown),
    }
}

/// The record of a worker's snapshot, with a transcript of `transcript_len` entries.
pub(crate) fn worker_record(
    snapshot: Stored<PersistedWorkerSnapshot>,
    transcript_len: u64,
) -> WorkerRecord {
    WorkerRecord {
        status: snapshot.value.status.into(),
        request: snapshot.value.request.into(),
        next_transcript_sequence: snapshot.value.next_transcript_sequence,
        last_event_id: snapshot.value.last_event_id,
        transcript_len,
        unknown: to_records(snapshot.unknown),
    }
}

/// Refs of the workers that a page of rows names. Those of the last few are kept: few workers make
/// most of a log, and their clones share the texts.
pub(crate) struct WorkerRefs<'r> {
    runtime_id: &'r RuntimeId,
    recent: [Option<WorkerRef>; 16],
}

impl<'r> WorkerRefs<'r> {
    pub(crate) fn new(runtime_id: &'r RuntimeId) -> Self {
        Self {
            runtime_id,
            recent: Default::default(),
        }
    }

    /// The ref of `worker_id`. The layers above never store a blank id, so a blank one is damage.
    fn get(&mut self, worker_id: &str) -> Result<WorkerRef, String> {
        // Generated ids differ at their end.
        let place = worker_id.bytes().next_back().map_or(0, |last| last & 0xF);
        let recent = &mut self.recent[usize::from(place)];
        if let Some(worker_ref) = recent
            && worker_ref.worker_id.as_str() == worker_id
        {
            return Ok(worker_ref.clone());
        }
        let worker_ref = worker_ref(self.runtime_id, worker_id)?;
        Ok(recent.insert(worker_ref).clone())
    }
}

/// An event.
pub(crate) fn event(
    refs: &mut WorkerRefs<'_>,
    id: u64,
    row: EventRow<'_>,
) -> Result<Stored<RuntimeEvent>, String> {
    let kind = row.kind.into();
    let worker_ref = row.worker_id.map(|worker| refs.get(worker)).transpose()?;
    let message = match row.message {
        Some(message) => message.to_owned(),
        None => RuntimeEvent::standard_message(kind, refs.runtime_id, worker_ref.as_ref()),
    };
    Ok(Stored {
        value: RuntimeEvent {
            id,
            worker_ref,
            kind,
            message,
        },
        unknown: to_members(row.unknown),
    })
}

/// The record of an event of `runtime_id`.
pub(crate) fn event_record(runtime_id: &RuntimeId, event: Stored<RuntimeEvent>) -> EventRecord {
    let Stored { value, unknown } = event;
    let standard =
        RuntimeEvent::standard_message(value.kind, runtime_id, value.worker_ref.as_ref());
    EventRecord {
        message: (value.message != standard).then_some(value.message),
        worker_id: value.worker_ref.map(|worker| worker.worker_id.into()),
        kind: value.kind.into(),
        unknown: to_records(unknown),
    }
}

/// A transcript entry.
pub(crate) fn transcript_entry(
    worker_ref: &WorkerRef,
    row: TranscriptRow<'_>,
) -> Stored<TranscriptEntry> {
    Stored {
        value: TranscriptEntry {
            sequence: row.sequence,
            worker_ref: worker_ref.clone(),
            role: row.role.into(),
            content: row.content.to_owned(),
            event_id: row.event_id,
        },
        unknown: to_members(row.unknown),
    }
}

/// The record of a transcript entry.
pub(crate) fn transcript_record(entry: Stored<TranscriptEntry>) -> TranscriptRecord {
    TranscriptRecord {
        sequence: entry.value.sequence,
        role: entry.value.role.into(),
        event_id: entry.value.event_id,
        content: entry.value.content,
        unknown: to_records(entry.unknown),
    }
}

/// A diagnostic.
pub(crate) fn diagnostic(
    runtime_id: &RuntimeId,
    id: u64,
    record: DiagnosticRecord,
) -> Result<Stored<RuntimeDiagnostic>, String> {
    let worker_ref = match record.worker_id {
        Some(worker_id) => Some(worker_ref(runtime_id, &worker_id)?),
        None => None,
    };
    Ok(Stored {
        value: RuntimeDiagnostic {
            id,
            severity: record.severity.into(),
            code: record.code,
            message: record.message,
            worker_ref,
        },
        unknown: to_members(record.unknown),
    })
}

/// The record of a diagnostic.
pub(crate) fn diagnostic_record(diagnostic: Stored<RuntimeDiagnostic>) -> DiagnosticRecord {
    DiagnosticRecord {
        severity: diagnostic.value.severity.into(),
        code: diagnostic.value.code,
        message: diagnostic.value.message,
        worker_id: diagnostic
            .value
            .worker_ref
            .map(|worker| worker.worker_id.into()),
        unknown: to_records(diagnostic.unknown),
    }
}

/// An event that was read.
pub(crate) fn borrowed_event<'a>(
    runtime_id: &'a RuntimeId,
    id: u64,
    row: EventRow<'a>,
) -> Result<BorrowedEvent<'a>, String> {
    let kind = row.kind.into();
    if row.worker_id.is_some_and(|worker| worker.trim().is_empty()) {
        return Err(BLANK_WORKER.to_owned());
    }
    let message = match row.message {
        Some(message) => Cow::Borrowed(message),
        None => RuntimeEvent::standard_text(kind, runtime_id.as_str(), row.worker_id),
    };
    Ok(BorrowedEvent {
        id,
        worker_ref: row.worker_id.map(|worker_id| BorrowedRef {
            runtime_id: Cow::Borrowed(runtime_id.as_str()),
            worker_id: Cow::Borrowed(worker_id),
        }),
        kind,
        message,
        unknown: to_members(row.unknown),
    })
}

/// An entry that was read.
pub(crate) fn borrowed_entry<'a>(
    worker_ref: &'a WorkerRef,
    row: TranscriptRow<'a>,
) -> BorrowedEntry<'a> {
    let (runtime_id, worker_id) = owner_of(worker_ref);
    BorrowedEntry {
        sequence: row.sequence,
        worker_ref: BorrowedRef {
            runtime_id: Cow::Borrowed(runtime_id),
            worker_id: Cow::Borrowed(worker_id),
        },
        role: row.role.into(),
        content: Cow::Borrowed(row.content),
        event_id: row.event_id,
        unknown: to_members(row.unknown),
    }
}

/// The owned address of a worker whose row was given by a caller.
///
/// # Errors
///
/// `InvalidRequest` for a blank id.
pub(crate) fn owned_ref(borrowed: &BorrowedRef<'_>) -> Result<WorkerRef, RuntimeError> {
    let blank = || RuntimeError::InvalidRequest("an id must not be blank".to_owned());
    borrowed.to_ref().ok_or_else(blank)
}

/// The ids of a worker's address.
pub(crate) fn owner_of(worker_ref: &WorkerRef) -> (&str, &str) {
    let WorkerRef {
        runtime_id,
        worker_id,
    } = worker_ref;
    (runtime_id.as_str(), worker_id.as_str())
}

impl From<ImportRecord> for ImportRow {
    fn from(record: ImportRecord) -> Self {
        Self {
            source: record.source,
            fingerprint: record.fingerprint,
            imported_at_s: record.imported_at_s,
            workers: record.workers,
            events: record.events,
            transcript_entries: record.transcript_entries,
            bytes: record.bytes,
            salvaged: record.salvaged,
            findings: record.findings,
        }
    }
}

impl From<ImportRow> for ImportRecord {
    fn from(row: ImportRow) -> Self {
        Self {
            source: row.source,
            fingerprint: row.fingerprint,
            imported_at_s: row.imported_at_s,
            workers: row.workers,
            events: row.events,
            transcript_entries: row.transcript_entries,
            bytes: row.bytes,
            salvaged: row.salvaged,
            findings: row.findings,
        }
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
