//! Lines that end in CRLF instead of LF.

use crate::layout::findings::finding::{Finding, FindingKind};
use std::path::PathBuf;

/// The lines of a file that end in CRLF.
#[derive(Debug, Default)]
pub(crate) struct CrLf {
    /// The number and the offset of the first such line.
    first: Option<(u64, u64)>,
    lines: u64,
}

impl CrLf {
    /// The lines of a document.
    pub(crate) fn of_document(bytes: &[u8]) -> Self {
        let mut crlf = Self::default();
        // Most documents have no CR, so one search is enough for them.
        if memchr::memchr(b'\r', bytes).is_some() {
            let mut offset = 0;
            for (number, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
                if line.ends_with(b"\r\n") {
                    crlf.note(number, offset);
                }
                offset += line.len() as u64;
            }
        }
        crlf
    }

    pub(crate) fn note(&mut self, number: u64, offset: u64) {
        self.first.get_or_insert((number, offset));
        self.lines += 1;
    }

    pub(crate) fn finding(self, path: PathBuf) -> Option<Finding> {
        let first = self.first?;
        let message = match self.lines {
            1 => "the line ends in CRLF".to_owned(),
            lines => format!("{lines} lines from this one on end in CRLF"),
        };
        Some(Finding::new(FindingKind::LineEnding, path, message).placed(Some(first)))
    }
}
