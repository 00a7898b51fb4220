//! The staged writes of one operation.
//!
//! An operation never writes to the file. It reads through its own writes, those of the operations
//! before it that wait for the same or the previous commit, and the committed rows; what it writes
//! is staged. An operation that fails or panics is dropped with everything that it staged; one that
//! succeeds hands it on to the commit that it shares.

use super::context::At;
use super::read::Rows;
use super::record::{
    self, DiagnosticRecord, EventRecord, EventRow, ImportRow, KeyBytes, Record, RuntimeRecord,
    TranscriptRecord, TranscriptRow, WorkerRecord,
};
use super::tables::{DIAGNOSTICS, EVENTS, RUNTIMES, TRANSCRIPTS, TableOf, WORKERS};
use crate::error::RuntimeError;
use redb::{CursorError, Key, WriteTransaction};
use std::collections::{BTreeMap, btree_map};
use std::fmt::Debug;
use std::iter::Peekable;
use std::ops::Bound;

/// What staging a row costs in memory besides its texts, roughly. Only bounds batches.
const ROW_BYTES: usize = 128;

/// The most text that one row may have, in bytes: well below what a value may have, so that a row
/// that was staged can be written, and no operation fails the commit that it shares.
const MAX_TEXT_BYTES: usize = record::MAX_VALUE_BYTES / 2;

fn row_bytes(text_bytes: usize) -> Result<usize, RuntimeError> {
    if text_bytes > MAX_TEXT_BYTES {
        return Err(RuntimeError::InvalidRequest(format!(
            "{text_bytes} bytes of text in one row are over the limit of {MAX_TEXT_BYTES}"
        )));
    }
    Ok(ROW_BYTES + text_bytes)
}

/// Rows that are written but not yet committed. Rows are added or replaced, never removed.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    runtimes: BTreeMap<String, StagedRuntime>,
    bytes: usize,
}

/// The staged rows of one runtime.
#[derive(Debug, Default)]
struct StagedRuntime {
    row: Option<RuntimeRecord>,
    workers: BTreeMap<String, WorkerRecord>,
    events: BTreeMap<u64, EventRecord>,
    transcripts: BTreeMap<String, BTreeMap<u64, TranscriptRecord>>,
    diagnostics: BTreeMap<u64, DiagnosticRecord>,
}

impl Staged {
    /// Whether nothing is staged.
    pub(crate) fn is_empty(&self) -> bool {
        self.runtimes.is_empty()
    }

    /// Roughly how much memory the rows take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes over everything that a later operation staged.
    pub(crate) fn merge(&mut self, later: Staged) {
        self.bytes += later.bytes;
        for (id, later) in later.runtimes {
            let runtime = self.runtimes.entry(id).or_default();
            if later.row.is_some() {
                runtime.row = later.row;
            }
            runtime.workers.extend(later.workers);
            runtime.events.extend(later.events);
            runtime.diagnostics.extend(later.diagnostics);
            for (worker, entries) in later.transcripts {
                runtime
                    .transcripts
                    .entry(worker)
                    .or_default()
                    .extend(entries);
            }
        }
    }

    fn runtime_mut(&mut self, runtime: &str) -> &mut StagedRuntime {
        self.runtimes.entry(runtime.to_owned()).or_default()
    }

