//! The open database: the engine over redb, the registry of open stores, and sharing between
//! processes.

pub(crate) mod compact_growth;
pub(crate) mod file_backend;
pub(crate) mod open_store;
pub(crate) mod redb_engine;
pub(crate) mod registry;
pub(crate) mod sharing;
pub(crate) mod staged_backend;
