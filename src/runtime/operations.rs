//! The rules of every change. An operation reads rows and collects changes. It does not know whether it shares
//! its commit with others.

use crate::error::RuntimeError;
use crate::ledger::checks;
use crate::ledger::convert;
use crate::ledger::rows::{
    DiagnosticRow, EventRow, PAGE_ROWS, Rows, RuntimeRow, TranscriptRow, WorkerRow,
};
use crate::ledger::table_names;
use crate::ledger::transaction::Transaction;
use crate::ledger::unique_id::uuid_v7;
use crate::model::attributes::Attributes;
use crate::model::catalog::{
    CreateWorkerRequest, WorkerDetail, WorkerIntent, WorkerLifecycleAck, WorkerStatus,
};
use crate::model::diagnostics::DiagnosticSeverity;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::{TranscriptRole, WorkerInput, WorkerInteractionAck};
use crate::model::layout_form::{LineForm, WorkerIds};
use crate::model::management::{RuntimeOptions, RuntimeStatus};
use crate::model::observation::{RuntimeEvent, RuntimeEventKind};
use crate::model::persisted::{PersistedRuntimeSnapshot, PersistedWorkerSnapshot};
use crate::runtime::{pages, queries};
use std::borrow::Cow;

/// Creates a runtime that the store does not have.
pub(crate) fn create_runtime(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    options: &RuntimeOptions,
) -> Result<(), RuntimeError> {
    let snapshot = PersistedRuntimeSnapshot {
        runtime_id: runtime_id.clone(),
        display_name: options.display_name.clone(),
        status: RuntimeStatus::Running,
        limits: options.limits,
        next_worker_sequence: 1,
        next_event_id: 1,
        next_diagnostic_id: 1,
        diagnostics: Vec::new(),
    };
    let (mut runtime, _) = convert::runtime_rows(snapshot.into());
    let started = RuntimeEventKind::RuntimeStarted;
    log(transaction, runtime_id, &mut runtime, (None, started, None))?;
    transaction
        .changes()
        .put_runtime(runtime_id.as_str(), runtime)
}

/// Creates a worker with a generated id.
pub(crate) fn create_worker(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    request: CreateWorkerRequest,
    attributes: &Attributes,
) -> Result<WorkerDetail, RuntimeError> {
    let mut runtime = running(transaction, runtime_id)?;
    refuse_invalid(&request)?;
    let worker_ref = next_worker(transaction, runtime_id, &mut runtime, transaction.now_ms())?;
    add_worker(transaction, worker_ref, runtime, (request, attributes))
}

/// Creates a worker with the given id. If the same request created it before, returns it as it is.
pub(crate) fn create_worker_as(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    worker_id: WorkerId,
    request: CreateWorkerRequest,
) -> Result<WorkerDetail, RuntimeError> {
    let worker_ref = WorkerRef::new(runtime_id.clone(), worker_id);
    checks::refuse_long_ref(&worker_ref)?;
    let (id, worker_id) = convert::owner_of(&worker_ref);
    // Before the status of the runtime: a repeated request writes nothing.
    if let Some(row) = transaction.worker(id, worker_id)? {
        return match row.request == request {
            true => Ok(queries::detail(&worker_ref, row)),
            false => Err(RuntimeError::WorkerExists { worker_ref }),
        };
    }
    let runtime = running(transaction, runtime_id)?;
    refuse_invalid(&request)?;
    checks::refuse_other_shape(runtime.form, worker_id)?;
    checks::refuse_deleted(transaction, &worker_ref)?;
    add_worker(
        transaction,
        worker_ref,
        runtime,
        (request, &Attributes::new()),
    )
}

/// Adds a worker that the runtime does not have.
fn add_worker(
    transaction: &mut Transaction<'_>,
    worker_ref: WorkerRef,
    mut runtime: RuntimeRow,
    (request, attributes): (CreateWorkerRequest, &Attributes),
) -> Result<WorkerDetail, RuntimeError> {
    transaction.refuse_full()?;
    let runtime_id = &worker_ref.runtime_id;
    let created = RuntimeEventKind::WorkerCreated;
    let event = (Some(&worker_ref), created, None);
    let last_event_id = log(transaction, runtime_id, &mut runtime, event)?;
    diagnose(transaction, &worker_ref, &request, &mut runtime)?;
    let snapshot = PersistedWorkerSnapshot {
        worker_ref: worker_ref.clone(),
        status: WorkerStatus::Running,
        request,
        next_transcript_sequence: 1,
        last_event_id,
    };
    let mut worker = convert::worker_row(snapshot.into(), 0);
    worker.attributes = convert::stored_attributes(attributes);
    worker.touch(&mut runtime, transaction.now_ms());
    let (id, worker_id) = (runtime_id.as_str(), worker_ref.worker_id.as_str());
    let running = WorkerStatus::Running;
    checks::recount_worker(transaction.at(), id, &mut runtime, None, running)?;
    transaction.changes().put_runtime(id, runtime)?;
    transaction
        .changes()
        .put_worker(id, worker_id, worker.clone())?;
    Ok(queries::detail(&worker_ref, worker))
}

