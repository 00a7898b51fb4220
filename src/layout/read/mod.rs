//! Reads a runtime directory once: its documents, its logs, and the intact records of damaged lines.
//!
//! Strict and salvage imports, dry runs, comparisons and updates read in the same way. They differ in
//! the rules (`options::Rules`) and in the sink that gets the records.

pub(super) mod checks;
pub(super) mod documents;
pub(super) mod entries;
pub(super) mod kept_files;
pub(super) mod left_out;
pub(super) mod listing;
pub(super) mod log;
pub(super) mod log_record;
pub(super) mod mending;
pub(super) mod order;
pub(super) mod ordered_log;
pub(super) mod orphans;
pub(super) mod reader;
pub(super) mod reading;
pub(super) mod rebuild;
pub(super) mod runtime;
pub(super) mod salvage;
pub(super) mod sink;
pub(super) mod states;
pub(super) mod worker_states;
