//! The writes of a bulk load, which go to the engine at once and not through a change set: a load can be larger than memory.

use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::rows::{DiagnosticRow, ImportRow, Rows, RuntimeRow, WorkerRow};
use crate::ledger::run::Run;
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::model::identity::WorkerRef;

/// A write transaction that takes whole runtimes. Every engine implements this. A row that is put replaces one with the
/// same key.
pub(crate) trait LoadRows {
    fn at(&self) -> OpContext<'_>;

    /// The committed rows with those of the load above them.
    fn rows(&self) -> &dyn Rows;

    /// The position after the last entry of a transcript; `None` without entries.
    fn transcript_end(&self, owner: (&str, &str)) -> Result<Option<u64>, RuntimeError>;

    fn put_runtime(&self, id: &str, row: &RuntimeRow) -> Result<(), RuntimeError>;

    fn put_worker(&self, owner: (&str, &str), row: &WorkerRow) -> Result<(), RuntimeError>;

    /// Puts workers of one runtime, with their ids.
    fn put_workers(&self, runtime: &str, rows: &[(String, WorkerRow)]) -> Result<(), RuntimeError> {
        let mut rows = rows.iter();
        rows.try_for_each(|(worker, row)| self.put_worker((runtime, worker), row))
    }

    /// Stores the number of the last opening for writing that recorded open work.
    fn put_last_opening(&self, number: u32) -> Result<(), RuntimeError>;

    fn put_diagnostics(&self, id: &str, rows: &[(u64, DiagnosticRow)]) -> Result<(), RuntimeError>;

    fn put_tombstones(&self, rows: &[(WorkerRef, TombstoneRow)]) -> Result<(), RuntimeError>;

    fn put_import(&self, id: &str, row: &ImportRow) -> Result<(), RuntimeError>;

    /// `key` is the owner, the path and the number of the chunk.
    fn put_file_chunk(
        &self,
        key: (&str, &str, u64),
        row: &FileChunkRow,
    ) -> Result<(), RuntimeError>;

    /// Appends events. `InvalidRequest` if a later event, or one with the same id, exists.
    fn append_events(&self, id: &str, run: &Run) -> Result<(), RuntimeError>;

    /// Appends entries, as [`append_events`](Self::append_events).
    fn append_entries(&self, owner: (&str, &str), run: &Run) -> Result<(), RuntimeError>;

    /// Removes all rows of a runtime, and the mark of its unfinished deletion.
    fn remove_runtime(&self, id: &str) -> Result<(), RuntimeError>;

    fn remove_diagnostics(&self, id: &str) -> Result<(), RuntimeError>;

    /// Removes all chunks of the file at `path`.
    fn remove_file(&self, owner: &str, path: &str) -> Result<(), RuntimeError>;

    /// Removes the files with paths from `first` on and below `end`.
    fn remove_files(&self, owner: &str, first: &str, end: &str) -> Result<(), RuntimeError>;
}

/// The error for a row of a run that is not after the last one of its log.
pub(crate) fn not_after_last(table: &str, number: u64) -> RuntimeError {
    RuntimeError::InvalidRequest(format!(
        "table {table}: key {number} is not greater than the last key"
    ))
}
