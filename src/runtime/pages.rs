//! Pages of events and transcripts in the model's form, and the requests for them that are rejected.

use crate::error::RuntimeError;
use crate::ledger::checks;
use crate::ledger::convert::{self, WorkerRefs, size, stored_size};
use crate::ledger::pages::transcript_entries;
use crate::ledger::rows::{
    EventRow, FIRST_EVENT_ID, PAGE_ROWS, Rows, RuntimeRow, TranscriptRow, WorkerRow,
};
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::{RecordedTranscript, TranscriptProjection, TranscriptQuery};
use crate::model::observation::{EventCursor, RecordedEventBatch, RuntimeEventBatch};
use crate::model::persisted::Stored;

/// Rejects the ref of a worker of another runtime, and one with an id that is too long.
pub(crate) fn refuse_foreign(
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
) -> Result<(), RuntimeError> {
    checks::refuse_long_ref(worker_ref)?;
    if worker_ref.runtime_id == *runtime_id {
        return Ok(());
    }
    Err(RuntimeError::WrongRuntime {
        expected_runtime_id: runtime_id.clone(),
        actual_runtime_id: worker_ref.runtime_id.clone(),
        worker_id: worker_ref.worker_id.clone(),
    })
}

/// Rejects a cursor into the log of another runtime.
pub(crate) fn refuse_foreign_cursor(
    runtime_id: &RuntimeId,
    cursor: &EventCursor,
) -> Result<(), RuntimeError> {
    checks::refuse_long_id(cursor.runtime_id.as_str())?;
    if cursor.runtime_id == *runtime_id {
        return Ok(());
    }
    Err(RuntimeError::WrongRuntimeCursor {
        expected_runtime_id: runtime_id.clone(),
        actual_runtime_id: cursor.runtime_id.clone(),
    })
}

/// Rejects a cursor below the floor of the event log: some of the events that it asks for were removed.
fn refuse_pruned(runtime: &RuntimeRow, cursor: &EventCursor) -> Result<(), RuntimeError> {
    let (requested, first) = (cursor.next_event_id, runtime.first_event_id);
    // Ids begin at 1, so a cursor of 0 asks for nothing that a log without a floor ever had.
    if first > FIRST_EVENT_ID && requested < first {
        return Err(RuntimeError::EventsPruned { requested, first });
    }
    Ok(())
}

fn refuse_limit(requested: usize, max: usize) -> Result<(), RuntimeError> {
    if requested > max {
        return Err(RuntimeError::LimitTooLarge { requested, max });
    }
    Ok(())
}

/// The worker's row, or `WorkerNotFound`. The caller has checked the runtime of the ref.
pub(crate) fn worker_row(
    rows: &dyn Rows,
    worker_ref: &WorkerRef,
) -> Result<WorkerRow, RuntimeError> {
    let (runtime_id, worker_id) = (&worker_ref.runtime_id, &worker_ref.worker_id);
    rows.worker(runtime_id.as_str(), worker_id.as_str())?
        .ok_or_else(|| RuntimeError::WorkerNotFound {
            runtime_id: runtime_id.clone(),
            worker_id: worker_id.clone(),
        })
}

/// Reads up to `limit` events from `cursor` on. The caller has checked that the cursor is of this runtime.
pub(crate) fn read_events(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
    cursor: &EventCursor,
    limit: usize,
    max_limit: usize,
) -> Result<RuntimeEventBatch, RuntimeError> {
    let page = event_page(rows, runtime_id, cursor, (limit, max_limit), convert::event)?;
    Ok(RuntimeEventBatch {
        runtime_id: runtime_id.clone(),
        cursor: page.cursor,
        events: page.events,
        has_more: page.has_more,
    })
}

/// As [`read_events`], with times.
pub(crate) fn read_recorded_events(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
    cursor: &EventCursor,
    limit: usize,
    max_limit: usize,
) -> Result<RecordedEventBatch, RuntimeError> {
    let limits = (limit, max_limit);
    let page = event_page(rows, runtime_id, cursor, limits, convert::recorded_event)?;
    Ok(RecordedEventBatch {
        runtime_id: runtime_id.clone(),
        cursor: page.cursor,
        events: page.events,
        has_more: page.has_more,
    })
}

/// A page of events in any form.
struct EventPage<T> {
    cursor: EventCursor,
    events: Vec<T>,
    has_more: bool,
}

