//! A durable store for the runtimes of AI workers: one redb file instead of a directory of JSON.
//!
//! A [`Runtime`] owns workers, and logs an event when one is created, accepts input or ends. Each worker
//! has a transcript: its inputs and its replies. A [`Store`] is one
//! [redb](https://docs.rs/redb) file that contains any number of runtimes. Every operation is one
//! transaction.
//!
//! ```
//! use redb_runtime_store::catalog::CreateWorkerRequest;
//! use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
//! use redb_runtime_store::{RedbRuntimeStoreOptions, Runtime, RuntimeError};
//!
//! fn main() -> Result<(), RuntimeError> {
//! #   // `agents.redb` is created in the working directory, which is a temporary one here.
//! #   let directory = tempfile::tempdir().unwrap();
//! #   std::env::set_current_dir(&directory).unwrap();
//!     // Opens the store, or creates it.
//!     let options = RedbRuntimeStoreOptions::new("agents.redb");
//!     let runtime = Runtime::with_redb_store(options)?;
//!
//!     // Each call is one transaction. It is on disk when the call returns.
//!     let detail = runtime.create_worker(CreateWorkerRequest::default())?;
//!     let worker = detail.worker_ref;
//!     runtime.send_input(&worker, WorkerInput::user("Hello!"))?;
//!     runtime.append_reply(&worker, "Hello! What can I do?")?;
//!
//!     // Both sides of the conversation.
//!     let query = TranscriptQuery::new(0, 10);
//!     for entry in runtime.transcript_projection(&worker, query)?.items {
//!         println!("{}: {}", entry.role, entry.content);
//!     }
//!
//!     // The log of the runtime.
//!     let start = runtime.event_cursor_from_start()?;
//!     for event in runtime.read_events(&start, 256)?.events {
//!         println!("{}: {}", event.id, event.message);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Guide
//!
//! A page for each task, in reading order ([`guide`] has a line about each):
//!
//! 1. Writing: [transactions](guide::transactions)
//! 2. Reading: [everything](guide::reading)
#![cfg_attr(feature = "search", doc = "   and [searching](guide::searching)")]
//! 3. Conversations: [replies](guide::replies), [following](guide::following)
//! 4. Removing: [deletion](guide::deletion), [retention](guide::retention)
//! 5. Failures: [after a crash](guide::after_a_crash), [errors](guide::errors),
//!    [testing a host](guide::testing_a_host)
//! 6. Directories of JSON: [porting a host](guide::from_the_directory_store),
//!    [moving over](guide::moving_over), [forms](guide::directory_forms)
//! 7. Operating: [for operators](guide::for_operators), [reports](guide::reports),
//!    [backups](guide::backup)
#![cfg_attr(
    feature = "postgres",
    doc = "8. Servers: [PostgreSQL](guide::postgres)"
)]
//!
//! [`Runtime`] documents the rules of the model, [`store`] the file.
//! [`RedbRuntimeStore`] is for hosts that have their own runtime logic. The model's types are
//! in [`identity`], [`catalog`], [`interaction`], [`management`], [`observation`] and
//! [`diagnostics`].
//!
//! # Guarantees
//!
//! `docs/reliability.md` of the repository names the tests of each, and lists the faults that were simulated.
//!
//! | guarantee | meaning |
//! |---|---|
//! | durability | an operation that returned `Ok` is on disk: it survives a crash, a kill and a power loss |
//! | atomicity | an operation, or a transaction of several, is stored completely or not at all |
//! | isolation | operations take effect one after the other; no operation returns rows that a crash could still undo |
//! | crash | creating a store, importing, exporting, migrating, compacting and backing up are atomic: a crash leaves the old state or the new one |
//! | failing disk | an error; no acknowledged operation is lost; the store works again after it is opened again |
//! | damage | a read of a damaged file returns correct data or an error; a file that cannot be opened is not changed (see the limits) |
//! | foreign files | a file that is no store, or that a newer version wrote, is rejected and not changed |
//! | older stores | every later version reads them: it copies the store, then migrates it in one transaction |
//! | concurrency | any number of threads; waiting operations share a commit |
//! | one process, one file | a fork can neither use nor unlock its parent's store; no operation is acknowledged in a file that was deleted or replaced; a stopped process delays others up to a limit, which loses nothing |
//! | other processes | they read committed snapshots while one process writes; a second writer is rejected; with [many writers](Sharing::ManyWriters) all processes may write |
//! | reads | a page costs one seek and its items, at any length of the log; no log is held in memory |
//! | maintenance | a backup, a census and a verification run while hosts write; writes wait only for the page check of a verification |
//! | deletion | a deletion is complete for every reader from its first commit on; a crash in the middle is completed by the next open; the id of a deleted worker is never used again |
//! | coming back | an input with a key is stored once, however often it is sent; work that a host that ended left open is listed, and closed work is not |
//! | moving | a runtime that was imported and not changed is exported byte for byte |
//!
//! # Limits
//!
//! - One row (an input, an event, a worker's request) has at most 512 MiB of text; more is
//!   [`InvalidRequest`](RuntimeError::InvalidRequest). A row is held in memory as a whole.
//! - A read returns at most the runtime's limits, 256 items unless set
//!   ([`Runtime::set_limits`]).
//! - An id has at most 64 KiB ([`identity::MAX_ID_BYTES`]); more is
//!   [`InvalidRequest`](RuntimeError::InvalidRequest).
//! - Text that was removed or replaced stays in free pages of the file until they are used again or cut off by
//!   [`Store::compact`]. A [backup](guide::backup) does not contain it. See [deletion](guide::deletion).
//! - An id longer than 126 bytes cannot be exported: its directory's name would have more than 255.
//! - By default one process writes. A commit takes a sync, which limits the speed of a single thread.
//! - The store relies on the system's byte-range locks and on its sync. Do not put a store on a network
//!   file system that does not support both.
//! - A deleted file is found by its number of links: not if it has another hard link, nor if NFS or FUSE
//!   keep it under a hidden name.
//! - Pages are checked in the first 16 GiB of a file, and not in processes that write with
//!   [`Sharing::ManyWriters`]. Values are always checked. After a crash, and while a store is open, one
//!   bit is not checked: the flag that selects the last commit.
//! - redb panics on some damaged pages. The crate catches the panic and returns
//!   [`StoreCorrupt`](RuntimeError::StoreCorrupt). In a program that is built with `panic = "abort"`, such
//!   damage ends the process.
//! - On a 32-bit machine, a count that does not fit is read as the largest number. Files have the same format
//!   on every machine: numbers have 64 bits.
//!
//! # Platforms
//!
//! - Linux, 64 bits: tested.
//! - macOS: type-checked for `x86_64-apple-darwin`, not tested.
//! - Windows: the build stops with an error. The crate needs the locks and the file system of Unix.
//!
//! # Features
//!
//! All are off by default. Without them the library depends on 27 crates, six of them only at build time; `search`
//! adds 4, `tracing` 3, `postgres` 63, `program` 63.
//!
//! - `program`: the program `runtime-store`. Install it with
//!   `cargo install redb-runtime-store --features program`.
//! - `search`: searching transcript entries and event messages for literals and regular expressions
//!   (`Runtime::search`, the module `search`). The feature `program` includes it.
//! - `tracing`: a span for each operation and an event for each commit, with its operations, bytes
//!   and microseconds, target `redb_runtime_store`.
//! - `postgres`: a store in a PostgreSQL database, which several hosts share (`Store::connect`, the page `postgres` of the
//!   guide).
//! - `fault-injection`: opens a store over a custom storage backend, and calls hooks at every change of
//!   the file system. For simulators of faults only; not covered by semantic versioning.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(windows)]
compile_error!(
    "redb-runtime-store does not support Windows: it needs the locks and the file system of Unix. \
     It is tested on Linux and type-checked for macOS."
);

