//! The PostgreSQL engine of an open store.

use crate::commit::engine::{Admission, Admitted, Engine, POLL, Patience};
use crate::commit::failure::Failure;
use crate::commit::queue::CommitQueue;
use crate::engine::postgres::commit;
use crate::engine::postgres::keys::key;
use crate::engine::postgres::lock_row::Version;
use crate::engine::postgres::rows::reader::Reader;
use crate::engine::postgres::rows::source::{Scope, Source};
use crate::engine::postgres::server::Server;
use crate::engine::postgres::snapshot::PgSnapshot;
use crate::engine::postgres::turn::Turn;
use crate::engine::postgres::wire::server_error::ServerError;
use crate::engine::postgres::writes::batch;
use crate::error::{Place, RuntimeError};
use crate::ledger::change_set::ChangeSet;
use crate::ledger::context::OpContext;
use crate::ledger::rows::Rows;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Row;

/// How often the pause of a follower doubles: to 160 milliseconds.
const MOST_DOUBLINGS: u32 = 3;

/// A store in a PostgreSQL database: the commit queue over its engine.
pub(crate) type PostgresStore = CommitQueue<PostgresEngine>;

/// The engine of one store in a PostgreSQL database.
pub(crate) struct PostgresEngine {
    place: Place,
    pub(crate) server: Arc<Server>,
}

impl PostgresEngine {
    pub(crate) fn new(place: Place, server: Arc<Server>) -> Self {
        Self { place, server }
    }

    /// Runs `read` on one snapshot of the committed rows.
    pub(crate) fn read<T>(
        &self,
        at: OpContext<'_>,
        read: impl FnOnce(&dyn Rows) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let snapshot = PgSnapshot::later(&self.server);
        read(&Reader {
            source: &snapshot,
            at,
        })
    }

    /// As [`read`](Self::read), and returns the version of `runtime` in the same snapshot.
    pub(crate) fn read_with_version<T>(
        &self,
        at: OpContext<'_>,
        runtime: &str,
        read: impl FnOnce(&dyn Rows) -> Result<T, RuntimeError>,
    ) -> Result<(i64, T), RuntimeError> {
        let snapshot = PgSnapshot::later(&self.server);
        let id = key(runtime);
        let found = snapshot.query(Scope::Hint, VERSION, &[&id]);
        let version = found.and_then(|rows| version_of(&rows));
        let version = version.map_err(|error| error.runtime(at))?;
        let reader = Reader {
            source: &snapshot,
            at,
        };
        Ok((version, read(&reader)?))
    }
}

/// The version of a runtime.
const VERSION: &str = "SELECT version, stamp FROM locks WHERE runtime = $1";

fn version_of(rows: &[Row]) -> Result<i64, ServerError> {
    let version = rows.first().map(|row| Version::read(row, 0));
    Ok(version.transpose()?.unwrap_or_default().digest())
}

impl Engine for PostgresEngine {
    type Snapshot = PgSnapshot;
    type Turn = Turn;

    fn place(&self) -> &Place {
        &self.place
    }

    fn stages_ahead(&self) -> bool {
        // Other hosts change the rows that a staged operation has read.
        false
    }

    fn shares_turns(&self) -> bool {
        true
    }

    fn patience(&self) -> Patience {
        Patience {
            lock: self.server.options.lock_timeout,
            outage: self.server.options.outage_timeout,
        }
    }

    fn admits(
        &self,
        turn: &Turn,
        runtime: &str,
        how: Admission,
        at: OpContext<'_>,
    ) -> Result<Admitted, RuntimeError> {
        let admitted = turn.admits(runtime, how);
        admitted.map_err(|error| error.runtime(at))
    }

    fn check(&self, changes: &ChangeSet) -> Result<(), RuntimeError> {
        batch::check(changes).map_err(|error| error.runtime(OpContext::new("write", &self.place)))
    }

    fn others_may_commit(&self) -> bool {
        true
    }

    fn poll(&self, idle: u32) -> Option<Duration> {
        // A second of looks at the full rate, then half of it, and so on.
        Some(POLL * (1 << (idle / 50).min(MOST_DOUBLINGS)))
    }

    fn version(&self, runtime: &str, at: OpContext<'_>) -> Result<Option<i64>, RuntimeError> {
        let id = key(runtime);
        let found = self.server.query(VERSION, &[&id], self.server.deadline());
        let version = found.and_then(|rows| version_of(&rows));
        version.map(Some).map_err(|error| error.runtime(at))
    }

    fn has_one_writer(&self) -> bool {
        self.server.holder.is_some()
    }

    fn survives(&self, failure: &Failure) -> bool {
        // Nothing is kept between turns, so the next one begins with what the server has.
        !matches!(failure, Failure::Forked)
    }

    fn now_ms(&self) -> u64 {
        self.server.options.clock.now_ms()
    }

    fn file_bytes(&self) -> u64 {
        0
    }

    fn snapshot(&self, at: OpContext<'_>) -> Result<PgSnapshot, RuntimeError> {
        PgSnapshot::take(&self.server).map_err(|error| error.runtime(at))
    }

    fn snapshot_rows<'a>(&'a self, snapshot: &'a PgSnapshot, at: OpContext<'a>) -> impl Rows + 'a {
        Reader {
            source: snapshot,
            at,
        }
    }

    fn release(&self, snapshot: PgSnapshot, _: OpContext<'_>) {
        drop(snapshot);
    }

    fn begin(&self, at: OpContext<'_>) -> Result<Turn, RuntimeError> {
        match self.server.is_closed() {
            true => Err(at.closed()),
            // The first read or the commit makes the connection.
            false => Ok(Turn::begin(&self.server)),
        }
    }

    fn turn_rows<'a>(&'a self, turn: &'a Turn, at: OpContext<'a>) -> impl Rows + 'a {
        Reader { source: turn, at }
    }

    fn commit(&self, turn: Turn, changes: &ChangeSet, at: OpContext<'_>) -> Result<(), Failure> {
        commit::commit(&turn, changes, at)
    }

    fn abort(&self, turn: Turn, _: OpContext<'_>) -> Result<(), RuntimeError> {
        drop(turn);
        Ok(())
    }
}
