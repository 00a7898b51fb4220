//! The stores of the suite's tests, on a server that all tests of this process share. See `tests/suite/hosts.rs`.

use crate::support::named;
use postgres_tests::cluster::Cluster;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::management::{RuntimeBackendKind, RuntimeLimits, RuntimeOptions};
use redb_runtime_store::store::Writers;
use redb_runtime_store::{PostgresOptions, Runtime, Store};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// The repository.
pub(crate) const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The small directory of the fixtures.
pub(crate) const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/small");

/// The highest number of an event or entry: a column `int8` is signed. The only difference between the engines.
pub(crate) const HIGHEST: u64 = i64::MAX as u64;

/// Ends with this process: the cluster's own process sees to that.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(Cluster::single);

/// The number of cases of a random test that has `cases` in the suite. A commit takes a sync and three round trips.
pub(crate) fn cases(cases: u32) -> u32 {
    cases.div_ceil(20)
}

/// A new store, which need not outlive its last handle.
pub(crate) fn fresh() -> Store {
    // Random operations open work, which needs one writer.
    Place::new().open_for(Writers::OnePerRuntime)
}

/// A place for a store that can be closed and opened again: a schema of the server.
pub(crate) struct Place {
    schema: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            schema: format!("store_{number}"),
        }
    }

    /// Connects to the store, or creates it.
    pub(crate) fn open(&self) -> Store {
        self.open_for(Writers::Many)
    }

    fn open_for(&self, writers: Writers) -> Store {
        let options = PostgresOptions::new(CLUSTER.url()).schema(&self.schema);
        let options = options.writers(writers);
        // Many tests run at the same time: together they must not use up the connections of the server.
        Store::connect(options.max_connections(8)).unwrap()
    }
}

/// The kind of store of a test's runtime. A test that names a file or the memory runs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    InMemory,
    InFile,
    OnServer,
    /// On the server, with leases.
    Leased,
}

impl Kept {
    /// The kinds that a test of every kind runs on here.
    pub(crate) const ALL: &[Self] = &[Self::OnServer];

    /// A kind that can be closed and opened again.
    pub(crate) const LASTING: Self = Self::OnServer;

    /// A kind that lasts and whose runtimes one process at a time writes to.
    pub(crate) const ONE_WRITER: Self = Self::Leased;

    /// Whether one process at a time writes to a runtime: only then work can be open, and a fork can take several commits.
    pub(crate) fn has_one_writer(self) -> bool {
        self != Self::OnServer
    }

    pub(crate) fn backend(self) -> RuntimeBackendKind {
        match self {
            Self::InMemory => RuntimeBackendKind::Memory,
            Self::InFile => RuntimeBackendKind::RedbStore,
            Self::OnServer | Self::Leased => RuntimeBackendKind::PostgresStore,
        }
    }
}

/// A runtime in a store of one of the kinds.
pub(crate) struct Host {
    pub(crate) kept: Kept,
    pub(crate) runtime: Runtime,
    id: RuntimeId,
    place: Place,
    directory: TempDir,
}

impl Host {
    pub(crate) fn new(kept: Kept, options: RuntimeOptions) -> Self {
        let (place, directory) = (Place::new(), tempfile::tempdir().unwrap());
        let store = match kept {
            Kept::InMemory => Store::in_memory().unwrap(),
            Kept::InFile => Store::open(directory.path().join("store.redb")).unwrap(),
            Kept::OnServer => place.open(),
            Kept::Leased => place.open_for(Writers::OnePerRuntime),
        };
        let runtime = store.runtime(options).unwrap();
        Self {
            kept,
            id: runtime.runtime_id().unwrap(),
            runtime,
            place,
            directory,
        }
    }

    /// Closes the store and opens it again, with options that must not override the stored ones. A
    /// store in memory stays open.
    pub(crate) fn reopen(&mut self) {
        let store = self.runtime.store().clone();
        let store = match self.kept {
            Kept::InMemory => store,
            Kept::InFile => {
                store.close().unwrap();
                Store::open(self.directory.path().join("store.redb")).unwrap()
            }
            Kept::OnServer => {
                store.close().unwrap();
                self.place.open()
            }
            Kept::Leased => {
                store.close().unwrap();
                self.place.open_for(Writers::OnePerRuntime)
            }
        };
        let options = RuntimeOptions {
            display_name: Some("not the stored name".to_owned()),
            limits: RuntimeLimits {
                max_transcript_projection_items: 99_999,
                max_event_batch_items: 99_999,
            },
            ..named(self.id.as_str())
        };
        self.runtime = store.runtime(options).unwrap();
    }
}

/// Runs `test` with a runtime `r` on the server.
pub(crate) fn on_both(test: impl Fn(&mut Host)) {
    for &kept in Kept::ALL {
        test(&mut Host::new(kept, named("r")));
    }
}

/// Runs `test` with a runtime `r` that one process at a time writes to.
pub(crate) fn on_one_writer(test: impl Fn(&mut Host)) {
    test(&mut Host::new(Kept::ONE_WRITER, named("r")));
}
