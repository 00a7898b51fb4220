//! Where a reader sends its queries: to a snapshot, or to a turn.

use crate::engine::postgres::wire::connection::Param;
use crate::engine::postgres::wire::server_error::ServerError;
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
}
