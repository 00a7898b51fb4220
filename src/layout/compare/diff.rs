//! Finds the first member in which two records differ, and the first character in which two values do.

use crate::layout::error::LayoutError;
use crate::layout::format::document::{RemovedWorkers, RuntimeDocument, WorkerDocument};
use crate::layout::format::json::{self, Form};
use crate::layout::format::problem::Problem;
use crate::layout::read::documents::Document;
use crate::layout::read::log_record::LogRow;
use crate::layout::report::DifferenceWindow;
use crate::ledger::convert::stored_size;
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored, UnknownMember, WorkerRetention,
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::Path;

/// The longest value that is shown as a whole, in characters.
const SHOWN_CHARS: usize = 60;

/// The most characters of a long value before and after its first difference that are shown.
const CHARS_BEFORE: usize = 24;
const CHARS_AFTER: usize = 48;

/// A difference in words.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) what: String,
    /// The surroundings of the first difference in a value that is too long for the words.
    pub(crate) window: Option<DifferenceWindow>,
}

impl<T: Into<String>> From<T> for Found {
    fn from(what: T) -> Self {
        Self {
            what: what.into(),
            window: None,
        }
    }
}

/// The names of both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides {
    pub(crate) left: &'static str,
    pub(crate) right: &'static str,
}

/// The sides of a comparison of a directory with a store.
pub(crate) const DIRECTORY_AND_STORE: Sides = Sides {
    left: "the directory",
    right: "the store",
};

pub(crate) fn worker_json(
    path: &Path,
    worker: Stored<PersistedWorkerSnapshot>,
    retention: WorkerRetention,
) -> Result<Vec<u8>, LayoutError> {
    let document = WorkerDocument::of_stored(worker, retention);
    as_json(path, &document.value, &document.unknown, Form::Document)
}

pub(crate) fn runtime_json(
    path: &Path,
    runtime: Stored<PersistedRuntimeSnapshot>,
    first_event_id: u64,
) -> Result<Vec<u8>, LayoutError> {
    let removed = RemovedWorkers::default();
    let document = RuntimeDocument::of_stored(runtime, first_event_id, removed);
    as_json(path, &document.value, &document.unknown, Form::Document)
}

/// The line of a record of a log; with its time if `times` is set.
pub(crate) fn record_json(
    path: &Path,
    row: &impl LogRow,
    times: bool,
) -> Result<Vec<u8>, LayoutError> {
    let mut json = Vec::new();
    let written = row.write_line(times, &mut json);
    written.map_err(|problem| unwritable(path, problem))?;
    Ok(json)
}

/// A diagnostic of a store, as `runtime.json` has it.
pub(crate) fn diagnostic_json(
    diagnostic: Stored<RuntimeDiagnostic>,
) -> Result<Vec<u8>, LayoutError> {
    let path = Path::new(RuntimeDocument::FILE);
    as_json(path, &diagnostic.value, &diagnostic.unknown, Form::Line)
}

fn unwritable(path: &Path, problem: Problem) -> LayoutError {
    LayoutError::Unwritable {
        path: path.to_owned(),
        message: problem.message,
    }
}

fn as_json<T: Serialize>(
    path: &Path,
    value: &T,
    unknown: &[UnknownMember],
    form: Form,
) -> Result<Vec<u8>, LayoutError> {
    let mut json = Vec::new();
    json::write(value, unknown, form, &mut json).map_err(|problem| unwritable(path, problem))?;
    Ok(json)
}

/// Whether two documents have the same values, whatever white space is between them: an unknown member is stored as its
/// text, and a document that is written anew in its form has other white space.
pub(crate) fn have_same_values(one: &[u8], other: &[u8]) -> bool {
    one == other || spaceless(one).eq(spaceless(other))
}

/// The bytes of a JSON text without the white space between its parts.
fn spaceless(json: &[u8]) -> impl Iterator<Item = u8> {
    let (mut is_in_string, mut is_escaped) = (false, false);
    json.iter().copied().filter(move |byte| {
        let is_space = !is_in_string && byte.is_ascii_whitespace();
        if *byte == b'"' && !is_escaped {
            is_in_string = !is_in_string;
        }
        is_escaped = is_in_string && *byte == b'\\' && !is_escaped;
        !is_space
    })
}

/// The first difference between two JSON objects.
pub(crate) fn first_difference(sides: Sides, left: &[u8], right: &[u8]) -> Found {
    type Members<'a> = BTreeMap<String, &'a RawValue>;
    let (Ok(left), Ok(right)) = (
        serde_json::from_slice::<Members<'_>>(left),
        serde_json::from_slice::<Members<'_>>(right),
    ) else {
        return "the records differ".into();
    };
    for (name, here) in &left {
        match right.get(name) {
            Some(there) if have_same_values(here.get().as_bytes(), there.get().as_bytes()) => {}
            Some(there) => return of_values(sides, name, here, there),
            None => return lacks_member(sides.right, name),
        }
    }
    match right.keys().find(|name| !left.contains_key(*name)) {
        Some(name) => lacks_member(sides.left, name),
        None => "the records differ in members of one name, or in their order".into(),
    }
}

