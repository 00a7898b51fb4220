//! The engines that a ledger is stored in. redb, and PostgreSQL behind a feature.

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod redb;
