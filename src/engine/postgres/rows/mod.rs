//! Reading rows.

mod bounded_reads;
pub(crate) mod key_bytes;
pub(crate) mod lists;
pub(crate) mod long_texts;
pub(crate) mod reader;
#[cfg(feature = "search")]
pub(crate) mod scan;
pub(crate) mod snapshot_rows;
pub(crate) mod source;
