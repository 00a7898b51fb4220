//! Takes a line apart that is not one record: finds the complete records in it, and the bytes between
//! them.
//!
//! A killed append leaves the beginning of a record, and the next append continues in the same line. So
//! the line is taken apart where a record can begin.
//!
//! A record can also be the value of an unknown member of another record. If the outer record is cut off
//! right after the inner one, the line looks like a killed append followed by a complete one. These
//! rules tell the two cases apart:
//!
//! - If the bytes before the inner record cannot continue with it, the inner record is an append.
//! - If a newline follows, it is an append: writers end only complete records with a newline.
//! - Otherwise it belongs to the record that was cut off, and is not imported.

use crate::layout::format::line::{SpelledRecord, read_prefix};
use crate::layout::format::problem::{NoRecord, Problem};
use crate::layout::read::log_record::LogRecord;
use memchr::memmem;

/// The number of bytes that may be parsed while the bad lines of a file of `file_bytes` bytes are taken
/// apart. The limit keeps the time linear for a file that was made to look like the beginnings of many
/// records.
pub(crate) fn work_for(file_bytes: u64) -> usize {
    let file_bytes = usize::try_from(file_bytes).unwrap_or(usize::MAX);
    file_bytes.saturating_mul(4).saturating_add(32 << 20)
}

/// A part of a bad line.
pub(crate) enum Piece<T> {
    /// A complete record: start, end and value.
    Record(usize, usize, Box<SpelledRecord<T>>),
    /// Bytes that are no record: start, end and reason.
    Rest(usize, usize, Problem),
}

/// Iterates over the pieces of a bad line. Not a list, because the pieces together can need many times
/// the memory of the line.
pub(crate) struct Pieces<'l, T> {
    line: &'l [u8],
    /// The runtime of the log.
    runtime: &'l str,
    /// Whether a newline ends the line.
    is_ended: bool,
    /// The start of the bytes that no piece has covered yet.
    rest_start: usize,
    /// Why they do not begin with a complete record, if that is known.
    problem: Option<Problem>,
    /// The position where the search for the next record continues.
    at: usize,
    /// The end of the longest beginning of a record that starts before `at`.
    reach: usize,
    /// The number of bytes that may still be parsed.
    work_left: usize,
    /// The record that follows the piece that was returned last.
    held: Option<Piece<T>>,
}

impl<'l, T: LogRecord> Pieces<'l, T> {
    /// The pieces of `line`, of a log of `runtime`. `problem` is the reason why the whole line is not one record.
    pub(crate) fn new(
        (line, runtime): (&'l [u8], &'l str),
        is_ended: bool,
        problem: Problem,
        work_left: usize,
    ) -> Self {
        Self {
            line,
            runtime,
            is_ended,
            rest_start: 0,
            problem: Some(problem),
            at: 0,
            reach: 0,
            work_left,
            held: None,
        }
    }

    /// Counts the records and the other pieces of the line. Also returns the remaining work.
    pub(crate) fn count(mut self, scratch: &mut Vec<u8>) -> (u64, u64, usize) {
        let (mut records, mut rests) = (0, 0);
        while let Some(piece) = self.next(scratch) {
            match piece {
                Piece::Record(..) => records += 1,
                Piece::Rest(..) => rests += 1,
            }
        }
        (records, rests, self.work_left)
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self, scratch: &mut Vec<u8>) -> Option<Piece<T>> {
        if self.held.is_some() {
            return self.held.take();
        }
        while let Some(start) = self.next_start() {
            match read_prefix::<T>(&self.line[start..], self.runtime, scratch) {
                Ok((record, length)) if self.is_whole(start + length) => {
                    return Some(self.found(start, start + length, record));
                }
                Ok((_, length)) => {
                    // Records inside this value are parts of it.
                    self.at = start + length;
                    self.problem.get_or_insert_with(not_a_record);
                }
                Err(NoRecord {
                    problem,
                    read,
                    work,
                }) => {
                    self.at = start + 1;
                    self.reach = self.reach.max(start + read);
                    self.work_left = self.work_left.saturating_sub(work);
                    self.problem.get_or_insert(problem);
                }
            }
        }
        let from = std::mem::replace(&mut self.rest_start, self.line.len());
        self.at = self.line.len();
        let problem = self.problem.take().unwrap_or_else(not_a_record);
        (!is_blank(&self.line[from..])).then_some(Piece::Rest(from, self.line.len(), problem))
    }

    /// The next position where a record can begin: right after the last one, or at the first bytes of
    /// one.
    fn next_start(&mut self) -> Option<usize> {
        if self.work_left == 0 {
            self.problem = Some(Problem::new(
                "too many beginnings of records; the rest of the line was not parsed",
            ));
            return None;
        }
        match self.at == self.rest_start {
            true => (self.at < self.line.len()).then_some(self.at),
            false => {
                let found = memmem::find(&self.line[self.at..], T::BEGINNING)?;
                Some(self.at + found)
            }
        }
    }

    /// Whether a parsed record that ends at `end` is an append, by the rules of this module.
    fn is_whole(&self, end: usize) -> bool {
        let is_its_own = end > self.reach;
        match self.line[end..].iter().find(|byte| !is_space(**byte)) {
            None => is_its_own || self.is_ended,
            // A file has NUL bytes where a crash lost the data of a block.
            Some(b'{' | 0) => is_its_own,
            Some(_) => false,
        }
    }

