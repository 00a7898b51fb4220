//! The reads of a snapshot that no operation needs.

use crate::engine::postgres::keys::key;
use crate::engine::postgres::rows::key_bytes::part_bytes;
use crate::engine::postgres::rows::lists::{self, List, Range, after, behind};
use crate::engine::postgres::rows::reader::{LOG_ROWS, Reader};
use crate::engine::postgres::rows::source::Scope;
use crate::engine::postgres::wire::connection::Param;
use crate::error::RuntimeError;
use crate::ledger::convert::stored_size;
use crate::ledger::retention::RowFacts;
#[cfg(feature = "search")]
use crate::ledger::rows::RuntimeRow;
use crate::ledger::rows::{DiagnosticRow, EventRow, ImportRow, TranscriptRow, WorkerRow};
use crate::ledger::snapshot_rows::{EachChunk, EachSized, SnapshotRows};
use crate::ledger::stored::envelope::{KeyBytes, Record};
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::ledger::table_names::{DIAGNOSTICS, EVENTS, FILES, IMPORTS, TRANSCRIPTS, WORKERS};
use std::fmt::Debug;
use std::ops::ControlFlow;
use tokio_postgres::Row;

/// The size of a number in a key, in bytes.
const NUMBER_BYTES: usize = size_of::<u64>();

/// How many chunks of a file one query returns. Each has up to 1 MiB.
const CHUNKS: usize = 4;

impl Reader<'_> {
    /// The first row of a list in `range`.
    fn next(
        &self,
        list: (&List, Option<&str>),
        range: Range<'_>,
    ) -> Result<Option<(String, Row)>, RuntimeError> {
        Ok(self.list(Scope::Hint, list, range, 1)?.pop())
    }

    /// Passes rows with their sizes to `each`, until it returns `Break`.
    fn sized<R: Record, K: KeyBytes + Debug>(
        &self,
        (table, key_bytes): (&str, usize),
        from: u64,
        page: impl Fn(i64, i64) -> Result<Vec<Row>, RuntimeError>,
        key: impl Fn(u64) -> K,
        mut each: impl for<'v> FnMut(u64, R::Read<'v>, u64) -> Result<ControlFlow<()>, RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let mut from = from;
        loop {
            let (mut seen, mut last, mut has_ended) = (0, None, false);
            self.log(table, (from, LOG_ROWS), &page, |number, row| {
                seen += 1;
                last = Some(number);
                if has_ended {
                    return Ok(());
                }
                let decoded = self.decode::<R>((table, &key(number)), row, 1)?;
                let bytes = key_bytes + NUMBER_BYTES + self.bytes(table, row, 1)?.len();
                has_ended = each(number, decoded, stored_size(bytes))?.is_break();
                Ok(())
            })?;
            match last.and_then(|last| last.checked_add(1)) {
                Some(next) if seen == LOG_ROWS && !has_ended => from = next,
                _ => return Ok(()),
            }
        }
    }
}

fn facts(number: u64, time_ms: Option<u64>, bytes: u64) -> RowFacts {
    RowFacts {
        number,
        bytes,
        time_ms,
    }
}

