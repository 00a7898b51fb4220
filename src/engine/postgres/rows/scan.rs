//! Scans of one log that keep their place between calls. Each checks every value that it passes, and decodes only those
//! that its caller asks for.

use crate::engine::postgres::keys::key;
use crate::engine::postgres::rows::reader::{LOG_ROWS, Reader, limit, number};
use crate::engine::postgres::rows::source::Scope;
use crate::engine::postgres::wire::connection::Param;
use crate::error::RuntimeError;
use crate::ledger::rows::{EventRow, TranscriptRow};
use crate::ledger::stored::envelope::{CrcPrefix, Record, Verified, verify_after};
use crate::ledger::table_names::{EVENTS, TRANSCRIPTS};
use crate::model::identity::{RuntimeId, WorkerRef};
use std::marker::PhantomData;
use std::ops::Range;
use tokio_postgres::Row;

/// A scan of the event log of a runtime.
pub(crate) type EventScan = LogScan<EventRow<'static>>;

/// A scan of the transcript of a worker.
pub(crate) type TranscriptScan = LogScan<TranscriptRow<'static>>;

/// A scan of one log, forwards or backwards.
pub(crate) struct LogScan<R> {
    table: &'static str,
    runtime: String,
    /// The worker of a transcript.
    worker: Option<String>,
    prefix: CrcPrefix,
    backwards: bool,
    /// The number at which the next page begins; `None` at the end of the log.
    next: Option<u64>,
    /// How many rows follow, where the number of rows is known: their numbers have no gaps.
    left: Option<u64>,
    page: std::vec::IntoIter<Row>,
    record: PhantomData<fn() -> R>,
}

impl EventScan {
    /// A scan of the events behind the id `after`, in the direction of the scan.
    pub(crate) fn of_events(id: &RuntimeId, after: Option<u64>, backwards: bool) -> Self {
        let runtime = id.as_str();
        Self {
            table: EVENTS,
            runtime: runtime.to_owned(),
            worker: None,
            prefix: CrcPrefix::new(EVENTS, &runtime),
            backwards,
            next: match (after, backwards) {
                (None, false) => Some(0),
                (None, true) => Some(u64::MAX),
                (Some(after), false) => after.checked_add(1),
                (Some(after), true) => after.checked_sub(1),
            },
            left: None,
            page: Vec::new().into_iter(),
            record: PhantomData,
        }
    }
}

impl TranscriptScan {
    /// A scan of these positions of the transcript of a worker. A missing one is an error.
    pub(crate) fn of_transcript(
        worker: &WorkerRef,
        positions: Range<u64>,
        backwards: bool,
    ) -> Self {
        let (runtime, of) = (worker.runtime_id.as_str(), worker.worker_id.as_str());
        Self {
            table: TRANSCRIPTS,
            runtime: runtime.to_owned(),
            worker: Some(of.to_owned()),
            prefix: CrcPrefix::new(TRANSCRIPTS, &(runtime, of)),
            backwards,
            next: match backwards {
                false => Some(positions.start),
                true => positions.end.checked_sub(1),
            },
            left: Some(positions.end.saturating_sub(positions.start)),
            page: Vec::new().into_iter(),
            record: PhantomData,
        }
    }
}

impl<R: Record> LogScan<R> {
    /// The first result of `each`, from here on. It gets the number and the verified value of each row; an error that it
    /// returns is damage of the row.
    pub(crate) fn find<O>(
        &mut self,
        reader: &Reader<'_>,
        mut each: impl FnMut(u64, Verified<'_>) -> Result<Option<O>, String>,
    ) -> Result<Option<O>, RuntimeError> {
        while self.left != Some(0) {
            let Some(row) = self.advance(reader)? else {
                return match self.left {
                    None => Ok(None),
                    Some(_) => Err(self.missing(reader)),
                };
            };
            let number = reader.number(self.table, &row, 0)?;
            if self.left.is_some() && self.next != Some(number) {
                return Err(self.missing(reader));
            }
            self.next = match self.backwards {
                false => number.checked_add(1),
                true => number.checked_sub(1),
            };
            self.left = self.left.map(|left| left.saturating_sub(1));
            let value = reader.bytes(self.table, &row, 1)?;
            let verified = verify_after::<R>(&self.prefix, &number, value);
            match verified.and_then(|verified| each(number, verified)) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(why) => {
                    let (table, owner) = (self.table, self.owner());
                    return Err(reader
                        .at
                        .corrupt(format!("table {table}, key ({owner}, {number}): {why}")));
                }
            }
        }
        Ok(None)
    }

    fn owner(&self) -> String {
        match &self.worker {
            None => format!("{:?}", self.runtime),
            Some(worker) => format!("{:?}, {worker:?}", self.runtime),
        }
    }

    fn missing(&self, reader: &Reader<'_>) -> RuntimeError {
        let (table, owner) = (self.table, self.owner());
        reader
            .at
            .corrupt(format!("table {table}: entries of {owner} are missing"))
    }

    fn advance(&mut self, reader: &Reader<'_>) -> Result<Option<Row>, RuntimeError> {
        if let Some(row) = self.page.next() {
            return Ok(Some(row));
        }
        let Some(next) = self.next else {
            return Ok(None);
        };
        let wanted = self.left.map_or(LOG_ROWS, |left| {
            LOG_ROWS.min(usize::try_from(left).unwrap_or(LOG_ROWS))
        });
        self.page = self.query(reader, next, wanted)?.into_iter();
        let row = self.page.next();
        if row.is_none() {
            self.next = None;
        }
        Ok(row)
    }

    fn query(
        &self,
        reader: &Reader<'_>,
        next: u64,
        wanted: usize,
    ) -> Result<Vec<Row>, RuntimeError> {
        const EVENTS_UP: &str = "SELECT number, record FROM events
            WHERE runtime = $1 AND number >= $2 ORDER BY number LIMIT $3";
        const EVENTS_DOWN: &str = "SELECT number, record FROM events
            WHERE runtime = $1 AND number <= $2 ORDER BY number DESC LIMIT $3";
        const ENTRIES_UP: &str = "SELECT number, record FROM transcripts
            WHERE runtime = $1 AND worker = $4 AND number >= $2 ORDER BY number LIMIT $3";
        const ENTRIES_DOWN: &str = "SELECT number, record FROM transcripts
            WHERE runtime = $1 AND worker = $4 AND number <= $2 ORDER BY number DESC LIMIT $3";
        let (id, next, most) = (key(&self.runtime), number(next), limit(wanted));
        let worker = self.worker.as_deref().map(key);
        let mut params: Vec<Param<'_>> = vec![&id, &next, &most];
        if let Some(worker) = &worker {
            params.push(worker);
        }
        let sql = match (worker.is_some(), self.backwards) {
            (false, false) => EVENTS_UP,
            (false, true) => EVENTS_DOWN,
            (true, false) => ENTRIES_UP,
            (true, true) => ENTRIES_DOWN,
        };
        reader.query(Scope::Hint, sql, &params)
    }
}
