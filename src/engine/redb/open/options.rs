//! How to open a store.

use crate::engine::redb::database::sharing::Sharing;
#[cfg(feature = "fault-injection")]
use crate::engine::redb::file::watched::{FileAccess, OnAccess, WatchedFile};
use crate::engine::redb::schema::version::Schema;
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::fmt;
#[cfg(feature = "fault-injection")]
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// Told how far a repair has come, from 0 to 1; can stop it.
pub(crate) type OnRepair = Arc<dyn Fn(f64) -> ControlFlow<()> + Send + Sync>;

/// Options for opening a store, from [`Store::options`](crate::Store::options).
#[derive(Clone)]
pub struct StoreOptions {
    pub(crate) cache_bytes: usize,
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) sharing: Sharing,
    pub(crate) lock_timeout: Duration,
    pub(crate) verify_on_open: bool,
    pub(crate) check_pages: bool,
    pub(crate) on_repair: Option<OnRepair>,
    pub(crate) backup_before_migration: bool,
    pub(crate) migrate: bool,
    pub(crate) schema: Schema,
    #[cfg(feature = "fault-injection")]
    on_access: Option<OnAccess>,
    #[cfg(feature = "fault-injection")]
    pub(crate) one_phase: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            create: true,
            read_only: false,
            sharing: Sharing::default(),
            lock_timeout: Duration::ZERO,
            verify_on_open: false,
            check_pages: true,
            on_repair: None,
            backup_before_migration: true,
            migrate: true,
            schema: Schema::default(),
            #[cfg(feature = "fault-injection")]
            on_access: None,
            #[cfg(feature = "fault-injection")]
            one_phase: false,
        }
    }
}

impl StoreOptions {
    /// The memory that redb may use for pages of the file, in bytes. 64 MiB by default.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Whether to create the store where there is nothing at the path. `true` by default.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether to open for reading only; such a store is never created, repaired or migrated.
    /// `false` by default.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// How processes share the file. [`Sharing::OneWriter`] by default.
    ///
    /// Where this process has the store open already, the open gives another handle of it, which is
    /// shared as it was opened first; so are its cache and whether it checks pages.
    #[must_use]
    pub fn sharing(mut self, sharing: Sharing) -> Self {
        self.sharing = sharing;
        self
    }

    /// How long to wait for another process that has the store open or, for who only reads, that
    /// repairs it. Zero by default.
    ///
    /// An open of the same file that is under way in this process, with its repair, is waited for in
    /// any case: it is the same store.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Whether to verify every page's checksum on opening, which reads the whole file and is not
    /// done when opening read-only. `false` by default.
    ///
    /// A store that this process has open already is verified too, while its writers wait. Damage
    /// is refused then as well, and its other handles stay open.
    #[must_use]
    pub fn verify_on_open(mut self, verify: bool) -> Self {
        self.verify_on_open = verify;
        self
    }

    /// Whether to check each page that is read from the file against its checksum, so that a damaged
    /// one is [`StoreCorrupt`](crate::RuntimeError::StoreCorrupt) and never wrong data. `true` by default.
    ///
    /// Checked are the pages in the first 16 GiB of the file; with [`Sharing::ManyWriters`] only
    /// those that a read-only store reads. Without the check every value that is read still has its
    /// own checksum, but rows can be missing or be older ones, and pages that lead in a circle overflow
    /// redb's stack, which ends the process: for looking at what is left of a damaged store, read-only.
    #[must_use]
    pub fn check_pages(mut self, check: bool) -> Self {
        self.check_pages = check;
        self
    }

    /// Called while a store that was not closed cleanly is repaired, or verified on opening, with the
    /// progress from 0 to 1 in a few steps. Not called where there is nothing to walk: the commits of
    /// a large store save what a repair would rebuild.
    /// Where it returns [`ControlFlow::Break`], the repair is given up, the file is as it was, and
    /// opening fails with [`NeedsRepair`](crate::RuntimeError::NeedsRepair). It must not open the same store: that is
    /// refused.
    #[must_use]
    pub fn on_repair(
        mut self,
        on_repair: impl Fn(f64) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        self.on_repair = Some(Arc::new(on_repair));
        self
    }

    /// Whether to copy a store of an older schema to `<path>.v<N>.bak` before migrating it. `true`
    /// by default.
    #[must_use]
    pub fn backup_before_migration(mut self, backup: bool) -> Self {
        self.backup_before_migration = backup;
        self
    }

    /// Whether to migrate a store of an older schema. `true` by default; otherwise it is refused with
    /// [`StoreSchemaTooOld`](crate::RuntimeError::StoreSchemaTooOld) and not touched, not repaired either.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Migrates by these steps too, after the released ones. For tests of migrations.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    #[must_use]
    pub fn later_steps(mut self, steps: &'static [LaterStep]) -> Self {
        self.schema = Schema::with_later(steps);
        self
    }

    /// Calls `on_access` before each access of the file that a writer makes, but not while it is
    /// created; an error takes its place. For simulators of faults.
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

    /// The file that redb writes to.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn file(&self, file: FileBackend) -> impl StorageBackend {
        WatchedFile {
            file,
            on_access: self.on_access.clone(),
        }
    }

    /// The file that redb writes to.
    #[cfg(not(feature = "fault-injection"))]
    pub(crate) fn file(&self, file: FileBackend) -> impl StorageBackend {
        file
    }

    /// Commits in one phase, which is a bug. For what has to find it.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    #[must_use]
    pub fn one_phase(mut self) -> Self {
        self.sharing = Sharing::Exclusive;
        self.one_phase = true;
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
            .field("verify_on_open", &self.verify_on_open)
            .field("check_pages", &self.check_pages)
            .field("on_repair", &self.on_repair.is_some())
            .field("backup_before_migration", &self.backup_before_migration)
            .field("migrate", &self.migrate)
            .finish()
    }
}
