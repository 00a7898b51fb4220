//! Rows to the model's types and back. The key's part of a row is passed separately.

use crate::error::RuntimeError;
use crate::ledger::rows::{
    DiagnosticRow, EventRow, FIRST_EVENT_ID, RuntimeRow, TranscriptRow, WorkerRow,
};
use crate::model::attributes::{self, Attributes};
use crate::model::borrowed::{BorrowedEntry, BorrowedEvent, BorrowedRef};
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::{RecordedEntry, TranscriptEntry};
use crate::model::layout_form::{LayoutForm, LineForm};
use crate::model::management::RuntimeLimits;
use crate::model::observation::{RecordedEvent, RuntimeEvent};
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored, UnknownMember,
};
use crate::model::time::system_time;
use std::borrow::Cow;

/// Converts a stored number to a size. Stored numbers have 64 bits: one that this machine's words cannot hold
/// becomes the largest size.
pub(crate) fn size(stored: u64) -> usize {
    usize::try_from(stored).unwrap_or(usize::MAX)
}

/// Converts a size to a stored number, the inverse of [`size`].
pub(crate) fn stored_size(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

const BLANK_WORKER: &str = "a stored worker id is blank";

/// The ref of a stored worker id. The rules never store a blank id, so a blank one is corrupt.
pub(crate) fn worker_ref(runtime_id: &RuntimeId, worker_id: &str) -> Result<WorkerRef, String> {
    WorkerId::from_text(worker_id)
        .map(|worker_id| WorkerRef::new(runtime_id.clone(), worker_id))
        .ok_or_else(|| BLANK_WORKER.to_owned())
}

/// The limits of a runtime.
pub(crate) fn limits(row: &RuntimeRow) -> RuntimeLimits {
    RuntimeLimits {
        max_transcript_projection_items: size(row.max_transcript_projection_items),
        max_event_batch_items: size(row.max_event_batch_items),
    }
}

/// Sets the limits of a runtime.
pub(crate) fn set_limits(row: &mut RuntimeRow, limits: RuntimeLimits) {
    row.max_transcript_projection_items = stored_size(limits.max_transcript_projection_items);
    row.max_event_batch_items = stored_size(limits.max_event_batch_items);
}

/// A runtime's snapshot. `diagnostics` are all of the runtime's. Their unknown members get the pointer
/// `/diagnostics/<index>`, which is their place in the runtime's document.
pub(crate) fn runtime_snapshot(
    runtime_id: RuntimeId,
    row: RuntimeRow,
    diagnostics: Vec<Stored<RuntimeDiagnostic>>,
) -> Stored<PersistedRuntimeSnapshot> {
    let limits = limits(&row);
    let mut unknown = row.unknown;
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
            display_name: row.display_name,
            status: row.status,
            limits,
            next_worker_sequence: row.next_worker_sequence,
            next_event_id: row.next_event_id,
            next_diagnostic_id: row.next_diagnostic_id,
            diagnostics: known,
        },
        unknown,
    }
}

const DIAGNOSTICS_POINTER: &str = "/diagnostics/";

/// Splits the unknown members of a runtime's document into the runtime's own and those of each
/// diagnostic, by index: the inverse of [`runtime_snapshot`].
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

/// The rows of a runtime's snapshot: its own row, with worker counts of zero, and its diagnostics.
pub(crate) fn runtime_rows(
    snapshot: Stored<PersistedRuntimeSnapshot>,
) -> (RuntimeRow, Vec<(u64, DiagnosticRow)>) {
    let Stored { value, unknown } = snapshot;
    let (own, each) = split_diagnostics(unknown, value.diagnostics.len());
    let row = RuntimeRow {
        display_name: value.display_name,
        status: value.status,
        max_transcript_projection_items: stored_size(value.limits.max_transcript_projection_items),
        max_event_batch_items: stored_size(value.limits.max_event_batch_items),
        next_worker_sequence: value.next_worker_sequence,
        next_event_id: value.next_event_id,
        next_diagnostic_id: value.next_diagnostic_id,
        running_workers: 0,
        stopped_workers: 0,
        cancelled_workers: 0,
        diagnostics: stored_size(value.diagnostics.len()),
        unknown: own,
        latest_time_ms: None,
        last_change: 0,
        first_event_id: FIRST_EVENT_ID,
        form: LayoutForm::A,
    };
    let diagnostics = value
        .diagnostics
        .into_iter()
        .zip(each)
        .map(|(value, unknown)| (value.id, diagnostic_row(Stored { value, unknown })))
        .collect();
    (row, diagnostics)
}

