//! Turns: transactions that read and write. The lock of a runtime comes before its rows.

use crate::commit::engine::{Admission, Admitted};
use crate::engine::postgres::keys::key;
use crate::engine::postgres::lease;
use crate::engine::postgres::lock_row::{LockRow, Version, place_in_order};
use crate::engine::postgres::rows::source::{Scope, Source};
use crate::engine::postgres::server::{Pooled, Server};
use crate::engine::postgres::snapshot::PATIENCE;
use crate::engine::postgres::wire::connection::Param;
use crate::engine::postgres::wire::server_error::ServerError;
use crate::ledger::rows::{RuntimeRow, WorkerRow};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_postgres::Row;

/// Locks rows in order: by their ids, the row of the whole store last.
const LOCK: &str = "SELECT runtime, version, stamp, holder, epoch,
        coalesce(expires > clock_timestamp(), false)
    FROM locks WHERE runtime = ANY($1) ORDER BY runtime = '', runtime FOR UPDATE";

const LOCK_IF_FREE: &str = "SELECT runtime, version, stamp, holder, epoch,
        coalesce(expires > clock_timestamp(), false)
    FROM locks WHERE runtime = $1 FOR UPDATE SKIP LOCKED";

const ADD: &str = "INSERT INTO locks (runtime) SELECT unnest($1::bytea[]) ON CONFLICT DO NOTHING";

/// How long the server waits for a lock before an operation is told to come again.
const ADMISSION: Duration = Duration::from_millis(50);

/// How long a load may pause between two rows before the server ends its transaction, at least.
const LOAD_PAUSE: Duration = Duration::from_secs(600);

/// How long a turn waits before it is begun again after the connection was lost.
const PAUSE: Duration = Duration::from_millis(20);

/// A turn. It is undone when it is dropped.
pub(crate) struct Turn {
    pub(crate) server: Arc<Server>,
    state: Mutex<TurnState>,
}

/// The transaction of a turn.
pub(crate) struct TurnState {
    /// `None` before the first statement, and after the connection was lost.
    connection: Option<Pooled>,
    /// Whether the transaction has all its locks and takes statements.
    is_live: bool,
    /// The runtimes that the turn has locked, with the rows that say so.
    pub(crate) locked: BTreeMap<String, LockRow>,
    /// Whether rows were written already: a load. It cannot be begun again.
    pub(crate) has_written: bool,
    pub(crate) deadline: Instant,
}

impl Turn {
    pub(crate) fn begin(server: &Arc<Server>) -> Self {
        Self {
            state: Mutex::new(TurnState {
                connection: None,
                is_live: false,
                locked: BTreeMap::new(),
                has_written: false,
                deadline: server.deadline(),
            }),
            server: Arc::clone(server),
        }
    }

    /// The transaction. No code that can panic leaves it half changed.
    pub(crate) fn state(&self) -> MutexGuard<'_, TurnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks `runtime`, unless the turn has.
    pub(crate) fn lock(&self, runtime: &str) -> Result<(), ServerError> {
        let mut state = self.state();
        state.deadline = self.server.deadline();
        state.again(&self.server, |state, server| state.lock(server, runtime))
    }

    /// Runs `write` for a load, within the transaction. `runtime` is locked first.
    pub(crate) fn write<T>(
        &self,
        runtime: &str,
        write: impl FnOnce(&Pooled, Instant) -> Result<T, ServerError>,
    ) -> Result<T, ServerError> {
        self.lock(runtime)?;
        // A statement can remove all rows of a runtime.
        let deadline = self.server.deadline().max(Instant::now() + PATIENCE);
        let mut state = self.state();
        let connection = state.live()?;
        if !state.has_written {
            // What a load reads can come slowly.
            let idle = self.server.options.idle_timeout.max(LOAD_PAUSE);
            connection.send(&idle_limit(idle));
        }
        state.has_written = true;
        let connection = state.live()?;
        let written = write(connection, deadline);
        if written.is_err() {
            state.is_live = false;
        }
        written
    }
}

impl Source for Turn {
    fn holder(&self) -> Option<&str> {
        self.server.holder.as_deref()
    }

