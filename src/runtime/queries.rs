//! The rules of every read. A read works on a snapshot and within a transaction alike.

use crate::error::RuntimeError;
use crate::ledger::convert;
use crate::ledger::convert::size;
use crate::ledger::rows::{Rows, RuntimeRow, WorkerRow};
use crate::ledger::whole;
use crate::model::catalog::{WorkerDetail, WorkerSummary};
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::{RecordedTranscript, TranscriptProjection, TranscriptQuery};
use crate::model::management::{RuntimeBackendKind, RuntimeSummary};
use crate::model::observation::{EventCursor, RecordedEventBatch, RuntimeEventBatch};
use crate::runtime::pages;

/// The summary of a runtime. It reads one row, whatever the number of workers.
pub(crate) fn summary(
    runtime_id: &RuntimeId,
    row: RuntimeRow,
    backend: RuntimeBackendKind,
) -> RuntimeSummary {
    let workers = row.workers();
    RuntimeSummary {
        runtime_id: runtime_id.clone(),
        backend,
        status: row.status,
        worker_count: size(workers),
        active_worker_count: size(row.running_workers),
        stopped_worker_count: size(row.stopped_workers),
        cancelled_worker_count: size(row.cancelled_workers),
        diagnostic_count: size(row.diagnostics),
        limits: convert::limits(&row),
        display_name: row.display_name,
    }
}

/// The runtime's diagnostics.
pub(crate) fn diagnostics(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
) -> Result<Vec<RuntimeDiagnostic>, RuntimeError> {
    let runtime = pages::runtime_row(rows, runtime_id)?;
    let all = whole::all_diagnostics(rows, runtime_id, &runtime)?;
    Ok(all.into_iter().map(|stored| stored.value).collect())
}

/// All workers, in the order of their ids.
pub(crate) fn list_workers(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
) -> Result<Vec<WorkerSummary>, RuntimeError> {
    let runtime = pages::runtime_row(rows, runtime_id)?;
    let all = whole::all_workers(rows, runtime_id, &runtime)?;
    Ok(all
        .into_iter()
        .map(|(worker_ref, record)| worker_summary(worker_ref, record))
        .collect())
}

pub(crate) fn worker_summary(worker_ref: WorkerRef, record: WorkerRow) -> WorkerSummary {
    let transcript_len = size(record.transcript_len);
    let snapshot = convert::worker_snapshot(worker_ref, record).value;
    WorkerSummary {
        runtime_id: snapshot.worker_ref.runtime_id.clone(),
        worker_id: snapshot.worker_ref.worker_id.clone(),
        worker_ref: snapshot.worker_ref,
        status: snapshot.status,
        requested_capability_count: snapshot.request.requested_capabilities.len(),
        has_config_bundle: snapshot.request.config_bundle.is_some(),
        intent: snapshot.request.intent,
        profile: snapshot.request.profile,
        transcript_len,
        last_event_id: snapshot.last_event_id,
    }
}

/// A worker with the request that created it.
pub(crate) fn worker_detail(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
) -> Result<WorkerDetail, RuntimeError> {
    pages::refuse_foreign(runtime_id, worker_ref)?;
    Ok(detail(worker_ref, pages::worker_row(rows, worker_ref)?))
}

pub(crate) fn detail(worker_ref: &WorkerRef, record: WorkerRow) -> WorkerDetail {
    let transcript_len = size(record.transcript_len);
    let snapshot = convert::worker_snapshot(worker_ref.clone(), record).value;
    let request = snapshot.request;
    WorkerDetail {
        worker_ref: worker_ref.clone(),
        runtime_id: worker_ref.runtime_id.clone(),
        worker_id: worker_ref.worker_id.clone(),
        status: snapshot.status,
        intent: request.intent,
        profile: request.profile,
        config_bundle: request.config_bundle,
        requested_capabilities: request.requested_capabilities,
        workspace_refs: request.workspace_refs,
        mount_refs: request.mount_refs,
        transcript_len,
        last_event_id: snapshot.last_event_id,
    }
}

/// A page of a worker's transcript, within the runtime's limits.
pub(crate) fn transcript_projection(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
    query: TranscriptQuery,
) -> Result<TranscriptProjection, RuntimeError> {
    pages::refuse_foreign(runtime_id, worker_ref)?;
    let limits = convert::limits(&pages::runtime_row(rows, runtime_id)?);
    let max = limits.max_transcript_projection_items;
    pages::read_transcript(rows, worker_ref, query, max)
}

/// A page of the event log, within the runtime's limits.
pub(crate) fn read_events(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
    cursor: &EventCursor,
    limit: usize,
) -> Result<RuntimeEventBatch, RuntimeError> {
    pages::refuse_foreign_cursor(runtime_id, cursor)?;
    let limits = convert::limits(&pages::runtime_row(rows, runtime_id)?);
    pages::read_events(
        rows,
        runtime_id,
        cursor,
        limit,
        limits.max_event_batch_items,
    )
}

/// As [`transcript_projection`], with times.
pub(crate) fn recorded_transcript(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
    query: TranscriptQuery,
) -> Result<RecordedTranscript, RuntimeError> {
    pages::refuse_foreign(runtime_id, worker_ref)?;
    let limits = convert::limits(&pages::runtime_row(rows, runtime_id)?);
    let max = limits.max_transcript_projection_items;
    pages::read_recorded_transcript(rows, worker_ref, query, max)
}

/// As [`read_events`], with times.
pub(crate) fn recorded_events(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
    cursor: &EventCursor,
    limit: usize,
) -> Result<RecordedEventBatch, RuntimeError> {
    pages::refuse_foreign_cursor(runtime_id, cursor)?;
    let limits = convert::limits(&pages::runtime_row(rows, runtime_id)?);
    let max = limits.max_event_batch_items;
    pages::read_recorded_events(rows, runtime_id, cursor, limit, max)
}
