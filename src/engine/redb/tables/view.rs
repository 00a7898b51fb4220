//! Bounded reads of records. The cost of a read is one seek and the rows that it returns; it does
//! not depend on the length of a log.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, FILES, IMPORTS, META, RUNTIMES, TOMBSTONES, TRANSCRIPTS, TableOf, Tables,
    WORKERS,
};
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::rows::{
    DiagnosticRow, EachEntry, EachEvent, ImportRow, PAGE_ROWS, Rows, RuntimeRow, WorkerRow,
};
use crate::ledger::stored::envelope::{self, CrcPrefix, KeyBytes, Record};
use crate::ledger::stored::kept_file::{FileChunkRow, FileKey};
use crate::ledger::stored::record::MetaRecord;
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::ledger::table_names::OPENINGS;
use redb::{Key, ReadableTable};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt::Debug;
use std::ops::{Bound, ControlFlow, RangeBounds};

/// The rows that one transaction sees.
pub(crate) struct View<'a, T> {
    pub(crate) tables: &'a T,
    pub(crate) at: RedbContext<'a>,
}

impl<T: Tables> View<'_, T> {
    /// The first import record after the key `after`.
    pub(crate) fn import_after(
        &self,
        after: Option<&str>,
    ) -> Result<Option<(String, ImportRow)>, RuntimeError> {
        let range = (after_bound(after), Bound::Unbounded);
        let page = self.page(&IMPORTS, range, 1, |key: &&str| {
            after
                .is_none_or(|after| *key > after)
                .then(|| (*key).to_owned())
        })?;
        Ok(page.into_iter().next())
    }

    /// The first `limit` rows of `runtime` in a table of workers, or those after the worker `after`.
    fn of_workers<R>(
        &self,
        table: &TableOf<(&'static str, &'static str), R>,
        runtime: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, R)>, RuntimeError>
    where
        R: for<'v> Record<Read<'v> = R>,
    {
        let from = match after {
            Some(worker) => Bound::Excluded((runtime, worker)),
            None => Bound::Included((runtime, "")),
        };
        let next = after_runtime(runtime);
        let range = (from, Bound::Excluded((next.as_str(), "")));
        self.page(table, range, limit, |(owner, worker): &(&str, &str)| {
            let belongs = *owner == runtime && after.is_none_or(|after| *worker > after);
            belongs.then(|| (*worker).to_owned())
        })
    }

    /// The record of `key`.
    pub(crate) fn get<K, R>(
        &self,
        table: &TableOf<K, R>,
        key: K::SelfType<'_>,
    ) -> Result<Option<R>, RuntimeError>
    where
        K: Key + 'static,
        R: for<'v> Record<Read<'v> = R>,
        for<'k> K::SelfType<'k>: KeyBytes,
    {
        self.in_any_table(table, |open, at| {
            let value = open.get(&key).map_err(|error| at.redb(error))?;
            value
                .map(|value| self.decode(table, &key, value.value()))
                .transpose()
        })
    }

    /// The first `limit` rows of `range`. `own` returns the part of a key that identifies the row
    /// within the range, or `None` for a key outside it.
    ///
    /// In a damaged file a seek can lead to any row, or back to an earlier one. So a row outside
    /// the range, or not greater than the one before it, is reported as damage. That also ends a
    /// walk over pages that form a cycle.
    fn page<'r, K, R>(
        &self,
        table: &TableOf<K, R>,
        range: impl RangeBounds<K::SelfType<'r>> + 'r,
        limit: usize,
        own: impl for<'k> Fn(&K::SelfType<'k>) -> Option<String>,
    ) -> Result<Vec<(String, R)>, RuntimeError>
    where
        K: Key + 'static,
        R: for<'v> Record<Read<'v> = R>,
        for<'k> K::SelfType<'k>: KeyBytes + Borrow<K::SelfType<'k>>,
    {
        let mut page: Vec<(String, R)> = Vec::with_capacity(limit.min(PAGE_ROWS));
        self.walk_first(limit, table, range, |key, value| {
            let key = key.value();
            let follows = |own: &String| page.last().is_none_or(|(last, _)| last < own);
            let Some(own) = own(&key).filter(follows) else {
                return Err(self.out_of_place(table.name));
            };
            page.push((own, self.decode(table, &key, value.value())?));
            Ok(())
        })?;
        Ok(page)
    }

    /// Calls `each` for the first `limit` rows from the key `first` on. Their keys are `group` and
    /// a number of at least `from`; `place` says where a key lies relative to the group.
    ///
    /// Most numbers are successive, and the CRC of a value covers its key. So the CRC is first
    /// computed for the next number. If it matches, the row has that number, and its key is not
    /// decoded.
    fn numbered<K, R>(
        &self,
        (table, group): (&TableOf<K, R>, impl KeyBytes),
        (first, from): (K::SelfType<'_>, u64),
        limit: usize,
        place: impl for<'k> Fn(&K::SelfType<'k>) -> Place,
        mut each: impl FnMut(u64, R::Read<'_>) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        R: Record,
        for<'k> K::SelfType<'k>: KeyBytes,
    {
        let prefix = CrcPrefix::new(table.name, &group);
        let mut next = Some(from);
        self.walk_from(table, Some(first), limit, |key, value| {
            if let Some(expected) = next
                && let Ok(row) = envelope::decode_after::<R>(&prefix, &expected, value.value())
            {
                next = expected.checked_add(1);
                each(expected, row)?;
                return Ok(ControlFlow::Continue(()));
            }
            let key = key.value();
            let number = match (place(&key), next) {
                (Place::After, _) => return Ok(ControlFlow::Break(())),
                // A gap in the numbers is allowed; a smaller number is damage.
                (Place::Within(number), Some(next)) if next <= number => number,
                _ => return Err(self.out_of_place(table.name)),
            };
            next = number.checked_add(1);
            let row = envelope::decode_after::<R>(&prefix, &number, value.value())
                .map_err(|message| self.unreadable(table.name, &key, message))?;
            each(number, row)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    /// The error for a key outside the range that was read, or out of order.
    pub(super) fn out_of_place(&self, table: &str) -> RuntimeError {
        self.at.corrupt(format!(
            "table {table}: a key is out of order or outside the range that was read"
        ))
    }

    /// The error for a value that cannot be decoded.
    pub(super) fn unreadable(
        &self,
        table: &str,
        key: &impl Debug,
        message: String,
    ) -> RuntimeError {
        self.at
            .corrupt(format!("table {table}, key {key:?}: {message}"))
    }

    /// Verifies and decodes a value.
    pub(super) fn decode<K, R>(
        &self,
        table: &TableOf<K, R>,
        key: &K::SelfType<'_>,
        value: &[u8],
    ) -> Result<R, RuntimeError>
    where
        K: Key + 'static,
        R: for<'v> Record<Read<'v> = R>,
        for<'k> K::SelfType<'k>: KeyBytes,
    {
        envelope::decode::<R>(table.name, key, value)
            .map_err(|message| self.unreadable(table.name, key, message))
    }
}

/// The position of a key relative to a group.
enum Place {
    /// In the group, with this number.
    Within(u64),
    /// After the group: the group has no more rows.
    After,
    /// Before the group: only a damaged file returns such a key.
    Before,
}

impl Place {
    /// The position of a key whose group compares with the requested one as `group`.
    fn of(group: Ordering, number: u64) -> Self {
        match group {
            Ordering::Less => Self::Before,
            Ordering::Equal => Self::Within(number),
            Ordering::Greater => Self::After,
        }
    }
}

/// The smallest text that is greater than `runtime`: the end of the range of keys that start with
/// it.
pub(crate) fn after_runtime(runtime: &str) -> String {
    format!("{runtime}\0")
}

/// The bound of a range after the key `after`, or from the beginning.
fn after_bound(after: Option<&str>) -> Bound<&str> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

impl<T: Tables> Rows for View<'_, T> {
    fn at(&self) -> OpContext<'_> {
        self.at.operation()
    }

    fn last_opening(&self) -> Result<u32, RuntimeError> {
        match self.get(&META, OPENINGS)? {
            None => Ok(0),
            Some(MetaRecord::Number(number)) => Ok(number),
            Some(MetaRecord::Text(_)) => {
                Err(self.at.corrupt("the number of the last opening is a text"))
            }
        }
    }

    fn runtime(&self, runtime: &str) -> Result<Option<RuntimeRow>, RuntimeError> {
        self.get(&RUNTIMES, runtime)
    }

    fn runtimes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, RuntimeRow)>, RuntimeError> {
        let range = (after_bound(after), Bound::Unbounded);
        self.page(&RUNTIMES, range, limit, |key: &&str| {
            after
                .is_none_or(|after| *key > after)
                .then(|| (*key).to_owned())
        })
    }

    fn worker(&self, runtime: &str, worker: &str) -> Result<Option<WorkerRow>, RuntimeError> {
        self.get(&WORKERS, (runtime, worker))
    }

    fn workers(
        &self,
        runtime: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, WorkerRow)>, RuntimeError> {
        self.of_workers(&WORKERS, runtime, after, limit)
    }

    fn events(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
        each: &mut EachEvent<'_>,
    ) -> Result<(), RuntimeError> {
        let place = |(owner, id): &(&str, u64)| Place::of(owner.cmp(&runtime), *id);
        let first = ((runtime, from), from);
        self.numbered((&EVENTS, runtime), first, limit, place, each)
    }

    fn last_event_id(&self, runtime: &str) -> Result<Option<u64>, RuntimeError> {
        self.in_table(&EVENTS, |open, at| {
            let mut range = open
                .range((runtime, 0)..=(runtime, u64::MAX))
                .map_err(|error| at.redb(error))?;
            let last = range.next_back().transpose();
            let last = last.map_err(|error| at.redb(error))?;
            match last.as_ref().map(|(key, _)| key.value()) {
                // A damaged branch page can lead the range to a row of another runtime.
                Some((owner, _)) if owner != runtime => Err(self.out_of_place(EVENTS.name)),
                last => Ok(last.map(|(_, id)| id)),
            }
        })
    }

    fn transcript(
        &self,
        runtime: &str,
        worker: &str,
        from: u64,
        limit: usize,
        each: &mut EachEntry<'_>,
    ) -> Result<(), RuntimeError> {
        let group = (runtime, worker);
        let place = |(owner, of, position): &(&str, &str, u64)| {
            Place::of((*owner, *of).cmp(&group), *position)
        };
        let first = ((runtime, worker, from), from);
        self.numbered((&TRANSCRIPTS, group), first, limit, place, each)
    }

    fn diagnostics(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, DiagnosticRow)>, RuntimeError> {
        let place = |(owner, id): &(&str, u64)| Place::of(owner.cmp(&runtime), *id);
        let (group, first) = ((&DIAGNOSTICS, runtime), ((runtime, from), from));
        let mut page = Vec::new();
        self.numbered(group, first, limit, place, |id, row| {
            page.push((id, row));
            Ok(())
        })?;
        Ok(page)
    }

    fn import(&self, runtime: &str) -> Result<Option<ImportRow>, RuntimeError> {
        self.get(&IMPORTS, runtime)
    }

    fn tombstone(&self, runtime: &str, worker: &str) -> Result<Option<TombstoneRow>, RuntimeError> {
        self.get(&TOMBSTONES, (runtime, worker))
    }

    fn tombstones(
        &self,
        runtime: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, TombstoneRow)>, RuntimeError> {
        self.of_workers(&TOMBSTONES, runtime, after, limit)
    }

    fn file_chunk(
        &self,
        runtime: &str,
        path: &str,
        chunk: u64,
    ) -> Result<Option<FileChunkRow>, RuntimeError> {
        self.get(&FILES, (runtime, path, chunk))
    }

    fn file_keys(
        &self,
        runtime: &str,
        from: (&str, u64),
        end: Option<&str>,
        limit: usize,
    ) -> Result<Vec<FileKey>, RuntimeError> {
        self.keys_of_files(runtime, from, end, limit)
    }
}
