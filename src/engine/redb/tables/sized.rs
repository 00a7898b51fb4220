//! Walks the rows of one log or of one group with their sizes, as the census counts them.

use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, TRANSCRIPTS, TableOf, Tables, WORKERS,
};
use crate::engine::redb::tables::view::View;
use crate::engine::redb::tables::walk::key_bytes;
use crate::error::RuntimeError;
use crate::ledger::convert::stored_size;
use crate::ledger::retention::RowFacts;
use crate::ledger::rows::{DiagnosticRow, EventRow, TranscriptRow, WorkerRow};
use crate::ledger::snapshot_rows::EachSized;
use crate::ledger::stored::envelope::{self, KeyBytes, Record};
use redb::Key;
use std::cmp::Ordering;
use std::ops::ControlFlow;

impl<T: Tables> View<'_, T> {
    /// Passes the events from `from` on to `each`.
    pub(crate) fn facts_of_events(
        &self,
        runtime: &str,
        from: u64,
        each: &mut EachSized<'_, RowFacts>,
    ) -> Result<(), RuntimeError> {
        let place = |(owner, id): &(&str, u64)| (owner.cmp(&runtime), *id);
        self.sized(&EVENTS, (runtime, from), place, |number, row, bytes| {
            let row: EventRow<'_> = row;
            each(facts(number, row.recorded_at_ms, bytes), bytes)
        })
    }

    /// Passes the entries from position `from` on to `each`.
    pub(crate) fn facts_of_entries(
        &self,
        (runtime, worker): (&str, &str),
        from: u64,
        each: &mut EachSized<'_, RowFacts>,
    ) -> Result<(), RuntimeError> {
        let group = (runtime, worker);
        let place =
            |(owner, of, position): &(&str, &str, u64)| ((*owner, *of).cmp(&group), *position);
        let first = (runtime, worker, from);
        self.sized(&TRANSCRIPTS, first, place, |number, row, bytes| {
            let row: TranscriptRow<'_> = row;
            each(facts(number, row.recorded_at_ms, bytes), bytes)
        })
    }

    /// Passes the diagnostics of a runtime to `each`.
    pub(crate) fn diagnostics_with_sizes(
        &self,
        runtime: &str,
        each: &mut EachSized<'_, (u64, DiagnosticRow)>,
    ) -> Result<(), RuntimeError> {
        let place = |(owner, id): &(&str, u64)| (owner.cmp(&runtime), *id);
        self.sized(&DIAGNOSTICS, (runtime, 0), place, |id, row, bytes| {
            each((id, row), bytes)
        })
    }

    /// The row of a worker with its size.
    pub(crate) fn worker_with_size(
        &self,
        (runtime, worker): (&str, &str),
    ) -> Result<Option<(WorkerRow, u64)>, RuntimeError> {
        let group = (runtime, worker);
        let place = |key: &(&str, &str)| (key.cmp(&group), 0);
        let mut found = None;
        self.sized(&WORKERS, group, place, |_, row, bytes| {
            found = Some((row, bytes));
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Passes the rows of one group to `each`, from the key `first` on. `place` says how the group of a key compares with
    /// it, and the number of the key.
    fn sized<K, R>(
        &self,
        table: &TableOf<K, R>,
        first: K::SelfType<'_>,
        place: impl for<'k> Fn(&K::SelfType<'k>) -> (Ordering, u64),
        mut each: impl for<'v> FnMut(u64, R::Read<'v>, u64) -> Result<ControlFlow<()>, RuntimeError>,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        R: Record,
        for<'k> K::SelfType<'k>: KeyBytes,
    {
        let mut last = None;
        self.walk_from(table, Some(first), usize::MAX, |key, value| {
            let key = key.value();
            let number = match place(&key) {
                (Ordering::Greater, _) => return Ok(ControlFlow::Break(())),
                (Ordering::Equal, number) if last < Some(number) => number,
                // In a damaged file a walk can lead back.
                _ => return Err(self.out_of_place(table.name)),
            };
            last = Some(number);
            let row = envelope::decode::<R>(table.name, &key, value.value())
                .map_err(|message| self.unreadable(table.name, &key, message))?;
            let bytes = stored_size(key_bytes::<K>(&key) + value.value().len());
            each(number, row, bytes)
        })
    }
}

fn facts(number: u64, time_ms: Option<u64>, bytes: u64) -> RowFacts {
    RowFacts {
        number,
        bytes,
        time_ms,
    }
}
