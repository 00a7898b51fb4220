//! Reading a runtime directory once: its documents, its logs, and what can be salvaged.

pub(super) mod documents;
pub(super) mod entries;
pub(super) mod listing;
pub(super) mod log;
pub(super) mod log_record;
pub(super) mod orphans;
pub(super) mod reader;
pub(super) mod reading;
pub(super) mod runtime;
pub(super) mod salvage;
pub(super) mod sink;
