//! Where a reader sends its queries: to a snapshot, or to a turn.

use crate::engine::postgres::wire::connection::Param;
use crate::engine::postgres::wire::server_error::ServerError;
use crate::ledger::rows::{RuntimeRow, WorkerRow};
use tokio_postgres::Row;

/// The rows that a query is about.
#[derive(Clone, Copy)]
pub(crate) enum Scope<'s> {
    /// Rows of a runtime, or of the list of all. A turn locks it first.
    Runtime(&'s str),
    /// Rows that no rule relies on to stay. A turn locks nothing.
    Hint,
}

/// The scope of the list of runtimes, and of the number of the last opening. No runtime has this id.
pub(crate) const WHOLE_STORE: Scope<'static> = Scope::Runtime("");

/// A transaction to read from.
pub(crate) trait Source {
    fn query(
        &self,
        scope: Scope<'_>,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, ServerError>;

    /// The name under which the store takes leases; `None` if it takes none.
    fn holder(&self) -> Option<&str>;

    /// The row of a runtime, if it is in memory.
    fn known_runtime(&self, id: &str) -> Result<Option<Option<RuntimeRow>>, ServerError> {
        let _ = id;
        Ok(None)
    }

    /// The row of a worker, if it is in memory.
    fn known_worker(
        &self,
        id: &str,
        worker: &str,
    ) -> Result<Option<Option<WorkerRow>>, ServerError> {
        let _ = (id, worker);
        Ok(None)
    }

    /// A query has found the row of a runtime, or that there is none.
    fn note_runtime(&self, id: &str, row: Option<&RuntimeRow>) {
        let _ = (id, row);
    }

    /// A query has found the row of a worker, or that there is none.
    fn note_worker(&self, id: &str, worker: &str, row: Option<&WorkerRow>) {
        let _ = (id, worker, row);
    }
}
