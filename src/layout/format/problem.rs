//! Why bytes are not a record, and at which position.

/// A record of this length or more gets a less precise error message, because taking it apart for the
/// message would need several times its length in memory.
pub(crate) const LONG_BYTES: usize = 1 << 20;

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The problem in words, without a position.
    pub(crate) message: String,
    /// The line in the bytes, from 1; 0 without a position.
    pub(crate) line: usize,
    /// The byte in the line, from 0.
    pub(crate) column: usize,
    /// Whether the bytes end too early, so that they can be the beginning of a record.
    pub(crate) cut_off: bool,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            line: 0,
            column: 0,
            cut_off: false,
        }
    }

    /// A problem at an offset in `bytes`.
    pub(crate) fn at(message: impl Into<String>, bytes: &[u8], offset: usize) -> Self {
        let before = &bytes[..offset];
        let newline = memchr::memrchr(b'\n', before);
        Self {
            message: message.into(),
            line: 1 + memchr::memchr_iter(b'\n', before).count(),
            column: offset - newline.map_or(0, |index| index + 1),
            cut_off: false,
        }
    }

    /// The offset in `bytes`; `None` without a position.
    pub(crate) fn offset_in(&self, bytes: &[u8]) -> Option<usize> {
        let mut newlines = memchr::memchr_iter(b'\n', bytes);
        let line_start = match self.line {
            0 => return None,
            1 => 0,
            line => newlines.nth(line - 2).map_or(0, |index| index + 1),
        };
        Some(line_start + self.column)
    }

    /// Why `bytes` could not be parsed.
    pub(crate) fn of(error: serde_json::Error, bytes: &[u8]) -> Self {
        let mut problem = Self::from(error);
        // serde_json calls a number that ends too early invalid, where it calls other values cut off.
        let is_at_end = problem.line == 1 && problem.column + 1 == bytes.len();
        problem.cut_off |= is_at_end
            && problem.message == "invalid number"
            && matches!(bytes.last(), Some(b'-' | b'+' | b'.' | b'e' | b'E'));
        problem
    }
}

/// Why bytes do not begin with a complete record.
#[derive(Debug)]
pub(crate) struct NoRecord {
    pub(crate) problem: Problem,
    /// The number of bytes that can be the beginning of one.
    pub(crate) read: usize,
    /// The number of bytes that were parsed to find that out.
    pub(crate) work: usize,
}

impl NoRecord {
    /// Of the first `length` bytes.
    pub(crate) fn of(problem: Problem, length: usize, work: usize) -> Self {
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
