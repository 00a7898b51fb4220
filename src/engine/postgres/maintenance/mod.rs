//! Whole reads of a store.

pub(crate) mod census;
pub(crate) mod raw;