impl SnapshotRows for Reader<'_> {
    fn next_import(&self, last: Option<&str>) -> Result<Option<(String, ImportRow)>, RuntimeError> {
        let from = behind(last);
        let next = self.next((&lists::IMPORTS, None), Range::from(&from))?;
        let next = next.map(|(id, row)| {
            let record = self.decode::<ImportRow>((IMPORTS, &id.as_str()), &row, 1)?;
            Ok((id, record))
        });
        next.transpose()
    }

    fn each_chunk_of(
        &self,
        owner: &str,
        path: &str,
        each: &mut EachChunk<'_>,
    ) -> Result<(), RuntimeError> {
        const PAGE: &str = "SELECT number, record FROM files WHERE runtime = $1 AND path = $2
            AND number >= $3 ORDER BY number LIMIT $4";
        let mut from = 0;
        loop {
            let page = |from: i64, most: i64| {
                let params: [Param<'_>; 4] = [&key(owner), &key(path), &from, &most];
                self.query(Scope::Hint, PAGE, &params)
            };
            let (mut seen, mut last) = (0, 0);
            self.log(FILES, (from, CHUNKS), page, |chunk, row| {
                (seen, last) = (seen + 1, chunk);
                let of = (owner, path, chunk);
                each(chunk, self.decode::<FileChunkRow>((FILES, &of), row, 1)?)
            })?;
            match last.checked_add(1) {
                Some(next) if seen == CHUNKS => from = next,
                _ => return Ok(()),
            }
        }
    }

    fn next_file(
        &self,
        owner: &str,
        from: &str,
        is_after: bool,
    ) -> Result<Option<String>, RuntimeError> {
        let first = is_after.then(|| after(from));
        let range = Range::from(first.as_deref().unwrap_or(from));
        let next = self.next((&lists::FILES, Some(owner)), range)?;
        Ok(next.map(|(path, _)| path))
    }

    fn event_facts(
        &self,
        runtime: &str,
        from: u64,
        each: &mut EachSized<'_, RowFacts>,
    ) -> Result<(), RuntimeError> {
        const PAGE: &str = "SELECT number, record FROM events WHERE runtime = $1 AND number >= $2
            ORDER BY number LIMIT $3";
        let id = key(runtime);
        let page = |from: i64, most: i64| self.query(Scope::Hint, PAGE, &[&id, &from, &most]);
        let key = |number| (runtime, number);
        let table = (EVENTS, part_bytes(runtime.len()));
        self.sized::<EventRow<'static>, _>(table, from, page, key, |number, row, bytes| {
            each(facts(number, row.recorded_at_ms, bytes), bytes)
        })
    }

    fn entry_facts(
        &self,
        (runtime, worker): (&str, &str),
        from: u64,
        each: &mut EachSized<'_, RowFacts>,
    ) -> Result<(), RuntimeError> {
        const PAGE: &str = "SELECT number, record FROM transcripts
            WHERE runtime = $1 AND worker = $2 AND number >= $3 ORDER BY number LIMIT $4";
        let page = |from: i64, most: i64| {
            let params: [Param<'_>; 4] = [&key(runtime), &key(worker), &from, &most];
            self.query(Scope::Hint, PAGE, &params)
        };
        let of = |number| (runtime, worker, number);
        let key_bytes = part_bytes(runtime.len()) + part_bytes(worker.len());
        let table = (TRANSCRIPTS, key_bytes);
        self.sized::<TranscriptRow<'static>, _>(table, from, page, of, |number, row, bytes| {
            each(facts(number, row.recorded_at_ms, bytes), bytes)
        })
    }

    fn sized_diagnostics(
        &self,
        runtime: &str,
        each: &mut EachSized<'_, (u64, DiagnosticRow)>,
    ) -> Result<(), RuntimeError> {
        const PAGE: &str = "SELECT number, record FROM diagnostics WHERE runtime = $1
            AND number >= $2 ORDER BY number LIMIT $3";
        let id = key(runtime);
        let page = |from: i64, most: i64| self.query(Scope::Hint, PAGE, &[&id, &from, &most]);
        let key = |number| (runtime, number);
        let table = (DIAGNOSTICS, part_bytes(runtime.len()));
        self.sized::<DiagnosticRow, _>(table, 0, page, key, |number, row, bytes| {
            each((number, row), bytes)
        })
    }

    fn sized_worker(
        &self,
        (runtime, worker): (&str, &str),
    ) -> Result<Option<(WorkerRow, u64)>, RuntimeError> {
        const GET: &str = "SELECT record FROM workers WHERE runtime = $1 AND worker = $2";
        let params: [Param<'_>; 2] = [&key(runtime), &key(worker)];
        let rows = self.query(Scope::Hint, GET, &params)?;
        let row = rows.first().map(|row| {
            let owner = (runtime, worker);
            let decoded = self.decode::<WorkerRow>((WORKERS, &owner), row, 0)?;
            let key_bytes = part_bytes(runtime.len()) + worker.len();
            let bytes = key_bytes + self.bytes(WORKERS, row, 0)?.len();
            Ok((decoded, stored_size(bytes)))
        });
        row.transpose()
    }

    #[cfg(feature = "search")]
    fn next_runtime(
        &self,
        last: Option<&str>,
        backwards: bool,
    ) -> Result<Option<(String, RuntimeRow)>, RuntimeError> {
        use crate::ledger::table_names::RUNTIMES;
        let next = match backwards {
            false => {
                let from = behind(last);
                self.next((&lists::RUNTIMES, None), Range::from(&from))?
            }
            true => self.next((&lists::RUNTIMES_BACKWARDS, None), Range::below(last))?,
        };
        let next = next.map(|(id, row)| {
            let decoded = self.decode::<RuntimeRow>((RUNTIMES, &id.as_str()), &row, 1)?;
            Ok((id, decoded))
        });
        next.transpose()
    }

    #[cfg(feature = "search")]
    fn next_worker(
        &self,
        runtime: &str,
        last: Option<&str>,
        backwards: bool,
    ) -> Result<Option<(String, WorkerRow)>, RuntimeError> {
        let next = match backwards {
            false => {
                let from = behind(last);
                self.next((&lists::WORKERS, Some(runtime)), Range::from(&from))?
            }
            true => self.next(
                (&lists::WORKERS_BACKWARDS, Some(runtime)),
                Range::below(last),
            )?,
        };
        let next = next.map(|(worker, row)| {
            let owner = (runtime, worker.as_str());
            let decoded = self.decode::<WorkerRow>((WORKERS, &owner), &row, 1)?;
            Ok((worker, decoded))
        });
        next.transpose()
    }
}
