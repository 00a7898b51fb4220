//! Bounded reads of records. A read costs the seek and the items it returns, at any length of a
//! log.

use super::context::At;
use super::record::{
    self, DiagnosticRecord, EventRecord, ImportRow, KeyBytes, Record, RuntimeRecord,
    TranscriptRecord, WorkerRecord,
};
use super::tables::{
    DIAGNOSTICS, EVENTS, IMPORTS, RUNTIMES, TRANSCRIPTS, TableOf, Tables, WORKERS,
};
use crate::error::RuntimeError;
use redb::{Key, ReadableTable};
use std::borrow::Borrow;
use std::ops::{Bound, RangeBounds};

/// How many rows a reader that walks a whole table takes at a time.
pub(crate) const PAGE_ROWS: usize = 1024;

/// The rows of a store, as of one moment. Pages begin at a key or after one, and hold at most
/// `limit` rows in the order of their keys.
///
/// Implemented by the transactions of the file ([`View`]) and by an operation that sees its own
/// writes above them ([`super::transaction::Transaction`]), so that the rules above are written
/// once.
pub(crate) trait Rows {
    /// What an error names.
    fn at(&self) -> At<'_>;

    fn runtime(&self, runtime: &str) -> Result<Option<RuntimeRecord>, RuntimeError>;

    fn runtimes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, RuntimeRecord)>, RuntimeError>;

    fn worker(&self, runtime: &str, worker: &str) -> Result<Option<WorkerRecord>, RuntimeError>;

    fn workers(
        &self,
        runtime: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, WorkerRecord)>, RuntimeError>;

    fn events(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, EventRecord)>, RuntimeError>;

    fn last_event_id(&self, runtime: &str) -> Result<Option<u64>, RuntimeError>;

    fn transcript(
        &self,
        runtime: &str,
        worker: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, TranscriptRecord)>, RuntimeError>;

    fn diagnostics(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, DiagnosticRecord)>, RuntimeError>;

    fn import(&self, runtime: &str) -> Result<Option<ImportRow>, RuntimeError>;
}

/// The committed rows that one transaction of the file sees.
pub(crate) struct View<'a, T> {
    pub(crate) tables: &'a T,
    pub(crate) at: At<'a>,
}

impl<T: Tables> View<'_, T> {
    /// The record under `key`.
    pub(crate) fn get<K, R>(
        &self,
        table: &TableOf<K, R>,
        key: K::SelfType<'_>,
    ) -> Result<Option<R>, RuntimeError>
    where
        K: Key + 'static,
        R: Record,
        for<'k> K::SelfType<'k>: KeyBytes,
    {
        self.at.guard(|| {
            let open = self
                .tables
                .open(table.definition)
                .map_err(|error| self.at.redb(error))?;
            let value = open.get(&key).map_err(|error| self.at.redb(error))?;
            value
                .map(|value| self.decode(table, &key, value.value()))
                .transpose()
        })
    }

    /// The first `limit` rows of `range`, with the part of the key that `own` takes of those that
    /// belong there. In a damaged file rows can stand anywhere: one that does not belong to the range
    /// or is not greater than the one before is damage, never data, and no walk goes on for ever.
    fn page<'r, K, R, O: PartialOrd>(
        &self,
        table: &TableOf<K, R>,
        range: impl RangeBounds<K::SelfType<'r>> + 'r,
        limit: usize,
        own: impl for<'k> Fn(K::SelfType<'k>) -> Option<O>,
    ) -> Result<Vec<(O, R)>, RuntimeError>
    where
        K: Key + 'static,
        R: Record,
        for<'k> K::SelfType<'k>: KeyBytes + Borrow<K::SelfType<'k>>,
    {
        self.at.guard(|| {
            let open = self
                .tables
                .open(table.definition)
                .map_err(|error| self.at.redb(error))?;
            let rows = open
                .range::<K::SelfType<'r>>(range)
                .map_err(|error| self.at.redb(error))?;
            let mut page: Vec<(O, R)> = Vec::with_capacity(limit.min(PAGE_ROWS));
            for row in rows.take(limit) {
                let (key, value) = row.map_err(|error| self.at.redb(error))?;
                let key = key.value();
                let record = self.decode(table, &key, value.value())?;
                let follows = |own: &O| page.last().is_none_or(|(last, _)| last < own);
                match own(key).filter(follows) {
                    Some(own) => page.push((own, record)),
                    None => return Err(self.out_of_place(table.name)),
                }
            }
            Ok(page)
        })
    }

    fn out_of_place(&self, table: &str) -> RuntimeError {
        self.at
            .corrupt(format!("table {table}: a row is out of place"))
    }

    fn decode<K, R>(
        &self,
        table: &TableOf<K, R>,
        key: &K::SelfType<'_>,
        value: &[u8],
    ) -> Result<R, RuntimeError>
    where
        K: Key + 'static,
        R: Record,
        for<'k> K::SelfType<'k>: KeyBytes,
    {
        record::decode(table.name, key, value).map_err(|message| {
            self.at
                .corrupt(format!("table {}, key {key:?}: {message}", table.name))
        })
    }
}

