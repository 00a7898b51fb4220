//! The rows of a store, without their engine: the rows and their stored bytes, bounded reads, the changes of
//! a batch, and the transaction that reads through its own changes.
//!
//! This room knows the model and the errors, and no engine. An engine implements [`rows::Rows`] and
//! writes a [`change_set::ChangeSet`].

pub(crate) mod change_set;
pub(crate) mod checks;
pub(crate) mod context;
pub(crate) mod convert;
pub(crate) mod deletion;
pub(crate) mod load_rows;
pub(crate) mod opening;
pub(crate) mod overlay;
pub(crate) mod pages;
#[cfg(feature = "postgres")]
pub(crate) mod raw_rows;
pub(crate) mod recent_keys;
pub(crate) mod removals;
pub(crate) mod retention;
pub(crate) mod rows;
pub(crate) mod run;
pub(crate) mod snapshot_rows;
pub(crate) mod stored;
pub(crate) mod table_names;
#[cfg(feature = "search")]
pub(crate) mod text_pattern;
pub(crate) mod transaction;
pub(crate) mod unique_id;
pub(crate) mod whole;
