//! The stores of the suite's tests, on a server that all tests of this process share. See `tests/suite/hosts.rs`.

use crate::support::{LONG, named};
use postgres_tests::cluster::Cluster;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::management::{RuntimeBackendKind, RuntimeLimits, RuntimeOptions};
use redb_runtime_store::store::{CopyOptions, Writers};
use redb_runtime_store::{PostgresOptions, Runtime, RuntimeError, Store};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, OnceLock};
use tempfile::TempDir;

/// The repository.
pub(crate) const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The small directory of the fixtures.
pub(crate) const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/small");

/// The highest number of an event or entry: a column `int8` is signed. The only difference between the engines.
pub(crate) const HIGHEST: u64 = i64::MAX as u64;

/// The tables that have records.
const TABLES: [&str; 9] = [
    "meta",
    "runtimes",
    "workers",
    "events",
    "transcripts",
    "diagnostics",
    "imports",
    "tombstones",
    "files",
];

/// Ends with this process: the cluster's own process sees to that.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(Cluster::single);

/// The server's address: that of the parent in a process that a test has started.
static URL: OnceLock<String> = OnceLock::new();

fn url() -> &'static str {
    URL.get_or_init(|| CLUSTER.url())
}

/// The number of cases of a random test that has `cases` in the suite. A commit takes a sync and three round trips.
pub(crate) fn cases(cases: u32) -> u32 {
    cases.div_ceil(20)
}

/// The distance of the places at which a file is cut off. Each cut is a store.
pub(crate) const CUT_STEP: usize = 151;

/// The number of random directories. Each is two stores.
pub(crate) const DIRECTORIES: u64 = 25;

/// A new store, which need not outlive its last handle.
pub(crate) fn fresh() -> Store {
    // Random operations open work, which needs one writer.
    Place::new().open_alone()
}

/// A place for a store that can be closed and opened again: a schema of the server.
pub(crate) struct Place {
    schema: String,
    /// The schema and the server, for other processes.
    address: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let schema = format!("store_{number}");
        let address = PathBuf::from(format!("{schema} {}", url()));
        Self { schema, address }
    }

    /// The place of a store of another process, whose server this process uses from here on.
    pub(crate) fn at(address: &Path) -> Self {
        let (schema, url) = address.to_str().unwrap().split_once(' ').unwrap();
        URL.get_or_init(|| url.to_owned());
        Self {
            schema: schema.to_owned(),
            address: address.to_owned(),
        }
    }

    /// What another process needs to connect to the store.
    pub(crate) fn address(&self) -> &Path {
        &self.address
    }

    /// A place with the content of the redb file at `path`.
    pub(crate) fn of_file(path: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("store.redb");
        std::fs::copy(path, &copy).unwrap();
        Self::copy_of(&Store::open(copy).unwrap())
    }

    /// A place with a copy of `store`.
    pub(crate) fn copy_of(store: &Store) -> Self {
        let place = Self::new();
        store.copy_to(&place.open(), &CopyOptions::new()).unwrap();
        place
    }

    /// Connects to the store, or creates it.
    pub(crate) fn open(&self) -> Store {
        self.open_with(Self::options())
    }

    /// Connects to the store for reading only, as another host does.
    pub(crate) fn open_read_only(&self) -> Store {
        self.open_with(Self::options().read_only(true))
    }

    pub(crate) fn options() -> Options {
        let options = PostgresOptions::new(url());
        // Many tests run at the same time: together they must not use up the connections of the server.
        options.max_connections(8)
    }

    /// Options with which several hosts may write.
    pub(crate) fn many_writers() -> Options {
        Self::options().lock_timeout(LONG)
    }

    pub(crate) fn open_with(&self, options: Options) -> Store {
        Store::connect(options.schema(&self.schema)).unwrap()
    }

    /// As [`open`](Self::open), as the only host that writes to its runtimes.
    pub(crate) fn open_alone(&self) -> Store {
        self.open_for(Writers::OnePerRuntime)
    }

    fn open_for(&self, writers: Writers) -> Store {
        self.open_with(Self::options().writers(writers))
    }

    /// Whether any record of the store, or its key, has `text`. The locks are not searched: they have the id of a runtime for
    /// good, as its versions go on.
    pub(crate) fn has_text(&self, _: &Store, text: &str) -> bool {
        let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
        TABLES.iter().any(|table| {
            let dump = format!(
                "SET xmlbinary = hex; SELECT table_to_xml('{}.{table}', true, false, '')",
                self.schema
            );
            CLUSTER.primary().ask(&dump).contains(&hex)
        })
    }
}

/// Options for connecting to a store.
pub(crate) type Options = PostgresOptions;

/// How hosts share a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    ManyWriters,
    OneWriterEach,
}

impl Shared {
    pub(crate) const ALL: &[Self] = &[Self::ManyWriters, Self::OneWriterEach];

    /// With one writer to a runtime.
    pub(crate) const ONE_WRITER: Self = Self::OneWriterEach;

    /// Where a background thread alone runs what is submitted, and calls wakers.
    pub(crate) const IN_BACKGROUND: &[Self] = Self::ALL;

    /// Where a thread that writes or waits may run what others submitted.
    pub(crate) const BY_CALLERS: &[Self] = &[];

    pub(crate) fn open(self, place: &Place) -> Result<Store, RuntimeError> {
        let writers = match self {
            Self::ManyWriters => Writers::Many,
            Self::OneWriterEach => Writers::OnePerRuntime,
        };
        let options = Place::options().writers(writers);
        Store::connect(options.schema(&place.schema))
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
    pub(crate) const ALL: &[Self] = &[Self::OnServer, Self::Leased];

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

/// Runs `test` with a runtime `r` on the server, with several writers and with leases.
pub(crate) fn on_both(test: impl Fn(&mut Host)) {
    for &kept in Kept::ALL {
        println!("kept {kept:?}");
        test(&mut Host::new(kept, named("r")));
    }
}

/// Runs `test` with a runtime `r` that one process at a time writes to.
pub(crate) fn on_one_writer(test: impl Fn(&mut Host)) {
    test(&mut Host::new(Kept::ONE_WRITER, named("r")));
}
