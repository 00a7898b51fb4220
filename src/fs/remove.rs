//! Removes a directory with its contents.

use crate::fs::steps::{Change, Step, attempt, step};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Removes `name` in the directory `parent`, and everything below it. A symbolic link is removed, not
/// followed. Does nothing if `name` does not exist. `path` is the path of `name`, for the hooks.
///
/// Each step opens a name in an open directory. A path would follow a link that another process puts in the
/// place of a directory in the meantime.
pub(crate) fn remove_all(parent: impl AsFd, name: &OsStr, path: &Path) -> io::Result<()> {
    let parent = parent.as_fd();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let flags = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(dir) => {
            for entry in Dir::read_from(&dir)? {
                let name = CString::from(entry?.file_name()).into_bytes();
                if name != b"." && name != b".." {
                    let name = OsString::from_vec(name);
                    remove_all(&dir, &name, &path.join(&name))?;
                }
            }
            AtFlags::REMOVEDIR
        }
        // A link or a file: which of these errors a link gives depends on the system.
        Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK) => AtFlags::empty(),
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    attempt(Change::Remove)?;
    rustix::fs::unlinkat(parent, name, flags)?;
    step(|| Step::Removed(path.to_owned()));
    Ok(())
}
