//! Printing: results on standard output, remarks and errors on standard error.

pub(crate) mod colour;
pub(crate) mod failure;
pub(crate) mod pager;
pub(crate) mod print;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod text;
