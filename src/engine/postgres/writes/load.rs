//! The writes of a bulk load: logs by COPY, all other rows one statement each.

use crate::engine::postgres::keys::{Family, PREFIX, is_long, key, long_texts};
use crate::engine::postgres::rows::reader::Reader;
use crate::engine::postgres::rows::source::{Scope, Source};
use crate::engine::postgres::turn::Turn;
use crate::engine::postgres::wire::connection::Param;
use crate::engine::postgres::wire::server_error::ServerError;
use crate::engine::postgres::writes::batch::{Columns, encoded, number};
use crate::engine::postgres::writes::statements as sql;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::convert::owner_of;
use crate::ledger::load_rows::{LoadRows, not_after_last};
use crate::ledger::rows::{DiagnosticRow, ImportRow, Rows, RuntimeRow, WorkerRow};
use crate::ledger::run::Run;
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::ledger::stored::record::MetaRecord;
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::ledger::table_names as table;
use crate::model::identity::WorkerRef;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A bulk load in a turn.
pub(crate) struct PgLoad<'a> {
    turn: &'a Turn,
    reader: Reader<'a>,
    /// Long texts that the load has put, with the runtimes that keep them: these need not be put again. A removal can
    /// have removed them.
    long_texts: RefCell<BTreeSet<(String, String)>>,
}

/// The most long texts that a load keeps in memory. Each has up to 140 KiB: a path has the id of a worker in hex.
const KNOWN_TEXTS: usize = 256;

/// What the binary format of COPY begins with: a signature, flags, and the length of an extension.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What it ends with.
const COPY_END: &[u8] = &(-1_i16).to_be_bytes();

impl<'a> PgLoad<'a> {
    pub(crate) fn new(turn: &'a Turn, at: OpContext<'a>) -> Self {
        Self {
            turn,
            reader: Reader { source: turn, at },
            long_texts: RefCell::default(),
        }
    }

    fn error(&self) -> impl Fn(ServerError) -> RuntimeError {
        move |error| error.runtime(self.reader.at)
    }

