//! Why a directory could not be written.

use rustix::io::Errno;
use std::io;
use std::path::PathBuf;

/// Why a directory could not be written. `LayoutError` has the same variants: this type lets the room
/// stand below it.
#[derive(Debug)]
pub(crate) enum DirError {
    /// An operation of the file system failed.
    Io {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// An entry of that name exists and must not be overwritten.
    Exists { path: PathBuf },
    /// An entry of that name has another kind than the layout expects.
    InTheWay { path: PathBuf, message: String },
    /// Another export holds the lock of the directory.
    Busy { path: PathBuf },
    /// The record cannot be written as JSON.
    Unwritable { path: PathBuf, message: String },
}

/// Whether an error of the system speaks of the content: the disk or the file system cannot read the bytes
/// that it has stored.
///
/// Every other error speaks of this process or of its rights: too few descriptors, too little memory, a
/// missing permission. The same bytes can be read later, so they must not be reported as damaged.
pub(crate) fn is_about_content(error: &io::Error) -> bool {
    // A checksum or a structure of the file system that is wrong has errors of its own on Linux.
    const EUCLEAN: i32 = 117;
    let code = error.raw_os_error();
    let errno = code.map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::IO | Errno::BADMSG | Errno::NODATA | Errno::ILSEQ)
    ) || (cfg!(target_os = "linux") && code == Some(EUCLEAN))
}

impl DirError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}
