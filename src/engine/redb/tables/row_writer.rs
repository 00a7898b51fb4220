//! Writing rows to the tables of a write transaction.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, FILES, IMPORTS, META, RUNTIMES, TOMBSTONES, TRANSCRIPTS, TableOf, WORKERS,
};
use crate::engine::redb::tables::view::after_runtime;
use crate::error::RuntimeError;
use crate::ledger::change_set::ChangeSet;
use crate::ledger::removals::ALL;
use crate::ledger::stored::envelope::{self, KeyBytes, Record};
use crate::ledger::stored::record::MetaRecord;
use crate::ledger::table_names::OPENINGS;
use redb::{CursorError, Key, WriteTransaction};
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};

impl ChangeSet {
    /// Removes the rows to remove, then writes every row to `transaction`: one table after the other, and the rows of a table in the
    /// order of their keys. Random order takes several times as long and more space in the file.
    pub(crate) fn write(
        &self,
        transaction: &WriteTransaction,
        at: RedbContext<'_>,
    ) -> Result<(), RuntimeError> {
        let all = || {
            self.runtimes
                .iter()
                .map(|(id, staged)| (id.as_str(), staged))
        };
        let writer = RowWriter { transaction, at };
        self.remove_from(&writer)?;
        self.write_last_opening(&writer)?;
        writer.write(
            &RUNTIMES,
            all().filter_map(|(id, staged)| Some((id, staged.row.as_ref()?))),
        )?;
        writer.write(
            &WORKERS,
            all().flat_map(|(id, staged)| {
                let rows = staged.workers.iter();
                rows.map(move |(worker, row)| ((id, worker.as_str()), row))
            }),
        )?;
        writer.append(
            &EVENTS,
            all().map(|(id, staged)| {
                let rows = staged.events.iter();
                rows.map(move |(event, row)| ((id, *event), row))
            }),
        )?;
        writer.append(
            &TRANSCRIPTS,
            all().flat_map(|(id, staged)| {
                let transcripts = staged.transcripts.iter();
                transcripts.map(move |(worker, entries)| {
                    let rows = entries.iter();
                    rows.map(move |(position, row)| ((id, worker.as_str(), *position), row))
                })
            }),
        )?;
        writer.write(
            &TRANSCRIPTS,
            all().flat_map(|(id, staged)| {
                let rewritten = staged.rewritten.iter();
                rewritten.flat_map(move |(worker, entries)| {
                    let rows = entries.iter();
                    rows.map(move |(position, row)| ((id, worker.as_str(), *position), row))
                })
            }),
        )?;
        writer.write(
            &DIAGNOSTICS,
            all().flat_map(|(id, staged)| {
                let rows = staged.diagnostics.iter();
                rows.map(move |(diagnostic, row)| ((id, *diagnostic), row))
            }),
        )?;
        writer.write(
            &IMPORTS,
            all().filter_map(|(id, staged)| Some((id, staged.import.as_ref()?))),
        )?;
        writer.write(
            &TOMBSTONES,
            all().flat_map(|(id, staged)| {
                let rows = staged.tombstones.iter();
                rows.map(move |(worker, row)| ((id, worker.as_str()), row))
            }),
        )
    }

    fn write_last_opening(&self, writer: &RowWriter<'_>) -> Result<(), RuntimeError> {
        let number = self.last_opening.map(MetaRecord::Number);
        writer.write(&META, number.iter().map(|number| (OPENINGS, number)))
    }