    /// Writes every row into `transaction`, each table's in the order of their keys.
    pub(crate) fn write(
        &self,
        transaction: &WriteTransaction,
        at: At<'_>,
    ) -> Result<(), RuntimeError> {
        let all = || {
            self.runtimes
                .iter()
                .map(|(id, staged)| (id.as_str(), staged))
        };
        let writer = RowWriter { transaction, at };
        writer.write(
            &RUNTIMES,
            all().filter_map(|(id, staged)| Some((id, staged.row.as_ref()?))),
        )?;
        writer.write(
            &WORKERS,
            all().flat_map(|(id, staged)| {
                let rows = staged.workers.iter();
                rows.map(move |(worker, row)| ((id, worker.as_str()), row))
            }),
        )?;
        writer.append(
            &EVENTS,
            all().map(|(id, staged)| {
                let rows = staged.events.iter();
                rows.map(move |(event, row)| ((id, *event), row))
            }),
        )?;
        writer.append(
            &TRANSCRIPTS,
            all().flat_map(|(id, staged)| {
                let transcripts = staged.transcripts.iter();
                transcripts.map(move |(worker, entries)| {
                    let rows = entries.iter();
                    rows.map(move |(position, row)| ((id, worker.as_str(), *position), row))
                })
            }),
        )?;
        writer.write(
            &DIAGNOSTICS,
            all().flat_map(|(id, staged)| {
                let rows = staged.diagnostics.iter();
                rows.map(move |(diagnostic, row)| ((id, *diagnostic), row))
            }),
        )
    }
}

/// From so many rows of one log on, a cursor is cheaper than inserting each: 16 % fewer instructions
/// for a commit of 64 inputs to 8 workers, 5 % more for one of 8 inputs to one.
const CURSOR_ROWS: usize = 8;

/// What becomes of a row that stands under the key of a new one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Replace,
    Refuse,
}

/// Writes records into the tables of a transaction.
pub(crate) struct RowWriter<'a> {
    pub(crate) transaction: &'a WriteTransaction,
    pub(crate) at: At<'a>,
}

