//! The commit queue of an open store, whichever engine it commits to.
//!
//! Each engine has a queue of its own type, so that a store in a file pays nothing for the other engines. All calls that
//! depend on the engine go through here.

use crate::commit::engine::Engine;
use crate::commit::metrics::{Metrics, StoreMetrics};
use crate::commit::notify::CommitCounter;
use crate::commit::pending::Pending;
use crate::commit::queue::Reach;
use crate::commit::watch::Watch;
#[cfg(feature = "postgres")]
use crate::engine::postgres::engine::PostgresStore;
#[cfg(feature = "postgres")]
use crate::engine::postgres::writes::load::PgLoad;
use crate::engine::redb::database::redb_engine::OpenStore as RedbStore;
use crate::engine::redb::tables::load::RedbLoad;
use crate::engine::redb::tables::view::View;
use crate::error::{Place, RuntimeError};
use crate::ledger::context::OpContext;
use crate::ledger::load_rows::LoadRows;
use crate::ledger::opening::Opening;
use crate::ledger::rows::Rows;
use crate::ledger::transaction::Transaction;
use crate::model::management::RuntimeBackendKind;
use crate::store::snapshot_view::HeldSnapshot;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// The queue of an open store.
#[derive(Clone)]
pub(crate) enum AnyStore {
    Redb(Arc<RedbStore>),
    #[cfg(feature = "postgres")]
    Postgres(Arc<PostgresStore>),
}

/// Runs `$call` with the queue of either engine.
macro_rules! on_each {
    ($store:expr, $queue:ident => $call:expr) => {
        match $store {
            AnyStore::Redb($queue) => $call,
            #[cfg(feature = "postgres")]
            AnyStore::Postgres($queue) => $call,
        }
    };
}

impl AnyStore {
    /// The store in a file or in memory; an error that names the operation for any other.
    #[cfg_attr(not(feature = "postgres"), allow(unused_variables))]
    pub(crate) fn redb(&self, operation: &'static str) -> Result<&Arc<RedbStore>, RuntimeError> {
        match self {
            Self::Redb(store) => Ok(store),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Err(RuntimeError::InvalidRequest(format!(
                "{}: {operation}: a store on a PostgreSQL server has no file; the server does this itself",
                store.engine().place()
            ))),
        }
    }

    pub(crate) fn place(&self) -> &Place {
        on_each!(self, queue => queue.engine().place())
    }

    pub(crate) fn backend(&self) -> RuntimeBackendKind {
        match self {
            Self::Redb(store) => store.engine().backend,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => RuntimeBackendKind::PostgresStore,
        }
    }

    /// The greatest number that a key of the store can have.
    pub(crate) fn greatest_number(&self) -> u64 {
        match self {
            Self::Redb(_) => u64::MAX,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => i64::MAX as u64,
        }
    }

    /// The time that changes get, in milliseconds since 1970-01-01 00:00 UTC.
    pub(crate) fn now_ms(&self) -> u64 {
        on_each!(self, queue => queue.engine().now_ms())
    }

    pub(crate) fn others_may_commit(&self) -> bool {
        on_each!(self, queue => queue.engine().others_may_commit())
    }

    /// Whether hosts lock runtimes, instead of the whole store.
    pub(crate) fn shares_turns(&self) -> bool {
        on_each!(self, queue => queue.engine().shares_turns())
    }

