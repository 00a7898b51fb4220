//! Creating, opening and repairing a store.

pub(crate) mod existing;
pub(crate) mod options;
