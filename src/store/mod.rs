//! A store: one redb file that contains any number of runtimes.
//!
//! # Durability
//!
//! An operation returns `Ok` only after its commit is on disk. Every operation is one transaction: its
//! events, entries, states and counters are committed atomically. Commits have two phases (two syncs):
//! after a failed sync, one-phase commits can leave a file that no longer opens.
//!
//! If a commit fails on I/O, its outcome is unknown. The operation returns
//! [`CommitUncertain`](crate::RuntimeError::CommitUncertain), and every later operation
//! [`StoreFailed`](crate::RuntimeError::StoreFailed), until the store is opened again. The opened store has
//! the operation completely or not at all.
//!
//! # Locking
//!
//! One process writes; other processes may open the file read-only at the same time and follow its
//! commits ([`Sharing`]). Within a process all opens of a file for writing return the same store, which
//! also serves later opens for reading ([`Store::open_read_only`]), and the operations of all threads
//! share commits. The locks are the system's byte-range locks, so they end with their process. Network
//! file systems without such locks are not supported.
//!
//! # Opening after a kill
//!
//! redb rebuilds its allocator state by walking the file, which takes seconds per GB. So commits to a file
//! of 64 MiB or more save the allocator state, and opening takes well under a second at any size.
//!
//! # Space
//!
//! Replaced pages are reused, except while a snapshot still needs them: a [`Snapshot`] that is held lets the
//! file grow. [`Store::census`] names the processes that hold snapshots, [`Store::compact`] returns free
//! space to the file system, and [`Store::backup`] makes a copy without free space.
//!
//! # Compatibility
//!
//! The file has a schema version. Opening a store of an older version for writing copies it to
//! `<path>.v<N>.bak`, then migrates it in one transaction. A store of a newer version, and any file that is
//! no store, is rejected and not changed.
//!
//! # Damage
//!
//! Every page is checked against its checksum when it is read from the file
//! ([`StoreOptions::check_pages`]), and every value has a version and a checksum of its own. An operation
//! that needs a damaged page returns [`StoreCorrupt`](crate::RuntimeError::StoreCorrupt); the rest of the
//! store can be read, and [`Store::verify`] lists the damage.
//!
//! # Memory
//!
//! The store holds no state of runtimes in memory, only redb's page cache ([`StoreOptions::cache_bytes`])
//! and 9 bytes for the check of each page of the file, at most 36 MiB.

pub(crate) mod bulk_load;
pub(crate) mod handle;
pub(crate) mod maintenance;
pub(crate) mod opening;
pub(crate) mod snapshot;

pub use crate::commit::pending::Pending;
pub use crate::engine::redb::database::sharing::Sharing;
#[cfg(feature = "fault-injection")]
#[doc(hidden)]
pub use crate::engine::redb::file::watched::FileAccess;
pub use crate::engine::redb::maintenance::backup::{BackupOptions, BackupReport};
pub use crate::engine::redb::maintenance::census::{
    Census, CensusOptions, ReaderCensus, RuntimeCensus, TableCensus, Tally, WorkerCensus,
};
pub use crate::engine::redb::maintenance::compact::CompactReport;
pub use crate::engine::redb::maintenance::progress::RowProgress;
pub use crate::engine::redb::maintenance::verify::options::VerifyOptions;
pub use crate::engine::redb::maintenance::verify::report::{
    VerifyFinding, VerifyKind, VerifyReport,
};
pub use crate::engine::redb::open::options::StoreOptions;
pub use crate::engine::redb::schema::migrate::MigrationPlan;
pub use crate::ledger::run::{EventRun, TranscriptRun};
pub use crate::model::borrowed::{BorrowedEntry, BorrowedEvent, BorrowedRef};
pub use crate::model::persisted::{
    ImportRecord, PersistedRuntimeSnapshot, PersistedRuntimeState, PersistedWorkerSnapshot, Stored,
    UnknownMember,
};
pub use bulk_load::BulkLoad;
pub use handle::Store;
pub use snapshot::Snapshot;
