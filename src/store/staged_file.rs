//! A file that is written beside its place and appears there whole.
//!
//! It is locked while its process lives. So one that a killed process left behind is told from one
//! that is still being written, and the next run removes it.

use super::backend::WithoutLocks;
use super::context::At;
use crate::error::RuntimeError;
use crate::steps::{Step, step};
use redb::backends::FileBackend;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A staged file; removed when dropped without being put into its place.
#[derive(Debug)]
pub(crate) struct StagedFile {
    file: NamedTempFile,
    place: PathBuf,
    directory: PathBuf,
}

impl StagedFile {
    /// Stages a file for `place`, with mode 0600, and removes what killed runs left behind.
    pub(crate) fn beside(place: &Path) -> io::Result<Self> {
        let directory = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = place
            .file_name()
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path names no file"))?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".partial-");
        remove_leftovers(directory, &prefix)?;
        let file = create_locked(directory, &prefix)?;
        step(|| Step::Created(file.path().to_owned()));
        Ok(Self {
            file,
            place: place.to_owned(),
            directory: directory.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// For redb. Nobody knows of the file: it needs no locks.
    pub(crate) fn backend(&self, at: At<'_>) -> Result<WithoutLocks<FileBackend>, RuntimeError> {
        let file = self.file.reopen().map_err(|error| at.io(error))?;
        let backend = FileBackend::new(file).map_err(|error| at.redb(error))?;
        Ok(WithoutLocks(backend))
    }

    /// Writes everything in `source`.
    pub(crate) fn fill_from(&mut self, source: &mut File) -> io::Result<()> {
        io::copy(source, self.file.as_file_mut())?;
        step(|| Step::Written(self.path().to_owned()));
        Ok(())
    }

    /// Puts the file, synced, into its place; `AlreadyExists` where something is there, which then
    /// stays, with its name on disk. Returns its size in bytes.
    pub(crate) fn publish(self) -> io::Result<u64> {
        let bytes = self.sync()?;
        let staged = self.path().to_owned();
        let published = match self.file.persist_noclobber(&self.place) {
            Ok(file) => {
                step(|| Step::Renamed(staged, self.place));
                unlock(&file)
            }
            Err(error) => Err(error.error),
        };
        sync_directory(&self.directory)?;
        published.map(|()| bytes)
    }

    /// Puts the file, synced, into its place, over what may be there.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.sync()?;
        let staged = self.path().to_owned();
        let file = self
            .file
            .persist(&self.place)
            .map_err(|error| error.error)?;
        step(|| Step::Renamed(staged, self.place));
        unlock(&file)?;
        sync_directory(&self.directory)
    }

    fn sync(&self) -> io::Result<u64> {
        let file = self.file.as_file();
        file.sync_all()?;
        step(|| Step::Synced(self.path().to_owned()));
        Ok(file.metadata()?.len())
    }
}

/// Gives up the lock of a file that is in its place. Closing it is not enough: a process that is being
/// started inherits the open file, with the lock, until it runs its own program.
fn unlock(file: &File) -> io::Result<()> {
    match file.unlock() {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        unlocked => unlocked,
    }
}

/// Makes what was created or renamed in `directory` survive a power loss.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
        step(|| Step::Synced(directory.to_owned()));
    }
    Ok(())
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
            Ok(file) if file.try_lock().is_ok() => match std::fs::remove_file(entry.path()) {
                Ok(()) => step(|| Step::Removed(entry.path())),
                // It came into its place meanwhile, or another run removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            },
            _ => {}
        }
    }
    Ok(())
}
