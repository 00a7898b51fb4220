//! The changes of an operation or of a batch, as plain data.
//!
//! A [`Transaction`](crate::ledger::transaction::Transaction) collects a change set, the queue merges those of
//! the operations that share a commit, and the engine writes the merged one.

use crate::error::RuntimeError;
use crate::ledger::removals::{Removals, is_below};
use crate::ledger::rows::{
    DiagnosticRow, EventRow, ImportRow, RuntimeRow, TranscriptRow, WorkerRow,
};
use crate::ledger::stored::envelope::{self};
use crate::ledger::stored::tombstone::TombstoneRow;
use std::collections::BTreeMap;

/// Estimated memory of a changed row besides its texts, in bytes. It only bounds the size of a batch.
const ROW_BYTES: usize = 128;

/// The most text of one row, in bytes. It is well below the limit of a value, so that encoding a collected
/// row cannot fail: that would fail the commit for every operation that shares it.
const MAX_TEXT_BYTES: usize = envelope::MAX_VALUE_BYTES / 2;

fn row_bytes(text_bytes: usize) -> Result<usize, RuntimeError> {
    if text_bytes > MAX_TEXT_BYTES {
        return Err(RuntimeError::InvalidRequest(format!(
            "{text_bytes} bytes of text in one row are over the limit of {MAX_TEXT_BYTES}"
        )));
    }
    Ok(ROW_BYTES + text_bytes)
}

/// Rows to remove, to add and to replace, by runtime. The engine removes first, so a row that is removed and then
/// written again exists.
#[derive(Debug, Default)]
pub(crate) struct ChangeSet {
    pub(crate) runtimes: BTreeMap<String, RuntimeChanges>,
    /// The number of the last opening that recorded open work, if it changes.
    pub(crate) last_opening: Option<u32>,
    bytes: usize,
}

/// The changed rows of one runtime. Events and diagnostics are added or removed, and never replaced.
#[derive(Debug, Default)]
pub(crate) struct RuntimeChanges {
    /// The rows to remove from the layers below.
    pub(crate) removed: Removals,
    pub(crate) row: Option<RuntimeRow>,
    pub(crate) workers: BTreeMap<String, WorkerRow>,
    pub(crate) events: BTreeMap<u64, EventRow<'static>>,
    pub(crate) transcripts: BTreeMap<String, BTreeMap<u64, TranscriptRow<'static>>>,
    /// Entries of the layers below that are written anew, by worker and position: a redaction. The entries of
    /// `transcripts` are new ones.
    pub(crate) rewritten: BTreeMap<String, BTreeMap<u64, TranscriptRow<'static>>>,
    pub(crate) diagnostics: BTreeMap<u64, DiagnosticRow>,
    /// The import record, if it changes.
    pub(crate) import: Option<ImportRow>,
    pub(crate) tombstones: BTreeMap<String, TombstoneRow>,
}

impl RuntimeChanges {
    /// Drops the rows that a later operation removes.
    fn drop_removed(&mut self, later: &Removals) {
        if later.runtime {
            self.row = None;
            self.import = None;
        }
        self.workers.retain(|id, _| !later.workers.contains(id));
        self.events
            .retain(|id, _| !is_below(*id, later.events_below));
        for transcripts in [&mut self.transcripts, &mut self.rewritten] {
            if later.all_entries {
                transcripts.clear();
            }
            for (worker, floor) in &later.entries_below {
                if let Some(entries) = transcripts.get_mut(worker) {
                    entries.retain(|position, _| !is_below(*position, *floor));
                }
            }
        }
        self.diagnostics
            .retain(|id, _| !later.diagnostics.contains(id));
        self.tombstones
            .retain(|id, _| !later.tombstones.contains(id));
    }
}

impl RuntimeChanges {
    /// Writes an entry anew: one that these changes add, or one of the layers below.
    fn rewrite(&mut self, worker: &str, position: u64, row: TranscriptRow<'static>) {
        let added = self.transcripts.get_mut(worker);
        match added.and_then(|entries| entries.get_mut(&position)) {
            Some(added) => *added = row,
            None => {
                let entries = self.rewritten.entry(worker.to_owned()).or_default();
                entries.insert(position, row);
            }
        }
    }
}