impl RowWriter<'_> {
    /// Inserts `rows`; a table without rows is not opened.
    pub(crate) fn write<'r, K, R: Record + 'r>(
        &self,
        table: &TableOf<K, R>,
        rows: impl Iterator<Item = (K::SelfType<'r>, &'r R)>,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        K::SelfType<'r>: KeyBytes,
    {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut open = self
            .transaction
            .open_table(table.definition)
            .map_err(|error| self.at.redb(error))?;
        self.insert_each(table, &mut open, rows, Existing::Replace)
    }

    /// Inserts the rows of each of `logs`, by increasing key. The table has no row yet among those of
    /// one log, or after them in the same log: whatever stands there is damage, and is not replaced.
    fn append<'r, K, R: Record + 'r>(
        &self,
        table: &TableOf<K, R>,
        logs: impl Iterator<Item = impl ExactSizeIterator<Item = (K::SelfType<'r>, &'r R)>>,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        K::SelfType<'r>: KeyBytes,
    {
        let mut logs = logs.filter(|rows| rows.len() > 0).peekable();
        if logs.peek().is_none() {
            return Ok(());
        }
        let mut open = self
            .transaction
            .open_table(table.definition)
            .map_err(|error| self.at.redb(error))?;
        for rows in logs {
            match rows.len() < CURSOR_ROWS {
                true => self.insert_each(table, &mut open, rows, Existing::Refuse)?,
                false => self.insert_run(table, &mut open, rows)?,
            }
        }
        Ok(())
    }

    /// Inserts rows one by one: a few are cheaper so.
    fn insert_each<'r, K, R: Record + 'r>(
        &self,
        table: &TableOf<K, R>,
        open: &mut redb::Table<'_, K, &'static [u8]>,
        rows: impl Iterator<Item = (K::SelfType<'r>, &'r R)>,
        existing: Existing,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        K::SelfType<'r>: KeyBytes,
    {
        let mut value = Vec::new();
        for (key, row) in rows {
            record::encode(table.name, &key, row, &mut value)
                .map_err(RuntimeError::InvalidRequest)?;
            let there = open.insert(&key, value.as_slice());
            let is_there = there.map_err(|error| self.at.redb(error))?.is_some();
            if is_there && existing == Existing::Refuse {
                return Err(self.taken(table, &key));
            }
        }
        Ok(())
    }

    /// Inserts rows that follow each other through one cursor: they share the copying of their pages.
    fn insert_run<'r, K, R: Record + 'r>(
        &self,
        table: &TableOf<K, R>,
        open: &mut redb::Table<'_, K, &'static [u8]>,
        rows: impl Iterator<Item = (K::SelfType<'r>, &'r R)>,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        K::SelfType<'r>: KeyBytes,
    {
        let mut rows = rows.peekable();
        let Some((first, _)) = rows.peek() else {
            return Ok(());
        };
        let mut cursor = open
            .lower_bound_mut(Bound::Included(first))
            .map_err(|error| self.at.redb(error))?;
        let mut value = Vec::new();
        for (key, row) in rows {
            record::encode(table.name, &key, row, &mut value)
                .map_err(RuntimeError::InvalidRequest)?;
            cursor
                .insert_before(&key, value.as_slice())
                .map_err(|error| match error {
                    CursorError::UnorderedKey => self.taken(table, &key),
                    error => self.at.redb(error),
                })?;
        }
        cursor.close().map_err(|error| self.at.redb(error))
    }

    /// A row stands where only a new one can.
    fn taken<K: Key + 'static, R>(&self, table: &TableOf<K, R>, key: &impl Debug) -> RuntimeError {
        let name = table.name;
        self.at.corrupt(format!(
            "table {name}, key {key:?}: a row stands where the next one belongs"
        ))
    }
}

/// What one operation reads and stages.
pub(crate) struct Transaction<'a> {
    base: &'a dyn Rows,
    /// What earlier operations staged above `base`, the oldest first.
    below: Vec<&'a Staged>,
    staged: Staged,
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("staged", &self.staged)
            .finish_non_exhaustive()
    }
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(base: &'a dyn Rows, below: Vec<&'a Staged>) -> Self {
        Self {
            base,
            below,
            staged: Staged::default(),
        }
    }

    /// Runs a part of the operation: where it fails, nothing that it staged stays.
    pub(crate) fn nested<T>(
        &mut self,
        part: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let mut inner = Transaction::new(self, Vec::new());
        let result = part(&mut inner)?;
        let staged = inner.into_staged();
        self.staged.merge(staged);
        Ok(result)
    }

    /// The transaction by value, with everything that it staged, until it is
    /// [given back](Self::give_back).
    pub(crate) fn lend(&mut self) -> Transaction<'a> {
        Self {
            base: self.base,
            below: self.below.clone(),
            staged: std::mem::take(&mut self.staged),
        }
    }

    /// Takes back what was lent.
    pub(crate) fn give_back(&mut self, lent: Transaction<'_>) {
        self.staged = lent.staged;
    }

    /// What the operation staged.
    pub(crate) fn into_staged(self) -> Staged {
        self.staged
    }

    pub(crate) fn put_runtime(
        &mut self,
        runtime: &str,
        row: RuntimeRecord,
    ) -> Result<(), RuntimeError> {
        self.staged.bytes += row_bytes(row.text_bytes())?;
        self.staged.runtime_mut(runtime).row = Some(row);
        Ok(())
    }

    pub(crate) fn put_worker(
        &mut self,
        runtime: &str,
        worker: &str,
        row: WorkerRecord,
    ) -> Result<(), RuntimeError> {
        self.staged.bytes += row_bytes(row.text_bytes())?;
        let staged = self.staged.runtime_mut(runtime);
        staged.workers.insert(worker.to_owned(), row);
        Ok(())
    }

    pub(crate) fn put_event(
        &mut self,
        runtime: &str,
        id: u64,
        row: EventRecord,
    ) -> Result<(), RuntimeError> {
        self.staged.bytes += row_bytes(row.text_bytes())?;
        self.staged.runtime_mut(runtime).events.insert(id, row);
        Ok(())
    }

    pub(crate) fn put_transcript(
        &mut self,
        runtime: &str,
        worker: &str,
        position: u64,
        row: TranscriptRecord,
    ) -> Result<(), RuntimeError> {
        self.staged.bytes += row_bytes(row.text_bytes())?;
        let staged = self.staged.runtime_mut(runtime);
        let entries = staged.transcripts.entry(worker.to_owned()).or_default();
        entries.insert(position, row);
        Ok(())
    }

    pub(crate) fn put_diagnostic(
        &mut self,
        runtime: &str,
        id: u64,
        row: DiagnosticRecord,
    ) -> Result<(), RuntimeError> {
        self.staged.bytes += row_bytes(row.text_bytes())?;
        self.staged.runtime_mut(runtime).diagnostics.insert(id, row);
        Ok(())
    }

    /// The layers above the committed rows, the newest first.
    fn layers(&self) -> impl Iterator<Item = &Staged> {
        std::iter::once(&self.staged).chain(self.below.iter().rev().copied())
    }

    /// The staged parts of `runtime`, the newest first.
    fn staged<'s>(&'s self, runtime: &'s str) -> impl Iterator<Item = &'s StagedRuntime> {
        self.layers()
            .filter_map(move |layer| layer.runtimes.get(runtime))
    }
}

