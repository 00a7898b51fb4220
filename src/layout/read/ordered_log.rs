//! Reads a log in the order of its numbers, for a salvage.
//!
//! A log that is in order is read once, as in a strict import. A quick look at the beginnings of its lines decides that.
//! Any other log is read twice: the first pass finds the records and where they are, [`order`](super::order) decides
//! which ones stay, and the second pass reads those one by one. That takes 24 bytes of memory for each record, and 40
//! while the order is decided.

use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::lines::Line;
use crate::layout::read::log::{Checks, LogOf, LogSummary};
use crate::layout::read::log_record::LogRecord;
use crate::layout::read::order::{Excess, Item, LeftOut, order};
use crate::layout::read::reader::{Opened, Reader};
use crate::layout::read::salvage;
use crate::layout::read::sink::ReadStop;
use std::io;
use std::path::Path;

/// The size of a read, in bytes.
const WINDOW_BYTES: usize = 256 * 1024;

/// The length of the longest beginning of a record with its number, in bytes.
const HEAD_BYTES: usize = 64;

impl Reader<'_> {
    /// Whether the log has to be read in the order of its numbers, and not in that of its lines.
    pub(crate) fn needs_order<T: LogRecord>(
        &mut self,
        path: &Path,
        file: &Opened<'_>,
    ) -> Result<bool, ReadStop> {
        if !self.rules.mends() {
            return Ok(false);
        }
        let is_in_order = is_in_order::<T>(file);
        Ok(self.tried("read", path, is_in_order)? != Some(true))
    }

    /// Reads the records that the first pass has found into the sink, in the order of their numbers, and reports the
    /// others. `limit` is the next number, if it is known.
    pub(crate) fn read_in_order<T: LogRecord>(
        &mut self,
        log: LogOf<'_>,
        file: &Opened<'_>,
        (items, limit): (Vec<Item>, Option<u64>),
        checks: &mut Checks<'_, T>,
        summary: &mut LogSummary,
    ) -> Result<(), ReadStop> {
        let path = log.path;
        let is_same = |a: &Item, b: &Item| -> io::Result<bool> {
            Ok(a.length == b.length && bytes_of(file, a)? == bytes_of(file, b)?)
        };
        let ordered = order(items, limit, is_same);
        let Some(order) = self.tried("read", path, ordered)? else {
            return Ok(());
        };
        let of_run = order.kept.len() - order.moved;
        let last_of_run = order.kept.last().map_or(0, |item| item.number);
        if let Some(first) = order.first_moved {
            let (moved, number) = (order.moved, T::NUMBER);
            let message = format!(
                "{moved} of {} records are not in the order of their {number}s; they are imported in that order",
                of_run + moved
            );
            let finding = Finding::new(FindingKind::NotIncreasing, path.to_owned(), message);
            self.report(finding.placed(place_of(&first)))?;
        }
        for left in &order.left_out {
            let bytes = bytes_of(file, &left.item);
            let Some(bytes) = self.tried("read", path, bytes)? else {
                continue;
            };
            let message = reason::<T>(left, last_of_run);
            let finding = Finding::new(FindingKind::NotIncreasing, path.to_owned(), message);
            self.report(finding.placed(place_of(&left.item)).about(&bytes))?;
        }
        let mut window = Window::new(file);
        let mut work_left = salvage::work_for(file.length());
        for item in &order.kept {
            let Some(bytes) = self.tried("read", path, window.bytes(item))? else {
                continue;
            };
            let line = Line {
                number: item.line.into(),
                offset: item.offset,
                bytes,
                length: item.length.into(),
                // An export must not write two records in one line.
                is_ended: true,
                following: None,
            };
            self.read_line(log, &line, checks, summary, &mut work_left)?;
        }
        Ok(())
    }
}

impl Item {
    /// The record `number` of a line, with its offset in the file.
    pub(crate) fn new(number: u64, line: u64, (offset, bytes): (u64, &[u8])) -> Self {
        Self {
            number,
            offset,
            // The limit of lines is at most `MAX_ITEM_BYTES` in a salvage.
            length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            line: u32::try_from(line).unwrap_or(u32::MAX),
        }
    }
}

/// Line and byte of a record, where its line is known.
fn place_of(item: &Item) -> Option<(u64, u64)> {
    (item.line != u32::MAX).then_some((item.line.into(), item.offset))
}

fn reason<T: LogRecord>(left: &LeftOut, last: u64) -> String {
    let (number, what) = (left.item.number, T::NUMBER);
    let other = left.other_line.unwrap_or(0);
    match left.why {
        Excess::Repeat => format!("{what} {number} again, the same record as in line {other}"),
        Excess::Taken => format!("{what} {number} again, another record than in line {other}"),
        Excess::Beyond => {
            format!(
                "{what} {number} is not part of the longest increasing run, which ends with {last}"
            )
        }
    }
}

/// Whether each line begins like a record, with a greater number than the one before. Empty lines are skipped.
fn is_in_order<T: LogRecord>(file: &Opened<'_>) -> io::Result<bool> {
    let mut buffer =
        vec![0; WINDOW_BYTES.min(usize::try_from(file.length()).unwrap_or(WINDOW_BYTES))];
    let (mut at, mut last, mut is_in_line) = (0, 0, false);
    loop {
        let read = file.read_at(&mut buffer, at)?;
        let is_end = read < buffer.len() || at + read as u64 == file.length();
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            if !is_in_line {
                if rest.len() < HEAD_BYTES && !is_end {
                    break;
                }
                match number_of::<T>(rest) {
                    Some(number) if number > last => last = number,
                    None if rest.starts_with(b"\n") || rest.starts_with(b"\r\n") => {}
                    _ => return Ok(false),
                }
            }
            match memchr::memchr(b'\n', rest) {
                Some(end) => (rest, is_in_line) = (&rest[end + 1..], false),
                None => (rest, is_in_line) = (&[], true),
            }
        }
        if is_end {
            return Ok(true);
        }
        at += (read - rest.len()) as u64;
    }
}

/// The number of a record that begins as every writer writes it.
fn number_of<T: LogRecord>(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(T::BEGINNING)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

fn bytes_of(file: &Opened<'_>, item: &Item) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; item.length as usize];
    let read = file.read_at(&mut bytes, item.offset)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Reads records of a file through a buffer, so that those which follow each other take one read together.
struct Window<'f, 'a> {
    file: &'f Opened<'a>,
    start: u64,
    buffer: Vec<u8>,
}

impl<'f, 'a> Window<'f, 'a> {
    fn new(file: &'f Opened<'a>) -> Self {
        Self {
            file,
            start: 0,
            buffer: Vec::new(),
        }
    }

    fn bytes(&mut self, item: &Item) -> io::Result<&[u8]> {
        let length = item.length as usize;
        let end = item.offset + u64::from(item.length);
        if item.offset < self.start || end > self.start + self.buffer.len() as u64 {
            self.start = item.offset;
            self.buffer.resize(length.max(WINDOW_BYTES), 0);
            let read = self.file.read_at(&mut self.buffer, item.offset);
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            read?;
        }
        // The file may have become shorter since: `close_file` reports that.
        let from = usize::try_from(item.offset - self.start).unwrap_or(usize::MAX);
        let bytes = self.buffer.get(from..).unwrap_or_default();
        Ok(&bytes[..length.min(bytes.len())])
    }
}