/// A worker's snapshot.
pub(crate) fn worker_snapshot(
    worker_ref: WorkerRef,
    row: WorkerRow,
) -> Stored<PersistedWorkerSnapshot> {
    Stored {
        value: PersistedWorkerSnapshot {
            worker_ref,
            status: row.status,
            request: row.request,
            next_transcript_sequence: row.next_transcript_sequence,
            last_event_id: row.last_event_id,
        },
        unknown: attributes::added_to(row.unknown, row.attributes.map(attributes::exported)),
    }
}

/// The row of a worker's snapshot, with a transcript of `transcript_len` entries.
pub(crate) fn worker_row(
    snapshot: Stored<PersistedWorkerSnapshot>,
    transcript_len: u64,
) -> WorkerRow {
    let mut unknown = snapshot.unknown;
    let attributes = attributes::taken_from(&mut unknown);
    WorkerRow {
        status: snapshot.value.status,
        request: snapshot.value.request,
        next_transcript_sequence: snapshot.value.next_transcript_sequence,
        last_event_id: snapshot.value.last_event_id,
        transcript_len,
        unknown,
        changed_at_ms: None,
        change: 0,
        attributes,
        first_position: 0,
        is_pinned: false,
        ended_at_ms: None,
    }
}

/// Takes over from `current`, the row that `row` replaces, what a snapshot does not say.
pub(crate) fn keep_worker_additions(row: &mut WorkerRow, current: &WorkerRow) {
    row.changed_at_ms = current.changed_at_ms;
    row.change = current.change;
    // A snapshot can have them as a member, which does not say everything.
    let exported = current.attributes.clone().map(attributes::exported);
    if row.attributes.is_none() || row.attributes == exported {
        row.attributes.clone_from(&current.attributes);
    }
    row.first_position = current.first_position;
    row.is_pinned = current.is_pinned;
    row.ended_at_ms = current.ended_at_ms;
}

/// Takes over from `current`, the row that `row` replaces, what a snapshot does not say.
pub(crate) fn keep_runtime_additions(row: &mut RuntimeRow, current: &RuntimeRow) {
    row.latest_time_ms = row.latest_time_ms.max(current.latest_time_ms);
    row.last_change = current.last_change;
    row.first_event_id = current.first_event_id;
    row.form = current.form;
}

/// Refs of the workers that a page of rows names. It remembers the last few, since few workers write
/// most of a log, and clones of a ref share its texts.
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

    /// The ref of `worker_id`.
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
    let kind = row.kind;
    let worker_ref = row.worker_id.map(|worker| refs.get(&worker)).transpose()?;
    let message = match row.message {
        Some(message) => message.into_owned(),
        None => RuntimeEvent::standard_message(kind, refs.runtime_id, worker_ref.as_ref()),
    };
    Ok(Stored {
        value: RuntimeEvent {
            id,
            worker_ref,
            kind,
            message,
        },
        unknown: row.unknown,
    })
}

/// An event with its time.
pub(crate) fn recorded_event(
    refs: &mut WorkerRefs<'_>,
    id: u64,
    row: EventRow<'_>,
) -> Result<Stored<RecordedEvent>, String> {
    let recorded_at = system_time(row.recorded_at_ms);
    Ok(event(refs, id, row)?.map(|event| RecordedEvent { event, recorded_at }))
}

/// The row of an event of `runtime_id`.
pub(crate) fn event_row(runtime_id: &RuntimeId, event: Stored<RuntimeEvent>) -> EventRow<'static> {
    let Stored { value, unknown } = event;
    let standard =
        RuntimeEvent::standard_message(value.kind, runtime_id, value.worker_ref.as_ref());
    EventRow {
        message: (value.message != standard).then_some(Cow::Owned(value.message)),
        worker_id: value
            .worker_ref
            .map(|worker| Cow::Owned(worker.worker_id.into())),
        kind: value.kind,
        unknown,
        recorded_at_ms: None,
        form: LineForm::default(),
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
            role: row.role,
            content: row.content.into_owned(),
            event_id: row.event_id,
        },
        unknown: attributes::added_to(row.unknown, row.attributes.map(Cow::into_owned)),
    }
}

