//! The queue in which operations share commits. It works for any [`engine::Engine`] and owns the engine
//! that it commits to.

pub(crate) mod admission;
pub(crate) mod alone;
pub(crate) mod background;
pub(crate) mod batch_outcome;
pub(crate) mod clock;
pub(crate) mod engine;
pub(crate) mod exclusive;
pub(crate) mod failure;
pub(crate) mod follow;
pub(crate) mod grouping;
pub(crate) mod metrics;
#[cfg(test)]
mod mock_engine;
pub(crate) mod notify;
pub(crate) mod pending;
pub(crate) mod queue;
pub(crate) mod refused;
pub(crate) mod shared_turn;
#[cfg(test)]
mod shared_turn_tests;
pub(crate) mod state;
pub(crate) mod trace;
pub(crate) mod watch;
pub(crate) mod within;
