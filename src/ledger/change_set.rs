//! The changes of an operation or of a batch, as plain data.
//!
//! A [`Transaction`](crate::ledger::transaction::Transaction) collects a change set, the queue merges those of
//! the operations that share a commit, and the engine writes the merged one.

use crate::error::RuntimeError;
use crate::ledger::envelope::{self};
use crate::ledger::rows::{DiagnosticRow, EventRow, RuntimeRow, TranscriptRow, WorkerRow};
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

/// Rows to add or to replace, by runtime. A change set removes no row.
#[derive(Debug, Default)]
pub(crate) struct ChangeSet {
    pub(crate) runtimes: BTreeMap<String, RuntimeChanges>,
    bytes: usize,
}

/// The changed rows of one runtime. Events, entries and diagnostics are only added.
#[derive(Debug, Default)]
pub(crate) struct RuntimeChanges {
    pub(crate) row: Option<RuntimeRow>,
    pub(crate) workers: BTreeMap<String, WorkerRow>,
    pub(crate) events: BTreeMap<u64, EventRow<'static>>,
    pub(crate) transcripts: BTreeMap<String, BTreeMap<u64, TranscriptRow<'static>>>,
    pub(crate) diagnostics: BTreeMap<u64, DiagnosticRow>,
}

impl ChangeSet {
    /// Whether it has no changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.runtimes.is_empty()
    }

    /// Estimated memory of the rows, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the changes of a later operation, which replace those of the same rows.
    pub(crate) fn merge(&mut self, later: ChangeSet) {
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

    fn runtime_mut(&mut self, runtime: &str) -> &mut RuntimeChanges {
        self.runtimes.entry(runtime.to_owned()).or_default()
    }
}
