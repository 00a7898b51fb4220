//! Reads a log, `events.jsonl` or a `transcript.jsonl`, line by line.

use crate::layout::dir::source::SourceDir;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::findings::gaps::Gaps;
use crate::layout::findings::line_endings::CrLf;
use crate::layout::format::json;
use crate::layout::format::line::{SpelledRecord, read_line};
use crate::layout::format::lines::{Line, LineReader, OwnedLine};
use crate::layout::format::problem::Problem;
use crate::layout::read::log_record::{LogRecord, LogRow};
use crate::layout::read::order::Item;
use crate::layout::read::reader::{Opened, Reader};
use crate::layout::read::salvage::{self, Piece, Pieces};
use crate::layout::read::sink::{Place, ReadStop};
use crate::ledger::stored::kept_file::stored_path;
use crate::model::attributes;
use crate::model::layout_form::{LayoutForm, Spelling};
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Checks that a record belongs to its runtime and worker. The error is the kind and message of a finding.
type Belongs<'c, T> =
    dyn for<'r> Fn(&<T as LogRecord>::Row<'r>) -> Result<(), (FindingKind, String)> + 'c;

/// Gets the records that the sink gets.
type Note<'c, T> = dyn for<'r> FnMut(&<T as LogRecord>::Row<'r>, Place<'_>) + 'c;

/// The functions that get the records of a log.
pub(crate) struct Checks<'c, T: LogRecord> {
    pub(crate) belongs: &'c Belongs<'c, T>,
    pub(crate) note: &'c mut Note<'c, T>,
}

/// The contents of a log in numbers.
#[derive(Debug)]
pub(crate) struct LogSummary {
    /// The number of the last record; 0 if there is none.
    pub(crate) last: u64,
    pub(crate) records: u64,
    /// Line and byte after the last record.
    pub(crate) end: Option<(u64, u64)>,
    /// The missing numbers.
    pub(crate) gaps: Gaps,
    /// The last number that is not missing although the log begins after it: it was pruned. `None` if that is every number
    /// before the first record.
    removed: Option<u64>,
    /// The number of the first record.
    pub(crate) first: Option<u64>,
    /// Whether the file exists.
    pub(crate) is_there: bool,
    /// The blank lines since the last record.
    blank: Vec<u8>,
    /// The blank lines after the record that is read, if it is the last one.
    after: Vec<u8>,
    crlf: CrLf,
    /// In the first of two passes: the records found so far. They are not part of the other numbers.
    found: Option<Vec<Item>>,
}

/// The runtime or the worker of a log.
pub(crate) struct Owner<'o> {
    pub(crate) runtime: &'o str,
    pub(crate) worker: Option<&'o str>,
    /// Whether its form can lack the log.
    pub(crate) can_be_missing: bool,
    /// The counter of the numbers in the log, if it is known.
    pub(crate) next: Option<u64>,
}

/// The log that a line is part of.
#[derive(Clone, Copy)]
pub(crate) struct LogOf<'l> {
    pub(crate) path: &'l Path,
    pub(crate) runtime: &'l str,
}

/// A line that may be the last one, with the blank lines before it.
struct HeldLine {
    blank: Vec<u8>,
    line: OwnedLine,
}

impl Default for LogSummary {
    fn default() -> Self {
        Self {
            last: 0,
            records: 0,
            end: None,
            gaps: Gaps::default(),
            removed: Some(0),
            first: None,
            is_there: false,
            blank: Vec::new(),
            after: Vec::new(),
            crlf: CrLf::default(),
            found: None,
        }
    }
}

impl LogSummary {
    /// Checks the counter that assigns the next number. Returns the needed value if the counter would
    /// assign a number a second time.
    pub(crate) fn check_counter(&mut self, next: u64) -> Result<(), u64> {
        if next <= self.last {
            return Err(self.last + 1);
        }
        self.note_gap(next, self.end);
        Ok(())
    }

    /// A summary of a log that retention has removed the numbers up to `removed` from; see [`removed`](Self::removed).
    pub(crate) fn of_pruned(removed: Option<u64>) -> Self {
        Self {
            removed,
            ..Self::default()
        }
    }

    /// Notes the numbers between the last record and `next` as missing.
    fn note_gap(&mut self, next: u64, at: Option<(u64, u64)>) {
        let last = match (self.first, self.removed) {
            (Some(_), _) => self.last,
            (None, Some(removed)) => self.last.max(removed),
            (None, None) => return,
        };
        self.gaps.note(last, next, at);
    }
}