/// Lays `layers`, the newest first, over a page of committed rows, and cuts the result to `limit`.
/// Right because layers add and replace, but never remove: the first `limit` rows of the whole are
/// among the first `limit` of each part.
fn overlay<'r, K: Ord + Clone + 'r, R: Clone + 'r>(
    page: Vec<(K, R)>,
    layers: impl Iterator<Item = &'r BTreeMap<K, R>>,
    from: Bound<K>,
    limit: usize,
) -> Vec<(K, R)> {
    let mut layers = layers.peekable();
    if layers.peek().is_none() {
        return page;
    }
    let mut rows: BTreeMap<K, R> = BTreeMap::new();
    for layer in layers {
        for (key, row) in layer.range((from.clone(), Bound::Unbounded)).take(limit) {
            rows.entry(key.clone()).or_insert_with(|| row.clone());
        }
    }
    for (key, row) in page {
        rows.entry(key).or_insert(row);
    }
    rows.into_iter().take(limit).collect()
}

/// Puts staged rows between the committed ones that are shown in their order, as [`overlay`] does.
struct Merge<'r, R> {
    /// The staged rows, the newest of each number.
    staged: Peekable<btree_map::IntoIter<u64, &'r R>>,
    /// How many rows may still be shown.
    left: usize,
}

/// To whom rows are shown.
type Each<'e, R> = dyn for<'v> FnMut(u64, <R as Record>::Read<'v>) -> Result<(), RuntimeError> + 'e;

impl<'r, R: Record + 'static> Merge<'r, R>
where
    for<'v> R::Read<'v>: From<&'v R>,
{
    /// The first `limit` rows from number `from` on, of `layers`, the newest first, and of what will
    /// be passed in. `None` where nothing is staged.
    fn new(
        layers: impl Iterator<Item = &'r BTreeMap<u64, R>>,
        from: u64,
        limit: usize,
    ) -> Option<Self> {
        let mut staged = BTreeMap::new();
        for layer in layers {
            for (number, row) in layer.range(from..).take(limit) {
                staged.entry(*number).or_insert(row);
            }
        }
        (!staged.is_empty()).then(|| Self {
            staged: staged.into_iter().peekable(),
            left: limit,
        })
    }

    fn show(
        &mut self,
        number: u64,
        row: R::Read<'_>,
        each: &mut Each<'_, R>,
    ) -> Result<(), RuntimeError> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        each(number, row)
    }

    /// Shows what is staged before a committed row, then that row or what replaces it.
    fn committed(
        &mut self,
        number: u64,
        row: R::Read<'_>,
        each: &mut Each<'_, R>,
    ) -> Result<(), RuntimeError> {
        while let Some((before, row)) = self.staged.next_if(|(staged, _)| *staged < number) {
            self.show(before, row.into(), each)?;
        }
        match self.staged.next_if(|(staged, _)| *staged == number) {
            Some((_, staged)) => self.show(number, staged.into(), each),
            None => self.show(number, row, each),
        }
    }

    /// Shows what is staged after all committed rows.
    fn rest(mut self, each: &mut Each<'_, R>) -> Result<(), RuntimeError> {
        while let Some((number, row)) = self.staged.next() {
            self.show(number, row.into(), each)?;
        }
        Ok(())
    }
}

