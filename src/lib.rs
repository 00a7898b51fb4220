//! A durable store for the runtimes of AI workers: one redb file instead of a directory of JSON.
//!
//! A [`Runtime`] owns workers, and logs an event when one is created, accepts input or ends. Each worker
//! has a transcript: its inputs and its replies. A [`Store`] is one
//! [redb](https://docs.rs/redb) file that contains any number of runtimes. Every operation is one
//! transaction.
//!
//! ```
//! use redb_runtime_store::catalog::CreateWorkerRequest;
//! use redb_runtime_store::interaction::{RecordedEntry, TranscriptQuery, TranscriptRole, WorkerInput};
//! use redb_runtime_store::{RedbRuntimeStoreOptions, Runtime};
//!
//! # fn main() -> Result<(), redb_runtime_store::RuntimeError> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("agents.redb");
//! // Opens the store at the path, or creates it.
//! let runtime = Runtime::with_redb_store(RedbRuntimeStoreOptions::new(path))?;
//!
//! // Each call is one transaction. It is on disk when the call returns.
//! let worker = runtime.create_worker(CreateWorkerRequest::default())?;
//! runtime.send_input(&worker.worker_ref, WorkerInput::user("Hello!"))?;
//! runtime.append_reply(&worker.worker_ref, "Hello! What can I do for you?")?;
//!
//! // Both sides of the conversation, with the time of each entry.
//! let page = runtime.recorded_transcript(&worker.worker_ref, TranscriptQuery::new(0, 10))?;
//! for RecordedEntry { entry, recorded_at, .. } in &page.items {
//!     println!("{recorded_at:?} {:?}: {}", entry.role, entry.content);
//! }
//! assert_eq!(page.items[0].entry.content, "Hello!");
//! assert_eq!(page.items[1].entry.role, TranscriptRole::Assistant);
//!
//! let events = runtime.read_events(&runtime.event_cursor_from_start()?, 256)?;
//! assert_eq!(events.events.len(), 3);
//! # Ok(())
//! # }
//! ```
//!
//! # A page for each task
//!
//! - [Moving over](guide::moving_over) from directories of JSON, and back.
//! - [Porting a host](guide::from_the_directory_store) from the directory store.
//! - [Transactions](guide::transactions), and many operations in flight.
//! - [Replies](guide::replies) of workers, and following both sides of a conversation.
//! - [Following](guide::following) events and transcripts, also from another process.
//! - Searching entries and event messages: the module `search` (feature `search`).
//! - [Deletion](guide::deletion), and what stays in the file.
//! - [Backups](guide::backup), verification, space and migrations.
//! - [Errors](guide::errors), their meaning and their remedy.
//!
//! [`Runtime`] documents the rules of the model, [`store`] the file.
//! [`RedbRuntimeStore`] is for hosts that have their own runtime logic. The model's types are
//! in [`identity`], [`catalog`], [`interaction`], [`management`], [`observation`] and
//! [`diagnostics`]. The directory `examples` has complete programs.
//!
//! # Guarantees
//!
//! | | guarantee | tests (`tests/suite` of the repository) |
//! |---|---|---|
//! | durability | an operation that returned `Ok` is on disk: it survives a crash, a kill and a power loss | `commit_queue::nothing_is_acknowledged_before_its_sync`, `durability::acknowledged_work_survives_a_kill`, `simulated_power_loss::power_loss_keeps_acknowledged_work_whole` |
//! | atomicity | an operation, or a transaction of several, is stored completely or not at all | `commits::error_or_panic_rolls_back_whole_transaction`, `concurrency::failing_operations_do_not_disturb_others`, `kills::killed_process_keeps_acknowledged_work_whole` |
//! | isolation | operations take effect one after the other; no operation returns rows that a crash could still undo | `commit_queue::commit_in_progress_is_not_acknowledged`, `concurrency::acknowledged_change_is_seen_by_later_reads`, `reading::snapshot_is_stable_during_writes` |
//! | crash | creating a store, importing, exporting, migrating, compacting and backing up are atomic: a crash leaves the old state or the new one | `crash_steps::crash_at_any_step_leaves_old_or_new`, `durability::kill_during_creation_leaves_nothing_or_whole`, `maintenance::killed_backup_leaves_nothing_at_its_path` |
//! | failing disk | an error; no acknowledged operation is lost; the store works again after it is opened again | `disk_errors::disk_error_is_typed_and_loses_nothing`, `commit_queue::failed_commit_is_uncertain_and_ends_later_ones` |
//! | damage | a read of a damaged file returns correct data or an error; a file that cannot be opened is not changed (see the limits) | `damage::truncated_file_is_refused_and_unchanged`, `bit_rot::damaged_file_gives_right_data_or_error`, `checked_pages::write_through_damaged_page_is_atomic`, `damaged_pages::verify_finds_damaged_pages_without_changes` |
//! | foreign files | a file that is no store, or that a newer version wrote, is rejected and not changed | `opening::foreign_file_is_not_touched`, `opening::redb_file_of_another_program_is_untouched`, `opening::store_of_newer_schema_is_untouched` |
//! | older stores | every later version reads them: it copies the store, then migrates it in one transaction | `migrations::golden_file_of_schema_1_equals_its_directory`, `migrations::older_store_is_copied_then_migrated` |
//! | concurrency | any number of threads; waiting operations share a commit | `commit_queue::operations_during_a_commit_share_the_next`, `commit_queue::operation_waits_at_most_two_commits` |
//! | one process, one file | a fork can neither use nor unlock its parent's store; no operation is acknowledged in a file that was deleted or replaced; a stopped process delays others up to a limit, which loses nothing | `forking::fork_changes_neither_store_nor_locks`, `moving::write_to_deleted_file_is_never_acknowledged`, `stopping::stopped_reader_holds_commits_up_to_the_limit`, `stopping::synced_commit_is_acknowledged_despite_stopped_reader` |
//! | other processes | they read committed snapshots while one process writes; a second writer is rejected; with [`Sharing::ManyWriters`] all processes may write | `sharing::readers_see_only_whole_commits`, `locking::second_writer_learns_who_holds_the_lock`, `sharing::many_writers_survive_a_kill_of_one` |
//! | reads | a page costs one seek and its items, at any length of the log | `reading::reads_seek_and_never_scan` |
//! | deletion | a deletion is complete for every reader from its first commit on; a crash in the middle is completed by the next open; the id of a deleted worker is never used again | `deleting_in_steps::unfinished_worker_is_hidden_and_the_open_finishes_it`, `deleting_in_steps::unfinished_runtime_is_hidden_and_the_open_finishes_it`, `deleting::deleted_id_is_never_given_again`, `deleting_in_steps::writers_finish_the_deletion_of_a_killed_process` |
//! | coming back | an input with a key is stored once, however often it is sent; work that a host that ended left open is listed, and closed work is not | `sends::processes_with_one_key_write_one_entry`, `sends::repeated_input_returns_its_acknowledgement`, `open_work::work_of_an_earlier_opening_is_unfinished`, `kills::killed_process_keeps_acknowledged_work_whole` |
//! | moving | a runtime that was imported and not changed is exported byte for byte | `layout_round_trip::archived_directories_round_trip_byte_for_byte` |
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
//! - The crate is tested on 64-bit Linux. Files have the same format on every machine: numbers have 64
//!   bits. On a 32-bit machine, a count that does not fit is read as the largest number.
//!
//! # Features
//!
//! All are off by default.
//!
//! - `program`: the program `runtime-store`. Install it with
//!   `cargo install redb-runtime-store --features program`.
//! - `search`: searching transcript entries and event messages for literals and regular expressions
//!   (`Runtime::search`, the module `search`). The feature `program` includes it.
//! - `tracing`: a span for each operation and an event for each commit, with its operations, bytes
//!   and microseconds, target `redb_runtime_store`.
//! - `fault-injection`: opens a store over a custom storage backend, and calls hooks at every change of
//!   the file system. For simulators of faults only; not covered by semantic versioning.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod commit;
mod engine;
pub mod error;
mod fs;
pub mod guide;
pub mod layout;
mod ledger;
mod model;
mod runtime;