mod commit;
mod engine;
pub mod error;
mod fs;
pub mod guide;
pub mod layout;
mod ledger;
mod model;

/// Retention: how much a store keeps.
///
/// See [the guide](crate::guide::retention).
pub mod retention {
    pub use crate::model::retention::{PruneOptions, PruneReport, Retention, RuntimePrune};
}

/// Searching the contents of transcript entries and the messages of events (feature `search`).
///
/// See [the guide](crate::guide::searching).
#[cfg(feature = "search")]
pub mod search {
    pub use crate::model::search::{Search, SearchRow};
    pub use crate::store::search::{SearchMatch, SearchMatches};
    pub use crate::store::search_files::KeptFileMatch;
}

#[doc = include_str!("../docs/store.md")]
pub mod store {
    // rustdoc shows the `impl` blocks of a type in the order of their modules: first what most hosts need.
    pub(crate) mod opening;

    pub(crate) mod any_store;
    pub(crate) mod handle;
    #[cfg(feature = "search")]
    pub(crate) mod log_scan;
    pub(crate) mod snapshot;
    pub(crate) mod snapshot_view;

    pub(crate) mod maintenance;

    pub(crate) mod bulk_load;
    pub(crate) mod bulk_retained;
    #[cfg(feature = "postgres")]
    pub(crate) mod connecting;
    pub(crate) mod copy;
    pub(crate) mod prune_plan;
    #[cfg(feature = "search")]
    pub(crate) mod search;
    #[cfg(feature = "search")]
    pub(crate) mod search_files;
    #[cfg(feature = "postgres")]
    pub(crate) mod server_work;
    pub(crate) mod snapshot_entries;
    pub(crate) mod snapshot_files;
    pub(crate) mod snapshot_imports;
    pub(crate) mod snapshot_rows;