    fn execute(
        &self,
        runtime: &str,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<(), RuntimeError> {
        let done = self.turn.write(runtime, |connection, deadline| {
            connection.execute(sql, params, deadline)
        });
        done.map(|_| ()).map_err(self.error())
    }

    /// Puts the texts of the long keys of a row, unless the load has.
    fn put_texts(&self, table: &str, owner: &str, part: Option<&str>) -> Result<(), RuntimeError> {
        for (keeper, text) in long_texts(table, owner, part) {
            let mut known = self.long_texts.borrow_mut();
            if known.len() >= KNOWN_TEXTS {
                known.clear();
            }
            if known.insert((keeper.to_owned(), text.to_owned())) {
                let record = text.as_bytes().to_vec();
                let columns = Columns::one(keeper, Some(text), None, record);
                self.execute(owner, sql::PUT_LONG_KEYS, &columns.params())?;
            }
        }
        Ok(())
    }

    /// Removes the texts of long keys of `owner` that no row has any more.
    fn forget_texts(&self, owner: &str) -> Result<(), RuntimeError> {
        self.long_texts.borrow_mut().clear();
        self.execute(owner, sql::FORGET_LONG_KEYS, &[&vec![key(owner)]])
    }

    /// Puts one row.
    fn put(
        &self,
        (sql, table): (&'static str, &str),
        (owner, part, number): (&str, Option<&str>, Option<i64>),
        record: Vec<u8>,
    ) -> Result<(), RuntimeError> {
        self.put_texts(table, owner, part)?;
        let columns = Columns::one(owner, part, number, record);
        self.execute(owner, sql, &columns.params())
    }

    /// Appends `run` to a log, whose last row is `last`.
    fn append(
        &self,
        runtime: &str,
        (table, copy): (&str, &str),
        (owner, run): (&[&str], &Run),
        last: Option<u64>,
    ) -> Result<(), RuntimeError> {
        let Some((first, _)) = run.rows().next() else {
            return Ok(());
        };
        if last.is_some_and(|last| last >= first) {
            return Err(not_after_last(table, first));
        }
        let part = owner.get(1).copied();
        self.put_texts(table, runtime, part)?;
        let rows = copied(owner, run).map_err(self.error())?;
        let done = self.turn.write(runtime, |connection, deadline| {
            connection.copy_in(copy, rows, deadline)
        });
        done.map(|_| ()).map_err(self.error())
    }

    fn last(
        &self,
        runtime: &str,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Option<u64>, RuntimeError> {
        let rows = self.turn.query(Scope::Runtime(runtime), sql, params);
        let rows = rows.map_err(self.error())?;
        let last = rows.first();
        last.map(|row| self.reader.number("logs", row, 0))
            .transpose()
    }

    fn last_entry(&self, runtime: &str, worker: &str) -> Result<Option<u64>, RuntimeError> {
        const LAST: &str = "SELECT number FROM transcripts WHERE runtime = $1 AND worker = $2
            ORDER BY number DESC LIMIT 1";
        let params: [Param<'_>; 2] = [&key(runtime), &key(worker)];
        self.last(runtime, LAST, &params)
    }
}

/// The rows of `run` in the binary format of COPY: the texts of the key, the number, and the record.
fn copied(owner: &[&str], run: &Run) -> Result<Vec<u8>, ServerError> {
    let mut bytes = COPY_HEADER.to_vec();
    let columns = i16::try_from(owner.len() + 2).unwrap_or(i16::MAX);
    for (of, value) in run.rows() {
        bytes.extend_from_slice(&columns.to_be_bytes());
        for part in owner {
            copy_field(&mut bytes, &key(part))?;
        }
        copy_field(&mut bytes, &number(of)?.to_be_bytes())?;
        copy_field(&mut bytes, value)?;
    }
    bytes.extend_from_slice(COPY_END);
    Ok(bytes)
}

fn copy_field(bytes: &mut Vec<u8>, field: &[u8]) -> Result<(), ServerError> {
    let length = i32::try_from(field.len())
        .map_err(|_| ServerError::Invalid("a value is too large for the server".to_owned()))?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(field);
    Ok(())
}

impl LoadRows for PgLoad<'_> {
    fn at(&self) -> OpContext<'_> {
        self.reader.at
    }

    fn rows(&self) -> &dyn Rows {
        &self.reader
    }

    fn transcript_end(&self, (runtime, worker): (&str, &str)) -> Result<Option<u64>, RuntimeError> {
        let last = self.last_entry(runtime, worker)?;
        Ok(last.map(|last| last.saturating_add(1)))
    }

    fn put_runtime(&self, id: &str, row: &RuntimeRow) -> Result<(), RuntimeError> {
        let record = encoded(table::RUNTIMES, &id, row).map_err(self.error())?;
        self.put(
            (sql::PUT_RUNTIMES, table::RUNTIMES),
            (id, None, None),
            record,
        )
    }

    fn put_worker(
        &self,
        (runtime, worker): (&str, &str),
        row: &WorkerRow,
    ) -> Result<(), RuntimeError> {
        let record = encoded(table::WORKERS, &(runtime, worker), row).map_err(self.error())?;
        self.put(
            (sql::PUT_WORKERS, table::WORKERS),
            (runtime, Some(worker), None),
            record,
        )
    }

    fn put_workers(&self, runtime: &str, rows: &[(String, WorkerRow)]) -> Result<(), RuntimeError> {
        if rows.is_empty() {
            return Ok(());
        }
        let (mut workers, mut records) = (Vec::new(), Vec::new());
        for (worker, row) in rows {
            let key = (runtime, worker.as_str());
            self.put_texts(table::WORKERS, runtime, Some(worker))?;
            workers.push(self::key(worker));
            records.push(encoded(table::WORKERS, &key, row).map_err(self.error())?);
        }
        let owners = vec![key(runtime); rows.len()];
        let params: [Param<'_>; 3] = [&owners, &workers, &records];
        self.execute(runtime, sql::PUT_WORKERS, &params)
    }

    fn put_last_opening(&self, number: u32) -> Result<(), RuntimeError> {
        let (key, record) = (table::OPENINGS, MetaRecord::Number(number));
        let record = encoded(table::META, &key, &record).map_err(self.error())?;
        let columns = Columns::one(key, None, None, record);
        // The lock of the whole store.
        self.execute("", sql::PUT_META, &columns.params())
    }

    fn put_diagnostics(&self, id: &str, rows: &[(u64, DiagnosticRow)]) -> Result<(), RuntimeError> {
        let (mut numbers, mut records) = (Vec::new(), Vec::new());
        for (of, row) in rows {
            numbers.push(number(*of).map_err(self.error())?);
            records.push(encoded(table::DIAGNOSTICS, &(id, *of), row).map_err(self.error())?);
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.put_texts(table::DIAGNOSTICS, id, None)?;
        let owners = vec![key(id); rows.len()];
        let params: [Param<'_>; 3] = [&owners, &numbers, &records];
        self.execute(id, sql::PUT_DIAGNOSTICS, &params)
    }

    fn put_tombstones(&self, rows: &[(WorkerRef, TombstoneRow)]) -> Result<(), RuntimeError> {
        for (worker, row) in rows {
            let (runtime, worker) = owner_of(worker);
            let record = encoded(table::TOMBSTONES, &(runtime, worker), row);
            let record = record.map_err(self.error())?;
            self.put(
                (sql::PUT_TOMBSTONES, table::TOMBSTONES),
                (runtime, Some(worker), None),
                record,
            )?;
        }
        Ok(())
    }

    fn put_import(&self, id: &str, row: &ImportRow) -> Result<(), RuntimeError> {
        let record = encoded(table::IMPORTS, &id, row).map_err(self.error())?;
        self.put((sql::PUT_IMPORTS, table::IMPORTS), (id, None, None), record)
    }

    fn put_file_chunk(
        &self,
        (owner, path, chunk): (&str, &str, u64),
        row: &FileChunkRow,
    ) -> Result<(), RuntimeError> {
        let record = encoded(table::FILES, &(owner, path, chunk), row).map_err(self.error())?;
        let chunk = number(chunk).map_err(self.error())?;
        self.put(
            (sql::PUT_FILES, table::FILES),
            (owner, Some(path), Some(chunk)),
            record,
        )
    }

    fn append_events(&self, id: &str, run: &Run) -> Result<(), RuntimeError> {
        const COPY: &str = "COPY events (runtime, number, record) FROM STDIN (FORMAT binary)";
        const LAST: &str =
            "SELECT number FROM events WHERE runtime = $1 ORDER BY number DESC LIMIT 1";
        let last = self.last(id, LAST, &[&key(id)])?;
        self.append(id, (table::EVENTS, COPY), (&[id], run), last)
    }

    fn append_entries(
        &self,
        (runtime, worker): (&str, &str),
        run: &Run,
    ) -> Result<(), RuntimeError> {
        const COPY: &str =
            "COPY transcripts (runtime, worker, number, record) FROM STDIN (FORMAT binary)";
        let last = self.last_entry(runtime, worker)?;
        let into = (table::TRANSCRIPTS, COPY);
        self.append(runtime, into, (&[runtime, worker], run), last)
    }

    fn remove_runtime(&self, id: &str) -> Result<(), RuntimeError> {
        let key: [Param<'_>; 1] = [&key(id)];
        for sql in [
            "DELETE FROM runtimes WHERE runtime = $1",
            "DELETE FROM imports WHERE runtime = $1",
            "DELETE FROM workers WHERE runtime = $1",
            "DELETE FROM events WHERE runtime = $1",
            "DELETE FROM diagnostics WHERE runtime = $1",
            "DELETE FROM transcripts WHERE runtime = $1",
            "DELETE FROM tombstones WHERE runtime = $1",
            "DELETE FROM files WHERE runtime = $1",
            "DELETE FROM tombstones WHERE runtime = '' AND worker = $1",
        ] {
            self.execute(id, sql, &key)?;
        }
        self.forget_texts(id)
    }

    fn remove_diagnostics(&self, id: &str) -> Result<(), RuntimeError> {
        const DELETE: &str = "DELETE FROM diagnostics WHERE runtime = $1";
        self.execute(id, DELETE, &[&key(id)])
    }

    fn remove_file(&self, owner: &str, path: &str) -> Result<(), RuntimeError> {
        const DELETE: &str = "DELETE FROM files WHERE runtime = $1 AND path = $2";
        let params: [Param<'_>; 2] = [&key(owner), &key(path)];
        self.execute(owner, DELETE, &params)?;
        match is_long(path.as_bytes()) {
            true => self.forget_texts(owner),
            false => Ok(()),
        }
    }

    fn remove_files(&self, owner: &str, first: &str, end: &str) -> Result<(), RuntimeError> {
        // The keys of a family do not have the order of their texts.
        const DELETE: &str = "DELETE FROM files AS t
            WHERE t.runtime = $1 AND t.path >= $2 AND t.path < $3 AND (length(t.path) <= $6
                OR EXISTS (SELECT FROM long_keys AS l WHERE l.runtime = t.runtime AND l.key = t.path
                    AND l.text >= $4 AND l.text < $5))";
        let texts = (first.as_bytes(), end.as_bytes());
        let first = Family::of(texts.0).map_or(texts.0.to_vec(), |family| family.lower);
        let behind = Family::of(texts.1).map_or(texts.1.to_vec(), |family| family.upper);
        let own = PREFIX as i32;
        let params: [Param<'_>; 6] = [&key(owner), &first, &behind, &texts.0, &texts.1, &own];
        self.execute(owner, DELETE, &params)?;
        self.forget_texts(owner)
    }
}
