//! Bounded reads of rows. A read costs the seek and the rows that it returns, at any length of a log.

use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::record::{
    DiagnosticRecord, EventRow, ImportRow, RuntimeRecord, TranscriptRow, WorkerRecord,
};

/// How many rows a reader that walks a whole table takes at a time.
pub(crate) const PAGE_ROWS: usize = 1024;

/// The rows of a store, as of one moment. Pages begin at a key or after one, and hold at most
/// `limit` rows in the order of their keys.
///
/// Implemented by the transactions of the file  and by an operation that sees its own
/// writes above them ([`crate::ledger::transaction::Transaction`]), so that the rules above are written
/// once.
pub(crate) trait Rows {
    /// What an error names.
    fn at(&self) -> OpContext<'_>;

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

    /// Shows `each` the first `limit` events from `from` on. An error that it returns ends that.
    fn events(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
        each: &mut dyn FnMut(u64, EventRow<'_>) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError>;

    fn last_event_id(&self, runtime: &str) -> Result<Option<u64>, RuntimeError>;

    /// Shows `each` the first `limit` entries from position `from` on. An error that it returns
    /// ends that.
    fn transcript(
        &self,
        runtime: &str,
        worker: &str,
        from: u64,
        limit: usize,
        each: &mut dyn FnMut(u64, TranscriptRow<'_>) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError>;

    fn diagnostics(
        &self,
        runtime: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, DiagnosticRecord)>, RuntimeError>;

    fn import(&self, runtime: &str) -> Result<Option<ImportRow>, RuntimeError>;
}
