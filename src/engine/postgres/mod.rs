//! The PostgreSQL engine: stores any number of runtimes in the tables of one schema, which many hosts share.
//!
//! A row has key columns (`bytea`, `int8`) and `record`, the very bytes that the redb engine stores, checksum included.
//!
//! An operation runs in a turn, a transaction in READ COMMITTED. Its first read of a runtime locks the runtime's row of
//! `locks`, so what it reads cannot change until the commit, and its closure runs once. After a failure that the server or
//! the network made, the turn is begun again: the runtimes are locked in the order of their ids, and if all of them have the
//! versions that were read, the same changes are written. Each commit stores a token, which settles the outcome of a commit
//! whose answer was lost.

pub(crate) mod cache;
pub(crate) mod commit;
pub(crate) mod engine;
pub(crate) mod keys;
pub(crate) mod lease;
pub(crate) mod lock_row;
pub(crate) mod maintenance;
pub(crate) mod open_store;
pub(crate) mod options;
pub(crate) mod planted;
pub(crate) mod rows;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod snapshot;
pub(crate) mod turn;
pub(crate) mod wire;
pub(crate) mod writes;
