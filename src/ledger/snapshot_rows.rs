//! The reads of a snapshot that no operation needs: import records, files, rows with their sizes, and neighbours.

use crate::error::RuntimeError;
use crate::ledger::retention::RowFacts;
#[cfg(feature = "search")]
use crate::ledger::rows::RuntimeRow;
use crate::ledger::rows::{DiagnosticRow, ImportRow, Rows, WorkerRow};
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::model::layout_form::DocumentOrigin;
use std::ops::ControlFlow;

/// Receives a row and its size in bytes, and says whether the walk continues.
pub(crate) type EachSized<'e, T> = dyn FnMut(T, u64) -> Result<ControlFlow<()>, RuntimeError> + 'e;

/// Receives the chunks of a file in the order of their numbers.
pub(crate) type EachChunk<'e> = dyn FnMut(u64, FileChunkRow) -> Result<(), RuntimeError> + 'e;

/// The committed rows at one point in time. Every engine implements this for its snapshots.
pub(crate) trait SnapshotRows: Rows {
    /// The first import record after the key `after`.
    fn next_import(&self, after: Option<&str>)
    -> Result<Option<(String, ImportRow)>, RuntimeError>;

    /// Calls `each` with every chunk of the file of `owner` at `path`.
    fn each_chunk_of(
        &self,
        owner: &str,
        path: &str,
        each: &mut EachChunk<'_>,
    ) -> Result<(), RuntimeError>;

    /// The first path of a file of `owner` from `from` on, and after it if `is_after` is set.
    fn next_file(
        &self,
        owner: &str,
        from: &str,
        is_after: bool,
    ) -> Result<Option<String>, RuntimeError>;

    /// The own text of the document at `path`, with its form and the members that it lacks.
    fn document_text(
        &self,
        owner: &str,
        path: &str,
    ) -> Result<Option<(DocumentOrigin, Vec<u8>)>, RuntimeError> {
        let mut found: Option<(DocumentOrigin, Vec<u8>)> = None;
        self.each_chunk_of(owner, path, &mut |_, row| {
            match (row, &mut found) {
                (FileChunkRow::Origin(origin), none @ None) => *none = Some((origin, Vec::new())),
                (FileChunkRow::Bytes(bytes), Some((_, text))) => text.extend_from_slice(&bytes),
                _ => {
                    return Err(self.at().corrupt(format!(
                        "the chunks of {path:?} are not those of a document"
                    )));
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Passes the events from `from` on to `each`.
    fn event_facts(
        &self,
        runtime: &str,
        from: u64,
        each: &mut EachSized<'_, RowFacts>,
    ) -> Result<(), RuntimeError>;

    /// Passes the entries from position `from` on to `each`.
    fn entry_facts(
        &self,
        owner: (&str, &str),
        from: u64,
        each: &mut EachSized<'_, RowFacts>,
    ) -> Result<(), RuntimeError>;

    /// Passes the diagnostics of a runtime to `each`.
    fn sized_diagnostics(
        &self,
        runtime: &str,
        each: &mut EachSized<'_, (u64, DiagnosticRow)>,
    ) -> Result<(), RuntimeError>;

    /// The row of a worker with its size.
    fn sized_worker(&self, owner: (&str, &str)) -> Result<Option<(WorkerRow, u64)>, RuntimeError>;

    /// The runtime that follows `last`, or the first one.
    #[cfg(feature = "search")]
    fn next_runtime(
        &self,
        last: Option<&str>,
        backwards: bool,
    ) -> Result<Option<(String, RuntimeRow)>, RuntimeError>;

    /// The worker of `runtime` that follows `last`, or its first one.
    #[cfg(feature = "search")]
    fn next_worker(
        &self,
        runtime: &str,
        last: Option<&str>,
        backwards: bool,
    ) -> Result<Option<(String, WorkerRow)>, RuntimeError>;
}
