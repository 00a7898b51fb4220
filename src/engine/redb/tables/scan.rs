//! Scans of one log that keep their place between calls. Each checks every value that it passes, and decodes
//! only those that its caller asks for.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::tables::definitions::{EVENTS, RUNTIMES, TRANSCRIPTS, TableOf, WORKERS};
use crate::engine::redb::tables::view::{View, after_runtime};
use crate::error::RuntimeError;
use crate::fs::process::Process;
use crate::ledger::rows::{EventRow, RuntimeRow, TranscriptRow, WorkerRow};
use crate::ledger::stored::envelope::{CrcPrefix, KeyBytes, Record, Verified, verify_after};
use crate::model::identity::{RuntimeId, WorkerRef};
use redb::{AccessGuard, Key, Range, ReadTransaction};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt::Display;
use std::ops::Bound;

/// A key of a log: a group, which all rows of the log share, and a number.
pub(crate) trait LogKey: Key + 'static {
    /// The log that a key belongs to.
    type Group: Display;

    /// How the group of `key` compares with `group`, and the number.
    fn split(key: &Self::SelfType<'_>, group: &Self::Group) -> (Ordering, u64);
}

impl LogKey for (&'static str, u64) {
    type Group = RuntimeId;

    fn split((runtime, id): &(&str, u64), group: &RuntimeId) -> (Ordering, u64) {
        ((*runtime).cmp(group.as_str()), *id)
    }
}

impl LogKey for (&'static str, &'static str, u64) {
    type Group = WorkerRef;

    fn split(
        (runtime, worker, position): &(&str, &str, u64),
        group: &WorkerRef,
    ) -> (Ordering, u64) {
        let of = (group.runtime_id.as_str(), group.worker_id.as_str());
        ((*runtime, *worker).cmp(&of), *position)
    }
}

/// A scan of the event log of a runtime.
pub(crate) type EventScan = LogScan<(&'static str, u64), EventRow<'static>>;

/// A scan of the transcript of a worker.
pub(crate) type TranscriptScan = LogScan<(&'static str, &'static str, u64), TranscriptRow<'static>>;

/// A scan of one log, forwards or backwards.
pub(crate) struct LogScan<K: LogKey, R: 'static> {
    /// `None` only while it is dropped.
    rows: Option<Range<'static, K, &'static [u8]>>,
    table: &'static TableOf<K, R>,
    group: K::Group,
    prefix: CrcPrefix,
    backwards: bool,
    last: Option<u64>,
    /// The number that the next row probably has.
    expected: Option<u64>,
    /// How many rows follow, where the number of rows is known.
    left: Option<u64>,
    process: Process,
}

impl<K: LogKey, R> Drop for LogScan<K, R> {
    fn drop(&mut self) {
        // A fork leaks it, as it does with the transaction: redb may take locks.
        if !self.process.is_current() {
            std::mem::forget(self.rows.take());
        }
    }
}

