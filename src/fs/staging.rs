//! The staging directory in which a file is written before it appears in its place.
//!
//! A staging directory stands in the directory of the place. Its name is a prefix and six random
//! letters and digits, and its process holds a lock on it while it lives. So a directory that a killed
//! process left behind can be told from one that is still in use, and the next run removes it. The
//! file itself is never locked: another process may open it as soon as it is in its place.

use crate::fs::names::file_name;
use crate::fs::remove::remove_all;
use crate::fs::steps::{self, Change, Step, TemporaryDir, attempt, step, try_lock};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// The name of the file while it is staged.
pub(crate) const STAGED: &str = "store";

/// How many random letters and digits the name of a staging directory ends with.
const RANDOM_CHARS: usize = 6;

/// Where a file is to appear.
#[derive(Debug)]
pub(crate) struct Target {
    directory: PathBuf,
    open: File,
    name: OsString,
    /// The start of the names of its staging directories.
    prefix: OsString,
    contents: Contents,
}

/// What a staging directory holds, and so what may be removed of a leftover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// The staged file. A directory that holds another file is not a leftover of ours: it stays.
    OneFile,
    /// The staged file and the files that the store next to it creates, which has staging
    /// directories of its own.
    Store,
}

impl Target {
    /// The target `path`. `InvalidInput` where the path names no file.
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

    /// Creates a staging directory, which only this user may enter, and locks it.
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
                // Another run took it for a leftover before it was locked.
                Ok(_) | Err(Errno::WOULDBLOCK) => {}
                Err(_) if !is_there => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Opens the directory `name`, never through a link, and locks it. `false` where the file system
    /// has no locks.
    fn lock(&self, name: &OsStr) -> Result<(LockedDir, bool), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = File::from(rustix::fs::openat(&self.open, name, flags, Mode::empty())?);
        let is_locked = try_lock(&open)?;
        Ok((LockedDir(open), is_locked))
    }

    /// Moves the synced file of `staging` to the place and syncs the directory. `AlreadyExists` where
    /// something is there: it stays, with its name on disk.
    pub(crate) fn publish(&self, staging: Staging) -> io::Result<()> {
        let moved = self.rename_new(&staging);
        self.finish(staging, moved)
    }

    fn rename_new(&self, staging: &Staging) -> io::Result<()> {
        let (from, to, name) = (staging.fd(), &self.open, &self.name);
        attempt(Change::Rename)?;
        match rustix::fs::renameat_with(from, STAGED, to, name, RenameFlags::NOREPLACE) {
            // A link, too, is made only where nothing is; the staged name goes with its directory.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                rustix::fs::linkat(from, STAGED, to, name, AtFlags::empty())?;
            }
            renamed => renamed?,
        }
        Ok(())
    }

    /// Moves the synced file of `staging` over the file at the place, and syncs the directory.
    pub(crate) fn replace(&self, staging: Staging) -> io::Result<()> {
        let (from, to) = (staging.fd(), &self.open);
        let moved = attempt(Change::Rename)
            .and_then(|()| Ok(rustix::fs::renameat(from, STAGED, to, &self.name)?));
        self.finish(staging, moved)
    }

    /// Syncs the directory after a move that may have failed: the file that is in the place, ours or
    /// another's, then survives a power loss.
    fn finish(&self, staging: Staging, moved: io::Result<()>) -> io::Result<()> {
        if moved.is_ok() {
            step(|| Step::Renamed(staging.file(), self.path()));
        }
        steps::sync(&self.open, &self.directory)?;
        moved?;
        let path = staging.path.path().to_owned();
        // The file is in its place: failing to remove the empty directory is no failure.
        drop(staging);
        step(|| Step::Removed(path));
        Ok(())
    }

    /// Removes the staging directory `name`, which is locked.
    fn remove_leftover(&self, name: &OsStr, locked: &LockedDir) -> io::Result<()> {
        let path = self.directory.join(name);
        if self.contents == Contents::Store {
            return remove_all(&self.open, name, &path);
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

    /// Whether a staging directory for this target could have that name.
    fn is_staging(&self, name: &OsStr) -> bool {
        let random = name
            .as_encoded_bytes()
            .strip_prefix(self.prefix.as_encoded_bytes());
        random.is_some_and(|random| {
            random.len() == RANDOM_CHARS && random.iter().all(u8::is_ascii_alphanumeric)
        })
    }
}

/// Removes the staging directories that killed runs left for any of `targets`, which are in one
/// directory: it is listed once. Best effort: a leftover that cannot be removed, because it is another
/// user's, say, does no harm.
pub(crate) fn remove_leftovers(targets: &[Target]) {
    let Some(Ok(entries)) = targets
        .first()
        .map(|target| std::fs::read_dir(&target.directory))
    else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(target) = targets.iter().find(|target| target.is_staging(&name)) else {
            continue;
        };
        // Without locks it cannot be known whether its process lives: it stays.
        if let Ok((locked, true)) = target.lock(&name) {
            let _ = target.remove_leftover(&name, &locked);
        }
    }
}

/// The directory that the name at the end of `path` stands in.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A locked directory.
#[derive(Debug)]
struct LockedDir(File);

/// Unlocks. Closing the directory is not enough: a process that is being started has it open, with the
/// lock, until it runs its own program.
impl Drop for LockedDir {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// A staging directory, locked while it is open; dropping it removes it and its files.
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
