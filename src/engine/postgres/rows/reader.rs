//! Bounded reads of rows.

use crate::engine::postgres::rows::source::{Scope, Source, WHOLE_STORE};
use crate::engine::postgres::wire::connection::Param;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::rows::{
    DiagnosticRow, EachEntry, EachEvent, EventRow, ImportRow, Rows, RuntimeRow, TranscriptRow,
    WorkerRow,
};
use crate::ledger::stored::envelope::{self, KeyBytes, Record};
use crate::ledger::stored::kept_file::{FileChunkRow, FileKey};
use crate::ledger::stored::record::MetaRecord;
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::ledger::table_names::{
    DIAGNOSTICS, EVENTS, FILES, IMPORTS, META, OPENINGS, RUNTIMES, TOMBSTONES, TRANSCRIPTS,
    UNFINISHED, WORKERS,
};
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

    fn unfit(&self, table: &str, error: impl std::fmt::Display) -> RuntimeError {
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

    /// The record under a key, from a query that returns one row at most.
    fn one<R: for<'v> Record<Read<'v> = R>>(
        &self,
        scope: Scope<'_>,
        sql: &'static str,
        params: &[Param<'_>],
        at: (&str, &(impl KeyBytes + Debug)),
    ) -> Result<Option<R>, RuntimeError> {
        let rows = self.query(scope, sql, params)?;
        let row = rows.first();
        row.map(|row| self.decode::<R>(at, row, 0)).transpose()
    }

    /// The rows of a table of workers, from a query that returns ids and records.
    fn of_workers<R: for<'v> Record<Read<'v> = R>>(
        &self,
        scope: Scope<'_>,
        sql: &'static str,
        (table, runtime): (&str, &str),
        (after, most): (Option<&str>, usize),
    ) -> Result<Vec<(String, R)>, RuntimeError> {
        // No worker has an empty id.
        let after = after.unwrap_or_default().as_bytes();
        let rows = self.query(scope, sql, &[&runtime.as_bytes(), &after, &limit(most)])?;
        let rows = rows.iter().map(|row| {
            let id = self.text(table, row, 0)?;
            let decoded = self.decode::<R>((table, &(runtime, id.as_str())), row, 1)?;
            Ok((id, decoded))
        });
        rows.collect()
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

impl Rows for Reader<'_> {
    fn at(&self) -> OpContext<'_> {
        self.at
    }

    fn last_opening(&self) -> Result<u32, RuntimeError> {
        const GET: &str = "SELECT record FROM meta WHERE property = $1";
        let key = OPENINGS.as_bytes();
        let record = self.one::<MetaRecord>(WHOLE_STORE, GET, &[&key], (META, &OPENINGS))?;
        match record {
            None => Ok(0),
            Some(MetaRecord::Number(number)) => Ok(number),
            Some(MetaRecord::Text(_)) => {
                Err(self.at.corrupt("the number of the last opening is a text"))
            }
        }
    }

    fn is_held_elsewhere(&self, runtime: &str) -> Result<bool, RuntimeError> {
        const HOLDER: &str = "SELECT holder FROM locks
            WHERE runtime = $1 AND holder IS NOT NULL AND expires > clock_timestamp()";
        let rows = self.query(Scope::Hint, HOLDER, &[&runtime.as_bytes()])?;
        let Some(row) = rows.first() else {
            return Ok(false);
        };
        let holder: String = row.try_get(0).map_err(|error| self.unfit("locks", error))?;
        Ok(self.source.holder() != Some(holder.as_str()))
    }

    fn runtime(&self, runtime: &str) -> Result<Option<RuntimeRow>, RuntimeError> {
        const GET: &str = "SELECT record FROM runtimes WHERE runtime = $1";
        let known = self.source.known_runtime(runtime);
        if let Some(row) = known.map_err(|error| error.runtime(self.at))? {
            return Ok(row);
        }
        let (scope, key) = (Scope::Runtime(runtime), runtime.as_bytes());
        let row = self.one(scope, GET, &[&key], (RUNTIMES, &runtime))?;
        self.source.note_runtime(runtime, row.as_ref());
        Ok(row)
    }

    fn runtimes(
        &self,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<(String, RuntimeRow)>, RuntimeError> {
        const PAGE: &str =
            "SELECT runtime, record FROM runtimes WHERE runtime > $1 ORDER BY runtime LIMIT $2";
        // No runtime has an empty id.
        let after = after.unwrap_or_default().as_bytes();
        let rows = self.query(WHOLE_STORE, PAGE, &[&after, &limit(most)])?;
        let rows = rows.iter().map(|row| {
            let id = self.text(RUNTIMES, row, 0)?;
            let decoded = self.decode::<RuntimeRow>((RUNTIMES, &id.as_str()), row, 1)?;
            Ok((id, decoded))
        });
        rows.collect()
    }

    fn worker(&self, runtime: &str, worker: &str) -> Result<Option<WorkerRow>, RuntimeError> {
        const GET: &str = "SELECT record FROM workers WHERE runtime = $1 AND worker = $2";
        let known = self.source.known_worker(runtime, worker);
        if let Some(row) = known.map_err(|error| error.runtime(self.at))? {
            return Ok(row);
        }
        let params: [Param<'_>; 2] = [&runtime.as_bytes(), &worker.as_bytes()];
        let key = (runtime, worker);
        let row = self.one(Scope::Runtime(runtime), GET, &params, (WORKERS, &key))?;
        self.source.note_worker(runtime, worker, row.as_ref());
        Ok(row)
    }

    fn workers(
        &self,
        runtime: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<(String, WorkerRow)>, RuntimeError> {
        const PAGE: &str = "SELECT worker, record FROM workers WHERE runtime = $1 AND worker > $2
            ORDER BY worker LIMIT $3";
        let scope = Scope::Runtime(runtime);
        self.of_workers(scope, PAGE, (WORKERS, runtime), (after, most))
    }

    fn events(
        &self,
        runtime: &str,
        from: u64,
        most: usize,
        each: &mut EachEvent<'_>,
    ) -> Result<(), RuntimeError> {
        const PAGE: &str = "SELECT number, record FROM events WHERE runtime = $1 AND number >= $2
            ORDER BY number LIMIT $3";
        let (scope, id) = (Scope::Runtime(runtime), runtime.as_bytes());
        let page = |from: i64, most: i64| self.query(scope, PAGE, &[&id, &from, &most]);
        self.log(EVENTS, (from, most), page, |number, row| {
            let key = (runtime, number);
            each(number, self.decode::<EventRow<'_>>((EVENTS, &key), row, 1)?)
        })
    }

    fn last_event_id(&self, runtime: &str) -> Result<Option<u64>, RuntimeError> {
        const LAST: &str =
            "SELECT number FROM events WHERE runtime = $1 ORDER BY number DESC LIMIT 1";
        let rows = self.query(Scope::Runtime(runtime), LAST, &[&runtime.as_bytes()])?;
        let last = rows.first();
        last.map(|row| self.number(EVENTS, row, 0)).transpose()
    }

    fn transcript(
        &self,
        runtime: &str,
        worker: &str,
        from: u64,
        most: usize,
        each: &mut EachEntry<'_>,
    ) -> Result<(), RuntimeError> {
        const PAGE: &str = "SELECT number, record FROM transcripts
            WHERE runtime = $1 AND worker = $2 AND number >= $3 ORDER BY number LIMIT $4";
        let (scope, id) = (Scope::Runtime(runtime), runtime.as_bytes());
        let of = worker.as_bytes();
        let page = |from: i64, most: i64| self.query(scope, PAGE, &[&id, &of, &from, &most]);
        self.log(TRANSCRIPTS, (from, most), page, |number, row| {
            let key = (runtime, worker, number);
            let entry = self.decode::<TranscriptRow<'_>>((TRANSCRIPTS, &key), row, 1)?;
            each(number, entry)
        })
    }

    fn diagnostics(
        &self,
        runtime: &str,
        from: u64,
        most: usize,
    ) -> Result<Vec<(u64, DiagnosticRow)>, RuntimeError> {
        const PAGE: &str =
            "SELECT number, record FROM diagnostics WHERE runtime = $1 AND number >= $2
            ORDER BY number LIMIT $3";
        let (scope, id) = (Scope::Runtime(runtime), runtime.as_bytes());
        let page = |from: i64, most: i64| self.query(scope, PAGE, &[&id, &from, &most]);
        let mut found = Vec::new();
        self.log(DIAGNOSTICS, (from, most), page, |number, row| {
            let key = (runtime, number);
            let decoded = self.decode::<DiagnosticRow>((DIAGNOSTICS, &key), row, 1)?;
            found.push((number, decoded));
            Ok(())
        })?;
        Ok(found)
    }

    fn import(&self, runtime: &str) -> Result<Option<ImportRow>, RuntimeError> {
        const GET: &str = "SELECT record FROM imports WHERE runtime = $1";
        let (scope, key) = (Scope::Runtime(runtime), runtime.as_bytes());
        self.one(scope, GET, &[&key], (IMPORTS, &runtime))
    }

    fn tombstone(&self, runtime: &str, worker: &str) -> Result<Option<TombstoneRow>, RuntimeError> {
        const GET: &str = "SELECT record FROM tombstones WHERE runtime = $1 AND worker = $2";
        let params: [Param<'_>; 2] = [&runtime.as_bytes(), &worker.as_bytes()];
        let key = (runtime, worker);
        // The mark of an unfinished deletion belongs to the runtime that it names.
        let scope = match runtime {
            UNFINISHED => Scope::Runtime(worker),
            runtime => Scope::Runtime(runtime),
        };
        self.one(scope, GET, &params, (TOMBSTONES, &key))
    }

    fn tombstones(
        &self,
        runtime: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<(String, TombstoneRow)>, RuntimeError> {
        const PAGE: &str =
            "SELECT worker, record FROM tombstones WHERE runtime = $1 AND worker > $2
            ORDER BY worker LIMIT $3";
        // Who finishes a deletion reads its mark again, under the lock of the runtime.
        let scope = match runtime {
            UNFINISHED => Scope::Hint,
            runtime => Scope::Runtime(runtime),
        };
        self.of_workers(scope, PAGE, (TOMBSTONES, runtime), (after, most))
    }

    fn file_chunk(
        &self,
        runtime: &str,
        path: &str,
        chunk: u64,
    ) -> Result<Option<FileChunkRow>, RuntimeError> {
        const GET: &str =
            "SELECT record FROM files WHERE runtime = $1 AND path = $2 AND number = $3";
        let key = (runtime, path, chunk);
        let params: [Param<'_>; 3] = [&runtime.as_bytes(), &path.as_bytes(), &number(chunk)];
        self.one(Scope::Runtime(runtime), GET, &params, (FILES, &key))
    }

    fn file_keys(
        &self,
        runtime: &str,
        (path, chunk): (&str, u64),
        end: Option<&str>,
        most: usize,
    ) -> Result<Vec<FileKey>, RuntimeError> {
        const TO_END: &str = "SELECT path, number, length(record)::int8 FROM files
            WHERE runtime = $1 AND (path, number) >= ($2, $3) ORDER BY path, number LIMIT $4";
        const BELOW: &str = "SELECT path, number, length(record)::int8 FROM files
            WHERE runtime = $1 AND (path, number) >= ($2, $3) AND path < $5
            ORDER BY path, number LIMIT $4";
        let (id, path, most) = (runtime.as_bytes(), path.as_bytes(), limit(most));
        let chunk = number(chunk);
        let scope = Scope::Runtime(runtime);
        let rows = match end.map(str::as_bytes) {
            None => self.query(scope, TO_END, &[&id, &path, &chunk, &most])?,
            Some(end) => self.query(scope, BELOW, &[&id, &path, &chunk, &most, &end])?,
        };
        let keys = rows.iter().map(|row| {
            Ok(FileKey {
                path: self.text(FILES, row, 0)?,
                chunk: self.number(FILES, row, 1)?,
                bytes: self.number(FILES, row, 2)?,
            })
        });
        keys.collect()
    }
}
