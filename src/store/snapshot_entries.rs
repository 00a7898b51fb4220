//! Entries of transcripts, found from events.

use crate::error::RuntimeError;
use crate::ledger::convert;
use crate::ledger::rows::TranscriptRow;
use crate::model::identity::WorkerRef;
use crate::model::interaction::{TranscriptEntry, TranscriptRole};
use crate::store::snapshot::Snapshot;

impl Snapshot {
    /// The entry that was made by the input of the event `event_id`; `None` for an event that made no entry, for an entry
    /// that was pruned or deleted, and for an unknown worker.
    ///
    /// The ids of the events of entries increase along a transcript, so about 20 rows of a transcript of a million entries
    /// are read, each whole. In an imported transcript where they do not, an entry can be missed.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn entry_of_event(
        &self,
        worker: &WorkerRef,
        event_id: u64,
    ) -> Result<Option<TranscriptEntry>, RuntimeError> {
        let positions = self.positions(worker)?;
        let (mut start, mut end) = (positions.start, positions.end);
        while start < end {
            let middle = start + (end - start) / 2;
            let id = self.entry_at(worker, middle, |row| row.event_id)?;
            match id.is_some_and(|id| id < event_id) {
                true => start = middle + 1,
                false => end = middle,
            }
        }
        // Replies have the id of the last event before them: an input is the first entry with the id of its event.
        let entry = self.entry_at(worker, start, |row| {
            let is_input = row.event_id == event_id && row.role != TranscriptRole::Assistant;
            is_input.then(|| convert::transcript_entry(worker, row).value)
        })?;
        Ok(entry.flatten())
    }

    /// What `form` makes of the entry at a position; `None` if there is none.
    fn entry_at<T>(
        &self,
        worker: &WorkerRef,
        position: u64,
        mut form: impl FnMut(TranscriptRow<'_>) -> T,
    ) -> Result<Option<T>, RuntimeError> {
        let (runtime, id) = convert::owner_of(worker);
        let mut found = None;
        self.view()
            .transcript(runtime, id, position, 1, &mut |at, row| {
                if at == position {
                    found = Some(form(row));
                }
                Ok(())
            })?;
        Ok(found)
    }
}