/// Accepts input for a running worker.
pub(crate) fn send_input(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
    input: WorkerInput,
    attributes: &Attributes,
) -> Result<WorkerInteractionAck, RuntimeError> {
    // In the order of the directory store, whose hosts distinguish these errors.
    let mut runtime = running(transaction, runtime_id)?;
    if input.content.trim().is_empty() {
        return Err(invalid("the content of an input must not be blank"));
    }
    pages::refuse_foreign(runtime_id, worker_ref)?;
    let mut worker = active_worker(transaction, worker_ref)?;
    let accepted = RuntimeEventKind::WorkerInputAccepted;
    let event = (Some(worker_ref), accepted, None);
    let event_id = log(transaction, runtime_id, &mut runtime, event)?;
    worker.last_event_id = event_id;
    let said = Said {
        role: input.kind.into(),
        content: input.content,
        event_id,
        attributes,
    };
    append_entry(transaction, worker_ref, (runtime, worker), said)
}

/// Appends a reply of a running worker. It logs no event: the entry names the runtime's last one.
pub(crate) fn append_reply(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
    content: String,
    attributes: &Attributes,
) -> Result<WorkerInteractionAck, RuntimeError> {
    let runtime = running(transaction, runtime_id)?;
    if content.trim().is_empty() {
        return Err(invalid("the content of a reply must not be blank"));
    }
    pages::refuse_foreign(runtime_id, worker_ref)?;
    let worker = active_worker(transaction, worker_ref)?;
    // An imported runtime can have logged nothing; its next id is 1 then.
    let event_id = runtime.next_event_id.saturating_sub(1);
    let said = Said {
        role: TranscriptRole::Assistant,
        content,
        event_id,
        attributes,
    };
    append_entry(transaction, worker_ref, (runtime, worker), said)
}

/// The row of a worker that is running.
pub(crate) fn active_worker(
    rows: &dyn Rows,
    worker_ref: &WorkerRef,
) -> Result<WorkerRow, RuntimeError> {
    let worker = pages::worker_row(rows, worker_ref)?;
    match worker.status.is_active() {
        true => Ok(worker),
        false => Err(invalid(format!(
            "worker {} is not running",
            worker_ref.worker_id
        ))),
    }
}

/// Rejects an entry with more bytes than the host allows.
fn refuse_large_entry(
    transaction: &Transaction<'_>,
    content: &str,
    attributes: Option<&str>,
) -> Result<(), RuntimeError> {
    let max = transaction
        .opening()
        .and_then(|opening| opening.guards.max_entry_bytes);
    let bytes = convert::stored_size(content.len() + attributes.map_or(0, str::len));
    match max {
        Some(max) if bytes > max => Err(RuntimeError::EntryTooLarge { bytes, max }),
        _ => Ok(()),
    }
}

/// A new entry of a transcript.
struct Said<'a> {
    role: TranscriptRole,
    content: String,
    event_id: u64,
    attributes: &'a Attributes,
}

/// Appends an entry to the transcript of `worker`, and stages it with the rows of the worker and of its runtime.
fn append_entry(
    transaction: &mut Transaction<'_>,
    worker_ref: &WorkerRef,
    (mut runtime, mut worker): (RuntimeRow, WorkerRow),
    said: Said<'_>,
) -> Result<WorkerInteractionAck, RuntimeError> {
    let attributes = convert::stored_attributes(said.attributes);
    transaction.refuse_full()?;
    refuse_large_entry(transaction, &said.content, attributes.as_deref())?;
    worker.touch(&mut runtime, transaction.now_ms());
    let (status, sequence) = (worker.status, worker.next_transcript_sequence);
    let position = worker.transcript_len;
    let entry = TranscriptRow {
        sequence,
        role: said.role,
        event_id: said.event_id,
        content: Cow::Owned(said.content),
        unknown: Vec::new(),
        recorded_at_ms: worker.changed_at_ms,
        attributes: attributes.map(Cow::Owned),
        form: LineForm::spelled(runtime.form.spelling()),
    };
    worker.next_transcript_sequence = after(sequence, "transcript sequence")?;
    let (id, worker_id) = convert::owner_of(worker_ref);
    checks::grow(
        transaction.at(),
        (table_names::WORKERS, &(id, worker_id)),
        ("transcript_len", &mut worker.transcript_len),
        1,
    )?;
    transaction.changes().put_runtime(id, runtime)?;
    transaction.changes().put_worker(id, worker_id, worker)?;
    transaction
        .changes()
        .put_transcript(id, worker_id, position, entry)?;
    Ok(WorkerInteractionAck {
        worker_ref: worker_ref.clone(),
        status,
        transcript_sequence: sequence,
        event_id: said.event_id,
    })
}

