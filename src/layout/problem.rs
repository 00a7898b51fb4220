//! What is wrong with the bytes of a record, and where.

use super::node::{Node, push_step};
use super::parts::offset_of;
use serde_json::value::RawValue;

/// From this length on a record is not taken apart only to say better what is wrong with it.
pub(super) const LONG_BYTES: usize = 1 << 20;

/// How deep the values of records that this version knows are at most.
const MAX_DEPTH: usize = 8;

/// Why bytes are not the record that they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// What is wrong, without a place.
    pub(super) message: String,
    /// The line within the bytes, from 1; 0 where there is none to name.
    pub(super) line: usize,
    /// The byte within the line, from 0.
    pub(super) column: usize,
    /// Whether the bytes end too early: they could be the beginning of a record.
    pub(super) cut_off: bool,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            line: 0,
            column: 0,
            cut_off: false,
        }
    }

    /// What is wrong at an offset in `bytes`.
    pub(super) fn at(message: impl Into<String>, bytes: &[u8], offset: usize) -> Self {
        let before = &bytes[..offset];
        let newline = before.iter().rposition(|byte| *byte == b'\n');
        Self {
            message: message.into(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: offset - newline.map_or(0, |index| index + 1),
            cut_off: false,
        }
    }

    /// The same, with the member of `text` that it is in.
    pub(super) fn in_member_of(mut self, text: &str) -> Self {
        let offset = self.offset_in(text.as_bytes());
        let is_short = |offset: &usize| *offset < text.len() && text.len() < LONG_BYTES;
        let Some(offset) = offset.filter(is_short) else {
            return self;
        };
        // Where the text is no JSON, the place says it all.
        let Ok(record) = serde_json::from_str::<&RawValue>(text) else {
            return self;
        };
        // The place can be that before a value.
        let before = |byte: &u8| matches!(byte, b':' | b',' | b' ' | b'\t' | b'\r' | b'\n');
        let skipped = text.as_bytes()[offset..]
            .iter()
            .take_while(|byte| before(byte));
        let offset = offset + skipped.count();
        let cut_off = self.cut_off;
        let (pointer, value) = innermost(text, record, offset);
        if is_integer(value) && self.message.contains("floating point") {
            self.message = format!("the number {} does not fit into 64 bits", value.get());
        }
        if self.message == "expected value" {
            self.message = "a string was expected".into();
        }
        self = Self {
            cut_off,
            ..Self::at(self.message, text.as_bytes(), offset)
        };
        if !pointer.is_empty() {
            self.message = format!("{pointer}: {}", self.message);
        }
        self
    }

    /// The offset in all of `bytes`, if it has a place.
    pub(super) fn offset_in(&self, bytes: &[u8]) -> Option<usize> {
        let mut newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let line_start = match self.line {
            0 => return None,
            1 => 0,
            line => newlines.nth(line - 2).map_or(0, |(index, _)| index + 1),
        };
        Some(line_start + self.column)
    }

    /// Why `bytes` could not be parsed.
    pub(super) fn of(error: serde_json::Error, bytes: &[u8]) -> Self {
        let mut problem = Self::from(error);
        // To the parser a number that stops too early is a wrong one, where other values are cut off.
        let is_at_end = problem.line == 1 && problem.column + 1 == bytes.len();
        problem.cut_off |= is_at_end
            && problem.message == "invalid number"
            && matches!(bytes.last(), Some(b'-' | b'+' | b'.' | b'e' | b'E'));
        problem
    }
}

/// Why bytes do not begin with a whole record.
#[derive(Debug)]
pub(super) struct NoRecord {
    pub(super) problem: Problem,
    /// How many of the bytes can be the beginning of one.
    pub(super) read: usize,
    /// How many bytes were looked at to know that.
    pub(super) work: usize,
}

impl NoRecord {
    /// Of the first `length` bytes.
    pub(super) fn of(problem: Problem, length: usize, work: usize) -> Self {
        let read = match problem.line {
            1 if !problem.cut_off => problem.column.min(length),
            // All of them, as far as is known.
            _ => length,
        };
        Self {
            problem,
            read,
            work,
        }
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        Self {
            message: text.strip_suffix(&place).unwrap_or(&text).to_owned(),
            line: error.line(),
            column: error.column().saturating_sub(1),
            cut_off: error.is_eof(),
        }
    }
}

fn is_integer(value: &RawValue) -> bool {
    let text = value.get();
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits != "0" && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The value in `record` that the byte at `offset` is in, and the pointer to it; no deeper than
/// records are.
fn innermost<'t>(text: &'t str, record: &'t RawValue, offset: usize) -> (String, &'t RawValue) {
    let (mut pointer, mut value) = (String::new(), record);
    let holds = |value: &RawValue| {
        let start = offset_of(value, text);
        (start..start + value.get().len()).contains(&offset)
    };
    for _ in 0..MAX_DEPTH {
        let inner = match Node::opened(value) {
            Ok(Node::Object(members)) => members.into_iter().find_map(|(name, node)| match node {
                Node::Kept(value) if holds(value) => Some((name, value)),
                _ => None,
            }),
            Ok(Node::Array(items)) => {
                items
                    .into_iter()
                    .zip(0..)
                    .find_map(|(node, index)| match node {
                        Node::Kept(value) if holds(value) => Some((format!("{index}"), value)),
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
