//! The writes of a batch, as plain data.

use crate::error::RuntimeError;
use crate::ledger::envelope::{self};
use crate::ledger::rows::{DiagnosticRow, EventRow, RuntimeRow, TranscriptRow, WorkerRow};
use std::collections::BTreeMap;

/// What staging a row costs in memory besides its texts, roughly. Only bounds batches.
const ROW_BYTES: usize = 128;

/// The most text that one row may have, in bytes: well below what a value may have, so that a row
/// that was staged can be written, and no operation fails the commit that it shares.
const MAX_TEXT_BYTES: usize = envelope::MAX_VALUE_BYTES / 2;

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
pub(crate) struct ChangeSet {
    pub(crate) runtimes: BTreeMap<String, RuntimeChanges>,
    bytes: usize,
}

/// The staged rows of one runtime.
#[derive(Debug, Default)]
pub(crate) struct RuntimeChanges {
    pub(crate) row: Option<RuntimeRow>,
    pub(crate) workers: BTreeMap<String, WorkerRow>,
    pub(crate) events: BTreeMap<u64, EventRow<'static>>,
    pub(crate) transcripts: BTreeMap<String, BTreeMap<u64, TranscriptRow<'static>>>,
    pub(crate) diagnostics: BTreeMap<u64, DiagnosticRow>,
}

impl ChangeSet {
    /// Whether nothing is staged.
    pub(crate) fn is_empty(&self) -> bool {
        self.runtimes.is_empty()
    }

    /// Roughly how much memory the rows take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes over everything that a later operation staged.
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
