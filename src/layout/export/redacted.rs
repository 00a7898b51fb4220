//! Entries of a directory that the store has redacted since: an update writes their logs anew, staged.
//!
//! The new log has every byte of the old one except the lines of these entries. So lines that retention has removed from
//! the store stay, and so do the times and the spelling of all others.

use crate::layout::dir::error::DirError;
use crate::layout::dir::target::{TargetDir, TargetFile, temporary_name};
use crate::layout::error::LayoutError;
use crate::layout::export::earlier_state::not_a_prefix;
use crate::layout::read::log_record::{LogRecord, LogRow};
use crate::layout::report::RuntimeExport;
use crate::model::identity::WorkerRef;
use crate::model::interaction::TranscriptEntry;
use crate::store::snapshot::Snapshot;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// An entry whose line is written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Redacted {
    /// The offset of its line in the log, in bytes.
    pub(crate) byte: u64,
    /// Its position in the store.
    pub(crate) position: u64,
    /// Whether the line has a time.
    pub(crate) has_time: bool,
}

/// Writes the log of a worker anew, with other lines for `redacted`, which are in the order of the log. `dirs` are those of
/// the runtime and of the worker: a directory of a worker never has a temporary file.
pub(crate) fn rewrite_log(
    snapshot: &Snapshot,
    (runtime_dir, worker_dir): (&TargetDir, &TargetDir),
    worker: &WorkerRef,
    redacted: &[Redacted],
    report: &mut RuntimeExport,
) -> Result<(), LayoutError> {
    if redacted.is_empty() {
        return Ok(());
    }
    let path = worker_dir.path_of(TranscriptEntry::FILE);
    let opened = worker_dir.as_source().open_file(TranscriptEntry::FILE);
    let opened = opened.map_err(|_| changed(&path))?;
    let mut old = BufReader::new(opened);
    let temporary = temporary_name();
    let mut file = runtime_dir.create_file(&temporary)?;
    let mut at = 0;
    for one in redacted {
        copy(&mut old, one.byte - at, &path, &mut file)?;
        let mut line = Vec::new();
        let read = old.read_until(b'\n', &mut line);
        at = one.byte + read.map_err(DirError::io("read", &path))? as u64;
        let mut entries = snapshot.written_transcript(worker, one.position)?;
        let entry = entries.next().transpose()?.ok_or_else(|| changed(&path))?;
        let row = TranscriptEntry::of_store(entry);
        file.append(|buffer| row.write_own_line(one.has_time, buffer))?;
    }
    copy(&mut old, u64::MAX, &path, &mut file)?;
    report.bytes += file.finish()?;
    report.redacted_entries += redacted.len() as u64;
    runtime_dir.rename_over(&temporary, worker_dir, TranscriptEntry::FILE)?;
    worker_dir.sync()?;
    Ok(())
}

/// Appends the next `length` bytes of a log to `file`, or all that are left.
fn copy(
    old: &mut BufReader<impl Read>,
    length: u64,
    path: &Path,
    file: &mut TargetFile,
) -> Result<(), DirError> {
    let mut left = length;
    while left > 0 {
        let bytes = old.fill_buf().map_err(DirError::io("read", path))?;
        if bytes.is_empty() {
            return Ok(());
        }
        let some = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        file.append(|buffer| {
            buffer.extend_from_slice(&bytes[..some]);
            Ok(())
        })?;
        old.consume(some);
        left -= some as u64;
    }
    Ok(())
}

/// The log is not the one that was compared with the store.
fn changed(path: &Path) -> LayoutError {
    not_a_prefix(path, None, "the log changed while it was updated")
}
