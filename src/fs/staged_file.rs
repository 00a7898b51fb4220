//! A file that appears atomically: it is written in a staging directory, synced and renamed.

use crate::fs::staging::{self, Contents, PARTIAL, STAGED, Staging, Target, Unpublished};
use crate::fs::steps::{self, Change, Step, attempt, step};
use rustix::fs::{Mode, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A staged file. Dropping it removes it, unless it was published.
#[derive(Debug)]
pub(crate) struct StagedFile {
    file: File,
    staging: Staging,
    target: Target,
}

impl StagedFile {
    /// Removes the staging directories that killed processes left for `path`, and stages a file with mode
    /// 0600.
    pub(crate) fn beside(path: &Path) -> io::Result<Self> {
        // First, since leftovers may take the space that the file needs.
        remove_leftovers([path]);
        Self::beside_leftovers(path)
    }

    /// Stages a file for `path` with mode 0600. Does not list the directory for leftovers.
    pub(crate) fn beside_leftovers(path: &Path) -> io::Result<Self> {
        let target = Target::new(path, prefix, Contents::OneFile)?;
        let staging = target.stage()?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        attempt(Change::Create)?;
        let file = File::from(rustix::fs::openat(staging.fd(), STAGED, flags, mode)?);
        step(|| Step::Created(staging.file()));
        Ok(Self {
            file,
            staging,
            target,
        })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.staging.file()
    }

    /// Another handle of the file.
    pub(crate) fn try_clone_file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Writes all bytes of `source`, which is at its beginning. A file system that can share the bytes of two
    /// files, as Btrfs and XFS do, needs neither time nor space for that (a reflink).
    pub(crate) fn fill_from(&mut self, source: &mut File) -> io::Result<()> {
        attempt(Change::Write)?;
        if !self.shares_bytes_of(source) {
            io::copy(source, &mut self.file)?;
        }
        step(|| Step::Written(self.path()));
        Ok(())
    }

    /// Makes the file share the bytes of `source`. Any refusal means that they have to be copied: another file
    /// system, or one without that call.
    #[cfg(target_os = "linux")]
    fn shares_bytes_of(&self, source: &File) -> bool {
        rustix::fs::ioctl_ficlone(&self.file, source).is_ok()
    }

    #[cfg(not(target_os = "linux"))]
    fn shares_bytes_of(&self, _: &File) -> bool {
        false
    }

    /// Syncs the file and renames it to its path. Returns its size in bytes. `AlreadyExists` if the path
    /// exists: the existing file is not replaced, and its name is synced.
    pub(crate) fn publish(self) -> Result<u64, Unpublished> {
        let bytes = self.sync()?;
        self.target.publish(self.staging)?;
        Ok(bytes)
    }

    /// Syncs the file and renames it to its path. Replaces an existing file.
    pub(crate) fn replace(self) -> Result<(), Unpublished> {
        self.sync()?;
        self.target.replace(self.staging)
    }

    /// Syncs the file. Returns its size in bytes. After an error the file must not be published: the system
    /// reports a failed write only once.
    pub(crate) fn sync(&self) -> io::Result<u64> {
        steps::sync(&self.file, &self.path())?;
        Ok(self.file.metadata()?.len())
    }
}

/// Removes the staging directories that killed processes left for `paths`. All paths are in one directory,
/// which is listed once.
pub(crate) fn remove_leftovers<'p>(paths: impl IntoIterator<Item = &'p Path>) {
    let target = |path| Target::new(path, prefix, Contents::OneFile).ok();
    let targets: Vec<_> = paths.into_iter().filter_map(target).collect();
    staging::remove_leftovers(&targets);
}

/// `.NAME.partial-`: the prefix of the staging directories of the file `name`.
fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(PARTIAL);
    prefix
}
