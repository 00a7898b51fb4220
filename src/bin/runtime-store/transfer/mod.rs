//! Verbs that move runtimes between a directory and a store, or compare the two.

pub(crate) mod compare;
pub(crate) mod copy;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod imports;
