//! Directories that are read and written: every step goes from an open directory to a name in it, never through a symbolic link.

pub(super) mod error;
pub(super) mod source;
pub(super) mod target;