    pub(crate) fn context(&self, operation: &'static str) -> OpContext<'_> {
        on_each!(self, queue => queue.context(operation))
    }

    pub(crate) fn refuse_fork(&self, at: OpContext<'_>) -> Result<(), RuntimeError> {
        on_each!(self, queue => queue.refuse_fork(at))
    }

    pub(crate) fn is_forked(&self) -> bool {
        on_each!(self, queue => queue.is_forked())
    }

    /// This opening of the store.
    pub(crate) fn opening(&self) -> &Opening {
        on_each!(self, queue => &queue.opening)
    }

    /// Wakes the followers of this process.
    pub(crate) fn commits(&self) -> &CommitCounter {
        on_each!(self, queue => &queue.commits)
    }

    fn metrics(&self) -> &Metrics {
        on_each!(self, queue => &queue.metrics)
    }

    /// The counters of the store.
    pub(crate) fn read_metrics(&self) -> StoreMetrics {
        let (syncs, bytes) = match self {
            Self::Redb(store) => store.engine().file_counters(),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => (0, 0),
        };
        self.metrics().read(syncs, bytes)
    }

    pub(crate) fn wait_for_news(
        &self,
        seen: (u64, u32),
        at: OpContext<'_>,
        deadline: Option<Instant>,
    ) -> Result<bool, RuntimeError> {
        on_each!(self, queue => queue.wait_for_news(seen, at, deadline))
    }

    pub(crate) fn poll_news(
        &self,
        seen: u64,
        waiter: (u64, &Waker),
        at: OpContext<'_>,
    ) -> Result<bool, RuntimeError> {
        on_each!(self, queue => queue.poll_news(seen, waiter, at))
    }

    /// Watches for a commit that changes a runtime after one of its versions.
    pub(crate) fn watch_news(
        &self,
        seen: u64,
        version: (&str, i64),
        waker: &Waker,
        at: OpContext<'_>,
    ) -> Result<Option<Arc<Watch>>, RuntimeError> {
        on_each!(self, queue => queue.watch_news(seen, version, waker, at))
    }

    /// Rejects waits inside closures and callbacks.
    pub(crate) fn refuse_within(&self) -> Result<(), RuntimeError> {
        on_each!(self, queue => queue.refuse_within())
    }

    /// The number of commits that changed a runtime, if the engine counts them.
    pub(crate) fn version(
        &self,
        runtime: &str,
        at: OpContext<'_>,
    ) -> Result<Option<i64>, RuntimeError> {
        on_each!(self, queue => queue.engine().version(runtime, at))
    }

    /// Closes the store for all its handles.
    pub(crate) fn close(&self) -> Result<(), RuntimeError> {
        on_each!(self, queue => queue.close())
    }

    /// Runs `read` on one snapshot of the committed rows.
    pub(crate) fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&dyn Rows) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        match self {
            Self::Redb(store) => store.engine().read(operation, |view| read(view)),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => {
                let at = store.context(operation);
                store.refuse_fork(at)?;
                store.engine().read(at, read)
            }
        }
    }

    /// As [`read`](Self::read), and returns the version of `runtime` in the same snapshot, if the engine counts versions.
    /// Another read can be one of another server, whose rows are older.
    pub(crate) fn read_with_version<T>(
        &self,
        operation: &'static str,
        runtime: &str,
        read: impl FnOnce(&dyn Rows) -> Result<T, RuntimeError>,
    ) -> Result<(Option<i64>, T), RuntimeError> {
        match self {
            Self::Redb(_) => {
                // The engine counts no versions.
                let _ = runtime;
                Ok((None, self.read(operation, read)?))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => {
                let at = store.context(operation);
                store.refuse_fork(at)?;
                let (version, rows) = store.engine().read_with_version(at, runtime, read)?;
                Ok((Some(version), rows))
            }
        }
    }

    /// Takes a snapshot of the committed rows.
    pub(crate) fn snapshot(&self) -> Result<HeldSnapshot, RuntimeError> {
        match self {
            Self::Redb(store) => {
                let at = store.engine().at("read");
                let transaction = at.guard(|| store.engine().begin_read(at))?;
                Ok(HeldSnapshot::Redb(transaction, at.bad_pages()))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => {
                let at = store.context("read");
                store.refuse_fork(at)?;
                Ok(HeldSnapshot::Postgres(Box::new(
                    store.engine().snapshot(at)?,
                )))
            }
        }
    }

    /// Runs one operation and waits for its commit.
    pub(crate) fn write<T>(
        &self,
        operation: (&'static str, Reach<'_>),
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        on_each!(self, queue => queue.write(operation, run))
    }

    /// Runs one operation unless another host has one of `runtimes` locked: `None` then. Waits for its commit.
    pub(crate) fn write_if_free<T>(
        &self,
        operation: &'static str,
        runtimes: &[&str],
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<Option<T>, RuntimeError> {
        on_each!(self, queue => queue.write_if_free(operation, runtimes, run))
    }

    /// Runs one operation; a background thread commits it.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        operation: (&'static str, &str),
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Pending<T> {
        on_each!(self, queue => queue.submit(operation, run))
    }

    /// Runs `load` in one write transaction and commits it.
    pub(crate) fn load<T, F: From<RuntimeError>>(
        &self,
        operation: &'static str,
        load: impl FnOnce(&dyn LoadRows) -> Result<T, F>,
    ) -> Result<T, F> {
        match self {
            Self::Redb(store) => {
                let at = store.engine().at(operation);
                store.write_exclusively(operation, |turn| {
                    let view = View {
                        tables: &**turn,
                        at,
                    };
                    load(&RedbLoad { view })
                })
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => {
                let at = store.context(operation);
                store.write_exclusively(operation, |turn| load(&PgLoad::new(turn, at)))
            }
        }
    }
}
