//! Reading rows.

pub(crate) mod reader;
#[cfg(feature = "search")]
pub(crate) mod scan;
pub(crate) mod snapshot_rows;
pub(crate) mod source;
