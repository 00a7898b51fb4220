//! The reads and changes of one operation.
//!
//! An operation never writes to the engine. It reads through its own changes, those of the operations that
//! wait for the same or the previous commit, and the committed rows. An operation that fails or panics is
//! dropped with its changes. The changes of one that succeeds join the batch that the next commit writes.

use crate::error::RuntimeError;
use crate::ledger::change_set::{ChangeSet, RuntimeChanges};
use crate::ledger::context::OpContext;
use crate::ledger::overlay::{Merge, overlay};
use crate::ledger::rows::{
    DiagnosticRow, EachEntry, EachEvent, EventRow, ImportRow, Rows, RuntimeRow, TranscriptRow,
    WorkerRow,
};
use std::collections::BTreeMap;
use std::ops::Bound;

/// The view and the changes of one operation.
pub(crate) struct Transaction<'a> {
    base: &'a dyn Rows,
    /// The changes of earlier operations above `base`, the oldest first.
    below: Vec<&'a ChangeSet>,
    staged: ChangeSet,
    now_ms: u64,
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
            below,
            staged: ChangeSet::default(),
            now_ms: 0,
        }
    }

    /// Sets the time of the operation.
    pub(crate) fn date(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// The time of the operation, in milliseconds since 1970-01-01 00:00 UTC: all its changes have the same.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Runs a part of the operation. If it fails, its changes are discarded and earlier ones stay.
    pub(crate) fn nested<T>(
        &mut self,
        part: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let now_ms = self.now_ms;
        let mut inner = Transaction::new(self, Vec::new());
        inner.date(now_ms);
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
            below: self.below.clone(),
            staged: std::mem::take(&mut self.staged),
            now_ms: self.now_ms,
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

    /// The operation's changes, to add rows to.
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

impl Rows for Transaction<'_> {
    fn at(&self) -> OpContext<'_> {
        self.base.at()
    }

    fn runtime(&self, runtime: &str) -> Result<Option<RuntimeRow>, RuntimeError> {
        match self.staged(runtime).find_map(|staged| staged.row.as_ref()) {
            Some(row) => Ok(Some(row.clone())),
            None => self.base.runtime(runtime),
        }
    }

    fn runtimes(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, RuntimeRow)>, RuntimeError> {
        let layers: Vec<BTreeMap<String, RuntimeRow>> = self
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

    fn worker(&self, runtime: &str, worker: &str) -> Result<Option<WorkerRow>, RuntimeError> {
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
    ) -> Result<Vec<(String, WorkerRow)>, RuntimeError> {
        let page = self.base.workers(runtime, after, limit)?;
        let layers = self.staged(runtime).map(|staged| &staged.workers);
        Ok(overlay(page, layers, after_bound(after), limit))
    }

    fn events(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
        each: &mut EachEvent<'_>,
    ) -> Result<(), RuntimeError> {
        let layers = self.staged(runtime).map(|staged| &staged.events);
        let Some(mut merge) = Merge::<EventRow<'static>>::new(layers, from, limit) else {
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
        each: &mut EachEntry<'_>,
    ) -> Result<(), RuntimeError> {
        let layers = self
            .staged(runtime)
            .filter_map(|staged| staged.transcripts.get(worker));
        let Some(mut merge) = Merge::<TranscriptRow<'static>>::new(layers, from, limit) else {
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
    ) -> Result<Vec<(u64, DiagnosticRow)>, RuntimeError> {
        let page = self.base.diagnostics(runtime, from, limit)?;
        let layers = self.staged(runtime).map(|staged| &staged.diagnostics);
        Ok(overlay(page, layers, Bound::Included(from), limit))
    }

    fn import(&self, runtime: &str) -> Result<Option<ImportRow>, RuntimeError> {
        self.base.import(runtime)
    }
}
