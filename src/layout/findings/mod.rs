//! The findings of an import or a comparison about a directory, in bounded memory.

pub(super) mod bounded;
pub(super) mod finding;
pub(super) mod gaps;
pub(super) mod line_endings;
pub(super) mod unknown_workers;
