//! Table definitions, and reading and writing their rows.

pub(crate) mod definitions;
pub(crate) mod row_writer;
pub(crate) mod view;
pub(crate) mod walk;