fn after_bound(after: Option<&str>) -> Bound<String> {
    after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.to_owned()))
}

impl Rows for Transaction<'_> {
    fn at(&self) -> At<'_> {
        self.base.at()
    }

    fn runtime(&self, runtime: &str) -> Result<Option<RuntimeRecord>, RuntimeError> {
        match self.staged(runtime).find_map(|staged| staged.row.as_ref()) {
            Some(row) => Ok(Some(row.clone())),
            None => self.base.runtime(runtime),
        }
    }

    fn runtimes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, RuntimeRecord)>, RuntimeError> {
        let layers: Vec<BTreeMap<String, RuntimeRecord>> = self
            .layers()
            .map(|layer| {
                let rows = layer.runtimes.iter();
                rows.filter_map(|(id, staged)| Some((id.clone(), staged.row.clone()?)))
                    .collect()
            })
            .collect();
        let page = self.base.runtimes(after, limit)?;
        Ok(overlay(page, layers.iter(), after_bound(after), limit))
    }

    fn worker(&self, runtime: &str, worker: &str) -> Result<Option<WorkerRecord>, RuntimeError> {
        let staged = self
            .staged(runtime)
            .find_map(|staged| staged.workers.get(worker));
        match staged {
            Some(row) => Ok(Some(row.clone())),
            None => self.base.worker(runtime, worker),
        }
    }

    fn workers(
        &self,
        runtime: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, WorkerRecord)>, RuntimeError> {
        let page = self.base.workers(runtime, after, limit)?;
        let layers = self.staged(runtime).map(|staged| &staged.workers);
        Ok(overlay(page, layers, after_bound(after), limit))
    }

    fn events(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
        each: &mut dyn FnMut(u64, EventRow<'_>) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let layers = self.staged(runtime).map(|staged| &staged.events);
        let Some(mut merge) = Merge::<EventRecord>::new(layers, from, limit) else {
            return self.base.events(runtime, from, limit, each);
        };
        let mut committed = |id, row: EventRow<'_>| merge.committed(id, row, each);
        self.base.events(runtime, from, limit, &mut committed)?;
        merge.rest(each)
    }

    fn last_event_id(&self, runtime: &str) -> Result<Option<u64>, RuntimeError> {
        let staged = self
            .staged(runtime)
            .filter_map(|staged| staged.events.last_key_value())
            .map(|(id, _)| *id)
            .max();
        Ok(staged.max(self.base.last_event_id(runtime)?))
    }

    fn transcript(
        &self,
        runtime: &str,
        worker: &str,
        from: u64,
        limit: usize,
        each: &mut dyn FnMut(u64, TranscriptRow<'_>) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let layers = self
            .staged(runtime)
            .filter_map(|staged| staged.transcripts.get(worker));
        let Some(mut merge) = Merge::<TranscriptRecord>::new(layers, from, limit) else {
            return self.base.transcript(runtime, worker, from, limit, each);
        };
        let mut committed = |at, row: TranscriptRow<'_>| merge.committed(at, row, each);
        let base = self.base;
        base.transcript(runtime, worker, from, limit, &mut committed)?;
        merge.rest(each)
    }

    fn diagnostics(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, DiagnosticRecord)>, RuntimeError> {
        let page = self.base.diagnostics(runtime, from, limit)?;
        let layers = self.staged(runtime).map(|staged| &staged.diagnostics);
        Ok(overlay(page, layers, Bound::Included(from), limit))
    }

    fn import(&self, runtime: &str) -> Result<Option<ImportRow>, RuntimeError> {
        self.base.import(runtime)
    }
}