impl<'a> Reader<'a> {
    /// Reads the log of a runtime or of a worker into the sink, and adds its records to `summary`. A missing log has no
    /// records.
    pub(crate) fn read_log<T: LogRecord>(
        &mut self,
        dir: &SourceDir,
        owner: &Owner<'_>,
        mut summary: LogSummary,
        checks: &mut Checks<'_, T>,
    ) -> Result<LogSummary, ReadStop> {
        let file = match owner.can_be_missing {
            true => self.open_file_if_any(dir, T::FILE)?,
            false => self.open_file(dir, T::FILE, FindingKind::MissingFile)?,
        };
        let Some(file) = file else {
            return Ok(summary);
        };
        let path = dir.path_of(T::FILE);
        let log = LogOf {
            path: &path,
            runtime: owner.runtime,
        };
        if self.needs_order::<T>(&path, &file)? {
            summary.found = Some(Vec::new());
        }
        let work_left = salvage::work_for(file.length());
        let mut lines = self.lines(file);
        summary.is_there = true;
        summary.end = Some((1, 0));
        self.read_lines(dir, (log, work_left), &mut lines, checks, &mut summary)?;
        if !summary.blank.is_empty() {
            // No record has them in its own text.
            let name = stored_path(owner.worker, Path::new(T::FILE));
            let blank = std::mem::take(&mut summary.blank);
            self.keep_text(&name, 0, blank)?;
        }
        let file = lines.into_inner().into_inner();
        if let Some(items) = summary.found.take() {
            self.read_in_order(log, &file, (items, owner.next), checks, &mut summary)?;
        }
        self.close_file(dir, file)?;
        if let Some(finding) = std::mem::take(&mut summary.crlf).finding(path) {
            self.report(finding)?;
        }
        Ok(summary)
    }

