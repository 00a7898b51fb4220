//! Importing into a store that need not exist yet.

use super::error::LayoutError;
use super::import::{check, import};
use super::options::ImportOptions;
use super::report::ImportReport;
use super::source::SourceDir;
use crate::store::StoreOptions;
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Imports the directory `root` into the store at `path`, making it where nothing is.
///
/// A new store is filled under a temporary name beside `path`, synced and renamed into place: a
/// failure or a crash leaves nothing at `path`. A store that is there is opened with `store` and
/// imported into as by [`import`]. A dry run makes nothing.
///
/// # Errors
///
/// As [`import`]; and where the store can be neither made nor opened.
pub fn import_to_path(
    root: impl AsRef<Path>,
    path: impl AsRef<Path>,
    store: &StoreOptions,
    options: &ImportOptions,
) -> Result<ImportReport, LayoutError> {
    let (root, path) = (root.as_ref(), path.as_ref());
    match fs::symlink_metadata(path) {
        Ok(_) => {
            // Not closed: the host may have it open too.
            let store = store.open(path)?;
            import(&store, root, options)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => match options.dry_run {
            true => check(root, options),
            false => import_to_new(root, path, store, options),
        },
        Err(error) => Err(LayoutError::io("look at", path)(error)),
    }
}

fn import_to_new(
    root: &Path,
    path: &Path,
    store: &StoreOptions,
    options: &ImportOptions,
) -> Result<ImportReport, LayoutError> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name() else {
        return Err(LayoutError::InTheWay {
            path: path.to_owned(),
            message: "this names no file".into(),
        });
    };
    let dir = SourceDir::open(parent).map_err(LayoutError::io("open", parent))?;
    // Removed with everything in it when it is dropped.
    let staging = tempfile::Builder::new()
        .prefix(".import.tmp-")
        .tempdir_in(parent)
        .map_err(LayoutError::io("make a temporary directory in", parent))?;
    let staged = staging.path().join("store");
    let filling = store.open(&staged)?;
    let report = import(&filling, root, options)?;
    filling.close()?;
    drop(filling);
    rename_new(&staged, &dir, name)?;
    Ok(report)
}

/// Renames `staged` to `name`, where nothing may be, and waits until that is on disk.
fn rename_new(staged: &Path, dir: &SourceDir, name: &OsStr) -> Result<(), LayoutError> {
    let path = dir.path_of(name);
    let cwd = rustix::fs::CWD;
    let renamed =
        match rustix::fs::renameat_with(cwd, staged, dir.fd(), name, RenameFlags::NOREPLACE) {
            // A link is made only where nothing is, too; the staged name goes with its directory.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                let no_flags = rustix::fs::AtFlags::empty();
                rustix::fs::linkat(cwd, staged, dir.fd(), name, no_flags)
            }
            renamed => renamed,
        };
    match renamed {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(LayoutError::StoreAppeared { path }),
        Err(error) => return Err(LayoutError::io("rename to", path)(error.into())),
    }
    let synced = rustix::fs::fsync(dir.fd()).map_err(io::Error::from);
    synced.map_err(LayoutError::io("sync", PathBuf::from(dir.path())))
}
