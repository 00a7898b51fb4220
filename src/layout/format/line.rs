//! Reads the lines of logs of all forms of the layout.

use crate::layout::format::fast_json::is_number_id;
use crate::layout::format::json::{self, Form, Record};
use crate::layout::format::later::FormA;
use crate::layout::format::problem::{LONG_BYTES, NoRecord, Problem};
use crate::layout::format::spans;
use crate::model::layout_form::Spelling;
use crate::model::persisted::Stored;
use memchr::memmem;
use serde::de::IgnoredAny;

/// A record of a log, and how its ids are spelled.
pub(crate) type SpelledRecord<T> = (Stored<T>, Spelling);

/// Reads one record of the runtime `runtime` from `bytes`, which contain nothing else but whitespace.
pub(crate) fn read_line<T: Record>(
    bytes: &[u8],
    runtime: &str,
    scratch: &mut Vec<u8>,
) -> Result<SpelledRecord<T>, Problem> {
    let problem = match json::read(bytes, Form::Line, scratch) {
        Ok(record) => return Ok((record, Spelling::default())),
        Err(problem) => problem,
    };
    let text = json::text(bytes)?;
    let Some(made) = FormA::of_line(text, runtime) else {
        return Err(problem_of::<T>(bytes, runtime, problem));
    };
    match json::read(made.text.as_bytes(), Form::Line, scratch) {
        Ok(record) => Ok((record, made.spelling)),
        Err(problem) => Err(made.problem_in(text, problem)),
    }
}

/// The problem with a line that is no record of form a. Where it is the beginning of a record of another form, it is not
/// that its ids are numbers, but that it is cut off.
fn problem_of<T: Record>(bytes: &[u8], runtime: &str, of_form_a: Problem) -> Problem {
    match length_of_json(bytes) {
        Err(end) if end.cut_off && !of_form_a.cut_off => {
            no_record::<T>(bytes, runtime, end).problem
        }
        _ => of_form_a,
    }
}

/// Gives the line of a record, which has the spelling of form a, another spelling.
pub(crate) fn spell(line: &str, spelling: Spelling) -> Option<String> {
    let of = spans::member(line, &spans::document(line), "worker_ref")?;
    let mut members = Vec::new();
    for member in spans::members(line, &of.value)? {
        let id = line[member.value.clone()].trim_matches('"');
        match member.name.as_str() {
            "runtime_id" if spelling.is_without_runtime => {}
            "worker_id" if spelling.has_number_ids && is_number_id(id) => {
                members.push(format!("\"worker_id\":{id}"));
            }
            _ => members.push(line[member.whole].to_owned()),
        }
    }
    let (before, after) = (&line[..of.value.start], &line[of.value.end..]);
    Some(format!("{before}{{{}}}{after}", members.join(",")))
}

/// Reads the record at the start of `bytes`. Returns it with its length in bytes.
pub(crate) fn read_prefix<T: Record>(
    bytes: &[u8],
    runtime: &str,
    scratch: &mut Vec<u8>,
) -> Result<(SpelledRecord<T>, usize), NoRecord> {
    let length = match length_of_json(bytes) {
        Ok(Some(length)) => length,
        Ok(None) => {
            let problem = Problem::new("only whitespace, no record");
            return Err(NoRecord::of(problem, 0, 0));
        }
        Err(problem) => return Err(no_record::<T>(bytes, runtime, problem)),
    };
    match read_line(&bytes[..length], runtime, scratch) {
        Ok(record) => Ok((record, length)),
        Err(problem) => Err(NoRecord::of(problem, length, length)),
    }
}

/// The problem with `bytes`, which begin like a record and are not valid JSON. The types can detect an error
/// at an earlier byte than the JSON grammar.
fn no_record<T: Record>(bytes: &[u8], runtime: &str, problem: Problem) -> NoRecord {
    let work = NoRecord::of(problem.clone(), bytes.len(), 0).read;
    if work >= LONG_BYTES || is_cut_in_reference(bytes) {
        return NoRecord::of(problem, bytes.len(), work);
    }
    // The types are those of form a: the ids of a later form would be such an error.
    let made = in_form_a(bytes, runtime);
    let text = made.as_ref().map_or(bytes, |(text, _)| text);
    let mut records = serde_json::Deserializer::from_slice(text).into_iter::<T>();
    match records.next() {
        Some(Err(error)) if error.is_data() => {
            let mut found = Problem::of(error, text);
            if let Some((_, added)) = made
                && found.line == 1
            {
                found.column = found.column.saturating_sub(added);
            }
            NoRecord::of(found, bytes.len(), 2 * work)
        }
        _ => NoRecord::of(problem, bytes.len(), 2 * work),
    }
}

/// The name before the reference to a worker.
const REFERENCE: &[u8] = b",\"worker_ref\":";

/// Whether the beginning of a record ends within its reference to a worker. It does not say its form then.
fn is_cut_in_reference(bytes: &[u8]) -> bool {
    let start = memmem::find(bytes, REFERENCE);
    start.is_some_and(|start| memchr::memchr(b'}', &bytes[start..]).is_none())
}

/// The beginning of a record with the reference to a worker that form a has, and the number of bytes that it is longer
/// for that. `None` for one of form a.
fn in_form_a(bytes: &[u8], runtime: &str) -> Option<(Vec<u8>, usize)> {
    let start = memmem::find(bytes, REFERENCE)? + REFERENCE.len();
    let end = start + memchr::memchr(b'}', &bytes[start..])? + 1;
    let of = std::str::from_utf8(&bytes[start..end]).ok()?;
    let made = FormA::of_line(&format!("{{\"worker_ref\":{of}}}"), runtime)?;
    let of = made
        .text
        .strip_prefix("{\"worker_ref\":")?
        .strip_suffix('}')?;
    let text = [&bytes[..start], of.as_bytes(), &bytes[end..]].concat();
    let added = text.len() - bytes.len();
    Some((text, added))
}

/// The length in bytes of the JSON value at the start of `bytes`; `None` if they are only whitespace.
fn length_of_json(bytes: &[u8]) -> Result<Option<usize>, Problem> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => Ok(Some(values.byte_offset())),
        Some(Err(error)) => Err(Problem::of(error, bytes)),
        None => Ok(None),
    }
}
