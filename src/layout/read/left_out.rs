//! Keeps the texts that a salvage leaves out.
//!
//! A finding has the text. The findings of a runtime together hold up to 64 MiB of texts, and their list is bounded. A
//! text beyond these bounds is stored whole as a kept file, below `left-out` in the directory of its runtime or worker:
//! `left-out/events.jsonl@1097~3` is the third such text, from byte 1097 of `events.jsonl` on.

use crate::layout::findings::bounded::{CUT_BYTES, MAX_TEXT_BYTES};
use crate::layout::findings::finding::Finding;
use crate::layout::format::names::{self, WORKERS};
use crate::layout::read::reader::{Opened, Reader};
use crate::layout::read::sink::ReadStop;
use crate::ledger::stored::kept_file::{CHUNK_BYTES, FileChunkRow, stored_path};
use crate::model::identity::WorkerId;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The directory of the texts.
pub(crate) const LEFT_OUT: &str = "left-out";

impl Reader<'_> {
    /// Adds a finding. A strict reading stops at a finding that it does not accept.
    pub(crate) fn report(&mut self, finding: Finding) -> Result<(), ReadStop> {
        let ends = self.rules.is_strict && !finding.kind.is_accepted();
        let (path, byte) = (finding.path.clone(), finding.byte.unwrap_or(0));
        if let Some(text) = self.findings.add(finding) {
            let name = self.name_of_text(&path, byte);
            let chunks = text.as_bytes().chunks(CHUNK_BYTES).map(<[u8]>::to_vec);
            for (number, chunk) in (0..).zip(chunks) {
                self.sink.file(&name, number, FileChunkRow::Bytes(chunk))?;
            }
        }
        if ends { Err(ReadStop::Refused) } else { Ok(()) }
    }

    /// Adds a finding about `length` bytes of a file from `offset` on, with these bytes.
    pub(crate) fn report_part(
        &mut self,
        file: &Opened<'_>,
        mut finding: Finding,
        (offset, length): (u64, u64),
    ) -> Result<(), ReadStop> {
        let path = finding.path.clone();
        let is_stored = self.rules.mends();
        let is_held = is_stored && length <= MAX_TEXT_BYTES;
        let held = if is_held {
            length
        } else {
            length.min(CUT_BYTES as u64)
        };
        let mut bytes = vec![0; usize::try_from(held).unwrap_or(0)];
        let read = file.read_at(&mut bytes, offset);
        let Some(read) = self.tried("read", &path, read)? else {
            return self.report(finding);
        };
        bytes.truncate(read);
        finding = finding.about(&bytes);
        finding.length = Some(length);
        if is_held || !is_stored {
            return self.report(finding);
        }
        finding.message += &format!(" (the report has only the first {read} bytes of the text)");
        self.report(finding)?;
        let name = self.name_of_text(&path, offset);
        let mut done = 0;
        for number in 0.. {
            let most = (length - done).min(CHUNK_BYTES as u64);
            let mut chunk = vec![0; usize::try_from(most).unwrap_or(0)];
            let read = file.read_at(&mut chunk, offset + done);
            let Some(read) = self.tried("read", &path, read)?.filter(|read| *read > 0) else {
                break;
            };
            chunk.truncate(read);
            done += read as u64;
            self.sink.file(&name, number, FileChunkRow::Bytes(chunk))?;
        }
        Ok(())
    }

    /// The stored path of the next text.
    fn name_of_text(&mut self, path: &Path, byte: u64) -> String {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        let (worker, below) = worker_of(below, self.is_in_root);
        let worker_dir = worker.as_ref();
        let worker_dir = worker_dir.map(|id| names::of_worker(id.as_str(), self.is_in_root));
        let dir = match &worker_dir {
            Some(name) => self.root.join(WORKERS).join(name),
            None => self.root.clone(),
        };
        loop {
            self.stored_texts += 1;
            let mut name = OsString::from(below.as_os_str());
            name.push(format!("@{byte}~{}", self.stored_texts));
            let text = Path::new(LEFT_OUT).join(name);
            // The export of an earlier salvage has such files, too. They are kept files now.
            if dir.join(&text).symlink_metadata().is_err() {
                return stored_path(worker.as_ref().map(WorkerId::as_str), &text);
            }
        }
    }
}

/// The worker of a path below a runtime directory, and the path below the directory of that.
fn worker_of(below: &Path, is_in_root: bool) -> (Option<WorkerId>, PathBuf) {
    let mut parts = below.components().map(|part| part.as_os_str());
    if parts.next().is_some_and(|first| first == WORKERS)
        && let Some(worker) = parts.next()
        && let Ok(id) = names::worker_of(worker.as_bytes(), is_in_root)
        && parts.clone().next().is_some()
    {
        return (Some(id), parts.collect());
    }
    (None, below.to_owned())
}
