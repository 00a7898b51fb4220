//! Reading whole tables as they are stored, in constant memory.

use crate::engine::postgres::rows::long_texts::LongTexts;
use crate::engine::postgres::snapshot::PgSnapshot;
use crate::engine::postgres::wire::server_error::ServerError;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::raw_rows::{EachRaw, RawRow, RawRows};
use crate::ledger::table_names as table;
use tokio_postgres::Row;

/// How many rows of a table one call returns.
const FETCHED: usize = 256;

/// As [`FETCHED`], of chunks of files, which have up to 1 MiB each.
const FETCHED_CHUNKS: usize = 16;

/// Rows of a snapshot, as they are stored. Rows of one family of keys come in the order of the keys.
pub(crate) struct PgRaw<'a> {
    snapshot: &'a PgSnapshot,
    at: OpContext<'a>,
    texts: LongTexts<'a>,
}

impl<'a> PgRaw<'a> {
    pub(crate) fn new(snapshot: &'a PgSnapshot, at: OpContext<'a>) -> Self {
        let texts = LongTexts::new(snapshot, at);
        Self {
            snapshot,
            at,
            texts,
        }
    }
}

/// The query of a table: the owner, the part and the number of the key, and the record.
fn query_of(name: &str) -> &'static str {
    match name {
        table::META => "SELECT property, ''::bytea, 0::int8, record FROM meta ORDER BY property",
        table::RUNTIMES => {
            "SELECT runtime, ''::bytea, 0::int8, record FROM runtimes ORDER BY runtime"
        }
        table::WORKERS => {
            "SELECT runtime, worker, 0::int8, record FROM workers ORDER BY runtime, worker"
        }
        table::EVENTS => {
            "SELECT runtime, ''::bytea, number, record FROM events ORDER BY runtime, number"
        }
        table::TRANSCRIPTS => {
            "SELECT runtime, worker, number, record FROM transcripts ORDER BY runtime, worker, number"
        }
        table::DIAGNOSTICS => {
            "SELECT runtime, ''::bytea, number, record FROM diagnostics ORDER BY runtime, number"
        }
        table::IMPORTS => {
            "SELECT runtime, ''::bytea, 0::int8, record FROM imports ORDER BY runtime"
        }
        table::TOMBSTONES => {
            "SELECT runtime, worker, 0::int8, record FROM tombstones ORDER BY runtime, worker"
        }
        _ => "SELECT runtime, path, number, record FROM files ORDER BY runtime, path, number",
    }
}

impl RawRows for PgRaw<'_> {
    fn each_raw(&self, table: &'static str, each: &mut EachRaw<'_>) -> Result<(), RuntimeError> {
        let error = |error: ServerError| error.runtime(self.at);
        let fetched = match table {
            table::FILES => FETCHED_CHUNKS,
            _ => FETCHED,
        };
        self.snapshot.declare(query_of(table)).map_err(error)?;
        loop {
            let rows = self.snapshot.fetch(fetched).map_err(error)?;
            for row in &rows {
                self.pass(table, row, each)?;
            }
            if rows.is_empty() {
                return self.snapshot.close_cursor().map_err(error);
            }
        }
    }
}

impl PgRaw<'_> {
    fn pass(&self, table: &str, row: &Row, each: &mut EachRaw<'_>) -> Result<(), RuntimeError> {
        let unfit = |error: String| self.at.corrupt(format!("table {table}: {error}"));
        let bytes = |column: usize| {
            let bytes: Result<&[u8], _> = row.try_get(column);
            bytes.map_err(|error| unfit(error.to_string()))
        };
        let (owner, part) = (bytes(0)?, bytes(1)?);
        let number: i64 = row.try_get(2).map_err(|error| unfit(error.to_string()))?;
        each(RawRow {
            owner: &found(self.texts.owner(table, owner), owner)?,
            part: &found(self.texts.part(table, owner, part), part)?,
            number: u64::try_from(number).map_err(|error| unfit(error.to_string()))?,
            value: bytes(3)?,
        })
    }
}

/// A text, or what can be read of its key: then the checksum of the row does not fit, which a verification reports.
fn found(text: Result<String, RuntimeError>, key: &[u8]) -> Result<String, RuntimeError> {
    match text {
        Err(RuntimeError::StoreCorrupt { .. }) => Ok(String::from_utf8_lossy(key).into_owned()),
        text => text,
    }
}
