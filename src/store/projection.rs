//! Pages of events and transcripts in the model's form, and the refusals that go with them.

use super::convert::{self, WorkerRefs, size, stored_size};
use super::persisted::Stored;
use super::read::{PAGE_ROWS, Rows};
use super::record::{TranscriptRow, WorkerRecord};
use crate::error::RuntimeError;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::{TranscriptEntry, TranscriptProjection, TranscriptQuery};
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
    let mut refs = WorkerRefs::new(runtime_id);
    let mut events = Vec::with_capacity(limit.min(PAGE_ROWS));
    let mut has_more = false;
    // One more than asked for says whether there are more.
    let (from, wanted) = (cursor.next_event_id, limit.saturating_add(1));
    rows.events(runtime_id.as_str(), from, wanted, &mut |id, row| {
        if events.len() == limit {
            has_more = true;
            return Ok(());
        }
        let event = convert::event(&mut refs, id, row);
        events.push(event.map_err(|message| rows.at().corrupt(message))?.value);
        Ok(())
    })?;
    let next_event_id = match events.last() {
        Some(last) => last
            .id
            .checked_add(1)
            .ok_or_else(|| rows.at().corrupt("the last event id has no next"))?,
        None => from,
    };
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

/// Shows up to `limit` rows from position `start` on of a transcript that has `total` to `each`.
/// Returns how many they are.
pub(crate) fn transcript_rows(
    rows: &dyn Rows,
    worker_ref: &WorkerRef,
    (start, limit): (u64, usize),
    total: u64,
    each: &mut dyn FnMut(TranscriptRow<'_>) -> Result<(), RuntimeError>,
) -> Result<usize, RuntimeError> {
    let expected = size(total.saturating_sub(start)).min(limit);
    let (runtime, worker) = (
        worker_ref.runtime_id.as_str(),
        worker_ref.worker_id.as_str(),
    );
    // A position that is missing would shift every later one: damage, never another page.
    let missing = || {
        rows.at().corrupt(format!(
            "table transcripts: {worker_ref} says {total} entries, but from position {start} on \
             some are missing"
        ))
    };
    let mut seen = 0;
    rows.transcript(runtime, worker, start, expected, &mut |position, row| {
        if position != start.saturating_add(stored_size(seen)) {
            return Err(missing());
        }
        seen += 1;
        each(row)
    })?;
    match seen == expected {
        true => Ok(seen),
        false => Err(missing()),
    }
}

/// The same rows as entries, each as `form` makes it.
pub(crate) fn transcript_entries<T>(
    rows: &dyn Rows,
    worker_ref: &WorkerRef,
    (start, limit): (u64, usize),
    total: u64,
    form: impl Fn(Stored<TranscriptEntry>) -> T,
) -> Result<Vec<T>, RuntimeError> {
    let expected = size(total.saturating_sub(start)).min(limit);
    let mut entries = Vec::with_capacity(expected.min(PAGE_ROWS));
    transcript_rows(rows, worker_ref, (start, limit), total, &mut |row| {
        entries.push(form(convert::transcript_entry(worker_ref, row)));
        Ok(())
    })?;
    Ok(entries)
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
    let range = (start, query.limit);
    let items = transcript_entries(rows, worker_ref, range, total, |entry| entry.value)?;
    let next = query.start.saturating_add(items.len());
    Ok(TranscriptProjection {
        worker_ref: worker_ref.clone(),
        start: query.start,
        limit: query.limit,
        total_items: size(total),
        items,
        next_start: (stored_size(next) < total).then_some(next),
    })
}
