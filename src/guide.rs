//! A page for each task, in reading order. Each page ends with a link to the next one.
//!
//! **Writing and reading**
//!
//! 1. [Transactions](transactions): one operation, several in one transaction, many in flight.
//! 2. [Reading everything](reading): pages, iterators, snapshots, and the cost of each.
#![cfg_attr(
    feature = "search",
    doc = "3. [Searching](searching): literals and regular expressions in entries and events."
)]
//!
//! **Conversations**
//!
//! 4. [Replies](replies): both sides of a conversation, and a host that answers.
//! 5. [Following](following): events and entries as they are committed, also in another process.
//!
//! **Removing**
//!
//! 6. [Deletion](deletion): workers, runtimes and texts, and the bytes that stay in the file.
//! 7. [Retention](retention): how much a store keeps, and an archive of the rest.
//!
//! **Failures**
//!
//! 8. [After a crash](after_a_crash): sending again, and finding work that was left open.
//! 9. [Errors](errors): each error, its meaning and its remedy.
//! 10. [Testing a host](testing_a_host): stores in memory, clocks, restarts, full stores, errors.
//!
//! **Directories of JSON**
//!
//! 11. [Porting a host](from_the_directory_store) from the directory store.
//! 12. [Moving over](moving_over): imports, damaged directories, exports.
//! 13. [Forms of the directory](directory_forms): every release that wrote one, and every state.
//!
//! **Operating**
//!
//! 14. [For operators](for_operators): the program `runtime-store`.
//! 15. [Reports](reports): one HTML file about a store.
//! 16. [Backups](backup), verification, space and migrations.
#![cfg_attr(
    feature = "postgres",
    doc = "17. [PostgreSQL](postgres): several hosts on one data set, and fail-over."
)]
//!
//! The page [`store`](crate::store) describes the file: durability, locks, times, memory.
//!
//! # Examples
//!
//! The directory `examples` of the repository has complete programs, for `cargo run --example NAME`:
//!
//! - `threads`: a host with several workers, each fed by a thread.
//! - `async_host`: the same on tokio, with `submit` and `await`.
//! - `chat_threads`, `chat_tokio`: a chat, with a worker that replies and a follower that prints both sides.
//! - `move_over`: moving from a directory when the host starts, safely and once.
//! - `follower`: following the events from another process.
//! - `after_crash`: a host that is killed in the middle of a call, comes back, finds the call and answers once.
//! - `own_logic`: a host with its own runtime logic over the persistence boundary.

#[doc = include_str!("../docs/transactions.md")]
///
/// ---
/// Next: [reading everything](crate::guide::reading).
pub mod transactions {}

#[doc = include_str!("../docs/reading.md")]
///
/// ---
#[cfg_attr(
    feature = "search",
    doc = "Next: [searching](crate::guide::searching)."
)]
#[cfg_attr(
    not(feature = "search"),
    doc = "Next: [replies](crate::guide::replies)."
)]
pub mod reading {}

#[cfg(feature = "search")]
#[doc = include_str!("../docs/searching.md")]
///
/// ---
/// Next: [replies](crate::guide::replies).
pub mod searching {}

#[doc = include_str!("../docs/replies.md")]
///
/// ---
/// Next: [following](crate::guide::following).
pub mod replies {}

#[doc = include_str!("../docs/following.md")]
///
/// ---
/// Next: [deletion](crate::guide::deletion).
pub mod following {}

#[doc = include_str!("../docs/deletion.md")]
///
/// ---
/// Next: [retention](crate::guide::retention).
pub mod deletion {}

#[doc = include_str!("../docs/retention.md")]
///
/// ---
/// Next: [after a crash](crate::guide::after_a_crash).
pub mod retention {}

#[doc = include_str!("../docs/after-a-crash.md")]
///
/// ---
/// Next: [errors](crate::guide::errors).
pub mod after_a_crash {}

#[doc = include_str!("../docs/errors.md")]
///
/// ---
/// Next: [testing a host](crate::guide::testing_a_host).
pub mod errors {}

#[doc = include_str!("../docs/testing-a-host.md")]
///
/// ---
/// Next: [porting a host](crate::guide::from_the_directory_store).
pub mod testing_a_host {}

#[doc = include_str!("../docs/from-the-directory-store.md")]
///
/// ---
/// Next: [moving over](crate::guide::moving_over).
pub mod from_the_directory_store {}

#[doc = include_str!("../docs/moving-over.md")]
///
/// ---
/// Next: [forms of the directory](crate::guide::directory_forms).
pub mod moving_over {}

#[doc = include_str!("../docs/directory-forms.md")]
///
/// ---
/// Next: [for operators](crate::guide::for_operators).
pub mod directory_forms {}

/// [deletion]: crate::guide::deletion
/// [retention]: crate::guide::retention
/// [backups]: crate::guide::backup
/// [reports]: crate::guide::reports
/// [forms]: crate::guide::directory_forms
///
#[doc = include_str!("../docs/for-operators.md")]
///
/// ---
/// Next: [reports](crate::guide::reports).
pub mod for_operators {}

#[doc = include_str!("../docs/reports.md")]
///
/// ---
/// Next: [backups](crate::guide::backup).
pub mod reports {}

#[doc = include_str!("../docs/backup.md")]
///
/// ---
#[cfg_attr(
    feature = "postgres",
    doc = "Next: [PostgreSQL](crate::guide::postgres)."
)]
#[cfg_attr(not(feature = "postgres"), doc = "Next: [the file](crate::store).")]
pub mod backup {}

#[cfg(feature = "postgres")]
#[doc = include_str!("../docs/postgres.md")]
///
/// ---
/// Next: [the file](crate::store).
pub mod postgres {}