/// Retention: how much a store keeps. See [the guide](crate::guide::retention).
pub mod retention {
    pub use crate::model::retention::{PruneOptions, PruneReport, Retention, RuntimePrune};
}

#[cfg(feature = "search")]
#[doc = include_str!("../docs/searching.md")]
pub mod search {
    pub use crate::model::search::{Search, SearchRow};
    pub use crate::store::search::{SearchMatch, SearchMatches};
    pub use crate::store::search_files::KeptFileMatch;
}

#[doc = include_str!("../docs/store.md")]
pub mod store {
    pub(crate) mod bulk_load;
    pub(crate) mod bulk_retained;
    pub(crate) mod handle;
    pub(crate) mod maintenance;
    pub(crate) mod opening;
    pub(crate) mod prune_plan;
    #[cfg(feature = "search")]
    pub(crate) mod search;
    #[cfg(feature = "search")]
    pub(crate) mod search_files;
    pub(crate) mod snapshot;
    pub(crate) mod snapshot_files;
    pub(crate) mod snapshot_imports;

    pub use crate::commit::metrics::{CommitTimes, StoreMetrics};
    pub use crate::commit::pending::Pending;
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
    pub use handle::Store;
    pub use snapshot::Snapshot;
    pub use snapshot_files::KeptFile;
}

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
    EventFollower, RedbRuntimeStore, RedbRuntimeStoreOptions, Runtime, RuntimeStoreTransaction,
    RuntimeTransaction, TranscriptFollower,
};
pub use store::{Pending, Sharing, Store};

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
