//! Verbs that check, copy, compact and migrate the file of a store.

pub(crate) mod backup;
pub(crate) mod compact;
pub(crate) mod migrate;
pub(crate) mod verify;
