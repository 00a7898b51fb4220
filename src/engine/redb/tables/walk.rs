//! Walking tables row by row in constant memory, without decoding the values.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, FILES, IMPORTS, META, RUNTIMES, TOMBSTONES, TRANSCRIPTS, TableOf, Tables,
    WORKERS,
};
use crate::engine::redb::tables::view::View;
use crate::error::RuntimeError;
use redb::{AccessGuard, Key, ReadableTable, ReadableTableMetadata, TableError, Value};
use std::ops::{Bound, ControlFlow, RangeBounds};

/// The schema that created the first tables.
const FIRST_SCHEMA: u32 = 1;

impl<T: Tables> View<'_, T> {
    /// Opens `table` and runs `read` on it. Errors name the table.
    pub(crate) fn in_table<K: Key + 'static, R, O>(
        &self,
        table: &TableOf<K, R>,
        read: impl FnOnce(T::Open<'_, K, &'static [u8]>, RedbContext<'_>) -> Result<O, RuntimeError>,
    ) -> Result<O, RuntimeError> {
        let at = self.at.in_table(table.name);
        at.guard(|| {
            let open = self.tables.open(table.definition);
            read(open.map_err(|error| at.redb(error))?, at)
        })
    }

    /// As [`in_table`](Self::in_table). Returns the default value for a table that a migration adds, if the store
    /// was not migrated.
    pub(crate) fn in_any_table<K: Key + 'static, R, O: Default>(
        &self,
        table: &TableOf<K, R>,
        read: impl FnOnce(T::Open<'_, K, &'static [u8]>, RedbContext<'_>) -> Result<O, RuntimeError>,
    ) -> Result<O, RuntimeError> {
        if table.since > FIRST_SCHEMA && !self.has_table(table)? {
            return Ok(O::default());
        }
        self.in_table(table, read)
    }

    /// Whether the store has the table.
    pub(crate) fn has_table<K: Key + 'static, R>(
        &self,
        table: &TableOf<K, R>,
    ) -> Result<bool, RuntimeError> {
        let at = self.at.in_table(table.name);
        at.guard(|| match self.tables.open(table.definition) {
            Ok(_) => Ok(true),
            Err(TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(at.redb(error)),
        })
    }

    /// Calls `row` for every key and value of `range`, in the order of the keys.
    pub(crate) fn walk<'r, K, R>(
        &self,
        table: &TableOf<K, R>,
        range: impl RangeBounds<K::SelfType<'r>> + 'r,
        mut row: impl for<'k> FnMut(K::SelfType<'k>, &'k [u8]) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        for<'k> K::SelfType<'k>: std::borrow::Borrow<K::SelfType<'k>>,
    {
        self.walk_first(usize::MAX, table, range, |key, value| {
            row(key.value(), value.value())
        })
    }

    /// Calls `row` for the first `limit` keys and values of `range`, in the order of the keys.
    pub(crate) fn walk_first<'r, K, R>(
        &self,
        limit: usize,
        table: &TableOf<K, R>,
        range: impl RangeBounds<K::SelfType<'r>> + 'r,
        mut row: impl FnMut(&AccessGuard<K>, &AccessGuard<&[u8]>) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        for<'k> K::SelfType<'k>: std::borrow::Borrow<K::SelfType<'k>>,
    {
        self.in_any_table(table, |open, at| {
            let rows = open
                .range::<K::SelfType<'r>>(range)
                .map_err(|error| at.redb(error))?;
            for entry in rows.take(limit) {
                let (key, value) = entry.map_err(|error| at.redb(error))?;
                row(&key, &value)?;
            }
            Ok(())
        })
    }

    /// Calls `row` for the first `limit` keys and values from `first` on, or from the beginning of
    /// the table, until `row` returns `Break`. Only the pages of these rows and the pages above
    /// them are read.
    pub(crate) fn walk_from<K, R>(
        &self,
        table: &TableOf<K, R>,
        first: Option<K::SelfType<'_>>,
        limit: usize,
        mut row: impl FnMut(
            &AccessGuard<K>,
            &AccessGuard<&[u8]>,
        ) -> Result<ControlFlow<()>, RuntimeError>,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
    {
        self.in_any_table(table, |open, at| {
            let mut rows = open
                .lower_bound(first.map_or(Bound::Unbounded, Bound::Included))
                .map_err(|error| at.redb(error))?;
            for _ in 0..limit {
                let Some((key, value)) = rows.next().map_err(|error| at.redb(error))? else {
                    break;
                };
                if row(&key, &value)?.is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The number of rows that the table records. redb stores it with the root of the table.
    pub(crate) fn len<K: Key + 'static, R>(
        &self,
        table: &TableOf<K, R>,
    ) -> Result<u64, RuntimeError> {
        self.in_any_table(table, |open, at| open.len().map_err(|error| at.redb(error)))
    }

    /// The sum of the row counts that the tables record.
    pub(crate) fn total_rows(&self) -> Result<u64, RuntimeError> {
        let each = [
            self.len(&META)?,
            self.len(&RUNTIMES)?,
            self.len(&WORKERS)?,
            self.len(&EVENTS)?,
            self.len(&TRANSCRIPTS)?,
            self.len(&DIAGNOSTICS)?,
            self.len(&IMPORTS)?,
            self.len(&TOMBSTONES)?,
            self.len(&FILES)?,
        ];
        // A damaged count can have any value.
        Ok(each.into_iter().fold(0, u64::saturating_add))
    }
}

/// The size of a key in the file, in bytes.
pub(crate) fn key_bytes<K: Key + 'static>(key: &K::SelfType<'_>) -> usize {
    <K as Value>::as_bytes(key).as_ref().len()
}