    /// Reads all lines. `work_left` bounds the work on bad ones.
    fn read_lines<T: LogRecord>(
        &mut self,
        dir: &SourceDir,
        (log, mut work_left): (LogOf<'_>, usize),
        lines: &mut LineReader<BufReader<Opened<'a>>>,
        checks: &mut Checks<'_, T>,
        summary: &mut LogSummary,
    ) -> Result<(), ReadStop> {
        let mut held: Option<HeldLine> = None;
        loop {
            let line = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    self.refused("read", log.path.to_owned(), error)?;
                    break;
                }
            };
            if !line.is_too_long() && line.bytes.trim_ascii().is_empty() {
                self.note_blank(log.path, &line, &mut summary.blank)?;
                continue;
            }
            // The line before was not the last one: the blank lines after it belong to this one.
            let mut read = match held.take() {
                Some(last) => {
                    let blank = std::mem::replace(&mut summary.blank, last.blank);
                    let line = last.line.line();
                    let read = self.read_line(log, &line, checks, summary, &mut work_left);
                    summary.blank = blank;
                    read
                }
                None => Ok(()),
            };
            if read.is_ok() && line.is_too_long() {
                summary.blank.clear();
                let finding = self.too_long(log.path, &line);
                let part = (line.offset, line.length);
                self.report_part(lines.get_ref().get_ref(), finding, part)?;
            } else if read.is_ok() && line.following != Some(b'{') {
                // It may be the last one. Then the blank lines after it belong to it.
                held = Some(HeldLine {
                    blank: std::mem::take(&mut summary.blank),
                    line: line.to_owned(),
                });
            } else if read.is_ok() {
                read = self.read_line(log, &line, checks, summary, &mut work_left);
            }
            self.unless_changed(dir, lines.get_ref().get_ref(), read)?;
        }
        let Some(last) = held else {
            return Ok(());
        };
        summary.after = std::mem::replace(&mut summary.blank, last.blank);
        let line = last.line.line();
        let read = self.read_line(log, &line, checks, summary, &mut work_left);
        self.unless_changed(dir, lines.get_ref().get_ref(), read)
    }

    /// The result of reading a line. A file that another process is writing is reported as changed, not as damaged.
    fn unless_changed(
        &mut self,
        dir: &SourceDir,
        file: &Opened<'_>,
        read: Result<(), ReadStop>,
    ) -> Result<(), ReadStop> {
        if let Err(ReadStop::Refused) = read {
            self.expect_unchanged_yet(dir, file)?;
        }
        read
    }

    /// Adds a blank line to those since the last record.
    fn note_blank(
        &mut self,
        path: &Path,
        line: &Line<'_>,
        blank: &mut Vec<u8>,
    ) -> Result<(), ReadStop> {
        let limit = self.rules.max_line_bytes;
        if blank.len() + line.bytes.len() >= limit {
            blank.clear();
            let message = format!("blank lines of more than {limit} bytes");
            let finding = Finding::new(FindingKind::LineTooLong, path.to_owned(), message);
            return self.report(finding.placed(Some((line.number, line.offset))));
        }
        blank.extend_from_slice(line.bytes);
        if line.is_ended {
            blank.push(b'\n');
        }
        Ok(())
    }

    fn too_long(&self, path: &Path, line: &Line<'_>) -> Finding {
        let message = format!(
            "the line has {} bytes, the limit is {}",
            line.length, self.rules.max_line_bytes
        );
        let finding = Finding::new(FindingKind::LineTooLong, path.to_owned(), message);
        finding.placed(Some((line.number, line.offset)))
    }

    pub(crate) fn read_line<T: LogRecord>(
        &mut self,
        log: LogOf<'_>,
        line: &Line<'_>,
        checks: &mut Checks<'_, T>,
        summary: &mut LogSummary,
        work_left: &mut usize,
    ) -> Result<(), ReadStop> {
        let text = std::str::from_utf8(line.bytes);
        let known = text.ok().and_then(|text| T::known(text, log.runtime));
        self.is_exact_line = known.is_some();
        if let Some(row) = known {
            return self.take::<T>(log, line, line.bytes, 0, row, checks, summary);
        }
        match read_line::<T>(line.bytes, log.runtime, &mut self.scratch) {
            Ok(record) => {
                let row = spelled_row::<T>(record);
                self.take::<T>(log, line, line.bytes, 0, row, checks, summary)
            }
            Err(problem) => self.read_pieces(log, line, problem, checks, summary, work_left),
        }
    }

    /// Reads the complete records of a line that is not one record.
    fn read_pieces<T: LogRecord>(
        &mut self,
        log: LogOf<'_>,
        line: &Line<'_>,
        problem: Problem,
        checks: &mut Checks<'_, T>,
        summary: &mut LogSummary,
        work_left: &mut usize,
    ) -> Result<(), ReadStop> {
        let (path, is_ended) = (log.path, line.is_ended);
        let bytes = (line.bytes, log.runtime);
        summary.blank.clear();
        let pieces = Pieces::<T>::new(bytes, is_ended, problem.clone(), *work_left);
        let (records, rests, left) = pieces.count(&mut self.scratch);
        if rests == 0 {
            let message = format!("{records} whole records in one line");
            let finding = Finding::new(FindingKind::MergedLine, path.to_owned(), message);
            self.report(finding.placed(Some((line.number, line.offset))))?;
        }
        let mut pieces = Pieces::<T>::new(bytes, is_ended, problem, *work_left);
        *work_left = left;
        while let Some(piece) = pieces.next(&mut self.scratch) {
            match piece {
                Piece::Record(from, to, record) => {
                    let bytes = &line.bytes[from..to];
                    let row = spelled_row::<T>(*record);
                    self.take::<T>(log, line, bytes, from, row, checks, summary)?;
                }
                Piece::Rest(from, to, problem) => {
                    let kind = kind_of_rest(line, (from, to), records > 0, &problem);
                    let message = in_words(&problem, (from, to));
                    let finding = Finding::new(kind, path.to_owned(), message);
                    let offset = line.offset + from as u64;
                    self.report(finding.at(line.number, offset, &line.bytes[from..to]))?;
                }
            }
        }
        Ok(())
    }

    /// Takes the time and the attributes of a record from its unknown members.
    fn take_additions<T: LogRecord>(
        &mut self,
        row: &mut T::Row<'_>,
        path: &Path,
        at: Option<(u64, u64)>,
    ) -> Result<(), ReadStop> {
        if let Err(message) = row.take_time() {
            let kind = FindingKind::UnreadableTime;
            self.report(Finding::new(kind, path.to_owned(), message).placed(at))?;
        }
        if T::HAS_ATTRIBUTES
            && let Err(message) = attributes::put_first(row.time_and_unknown().1)
        {
            let kind = FindingKind::UnreadableAttributes;
            self.report(Finding::new(kind, path.to_owned(), message).placed(at))?;
        }
        Ok(())
    }

    /// Checks a record and passes it to the sink.
    #[allow(clippy::too_many_arguments)] // A record, its place, and where it goes.
    fn take<T: LogRecord>(
        &mut self,
        log: LogOf<'_>,
        line: &Line<'_>,
        bytes: &[u8],
        from: usize,
        mut row: T::Row<'_>,
        checks: &mut Checks<'_, T>,
        summary: &mut LogSummary,
    ) -> Result<(), ReadStop> {
        let path = log.path;
        let offset = line.offset + from as u64;
        let place = Place {
            path,
            line: Some(line.number),
            byte: Some(offset),
        };
        let number = row.number();
        let refused = if number == u64::MAX {
            let message = format!(
                "{} {number} is the greatest possible number: no next one exists",
                T::NUMBER
            );
            Some((FindingKind::InvalidLine, message))
        } else if number <= summary.last {
            Some((
                FindingKind::NotIncreasing,
                not_increasing::<T>(number, summary),
            ))
        } else {
            (checks.belongs)(&row).err()
        };
        if let Some((kind, message)) = refused {
            summary.blank.clear();
            let finding = Finding::new(kind, PathBuf::from(path), message);
            return self.report(finding.at(line.number, offset, bytes));
        }
        if let Some(found) = &mut summary.found {
            // The second pass may read it between other records: the blank lines go.
            (summary.blank, summary.after) = Default::default();
            found.push(Item::new(number, line.number, (offset, bytes)));
            return Ok(());
        }
        (checks.note)(&row, place);
        let at = Some((line.number, offset));
        self.take_additions::<T>(&mut row, path, at)?;
        summary.note_gap(number, at);
        summary.first.get_or_insert(number);
        let ended = u64::from(line.is_ended);
        summary.end = Some((line.number + ended, line.offset + line.length + ended));
        summary.last = number;
        summary.records += 1;
        if line.is_ended && line.bytes.ends_with(b"\r") {
            summary.crlf.note(line.number, line.offset);
        }
        if bytes.len() == line.bytes.len() {
            self.give_own_text::<T>(line, &mut row, summary);
        }
        self.form = self.form.max(form_of_line(row.spelling()));
        T::send(row, place, self.sink)?;
        Ok(())
    }

    /// Gives a record the bytes of its line and of the blank lines around it, if an export would write others.
    fn give_own_text<T: LogRecord>(
        &mut self,
        line: &Line<'_>,
        row: &mut T::Row<'_>,
        summary: &mut LogSummary,
    ) {
        let (before, after) = (&mut summary.blank, &mut summary.after);
        let is_alone = before.is_empty() && after.is_empty() && line.is_ended;
        // A record with unknown members, with other escapes, with white space, or out of order.
        let is_other = !self.is_exact_line && {
            self.scratch.clear();
            let written = row.write_line(true, &mut self.scratch);
            written.is_err() || self.scratch.trim_ascii_end() != line.bytes
        };
        if !is_alone || is_other {
            let mut text = std::mem::take(before);
            text.extend_from_slice(line.bytes);
            if line.is_ended {
                text.push(b'\n');
            }
            text.append(after);
            // A line that was read is UTF-8, and blank lines are ASCII.
            if let Ok(text) = String::from_utf8(text) {
                row.set_own_text(text);
            }
        }
        summary.blank.clear();
    }
}