    /// Removes the rows to remove, one table after the other.
    fn remove_from(&self, writer: &RowWriter<'_>) -> Result<(), RuntimeError> {
        let all = || {
            let runtimes = self.runtimes.iter();
            runtimes.map(|(id, staged)| (id.as_str(), &staged.removed))
        };
        let runtimes = || all().filter(|(_, removed)| removed.runtime);
        writer.remove(&RUNTIMES, runtimes().map(|(id, _)| only(id)))?;
        writer.remove(&IMPORTS, runtimes().map(|(id, _)| only(id)))?;
        let workers = all().flat_map(|(id, removed)| {
            let workers = removed.workers.iter();
            workers.map(move |worker| only((id, worker.as_str())))
        });
        writer.remove(&WORKERS, workers)?;
        let events = all().filter(|(_, removed)| removed.events_below > 0);
        writer.remove(
            &EVENTS,
            events.map(|(id, removed)| numbers_below(removed.events_below, |event| (id, event))),
        )?;
        let entries = all().flat_map(|(id, removed)| {
            let floors = removed.entries_below.iter();
            floors.map(move |(worker, floor)| {
                numbers_below(*floor, |position| (id, worker.as_str(), position))
            })
        });
        writer.remove(&TRANSCRIPTS, entries)?;
        let whole: Vec<(&str, String)> = all()
            .filter(|(_, removed)| removed.all_entries)
            .map(|(id, _)| (id, after_runtime(id)))
            .collect();
        let whole = whole
            .iter()
            .map(|(id, next)| (*id, "", 0)..(next.as_str(), "", 0));
        writer.remove(&TRANSCRIPTS, whole)?;
        let diagnostics = all().flat_map(|(id, removed)| {
            let diagnostics = removed.diagnostics.iter();
            diagnostics.map(move |diagnostic| only((id, *diagnostic)))
        });
        writer.remove(&DIAGNOSTICS, diagnostics)?;
        let tombstones = all().flat_map(|(id, removed)| {
            let workers = removed.tombstones.iter();
            workers.map(move |worker| only((id, worker.as_str())))
        });
        writer.remove(&TOMBSTONES, tombstones)?;
        let files = all().flat_map(|(id, removed)| {
            let files = removed.files.iter();
            files.map(move |(path, chunk)| only((id, path.as_str(), *chunk)))
        });
        writer.remove(&FILES, files)
    }
}

/// The first and the last key of a range.
type KeyRange<K> = (Bound<K>, Bound<K>);

/// The range of one key.
fn only<K: Copy>(key: K) -> KeyRange<K> {
    (Bound::Included(key), Bound::Included(key))
}

/// The range of the numbers below `floor`.
fn numbers_below<K>(floor: u64, key: impl Fn(u64) -> K) -> KeyRange<K> {
    let end = match floor {
        ALL => Bound::Included(key(ALL)),
        floor => Bound::Excluded(key(floor)),
    };
    (Bound::Included(key(0)), end)
}

/// The number of rows of one log from which a cursor is used instead of single inserts.
///
/// Measured: a cursor takes 16 % fewer instructions for a commit of 64 inputs to 8 workers, and 5 %
/// more for one of 8 inputs to one worker.
const CURSOR_ROWS: usize = 8;

/// How an insert treats a row with the same key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Replace,
    Refuse,
}

/// Writes records to the tables of a transaction.
pub(crate) struct RowWriter<'a> {
    pub(crate) transaction: &'a WriteTransaction,
    pub(crate) at: RedbContext<'a>,
}