/// Ends a worker. The first terminal status stays: a worker that ended already is not changed.
pub(crate) fn end_worker(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
    (status, kind): (WorkerStatus, RuntimeEventKind),
    reason: Option<String>,
) -> Result<WorkerLifecycleAck, RuntimeError> {
    let mut runtime = running(transaction, runtime_id)?;
    pages::refuse_foreign(runtime_id, worker_ref)?;
    let mut worker = pages::worker_row(transaction, worker_ref)?;
    let current = worker.status;
    if !current.is_active() {
        return Ok(WorkerLifecycleAck {
            worker_ref: worker_ref.clone(),
            status: current,
            event_id: worker.last_event_id,
        });
    }
    let event = (Some(worker_ref), kind, reason);
    let event_id = log(transaction, runtime_id, &mut runtime, event)?;
    worker.status = status;
    worker.last_event_id = event_id;
    worker.touch(&mut runtime, transaction.now_ms());
    worker.ended_at_ms = worker.changed_at_ms;
    let (id, worker_id) = (runtime_id.as_str(), worker_ref.worker_id.as_str());
    checks::recount_worker(transaction.at(), id, &mut runtime, Some(current), status)?;
    transaction.changes().put_runtime(id, runtime)?;
    transaction.changes().put_worker(id, worker_id, worker)?;
    Ok(WorkerLifecycleAck {
        worker_ref: worker_ref.clone(),
        status,
        event_id,
    })
}

/// Stops the runtime and its active workers. A second call changes nothing.
pub(crate) fn stop_runtime(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
) -> Result<u64, RuntimeError> {
    let mut runtime = pages::runtime_row(transaction, runtime_id)?;
    if runtime.status == RuntimeStatus::Stopped {
        return Ok(runtime.next_event_id.saturating_sub(1));
    }
    stop_active_workers(transaction, runtime_id, &mut runtime)?;
    let stopped = std::mem::take(&mut runtime.running_workers);
    checks::grow(
        transaction.at(),
        (table_names::RUNTIMES, &runtime_id.as_str()),
        ("stopped_workers", &mut runtime.stopped_workers),
        stopped,
    )?;
    runtime.status = RuntimeStatus::Stopped;
    let stopped = RuntimeEventKind::RuntimeStopped;
    let event_id = log(transaction, runtime_id, &mut runtime, (None, stopped, None))?;
    transaction
        .changes()
        .put_runtime(runtime_id.as_str(), runtime)?;
    Ok(event_id)
}

fn stop_active_workers(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    runtime: &mut RuntimeRow,
) -> Result<(), RuntimeError> {
    let id = runtime_id.as_str();
    let mut last: Option<String> = None;
    loop {
        let page = transaction.workers(id, last.as_deref(), PAGE_ROWS)?;
        let Some((worker, _)) = page.last() else {
            return Ok(());
        };
        last = Some(worker.clone());
        for (worker, mut row) in page {
            if row.status.is_active() {
                row.status = WorkerStatus::Stopped;
                row.touch(runtime, transaction.now_ms());
                row.ended_at_ms = row.changed_at_ms;
                transaction.changes().put_worker(id, &worker, row)?;
            }
        }
    }
}

/// The row of a running runtime; `RuntimeStopped` for a stopped one.
pub(crate) fn running(rows: &dyn Rows, runtime_id: &RuntimeId) -> Result<RuntimeRow, RuntimeError> {
    let runtime = pages::runtime_row(rows, runtime_id)?;
    match runtime.status {
        RuntimeStatus::Running => Ok(runtime),
        RuntimeStatus::Stopped => Err(RuntimeError::RuntimeStopped {
            runtime_id: runtime_id.clone(),
        }),
    }
}

fn invalid(message: impl Into<String>) -> RuntimeError {
    RuntimeError::InvalidRequest(message.into())
}

/// The number after `last`. Fails if the numbers are exhausted.
pub(crate) fn after(last: u64, what: &str) -> Result<u64, RuntimeError> {
    last.checked_add(1)
        .ok_or_else(|| invalid(format!("{what} space exhausted")))
}

fn refuse_invalid(request: &CreateWorkerRequest) -> Result<(), RuntimeError> {
    if let WorkerIntent::Task { objective } = &request.intent
        && objective.trim().is_empty()
    {
        return Err(invalid("the objective of a task must not be blank"));
    }
    let mut capabilities = request.requested_capabilities.iter();
    if capabilities.any(|capability| capability.name.trim().is_empty()) {
        return Err(invalid("the name of a capability must not be blank"));
    }
    Ok(())
}

