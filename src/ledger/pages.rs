//! Pages of transcripts in the model's form.

use crate::error::RuntimeError;
use crate::ledger::convert::{size, stored_size};
use crate::ledger::rows::{PAGE_ROWS, Rows, TranscriptRow};
use crate::model::identity::WorkerRef;

/// Passes up to `limit` rows from position `start` on to `each`, of a transcript with `total` entries.
/// Returns their number.
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
    // A missing position would shift every later entry, so it is an error and not a shorter page.
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

/// The entries of those rows, each in the form that `form` gives it. An error of `form` is damage.
pub(crate) fn transcript_entries<T>(
    rows: &dyn Rows,
    worker_ref: &WorkerRef,
    (start, limit): (u64, usize),
    total: u64,
    form: impl Fn(&WorkerRef, TranscriptRow<'_>) -> Result<T, String>,
) -> Result<Vec<T>, RuntimeError> {
    let expected = size(total.saturating_sub(start)).min(limit);
    let mut entries = Vec::with_capacity(expected.min(PAGE_ROWS));
    transcript_rows(rows, worker_ref, (start, limit), total, &mut |row| {
        let entry = form(worker_ref, row);
        entries.push(entry.map_err(|message| rows.at().corrupt(message))?);
        Ok(())
    })?;
    Ok(entries)
}
