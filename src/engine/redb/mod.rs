//! The redb engine: stores any number of runtimes in one redb file.

pub(crate) mod context;
pub(crate) mod database;
pub(crate) mod file;
pub(crate) mod maintenance;
pub(crate) mod open;
pub(crate) mod schema;
pub(crate) mod tables;
