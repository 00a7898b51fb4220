//! The options for opening a store.

use crate::commit::clock::Clock;
use crate::engine::redb::database::redb_engine::QUICK_REPAIR_BYTES;
use crate::engine::redb::database::sharing::Sharing;
use crate::engine::redb::file::planted::Planted;
#[cfg(feature = "fault-injection")]
use crate::engine::redb::file::planted::PlantedBug;
#[cfg(feature = "fault-injection")]
use crate::engine::redb::file::watched::{FileAccess, OnAccess, WatchedFile};
use crate::engine::redb::schema::version::Schema;
use crate::ledger::opening::Guards;
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::fmt;
#[cfg(feature = "fault-injection")]
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The repair callback: gets the progress from 0 to 1, and returns whether to continue.
pub(crate) type OnRepair = Arc<dyn Fn(f64) -> ControlFlow<()> + Send + Sync>;

/// How many syncs a commit takes. An acknowledged operation is on disk with either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitSyncs {
    /// One. A commit of more than 1 MiB of rows, and one that grows the file, takes two. After a power loss the
    /// next open reads the pages of the last two commits that they do not share, and returns to the
    /// commit before the last if that one is not complete: [`Store::recovery`](crate::Store::recovery) returns
    /// that.
    #[default]
    One,
    /// Two: the pages of a commit are on disk before the header names it. The last commit is
    /// then never in doubt.
    Two,
}

/// Options for opening a store, from [`Store::options`](crate::Store::options).
#[derive(Clone)]
pub struct StoreOptions {
    pub(crate) cache_bytes: usize,
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) sharing: Sharing,
    pub(crate) lock_timeout: Duration,
    pub(crate) commit_lock_timeout: Duration,
    pub(crate) recover_in_memory: bool,
    pub(crate) commit_syncs: CommitSyncs,
    pub(crate) verify_on_open: bool,
    pub(crate) check_pages: bool,
    pub(crate) on_repair: Option<OnRepair>,
    pub(crate) backup_before_migration: bool,
    pub(crate) migrate: bool,
    pub(crate) schema: Schema,
    /// The file size from which on commits save the allocator state, in bytes.
    pub(crate) quick_repair_from: u64,
    pub(crate) planted: Planted,
    pub(crate) clock: Clock,
    pub(crate) guards: Guards,
    /// Whether an open for writing finishes deletions that a crash interrupted.
    pub(crate) finish_deletions: bool,
    #[cfg(feature = "fault-injection")]
    on_access: Option<OnAccess>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            create: true,
            read_only: false,
            sharing: Sharing::default(),
            lock_timeout: Duration::ZERO,
            commit_lock_timeout: Duration::from_secs(30),
            recover_in_memory: false,
            commit_syncs: CommitSyncs::default(),
            verify_on_open: false,
            check_pages: true,
            on_repair: None,
            backup_before_migration: true,
            migrate: true,
            schema: Schema::default(),
            quick_repair_from: QUICK_REPAIR_BYTES,
            planted: Planted::default(),
            clock: Clock::default(),
            guards: Guards::default(),
            finish_deletions: true,
            #[cfg(feature = "fault-injection")]
            on_access: None,
        }
    }
}

impl StoreOptions {
    /// Sets the size of the page cache of redb, in bytes of memory. 64 MiB by default.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets whether the store is created if no file exists at the path. `true` by default.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets whether the store is opened for reading only. Such an open never creates, repairs or
    /// migrates a store. `false` by default.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets how processes share the file. [`Sharing::OneWriter`] by default.
    ///
    /// If this process already has the store open, the open returns another handle of it. The
    /// handle keeps the sharing, the cache and the page checks of the first open.
    #[must_use]
    pub fn sharing(mut self, sharing: Sharing) -> Self {
        self.sharing = sharing;
        self
    }

    /// Sets how long an open waits for another process: one that holds the lock of the store, or,
    /// for a read-only open, one that repairs it. Zero by default. After that time the open fails
    /// with [`StoreLocked`](crate::RuntimeError::StoreLocked).
    ///
    /// An open of the same file in this process, with its repair, is always waited for, without a
    /// limit: both opens return the same store.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// How long a commit, or a read, waits for a lock that another process holds on the file. 30 seconds by
    /// default. Such locks are held for microseconds, and the turn to write, with [`Sharing::ManyWriters`],
    /// for a commit: a longer wait means a process that is stopped, by a debugger or a freezer. Only a
    /// compaction in another process holds the first, and only a load or a long transaction the second, for
    /// longer: raise the limit where these take more than that.
    ///
    /// After the limit the operation fails with [`StoreLocked`](crate::RuntimeError::StoreLocked), which names
    /// the process that holds the lock, and nothing of the operation is in the store. A commit that had begun
    /// ends the store: open it again. An operation whose commit is synced is acknowledged in any
    /// case; readers in other processes see its rows when the next commit has the lock, at the latest. After
    /// one second of waiting the holder is reported to `tracing`.
    #[must_use]
    pub fn commit_lock_timeout(mut self, timeout: Duration) -> Self {
        self.commit_lock_timeout = timeout;
        self
    }

