//! Faults for `redb-runtime-store`, each replayable from a seed.

pub mod disk;
pub mod image;
pub mod model;
pub mod pages;
pub mod plant;
pub mod power_loss;
pub mod rng;
pub mod workload;
pub mod world;
