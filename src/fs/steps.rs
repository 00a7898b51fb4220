//! The changes of the file system that are made outside redb's backend, one after the other, so that
//! a test can end the process after each of them, or let each fail; and the locks that tell what killed
//! processes left behind, so that a test can do without. Without the feature `fault-injection` nothing
//! is compiled of it but plain writes and locks.

#![cfg_attr(not(feature = "fault-injection"), allow(dead_code, unreachable_pub))]

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A change of the file system that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file was made.
    Created(PathBuf),
    /// A directory was made.
    CreatedDir(PathBuf),
    /// A file was written to.
    Written(PathBuf),
    /// A file, or the names in a directory, are on disk.
    Synced(PathBuf),
    /// The first was renamed to the second, over what may have been there.
    Renamed(PathBuf, PathBuf),
    /// The two have changed places.
    Exchanged(PathBuf, PathBuf),
    /// A file or an empty directory was removed.
    Removed(PathBuf),
}

/// A change of the file system that is about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A file is made.
    Create,
    /// A directory is made.
    CreateDir,
    /// A file is written to.
    Write,
    /// A file gets another length.
    SetLen,
    /// A file, or the names in a directory, are brought to disk.
    Sync,
    /// Something is renamed, or two change places.
    Rename,
    /// Something is removed.
    Remove,
}

#[cfg(feature = "fault-injection")]
mod watch {
    use super::{Change, Step};
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    type OnStep = Box<dyn Fn(Step) + Send + Sync>;

    static ON_STEP: OnceLock<OnStep> = OnceLock::new();

    /// Calls `on_step` after every step from now on. Only the first of a process counts.
    pub fn on_step(on_step: impl Fn(Step) + Send + Sync + 'static) {
        let _ = ON_STEP.set(Box::new(on_step));
    }

    type OnChange = Box<dyn Fn(Change) -> io::Result<()> + Send + Sync>;

    static ON_CHANGE: OnceLock<OnChange> = OnceLock::new();

    /// Calls `on_change` before every change from now on, those that redb makes to a file which is not
    /// in its place yet included; an error takes its place. Only the first of a process counts.
    pub fn on_change(on_change: impl Fn(Change) -> io::Result<()> + Send + Sync + 'static) {
        let _ = ON_CHANGE.set(Box::new(on_change));
    }

    pub(super) fn refuser() -> Option<&'static OnChange> {
        ON_CHANGE.get()
    }

    pub(super) fn watcher() -> Option<&'static OnStep> {
        ON_STEP.get()
    }

    static NO_LOCKS: AtomicBool = AtomicBool::new(false);

    /// From now on everything is staged as on a file system without locks.
    pub fn without_locks() {
        NO_LOCKS.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_locks() -> bool {
        !NO_LOCKS.load(Ordering::Relaxed)
    }
}

#[cfg(feature = "fault-injection")]
pub use watch::{on_change, on_step, without_locks};

/// Tells whoever watches that `made` was done.
#[cfg(feature = "fault-injection")]
pub(crate) fn step(made: impl FnOnce() -> Step) {
    if let Some(on_step) = watch::watcher() {
        on_step(made());
    }
}

/// Nobody can watch.
#[cfg(not(feature = "fault-injection"))]
pub(crate) fn step(_: impl FnOnce() -> Step) {}

/// Fails where whoever watches wants `change`, which comes next, to fail.
#[cfg(feature = "fault-injection")]
pub(crate) fn attempt(change: Change) -> io::Result<()> {
    watch::refuser().map_or(Ok(()), |on_change| on_change(change))
}

/// Nobody can watch.
#[cfg(not(feature = "fault-injection"))]
pub(crate) fn attempt(_: Change) -> io::Result<()> {
    Ok(())
}

/// A directory that is removed, with everything in it, when it is dropped.
#[derive(Debug)]
pub(crate) struct TemporaryDir(TempDir);

impl TemporaryDir {
    /// Makes one in `parent`, of a name that `name` says, which only this user may enter.
    pub(crate) fn new(name: &mut tempfile::Builder<'_, '_>, parent: &Path) -> io::Result<Self> {
        attempt(Change::CreateDir)?;
        let name = name.permissions(Permissions::from_mode(0o700));
        let made = name.tempdir_in(parent)?;
        step(|| Step::CreatedDir(made.path().to_owned()));
        Ok(Self(made))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if attempt(Change::Remove).is_err() {
            self.0.disable_cleanup(true);
        }
    }
}

/// Waits until the file, or the names in the directory, at `path` are on disk. All that is synced
/// outside redb is synced here: no step says so without its sync.
pub(crate) fn sync(file: impl AsFd, path: &Path) -> io::Result<()> {
    attempt(Change::Sync)?;
    // Not the bare call: elsewhere than on Linux that leaves the bytes in the disk's own memory.
    File::from(file.as_fd().try_clone_to_owned()?).sync_all()?;
    step(|| Step::Synced(path.to_owned()));
    Ok(())
}

/// Writes all of `bytes` to `file`, which is at `path`. Where somebody watches, in two halves: a kill
/// can cut off a write.
pub(crate) fn write_all(file: &mut File, bytes: &[u8], path: &Path) -> io::Result<()> {
    if let Err(error) = attempt(Change::Write) {
        // A write that fails may have come half of the way.
        file.write_all(&bytes[..bytes.len() / 2])?;
        return Err(error);
    }
    #[cfg(feature = "fault-injection")]
    let bytes = match watch::watcher() {
        None => bytes,
        Some(_) => {
            let (front, back) = bytes.split_at(bytes.len() / 2);
            file.write_all(front)?;
            step(|| Step::Written(path.to_owned()));
            back
        }
    };
    file.write_all(bytes)?;
    step(|| Step::Written(path.to_owned()));
    Ok(())
}

/// Locks an open file or directory: `true`, or `WOULDBLOCK` where somebody else has it. `false` where
/// the file system has no locks, and nobody can know.
pub(crate) fn try_lock(file: impl AsFd) -> Result<bool, Errno> {
    #[cfg(feature = "fault-injection")]
    if !watch::has_locks() {
        return Ok(false);
    }
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK | Errno::INVAL) => Ok(false),
        Err(error) => Err(error),
    }
}
