//! Comparing a directory with a store, and two stores.

pub(super) mod archived;
pub(super) mod diff;
pub(super) mod directory;
pub(super) mod documents;
pub(super) mod files;
pub(super) mod merged;
pub(super) mod other_files;
pub(super) mod removed;
pub(super) mod root_name;
pub(super) mod store_log;
pub(super) mod store_rows;
pub(super) mod stores;
