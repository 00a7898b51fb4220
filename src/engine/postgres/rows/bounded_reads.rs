//! Bounded reads of rows.

use crate::engine::postgres::keys::key;
use crate::engine::postgres::rows::lists::{self, List, Range, after, behind};
use crate::engine::postgres::rows::reader::{Reader, limit, number};
use crate::engine::postgres::rows::source::{Scope, WHOLE_STORE};
use crate::engine::postgres::wire::connection::Param;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::rows::{
    DiagnosticRow, EachEntry, EachEvent, EventRow, ImportRow, Rows, RuntimeRow, TranscriptRow,
    WorkerRow,
};
use crate::ledger::stored::envelope::{KeyBytes, Record};
use crate::ledger::stored::kept_file::{FileChunkRow, FileKey};
use crate::ledger::stored::record::MetaRecord;
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::ledger::table_names::{
    DIAGNOSTICS, EVENTS, FILES, IMPORTS, META, OPENINGS, RUNTIMES, TOMBSTONES, TRANSCRIPTS,
    UNFINISHED, WORKERS,
};
use std::fmt::Debug;

impl Reader<'_> {
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

    /// The rows of a table of workers behind the worker `last`.
    fn of_workers<R: for<'v> Record<Read<'v> = R>>(
        &self,
        scope: Scope<'_>,
        (list, owner): (&List, Option<&str>),
        (table, runtime): (&str, &str),
        (last, most): (Option<&str>, usize),
    ) -> Result<Vec<(String, R)>, RuntimeError> {
        let from = behind(last);
        let rows = self.list(scope, (list, owner), Range::from(&from), most)?;
        let rows = rows.into_iter().map(|(id, row)| {
            let decoded = self.decode::<R>((table, &(runtime, id.as_str())), &row, 1)?;
            Ok((id, decoded))
        });
        rows.collect()
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
        let rows = self.query(Scope::Hint, HOLDER, &[&key(runtime)])?;
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
        let (scope, id) = (Scope::Runtime(runtime), key(runtime));
        let row = self.one(scope, GET, &[&id], (RUNTIMES, &runtime))?;
        self.source.note_runtime(runtime, row.as_ref());
        Ok(row)
    }

    fn runtimes(
        &self,
        last: Option<&str>,
        most: usize,
    ) -> Result<Vec<(String, RuntimeRow)>, RuntimeError> {
        let (from, list) = (behind(last), (&lists::RUNTIMES, None));
        let rows = self.list(WHOLE_STORE, list, Range::from(&from), most)?;
        let rows = rows.into_iter().map(|(id, row)| {
            let decoded = self.decode::<RuntimeRow>((RUNTIMES, &id.as_str()), &row, 1)?;
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
        let params: [Param<'_>; 2] = [&key(runtime), &key(worker)];
        let owner = (runtime, worker);
        let row = self.one(Scope::Runtime(runtime), GET, &params, (WORKERS, &owner))?;
        self.source.note_worker(runtime, worker, row.as_ref());
        Ok(row)
    }

    fn workers(
        &self,
        runtime: &str,
        last: Option<&str>,
        most: usize,
    ) -> Result<Vec<(String, WorkerRow)>, RuntimeError> {
        let (scope, list) = (Scope::Runtime(runtime), (&lists::WORKERS, Some(runtime)));
        self.of_workers(scope, list, (WORKERS, runtime), (last, most))
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
        let (scope, id) = (Scope::Runtime(runtime), key(runtime));
        let page = |from: i64, most: i64| self.query(scope, PAGE, &[&id, &from, &most]);
        self.log(EVENTS, (from, most), page, |number, row| {
            let of = (runtime, number);
            each(number, self.decode::<EventRow<'_>>((EVENTS, &of), row, 1)?)
        })
    }

    fn last_event_id(&self, runtime: &str) -> Result<Option<u64>, RuntimeError> {
        const LAST: &str =
            "SELECT number FROM events WHERE runtime = $1 ORDER BY number DESC LIMIT 1";
        let rows = self.query(Scope::Runtime(runtime), LAST, &[&key(runtime)])?;
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
        let (scope, id) = (Scope::Runtime(runtime), key(runtime));
        let of = key(worker);
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
        let (scope, id) = (Scope::Runtime(runtime), key(runtime));
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
        let (scope, id) = (Scope::Runtime(runtime), key(runtime));
        self.one(scope, GET, &[&id], (IMPORTS, &runtime))
    }

    fn tombstone(&self, runtime: &str, worker: &str) -> Result<Option<TombstoneRow>, RuntimeError> {
        const GET: &str = "SELECT record FROM tombstones WHERE runtime = $1 AND worker = $2";
        let params: [Param<'_>; 2] = [&key(runtime), &key(worker)];
        let owner = (runtime, worker);
        // The mark of an unfinished deletion belongs to the runtime that it names.
        let scope = match runtime {
            UNFINISHED => Scope::Runtime(worker),
            runtime => Scope::Runtime(runtime),
        };
        self.one(scope, GET, &params, (TOMBSTONES, &owner))
    }

    fn tombstones(
        &self,
        runtime: &str,
        last: Option<&str>,
        most: usize,
    ) -> Result<Vec<(String, TombstoneRow)>, RuntimeError> {
        let (scope, list) = match runtime {
            // Who finishes a deletion reads its mark again, under the lock of the runtime.
            UNFINISHED => (Scope::Hint, (&lists::MARKS, None)),
            runtime => (Scope::Runtime(runtime), (&lists::TOMBSTONES, Some(runtime))),
        };
        self.of_workers(scope, list, (TOMBSTONES, runtime), (last, most))
    }

    fn file_chunk(
        &self,
        runtime: &str,
        path: &str,
        chunk: u64,
    ) -> Result<Option<FileChunkRow>, RuntimeError> {
        const GET: &str =
            "SELECT record FROM files WHERE runtime = $1 AND path = $2 AND number = $3";
        let of = (runtime, path, chunk);
        let params: [Param<'_>; 3] = [&key(runtime), &key(path), &number(chunk)];
        self.one(Scope::Runtime(runtime), GET, &params, (FILES, &of))
    }

    fn file_keys(
        &self,
        runtime: &str,
        (path, chunk): (&str, u64),
        end: Option<&str>,
        most: usize,
    ) -> Result<Vec<FileKey>, RuntimeError> {
        const CHUNKS: &str = "SELECT path, number, length(record)::int8 FROM files
            WHERE runtime = $1 AND path = $2 AND number >= $3 ORDER BY number LIMIT $4";
        let scope = Scope::Runtime(runtime);
        let params: [Param<'_>; 4] = [&key(runtime), &key(path), &number(chunk), &limit(most)];
        // The list has whole files.
        let is_below = |path: &str| end.is_none_or(|end| path < end);
        let (first, from) = match chunk {
            0 => (Vec::new(), path.to_owned()),
            _ if is_below(path) => (self.query(scope, CHUNKS, &params)?, after(path)),
            _ => (Vec::new(), after(path)),
        };
        let range = Range {
            from: &from,
            below: end,
        };
        let left = most - first.len();
        let others = match is_below(&from) {
            true => self.list(scope, (&lists::FILES, Some(runtime)), range, left)?,
            false => Vec::new(),
        };
        let first = first.into_iter().map(|row| (path.to_owned(), row));
        let keys = first.chain(others).map(|(path, row)| {
            Ok(FileKey {
                path,
                chunk: self.number(FILES, &row, 1)?,
                bytes: self.number(FILES, &row, 2)?,
            })
        });
        keys.collect()
    }
}
