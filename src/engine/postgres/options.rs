//! Options for connecting to a store in a PostgreSQL database.

use crate::commit::clock::Clock;
use crate::engine::postgres::planted::Planted;
#[cfg(feature = "fault-injection")]
use crate::engine::postgres::planted::PlantedServerBug;
use crate::ledger::opening::Guards;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Hosts renew a lease within a third of it.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a commit waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The disk of the server (`synchronous_commit = local`). Fail-over to a standby can lose the last commits.
    #[default]
    Local,
    /// The disks of the server and of its synchronous standby (`synchronous_commit = on`). Connecting is refused while
    /// `synchronous_standby_names` of the server is empty. If an operator sets it to nothing later, the commits under way are
    /// [`CommitUncertain`](crate::RuntimeError::CommitUncertain), unless it is set again in time.
    Replicated,
    /// As [`Replicated`](Self::Replicated), until the standby shows the commit to its readers
    /// (`synchronous_commit = remote_apply`).
    Applied,
}

/// Which hosts may write to one runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Writers {
    /// Any number at the same time. Each operation locks its runtime.
    #[default]
    Many,
    /// One at a time: the first operation on a runtime takes a lease on it, which the store renews until it is closed.
    /// Other hosts get [`StoreLocked`](crate::RuntimeError::StoreLocked). So does a host that lost its lease, because it was
    /// paused or cut off for longer than the lease lasts: it writes nothing more to that runtime until it connects again.
    OnePerRuntime,
}

/// Options for connecting to a store in a PostgreSQL database; see [`Store::connect`](crate::Store::connect).
///
/// # What a store on PostgreSQL promises
///
/// An operation that returned `Ok` is committed, and replicated where [`Durability::Replicated`] is asked. Operations of all
/// threads share commits, as in a file. Any number of hosts may write to one runtime: each operation has its runtime
/// locked from its first read to its commit, so ids have no gaps, and a closure runs once.
///
/// If the connection is lost or the server undoes a transaction, the operation is written again, provided that no other
/// host changed the runtime meanwhile; otherwise it fails with [`StoreConflict`](crate::RuntimeError::StoreConflict) and
/// changed nothing. A commit whose answer is lost is looked up by its token. It is uncertain only if no server answers
/// within [`outage_timeout`](Self::outage_timeout), and the store can be used afterwards.
///
/// A store on PostgreSQL differs from one in a file:
///
/// - Numbers are at most `i64::MAX`. A greater id or position is `InvalidRequest`.
/// - Submitted operations run on a background thread, as with [`ManyWriters`](crate::store::Sharing::ManyWriters).
/// - Followers see commits of other hosts after 20 milliseconds, and after up to 160 where nothing was committed for
///   seconds.
/// - `compact` is `InvalidRequest`: the server does this itself. A verification copies the store to a temporary file.
/// - A snapshot holds a connection, and keeps the server from removing old rows.
///
/// It was tested on PostgreSQL 15. The SQL keeps to plain statements; it was not run on CockroachDB or YugabyteDB.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(crate) url: String,
    pub(crate) schema: String,
    pub(crate) password: Option<String>,
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) durability: Durability,
    pub(crate) writers: Writers,
    pub(crate) lease: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) lock_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) outage_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) root_certificates: Option<PathBuf>,
    pub(crate) clock: Clock,
    pub(crate) guards: Guards,
    pub(crate) planted: Planted,
}

/// Shows no part of the address: it can have a password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("schema", &self.schema)
            .field("create", &self.create)
            .field("read_only", &self.read_only)
            .field("durability", &self.durability)
            .field("writers", &self.writers)
            .finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// Options with the address of a server: `postgres://user:password@host1,host2/database`, with the port after a host
    /// where it is not 5432.
    ///
    /// With several hosts, writers connect to the one that takes writes: after a fail-over that is the former standby.
    ///
    /// Connections are encrypted, and the certificate and the name of the server are verified (`sslmode=verify-full`). They
    /// are not encrypted where all hosts are this machine, and with `?sslmode=disable`. `sslrootcert=FILE` names the
    /// certificates to trust, as [`root_certificates`](Self::root_certificates) does.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "runtimes".to_owned(),
            password: None,
            create: true,
            read_only: false,
            durability: Durability::default(),
            writers: Writers::default(),
            lease: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(10),
            outage_timeout: Duration::from_secs(30),
            max_connections: 16,
            root_certificates: None,
            clock: Clock::default(),
            guards: Guards::default(),
            planted: Planted::default(),
        }
    }

    /// The password, if the address has none.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The schema of the database that has the tables of the store. `runtimes` by default. One schema is one store.
    #[must_use]
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Whether to create the schema and its tables if they do not exist. `true` by default.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether the handle only reads. It also connects to a standby. `false` by default.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// What a commit waits for. The disk of the server by default.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Which hosts may write to one runtime. Any number by default.
    #[must_use]
    pub fn writers(mut self, writers: Writers) -> Self {
        self.writers = writers;
        self
    }

    /// How long a lease lasts by the clock of the server, unless it is renewed; see [`Writers::OnePerRuntime`]. 10 seconds
    /// by default, at least a tenth of a second and at most a day.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.clamp(SHORTEST_LEASE, LONGEST_LEASE);
        self
    }

    /// How long to wait for each host to accept a connection. 5 seconds by default. A host that accepts it and does not begin
    /// the session, such as a stopped server, is given up after twice that time; then the next one is tried.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an operation waits for another host that has the same runtime locked, before it fails with
    /// [`StoreBusy`](crate::RuntimeError::StoreBusy). 10 seconds by default.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// After what time the server ends a transaction of a host that is paused within it, so that others can write. 10
    /// seconds by default.
    ///
    /// A host that lost its connection within a commit has to wait for the end of that transaction. So this is well below
    /// [`outage_timeout`](Self::outage_timeout). A bulk load may pause for ten minutes. If the machine of a host is gone, the
    /// server finds out within 11 seconds. A process that is stopped while it sends a large request, on a machine that is
    /// there, keeps its locks until it continues, or an administrator ends its session.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// How long an operation waits for the server: for an answer, and during an outage for a server that takes writes. 30
    /// seconds by default.
    ///
    /// A commit whose answer is lost is settled within this time. Only if that fails, the operation returns
    /// [`CommitUncertain`](crate::RuntimeError::CommitUncertain). The store can be used afterwards.
    #[must_use]
    pub fn outage_timeout(mut self, timeout: Duration) -> Self {
        self.outage_timeout = timeout;
        self
    }

    /// The most connections of the readers of this handle. Each snapshot holds one. 16 by default. Two more are for writing.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(2);
        self
    }

    /// A file with the certificates, in PEM, that the certificate of the server must come from. Without it these are the
    /// certificates of the Web.
    #[must_use]
    pub fn root_certificates(mut self, path: impl Into<PathBuf>) -> Self {
        self.root_certificates = Some(path.into());
        self
    }

    /// As [`StoreOptions::clock`](crate::store::StoreOptions::clock).
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Clock::of(now);
        self
    }

    /// Plants a bug.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    #[must_use]
    pub fn plant(mut self, bug: PlantedServerBug) -> Self {
        self.planted = Planted::some(bug);
        self
    }

    /// As [`StoreOptions::max_entry_bytes`](crate::store::StoreOptions::max_entry_bytes).
    #[must_use]
    pub fn max_entry_bytes(mut self, bytes: u64) -> Self {
        self.guards.max_entry_bytes = Some(bytes);
        self
    }
}
