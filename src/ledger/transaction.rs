//! The reads and changes of one operation.
//!
//! An operation never writes to the engine. It reads through its own changes, those of the operations that
//! wait for the same or the previous commit, and the committed rows. An operation that fails or panics is
//! dropped with its changes. The changes of one that succeeds join the batch that the next commit writes.

use crate::error::RuntimeError;
use crate::ledger::change_set::{ChangeSet, RuntimeChanges};
use crate::ledger::context::OpContext;
use crate::ledger::opening::Opening;
use crate::ledger::overlay::{Layer, Merge, below, overlay};
use crate::ledger::rows::{
    DiagnosticRow, EachEntry, EachEvent, EventRow, ImportRow, Rows, RuntimeRow, TranscriptRow,
    WorkerRow,
};
use crate::ledger::stored::kept_file::{FileChunkRow, FileKey};
use crate::ledger::stored::tombstone::TombstoneRow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// The context of an operation, which its parts share.
#[derive(Clone, Copy)]
struct Setting<'a> {
    /// The rows that are on disk.
    committed: &'a dyn Rows,
    opening: Option<&'a Opening>,
    /// The length of the file and its limit, in bytes.
    store_bytes: Option<(u64, u64)>,
    now_ms: u64,
}

/// The view and the changes of one operation.
pub(crate) struct Transaction<'a> {
    base: &'a dyn Rows,
    setting: Setting<'a>,
    /// The changes of earlier operations above `base`, the oldest first.
    below: Vec<&'a ChangeSet>,
    staged: ChangeSet,
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("staged", &self.staged)
            .finish_non_exhaustive()
    }
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(base: &'a dyn Rows, below: Vec<&'a ChangeSet>) -> Self {
        Self {
            base,
            setting: Setting {
                committed: base,
                opening: None,
                store_bytes: None,
                now_ms: 0,
            },
            below,
            staged: ChangeSet::default(),
        }
    }

    /// Sets the time of the operation, and the opening of the store in which it runs.
    pub(crate) fn begin(&mut self, now_ms: u64, opening: &'a Opening) {
        self.setting.now_ms = now_ms;
        self.setting.opening = Some(opening);
    }

    /// The opening of the store; `None` in tests of rows alone.
    pub(crate) fn opening(&self) -> Option<&'a Opening> {
        self.setting.opening
    }

    /// Sets the length of the file and its limit, in bytes.
    pub(crate) fn limit_store(&mut self, bytes: u64, max: u64) {
        self.setting.store_bytes = Some((bytes, max));
    }

    /// Rejects an operation that adds rows to a store whose file has reached its limit.
    pub(crate) fn refuse_full(&self) -> Result<(), RuntimeError> {
        match self.setting.store_bytes {
            Some((bytes, max)) if bytes >= max => Err(RuntimeError::StoreFull {
                place: self.at().place.clone(),
                bytes,
                max,
            }),
            _ => Ok(()),
        }
    }

    /// The rows that are on disk, without the changes of operations that wait for a commit.
    pub(crate) fn committed(&self) -> &'a dyn Rows {
        self.setting.committed
    }

    /// The time of the operation, in milliseconds since 1970-01-01 00:00 UTC: all its changes have the same.
    pub(crate) fn now_ms(&self) -> u64 {
        self.setting.now_ms
    }

    /// Runs a part of the operation. If it fails, its changes are discarded and earlier ones stay.
    pub(crate) fn nested<T>(
        &mut self,
        part: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let setting = self.setting;
        let mut inner = Transaction::new(self, Vec::new());
        inner.setting = setting;
        let result = part(&mut inner)?;
        let staged = inner.into_staged();
        self.staged.merge(staged);
        Ok(result)
    }

    /// The transaction by value, with its changes, until it is [given back](Self::give_back): the public
    /// transactions own one, while the queue lends it by reference.
    pub(crate) fn lend(&mut self) -> Transaction<'a> {
        Self {
            base: self.base,
            setting: self.setting,
            below: self.below.clone(),
            staged: std::mem::take(&mut self.staged),
        }
    }

    /// Takes back a lent transaction.
    pub(crate) fn give_back(&mut self, lent: Transaction<'_>) {
        self.staged = lent.staged;
    }

    /// The operation's changes.
    pub(crate) fn into_staged(self) -> ChangeSet {
        self.staged
    }

    /// The operation's changes, to add rows to and to remove rows with.
    pub(crate) fn changes(&mut self) -> &mut ChangeSet {
        &mut self.staged
    }

    /// The layers above the committed rows, the newest first.
    fn layers(&self) -> impl Iterator<Item = &ChangeSet> {
        std::iter::once(&self.staged).chain(self.below.iter().rev().copied())
    }

    /// The changes of `runtime` in each layer, the newest first.
    fn staged<'s>(&'s self, runtime: &'s str) -> impl Iterator<Item = &'s RuntimeChanges> {
        self.layers()
            .filter_map(move |layer| layer.runtimes.get(runtime))
    }
}

