//! The format of the layout: names, documents, JSON records and lines.

pub(super) mod document;
pub(super) mod fast_json;
pub(super) mod json;
pub(super) mod later;
pub(super) mod line;
pub(super) mod lines;
pub(super) mod locate;
pub(super) mod names;
pub(super) mod node;
pub(super) mod own_text;
#[cfg(test)]
mod own_text_tests;
pub(super) mod problem;
pub(super) mod spans;
