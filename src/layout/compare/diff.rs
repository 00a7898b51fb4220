//! Finds the first member in which two records differ.

use crate::layout::error::LayoutError;
use crate::layout::format::document::{RemovedWorkers, RuntimeDocument, WorkerDocument};
use crate::layout::format::json::{self, Form};
use crate::layout::format::problem::Problem;
use crate::layout::read::log_record::LogRow;
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored, UnknownMember, WorkerRetention,
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::Path;

/// The length to which a differing value is cut, in characters.
const SHOWN_CHARS: usize = 60;

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

/// The first difference between a record of the directory and one of the store, in words.
pub(crate) fn first_difference(directory: &[u8], store: &[u8]) -> String {
    type Members<'a> = BTreeMap<String, &'a RawValue>;
    let (Ok(directory), Ok(store)) = (
        serde_json::from_slice::<Members<'_>>(directory),
        serde_json::from_slice::<Members<'_>>(store),
    ) else {
        return "the records differ".into();
    };
    for (name, here) in &directory {
        match store.get(name) {
            Some(there) if there.get() == here.get() => {}
            Some(there) => {
                let (here, there) = (shown(here), shown(there));
                return format!("{name} is {here} in the directory and {there} in the store");
            }
            None => return format!("the store does not have the member {name:?}"),
        }
    }
    match store.keys().find(|name| !directory.contains_key(*name)) {
        Some(name) => format!("the directory does not have the member {name:?} of the store"),
        None => "the records differ in members of one name, or in their order".into(),
    }
}

fn shown(value: &RawValue) -> String {
    let text: String = value.get().split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
