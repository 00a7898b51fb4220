//! The staging directory: a file is written there and then renamed to its path.
//!
//! A staging directory is in the directory of the path, because a rename does not cross file systems. Its
//! name is a prefix and six random letters and digits. Its process holds a lock on it. The system releases
//! the lock when the process ends, so the next run can tell a leftover from a directory in use, and removes
//! the leftover. The file itself is never locked: another process may open it as soon as it is published.

use crate::fs::names::file_name;
use crate::fs::remove::remove_all;
use crate::fs::steps::{self, Change, Step, TemporaryDir, attempt, step, try_lock};
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The name of the file while it is staged.
pub(crate) const STAGED: &str = "store";

/// The number of random letters and digits at the end of the name of a staging directory.
const RANDOM_CHARS: usize = 6;

/// The end of the prefix of staging directories for one file: `.NAME.partial-`.
pub(crate) const PARTIAL: &str = ".partial-";

/// The first bytes of a staged file, once redb has written them. Until then they are zeros.
const STAGED_MAGIC: &[u8] = b"redb";

/// The mode of a staging directory.
const STAGING_MODE: u32 = 0o700;

/// The path at which a file is to appear.
#[derive(Debug)]
pub(crate) struct Target {
    directory: PathBuf,
    open: File,
    name: OsString,
    /// The prefix of its staging directories.
    prefix: OsString,
    contents: Contents,
}

/// The contents of a staging directory, which limit the files that the removal of a leftover may remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// The staged file alone. A directory with any other file was not created by this crate and is not
    /// removed.
    OneFile,
    /// A staged store, and the files and staging directories that opening it creates next to it.
    Store,
}

/// Why a file was not published.
#[derive(Debug)]
pub(crate) enum Unpublished {
    /// It is not in its place.
    Failed(io::Error),
    /// It is in its place, but syncing the directory failed: a power loss can undo the move.
    Moved(io::Error),
}

impl Unpublished {
    /// The error of the system.
    pub(crate) fn into_io(self) -> io::Error {
        let (Self::Failed(error) | Self::Moved(error)) = self;
        error
    }
}