    fn query(
        &self,
        scope: Scope<'_>,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, ServerError> {
        let mut state = self.state();
        state.deadline = self.server.deadline();
        state.again(&self.server, |state, server| {
            if let Scope::Runtime(runtime) = scope {
                state.lock(server, runtime)?;
            }
            state.establish(server)?;
            let deadline = state.deadline;
            state.live()?.query(sql, params, deadline)
        })
    }

    fn known_runtime(&self, id: &str) -> Result<Option<Option<RuntimeRow>>, ServerError> {
        let version = self.version(id)?;
        Ok(version.and_then(|version| self.server.cache.runtime(id, version)))
    }

    fn known_worker(
        &self,
        id: &str,
        worker: &str,
    ) -> Result<Option<Option<WorkerRow>>, ServerError> {
        let version = self.version(id)?;
        Ok(version.and_then(|version| self.server.cache.worker(id, version, worker)))
    }

    fn note_runtime(&self, id: &str, row: Option<&RuntimeRow>) {
        if let Some(version) = self.locked_version(id) {
            self.server.cache.note_runtime(id, version, row);
        }
    }

    fn note_worker(&self, id: &str, worker: &str, row: Option<&WorkerRow>) {
        if let Some(version) = self.locked_version(id) {
            self.server.cache.note_worker(id, version, (worker, row));
        }
    }
}

impl Turn {
    /// The version of a runtime, which is locked first; `None` where rows in memory do not count.
    fn version(&self, runtime: &str) -> Result<Option<Version>, ServerError> {
        self.lock(runtime)?;
        let state = self.state();
        // A load writes rows that are not committed.
        let locked = state.locked.get(runtime).filter(|_| !state.has_written);
        Ok(locked.map(|row| row.version))
    }

    /// The version of a runtime that the turn has locked.
    fn locked_version(&self, runtime: &str) -> Option<Version> {
        let state = self.state();
        let locked = state.locked.get(runtime).filter(|_| !state.has_written);
        locked.map(|row| row.version)
    }

    /// Whether the turn takes an operation on `runtime`, which it then has locked. Waits for another host only briefly, as the
    /// operations of other threads wait meanwhile.
    pub(crate) fn admits(&self, runtime: &str, how: Admission) -> Result<Admitted, ServerError> {
        let mut state = self.state();
        state.deadline = how.deadline;
        let admitted = match how.may_wait {
            true => state.again(&self.server, |state, server| state.admit(server, runtime)),
            false => state.admit_beside_batch(&self.server, runtime),
        };
        match admitted {
            Ok(true) => Ok(Admitted::Yes),
            Ok(false) => Ok(Admitted::NotNow),
            Err(error) if error.is_lock_timeout() => Ok(Admitted::NotNow),
            Err(error) => Err(error),
        }
    }
}

