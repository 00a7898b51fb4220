//! The stores of the tests that run on every engine.
//!
//! The package `tests/postgres` compiles these tests too, with a module of this name whose stores are on a server. What is
//! named here is therefore all that they may know of where a store is.

use crate::support::{LONG, named, scratch};
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::management::{RuntimeBackendKind, RuntimeLimits, RuntimeOptions};
use redb_runtime_store::store::{Sharing, StoreOptions};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The repository.
pub(crate) const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The small directory of the fixtures.
pub(crate) const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/small");

/// The highest number of an event or entry.
pub(crate) const HIGHEST: u64 = u64::MAX;

/// The number of cases of a random test that has `cases`.
pub(crate) fn cases(cases: u32) -> u32 {
    cases
}

/// The distance of the places at which a file is cut off.
pub(crate) const CUT_STEP: usize = 1;

/// The number of random directories.
pub(crate) const DIRECTORIES: u64 = 20_000;

/// A new store, which need not outlive its last handle.
pub(crate) fn fresh() -> Store {
    Store::in_memory().unwrap()
}

/// A place for a store that can be closed and opened again.
pub(crate) struct Place {
    path: PathBuf,
    _directory: Option<TempDir>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let (directory, path) = scratch();
        Self {
            path,
            _directory: Some(directory),
        }
    }

    /// The place of a store of another process.
    pub(crate) fn at(address: &Path) -> Self {
        Self {
            path: address.to_owned(),
            _directory: None,
        }
    }

    /// What another process needs to open the store.
    pub(crate) fn address(&self) -> &Path {
        &self.path
    }

    /// A place with a copy of the redb file at `path`.
    pub(crate) fn of_file(path: &Path) -> Self {
        let place = Self::new();
        std::fs::copy(path, &place.path).unwrap();
        place
    }

    /// A place with a copy of `store`.
    pub(crate) fn copy_of(store: &Store) -> Self {
        let place = Self::new();
        store.backup(&place.path).unwrap();
        place
    }

    /// Opens the store, or creates it, as the only process that writes to it.
    pub(crate) fn open_alone(&self) -> Store {
        self.open()
    }

    /// Opens the store, or creates it.
    pub(crate) fn open(&self) -> Store {
        self.open_with(Self::options())
    }

    /// Opens the store for reading only, as another process does.
    pub(crate) fn open_read_only(&self) -> Store {
        self.open_with(Self::options().read_only(true))
    }

    pub(crate) fn options() -> Options {
        Store::options()
    }

    /// Options with which several processes may write.
    pub(crate) fn many_writers() -> Options {
        Self::options()
            .sharing(Sharing::ManyWriters)
            .lock_timeout(LONG)
    }

    pub(crate) fn open_with(&self, options: Options) -> Store {
        options.open(&self.path).unwrap()
    }

    /// Whether any row of the store has `text`, after it was compacted.
    pub(crate) fn has_text(&self, store: &Store, text: &str) -> bool {
        store.compact().unwrap();
        let bytes = std::fs::read(&self.path).unwrap();
        memchr::memmem::find(&bytes, text.as_bytes()).is_some()
    }
}

/// Options for opening a store. Of those of a file that is used which each engine has.
pub(crate) type Options = StoreOptions;

/// How hosts share a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    OneWriter,
    ManyWriters,
    Exclusive,
    InMemory,
}

impl Shared {
    pub(crate) const ALL: &[Self] = &[
        Self::OneWriter,
        Self::ManyWriters,
        Self::Exclusive,
        Self::InMemory,
    ];

    /// With one writer to a runtime.
    pub(crate) const ONE_WRITER: Self = Self::OneWriter;

    /// Where a background thread alone runs what is submitted, and calls wakers.
    pub(crate) const IN_BACKGROUND: &[Self] = &[Self::ManyWriters];

    /// Where a thread that writes or waits may run what others submitted.
    pub(crate) const BY_CALLERS: &[Self] = &[Self::OneWriter, Self::Exclusive, Self::InMemory];

    pub(crate) fn open(self, place: &Place) -> Result<Store, RuntimeError> {
        let sharing = match self {
            Self::OneWriter => Sharing::OneWriter,
            Self::ManyWriters => Sharing::ManyWriters,
            Self::Exclusive => Sharing::Exclusive,
            Self::InMemory => return Store::in_memory(),
        };
        Place::options().sharing(sharing).open(&place.path)
    }
}

/// The kind of store of a test's runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    InMemory,
    InFile,
}

impl Kept {
    /// Every kind.
    pub(crate) const ALL: &[Self] = &[Self::InMemory, Self::InFile];

    /// A kind that can be closed and opened again.
    pub(crate) const LASTING: Self = Self::InFile;

    /// A kind that lasts and that one process at a time writes to.
    pub(crate) const ONE_WRITER: Self = Self::InFile;

    /// Whether one process at a time writes to the store: only then work can be open, and a fork can take several commits.
    pub(crate) fn has_one_writer(self) -> bool {
        true
    }

    pub(crate) fn backend(self) -> RuntimeBackendKind {
        match self {
            Self::InMemory => RuntimeBackendKind::Memory,
            Self::InFile => RuntimeBackendKind::RedbStore,
        }
    }
}

/// A runtime in a store of one of the kinds.
pub(crate) struct Host {
    pub(crate) kept: Kept,
    pub(crate) runtime: Runtime,
    id: RuntimeId,
    place: Place,
}

impl Host {
    pub(crate) fn new(kept: Kept, options: RuntimeOptions) -> Self {
        let place = Place::new();
        let store = match kept {
            Kept::InMemory => fresh(),
            Kept::InFile => place.open(),
        };
        let runtime = store.runtime(options).unwrap();
        Self {
            kept,
            id: runtime.runtime_id().unwrap(),
            runtime,
            place,
        }
    }

    /// Closes the store and opens it again, with options that must not override the stored ones. A
    /// store in memory stays open.
    pub(crate) fn reopen(&mut self) {
        let store = match self.kept {
            Kept::InMemory => self.runtime.store().clone(),
            Kept::InFile => {
                self.runtime.store().close().unwrap();
                self.place.open()
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

/// Runs `test` with a runtime `r` of each kind of store.
pub(crate) fn on_both(test: impl Fn(&mut Host)) {
    for &kept in Kept::ALL {
        println!("kept {kept:?}");
        test(&mut Host::new(kept, named("r")));
    }
}

/// Runs `test` with a runtime `r` of each kind of store that one process at a time writes to.
pub(crate) fn on_one_writer(test: impl Fn(&mut Host)) {
    on_both(test);
}