impl From<io::Error> for Unpublished {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Target {
    /// The target `path`. `InvalidInput` if the path names no file.
    pub(crate) fn new(
        path: &Path,
        prefix: impl FnOnce(&OsStr) -> OsString,
        contents: Contents,
    ) -> io::Result<Self> {
        let directory = parent_of(path);
        let name = file_name(path)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path names no file"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            directory: directory.to_owned(),
            open: File::from(rustix::fs::open(directory, flags, Mode::empty())?),
            name: name.to_owned(),
            prefix: prefix(name),
            contents,
        })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// Creates a staging directory with mode 0700, and locks it.
    pub(crate) fn stage(&self) -> io::Result<Staging> {
        loop {
            let mut name = tempfile::Builder::new();
            name.prefix(&self.prefix).rand_bytes(RANDOM_CHARS);
            let path = TemporaryDir::new(&mut name, &self.directory)?;
            let name = path.path().file_name().unwrap_or_default();
            let locked = self.lock(name);
            let is_there = path.path().symlink_metadata().is_ok();
            match locked {
                Ok((open, _)) if is_there => return Ok(Staging { path, open }),
                // Between the creation and the lock, another process took the directory for a leftover and
                // locked or removed it.
                Ok(_) | Err(Errno::WOULDBLOCK) => {}
                Err(_) if !is_there => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Opens the directory `name`, never through a link, and locks it. `false` if the file system does not
    /// support locks.
    fn lock(&self, name: &OsStr) -> Result<(LockedDir, bool), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = File::from(rustix::fs::openat(&self.open, name, flags, Mode::empty())?);
        let is_locked = try_lock(&open)?;
        Ok((LockedDir(open), is_locked))
    }

    /// Renames the synced file of `staging` to the path and syncs the directory. `AlreadyExists` if the path
    /// exists: the existing file is not replaced, and its name is synced.
    pub(crate) fn publish(&self, staging: Staging) -> Result<(), Unpublished> {
        let moved = self.rename_new(&staging);
        self.finish(staging, moved)
    }

    fn rename_new(&self, staging: &Staging) -> io::Result<()> {
        let (from, to, name) = (staging.fd(), &self.open, &self.name);
        attempt(Change::Rename)?;
        match rustix::fs::renameat_with(from, STAGED, to, name, RenameFlags::NOREPLACE) {
            // The file system lacks that flag. `linkat` fails on an existing name, too. The staged name is
            // removed with its directory.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                rustix::fs::linkat(from, STAGED, to, name, AtFlags::empty())?;
            }
            renamed => renamed?,
        }
        Ok(())
    }

    /// Renames the synced file of `staging` to the path, replaces an existing file, and syncs the directory.
    pub(crate) fn replace(&self, staging: Staging) -> Result<(), Unpublished> {
        let (from, to) = (staging.fd(), &self.open);
        let moved = attempt(Change::Rename)
            .and_then(|()| Ok(rustix::fs::renameat(from, STAGED, to, &self.name)?));
        self.finish(staging, moved)
    }

    /// Syncs the directory, also if the rename failed: the caller may then open the file that another
    /// process published, and its name must survive a power loss.
    fn finish(&self, staging: Staging, moved: io::Result<()>) -> Result<(), Unpublished> {
        if moved.is_ok() {
            step(|| Step::Renamed(staging.file(), self.path()));
        }
        let synced = steps::sync(&self.open, &self.directory);
        match (moved, synced) {
            (Ok(()), Ok(())) => {}
            (Ok(()), Err(error)) => return Err(Unpublished::Moved(error)),
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(Unpublished::Failed(error)),
        }
        let path = staging.path.path().to_owned();
        // The file is published: a failure to remove the empty directory is ignored.
        drop(staging);
        step(|| Step::Removed(path));
        Ok(())
    }

    /// Removes the locked staging directory `name`.
    fn remove_leftover(&self, name: &OsStr, locked: &LockedDir) -> io::Result<()> {
        let path = self.directory.join(name);
        if self.contents == Contents::Store {
            // The store, and the staging directories that it had in here.
            let is_ours = |name: &OsStr| {
                let mut beside = OsString::from(".");
                beside.push(STAGED);
                let beside = beside.as_encoded_bytes();
                name == STAGED || name.as_encoded_bytes().starts_with(beside)
            };
            return match locked.names()?.iter().all(|name| is_ours(name)) {
                true => remove_all(&self.open, name, &path),
                false => Ok(()),
            };
        }
        attempt(Change::Remove)?;
        match rustix::fs::unlinkat(&locked.0, STAGED, AtFlags::empty()) {
            Ok(()) => step(|| Step::Removed(path.join(STAGED))),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        attempt(Change::Remove)?;
        rustix::fs::unlinkat(&self.open, name, AtFlags::REMOVEDIR)?;
        step(|| Step::Removed(path));
        Ok(())
    }

    /// Whether `name` has the form of a staging directory of this target.
    fn is_staging(&self, name: &OsStr) -> bool {
        without_random(name) == Some(self.prefix.as_encoded_bytes())
    }

    /// Whether a staging directory for another file in the same directory could have that name.
    fn is_staging_of_other(&self, name: &OsStr) -> bool {
        let Some(front) = without_random(name).filter(|_| self.contents == Contents::OneFile)
        else {
            return false;
        };
        let named = front.strip_suffix(PARTIAL.as_bytes());
        named.is_some_and(|named| named.len() > 1 && named.starts_with(b"."))
    }
}

/// The name of a staging directory without its random end; `None` where it has none.
fn without_random(name: &OsStr) -> Option<&[u8]> {
    let name = name.as_encoded_bytes();
    let (front, random) = name.split_at_checked(name.len().checked_sub(RANDOM_CHARS)?)?;
    let is_random = random.iter().all(u8::is_ascii_alphanumeric);
    is_random.then_some(front)
}

/// Removes the staging directories that killed processes left for `targets`. All targets are in one
/// directory, which is listed once. Ignores errors: a leftover that cannot be removed, for example one of
/// another user, takes space but does no harm.
///
/// Staging directories for other files are removed, too: a backup has the date in its name, so no later run
/// has that name again. These must look exactly as ours do, because a name alone is little evidence.
pub(crate) fn remove_leftovers(targets: &[Target]) {
    let Some(Ok(entries)) = targets
        .first()
        .map(|target| std::fs::read_dir(&target.directory))
    else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let own = targets.iter().find(|target| target.is_staging(&name));
        let other = || {
            let mut targets = targets.iter();
            targets.find(|target| target.is_staging_of_other(&name))
        };
        let Some(target) = own.or_else(other) else {
            continue;
        };
        // On a file system without locks a live process cannot be told from a killed one: leave it.
        if let Ok((locked, true)) = target.lock(&name)
            && (own.is_some() || locked.is_certainly_ours().unwrap_or(false))
        {
            let _ = target.remove_leftover(&name, &locked);
        }
    }
}

/// The directory that contains the last name of `path`.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A locked directory.
#[derive(Debug)]
struct LockedDir(File);

impl LockedDir {
    fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let name = OsString::from_vec(CString::from(entry?.file_name()).into_bytes());
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Whether this is a staging directory beyond doubt: private, and with nothing in it but a file that
    /// redb began to write.
    fn is_certainly_ours(&self) -> io::Result<bool> {
        let mode = self.0.metadata()?.permissions().mode();
        let names = self.names()?;
        if mode & 0o7777 != STAGING_MODE || names.iter().any(|name| name != STAGED) {
            return Ok(false);
        }
        if names.is_empty() {
            return Ok(true);
        }
        // NONBLOCK: opening a pipe of that name must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.0, STAGED, flags, Mode::empty())?);
        let mut begin = Vec::new();
        let is_file = file.metadata()?.is_file();
        file.take(STAGED_MAGIC.len() as u64)
            .read_to_end(&mut begin)?;
        Ok(is_file && (begin == STAGED_MAGIC || begin.iter().all(|byte| *byte == 0)))
    }
}

/// Unlocks the directory. To close it is not enough: a child process between `fork` and `exec` shares the
/// open directory, and so the lock.
impl Drop for LockedDir {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// A locked staging directory. Dropping it removes it with its files.
#[derive(Debug)]
pub(crate) struct Staging {
    path: TemporaryDir,
    open: LockedDir,
}

impl Staging {
    /// The path of the staged file.
    pub(crate) fn file(&self) -> PathBuf {
        self.path.path().join(STAGED)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.open.0.as_fd()
    }
}
