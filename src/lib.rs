//! A durable store for the runtimes of AI workers: one redb file instead of a directory of JSON.
//!
//! A [`Runtime`] owns workers. Every change appends an event to its log; input that a worker
//! accepted also appends an entry to that worker's transcript. All of it is kept in a [`Store`], one
//! redb file in which every operation is one transaction.
//!
//! ```
//! use redb_runtime_store::catalog::CreateWorkerRequest;
//! use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
//! use redb_runtime_store::{RedbRuntimeStoreOptions, Runtime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("agents.redb");
//! let runtime = Runtime::with_redb_store(RedbRuntimeStoreOptions::new(path))?;
//!
//! // Each call is one transaction, and on disk when it returns.
//! let worker = runtime.create_worker(CreateWorkerRequest::default())?;
//! runtime.send_input(&worker.worker_ref, WorkerInput::user("Hello!"))?;
//!
//! let page = runtime.transcript_projection(&worker.worker_ref, TranscriptQuery::new(0, 10))?;
//! assert_eq!(page.items[0].content, "Hello!");
//! # Ok(())
//! # }
//! ```
//!
//! - [`Runtime`] has the rules of the model and says what each operation guarantees.
//! - [`store`] explains the file: durability, locking, compatibility, memory.
//! - [`store::RedbRuntimeStore`] is for hosts that keep their own runtime logic.
//! - [`layout`] moves runtimes from and to directories of JSON, byte for byte.
//! - The types of the model: [`identity`], [`catalog`], [`interaction`], [`management`],
//!   [`observation`], [`diagnostics`].
//!
//! The program `runtime-store` is behind the feature `program`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod error;
pub mod layout;
mod model;
mod runtime;
pub mod store;

pub use error::RuntimeError;
pub use model::{catalog, diagnostics, identity, interaction, management, observation};
pub use runtime::{RedbRuntimeStoreOptions, Runtime, RuntimeTransaction};
pub use store::{Pending, Store};

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
