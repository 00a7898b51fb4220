//! Fault-injection hooks for the changes of the file system outside redb's backend.
//!
//! Every change passes through this file. A test can end the process after each change, make each change
//! fail, and simulate a file system without locks. Without the feature `fault-injection` only the plain
//! writes, syncs and locks are compiled.

#![cfg_attr(not(feature = "fault-injection"), allow(dead_code, unreachable_pub))]

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A completed change of the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file was created.
    Created(PathBuf),
    /// A directory was created.
    CreatedDir(PathBuf),
    /// A file was written to.
    Written(PathBuf),
    /// A file, or the names in a directory, were synced.
    Synced(PathBuf),
    /// The first path was renamed to the second, and may have replaced a file there.
    Renamed(PathBuf, PathBuf),
    /// The two paths were exchanged.
    Exchanged(PathBuf, PathBuf),
    /// A file or an empty directory was removed.
    Removed(PathBuf),
}

/// The kind of the next change of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A file is created.
    Create,
    /// A directory is created.
    CreateDir,
    /// A file is written to.
    Write,
    /// The length of a file is set.
    SetLen,
    /// A file, or the names in a directory, are synced.
    Sync,
    /// A file or directory is renamed, or two are exchanged.
    Rename,
    /// A file or directory is removed.
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

    /// Calls `on_step` after every later step. Only the first call in a process has an effect.
    pub fn on_step(on_step: impl Fn(Step) + Send + Sync + 'static) {
        let _ = ON_STEP.set(Box::new(on_step));
    }

    type OnChange = Box<dyn Fn(Change) -> io::Result<()> + Send + Sync>;

    static ON_CHANGE: OnceLock<OnChange> = OnceLock::new();

    /// Calls `on_change` before every later change, the changes of redb to a staged file included. If it
    /// returns an error, the change fails with that error. Only the first call in a process has an effect.
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

    /// Makes all later staging behave as on a file system without locks.
    pub fn without_locks() {
        NO_LOCKS.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_locks() -> bool {
        !NO_LOCKS.load(Ordering::Relaxed)
    }

    static NO_EXCHANGE: AtomicBool = AtomicBool::new(false);
    static NO_MOVES: AtomicBool = AtomicBool::new(false);

    /// From now on no two directories are exchanged, as on a file system that cannot.
    pub fn without_exchange() {
        NO_EXCHANGE.store(true, Ordering::Relaxed);
    }

    /// From now on no directory that is replaced can be renamed either, as one of a lower layer of
    /// overlayfs.
    pub fn without_moves() {
        without_exchange();
        NO_MOVES.store(true, Ordering::Relaxed);
    }

    pub(super) fn can_exchange() -> bool {
        !NO_EXCHANGE.load(Ordering::Relaxed)
    }

    pub(super) fn can_move() -> bool {
        !NO_MOVES.load(Ordering::Relaxed)
    }
}

#[cfg(feature = "fault-injection")]
pub use watch::{on_change, on_step, without_exchange, without_locks, without_moves};

/// Whether two directories may be exchanged. `true` does not say that the system can.
pub(crate) fn can_exchange() -> bool {
    #[cfg(feature = "fault-injection")]
    return watch::can_exchange();
    #[cfg(not(feature = "fault-injection"))]
    true
}

/// Whether a directory that is replaced may be renamed. `true` does not say that the system can.
pub(crate) fn can_move_directories() -> bool {
    #[cfg(feature = "fault-injection")]
    return watch::can_move();
    #[cfg(not(feature = "fault-injection"))]
    true
}

/// Reports a completed step to the hook.
#[cfg(feature = "fault-injection")]
pub(crate) fn step(made: impl FnOnce() -> Step) {
    if let Some(on_step) = watch::watcher() {
        on_step(made());
    }
}

/// Does nothing: this build has no hooks.
#[cfg(not(feature = "fault-injection"))]
pub(crate) fn step(_: impl FnOnce() -> Step) {}

/// Fails if the hook makes `change`, which comes next, fail.
#[cfg(feature = "fault-injection")]
pub(crate) fn attempt(change: Change) -> io::Result<()> {
    watch::refuser().map_or(Ok(()), |on_change| on_change(change))
}

/// Does nothing: this build has no hooks.
#[cfg(not(feature = "fault-injection"))]
pub(crate) fn attempt(_: Change) -> io::Result<()> {
    Ok(())
}

/// A directory that is removed with its contents when it is dropped.
#[derive(Debug)]
pub(crate) struct TemporaryDir(TempDir);

impl TemporaryDir {
    /// Creates a directory in `parent` with mode 0700 and a name that `name` generates.
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
        // A removal that a hook makes fail must leave the directory behind, as a real failure would.
        if attempt(Change::Remove).is_err() {
            self.0.disable_cleanup(true);
        }
    }
}

/// Syncs the file at `path`, or the names in the directory at `path`, to disk. Every sync outside redb is
/// made here, so no [`Step::Synced`] is reported without a sync.
pub(crate) fn sync(file: impl AsFd, path: &Path) -> io::Result<()> {
    attempt(Change::Sync)?;
    // Not a bare `fsync`: on macOS that leaves the bytes in the cache of the disk; `sync_all` does not.
    File::from(file.as_fd().try_clone_to_owned()?).sync_all()?;
    step(|| Step::Synced(path.to_owned()));
    Ok(())
}

/// Writes all of `bytes` to `file`, which is at `path`. With a hook it writes two halves with a step between
/// them, because a kill can cut off a write.
pub(crate) fn write_all(file: &mut File, bytes: &[u8], path: &Path) -> io::Result<()> {
    if let Err(error) = attempt(Change::Write) {
        // A write that fails can have written a part of the bytes.
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

/// Locks an open file or directory without waiting. `WOULDBLOCK` if another process has the lock. `false` if
/// the file system does not support locks.
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