/// A key and a value of a range.
type Row<K> = (AccessGuard<'static, K>, AccessGuard<'static, &'static [u8]>);

impl<K: LogKey, R: Record> LogScan<K, R> {
    /// The first result of `each`, from here on. It gets the number and the verified value of each row; an
    /// error that it returns is damage of the row.
    ///
    /// As in every read, most numbers are successive, and the CRC of a value covers its key: if the CRC
    /// matches the next number, the key is not decoded.
    pub(crate) fn find<O>(
        &mut self,
        at: RedbContext<'_>,
        mut each: impl FnMut(u64, Verified<'_>) -> Result<Option<O>, String>,
    ) -> Result<Option<O>, RuntimeError> {
        let at = at.in_table(self.table.name);
        at.guard(|| {
            while self.left != Some(0) {
                let Some((key, value)) = self.advance(at)? else {
                    return self.ended(at);
                };
                let stored = value.value();
                let verify = |number| verify_after::<R>(&self.prefix, &number, stored);
                let next = self.expected;
                let (number, verified) =
                    match next.and_then(|next| verify(next).ok().map(|value| (next, value))) {
                        Some(found) => found,
                        None => {
                            let Some(number) = self.number(at, &key.value())? else {
                                return self.ended(at);
                            };
                            let verified = verify(number);
                            (
                                number,
                                verified.map_err(|why| self.unreadable(at, &key, why))?,
                            )
                        }
                    };
                self.pass(number);
                match each(number, verified) {
                    Ok(None) => {}
                    Ok(found) => return Ok(found),
                    Err(why) => return Err(self.unreadable(at, &key, why)),
                }
            }
            Ok(None)
        })
    }

    fn advance(&mut self, at: RedbContext<'_>) -> Result<Option<Row<K>>, RuntimeError> {
        let row = match (&mut self.rows, self.backwards) {
            (Some(rows), false) => rows.next(),
            (Some(rows), true) => rows.next_back(),
            (None, _) => None,
        };
        row.transpose().map_err(|error| at.redb(error))
    }

    /// The number of `key`; `None` if it belongs to the log that follows.
    fn number(
        &self,
        at: RedbContext<'_>,
        key: &K::SelfType<'_>,
    ) -> Result<Option<u64>, RuntimeError> {
        let (group, number) = K::split(key, &self.group);
        let (past, ordered) = match self.backwards {
            false => (
                Ordering::Greater,
                self.last.is_none_or(|last| number > last),
            ),
            true => (Ordering::Less, self.last.is_none_or(|last| number < last)),
        };
        match group {
            group if group == past => Ok(None),
            Ordering::Equal if ordered && self.left.is_none() => Ok(Some(number)),
            // A missing position would shift every later entry.
            Ordering::Equal if ordered && self.expected != Some(number) => Err(self.missing(at)),
            Ordering::Equal if ordered => Ok(Some(number)),
            _ => Err(at.corrupt(format!(
                "table {}: a key is out of order or outside the range that was read",
                self.table.name
            ))),
        }
    }

    fn pass(&mut self, number: u64) {
        self.last = Some(number);
        self.expected = match self.backwards {
            false => number.checked_add(1),
            true => number.checked_sub(1),
        };
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    /// The result at the end of the rows: an error if more are stated.
    fn ended<O>(&self, at: RedbContext<'_>) -> Result<Option<O>, RuntimeError> {
        match self.left {
            None | Some(0) => Ok(None),
            Some(_) => Err(self.missing(at)),
        }
    }

    fn missing(&self, at: RedbContext<'_>) -> RuntimeError {
        let (table, group) = (self.table.name, &self.group);
        at.corrupt(format!("table {table}: entries of {group} are missing"))
    }

    fn unreadable(&self, at: RedbContext<'_>, key: &AccessGuard<K>, why: String) -> RuntimeError {
        let (table, key) = (self.table.name, key.value());
        at.corrupt(format!("table {table}, key {key:?}: {why}"))
    }
}

impl View<'_, ReadTransaction> {
    /// The runtime that follows `last`, or the first one.
    pub(crate) fn runtime_after(
        &self,
        last: Option<&str>,
        backwards: bool,
    ) -> Result<Option<(String, RuntimeRow)>, RuntimeError> {
        let last_bound = last.map_or(Bound::Unbounded, Bound::Excluded);
        let range = match backwards {
            false => (last_bound, Bound::Unbounded),
            true => (Bound::Unbounded, last_bound),
        };
        self.neighbour(&RUNTIMES, range, backwards, |id: &&str| {
            follows(last, id, backwards).then(|| (*id).to_owned())
        })
    }

    /// The worker of `runtime` that follows `last`, or its first one.
    pub(crate) fn worker_after(
        &self,
        runtime: &str,
        last: Option<&str>,
        backwards: bool,
    ) -> Result<Option<(String, WorkerRow)>, RuntimeError> {
        let next = after_runtime(runtime);
        let (first, end) = (
            Bound::Included((runtime, "")),
            Bound::Excluded((next.as_str(), "")),
        );
        let last_bound = last.map(|last| Bound::Excluded((runtime, last)));
        let range = match backwards {
            false => (last_bound.unwrap_or(first), end),
            true => (first, last_bound.unwrap_or(end)),
        };
        self.neighbour(&WORKERS, range, backwards, |(owner, id): &(&str, &str)| {
            (*owner == runtime && follows(last, id, backwards)).then(|| (*id).to_owned())
        })
    }

    /// The row at the beginning of `range`, or at its end. `own` returns the id in a key, or `None` for a key
    /// outside the range, which only a damaged file returns.
    fn neighbour<'r, K, R>(
        &self,
        table: &TableOf<K, R>,
        range: (Bound<K::SelfType<'r>>, Bound<K::SelfType<'r>>),
        backwards: bool,
        own: impl for<'k> Fn(&K::SelfType<'k>) -> Option<String>,
    ) -> Result<Option<(String, R)>, RuntimeError>
    where
        K: Key + 'static,
        R: for<'v> Record<Read<'v> = R>,
        for<'k> K::SelfType<'k>: KeyBytes + Borrow<K::SelfType<'k>>,
    {
        self.in_table(table, |open, at| {
            let mut rows = open
                .range::<K::SelfType<'r>>(range)
                .map_err(|error| at.redb(error))?;
            let row = match backwards {
                false => rows.next(),
                true => rows.next_back(),
            };
            let Some((key, value)) = row.transpose().map_err(|error| at.redb(error))? else {
                return Ok(None);
            };
            let key = key.value();
            let id = own(&key).ok_or_else(|| self.out_of_place(table.name))?;
            Ok(Some((id, self.decode(table, &key, value.value())?)))
        })
    }

    /// A scan of the event log of a runtime: of the events behind the id `after`, in the direction of the scan.
    pub(crate) fn scan_events(
        &self,
        runtime_id: &RuntimeId,
        after: Option<u64>,
        (backwards, process): (bool, Process),
    ) -> Result<EventScan, RuntimeError> {
        let group = runtime_id.as_str();
        let first = match (after, backwards) {
            (Some(id), _) => Bound::Excluded((group, id)),
            (None, false) => Bound::Included((group, 0)),
            (None, true) => Bound::Included((group, u64::MAX)),
        };
        Ok(LogScan {
            rows: Some(self.range(&EVENTS, directed(first, backwards))?),
            table: &EVENTS,
            group: runtime_id.clone(),
            prefix: CrcPrefix::new(EVENTS.name, &group),
            backwards,
            last: after,
            expected: match (after, backwards) {
                (after, false) => after.unwrap_or(0).checked_add(1),
                (after, true) => after.and_then(|id| id.checked_sub(1)),
            },
            left: None,
            process,
        })
    }

    /// A scan of these positions of the transcript of a worker. A missing one is an error.
    pub(crate) fn scan_transcript(
        &self,
        worker: &WorkerRef,
        positions: std::ops::Range<u64>,
        (backwards, process): (bool, Process),
    ) -> Result<TranscriptScan, RuntimeError> {
        let group = (worker.runtime_id.as_str(), worker.worker_id.as_str());
        let first = match backwards {
            false => positions.start,
            true => positions.end.saturating_sub(1),
        };
        let bound = Bound::Included((group.0, group.1, first));
        Ok(LogScan {
            rows: Some(self.range(&TRANSCRIPTS, directed(bound, backwards))?),
            table: &TRANSCRIPTS,
            group: worker.clone(),
            prefix: CrcPrefix::new(TRANSCRIPTS.name, &group),
            backwards,
            last: None,
            expected: Some(first),
            left: Some(positions.end.saturating_sub(positions.start)),
            process,
        })
    }

    /// The rows of `range`. The range stays valid without the view: it holds the snapshot.
    fn range<'r, K: Key + 'static, R>(
        &self,
        table: &TableOf<K, R>,
        range: (Bound<K::SelfType<'r>>, Bound<K::SelfType<'r>>),
    ) -> Result<Range<'static, K, &'static [u8]>, RuntimeError>
    where
        for<'k> K::SelfType<'k>: Borrow<K::SelfType<'k>>,
    {
        self.in_table(table, |open, at| {
            open.range::<K::SelfType<'r>>(range)
                .map_err(|error| at.redb(error))
        })
    }
}

/// The rows from `first` on in a direction, to the end of the table. So redb compares no key with an end: the
/// scan finds the end of its log.
fn directed<K>(first: Bound<K>, backwards: bool) -> (Bound<K>, Bound<K>) {
    match backwards {
        false => (first, Bound::Unbounded),
        true => (Bound::Unbounded, first),
    }
}

/// Whether `id` follows `last` in the direction of a scan.
fn follows(last: Option<&str>, id: &str, backwards: bool) -> bool {
    last.is_none_or(|last| match backwards {
        false => id > last,
        true => id < last,
    })
}
