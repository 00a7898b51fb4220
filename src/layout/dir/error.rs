//! Why a directory could not be written.

use std::io;
use std::path::PathBuf;

/// Why a directory could not be written. The layout's own error takes it over, variant by variant.
#[derive(Debug)]
pub(crate) enum DirError {
    /// The system refused an access.
    Io {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The name is taken by something that must not be overwritten.
    Exists { path: PathBuf },
    /// The name is taken by something else than the layout has there.
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
