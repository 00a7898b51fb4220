//! The connections of one store: how they are made, and the pool of those that no caller uses.

use crate::engine::postgres::cache::RowCache;
use crate::engine::postgres::options::{Durability, PostgresOptions, Writers};
use crate::engine::postgres::wire::address::Address;
use crate::engine::postgres::wire::connection::{Connection, Param};
use crate::engine::postgres::wire::hosts;
use crate::engine::postgres::wire::io_thread::{IoThread, block_on};
use crate::engine::postgres::wire::server_error::ServerError;
use crate::engine::postgres::wire::tls::Tls;
use crate::fs::process::Process;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Config, Row};

/// How long a caller waits before it tries once more to reach a server.
const RETRY: Duration = Duration::from_millis(50);

/// How long a server that does not answer is believed to be there.
const SILENCE: Duration = Duration::from_secs(10);

/// Idle connections that the pool keeps.
const IDLE: usize = 4;

/// Connections beside those of readers: one for the turn, one for the leases.
const RESERVED: usize = 2;

/// The server of a store.
pub(crate) struct Server {
    pub(crate) options: PostgresOptions,
    config: Config,
    tls: Option<Tls>,
    /// What each session begins with.
    setup: String,
    io: Option<IoThread>,
    pool: Mutex<Pool>,
    freed: Condvar,
    process: Process,
    is_closed: AtomicBool,
    /// The name under which the store holds leases; `None` if it takes none.
    pub(crate) holder: Option<String>,
    /// The epochs of the leases that the store has, by runtime.
    pub(crate) leases: Mutex<BTreeMap<String, i64>>,
    /// The last committed rows.
    pub(crate) cache: RowCache,
    /// How many commits the store has made.
    pub(crate) commits: AtomicU64,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    /// How many connections there are, those in use included.
    open: usize,
}

