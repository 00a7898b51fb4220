//! The format of the layout: names, documents, JSON records and lines.

pub(super) mod document;
pub(super) mod fast_json;
pub(super) mod json;
pub(super) mod lines;
pub(super) mod locate;
pub(super) mod names;
pub(super) mod node;
pub(super) mod problem;