    /// Returns a record, after the bytes between the last one and it.
    fn found(&mut self, start: usize, end: usize, record: SpelledRecord<T>) -> Piece<T> {
        let record = Piece::Record(start, end, Box::new(record));
        let from = std::mem::replace(&mut self.rest_start, end);
        let problem = self.problem.take();
        self.at = end;
        self.reach = 0;
        if is_blank(&self.line[from..start]) {
            return record;
        }
        self.held = Some(record);
        Piece::Rest(from, start, problem.unwrap_or_else(not_a_record))
    }
}

/// Whitespace that may surround a record.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().copied().all(is_space)
}

fn not_a_record() -> Problem {
    Problem::new("not a record")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::format::json;
    use crate::model::observation::RuntimeEvent;

    const ONE: &str = r#"{"id":1,"kind":{"kind":"runtime_started"},"message":"a"}"#;
    const TWO: &str = r#"{"id":2,"kind":{"kind":"runtime_stopped"},"message":"{\"id\":7}"}"#;

    fn pieces(line: &str, is_ended: bool) -> Pieces<'_, RuntimeEvent> {
        let bytes = line.as_bytes();
        let problem = json::read::<RuntimeEvent>(bytes, json::Form::Line, &mut Vec::new())
            .expect_err("a bad line");
        Pieces::new(
            (bytes, "r"),
            is_ended,
            problem,
            work_for(bytes.len() as u64),
        )
    }

    /// `1` for the record of that id, `[…]` for bytes between.
    fn shape_of(line: &str, is_ended: bool) -> String {
        let mut pieces = pieces(line, is_ended);
        let mut shape = String::new();
        while let Some(piece) = pieces.next(&mut Vec::new()) {
            shape += &match piece {
                Piece::Record(_, _, record) => record.0.value.id.to_string(),
                Piece::Rest(from, to, _) => format!("[{}]", &line[from..to]),
            };
        }
        shape
    }

    /// The same whether or not the line is ended.
    fn shape(line: &str) -> String {
        let shape = shape_of(line, false);
        assert_eq!(shape_of(line, true), shape);
        shape
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
        assert_eq!(shape(&format!("{ONE} {TWO}\r")), "12");
        assert_eq!(
            shape(&format!("{cut}{ONE}{cut}{TWO}{cut}")),
            format!("[{cut}]1[{cut}]2[{cut}]")
        );
        assert_eq!(shape(&format!("\0\0\0{ONE}")), "[\0\0\0]1");
        assert_eq!(shape(&format!("{ONE}\0\0\0")), "1[\0\0\0]");
        assert_eq!(shape(&format!("{ONE}\0\0{TWO}")), "1[\0\0]2");
    }

    #[test]
    fn what_no_value_can_hold_keeps_no_record_from_being_told_from_what_is_around_it() {
        for kept in [
            "1e999",
            "\"\\ud800\"",
            &format!("{}{}", "[".repeat(200), "]".repeat(200)),
        ] {
            let odd = ONE.replace(
                "\"runtime_started\"",
                &format!("\"runtime_started\",\"x\":{kept}"),
            );
            assert_eq!(shape(&format!("{odd}{TWO}")), "12");
            let cut = &odd[..odd.len() - 9];
            assert_eq!(shape(&format!("{cut}{TWO}")), format!("[{cut}]2"));
            let problem =
                json::read::<RuntimeEvent>(cut.as_bytes(), json::Form::Line, &mut Vec::new());
            assert!(problem.unwrap_err().cut_off);
        }
    }

    #[test]
    fn a_record_inside_a_record_is_not_taken_for_one() {
        for was in [ONE.to_owned(), format!("[{ONE}"), format!("{{\"x\":{ONE}")] {
            for after in [",\"message\":\"cut", ",", " ", "}", ""] {
                let line = format!("{{\"id\":9,\"was\":{was}{after}");
                assert_eq!(shape_of(&line, false), format!("[{line}]"));
                // The next append keeps nothing of it either.
                assert_eq!(
                    shape_of(&format!("{line}{TWO}"), true),
                    format!("[{line}]2")
                );
            }
        }
    }

    #[test]
    fn a_record_that_a_newline_ends_is_whole_wherever_the_one_before_it_was_cut_off() {
        let line = format!("{{\"id\":9,\"was\":{ONE}");
        assert_eq!(shape_of(&line, true), "[{\"id\":9,\"was\":]1");
    }

    #[test]
    fn as_many_records_as_there_are_come_out_of_one_line() {
        let line = ONE.repeat(5000);
        let pieces = pieces(&line, true);
        let (records, rests, _) = pieces.count(&mut Vec::new());
        assert_eq!((records, rests), (5000, 0));
    }

    #[test]
    fn taking_apart_what_looks_like_many_records_is_bounded_work() {
        let line = r#"{"id":1,"x":"#.repeat(200_000);
        let mut pieces = pieces(&line, true);
        assert!(
            matches!(pieces.next(&mut Vec::new()), Some(Piece::Rest(0, to, _)) if to == line.len())
        );
        assert!(pieces.next(&mut Vec::new()).is_none());
        assert_eq!(pieces.work_left, 0);
    }
}