/// Reads a page of events, each in the form that `form` gives it.
fn event_page<T>(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
    cursor: &EventCursor,
    (limit, max_limit): (usize, usize),
    form: impl Fn(&mut WorkerRefs<'_>, u64, EventRow<'_>) -> Result<Stored<T>, String>,
) -> Result<EventPage<T>, RuntimeError> {
    refuse_limit(limit, max_limit)?;
    refuse_pruned(&runtime_row(rows, runtime_id)?, cursor)?;
    let mut refs = WorkerRefs::new(runtime_id);
    let mut events = Vec::with_capacity(limit.min(PAGE_ROWS));
    let mut has_more = false;
    let mut last = None;
    // One event more than requested shows whether events follow the batch.
    let (from, wanted) = (cursor.next_event_id, limit.saturating_add(1));
    rows.events(runtime_id.as_str(), from, wanted, &mut |id, row| {
        if events.len() == limit {
            has_more = true;
            return Ok(());
        }
        let event = form(&mut refs, id, row);
        events.push(event.map_err(|message| rows.at().corrupt(message))?.value);
        last = Some(id);
        Ok(())
    })?;
    let next_event_id = match last {
        Some(last) => last
            .checked_add(1)
            .ok_or_else(|| rows.at().corrupt("the last event id has no next"))?,
        None => from,
    };
    Ok(EventPage {
        cursor: EventCursor {
            runtime_id: runtime_id.clone(),
            next_event_id,
        },
        events,
        has_more,
    })
}

/// Reads a page of a worker's transcript. The caller has checked that the worker is of its runtime.
pub(crate) fn read_transcript(
    rows: &dyn Rows,
    worker_ref: &WorkerRef,
    query: TranscriptQuery,
    max_limit: usize,
) -> Result<TranscriptProjection, RuntimeError> {
    let page = entry_page(rows, worker_ref, query, max_limit, |worker, row| {
        Ok(convert::transcript_entry(worker, row).value)
    })?;
    Ok(TranscriptProjection {
        worker_ref: worker_ref.clone(),
        start: page.start,
        limit: query.limit,
        total_items: page.total_items,
        items: page.items,
        next_start: page.next_start,
    })
}

/// As [`read_transcript`], with times.
pub(crate) fn read_recorded_transcript(
    rows: &dyn Rows,
    worker_ref: &WorkerRef,
    query: TranscriptQuery,
    max_limit: usize,
) -> Result<RecordedTranscript, RuntimeError> {
    let page = entry_page(rows, worker_ref, query, max_limit, |worker, row| {
        Ok(convert::recorded_entry(worker, row)?.value)
    })?;
    Ok(RecordedTranscript {
        worker_ref: worker_ref.clone(),
        start: page.start,
        limit: query.limit,
        total_items: page.total_items,
        items: page.items,
        next_start: page.next_start,
    })
}

/// A page of entries in any form.
struct EntryPage<T> {
    /// The position of the first item.
    start: usize,
    total_items: usize,
    items: Vec<T>,
    next_start: Option<usize>,
}

/// Reads a page of entries, each in the form that `form` gives it.
fn entry_page<T>(
    rows: &dyn Rows,
    worker_ref: &WorkerRef,
    query: TranscriptQuery,
    max_limit: usize,
    form: impl Fn(&WorkerRef, TranscriptRow<'_>) -> Result<T, String>,
) -> Result<EntryPage<T>, RuntimeError> {
    refuse_limit(query.limit, max_limit)?;
    let worker = worker_row(rows, worker_ref)?;
    let total = worker.transcript_len;
    // Positions never shift, so a query of pruned entries begins with the first one that remains.
    let start = stored_size(query.start).max(worker.first_position);
    let items = transcript_entries(rows, worker_ref, (start, query.limit), total, form)?;
    let start = size(start);
    let next = start.saturating_add(items.len());
    Ok(EntryPage {
        start,
        total_items: size(total),
        items,
        next_start: (stored_size(next) < total).then_some(next),
    })
}

fn not_found(rows: &dyn Rows, runtime_id: &RuntimeId) -> RuntimeError {
    RuntimeError::RuntimeNotFound {
        path: rows.at().path().to_owned(),
        runtime_id: runtime_id.clone(),
    }
}

/// The runtime's row, or `RuntimeNotFound`.
pub(crate) fn runtime_row(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
) -> Result<RuntimeRow, RuntimeError> {
    rows.runtime(runtime_id.as_str())?
        .ok_or_else(|| not_found(rows, runtime_id))
}
