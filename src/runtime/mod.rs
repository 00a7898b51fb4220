//! Runtimes: the rules of the model, applied to a store. Each operation is one transaction.

// First: rustdoc shows the `impl` blocks of a type in the order of their modules.
pub(crate) mod handle;
pub(crate) mod runtimes;

pub(crate) mod attributes;
pub(crate) mod deletion;
pub(crate) mod follow;
pub(crate) mod follow_transcript;
pub(crate) mod fork;
pub(crate) mod import_texts;
#[cfg(test)]
mod later_forms_tests;
pub(crate) mod open_work;
pub(crate) mod operations;
pub(crate) mod origin;
pub(crate) mod pages;
pub(crate) mod prune;
pub(crate) mod prune_step;
pub(crate) mod queries;
pub(crate) mod redaction;
pub(crate) mod removal;
pub(crate) mod runtime_store;
#[cfg(feature = "search")]
pub(crate) mod search;
pub(crate) mod sends;
pub(crate) mod transaction;
pub(crate) mod wait;

pub use deletion::DeleteRuntimeOptions;
pub use follow::{EventFollower, Events};
pub use follow_transcript::{Entries, TranscriptFollower};
pub use handle::{RedbRuntimeStoreOptions, Runtime};
pub use open_work::UnfinishedWork;
pub use runtime_store::{RedbRuntimeStore, RuntimeStoreTransaction};
pub use transaction::RuntimeTransaction;
