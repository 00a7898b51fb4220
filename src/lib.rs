//! A durable store for the runtimes of AI workers: one redb file instead of a directory of JSON.
//!
//! A [`Runtime`] owns workers. Every change appends an event to its log; input that a worker
//! accepted also appends an entry to that worker's transcript. A [`Store`] is one
//! [redb](https://docs.rs/redb) file that contains any number of runtimes. Every operation is one
//! transaction.
//!
//! ```
//! use redb_runtime_store::catalog::CreateWorkerRequest;
//! use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
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
//!
//! let page = runtime.transcript_projection(&worker.worker_ref, TranscriptQuery::new(0, 10))?;
//! assert_eq!(page.items[0].content, "Hello!");
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
//! - [Following](guide::following) the events, also from another process.
//! - [Backups](guide::backup), verification, space and migrations.
//! - [Errors](guide::errors), their meaning and their remedy.
//!
//! [`Runtime`] documents the rules of the model, [`store`] the file.
//! [`store::RedbRuntimeStore`] is for hosts that have their own runtime logic. The model's types are
//! in [`identity`], [`catalog`], [`interaction`], [`management`], [`observation`] and
//! [`diagnostics`]. The directory `examples` has complete programs.
//!
//! # Guarantees
//!
//! | | guarantee | tests (`tests/suite` of the repository) |
//! |---|---|---|
//! | durability | an operation that returned `Ok` is on disk: it survives a crash, a kill and a power loss | `commit_queue::nothing_is_acknowledged_before_it_is_synced`, `durability::everything_acknowledged_survives_a_kill_and_ids_have_no_gap_or_repeat`, `simulated_power_loss::power_loss_keeps_what_was_acknowledged_and_all_else_whole_or_absent` |
//! | atomicity | an operation, or a transaction of several, is stored completely or not at all | `commits::an_error_or_a_panic_undoes_all_of_a_transaction`, `concurrency::good_failing_and_panicking_operations_do_not_disturb_each_other`, `kills::a_killed_process_leaves_what_it_acknowledged_and_all_else_whole_or_absent` |
//! | isolation | operations take effect one after the other; no operation returns rows that a crash could still undo | `commit_queue::a_commit_that_is_on_its_way_is_not_acknowledged`, `concurrency::an_acknowledged_change_is_seen_by_every_later_read`, `reading::a_snapshot_is_one_moment_while_a_writer_goes_on` |
//! | crash | creating a store, importing, exporting, migrating, compacting and backing up are atomic: a crash leaves the old state or the new one | `crash_steps::what_is_cut_off_at_any_step_leaves_the_old_or_the_new_and_can_be_done_again`, `durability::a_kill_while_a_store_is_created_leaves_nothing_or_a_whole_store`, `maintenance::a_killed_backup_leaves_nothing_at_its_place_and_the_next_one_cleans_up` |
//! | failing disk | an error; no acknowledged operation is lost; the store works again after it is opened again | `disk_errors::a_disk_error_is_typed_and_loses_nothing_and_a_reopened_store_works`, `commit_queue::a_failed_commit_is_uncertain_for_its_operations_and_ends_all_later_ones` |
//! | damage | a read of a damaged file returns correct data or an error; a file that cannot be opened is not changed (see the limits) | `damage::a_file_cut_off_anywhere_is_refused_and_left_as_it_is`, `bit_rot::a_damaged_file_gives_an_error_or_the_right_data`, `checked_pages::a_write_that_meets_a_damaged_page_is_wholly_there_or_not_at_all`, `verifying::damaged_pages_are_found_and_nothing_is_changed` |
//! | foreign files | a file that is no store, or that a newer version wrote, is rejected and not changed | `opening::what_is_no_redb_file_is_not_touched`, `opening::a_redb_file_of_another_program_is_not_touched`, `opening::a_store_of_a_newer_schema_is_not_touched` |
//! | older stores | every later version reads them: it copies the store, then migrates it in one transaction | `migrations::the_golden_file_of_schema_1_says_what_the_directory_beside_it_says`, `migrations::an_older_store_is_copied_whole_and_then_migrated` |
//! | concurrency | any number of threads; waiting operations share a commit | `commit_queue::operations_that_arrive_during_a_commit_share_the_next_one`, `commit_queue::no_operation_waits_for_more_than_the_commit_under_way_and_its_own` |
//! | other processes | they read committed snapshots while one process writes; a second writer is rejected; with [`Sharing::ManyWriters`] all processes may write | `sharing::a_reader_in_another_process_sees_whole_commits_only`, `locking::a_store_that_another_process_writes_is_locked_and_told_by_whom`, `sharing::many_writers_lose_and_repeat_nothing_and_a_kill_of_one_stops_nobody` |
//! | reads | a page costs one seek and its items, at any length of the log | `reading::reads_seek_and_do_not_scan` |
//! | moving | a runtime that was imported and not changed is exported byte for byte | `layout_round_trip::archived_directories_come_out_as_they_went_in` |
//!
//! # Limits
//!
//! - One row (an input, an event, a worker's request) has at most 512 MiB of text; more is
//!   [`InvalidRequest`](RuntimeError::InvalidRequest). A row is held in memory as a whole.
//! - A read returns at most the runtime's limits, 256 items unless set
//!   ([`Runtime::set_limits`]).
//! - An id longer than 126 bytes cannot be exported: its directory's name would have more than 255.
//! - By default one process writes. A commit takes two syncs, which limits the speed of a single
//!   thread.
//! - The store relies on the system's byte-range locks and on its sync. Do not put a store on a network
//!   file system that does not support both.
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
mod severity;
pub mod store;

pub use error::{Place, RuntimeError};
#[cfg(feature = "fault-injection")]
#[doc(hidden)]
pub use fs::steps;
pub use model::{catalog, diagnostics, identity, interaction, management, observation};
pub use runtime::{
    EventFollower, RedbRuntimeStore, RedbRuntimeStoreOptions, Runtime, RuntimeStoreTransaction,
    RuntimeTransaction,
};
pub use severity::Severity;
pub use store::{Pending, Sharing, Store};

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
