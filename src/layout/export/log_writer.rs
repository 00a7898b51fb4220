//! Writes the files of an export: logs record by record, documents as a whole.

use crate::layout::dir::target::TargetFile;
use crate::layout::error::LayoutError;
use crate::layout::format::document::{RemovedWorkers, RuntimeDocument, WorkerDocument};
use crate::layout::format::json::{self, Form};
use crate::layout::read::log_record::LogRow;
use crate::layout::report::RuntimeExport;
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored, WorkerRetention,
};

/// Counts of the records and bytes written.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) workers: u64,
    pub(crate) events: u64,
    pub(crate) transcript_entries: u64,
    pub(crate) bytes: u64,
}

impl Written {
    pub(crate) fn add(&mut self, other: &Self) {
        self.workers += other.workers;
        self.events += other.events;
        self.transcript_entries += other.transcript_entries;
        self.bytes += other.bytes;
    }

    pub(crate) fn add_to(&self, report: &mut RuntimeExport) {
        report.workers += self.workers;
        report.events += self.events;
        report.transcript_entries += self.transcript_entries;
        report.bytes += self.bytes;
    }
}

/// Bytes written between two reports of progress.
const REPORT_BYTES: u64 = 64 << 10;

/// A log being written.
pub(crate) struct Log<'e> {
    file: TargetFile,
    /// Whether the lines have times.
    times: bool,
    records: u64,
    bytes: u64,
    /// Bytes that were reported as progress.
    reported: u64,
    on_bytes: &'e (dyn Fn(u64) + Sync),
}

impl<'e> Log<'e> {
    pub(crate) fn new(file: TargetFile, times: bool, on_bytes: &'e (dyn Fn(u64) + Sync)) -> Self {
        Self {
            file,
            times,
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
            let begin = out.len();
            row.write_line(times, out)?;
            out.drain(begin..out.len().min(begin + skip));
            Ok(())
        })?;
        self.records += 1;
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

    /// Writes and syncs everything. Returns how many records and bytes were appended.
    pub(crate) fn finish(mut self) -> Result<(u64, u64), LayoutError> {
        self.report();
        self.file.finish()?;
        Ok((self.records, self.bytes))
    }
}

pub(crate) fn write_runtime_document(
    mut file: TargetFile,
    runtime: Stored<PersistedRuntimeSnapshot>,
    first_event_id: u64,
    removed: RemovedWorkers,
) -> Result<u64, LayoutError> {
    let document = RuntimeDocument::from(runtime.value)
        .beginning_at(first_event_id)
        .without_workers(removed);
    file.append(|out| json::write(&document, &runtime.unknown, Form::Document, out))?;
    Ok(file.finish()?)
}

pub(crate) fn write_worker_document(
    mut file: TargetFile,
    worker: Stored<PersistedWorkerSnapshot>,
    retention: WorkerRetention,
) -> Result<u64, LayoutError> {
    let document = WorkerDocument::from(worker.value).retained(retention);
    file.append(|out| json::write(&document, &worker.unknown, Form::Document, out))?;
    Ok(file.finish()?)
}