    pub use crate::commit::metrics::{CommitTimes, StoreMetrics};
    pub use crate::commit::pending::Pending;
    #[cfg(feature = "postgres")]
    pub use crate::engine::postgres::options::{Durability, PostgresOptions, Writers};
    #[cfg(all(feature = "postgres", feature = "fault-injection"))]
    #[doc(hidden)]
    pub use crate::engine::postgres::planted::PlantedServerBug;
    pub use crate::engine::redb::database::sharing::Sharing;
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    pub use crate::engine::redb::file::planted::PlantedBug;
    pub use crate::engine::redb::file::unclean::Recovery;
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
    pub use crate::engine::redb::open::options::{CommitSyncs, StoreOptions};
    pub use crate::engine::redb::schema::migrate::MigrationPlan;
    pub use crate::ledger::run::{EventRun, TranscriptRun};
    pub use crate::model::borrowed::{BorrowedEntry, BorrowedEvent, BorrowedRef};
    pub use crate::model::layout_form::LineForm;
    pub use crate::model::persisted::{
        ImportRecord, PersistedRuntimeSnapshot, PersistedRuntimeState, PersistedWorkerSnapshot,
        Stored, UnknownMember,
    };
    pub use crate::runtime::{
        DeleteRuntimeOptions, RedbRuntimeStore, RuntimeStoreTransaction, UnfinishedWork,
    };
    pub use bulk_load::BulkLoad;
    pub use copy::options::CopyOptions;
    pub use copy::report::{CopyOutcome, CopyReport, RuntimeCopy};
    pub use handle::Store;
    pub use snapshot::Snapshot;
    pub use snapshot_files::KeptFile;
}

// After `store`, whose `impl` blocks of `Store` rustdoc shows first.
mod runtime;

#[doc(inline)]
pub use error::{ErrorKind, Place, Result, RuntimeError};
#[cfg(feature = "fault-injection")]
#[doc(hidden)]
pub use fs::steps;
pub use model::names::UnknownName;
pub use model::severity::Severity;
pub use model::visible::Visible;
pub use model::{attributes, diagnostics, identity, interaction, management, observation};

/// Workers: their requests, their states, and filters over them.
pub mod catalog {
    pub use crate::model::catalog::*;
    pub use crate::model::worker_filter::{WorkerEntry, WorkerFilter, WorkerPage};
}
pub use runtime::{
    Entries, EventFollower, Events, RedbRuntimeStore, RedbRuntimeStoreOptions, Runtime,
    RuntimeStoreTransaction, RuntimeTransaction, TranscriptFollower,
};
#[cfg(feature = "postgres")]
#[doc(inline)]
pub use store::PostgresOptions;
#[doc(inline)]
pub use store::{Pending, Sharing, Store};

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