/// `name` as an identifier in SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Server {
    pub(crate) fn new(
        options: PostgresOptions,
        address: Address,
        holder: String,
    ) -> std::io::Result<Self> {
        let mut config = address.config;
        config
            .connect_timeout(options.connect_timeout)
            .tcp_user_timeout(SILENCE)
            .keepalives(true)
            .keepalives_idle(SILENCE);
        if let (None, Some(password)) = (config.get_password(), &options.password) {
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name(env!("CARGO_PKG_NAME"));
        }
        if !options.read_only {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let roots = options.root_certificates.as_deref();
        let roots = roots.or(address.roots.as_deref());
        let tls = match address.is_encrypted {
            true => Some(Tls::new(roots)?),
            false => None,
        };
        Ok(Self {
            setup: setup(&options),
            holder: (options.writers == Writers::OnePerRuntime).then_some(holder),
            options,
            config,
            tls,
            io: Some(IoThread::start()?),
            pool: Mutex::default(),
            freed: Condvar::new(),
            process: Process::current(),
            is_closed: AtomicBool::new(false),
            leases: Mutex::default(),
            cache: RowCache::default(),
            commits: AtomicU64::new(0),
        })
    }

    /// The end of the time that a call may take which begins now.
    pub(crate) fn deadline(&self) -> Instant {
        let now = Instant::now();
        let far = Duration::from_secs(60 * 60 * 24 * 365);
        now.checked_add(self.options.outage_timeout)
            .unwrap_or(now + far)
    }

    pub(crate) fn io(&self) -> Option<&Handle> {
        self.io.as_ref().map(IoThread::handle)
    }

    /// Rejects calls from a fork, which has neither the I/O thread nor the connections.
    pub(crate) fn refuse_fork(&self) -> Result<(), ServerError> {
        match self.process.is_current() {
            true => Ok(()),
            false => Err(ServerError::Forked),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        // No code that can panic runs with the lock held.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rejects later calls, and closes the idle connections.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        let idle = std::mem::take(&mut self.lock().idle);
        self.lock().open -= idle.len();
        self.freed.notify_all();
    }

    /// A connection for a reader, which no other caller uses. During an outage this tries until `deadline`.
    pub(crate) fn checkout(self: &Arc<Self>, deadline: Instant) -> Result<Pooled, ServerError> {
        self.checkout_of(self.options.max_connections, deadline)
    }

    /// A connection that readers leave free: they can hold theirs for long, while a commit has to be settled in time.
    pub(crate) fn checkout_reserved(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<Pooled, ServerError> {
        self.checkout_of(self.options.max_connections + RESERVED, deadline)
    }

    /// A connection, if fewer than `most` are in use.
    fn checkout_of(
        self: &Arc<Self>,
        most: usize,
        deadline: Instant,
    ) -> Result<Pooled, ServerError> {
        let mut before = None;
        loop {
            if let Some(connection) = self.take(most, deadline)? {
                return Ok(self.pooled(connection));
            }
            match self.connect(deadline) {
                Ok(connection) => return Ok(self.pooled(connection)),
                Err(error) => {
                    self.forget();
                    // After a fail-over an operator may still have to name the next standby.
                    let is_passing = matches!(error, ServerError::Lost(_) | ServerError::Unfit(_))
                        || error.is_full();
                    if !is_passing || Instant::now() + RETRY >= deadline {
                        // The deadline can pass within an attempt. Then the one before says why none succeeds.
                        return Err(match error {
                            ServerError::TimedOut => before.unwrap_or(error),
                            error => error,
                        });
                    }
                    before = Some(error);
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    /// A connection for the first use: a server that cannot be reached is an error at once.
    pub(crate) fn first(self: &Arc<Self>, deadline: Instant) -> Result<Pooled, ServerError> {
        self.lock().open += 1;
        match self.connect(deadline) {
            Ok(connection) => Ok(self.pooled(connection)),
            Err(error) => {
                self.forget();
                Err(error)
            }
        }
    }

    /// Runs a query on its own, on another connection if an idle one turns out to be dead.
    pub(crate) fn query(
        self: &Arc<Self>,
        sql: &'static str,
        params: &[Param<'_>],
        deadline: Instant,
    ) -> Result<Vec<Row>, ServerError> {
        loop {
            match self.checkout(deadline)?.query(sql, params, deadline) {
                Err(ServerError::Lost(_)) if Instant::now() + RETRY < deadline => {}
                done => return done,
            }
        }
    }

    fn pooled(self: &Arc<Self>, connection: Connection) -> Pooled {
        Pooled {
            server: Arc::clone(self),
            connection: Some(connection),
            in_transaction: false,
        }
    }

    /// An idle connection, or `None` with the right to make one.
    fn take(&self, most: usize, deadline: Instant) -> Result<Option<Connection>, ServerError> {
        let mut pool = self.lock();
        loop {
            if self.is_closed.load(Ordering::Acquire) {
                return Err(ServerError::Closed);
            }
            if pool.open - pool.idle.len() < most {
                while let Some(connection) = pool.idle.pop() {
                    if !connection.is_closed() {
                        return Ok(Some(connection));
                    }
                    pool.open -= 1;
                }
                pool.open += 1;
                return Ok(None);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ServerError::TooMany(most));
            }
            let waited = self.freed.wait_timeout(pool, left);
            (pool, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives up the right to have one connection.
    fn forget(&self) {
        self.lock().open -= 1;
        // The first that waits need not be one that may have this connection.
        self.freed.notify_all();
    }

    fn put_back(&self, connection: Connection) {
        let mut pool = self.lock();
        if connection.is_closed()
            || pool.idle.len() >= IDLE
            || self.is_closed.load(Ordering::Acquire)
        {
            pool.open -= 1;
        } else {
            pool.idle.push(connection);
        }
        drop(pool);
        self.freed.notify_all();
    }

    fn connect(&self, deadline: Instant) -> Result<Connection, ServerError> {
        let io = self.io().ok_or(ServerError::Closed)?.clone();
        let (config, tls) = (self.config.clone(), self.tls.clone());
        // To accept the connection, and to begin the session.
        let limit = self.options.connect_timeout.saturating_mul(2);
        let made = io.spawn(async move { hosts::connect(&config, tls, limit).await });
        let abort = made.abort_handle();
        let connection = match block_on(made, deadline) {
            Some(Ok(connection)) => connection?,
            Some(Err(error)) => return Err(ServerError::Lost(error.to_string())),
            None => {
                abort.abort();
                return Err(ServerError::TimedOut);
            }
        };
        connection.run(&self.setup, deadline)?;
        self.refuse_unfit(&connection, deadline)?;
        Ok(connection)
    }

    /// Rejects a server on which an acknowledged commit can be lost. After a fail-over it can be another one than before.
    fn refuse_unfit(&self, connection: &Connection, deadline: Instant) -> Result<(), ServerError> {
        if self.options.read_only {
            return Ok(());
        }
        const SETTINGS: &str = "SELECT current_setting('fsync'), current_setting('full_page_writes'), \
             current_setting('synchronous_standby_names')";
        let rows = connection.query_once(SETTINGS, &[], deadline)?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let text = |column: usize| row.try_get::<_, String>(column).unwrap_or_default();
        for (column, name) in ["fsync", "full_page_writes"].into_iter().enumerate() {
            if text(column) == "off" {
                return Err(ServerError::Unfit(format!(
                    "the server runs with {name}=off, so a crash of its machine can lose or damage the store"
                )));
            }
        }
        if self.options.durability != Durability::Local && text(2).trim().is_empty() {
            return Err(ServerError::Unfit(
                "replicated commits were asked for, and synchronous_standby_names of the server is empty"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

impl Drop for Server {
    /// A fork leaks the connections: they belong to its parent, and so does the thread behind them.
    fn drop(&mut self) {
        if !self.process.is_current() {
            let pool = self.pool.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(&mut pool.idle));
            std::mem::forget(self.io.take());
        }
    }
}

fn setup(options: &PostgresOptions) -> String {
    let commit = match options.durability {
        Durability::Local => "local",
        Durability::Replicated => "on",
        Durability::Applied => "remote_apply",
    };
    // The server finds out within seconds that the machine of a host is gone, and gives its locks up. While it has sent what
    // was not acknowledged, only `tcp_user_timeout` ends the wait: by default that takes a quarter of an hour.
    // All statements find their rows by key. Without statistics the planner could choose to read a whole table.
    format!(
        "SET search_path TO {schema}; SET synchronous_commit TO {commit}; SET lock_timeout TO {lock}; \
         SET statement_timeout TO 0; SET idle_in_transaction_session_timeout TO 0; \
         SET enable_seqscan TO off; SET enable_hashjoin TO off; SET enable_mergejoin TO off; \
         SET plan_cache_mode TO force_generic_plan; SET jit TO off; SET client_min_messages TO warning; \
         SET tcp_keepalives_idle TO 5; SET tcp_keepalives_interval TO 2; SET tcp_keepalives_count TO 3; \
         SET tcp_user_timeout TO 11000",
        schema = quoted(&options.schema),
        lock = options.lock_timeout.as_millis().clamp(1, 1 << 30),
    )
}

/// A connection in use. It returns to the pool when it is dropped, without its transaction.
pub(crate) struct Pooled {
    server: Arc<Server>,
    /// `None` only while it is dropped.
    connection: Option<Connection>,
    in_transaction: bool,
}

impl Pooled {
    /// Begins a transaction with `sql`, together with the next call, which fails if the beginning does.
    pub(crate) fn begin(&mut self, sql: impl Into<String>) {
        self.roll_back();
        self.begin_next(sql.into());
        self.in_transaction = true;
    }

    /// The transaction has ended.
    pub(crate) fn ended(&mut self) {
        self.in_transaction = false;
    }

    fn roll_back(&mut self) {
        if std::mem::take(&mut self.in_transaction) && !self.forget_beginning() {
            self.send("ROLLBACK");
        }
    }
}

impl Deref for Pooled {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        // Set until the value is dropped.
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("a connection was used after it was given back"),
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if !self.server.process.is_current() {
            std::mem::forget(self.connection.take());
            return;
        }
        self.roll_back();
        if let Some(connection) = self.connection.take() {
            self.server.put_back(connection);
        }
    }
}
