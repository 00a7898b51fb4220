//! The file name in a path.

use crate::model::visible::Visible;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::path::Path;

/// The name of the file to create at `path`. `None` for a path that can only lead to a directory:
/// `Path::file_name` ignores a `/` or `/.` at the end, but the system does not.
pub(crate) fn file_name(path: &Path) -> Option<&OsStr> {
    let written = path.as_os_str().as_encoded_bytes();
    path.file_name()
        .filter(|name| written.ends_with(name.as_encoded_bytes()))
}

/// The metadata of the file that `path` leads to.
pub(crate) fn metadata(path: &Path) -> io::Result<Metadata> {
    fs::metadata(path).map_err(|error| dangling(path, error))
}

/// The error `error` about the file at `path`. Where a symbolic link leads to nothing, the error names the
/// link: the name is there, so "no such file" and "file exists" both mislead.
pub(crate) fn dangling(path: &Path, error: io::Error) -> io::Error {
    let (Ok(target), ErrorKind::NotFound | ErrorKind::AlreadyExists) =
        (fs::read_link(path), error.kind())
    else {
        return error;
    };
    let target = Visible(target.display());
    let message = format!("a symbolic link to {target}, where there is nothing");
    io::Error::new(error.kind(), message)
}

#[cfg(test)]
mod tests {
    use super::file_name;
    use std::ffi::OsStr;
    use std::path::Path;

    #[test]
    fn only_a_path_that_ends_in_a_name_names_a_file() {
        for path in ["x", "a/x", "/x", "./x", "a//x", "a/./x"] {
            assert_eq!(file_name(Path::new(path)), Some(OsStr::new("x")), "{path}");
        }
        for path in [
            "", "/", ".", "..", "x/", "a/x/", "a/x//", "a/x/.", "x./.", "x/..",
        ] {
            assert_eq!(file_name(Path::new(path)), None, "{path}");
        }
    }
}
