//! Exporting runtimes of a store to directories.

pub(super) mod directory;
mod earlier_state;
pub(super) mod file_update;
mod form_a;
mod in_root;
pub(super) mod kept_files;
pub(super) mod line;
mod log_tail;
pub(super) mod log_writer;
pub(super) mod other_files;
pub(super) mod parallel;
mod redacted;
mod replacement;
pub(super) mod runtime_writer;
pub(super) mod update;
