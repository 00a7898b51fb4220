//! A durable store for the runtimes of AI workers: one redb file instead of a directory of JSON.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod error;
mod model;
mod runtime;
pub mod store;

pub use error::RuntimeError;
pub use model::{catalog, diagnostics, identity, interaction, management, observation};
pub use runtime::{RedbRuntimeStoreOptions, Runtime};
pub use store::Store;
