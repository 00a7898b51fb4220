//! Snapshots: a connection in a read-only transaction in REPEATABLE READ.

use crate::engine::postgres::rows::source::{Scope, Source};
use crate::engine::postgres::server::{Pooled, Server};
use crate::engine::postgres::wire::connection::Param;
use crate::engine::postgres::wire::server_error::ServerError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_postgres::Row;

/// The server takes the snapshot at the first query of the transaction.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// How long a statement may take that reads whole tables, or writes them. A server that is gone is noticed by the connection.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// The committed rows at one point in time.
pub(crate) struct PgSnapshot {
    server: Arc<Server>,
    state: Mutex<State>,
    /// How long a query may take; `None` for the limit of the options.
    patience: Option<Duration>,
}

#[derive(Default)]
struct State {
    connection: Option<Pooled>,
    /// Whether a query has returned rows of the snapshot. Before, another connection is as good.
    is_taken: bool,
}

impl PgSnapshot {
    /// A snapshot that is taken at its first read.
    pub(crate) fn later(server: &Arc<Server>) -> Self {
        Self {
            server: Arc::clone(server),
            state: Mutex::default(),
            patience: None,
        }
    }

    /// A snapshot of now, for queries that read whole tables.
    pub(crate) fn take_whole(server: &Arc<Server>) -> Result<Self, ServerError> {
        let snapshot = Self::take(server)?;
        Ok(Self {
            patience: Some(PATIENCE),
            ..snapshot
        })
    }

    fn deadline(&self) -> Instant {
        let usual = self.server.deadline();
        let long = self.patience.map(|patience| Instant::now() + patience);
        long.map_or(usual, |long| long.max(usual))
    }

    /// A snapshot of now.
    pub(crate) fn take(server: &Arc<Server>) -> Result<Self, ServerError> {
        let snapshot = Self::later(server);
        snapshot.query(Scope::Hint, "SELECT 1", &[])?;
        Ok(snapshot)
    }
}

impl PgSnapshot {
    /// Runs `call` on the connection of the snapshot, which was taken.
    fn call<T>(
        &self,
        call: impl FnOnce(&Pooled, Instant) -> Result<T, ServerError>,
    ) -> Result<T, ServerError> {
        self.server.refuse_fork()?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = || ServerError::Lost("the snapshot was not taken".to_owned());
        let connection = state.connection.as_ref().ok_or_else(lost)?;
        call(connection, self.deadline())
    }

    /// Opens a cursor over the rows of `query`.
    pub(crate) fn declare(&self, query: &str) -> Result<(), ServerError> {
        let sql = format!("DECLARE whole NO SCROLL CURSOR FOR {query}");
        self.call(|connection, deadline| connection.run(&sql, deadline))
    }

    /// The next rows of the cursor, up to this many; none at its end.
    pub(crate) fn fetch(&self, rows: usize) -> Result<Vec<Row>, ServerError> {
        let sql = format!("FETCH {rows} FROM whole");
        self.call(|connection, deadline| connection.query_once(&sql, &[], deadline))
    }

    pub(crate) fn close_cursor(&self) -> Result<(), ServerError> {
        self.call(|connection, deadline| connection.run("CLOSE whole", deadline))
    }

    /// Lets queries read whole tables.
    pub(crate) fn allow_scans(&self) -> Result<(), ServerError> {
        const ALLOW: &str = "SET LOCAL enable_seqscan TO on; SET LOCAL enable_hashjoin TO on";
        self.call(|connection, deadline| connection.run(ALLOW, deadline))
    }
}

impl State {
    fn try_query(
        &mut self,
        server: &Arc<Server>,
        (sql, params): (&'static str, &[Param<'_>]),
        deadline: Instant,
    ) -> Result<Vec<Row>, ServerError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            // Another connection would show the rows of another point in time.
            None if self.is_taken => {
                let why = "the connection of the snapshot was lost".to_owned();
                return Err(ServerError::Lost(why));
            }
            none => {
                let mut connection = server.checkout(deadline)?;
                connection.begin(BEGIN);
                none.insert(connection)
            }
        };
        let rows = connection.query(sql, params, deadline)?;
        self.is_taken = true;
        Ok(rows)
    }
}

impl Source for PgSnapshot {
    fn holder(&self) -> Option<&str> {
        self.server.holder.as_deref()
    }

    fn query(
        &self,
        _: Scope<'_>,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, ServerError> {
        self.server.refuse_fork()?;
        let deadline = self.deadline();
        // No code that can panic leaves the state half changed.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match state.try_query(&self.server, (sql, params), deadline) {
                Err(ServerError::Lost(why)) => {
                    // An idle connection can be one to a server that is gone.
                    state.connection = None;
                    if state.is_taken || Instant::now() >= deadline {
                        return Err(ServerError::Lost(why));
                    }
                }
                done => return done,
            }
        }
    }
}
