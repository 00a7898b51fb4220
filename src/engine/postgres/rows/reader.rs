//! Queries, and the decoding of what they return.

use crate::engine::postgres::rows::source::{Scope, Source};
use crate::engine::postgres::wire::connection::Param;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::stored::envelope::{self, KeyBytes, Record};
use std::fmt::Debug;
use tokio_postgres::Row;

/// How many rows of a log one query returns. A longer read is made of several.
pub(crate) const LOG_ROWS: usize = 256;

/// The rows that `source` sees.
pub(crate) struct Reader<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) at: OpContext<'a>,
}

/// The number of a row as the server has it. No row has a greater one.
pub(crate) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of rows.
pub(crate) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

impl Reader<'_> {
    pub(crate) fn query(
        &self,
        scope: Scope<'_>,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, RuntimeError> {
        let rows = self.source.query(scope, sql, params);
        rows.map_err(|error| error.runtime(self.at))
    }

    /// The error of a value of another type or form.
    pub(crate) fn unfit(&self, table: &str, error: impl std::fmt::Display) -> RuntimeError {
        self.at.corrupt(format!("table {table}: {error}"))
    }

    /// The bytes in a column.
    pub(crate) fn bytes<'r>(
        &self,
        table: &str,
        row: &'r Row,
        column: usize,
    ) -> Result<&'r [u8], RuntimeError> {
        row.try_get(column)
            .map_err(|error| self.unfit(table, error))
    }

    /// A part of a key that is a text.
    pub(crate) fn text(
        &self,
        table: &str,
        row: &Row,
        column: usize,
    ) -> Result<String, RuntimeError> {
        let bytes = self.bytes(table, row, column)?;
        String::from_utf8(bytes.to_vec()).map_err(|error| self.unfit(table, error))
    }

    /// A part of a key that is a number.
    pub(crate) fn number(
        &self,
        table: &str,
        row: &Row,
        column: usize,
    ) -> Result<u64, RuntimeError> {
        let number: i64 = row
            .try_get(column)
            .map_err(|error| self.unfit(table, error))?;
        u64::try_from(number).map_err(|error| self.unfit(table, error))
    }

    /// Verifies and decodes the record in a column.
    pub(crate) fn decode<'r, R: Record>(
        &self,
        (table, key): (&str, &(impl KeyBytes + Debug)),
        row: &'r Row,
        column: usize,
    ) -> Result<R::Read<'r>, RuntimeError> {
        let value = self.bytes(table, row, column)?;
        envelope::decode::<R>(table, key, value).map_err(|message| {
            self.at
                .corrupt(format!("table {table}, key {key:?}: {message}"))
        })
    }

    /// Passes the rows of a log to `each`, a page at a time. `page` queries numbers and records.
    pub(crate) fn log(
        &self,
        table: &str,
        (from, most): (u64, usize),
        mut page: impl FnMut(i64, i64) -> Result<Vec<Row>, RuntimeError>,
        mut each: impl FnMut(u64, &Row) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let (mut from, mut left) = (i64::try_from(from).ok(), most);
        while let Some(first) = from.filter(|_| left > 0) {
            let wanted = left.min(LOG_ROWS);
            let rows = page(first, limit(wanted))?;
            let mut last = None;
            for row in &rows {
                let found = self.number(table, row, 0)?;
                last = Some(found);
                each(found, row)?;
            }
            left -= rows.len().min(left);
            from = last
                .filter(|_| rows.len() == wanted)
                .and_then(|last| number(last).checked_add(1));
        }
        Ok(())
    }
}
