//! One redb file that holds any number of runtimes.
//!
//! # Durability
//!
//! An operation has returned `Ok` only when its commit is on disk. Every operation is one
//! transaction: its events, entries, snapshots and counters are there together, or not at all.
//! Commits have two phases (two syncs): after a failed sync, one-phase commits can leave a file
//! that no longer opens.
//!
//! When a commit fails on I/O its outcome is unknown: the operation returns
//! [`RuntimeError::CommitUncertain`], and every later one [`RuntimeError::StoreFailed`], until
//! the store is opened again. Opening it shows the operation wholly there, or not at all.
//!
//! # Locking
//!
//! One process writes; others may open the file read-only meanwhile and follow its commits
//! ([`Sharing`]). Within a process all opens of a file for writing give the same store, which serves
//! later opens for reading too ([`Store::open_read_only`]), and operations of all threads share
//! commits. The locks are the system's byte-range locks, so they end with their
//! process, and network file systems that do not have them are not supported.
//!
//! # Opening after a kill
//!
//! redb rebuilds its record of free pages by walking the file, which takes seconds for each GB. So
//! commits to a file of 64 MiB or more save that record, and opening takes well under a second at any
//! size.
//!
//! # Space
//!
//! Replaced pages are used again, but not while somebody reads a state that still has them: a
//! [`Snapshot`] that is kept lets the file grow. [`Store::census`] names who reads old states,
//! [`Store::compact`] gives free space back to the system, and [`Store::backup`] copies without it.
//!
//! # Compatibility
//!
//! The file carries a schema version. A store of an older version is copied to `<path>.v<N>.bak` and
//! migrated, in one transaction, when it is opened for writing. A store of a newer version, and
//! whatever is not a store, is refused and never touched.
//!
//! # Damage
//!
//! Every page that is read from the file is checked against its checksum
//! ([`StoreOptions::check_pages`]), and every value has a version and a checksum of its own. A damaged
//! page is [`RuntimeError::StoreCorrupt`] for whoever needs it; the rest of the store can be read, and
//! [`Store::verify`] lists what is damaged.
//!
//! # Memory
//!
//! Nothing of the runtimes is held in memory but redb's cache of pages
//! ([`StoreOptions::cache_bytes`]), and 9 bytes for each page of the file to check it by, 36 MiB at
//! most.

mod backend;
mod backup;
mod bulk;
mod census;
mod commit;
mod compact;
mod context;
mod convert;
mod failure;
mod follow;
mod gather;
mod lock_holder;
mod log_rows;
mod migrate;
mod open;
mod options;
mod page_check;
mod page_layout;
mod page_sums;
mod page_walk;
mod pending;
mod persisted;
mod progress;
mod projection;
mod read;
mod record;
mod registry;
mod runtime_store;
mod schema;
mod shared;
mod snapshot;
mod staged_file;
mod tables;
mod trace;
mod transaction;
mod verify;
mod verify_damage;
mod verify_orphans;
mod verify_rules;
mod walk;
#[cfg(feature = "fault-injection")]
mod watched;

pub use backup::{BackupOptions, BackupReport};
pub use bulk::BulkLoad;
pub use census::{
    Census, CensusOptions, ReaderCensus, RuntimeCensus, TableCensus, Tally, WorkerCensus,
};
pub use compact::CompactReport;
pub use log_rows::{BorrowedEntry, BorrowedEvent, BorrowedRef, EventRun, TranscriptRun};
pub use migrate::MigrationPlan;
pub use options::{Sharing, StoreOptions};
pub use pending::Pending;
pub use persisted::{
    ImportRecord, PersistedRuntimeSnapshot, PersistedRuntimeState, PersistedWorkerSnapshot, Stored,
    UnknownMember,
};
pub use progress::RowProgress;
pub use runtime_store::{RedbRuntimeStore, RuntimeStoreTransaction};
pub use snapshot::Snapshot;
pub use verify::{VerifyFinding, VerifyKind, VerifyOptions, VerifyReport};
#[cfg(feature = "fault-injection")]
#[doc(hidden)]
pub use watched::FileAccess;

pub(crate) use context::At;
pub(crate) use read::Rows;
pub(crate) use shared::Shared;
pub(crate) use transaction::Transaction;
pub(crate) mod rows {
    //! What the rules of the model need of the store: records, their conversions, bounded reads.
    pub(crate) use super::convert::{
        diagnostic_record, event_record, limits, runtime_records, size, stored_size,
        transcript_record, worker_record, worker_snapshot,
    };
    pub(crate) use super::projection::{
        read_events, read_transcript, refuse_foreign, refuse_foreign_cursor, worker_row,
    };
    pub(crate) use super::read::PAGE_ROWS;
    pub(crate) use super::record::{RuntimeRecord, WorkerRecord};
    pub(crate) use super::runtime_store::row as runtime_row;
    pub(crate) use super::snapshot::{all_diagnostics, all_runtimes, all_workers};
}

use crate::error::RuntimeError;
use crate::model::identity::RuntimeId;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// An open store. Clones are handles of the same store; it closes when the last is dropped, or for
/// all of them by [`close`](Self::close).
///
/// What is opened while this process has the file open for writing is a handle of that store too, also
/// with [`read_only`](StoreOptions::read_only): as long as it is kept, the store stays open for
/// writing, and no other process gets it.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    read_only: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path())
            .field("read_only", &self.read_only)
            .finish()
    }
}

impl Store {
    pub(crate) fn new(shared: Arc<Shared>, read_only: bool) -> Self {
        Self { shared, read_only }
    }