impl TurnState {
    /// Runs `call`, and runs it again after a failure that passes. What the turn has read by then stays right: it is begun
    /// again only if no version of its runtimes has changed.
    fn again<T>(
        &mut self,
        server: &Arc<Server>,
        mut call: impl FnMut(&mut Self, &Arc<Server>) -> Result<T, ServerError>,
    ) -> Result<T, ServerError> {
        loop {
            let error = match call(self, server) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            self.ended_by(&error);
            if self.has_written || !error.is_passing() || Instant::now() >= self.deadline {
                return Err(error);
            }
            if error.is_lost() {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// The connection of a live transaction.
    pub(crate) fn live(&self) -> Result<&Pooled, ServerError> {
        match &self.connection {
            Some(connection) if self.is_live => Ok(connection),
            _ => Err(ServerError::Lost("the transaction has ended".to_owned())),
        }
    }

    /// Begins the transaction anew, with the locks that the turn had and that on `wanted`. The caller checks them.
    pub(crate) fn begin_anew(
        &mut self,
        server: &Arc<Server>,
        wanted: Option<&str>,
    ) -> Result<BTreeMap<String, LockRow>, ServerError> {
        self.is_live = false;
        let deadline = self.deadline;
        let connection = match &mut self.connection {
            Some(connection) if !connection.is_closed() => connection,
            none => none.insert(server.checkout_reserved(deadline)?),
        };
        // A host that is paused within the transaction keeps others out no longer than this.
        let idle = idle_limit(server.options.idle_timeout);
        connection.begin(format!("BEGIN ISOLATION LEVEL READ COMMITTED; {idle}"));
        let mut runtimes: Vec<&str> = self.locked.keys().map(String::as_str).collect();
        runtimes.extend(wanted);
        if runtimes.is_empty() {
            return Ok(BTreeMap::new());
        }
        runtimes.sort_by(|a, b| place_in_order(a).cmp(&place_in_order(b)));
        lock_all(connection, &runtimes, deadline)
    }

    /// Begins the transaction, unless it is live. [`ServerError::Conflict`] if another host has written to a runtime that
    /// the turn has read.
    pub(crate) fn establish(&mut self, server: &Arc<Server>) -> Result<(), ServerError> {
        if self.is_live {
            return Ok(());
        }
        if self.has_written {
            return Err(ServerError::Lost("the transaction has ended".to_owned()));
        }
        let found = self.begin_anew(server, None)?;
        self.confirm(server, &found)?;
        self.is_live = true;
        Ok(())
    }

    /// Checks that the runtimes are as the turn read them, given their lock rows now.
    pub(crate) fn confirm(
        &mut self,
        server: &Server,
        found: &BTreeMap<String, LockRow>,
    ) -> Result<(), ServerError> {
        for (runtime, locked) in &self.locked {
            let now = found.get(runtime).ok_or(ServerError::Conflict)?;
            lease::check(server, runtime, now)?;
            if now.version != locked.version {
                return Err(ServerError::Conflict);
            }
        }
        self.is_live = true;
        Ok(())
    }

    /// Locks `runtime` if it is free, for an operation that joins a batch. The transaction of the batch must not end for it.
    fn admit_beside_batch(
        &mut self,
        server: &Arc<Server>,
        runtime: &str,
    ) -> Result<bool, ServerError> {
        // The leader of the batch begins its transaction anew, without the lock of the queue.
        if !self.is_live {
            return Ok(false);
        }
        match self.lock_if_free(server, runtime) {
            // Found under the lock: the transaction goes on.
            Err(ServerError::LeaseLost) => Err(ServerError::LeaseLost),
            Err(error) => {
                self.ended_by(&error);
                match error.is_passing() {
                    true => Ok(false),
                    false => Err(error),
                }
            }
            locked => locked,
        }
    }

    /// Locks `runtime` for the first operation of the turn. Waits for another host for a moment.
    fn admit(&mut self, server: &Arc<Server>, runtime: &str) -> Result<bool, ServerError> {
        if self.lock_if_free(server, runtime)? {
            return Ok(true);
        }
        if !self.is_in_order(runtime) {
            return Ok(false);
        }
        let (connection, deadline) = (self.live()?, self.deadline);
        connection.send(&lock_limit(ADMISSION.min(server.options.lock_timeout)));
        let found = lock_all(connection, &[runtime], deadline)?;
        connection.send(&lock_limit(server.options.lock_timeout));
        self.hold(server, runtime, &found)?;
        Ok(true)
    }

    /// Whether `runtime` comes after all that the turn has locked, so that two hosts never wait for each other.
    fn is_in_order(&self, runtime: &str) -> bool {
        let place = place_in_order(runtime);
        self.locked.keys().all(|id| place_in_order(id) < place)
    }

    /// Locks `runtime` if no other host has it locked. Returns whether it is locked.
    fn lock_if_free(&mut self, server: &Arc<Server>, runtime: &str) -> Result<bool, ServerError> {
        self.establish(server)?;
        if self.locked.contains_key(runtime) {
            return Ok(true);
        }
        let (id, deadline) = (key(runtime), self.deadline);
        let found = self.live()?.query(LOCK_IF_FREE, &[&id], deadline)?;
        let found = read_locks(&[runtime], &found)?;
        if found.is_empty() {
            return Ok(false);
        }
        self.hold(server, runtime, &found)?;
        Ok(true)
    }

    /// Locks `runtime`, and waits for another host that has it locked.
    fn lock(&mut self, server: &Arc<Server>, runtime: &str) -> Result<(), ServerError> {
        self.establish(server)?;
        if self.locked.contains_key(runtime) {
            return Ok(());
        }
        let may_wait = self.has_written || self.is_in_order(runtime);
        if !may_wait && self.lock_if_free(server, runtime)? {
            return Ok(());
        }
        if may_wait || self.is_added(runtime)? {
            let found = lock_all(self.live()?, &[runtime], self.deadline)?;
            return self.hold(server, runtime, &found);
        }
        // Gives the locks up that come after it.
        let found = self.begin_anew(server, Some(runtime))?;
        self.confirm(server, &found)?;
        self.hold(server, runtime, &found)
    }

    /// Adds the lock row of `runtime`, if it has none. Then no other host can have it locked.
    fn is_added(&self, runtime: &str) -> Result<bool, ServerError> {
        let missing = [key(runtime)];
        let added = self.live()?.execute(ADD, &[&&missing[..]], self.deadline)?;
        Ok(added > 0)
    }

    /// Notes that `runtime` is locked, with its row in `found`.
    fn hold(
        &mut self,
        server: &Server,
        runtime: &str,
        found: &BTreeMap<String, LockRow>,
    ) -> Result<(), ServerError> {
        let row = found.get(runtime).ok_or(ServerError::Conflict)?;
        lease::check(server, runtime, row)?;
        self.locked.insert(runtime.to_owned(), row.clone());
        Ok(())
    }

    /// The call that failed with `error` has ended the transaction.
    fn ended_by(&mut self, error: &ServerError) {
        self.is_live = false;
        if error.is_lost() {
            self.connection = None;
        }
    }

    /// As [`establish`](Self::establish), for a load only if its transaction lives.
    pub(crate) fn require(&mut self, server: &Arc<Server>) -> Result<(), ServerError> {
        match self.has_written {
            true => self.live().map(|_| ()),
            false => self.establish(server),
        }
    }

    /// The transaction has been committed.
    pub(crate) fn committed(&mut self) {
        self.is_live = false;
        if let Some(connection) = &mut self.connection {
            connection.ended();
        }
    }

    /// Gives the connection up, and with it the transaction.
    pub(crate) fn cut(&mut self) {
        self.is_live = false;
        if let Some(connection) = self.connection.take() {
            connection.cut();
        }
    }

    /// The transaction was undone by the server.
    pub(crate) fn undone(&mut self) {
        self.is_live = false;
    }

    /// The connection.
    pub(crate) fn connection(&self) -> Result<&Pooled, ServerError> {
        let lost = || ServerError::Lost("the transaction has ended".to_owned());
        self.connection.as_ref().ok_or_else(lost)
    }
}

/// Has the server end the transaction of a host that is paused for `idle` within it.
fn idle_limit(idle: Duration) -> String {
    let idle = idle.as_millis().clamp(1, 1 << 30);
    format!("SET LOCAL idle_in_transaction_session_timeout TO {idle}")
}

/// Has the server wait for a lock of another host for `wait` only.
fn lock_limit(wait: Duration) -> String {
    let wait = wait.as_millis().clamp(1, 1 << 30);
    format!("SET LOCAL lock_timeout TO {wait}")
}

/// Locks `runtimes`, which are in order, and returns their rows.
fn lock_all(
    connection: &Pooled,
    runtimes: &[&str],
    deadline: Instant,
) -> Result<BTreeMap<String, LockRow>, ServerError> {
    let lock = |keys: &Vec<Cow<'_, [u8]>>| {
        let rows = connection.query(LOCK, &[keys], deadline)?;
        read_locks(runtimes, &rows)
    };
    let keys: Vec<_> = runtimes.iter().map(|id| key(id)).collect();
    let mut found = lock(&keys)?;
    let missing = runtimes.iter().filter(|id| !found.contains_key(**id));
    let missing: Vec<_> = missing.map(|id| key(id)).collect();
    if !missing.is_empty() {
        // It waits for another host that inserts the same row.
        connection.execute(ADD, &[&missing], deadline)?;
        found.extend(lock(&missing)?);
    }
    Ok(found)
}

/// The rows of `runtimes` in `rows`.
fn read_locks(runtimes: &[&str], rows: &[Row]) -> Result<BTreeMap<String, LockRow>, ServerError> {
    let ids: HashMap<_, _> = runtimes.iter().map(|id| (key(id), *id)).collect();
    let mut found = BTreeMap::new();
    for row in rows {
        let lock = LockRow {
            version: Version::read(row, 1)?,
            holder: row.try_get(3)?,
            epoch: row.try_get(4)?,
            is_held: row.try_get(5)?,
        };
        if let Some(id) = ids.get(row.try_get::<_, &[u8]>(0)?) {
            found.insert((*id).to_owned(), lock);
        }
    }
    Ok(found)
}
