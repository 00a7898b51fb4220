//! Reads the lines of a file one at a time, with their positions. A line that is longer than the limit is
//! skipped without being held in memory.

use std::io::{self, BufRead};

/// The number of bytes of a too long line that are held for its finding.
const HELD_OF_LONG_LINE_BYTES: usize = 1024;

/// One line, without the newline that ends it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Its number, counted from 1.
    pub(crate) number: u64,
    /// The offset of its first byte in the file.
    pub(crate) offset: u64,
    /// Its bytes; only the first ones if the line is too long.
    pub(crate) bytes: &'a [u8],
    /// The length of the whole line, in bytes.
    pub(crate) length: u64,
    /// Whether a newline ends it. Only the last line can lack one.
    pub(crate) is_ended: bool,
    /// The byte after the newline; `None` where it was not read yet, and at the end of the file.
    pub(crate) following: Option<u8>,
}

impl Line<'_> {
    pub(crate) fn is_too_long(&self) -> bool {
        self.length > self.bytes.len() as u64
    }
}

impl Line<'_> {
    /// The line with a copy of its bytes.
    pub(crate) fn to_owned(&self) -> OwnedLine {
        OwnedLine {
            number: self.number,
            offset: self.offset,
            bytes: self.bytes.to_vec(),
            is_ended: self.is_ended,
        }
    }
}

/// A line that is not too long, and that outlives the next one.
pub(crate) struct OwnedLine {
    number: u64,
    offset: u64,
    bytes: Vec<u8>,
    is_ended: bool,
}

impl OwnedLine {
    pub(crate) fn line(&self) -> Line<'_> {
        Line {
            number: self.number,
            offset: self.offset,
            bytes: &self.bytes,
            length: self.bytes.len() as u64,
            is_ended: self.is_ended,
            following: None,
        }
    }
}

/// Reads lines into one buffer.
pub(crate) struct LineReader<R> {
    reader: R,
    /// The number of bytes in the buffer of `reader` that the last line used.
    used: usize,
    limit_bytes: usize,
    /// A line that the buffer of `reader` does not hold completely.
    buffer: Vec<u8>,
    next_number: u64,
    next_offset: u64,
}

impl<R: BufRead> LineReader<R> {
    /// A reader of lines of up to `limit_bytes`, without the newline.
    pub(crate) fn new(reader: R, limit_bytes: usize) -> Self {
        Self {
            reader,
            used: 0,
            limit_bytes,
            buffer: Vec::new(),
            next_number: 1,
            next_offset: 0,
        }
    }

    pub(crate) fn get_ref(&self) -> &R {
        &self.reader
    }

    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.reader.consume(std::mem::take(&mut self.used));
        let ready = match self.reader.fill_buf() {
            // `next_gathered` reads again: `read_until` retries after an interrupt.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => &[],
            ready => ready?,
        };
        // One byte beyond the limit: the newline of a line of exactly the limit.
        let ready = &ready[..ready.len().min(self.limit_bytes.saturating_add(1))];
        match memchr::memchr(b'\n', ready) {
            Some(length) => self.next_ready(length).map(Some),
            None => self.next_gathered(),
        }
    }

    /// The next line, if the buffer of `reader` holds all its `length` bytes and its newline. It is borrowed
    /// without a copy.
    fn next_ready(&mut self, length: usize) -> io::Result<Line<'_>> {
        self.used = length + 1;
        let (number, offset) = (self.next_number, self.next_offset);
        self.next_number += 1;
        self.next_offset += self.used as u64;
        let ready = self.reader.fill_buf()?;
        Ok(Line {
            number,
            offset,
            bytes: &ready[..length],
            length: length as u64,
            is_ended: true,
            following: ready.get(length + 1).copied(),
        })
    }

    /// The next line, copied piece by piece; `None` at the end.
    fn next_gathered(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let read = self.read_some(self.limit_bytes.saturating_add(1))?;
        if read == 0 {
            return Ok(None);
        }
        let mut length = read as u64;
        let mut is_ended = self.buffer.ends_with(b"\n");
        if is_ended {
            self.buffer.pop();
        } else if read > self.limit_bytes {
            self.buffer
                .truncate(HELD_OF_LONG_LINE_BYTES.min(self.limit_bytes));
            let held = self.buffer.len();
            while !is_ended {
                let more = self.read_some(64 * 1024)?;
                if more == 0 {
                    break;
                }
                length += more as u64;
                is_ended = self.buffer.ends_with(b"\n");
                self.buffer.truncate(held);
            }
        }
        let (number, offset) = (self.next_number, self.next_offset);
        self.next_number += 1;
        self.next_offset += length;
        Ok(Some(Line {
            number,
            offset,
            bytes: &self.buffer,
            length: length - u64::from(is_ended),
            is_ended,
            following: None,
        }))
    }

    /// Appends the bytes up to and including the next newline, at most `most`.
    fn read_some(&mut self, most: usize) -> io::Result<usize> {
        io::Read::take(&mut self.reader, most as u64).read_until(b'\n', &mut self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// Number, offset, text, length, and whether a newline ends the line.
    type Seen = (u64, u64, String, u64, bool);

    /// Reads all lines, and asserts that they do not depend on the size of the reader's buffer.
    fn all(text: &str, limit_bytes: usize) -> Vec<Seen> {
        let whole = seen(text.as_bytes(), limit_bytes);
        for ready_bytes in [1, 2, 3, 5, 1000] {
            let reader = BufReader::with_capacity(ready_bytes, text.as_bytes());
            assert_eq!(seen(reader, limit_bytes), whole, "{ready_bytes} at a time");
        }
        whole
    }

    fn seen(reader: impl BufRead, limit_bytes: usize) -> Vec<Seen> {
        let mut lines = LineReader::new(reader, limit_bytes);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let bytes = String::from_utf8(line.bytes.to_vec()).unwrap();
            seen.push((line.number, line.offset, bytes, line.length, line.is_ended));
        }
        seen
    }

    #[test]
    fn every_line_has_its_number_and_offset() {
        assert_eq!(
            all("ab\n\nc", 10),
            [
                (1, 0, "ab".into(), 2, true),
                (2, 3, String::new(), 0, true),
                (3, 4, "c".into(), 1, false),
            ]
        );
        assert_eq!(all("", 10), []);
    }

    #[test]
    fn lines_beyond_the_limit_are_skipped() {
        assert_eq!(all("abcd\n", 4), [(1, 0, "abcd".into(), 4, true)]);
        assert_eq!(all("abcd", 4), [(1, 0, "abcd".into(), 4, false)]);
        assert_eq!(all("abcde\n", 4), [(1, 0, "abcd".into(), 5, true)]);
        let long = format!("{}\nx\n", "y".repeat(100_000));
        let seen = all(&long, 4);
        assert_eq!(seen[0], (1, 0, "yyyy".into(), 100_000, true));
        assert_eq!(seen[1], (2, 100_001, "x".into(), 1, true));
    }

    #[test]
    fn short_limit_still_marks_lines_too_long() {
        let mut lines = LineReader::new(&b"abcdef"[..], 3);
        assert!(lines.next().unwrap().unwrap().is_too_long());
    }
}