/// The oldest form whose lines have this spelling.
fn form_of_line(spelling: Spelling) -> LayoutForm {
    match (spelling.has_number_ids, spelling.is_without_runtime) {
        (_, true) => LayoutForm::F,
        (true, false) => LayoutForm::E,
        (false, false) => LayoutForm::A,
    }
}

fn spelled_row<T: LogRecord>((record, spelling): SpelledRecord<T>) -> T::Row<'static> {
    let mut row = T::Row::from(record);
    row.set_spelling(spelling);
    row
}

fn not_increasing<T: LogRecord>(number: u64, summary: &LogSummary) -> String {
    match summary.records {
        0 => format!("{} {number}, the first is 1", T::NUMBER),
        _ => format!("{} {number} after {}", T::NUMBER, summary.last),
    }
}

/// The kind of finding for a part of a line that is no record.
fn kind_of_rest(
    line: &Line<'_>,
    (from, to): (usize, usize),
    has_records: bool,
    problem: &Problem,
) -> FindingKind {
    let is_last = to == line.bytes.len() && !line.is_ended;
    if is_last && problem.cut_off {
        FindingKind::CutOff
    } else if has_records && line.bytes[from..to] != *json::BYTE_ORDER_MARK {
        FindingKind::MergedLine
    } else {
        FindingKind::InvalidLine
    }
}

/// The message about a part of a line. A position behind the part is reported as its end.
fn in_words(problem: &Problem, (from, to): (usize, usize)) -> String {
    match problem.line {
        0 => problem.message.clone(),
        _ => {
            let at = (from + problem.column).min(to);
            format!("{} at byte {at} of the line", problem.message)
        }
    }
}
