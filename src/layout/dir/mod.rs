//! Directories that are read or written. Every step goes from an open directory to a name in it, and
//! never through a symbolic link: nothing can redirect an import or an export out of its root.

pub(super) mod error;
pub(super) mod source;
pub(super) mod target;
