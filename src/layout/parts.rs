//! Parts of a document, and where they are in it.

use super::node::Members;
use serde_json::value::RawValue;

/// Where `part` begins in the text that it is a part of.
pub(super) fn offset_of(part: &RawValue, text: &str) -> usize {
    part.get().as_ptr().addr() - text.as_ptr().addr()
}

/// A part of a document, and where it is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'t> {
    pub(super) line: u64,
    pub(super) byte: u64,
    pub(super) bytes: &'t [u8],
}

/// The value of a member of a document.
pub(super) fn member<'t>(document: &'t [u8], name: &str) -> Option<Part<'t>> {
    let text = std::str::from_utf8(document).ok()?;
    let value = raw_member(text, name)?;
    parts(text, &[value]).pop()
}

/// The items of an array that a member of a document is; none where it is not.
pub(super) fn items<'t>(document: &'t [u8], name: &str) -> Vec<Part<'t>> {
    let text = std::str::from_utf8(document).unwrap_or_default();
    let array =
        raw_member(text, name).map(|array| serde_json::from_str::<Vec<&RawValue>>(array.get()));
    match array {
        Some(Ok(items)) => parts(text, &items),
        _ => Vec::new(),
    }
}

fn raw_member<'t>(text: &'t str, name: &str) -> Option<&'t RawValue> {
    let Members(members) = serde_json::from_str(text).ok()?;
    let member = members.into_iter().find(|(member, _)| member == name);
    member.map(|(_, value)| value)
}

/// Where values of `text` are, which come in the order of their places.
fn parts<'t>(text: &'t str, values: &[&'t RawValue]) -> Vec<Part<'t>> {
    let (mut line, mut counted) = (1, 0);
    let placed = values.iter().map(|value| {
        let start = offset_of(value, text);
        let between = &text.as_bytes()[counted..start];
        line += between.iter().filter(|byte| **byte == b'\n').count() as u64;
        counted = start;
        Part {
            line,
            byte: start as u64,
            bytes: value.get().as_bytes(),
        }
    });
    placed.collect()
}
