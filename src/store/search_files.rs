//! Searching the kept files of a snapshot.

use crate::error::RuntimeError;
use crate::ledger::text_pattern::TextPattern;
use crate::ledger::whole::all_runtimes;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::search::Search;
use crate::store::snapshot::Snapshot;
use crate::store::snapshot_files::KeptFile;
use std::io::{self, Write};

/// The bytes of a file that are searched at a time.
const PART_BYTES: usize = 1 << 20;

/// The end of a part that is searched again with the next one, in bytes: a match can lie in both.
const OVERLAP_BYTES: usize = 64 << 10;

/// A kept file whose bytes match a search.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptFileMatch {
    /// The runtime of the file; `None` for a file of no runtime.
    pub runtime_id: Option<RuntimeId>,
    /// The file.
    pub file: KeptFile,
}

impl Snapshot {
    /// The kept files whose bytes have a match of the pattern of `search`: of the runtimes and workers that it names, or of
    /// all. Its other limits select rows, and do not apply. Bytes that are no UTF-8 match as U+FFFD. Reads each file in
    /// parts of 1 MiB, so a match of more than 64 KiB can be missed.
    ///
    /// # Errors
    ///
    /// As [`search`](Self::search).
    pub fn search_kept_files(&self, search: &Search) -> Result<Vec<KeptFileMatch>, RuntimeError> {
        let pattern = TextPattern::new(search).map_err(RuntimeError::InvalidRequest)?;
        let limits = &search.limits;
        let mut owners: Vec<Option<RuntimeId>> = Vec::new();
        match limits.runtimes.is_empty() && limits.workers.is_empty() {
            true => {
                let all = all_runtimes(&*self.view())?;
                owners.extend(all.into_iter().map(|(id, _)| Some(id)));
                owners.push(None);
            }
            false => {
                let of_workers = limits.workers.iter().map(|worker| &worker.runtime_id);
                let named = limits.runtimes.iter().chain(of_workers).cloned();
                owners.extend(named.map(Some));
                owners.sort();
                owners.dedup();
            }
        }
        let mut found = Vec::new();
        for runtime_id in owners {
            let files = match &runtime_id {
                Some(id) => self.kept_files(id)?,
                None => self.kept_files_of_no_runtime()?,
            };
            for file in files {
                let id = runtime_id.as_ref();
                let is_wanted = limits.workers.is_empty() || is_of(&limits.workers, id, &file);
                if is_wanted && self.has_match(&pattern, id, &file)? {
                    let runtime_id = runtime_id.clone();
                    found.push(KeptFileMatch { runtime_id, file });
                }
            }
        }
        Ok(found)
    }

    fn has_match(
        &self,
        pattern: &TextPattern,
        id: Option<&RuntimeId>,
        file: &KeptFile,
    ) -> Result<bool, RuntimeError> {
        if file.is_directory {
            return Ok(false);
        }
        let mut scan = FileScan {
            pattern,
            part: Vec::new(),
            has_match: false,
        };
        // The scan has no errors of its own.
        let written = self.write_kept_file(id, file, &mut scan);
        written.map_err(|error| match error.downcast::<RuntimeError>() {
            Ok(error) => error,
            Err(error) => self.view().at().io(error),
        })?;
        scan.search();
        Ok(scan.has_match)
    }
}

/// Whether a file stands below one of these workers.
fn is_of(workers: &[WorkerRef], id: Option<&RuntimeId>, file: &KeptFile) -> bool {
    let is_its = |worker: &WorkerRef| {
        Some(&worker.runtime_id) == id && Some(&worker.worker_id) == file.worker_id.as_ref()
    };
    workers.iter().any(is_its)
}

/// The search of a file that is written to it.
struct FileScan<'p> {
    pattern: &'p TextPattern,
    /// The bytes that are still to be searched, and the end of those before.
    part: Vec<u8>,
    has_match: bool,
}

impl FileScan<'_> {
    fn search(&mut self) {
        self.has_match |= self.pattern.is_in(&String::from_utf8_lossy(&self.part));
    }
}

impl Write for FileScan<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.has_match {
            return Ok(bytes.len());
        }
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART_BYTES {
            self.search();
            let rest = self.part.len() - OVERLAP_BYTES;
            self.part.drain(..rest);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
