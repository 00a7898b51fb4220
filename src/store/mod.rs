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
