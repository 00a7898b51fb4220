//! Reads of kept files: those of an imported directory that the model has no place for.

use crate::error::RuntimeError;
use crate::ledger::checks::refuse_long_id;
use crate::ledger::convert;
use crate::ledger::stored::kept_file::{
    FileChunkRow, after_files, is_document, is_empty_log, parsed_path, stored_path,
};
use crate::ledger::table_names::NO_RUNTIME;
use crate::model::identity::{RuntimeId, WorkerId};
use crate::model::layout_form::DocumentOrigin;
use crate::store::snapshot::{Snapshot, until_error};
use std::io::{self, Write};
use std::path::PathBuf;

/// A file of an imported directory that the model has no place for. The store has it as it was, and an export writes it
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptFile {
    /// The worker whose directory has the file; `None` for the directory of the runtime.
    pub worker_id: Option<WorkerId>,
    /// The path below that directory. A name need not be UTF-8.
    pub path: PathBuf,
    /// The length of the file, in bytes; 0 for a directory.
    pub bytes: u64,
    /// Whether this is an empty directory.
    pub is_directory: bool,
}

fn owner(id: Option<&RuntimeId>) -> &str {
    id.map_or(NO_RUNTIME, RuntimeId::as_str)
}

impl Snapshot {
    /// The files of a runtime that the model has no place for, with their lengths, sorted by their stored paths. Reads all
    /// of their bytes. Empty for an unknown runtime.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn kept_files(&self, id: &RuntimeId) -> Result<Vec<KeptFile>, RuntimeError> {
        refuse_long_id(id.as_str())?;
        match self.view().runtime(id.as_str())? {
            Some(_) => self.listed_files(Some(id)),
            // It can be deleted, with rows that are left.
            None => Ok(Vec::new()),
        }
    }

    /// The files in `runtimes` of imported directories that belong to no runtime, as
    /// [`kept_files`](Self::kept_files).
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn kept_files_of_no_runtime(&self) -> Result<Vec<KeptFile>, RuntimeError> {
        self.listed_files(None)
    }

    fn listed_files(&self, id: Option<&RuntimeId>) -> Result<Vec<KeptFile>, RuntimeError> {
        let mut files: Vec<KeptFile> = Vec::new();
        for prefix in ["r/", "w/"] {
            self.each_kept_chunk(id, prefix, |path, chunk, row| {
                let bytes = match &row {
                    FileChunkRow::Bytes(bytes) => convert::stored_size(bytes.len()),
                    FileChunkRow::Directory | FileChunkRow::Origin(_) => 0,
                };
                if chunk > 0 {
                    if let Some(last) = files.last_mut() {
                        last.bytes += bytes;
                    }
                    return Ok::<_, RuntimeError>(());
                }
                let damaged = || {
                    self.view()
                        .at()
                        .corrupt(format!("table files: no path {path:?}"))
                };
                let (worker, path) = parsed_path(path).ok_or_else(damaged)?;
                files.push(KeptFile {
                    worker_id: worker.and_then(WorkerId::new),
                    path,
                    bytes,
                    is_directory: row == FileChunkRow::Directory,
                });
                Ok(())
            })?;
        }
        Ok(files)
    }

    /// Writes the bytes of a file that [`kept_files`](Self::kept_files) or
    /// [`kept_files_of_no_runtime`](Self::kept_files_of_no_runtime) has listed, with the runtime `id` or `None`. Memory
    /// does not grow with the file. Returns the number of bytes; 0 for a file that the store does not have.
    ///
    /// # Errors
    ///
    /// The errors of `out`, and those of [`runtime_ids`](Self::runtime_ids) with [`io::ErrorKind::Other`].
    pub fn write_kept_file(
        &self,
        id: Option<&RuntimeId>,
        file: &KeptFile,
        out: &mut dyn Write,
    ) -> io::Result<u64> {
        let worker = file.worker_id.as_ref().map(WorkerId::as_str);
        let path = stored_path(worker, &file.path);
        let (mut chunk, mut written) = (0, 0);
        while let Some(FileChunkRow::Bytes(bytes)) = self
            .file_chunk(id, &path, chunk)
            .map_err(io::Error::other)?
        {
            out.write_all(&bytes)?;
            written += convert::stored_size(bytes.len());
            chunk += 1;
        }
        Ok(written)
    }

    /// Calls `each` with every chunk of the kept files of a runtime, or with `None` of no runtime, whose stored path begins
    /// with `prefix`, which ends in `/`. Paths and chunks increase. Files of workers that are deleted are left out, and so
    /// are the own texts of documents and of logs without records.
    pub(crate) fn each_kept_chunk<E: From<RuntimeError>>(
        &self,
        id: Option<&RuntimeId>,
        prefix: &str,
        mut each: impl FnMut(&str, u64, FileChunkRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = after_files(prefix);
        let mut next = self.next_file(id, prefix, false)?;
        while let Some(path) = next.filter(|path| *path < end) {
            if self.is_kept(id, &path)? {
                self.each_file_chunk(id, &path, &mut each)?;
            }
            next = self.next_file(id, &path, true)?;
        }
        Ok(())
    }

    /// Whether a stored path is that of a kept file whose owner exists.
    pub(crate) fn is_kept(&self, id: Option<&RuntimeId>, path: &str) -> Result<bool, RuntimeError> {
        if id.is_some() && (is_document(path) || is_empty_log(path)) {
            return Ok(false);
        }
        match parsed_path(path) {
            Some((Some(worker), _)) => Ok(self.view().worker(owner(id), &worker)?.is_some()),
            _ => Ok(true),
        }
    }

    /// The first path of a file of a runtime, or with `None` of no runtime, from `from` on, and after it if `is_after` is
    /// set.
    pub(crate) fn next_file(
        &self,
        id: Option<&RuntimeId>,
        from: &str,
        is_after: bool,
    ) -> Result<Option<String>, RuntimeError> {
        self.view().next_file(owner(id), from, is_after)
    }

    /// A chunk of a file.
    pub(crate) fn file_chunk(
        &self,
        id: Option<&RuntimeId>,
        path: &str,
        chunk: u64,
    ) -> Result<Option<FileChunkRow>, RuntimeError> {
        self.view().file_chunk(owner(id), path, chunk)
    }

    /// Calls `each` with every chunk of the file at `path`.
    pub(crate) fn each_file_chunk<E: From<RuntimeError>>(
        &self,
        id: Option<&RuntimeId>,
        path: &str,
        mut each: impl FnMut(&str, u64, FileChunkRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let view = self.view();
        let mut expected = 0;
        until_error(|stop| {
            view.each_chunk_of(owner(id), path, &mut |chunk, row| {
                if chunk != expected {
                    let message = format!("table files: {path:?} lacks chunk {expected}");
                    return Err(view.at().corrupt(message));
                }
                expected = chunk.saturating_add(1);
                stop.unless(view.at(), each(path, chunk, row))
            })
        })
    }

    /// The own text of a document, with its form and the members that it lacks; `None` for a document that an export
    /// writes from the model alone.
    pub(crate) fn document_text(
        &self,
        id: &RuntimeId,
        path: &str,
    ) -> Result<Option<(DocumentOrigin, Vec<u8>)>, RuntimeError> {
        self.view().document_text(id.as_str(), path)
    }
}
