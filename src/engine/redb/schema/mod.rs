//! The schema version and the migrations between versions.

pub(crate) mod migrate;
pub(crate) mod version;
