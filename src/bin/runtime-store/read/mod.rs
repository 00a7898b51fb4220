//! Verbs that print the contents of a store and change nothing.

mod backwards;
pub(crate) mod diagnostics;
pub(crate) mod events;
mod follow;
pub(crate) mod runtimes;
pub(crate) mod search;
pub(crate) mod stats;
pub(crate) mod times;
pub(crate) mod transcript;
pub(crate) mod unfinished;
pub(crate) mod worker;
pub(crate) mod workers;
