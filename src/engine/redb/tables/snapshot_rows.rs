//! The reads of a redb snapshot, for the rooms that work with any engine.

use crate::engine::redb::tables::view::View;
use crate::error::RuntimeError;
use crate::ledger::retention::RowFacts;
#[cfg(feature = "search")]
use crate::ledger::rows::RuntimeRow;
use crate::ledger::rows::{DiagnosticRow, ImportRow, WorkerRow};
use crate::ledger::snapshot_rows::{EachChunk, EachSized, SnapshotRows};
use redb::ReadTransaction;

impl SnapshotRows for View<'_, ReadTransaction> {
    fn next_import(
        &self,
        after: Option<&str>,
    ) -> Result<Option<(String, ImportRow)>, RuntimeError> {
        self.import_after(after)
    }

    fn each_chunk_of(
        &self,
        owner: &str,
        path: &str,
        each: &mut EachChunk<'_>,
    ) -> Result<(), RuntimeError> {
        self.chunks_of(owner, path, each)
    }

    fn next_file(
        &self,
        owner: &str,
        from: &str,
        is_after: bool,
    ) -> Result<Option<String>, RuntimeError> {
        self.file_from(owner, from, is_after)
    }

    fn event_facts(
        &self,
        runtime: &str,
        from: u64,
        each: &mut EachSized<'_, RowFacts>,
    ) -> Result<(), RuntimeError> {
        self.facts_of_events(runtime, from, each)
    }

    fn entry_facts(
        &self,
        owner: (&str, &str),
        from: u64,
        each: &mut EachSized<'_, RowFacts>,
    ) -> Result<(), RuntimeError> {
        self.facts_of_entries(owner, from, each)
    }

    fn sized_diagnostics(
        &self,
        runtime: &str,
        each: &mut EachSized<'_, (u64, DiagnosticRow)>,
    ) -> Result<(), RuntimeError> {
        self.diagnostics_with_sizes(runtime, each)
    }

    fn sized_worker(&self, owner: (&str, &str)) -> Result<Option<(WorkerRow, u64)>, RuntimeError> {
        self.worker_with_size(owner)
    }

    #[cfg(feature = "search")]
    fn next_runtime(
        &self,
        last: Option<&str>,
        backwards: bool,
    ) -> Result<Option<(String, RuntimeRow)>, RuntimeError> {
        self.runtime_after(last, backwards)
    }

    #[cfg(feature = "search")]
    fn next_worker(
        &self,
        runtime: &str,
        last: Option<&str>,
        backwards: bool,
    ) -> Result<Option<(String, WorkerRow)>, RuntimeError> {
        self.worker_after(runtime, last, backwards)
    }
}