fn lacks_member(side: &str, name: &str) -> Found {
    format!("{side} does not have the member {name:?}").into()
}

/// The difference between two values of the member `name`.
fn of_values(sides: Sides, name: &str, left: &RawValue, right: &RawValue) -> Found {
    let text = |value: &RawValue| spaceless(value.get().as_bytes()).collect::<Vec<u8>>();
    let (left, right) = (text(left), text(right));
    let is_short = |text: &[u8]| text.len() <= SHOWN_CHARS;
    if is_short(&left) && is_short(&right) {
        let (left, right) = (
            String::from_utf8_lossy(&left),
            String::from_utf8_lossy(&right),
        );
        let Sides {
            left: here,
            right: there,
        } = sides;
        return format!("{name} is {left} in {here} and {right} in {there}").into();
    }
    let window = window(&left, &right, 0);
    Found {
        what: format!("{name} differs from byte {} on", window.offset),
        window: Some(window),
    }
}

/// The surroundings of the first byte in which two texts differ. They begin at the offset `start` of what is compared.
pub(crate) fn window(left: &[u8], right: &[u8], start: u64) -> DifferenceWindow {
    let same = left.iter().zip(right).take_while(|(l, r)| l == r).count();
    // Texts differ by characters: the first bytes of two characters can be the same.
    let is_within = |at: usize| is_continuation(left, at) || is_continuation(right, at);
    let at = (same.saturating_sub(3)..=same)
        .rev()
        .find(|at| !is_within(*at))
        .unwrap_or(same);
    DifferenceWindow {
        offset: start + stored_size(at),
        left: excerpt(left, at),
        right: excerpt(right, at),
    }
}

/// Whether the byte at `at` continues a character of UTF-8.
fn is_continuation(text: &[u8], at: usize) -> bool {
    text.get(at)
        .is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000)
}

/// The characters around the byte `at`, with an ellipsis where text is cut off.
fn excerpt(text: &[u8], at: usize) -> String {
    /// The most bytes of a character.
    const CHAR_BYTES: usize = 4;
    let at = at.min(text.len());
    let mut start = at.saturating_sub(CHARS_BEFORE * CHAR_BYTES);
    while start < at && is_continuation(text, start) {
        start += 1;
    }
    let end = text.len().min(at + CHARS_AFTER * CHAR_BYTES);
    let before = String::from_utf8_lossy(&text[start..at]);
    let after = String::from_utf8_lossy(&text[at..end]);
    let skipped = before.chars().count().saturating_sub(CHARS_BEFORE);
    let mut shown = String::new();
    if start > 0 || skipped > 0 {
        shown.push('…');
    }
    shown.extend(before.chars().skip(skipped));
    shown.extend(after.chars().take(CHARS_AFTER));
    if end < text.len() || after.chars().count() > CHARS_AFTER {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{DIRECTORY_AND_STORE, first_difference, window};

    #[test]
    fn white_space_is_no_difference_of_a_member() {
        let (left, right) = (r#"{"a":{"x": "a b"},"b":1}"#, r#"{"a": {"x":"a b"},"b":2}"#);
        let found = first_difference(DIRECTORY_AND_STORE, left.as_bytes(), right.as_bytes());
        assert_eq!(found.what, "b is 1 in the directory and 2 in the store");
        assert!(found.window.is_none());
    }

    #[test]
    fn windows_begin_at_the_first_differing_character() {
        for (left, right, offset, shown) in [
            ("abc", "abd", 2, ("abc", "abd")),
            ("abc", "abcd", 3, ("abc", "abcd")),
            ("", "a", 0, ("", "a")),
            // é and è begin with the same byte, ä and a do not.
            ("né", "nè", 1, ("né", "nè")),
            ("😀", "😁", 0, ("😀", "😁")),
        ] {
            let found = window(left.as_bytes(), right.as_bytes(), 0);
            let texts = (found.left.as_str(), found.right.as_str());
            assert_eq!((found.offset, texts), (offset, shown), "{left} {right}");
        }
    }

    #[test]
    fn windows_of_long_texts_are_short() {
        for text in ["a", "é", "😀"] {
            let (before, after) = (text.repeat(1 << 18), text.repeat(1 << 18));
            let (left, right) = (format!("{before}L{after}"), format!("{before}R{after}"));
            let found = window(left.as_bytes(), right.as_bytes(), 7);
            assert_eq!(found.offset, before.len() as u64 + 7);
            let expected = |side| format!("…{}{side}{}…", text.repeat(24), text.repeat(47));
            assert_eq!(found.left, expected("L"));
            assert_eq!(found.right, expected("R"));
        }
    }
}
