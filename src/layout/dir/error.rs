//! Why a directory could not be written.

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
