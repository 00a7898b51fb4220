//! What an import or a comparison reports about a directory, in bounded space.

pub(super) mod bounded;
pub(super) mod finding;
pub(super) mod gaps;
pub(super) mod line_endings;
pub(super) mod unknown_workers;