/// A transcript entry with its time and attributes.
pub(crate) fn recorded_entry(
    worker_ref: &WorkerRef,
    row: TranscriptRow<'_>,
) -> Result<Stored<RecordedEntry>, String> {
    let recorded_at = system_time(row.recorded_at_ms);
    let attributes = parsed_attributes(row.attributes.as_deref())?;
    Ok(
        transcript_entry(worker_ref, row).map(|entry| RecordedEntry {
            entry,
            recorded_at,
            attributes,
        }),
    )
}

/// Attributes of a row. The error says why they are damaged.
pub(crate) fn parsed_attributes(stored: Option<&str>) -> Result<Attributes, String> {
    let parsed = stored.map(Attributes::from_json).transpose();
    parsed
        .map(Option::unwrap_or_default)
        .map_err(|error| error.to_string())
}

/// The stored form of attributes; `None` for none.
pub(crate) fn stored_attributes(attributes: &Attributes) -> Option<String> {
    (!attributes.is_empty()).then(|| attributes.to_json())
}

/// The row of a transcript entry.
pub(crate) fn transcript_row(entry: Stored<TranscriptEntry>) -> TranscriptRow<'static> {
    let mut unknown = entry.unknown;
    let attributes = attributes::taken_from(&mut unknown).map(Cow::Owned);
    TranscriptRow {
        sequence: entry.value.sequence,
        role: entry.value.role,
        event_id: entry.value.event_id,
        content: Cow::Owned(entry.value.content),
        unknown,
        recorded_at_ms: None,
        attributes,
        form: LineForm::default(),
    }
}

/// A diagnostic.
pub(crate) fn diagnostic(
    runtime_id: &RuntimeId,
    id: u64,
    row: DiagnosticRow,
) -> Result<Stored<RuntimeDiagnostic>, String> {
    let worker_ref = match row.worker_id {
        Some(worker_id) => Some(worker_ref(runtime_id, &worker_id)?),
        None => None,
    };
    Ok(Stored {
        value: RuntimeDiagnostic {
            id,
            severity: row.severity,
            code: row.code,
            message: row.message,
            worker_ref,
        },
        unknown: row.unknown,
    })
}

/// The row of a diagnostic.
pub(crate) fn diagnostic_row(diagnostic: Stored<RuntimeDiagnostic>) -> DiagnosticRow {
    DiagnosticRow {
        severity: diagnostic.value.severity,
        code: diagnostic.value.code,
        message: diagnostic.value.message,
        worker_id: diagnostic
            .value
            .worker_ref
            .map(|worker| worker.worker_id.into()),
        unknown: diagnostic.unknown,
        recorded_at_ms: None,
    }
}

/// An event with the texts of its row.
pub(crate) fn borrowed_event<'a>(
    runtime_id: &'a RuntimeId,
    id: u64,
    row: EventRow<'a>,
) -> Result<BorrowedEvent<'a>, String> {
    let worker_id = row.worker_id;
    if worker_id.as_ref().is_some_and(|id| id.trim().is_empty()) {
        return Err(BLANK_WORKER.to_owned());
    }
    let message = row.message.unwrap_or_else(|| {
        RuntimeEvent::standard_text(row.kind, runtime_id.as_str(), worker_id.as_deref())
    });
    Ok(BorrowedEvent {
        id,
        worker_ref: worker_id.map(|worker_id| BorrowedRef {
            runtime_id: Cow::Borrowed(runtime_id.as_str()),
            worker_id,
        }),
        kind: row.kind,
        message,
        unknown: row.unknown,
        recorded_at: system_time(row.recorded_at_ms),
        form: row.form,
    })
}

/// A transcript entry with the texts of its row.
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
        role: row.role,
        content: row.content,
        event_id: row.event_id,
        unknown: attributes::added_to(row.unknown, row.attributes.map(Cow::into_owned)),
        recorded_at: system_time(row.recorded_at_ms),
        form: row.form,
    }
}

/// The owned address of a worker that a caller named.
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

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