fn after_bound(after: Option<&str>) -> Bound<String> {
    after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.to_owned()))
}

/// The key of a bound that [`after_bound`] made.
fn after_key(after: Bound<&String>) -> Option<&str> {
    match after {
        Bound::Unbounded => None,
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
    }
}

/// What a layer says of one row: the row, or that it is removed. `None` if it says nothing.
fn said<R: Clone>(row: Option<&R>, is_removed: bool) -> Option<Option<R>> {
    match row {
        Some(row) => Some(Some(row.clone())),
        None => is_removed.then_some(None),
    }
}

impl Rows for Transaction<'_> {
    fn at(&self) -> OpContext<'_> {
        self.base.at()
    }

    fn last_opening(&self) -> Result<u32, RuntimeError> {
        match self.layers().find_map(|layer| layer.last_opening) {
            Some(number) => Ok(number),
            None => self.base.last_opening(),
        }
    }

    fn runtime(&self, runtime: &str) -> Result<Option<RuntimeRow>, RuntimeError> {
        let mut layers = self.staged(runtime);
        match layers.find_map(|staged| said(staged.row.as_ref(), staged.removed.runtime)) {
            Some(row) => Ok(row),
            None => self.base.runtime(runtime),
        }
    }

    fn runtimes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, RuntimeRow)>, RuntimeError> {
        let changed: Vec<(BTreeMap<String, RuntimeRow>, BTreeSet<String>)> = self
            .layers()
            .map(|layer| {
                let all = || layer.runtimes.iter();
                let rows = all().filter_map(|(id, staged)| Some((id.clone(), staged.row.clone()?)));
                let removed = all().filter(|(_, staged)| staged.removed.runtime);
                (rows.collect(), removed.map(|(id, _)| id.clone()).collect())
            })
            .collect();
        let layers: Vec<_> = changed
            .iter()
            .map(|(rows, removed)| Layer { rows, removed })
            .collect();
        overlay(&layers, after_bound(after), limit, |after| {
            self.base.runtimes(after_key(after), limit)
        })
    }

    fn worker(&self, runtime: &str, worker: &str) -> Result<Option<WorkerRow>, RuntimeError> {
        let mut layers = self.staged(runtime);
        let staged = layers.find_map(|staged| {
            let is_removed = staged.removed.workers.contains(worker);
            said(staged.workers.get(worker), is_removed)
        });
        match staged {
            Some(row) => Ok(row),
            None => self.base.worker(runtime, worker),
        }
    }

    fn workers(
        &self,
        runtime: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, WorkerRow)>, RuntimeError> {
        let layers = self.staged(runtime).map(|staged| Layer {
            rows: &staged.workers,
            removed: &staged.removed.workers,
        });
        let layers: Vec<_> = layers.collect();
        overlay(&layers, after_bound(after), limit, |after| {
            self.base.workers(runtime, after_key(after), limit)
        })
    }

    fn events(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
        each: &mut EachEvent<'_>,
    ) -> Result<(), RuntimeError> {
        let layers = self
            .staged(runtime)
            .map(|staged| (Some(&staged.events), staged.removed.events_below));
        let (mut merge, from) = Merge::<EventRow<'static>>::new(layers, from, limit);
        let Some(from) = from else {
            return merge.rest(each);
        };
        if merge.is_empty() {
            return self.base.events(runtime, from, limit, each);
        }
        let mut committed = |id, row: EventRow<'_>| merge.committed(id, row, each);
        self.base.events(runtime, from, limit, &mut committed)?;
        merge.rest(each)
    }

    fn last_event_id(&self, runtime: &str) -> Result<Option<u64>, RuntimeError> {
        let (mut last, mut visible) = (None, Some(0));
        for staged in self.staged(runtime) {
            if let Some(from) = visible {
                let newest = staged.events.range(from..).next_back();
                last = last.max(newest.map(|(id, _)| *id));
            }
            visible = below(visible, staged.removed.events_below);
        }
        let Some(from) = visible else {
            return Ok(last);
        };
        let committed = self.base.last_event_id(runtime)?;
        Ok(last.max(committed.filter(|id| *id >= from)))
    }

    fn transcript(
        &self,
        runtime: &str,
        worker: &str,
        from: u64,
        limit: usize,
        each: &mut EachEntry<'_>,
    ) -> Result<(), RuntimeError> {
        let layers = self.staged(runtime).flat_map(|staged| {
            let floor = staged.removed.entries_below(worker);
            // A change set removes rows before it writes these.
            [
                (staged.rewritten.get(worker), 0),
                (staged.transcripts.get(worker), floor),
            ]
        });
        let (mut merge, from) = Merge::<TranscriptRow<'static>>::new(layers, from, limit);
        let Some(from) = from else {
            return merge.rest(each);
        };
        if merge.is_empty() {
            return self.base.transcript(runtime, worker, from, limit, each);
        }
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
    ) -> Result<Vec<(u64, DiagnosticRow)>, RuntimeError> {
        let layers = self.staged(runtime).map(|staged| Layer {
            rows: &staged.diagnostics,
            removed: &staged.removed.diagnostics,
        });
        let layers: Vec<_> = layers.collect();
        overlay(&layers, Bound::Included(from), limit, |from| {
            let from = match from {
                Bound::Included(id) => Some(*id),
                Bound::Excluded(id) => id.checked_add(1),
                Bound::Unbounded => Some(0),
            };
            match from {
                Some(from) => self.base.diagnostics(runtime, from, limit),
                None => Ok(Vec::new()),
            }
        })
    }

    fn import(&self, runtime: &str) -> Result<Option<ImportRow>, RuntimeError> {
        let mut layers = self.staged(runtime);
        match layers.find_map(|staged| said(staged.import.as_ref(), staged.removed.runtime)) {
            Some(row) => Ok(row),
            None => self.base.import(runtime),
        }
    }

    fn tombstone(&self, runtime: &str, worker: &str) -> Result<Option<TombstoneRow>, RuntimeError> {
        let mut layers = self.staged(runtime);
        let staged = layers.find_map(|staged| {
            let is_removed = staged.removed.tombstones.contains(worker);
            said(staged.tombstones.get(worker), is_removed)
        });
        match staged {
            Some(row) => Ok(row),
            None => self.base.tombstone(runtime, worker),
        }
    }

    fn tombstones(
        &self,
        runtime: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, TombstoneRow)>, RuntimeError> {
        let layers = self.staged(runtime).map(|staged| Layer {
            rows: &staged.tombstones,
            removed: &staged.removed.tombstones,
        });
        let layers: Vec<_> = layers.collect();
        overlay(&layers, after_bound(after), limit, |after| {
            self.base.tombstones(runtime, after_key(after), limit)
        })
    }

    // No operation writes files: only imports do, with the store to themselves.

    fn file_chunk(
        &self,
        runtime: &str,
        path: &str,
        chunk: u64,
    ) -> Result<Option<FileChunkRow>, RuntimeError> {
        if self
            .staged(runtime)
            .any(|staged| staged.removed.file(path, chunk))
        {
            return Ok(None);
        }
        self.base.file_chunk(runtime, path, chunk)
    }

    fn file_keys(
        &self,
        runtime: &str,
        from: (&str, u64),
        end: Option<&str>,
        limit: usize,
    ) -> Result<Vec<FileKey>, RuntimeError> {
        let (mut path, mut chunk) = (from.0.to_owned(), from.1);
        loop {
            let mut page = self.base.file_keys(runtime, (&path, chunk), end, limit)?;
            let Some(last) = page.last() else {
                return Ok(page);
            };
            let is_last = page.len() < limit;
            (path, chunk) = (last.path.clone(), last.chunk.saturating_add(1));
            page.retain(|key| {
                !self
                    .staged(runtime)
                    .any(|staged| staged.removed.file(&key.path, key.chunk))
            });
            if is_last || !page.is_empty() {
                return Ok(page);
            }
        }
    }
}
