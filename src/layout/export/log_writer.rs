//! Writes the files of an export: logs record by record, documents as a whole.

use crate::layout::compare::documents::Style;
use crate::layout::dir::target::TargetFile;
use crate::layout::error::LayoutError;
use crate::layout::read::log_record::LogRow;
use crate::layout::report::RuntimeExport;

/// Counts of the records and bytes written.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) workers: u64,
    pub(crate) events: u64,
    pub(crate) transcript_entries: u64,
    /// Kept files.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Logs that the imported directory did not have.
    pub(crate) new_logs: u64,
    /// Records with a kind or a role that readers of the form do not know.
    pub(crate) not_in_form: u64,
}

impl Written {
    pub(crate) fn add(&mut self, other: &Self) {
        self.workers += other.workers;
        self.events += other.events;
        self.transcript_entries += other.transcript_entries;
        self.files += other.files;
        self.bytes += other.bytes;
        self.new_logs += other.new_logs;
        self.not_in_form += other.not_in_form;
    }

    pub(crate) fn add_to(&self, report: &mut RuntimeExport) {
        report.workers += self.workers;
        report.events += self.events;
        report.transcript_entries += self.transcript_entries;
        report.files += self.files;
        report.bytes += self.bytes;
        report.new_logs += self.new_logs;
        report.not_in_form += self.not_in_form;
    }
}

/// The records and bytes that were appended to a log.
#[derive(Clone, Copy, Default)]
pub(crate) struct Appended {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) not_in_form: u64,
}

/// Bytes written between two reports of progress.
const REPORT_BYTES: u64 = 64 << 10;

/// A log being written.
pub(crate) struct Log<'e> {
    file: TargetFile,
    /// Whether the lines have times.
    times: bool,
    style: Style,
    /// The records with a kind or a role that readers of the form do not know.
    not_in_form: u64,
    /// Whether a newline ends the last line. The last line of an imported log can lack one.
    is_line_ended: bool,
    records: u64,
    bytes: u64,
    /// Bytes that were reported as progress.
    reported: u64,
    on_bytes: &'e (dyn Fn(u64) + Sync),
}

impl<'e> Log<'e> {
    pub(crate) fn new(
        file: TargetFile,
        (style, times): (Style, bool),
        on_bytes: &'e (dyn Fn(u64) + Sync),
    ) -> Self {
        Self {
            file,
            times,
            style,
            not_in_form: 0,
            is_line_ended: true,
            records: 0,
            bytes: 0,
            reported: 0,
            on_bytes,
        }
    }

    pub(crate) fn append(&mut self, row: &impl LogRow) -> Result<(), LayoutError> {
        self.append_after(row, self.times, 0)
    }

    /// Appends a record, with its time if `times` is set, whose first `skip` bytes the file has already.
    pub(crate) fn append_after(
        &mut self,
        row: &impl LogRow,
        times: bool,
        skip: usize,
    ) -> Result<(), LayoutError> {
        self.bytes += self.file.append(|out| {
            if !self.is_line_ended {
                out.push(b'\n');
            }
            let begin = out.len();
            match (self.style.spelling(), skip) {
                (Some(spelling), _) => row.write_spelled(spelling, times, out)?,
                (None, 0) => row.write_own(times, out)?,
                (None, _) => row.write_own_line(times, out)?,
            }
            self.is_line_ended = out.ends_with(b"\n");
            out.drain(begin..out.len().min(begin + skip));
            Ok(())
        })?;
        self.records += 1;
        self.not_in_form += u64::from(row.known_from() > self.style.form);
        if self.bytes - self.reported >= REPORT_BYTES {
            self.report();
        }
        Ok(())
    }

    /// Appends the newline that the last line lacks.
    pub(crate) fn end_line(&mut self) -> Result<(), LayoutError> {
        self.bytes += self.file.append(|out| {
            out.push(b'\n');
            Ok(())
        })?;
        Ok(())
    }

    fn report(&mut self) {
        if self.reported < self.bytes {
            (self.on_bytes)(self.bytes - self.reported);
            self.reported = self.bytes;
        }
    }

    /// Whether nothing was appended.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends bytes that are no record.
    pub(crate) fn append_text(&mut self, text: &[u8]) -> Result<(), LayoutError> {
        self.bytes += self.file.append(|out| {
            out.extend_from_slice(text);
            Ok(())
        })?;
        self.is_line_ended = text.ends_with(b"\n");
        Ok(())
    }

    /// Writes and syncs everything. Returns what was appended.
    pub(crate) fn finish(mut self) -> Result<Appended, LayoutError> {
        self.report();
        self.file.finish()?;
        Ok(Appended {
            records: self.records,
            bytes: self.bytes,
            not_in_form: self.not_in_form,
        })
    }
}

/// Writes a document and syncs it. Returns its length in bytes.
pub(crate) fn write_document(mut file: TargetFile, bytes: &[u8]) -> Result<u64, LayoutError> {
    file.append(|out| {
        out.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(file.finish()?)
}
