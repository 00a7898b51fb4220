//! Simulated faults for `redb-runtime-store`, each replayable from a seed.
//!
//! A round of a fault is a function of its seed: it fills a store with real operations, makes the fault
//! happen at many points, and checks the store's guarantees after each. The reference [`model`]
//! computes the expected content, [`world`] compares it with the store, and [`plant`] has bugs that the
//! checks must find.
//!
//! - [`disk`] is a storage backend that records every change and fails on demand; [`image`] builds from
//!   these changes the states that a disk can have after a power loss.
//! - [`workload`] makes operations and runs them; [`power_loss`] with [`threads`], [`generations`],
//!   [`disk_errors`] with [`path_errors`] and [`job_errors`], [`bit_rot`], [`crash_steps`] with [`cuts`], [`kills`], [`stops`]
//!   and [`legacy`] are the faults; [`campaign`] runs rounds of them. [`child`] has the processes that are
//!   killed or stopped.

mod answers;
pub mod bit_rot;
pub mod campaign;
pub mod child;
pub mod crash_steps;
pub mod cuts;
mod deletion;
pub mod disk;
pub mod disk_errors;
mod generation_ops;
pub mod generations;
pub mod host_calls;
pub mod image;
pub mod job_errors;
mod kill_copies;
pub mod kills;
pub mod legacy;
pub mod model;
mod moods;
pub mod one_commit;
mod open_work;
pub mod pages;
pub mod path_errors;
pub mod plant;
pub mod power_loss;
pub mod rng;
mod stopped;
pub mod stops;
pub mod threads;
mod tree;
mod unsynced;
pub mod workload;
pub mod world;
