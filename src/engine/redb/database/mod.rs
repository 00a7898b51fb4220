//! The redb database: the engine over it, the stores that are open in this process, sharing.

pub(crate) mod open_store;
pub(crate) mod redb_engine;
pub(crate) mod registry;
pub(crate) mod sharing;
pub(crate) mod staged_backend;
