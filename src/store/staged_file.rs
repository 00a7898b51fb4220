//! A file that is written beside its place and appears there whole.
//!
//! It is locked while its process lives. So one that a killed process left behind is told from one
//! that is still being written, and the next run removes it.

use super::context::At;
use super::open::sync_directory;
use crate::error::RuntimeError;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A staged file; removed when dropped without being published.
#[derive(Debug)]
pub(crate) struct StagedFile {
    file: NamedTempFile,
    directory: PathBuf,
}

impl StagedFile {
    /// Stages a file for `at.path`, with mode 0600, and removes what killed runs left behind.
    pub(crate) fn new(at: At<'_>) -> Result<Self, RuntimeError> {
        if std::fs::symlink_metadata(at.path).is_ok() {
            return Err(at.io(ErrorKind::AlreadyExists.into()));
        }
        let directory = match at.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = at.path.file_name().ok_or_else(|| {
            at.io(io::Error::new(
                ErrorKind::InvalidInput,
                "the path names no file",
            ))
        })?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".partial-");
        remove_leftovers(directory, &prefix).map_err(|error| at.io(error))?;
        let file = create_locked(directory, &prefix).map_err(|error| at.io(error))?;
        Ok(Self {
            file,
            directory: directory.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// A handle of its own.
    pub(crate) fn reopen(&self) -> io::Result<File> {
        self.file.reopen()
    }

    /// Puts the file, synced, into its place; refuses to replace what is there. Returns its size in
    /// bytes.
    pub(crate) fn publish(self, at: At<'_>) -> Result<u64, RuntimeError> {
        let file = self.file.as_file();
        file.sync_all().map_err(|error| at.io(error))?;
        let bytes = file.metadata().map_err(|error| at.io(error))?.len();
        self.file
            .persist_noclobber(at.path)
            .map_err(|error| at.io(error.error))?;
        sync_directory(&self.directory).map_err(|error| at.io(error))?;
        Ok(bytes)
    }
}

fn create_locked(directory: &Path, prefix: &OsString) -> io::Result<NamedTempFile> {
    loop {
        let file = tempfile::Builder::new()
            .prefix(prefix)
            .tempfile_in(directory)?;
        match file.as_file().try_lock() {
            // Another run may have taken it for a leftover before it was locked.
            Ok(()) if file.path().exists() => return Ok(file),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                return Ok(file);
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn remove_leftovers(directory: &Path, prefix: &OsString) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name
            .as_encoded_bytes()
            .starts_with(prefix.as_encoded_bytes());
        if !is_ours || !entry.file_type()?.is_file() {
            continue;
        }
        // Whose process lives is locked.
        match File::open(entry.path()) {
            Ok(file) if file.try_lock().is_ok() => std::fs::remove_file(entry.path())?,
            _ => {}
        }
    }
    Ok(())
}