impl RowWriter<'_> {
    /// Inserts `rows`, which replace rows with the same key. Without rows the table is not opened.
    pub(crate) fn write<'r, K, R: Record + 'r>(
        &self,
        table: &TableOf<K, R>,
        rows: impl Iterator<Item = (K::SelfType<'r>, &'r R)>,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        K::SelfType<'r>: KeyBytes,
    {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut open = self
            .transaction
            .open_table(table.definition)
            .map_err(|error| self.at.redb(error))?;
        self.insert_each(table, &mut open, rows, Existing::Replace)
    }

    /// Removes the rows of all `ranges`. Without ranges the table is not opened.
    pub(crate) fn remove<'r, K: Key + 'static, R>(
        &self,
        table: &TableOf<K, R>,
        ranges: impl Iterator<Item = impl RangeBounds<K::SelfType<'r>> + 'r>,
    ) -> Result<(), RuntimeError> {
        let mut ranges = ranges.peekable();
        if ranges.peek().is_none() {
            return Ok(());
        }
        let mut open = self
            .transaction
            .open_table(table.definition)
            .map_err(|error| self.at.redb(error))?;
        for range in ranges {
            open.retain_in::<K::SelfType<'r>, _>(range, |_, _| false)
                .map_err(|error| self.at.redb(error))?;
        }
        Ok(())
    }

    /// Appends the rows of each of `logs`, in the order of their keys. A row that already exists
    /// under one of these keys, or later in the same log, is damage and is not replaced.
    fn append<'r, K, R: Record + 'r>(
        &self,
        table: &TableOf<K, R>,
        logs: impl Iterator<Item = impl ExactSizeIterator<Item = (K::SelfType<'r>, &'r R)>>,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        K::SelfType<'r>: KeyBytes,
    {
        let mut logs = logs.filter(|rows| rows.len() > 0).peekable();
        if logs.peek().is_none() {
            return Ok(());
        }
        let mut open = self
            .transaction
            .open_table(table.definition)
            .map_err(|error| self.at.redb(error))?;
        for rows in logs {
            match rows.len() < CURSOR_ROWS {
                true => self.insert_each(table, &mut open, rows, Existing::Refuse)?,
                false => self.insert_run(table, &mut open, rows)?,
            }
        }
        Ok(())
    }

    /// Inserts rows one by one.
    fn insert_each<'r, K, R: Record + 'r>(
        &self,
        table: &TableOf<K, R>,
        open: &mut redb::Table<'_, K, &'static [u8]>,
        rows: impl Iterator<Item = (K::SelfType<'r>, &'r R)>,
        existing: Existing,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        K::SelfType<'r>: KeyBytes,
    {
        let mut value = Vec::new();
        for (key, row) in rows {
            envelope::encode(table.name, &key, row, &mut value)
                .map_err(RuntimeError::InvalidRequest)?;
            let there = open.insert(&key, value.as_slice());
            let is_there = there.map_err(|error| self.at.redb(error))?.is_some();
            if is_there && existing == Existing::Refuse {
                return Err(self.taken(table, &key));
            }
        }
        Ok(())
    }

    /// Inserts successive rows through one cursor, which copies the pages on the way to them once.
    fn insert_run<'r, K, R: Record + 'r>(
        &self,
        table: &TableOf<K, R>,
        open: &mut redb::Table<'_, K, &'static [u8]>,
        rows: impl Iterator<Item = (K::SelfType<'r>, &'r R)>,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        K::SelfType<'r>: KeyBytes,
    {
        let mut rows = rows.peekable();
        let Some((first, _)) = rows.peek() else {
            return Ok(());
        };
        let mut cursor = open
            .lower_bound_mut(Bound::Included(first))
            .map_err(|error| self.at.redb(error))?;
        let mut value = Vec::new();
        for (key, row) in rows {
            envelope::encode(table.name, &key, row, &mut value)
                .map_err(RuntimeError::InvalidRequest)?;
            cursor
                .insert_before(&key, value.as_slice())
                .map_err(|error| match error {
                    // redb returns this if the key does not lie strictly between its neighbours at
                    // the cursor: a row exists where the log should end.
                    CursorError::UnorderedKey => self.taken(table, &key),
                    error => self.at.redb(error),
                })?;
        }
        cursor.close().map_err(|error| self.at.redb(error))
    }

    /// The error for a key that already exists at the end of a log.
    fn taken<K: Key + 'static, R>(&self, table: &TableOf<K, R>, key: &impl Debug) -> RuntimeError {
        let name = table.name;
        self.at.corrupt(format!(
            "table {name}, key {key:?}: key already exists at the next append position"
        ))
    }
}

#[cfg(test)]
#[path = "row_writer_tests.rs"]
mod tests;
