//! Maintenance of a store: backup, compaction, census, page checks and verification.

pub(crate) mod backup;
pub(crate) mod census;
pub(crate) mod compact;
pub(crate) mod copy;
pub(crate) mod page_check;
pub(crate) mod progress;
pub(crate) mod verify;
