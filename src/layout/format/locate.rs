//! The positions of the parts of a document.

use crate::layout::format::node::{Members, Node, push_step};
use crate::layout::format::problem::{LONG_BYTES, Problem};
use serde_json::value::RawValue;

/// The greatest depth of the values of the known records.
const MAX_DEPTH: usize = 8;

/// The offset at which `part` begins in `text`. `part` must borrow from `text`.
pub(crate) fn offset_of(part: &RawValue, text: &str) -> usize {
    part.get().as_ptr().addr() - text.as_ptr().addr()
}

/// A part of a document with its position: the line, counted from 1, and the offset in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'t> {
    pub(crate) line: u64,
    pub(crate) byte: u64,
    pub(crate) bytes: &'t [u8],
}

/// The value of a member of a document.
pub(crate) fn member<'t>(document: &'t [u8], name: &str) -> Option<Part<'t>> {
    let text = std::str::from_utf8(document).ok()?;
    let value = raw_member(text, name)?;
    parts(text, &[value]).pop()
}

/// The items of the array in the member `name` of a document; none if the member is no array.
pub(crate) fn items<'t>(document: &'t [u8], name: &str) -> Vec<Part<'t>> {
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

/// The positions of values of `text`, which are in the order of their offsets. One pass counts the lines.
fn parts<'t>(text: &'t str, values: &[&'t RawValue]) -> Vec<Part<'t>> {
    let (mut line, mut counted) = (1, 0);
    let placed = values.iter().map(|value| {
        let start = offset_of(value, text);
        let between = &text.as_bytes()[counted..start];
        line += memchr::memchr_iter(b'\n', between).count() as u64;
        counted = start;
        Part {
            line,
            byte: start as u64,
            bytes: value.get().as_bytes(),
        }
    });
    placed.collect()
}

/// Adds the JSON pointer of the member at the problem's position to its message.
pub(crate) fn in_member_of(text: &str, problem: Problem) -> Problem {
    let bytes = text.as_bytes();
    let is_short = |offset: &usize| *offset < bytes.len() && bytes.len() < LONG_BYTES;
    let Some(offset) = problem.offset_in(bytes).filter(is_short) else {
        return problem;
    };
    // A text that is not JSON has no members: the position is all that can be reported.
    let Ok(record) = serde_json::from_str::<&RawValue>(text) else {
        return problem;
    };
    // serde_json can report the position before a value, so skip to the value.
    let before = |byte: &u8| matches!(byte, b':' | b',' | b' ' | b'\t' | b'\r' | b'\n');
    let skipped = bytes[offset..].iter().take_while(|byte| before(byte));
    let offset = offset + skipped.count();
    let (pointer, value) = innermost(text, record, offset);
    let mut message = match problem.message {
        message if is_integer(value) && message.contains("floating point") => {
            format!("the number {} does not fit into 64 bits", value.get())
        }
        message if message == "expected value" => "a string was expected".to_owned(),
        message => message,
    };
    if !pointer.is_empty() {
        message = format!("{pointer}: {message}");
    }
    Problem::at(message, bytes, offset)
}

fn is_integer(value: &RawValue) -> bool {
    let text = value.get();
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits != "0" && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The innermost value of `record` that contains the byte at `offset`, and its JSON pointer. Stops at
/// [`MAX_DEPTH`], so that a deeply nested unknown member costs no more.
fn innermost<'t>(text: &'t str, record: &'t RawValue, offset: usize) -> (String, &'t RawValue) {
    let (mut pointer, mut value) = (String::new(), record);
    let holds = |value: &RawValue| {
        let start = offset_of(value, text);
        (start..start + value.get().len()).contains(&offset)
    };
    for _ in 0..MAX_DEPTH {
        let inner = match Node::opened(value) {
            Ok(Node::Object(members)) => members.into_iter().find_map(|(name, node)| match node {
                Node::Raw(value) if holds(value) => Some((name, value)),
                _ => None,
            }),
            Ok(Node::Array(items)) => {
                items
                    .into_iter()
                    .zip(0..)
                    .find_map(|(node, index)| match node {
                        Node::Raw(value) if holds(value) => Some((format!("{index}"), value)),
                        _ => None,
                    })
            }
            _ => None,
        };
        let Some((name, inner)) = inner else {
            break;
        };
        push_step(&mut pointer, &name);
        value = inner;
    }
    (pointer, value)
}
