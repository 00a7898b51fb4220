//! Importing a directory into a store.

pub(super) mod directory;
pub(super) mod import_record;
pub(super) mod left_out;
pub(super) mod other_files;
pub(super) mod pipeline;
pub(super) mod sending;
pub(super) mod to_path;