    /// Sets whether a read-only open of a store that was not closed cleanly reads it as a repair would
    /// leave it: for a full disk, a read-only mount, or a user who may not write. `false` by default: such
    /// an open fails with [`NeedsRepair`](crate::RuntimeError::NeedsRepair). An open for writing ignores
    /// this option. [`Store::recovered_in_memory`](crate::Store::recovered_in_memory) returns whether the
    /// store needed it.
    ///
    /// The store shows the last commit. Opening it does not read the whole file, writes nothing and takes
    /// no memory for the repair. The store excludes no process: a host can open the file, repair it and
    /// write to it, and this store follows its commits. While another process repairs the file, opening it
    /// fails with [`StoreLocked`](crate::RuntimeError::StoreLocked). With [`Sharing::Exclusive`] it fails
    /// with `NeedsRepair`, and so it does if another program made the last commit in one phase.
    #[must_use]
    pub fn recover_in_memory(mut self, recover: bool) -> Self {
        self.recover_in_memory = recover;
        self
    }

    /// Sets how many syncs a commit takes. [`CommitSyncs::One`] by default. With
    /// [`Sharing::ManyWriters`] every commit takes two.
    ///
    /// The files of both are the same: a store can be opened with either at any time.
    #[must_use]
    pub fn commit_syncs(mut self, syncs: CommitSyncs) -> Self {
        self.commit_syncs = syncs;
        self
    }

    /// Sets whether an open verifies the checksum of every page. It reads the whole file. A
    /// read-only open ignores this option. `false` by default.
    ///
    /// A store that this process has open already is verified too, while its writers wait. If a
    /// page is damaged, the open fails with [`StoreCorrupt`](crate::RuntimeError::StoreCorrupt),
    /// and the other handles stay open.
    #[must_use]
    pub fn verify_on_open(mut self, verify: bool) -> Self {
        self.verify_on_open = verify;
        self
    }

    /// Sets whether each page that is read from the file is checked against its checksum. A damaged
    /// page is then reported as [`StoreCorrupt`](crate::RuntimeError::StoreCorrupt), and never read
    /// as data. `true` by default.
    ///
    /// The check covers the pages in the first 16 GiB of the file; with [`Sharing::ManyWriters`]
    /// only the pages that a read-only store reads. Without it the checksum of each value is still
    /// verified, but rows can be missing or outdated, and a cycle of damaged pages overflows the
    /// stack of redb, which ends the process. Turn it off only to read the remains of a damaged
    /// store, read-only.
    #[must_use]
    pub fn check_pages(mut self, check: bool) -> Self {
        self.check_pages = check;
        self
    }

    /// Sets a callback for the repair of a store that was not closed cleanly, and for the
    /// verification on opening. It gets the progress from 0 to 1, in a few steps. It is not called
    /// if the repair needs no walk of the file: the commits of a large store save the state that a
    /// repair would rebuild.
    ///
    /// If the callback returns [`ControlFlow::Break`], the repair stops, the file stays unchanged,
    /// and the open fails with [`NeedsRepair`](crate::RuntimeError::NeedsRepair).
    ///
    /// The callback may read other stores. It must not open the same store, change a store or wait for
    /// one; such a call fails with [`InvalidRequest`](crate::RuntimeError::InvalidRequest). See
    /// [closures and callbacks](crate::guide::transactions#closures-and-callbacks).
    #[must_use]
    pub fn on_repair(
        mut self,
        on_repair: impl Fn(f64) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        self.on_repair = Some(Arc::new(on_repair));
        self
    }

    /// Sets whether a store of an older schema is copied to `<path>.v<N>.bak` before it is
    /// migrated, where `N` is its version. The copy is synced before the migration starts. `true`
    /// by default.
    #[must_use]
    pub fn backup_before_migration(mut self, backup: bool) -> Self {
        self.backup_before_migration = backup;
        self
    }