impl ChangeSet {
    /// Whether it has no changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.runtimes.is_empty() && self.last_opening.is_none()
    }

    /// Estimated size of the rows that are written and removed, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the changes of a later operation, which replace those of the same rows.
    pub(crate) fn merge(&mut self, later: ChangeSet) {
        self.bytes += later.bytes;
        self.last_opening = later.last_opening.or(self.last_opening);
        for (id, later) in later.runtimes {
            let runtime = self.runtimes.entry(id).or_default();
            runtime.drop_removed(&later.removed);
            runtime.removed.extend(later.removed);
            runtime.import = later.import.or(runtime.import.take());
            runtime.tombstones.extend(later.tombstones);
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
            for (worker, entries) in later.rewritten {
                for (position, row) in entries {
                    runtime.rewrite(&worker, position, row);
                }
            }
        }
    }

    pub(crate) fn put_runtime(
        &mut self,
        runtime: &str,
        row: RuntimeRow,
    ) -> Result<(), RuntimeError> {
        self.bytes += row_bytes(row.text_bytes())?;
        self.runtime_mut(runtime).row = Some(row);
        Ok(())
    }

    pub(crate) fn put_worker(
        &mut self,
        runtime: &str,
        worker: &str,
        row: WorkerRow,
    ) -> Result<(), RuntimeError> {
        self.bytes += row_bytes(row.text_bytes())?;
        let staged = self.runtime_mut(runtime);
        staged.workers.insert(worker.to_owned(), row);
        Ok(())
    }

    pub(crate) fn put_event(
        &mut self,
        runtime: &str,
        id: u64,
        row: EventRow<'static>,
    ) -> Result<(), RuntimeError> {
        self.bytes += row_bytes(row.text_bytes())?;
        self.runtime_mut(runtime).events.insert(id, row);
        Ok(())
    }

    pub(crate) fn put_transcript(
        &mut self,
        runtime: &str,
        worker: &str,
        position: u64,
        row: TranscriptRow<'static>,
    ) -> Result<(), RuntimeError> {
        self.bytes += row_bytes(row.text_bytes())?;
        let staged = self.runtime_mut(runtime);
        let entries = staged.transcripts.entry(worker.to_owned()).or_default();
        entries.insert(position, row);
        Ok(())
    }

    /// Writes an entry anew that exists.
    pub(crate) fn rewrite_transcript(
        &mut self,
        runtime: &str,
        worker: &str,
        position: u64,
        row: TranscriptRow<'static>,
    ) -> Result<(), RuntimeError> {
        self.bytes += row_bytes(row.text_bytes())?;
        self.runtime_mut(runtime).rewrite(worker, position, row);
        Ok(())
    }

    pub(crate) fn put_diagnostic(
        &mut self,
        runtime: &str,
        id: u64,
        row: DiagnosticRow,
    ) -> Result<(), RuntimeError> {
        self.bytes += row_bytes(row.text_bytes())?;
        self.runtime_mut(runtime).diagnostics.insert(id, row);
        Ok(())
    }

    /// Writes the import record of a runtime.
    pub(crate) fn put_import(&mut self, runtime: &str, row: ImportRow) -> Result<(), RuntimeError> {
        let findings: usize = row.findings.iter().map(String::len).sum();
        self.bytes += row_bytes(row.source.len() + findings)?;
        self.runtime_mut(runtime).import = Some(row);
        Ok(())
    }

    /// Writes a tombstone.
    pub(crate) fn put_tombstone(
        &mut self,
        runtime: &str,
        worker: &str,
        row: TombstoneRow,
    ) -> Result<(), RuntimeError> {
        self.bytes += row_bytes(row.text_bytes())?;
        let staged = self.runtime_mut(runtime);
        staged.tombstones.insert(worker.to_owned(), row);
        Ok(())
    }

    /// Removes rows of `runtime`, which have about `bytes` bytes. The rows that this change set has written so far
    /// and that `removed` names are dropped.
    pub(crate) fn remove(&mut self, runtime: &str, removed: Removals, bytes: usize) {
        self.bytes += bytes;
        let staged = self.runtime_mut(runtime);
        staged.drop_removed(&removed);
        staged.removed.extend(removed);
    }

    fn runtime_mut(&mut self, runtime: &str) -> &mut RuntimeChanges {
        self.runtimes.entry(runtime.to_owned()).or_default()
    }
}
