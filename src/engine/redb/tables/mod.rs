//! The table definitions, and reading, writing and walking their rows.

pub(crate) mod definitions;
pub(crate) mod files;
pub(crate) mod load;
pub(crate) mod row_writer;
#[cfg(feature = "search")]
pub(crate) mod scan;
pub(crate) mod sized;
pub(crate) mod snapshot_rows;
pub(crate) mod view;
pub(crate) mod walk;
