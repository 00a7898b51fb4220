//! The model: plain types without I/O, and their JSON form.
//!
//! A *runtime* owns *workers*. Every change appends an *event* to the runtime's event log; input
//! that a worker accepted also appends an *entry* to that worker's *transcript*.

pub mod attributes;
pub(crate) mod borrowed;
pub(crate) mod catalog;
pub mod diagnostics;
pub mod identity;
pub mod interaction;
pub(crate) mod layout_form;
pub mod management;
pub(crate) mod names;
pub mod observation;
pub(crate) mod persisted;
pub(crate) mod retention;
#[cfg(feature = "search")]
pub(crate) mod search;
pub(crate) mod severity;
pub(crate) mod time;
pub(crate) mod visible;
pub(crate) mod worker_filter;
