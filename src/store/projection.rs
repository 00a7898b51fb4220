//! Pages of events and transcripts in the model's form, and the refusals that go with them.

use super::convert::{self, size, stored_size};
use super::read::Rows;
use super::record::{TranscriptRecord, WorkerRecord};
use crate::error::RuntimeError;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::{TranscriptProjection, TranscriptQuery};
use crate::model::observation::{EventCursor, RuntimeEventBatch};

/// Refuses a ref of another runtime than `runtime_id`.
pub(crate) fn refuse_foreign(
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
) -> Result<(), RuntimeError> {
    if worker_ref.runtime_id == *runtime_id {
        return Ok(());
    }
    Err(RuntimeError::WrongRuntime {
        expected_runtime_id: runtime_id.clone(),
        actual_runtime_id: worker_ref.runtime_id.clone(),
        worker_id: worker_ref.worker_id.clone(),
    })
}

/// Refuses a cursor of another runtime than `runtime_id`.
pub(crate) fn refuse_foreign_cursor(
    runtime_id: &RuntimeId,
    cursor: &EventCursor,
) -> Result<(), RuntimeError> {
    if cursor.runtime_id == *runtime_id {
        return Ok(());
    }
    Err(RuntimeError::WrongRuntimeCursor {
        expected_runtime_id: runtime_id.clone(),
        actual_runtime_id: cursor.runtime_id.clone(),
    })
}

fn refuse_limit(requested: usize, max: usize) -> Result<(), RuntimeError> {
    if requested > max {
        return Err(RuntimeError::LimitTooLarge { requested, max });
    }
    Ok(())
}

/// The worker's row; its runtime is known to be the right one.
pub(crate) fn worker_row(
    rows: &dyn Rows,
    worker_ref: &WorkerRef,
) -> Result<WorkerRecord, RuntimeError> {
    let (runtime_id, worker_id) = (&worker_ref.runtime_id, &worker_ref.worker_id);
    rows.worker(runtime_id.as_str(), worker_id.as_str())?
        .ok_or_else(|| RuntimeError::WorkerNotFound {
            runtime_id: runtime_id.clone(),
            worker_id: worker_id.clone(),
        })
}

/// Up to `limit` events from `cursor` on.
pub(crate) fn read_events(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
    cursor: &EventCursor,
    limit: usize,
    max_limit: usize,
) -> Result<RuntimeEventBatch, RuntimeError> {
    refuse_foreign_cursor(runtime_id, cursor)?;
    refuse_limit(limit, max_limit)?;
    // One more than asked for says whether there are more.
    let wanted = limit.saturating_add(1);
    let mut page = rows.events(runtime_id.as_str(), cursor.next_event_id, wanted)?;
    let has_more = page.len() > limit;
    page.truncate(limit);
    let next_event_id = match page.last() {
        Some((last, _)) => last
            .checked_add(1)
            .ok_or_else(|| rows.at().corrupt("the last event id has no next"))?,
        None => cursor.next_event_id,
    };
    let mut events = Vec::with_capacity(page.len());
    for (id, record) in page {
        let event =
            convert::event(runtime_id, id, record).map_err(|message| rows.at().corrupt(message))?;
        events.push(event.value);
    }
    Ok(RuntimeEventBatch {
        runtime_id: runtime_id.clone(),
        cursor: EventCursor {
            runtime_id: runtime_id.clone(),
            next_event_id,
        },
        events,
        has_more,
    })
}

/// Up to `limit` rows from position `start` on of a transcript that has `total`.
pub(crate) fn transcript_rows(
    rows: &dyn Rows,
    worker_ref: &WorkerRef,
    start: u64,
    limit: usize,
    total: u64,
) -> Result<Vec<(u64, TranscriptRecord)>, RuntimeError> {
    let expected = size(total.saturating_sub(start)).min(limit);
    let (runtime, worker) = (
        worker_ref.runtime_id.as_str(),
        worker_ref.worker_id.as_str(),
    );
    let page = rows.transcript(runtime, worker, start, expected)?;
    // A position that is missing would shift every later one: damage, never another page.
    let whole = page
        .iter()
        .zip(start..)
        .all(|((at, _), wanted)| *at == wanted);
    if page.len() != expected || !whole {
        return Err(rows.at().corrupt(format!(
            "table transcripts: {worker_ref} says {total} entries, but from position {start} on \
             some are missing"
        )));
    }
    Ok(page)
}

/// A page of a worker's transcript.
pub(crate) fn read_transcript(
    rows: &dyn Rows,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
    query: TranscriptQuery,
    max_limit: usize,
) -> Result<TranscriptProjection, RuntimeError> {
    refuse_foreign(runtime_id, worker_ref)?;
    refuse_limit(query.limit, max_limit)?;
    let total = worker_row(rows, worker_ref)?.transcript_len;
    let start = stored_size(query.start);
    let page = transcript_rows(rows, worker_ref, start, query.limit, total)?;
    let next = query.start.saturating_add(page.len());
    let items = page
        .into_iter()
        .map(|(_, record)| convert::transcript_entry(worker_ref, record).value)
        .collect();
    Ok(TranscriptProjection {
        worker_ref: worker_ref.clone(),
        start: query.start,
        limit: query.limit,
        total_items: size(total),
        items,
        next_start: (stored_size(next) < total).then_some(next),
    })
}