/// The smallest text that is greater than `runtime`: the end of what keys have it first.
pub(crate) fn after_runtime(runtime: &str) -> String {
    format!("{runtime}\0")
}

fn after_bound(after: Option<&str>) -> Bound<&str> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

impl<T: Tables> Rows for View<'_, T> {
    fn at(&self) -> At<'_> {
        self.at
    }

    fn runtime(&self, runtime: &str) -> Result<Option<RuntimeRecord>, RuntimeError> {
        self.get(&RUNTIMES, runtime)
    }

    fn runtimes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, RuntimeRecord)>, RuntimeError> {
        let range = (after_bound(after), Bound::Unbounded);
        self.page(&RUNTIMES, range, limit, |key: &str| {
            after
                .is_none_or(|after| key > after)
                .then(|| key.to_owned())
        })
    }

    fn worker(&self, runtime: &str, worker: &str) -> Result<Option<WorkerRecord>, RuntimeError> {
        self.get(&WORKERS, (runtime, worker))
    }

    fn workers(
        &self,
        runtime: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, WorkerRecord)>, RuntimeError> {
        let from = match after {
            Some(worker) => Bound::Excluded((runtime, worker)),
            None => Bound::Included((runtime, "")),
        };
        let next = after_runtime(runtime);
        let range = (from, Bound::Excluded((next.as_str(), "")));
        self.page(&WORKERS, range, limit, |(owner, worker): (&str, &str)| {
            let belongs = owner == runtime && after.is_none_or(|after| worker > after);
            belongs.then(|| worker.to_owned())
        })
    }

    fn events(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, EventRecord)>, RuntimeError> {
        let range = (runtime, from)..=(runtime, u64::MAX);
        self.page(&EVENTS, range, limit, |(owner, id): (&str, u64)| {
            (owner == runtime && id >= from).then_some(id)
        })
    }

    fn last_event_id(&self, runtime: &str) -> Result<Option<u64>, RuntimeError> {
        self.at.guard(|| {
            let open = self
                .tables
                .open(EVENTS.definition)
                .map_err(|error| self.at.redb(error))?;
            let mut range = open
                .range((runtime, 0)..=(runtime, u64::MAX))
                .map_err(|error| self.at.redb(error))?;
            let last = range.next_back().transpose();
            let last = last.map_err(|error| self.at.redb(error))?;
            match last.as_ref().map(|(key, _)| key.value()) {
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
    ) -> Result<Vec<(u64, TranscriptRecord)>, RuntimeError> {
        let range = (runtime, worker, from)..=(runtime, worker, u64::MAX);
        self.page(
            &TRANSCRIPTS,
            range,
            limit,
            |(owner, of, position): (&str, &str, u64)| {
                (owner == runtime && of == worker && position >= from).then_some(position)
            },
        )
    }

    fn diagnostics(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, DiagnosticRecord)>, RuntimeError> {
        let range = (runtime, from)..=(runtime, u64::MAX);
        self.page(&DIAGNOSTICS, range, limit, |(owner, id): (&str, u64)| {
            (owner == runtime && id >= from).then_some(id)
        })
    }

    fn import(&self, runtime: &str) -> Result<Option<ImportRow>, RuntimeError> {
        self.get(&IMPORTS, runtime)
    }
}
