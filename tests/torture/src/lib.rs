//! Faults for `redb-runtime-store`, each replayable from a seed.
//!
//! A round of a fault is a function of its seed: it makes a store with real operations, lets the
//! fault happen at many moments, and checks after each that the store keeps its promises. The
//! [`model`] knows what it should say, [`world`] compares, [`plant`] has bugs that must be found.
//!
//! - [`disk`] is a storage backend that remembers every change and fails on demand; [`image`] makes
//!   of these what a disk can hold after a power loss.
//! - [`workload`] makes operations and runs them; [`power_loss`] with [`threads`],
//!   [`disk_errors`] with [`path_errors`] and [`job_errors`], [`bit_rot`],
//!   [`crash_steps`] with [`cuts`], [`kills`] and [`legacy`] are the faults; [`campaign`] runs
//!   rounds of them. [`child`] is the processes that are killed.

pub mod bit_rot;
pub mod campaign;
pub mod child;
pub mod crash_steps;
pub mod cuts;
pub mod disk;
pub mod disk_errors;
pub mod image;
pub mod job_errors;
pub mod kills;
pub mod legacy;
pub mod model;
pub mod pages;
pub mod path_errors;
pub mod plant;
pub mod power_loss;
pub mod rng;
pub mod threads;
mod tree;
mod unsynced;
pub mod workload;
pub mod world;
