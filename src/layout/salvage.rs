//! What is left of a line that is not one record: the whole records in it, and what is between
//! them.
//!
//! An append that was cut off leaves the beginning of a record; the next append then goes on in
//! the same line. So a bad line is taken apart at the places where a record can begin.

use super::json::{self, Problem};
use super::log::LogRecord;
use crate::store::Stored;

/// How many bytes may be looked at again and again while a line is taken apart: a line that is
/// made to look like the beginnings of many records must not take long.
const MAX_WORK_BYTES: usize = 64 << 20;

/// What a bad line holds, in order.
pub(super) enum Piece<T> {
    /// A whole record: from and to.
    Record(usize, usize, Box<Stored<T>>),
    /// Bytes that are no record: from and to, and why not.
    Rest(usize, usize, Problem),
}

/// Takes a line apart. `problem` is why all of it is not one record.
pub(super) fn take_apart<T: LogRecord>(
    line: &[u8],
    problem: Problem,
    scratch: &mut Vec<u8>,
) -> Vec<Piece<T>> {
    let mut pieces = Vec::new();
    let mut rest_start = 0;
    let mut rest_problem = Some(problem);
    let mut at = 0;
    let mut work_bytes = 0;
    while let Some(start) = find(line, T::BEGINNING, at) {
        work_bytes += line.len() - start;
        if work_bytes > MAX_WORK_BYTES.max(4 * line.len()) {
            break;
        }
        match json::read_prefix::<T>(&line[start..], scratch) {
            Ok((record, length)) if is_boundary(&line[start + length..]) => {
                if rest_start < start {
                    let problem = rest_problem.take().unwrap_or_else(not_a_record);
                    pieces.push(Piece::Rest(rest_start, start, problem));
                }
                rest_problem = None;
                rest_start = start + length;
                at = rest_start;
                pieces.push(Piece::Record(start, rest_start, Box::new(record)));
            }
            Ok(_) => at = start + T::BEGINNING.len(),
            Err(problem) => {
                rest_problem.get_or_insert(problem);
                at = start + T::BEGINNING.len();
            }
        }
    }
    if !line[rest_start..].trim_ascii().is_empty() {
        let parse = || json::read::<T>(&line[rest_start..], json::Form::Line, scratch).err();
        let problem = rest_problem.or_else(parse).unwrap_or_else(not_a_record);
        pieces.push(Piece::Rest(rest_start, line.len(), problem));
    }
    pieces
}

/// Whether a record can end here: where another append begins, or the line ends. An object inside
/// a record ends before a comma or a brace, so that no part of a record is taken for a whole one.
fn is_boundary(after: &[u8]) -> bool {
    matches!(after.trim_ascii_start().first(), None | Some(b'{'))
}

fn not_a_record() -> Problem {
    Problem {
        message: "this is not a record".into(),
        line: 0,
        column: 0,
        cut_off: false,
    }
}

/// Where `needle` begins in `hay`, from `from` on.
fn find(hay: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = from;
    loop {
        at += hay.get(at..)?.iter().position(|byte| *byte == first)?;
        if hay[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observation::RuntimeEvent;
    use std::time::{Duration, Instant};

    const ONE: &str = r#"{"id":1,"kind":{"kind":"runtime_started"},"message":"a"}"#;
    const TWO: &str = r#"{"id":2,"kind":{"kind":"runtime_stopped"},"message":"{\"id\":7}"}"#;

    /// `1` for the record of that id, `[…]` for bytes between.
    fn shape(line: &str) -> String {
        let problem =
            json::read::<RuntimeEvent>(line.as_bytes(), json::Form::Line, &mut Vec::new())
                .expect_err("a bad line");
        take_apart::<RuntimeEvent>(line.as_bytes(), problem, &mut Vec::new())
            .into_iter()
            .map(|piece| match piece {
                Piece::Record(_, _, record) => record.value.id.to_string(),
                Piece::Rest(from, to, _) => format!("[{}]", &line[from..to]),
            })
            .collect()
    }

    #[test]
    fn a_cut_off_record_before_or_after_a_whole_one_is_told_from_it() {
        let cut = &ONE[..20];
        assert_eq!(shape(&format!("{cut}{TWO}")), format!("[{cut}]2"));
        assert_eq!(
            shape(&format!("{ONE}{}", &TWO[..9])),
            format!("1[{}]", &TWO[..9])
        );
        assert_eq!(shape(&format!("{ONE}{TWO}")), "12");
        assert_eq!(
            shape(&format!("{cut}{ONE}{cut}{TWO}{cut}")),
            format!("[{cut}]1[{cut}]2[{cut}]")
        );
        assert_eq!(shape(&format!("\0\0\0{ONE}")), "[\0\0\0]1");
    }

    #[test]
    fn a_record_inside_a_record_is_not_taken_for_one() {
        let line = format!("{{\"id\":9,\"was\":{ONE},\"message\":\"cut");
        assert_eq!(shape(&line), format!("[{line}]"));
    }

    #[test]
    fn taking_apart_what_looks_like_many_records_ends_soon() {
        let line = r#"{"id":1,"x":"#.repeat(200_000);
        let begun = Instant::now();
        shape(&line);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