    /// Sets whether a store of an older schema is migrated. `true` by default. If not, an open for
    /// writing fails with [`StoreSchemaTooOld`](crate::RuntimeError::StoreSchemaTooOld); the file
    /// is neither repaired nor changed.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Sets the clock that dates events, transcript entries and changes; see
    /// [`RecordedEvent::recorded_at`](crate::observation::RecordedEvent::recorded_at). The system's clock by default.
    /// For tests and simulations.
    ///
    /// The clock runs inside each operation that changes the store: it may read stores, and must not change or wait
    /// for one; see [closures and callbacks](crate::guide::transactions#closures-and-callbacks). A time before 1970 or
    /// after the year 9999 is cut to these years. If this process already has the store open, the clock of the first
    /// open stays.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Clock::of(now);
        self
    }

    /// Sets the most bytes of a new transcript entry: its content, and its attributes as JSON. A larger one is rejected with
    /// [`EntryTooLarge`](crate::RuntimeError::EntryTooLarge). Imports and loads are not limited. No limit by default. If this
    /// process already has the store open, the limit of the first open stays.
    #[must_use]
    pub fn max_entry_bytes(mut self, bytes: u64) -> Self {
        self.guards.max_entry_bytes = Some(bytes);
        self
    }

    /// Sets the length of the file, in bytes, from which on the store takes no new worker, input, reply or fork: these are
    /// rejected with [`StoreFull`](crate::RuntimeError::StoreFull) before anything is written. Reading, stopping, deleting,
    /// pruning and compacting work. The file can exceed the limit by one growth, which can double it. Imports and loads are
    /// not limited. No limit by default. If this process already has the store
    /// open, the limit of the first open stays.
    #[must_use]
    pub fn max_store_bytes(mut self, bytes: u64) -> Self {
        self.guards.max_store_bytes = Some(bytes);
        self
    }

    /// Adds migration steps after the released ones. For tests of migrations.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    #[must_use]
    pub fn later_steps(mut self, steps: &'static [LaterStep]) -> Self {
        self.schema = Schema::with_later(steps);
        self
    }

    /// Opens the store as the release that wrote schema `version` does: it neither knows nor runs later steps.
    /// It does write rows of the newest version. For tests of migrations.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    #[must_use]
    pub fn earlier_release(mut self, version: u32) -> Self {
        self.schema = Schema::of_release(version);
        self
    }

    /// Leaves unfinished deletions to the writes. For tests of these.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    #[must_use]
    pub fn leave_deletions(mut self) -> Self {
        self.finish_deletions = false;
        self
    }

    /// Calls `on_access` before each access to the file, except while the file is
    /// created. If it returns an error, the access fails with that error. For simulations of
    /// faults.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    #[must_use]
    pub fn on_access(
        mut self,
        on_access: impl Fn(FileAccess) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.on_access = Some(Arc::new(on_access));
        self
    }

    /// The backend that redb writes to.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn file(&self, file: FileBackend) -> impl StorageBackend {
        WatchedFile {
            file,
            on_access: self.on_access.clone(),
        }
    }

    /// The backend that redb writes to.
    #[cfg(not(feature = "fault-injection"))]
    pub(crate) fn file(&self, file: FileBackend) -> impl StorageBackend {
        file
    }

    /// Plants a bug, so that simulations of faults can show that they find it.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    #[must_use]
    pub fn planted(mut self, bug: PlantedBug) -> Self {
        self.planted = Planted::some(bug);
        self
    }

    /// Sets the file size from which on commits save the allocator state of redb, in bytes. With 0 every
    /// commit does, and an open after a crash reads no page to repair the file. For simulations of faults.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    #[must_use]
    pub fn quick_repair_from(mut self, bytes: u64) -> Self {
        self.quick_repair_from = bytes;
        self
    }
}

/// A step of a migration, for tests of migrations.
#[cfg(feature = "fault-injection")]
type LaterStep = fn(&redb::WriteTransaction) -> Result<(), redb::Error>;

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("cache_bytes", &self.cache_bytes)
            .field("create", &self.create)
            .field("read_only", &self.read_only)
            .field("sharing", &self.sharing)
            .field("lock_timeout", &self.lock_timeout)
            .field("commit_lock_timeout", &self.commit_lock_timeout)
            .field("recover_in_memory", &self.recover_in_memory)
            .field("verify_on_open", &self.verify_on_open)
            .field("check_pages", &self.check_pages)
            .field("on_repair", &self.on_repair.is_some())
            .field("backup_before_migration", &self.backup_before_migration)
            .field("migrate", &self.migrate)
            .field("clock", &self.clock)
            .field("guards", &self.guards)
            .finish()
    }
}
