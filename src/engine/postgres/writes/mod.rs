//! Writing rows.

pub(crate) mod batch;
pub(crate) mod load;
pub(crate) mod statements;
