//! The engines that a ledger is stored in. redb is the only one.

pub(crate) mod redb;
