//! Creating, opening and repairing a store.

pub(crate) mod builder;
pub(crate) mod create;
pub(crate) mod erasing;
pub(crate) mod existing;
pub(crate) mod options;
pub(crate) mod plan;
#[cfg(feature = "fault-injection")]
pub(crate) mod simulated;
#[cfg(feature = "postgres")]
pub(crate) mod take_in;