    /// Opens the store at `path` for reading and writing; creates it, with mode 0600, where there
    /// is nothing. A crash while it is created leaves nothing at the path, or a whole store. It can
    /// leave a directory `.NAME.partial-XXXXXX` beside it, with six letters or digits, which the next
    /// open for writing removes.
    ///
    /// # Errors
    ///
    /// | at the path | error |
    /// |---|---|
    /// | a directory, an empty or other file, a redb file of another program | `NotAStore` |
    /// | a store of a newer schema | `StoreSchemaTooNew` |
    /// | a store that another process has open | `StoreLocked` |
    /// | a damaged store | `StoreCorrupt` |
    /// | a dangling symbolic link, anything the system refuses | `StoreIo` |
    /// | nothing, and the path ends in `/` or `/.`: it names no file | `StoreIo` |
    ///
    /// Whatever is refused is not touched.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        Self::options().open(path)
    }

    /// Opens the store at `path` for reading only, also while another process writes to it, whose
    /// commits it follows.
    ///
    /// Where this process writes to the file already, this is a read-only handle of that store.
    /// Opened first it is a store of its own, as in another process, and stays one when the process
    /// opens the file for writing later: each is closed by itself, and an open with
    /// [`Sharing::Exclusive`] is refused (`StoreLocked`) until this one is closed. A host that does
    /// both opens for writing first.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); `StoreMissing` where there is nothing, `NeedsRepair` for a store
    /// that was not closed cleanly and that nobody writes to, `StoreLocked` while another process
    /// repairs it.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        Self::options().read_only(true).open(path)
    }

    /// A new store in memory: the same code without a file. Gone when the last handle is dropped.
    ///
    /// # Errors
    ///
    /// `StoreIo` where the system has no random numbers.
    pub fn in_memory() -> Result<Self, RuntimeError> {
        open::in_memory()
    }

    /// How to open a store in any other way.
    #[must_use]
    pub fn options() -> StoreOptions {
        StoreOptions::default()
    }

    /// The path that the store was opened at.
    pub fn path(&self) -> &Path {
        self.shared.path()
    }

    /// Whether the path that the store was opened at still leads to the file that is open. A file that was moved away, or in
    /// whose place another one was put, is still read, and nobody who opens the path writes to it.
    /// `true` in memory, and where files have no identity.
    pub fn is_in_place(&self) -> bool {
        self.shared.file().is_none() || self.shared.file_path().is_ok()
    }

    /// Whether this handle refuses writes.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Closes the store for every handle, also other clones: what they do then is
    /// [`RuntimeError::StoreClosed`]. Operations under way end first, also those that were submitted
    /// and that nobody waits for. The file is free when this returns. Closing it again is no error. A
    /// store that was opened read-only before this process opened it for writing is another one: see
    /// [`open_read_only`](Self::open_read_only).
    ///
    /// # Errors
    ///
    /// `StoreIo` where closing fails; everything acknowledged is on disk all the same.
    /// `InvalidRequest`, with nothing closed, from within a transaction, and from a waker where
    /// [`Sharing::ManyWriters`] has further submissions to run on the thread that called it.
    pub fn close(&self) -> Result<(), RuntimeError> {
        self.shared.close()
    }

    /// One moment of the store, for reading it whole.
    ///
    /// # Errors
    ///
    /// `StoreIo`, `StoreCorrupt`, `StoreClosed`.
    pub fn snapshot(&self) -> Result<Snapshot, RuntimeError> {
        Snapshot::new(self)
    }

    /// Runs `load` in one transaction of its own, while all other writers wait. When this returns
    /// `Ok`, all of it is on disk; after an error none of it is in the store.
    ///
    /// # Errors
    ///
    /// What `load` returns, and the errors of every write: `StoreReadOnly`, `StoreClosed`,
    /// `StoreFailed`, `StoreIo`, `StoreCorrupt`; `CommitUncertain` where it is unknown whether the
    /// load is in the store.
    pub fn bulk_load<T, E: From<RuntimeError>>(
        &self,
        load: impl FnOnce(&mut BulkLoad<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.refuse_read_only("load")?;
        let at = self.shared.at("load");
        self.shared.write_exclusively("load", |transaction| {
            let mut bulk = BulkLoad::new(transaction, at);
            let result = load(&mut bulk)?;
            bulk.finish()?;
            Ok(result)
        })
    }

    /// The persistence boundary of the runtime `id`, for hosts that keep their own runtime logic.
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound` where the store does not have it, and the errors of every read.
    pub fn runtime_store(&self, id: &RuntimeId) -> Result<RedbRuntimeStore, RuntimeError> {
        RedbRuntimeStore::new(self.clone(), id.clone())
    }

    pub(crate) fn refuse_read_only(&self, operation: &'static str) -> Result<(), RuntimeError> {
        if self.read_only {
            return Err(self.shared.at(operation).read_only());
        }
        Ok(())
    }

    /// Runs one operation; see [`Shared::write`].
    pub(crate) fn write<T>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.refuse_read_only(operation)?;
        self.shared.write(operation, run)
    }

    /// Runs one operation and leaves its commit to the background; see [`Shared::submit`].
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Pending<T> {
        match self.refuse_read_only(operation) {
            Ok(()) => self.shared.submit(operation, run),
            Err(error) => Pending::refused(operation, error),
        }
    }
}

/// 128 random bits in lower-case hex.
pub(crate) fn unique_id(at: At<'_>) -> Result<String, RuntimeError> {
    let mut bits = [0_u8; 16];
    getrandom::fill(&mut bits).map_err(|error| at.io(error.into()))?;
    Ok(bits
        .iter()
        .fold(String::with_capacity(32), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        }))
}