fn worker_id(text: String) -> Result<WorkerId, RuntimeError> {
    WorkerId::new(text).ok_or_else(|| invalid("a new worker id is blank"))
}

/// Takes the next free worker id, in the shape of the form that the runtime was imported in. An imported runtime can have, or have had, a worker with a generated id already;
/// that number is skipped.
pub(crate) fn next_worker(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
    runtime: &mut RuntimeRow,
    now_ms: u64,
) -> Result<WorkerRef, RuntimeError> {
    loop {
        let worker_id = match runtime.form.worker_ids() {
            WorkerIds::Generated => WorkerId::generated(runtime.next_worker_sequence),
            WorkerIds::Numbers => worker_id(runtime.next_worker_sequence.to_string())?,
            WorkerIds::Uuids => worker_id(uuid_v7(rows.at(), now_ms)?)?,
        };
        // Directories with UUIDs have no counter, and get none by a new worker.
        if runtime.form.worker_ids() != WorkerIds::Uuids {
            runtime.next_worker_sequence = after(runtime.next_worker_sequence, "worker number")?;
        }
        let (id, worker) = (runtime_id.as_str(), worker_id.as_str());
        if rows.worker(id, worker)?.is_none() && rows.tombstone(id, worker)?.is_none() {
            return Ok(WorkerRef::new(runtime_id.clone(), worker_id));
        }
    }
}

/// Logs one event (worker, kind, message; without one the kind's standard message). Returns its id.
pub(crate) fn log(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    runtime: &mut RuntimeRow,
    (worker_ref, kind, message): (Option<&WorkerRef>, RuntimeEventKind, Option<String>),
) -> Result<u64, RuntimeError> {
    let id = runtime.next_event_id;
    runtime.next_event_id = after(id, "event id")?;
    let worker_id = worker_ref.map(|worker| worker.worker_id.as_str());
    // A standard message is not stored, so it is built only to recognise a reason that equals it.
    let message = message.filter(|message| {
        *message != RuntimeEvent::standard_text(kind, runtime_id.as_str(), worker_id)
    });
    let row = EventRow {
        worker_id: worker_id.map(|worker_id| Cow::Owned(worker_id.to_owned())),
        kind,
        message: message.map(Cow::Owned),
        unknown: Vec::new(),
        recorded_at_ms: Some(runtime.tick(transaction.now_ms())),
        form: LineForm::spelled(runtime.form.spelling()),
    };
    transaction
        .changes()
        .put_event(runtime_id.as_str(), id, row)?;
    Ok(id)
}

/// Logs a diagnostic for each part that a new worker lacks.
fn diagnose(
    transaction: &mut Transaction<'_>,
    worker_ref: &WorkerRef,
    request: &CreateWorkerRequest,
    runtime: &mut RuntimeRow,
) -> Result<(), RuntimeError> {
    let notes = [
        (
            request.config_bundle.is_none(),
            "runtime.local_default_resources",
            "worker created without ConfigBundleRef; runtime-local defaults are assumed",
        ),
        (
            request.requested_capabilities.is_empty(),
            "worker.tools_less",
            "worker created without requested tool capabilities",
        ),
    ];
    for (_, code, message) in notes.into_iter().filter(|(applies, _, _)| *applies) {
        let id = runtime.next_diagnostic_id;
        runtime.next_diagnostic_id = after(id, "diagnostic id")?;
        checks::grow(
            transaction.at(),
            (table_names::RUNTIMES, &worker_ref.runtime_id.as_str()),
            ("diagnostics", &mut runtime.diagnostics),
            1,
        )?;
        let row = DiagnosticRow {
            severity: DiagnosticSeverity::Info,
            code: code.to_owned(),
            message: message.to_owned(),
            worker_id: Some(worker_ref.worker_id.as_str().to_owned()),
            unknown: Vec::new(),
            recorded_at_ms: Some(runtime.tick(transaction.now_ms())),
        };
        transaction
            .changes()
            .put_diagnostic(worker_ref.runtime_id.as_str(), id, row)?;
    }
    Ok(())
}

/// Protects a worker from retention, or ends the protection. Logs no event, and works on a stopped runtime, too.
pub(crate) fn set_pinned(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
    is_pinned: bool,
) -> Result<(), RuntimeError> {
    pages::refuse_foreign(runtime_id, worker_ref)?;
    let mut runtime = pages::runtime_row(transaction, runtime_id)?;
    let mut worker = pages::worker_row(transaction, worker_ref)?;
    if worker.is_pinned == is_pinned {
        return Ok(());
    }
    worker.is_pinned = is_pinned;
    worker.touch(&mut runtime, transaction.now_ms());
    let (id, worker_id) = (runtime_id.as_str(), worker_ref.worker_id.as_str());
    transaction.changes().put_runtime(id, runtime)?;
    transaction.changes().put_worker(id, worker_id, worker)
}
