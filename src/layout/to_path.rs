//! Importing into a store that need not exist yet.

use super::error::LayoutError;
use super::import::{check, import};
use super::options::ImportOptions;
use super::report::ImportReport;
use super::staging::TargetDir;
use crate::steps::{Step, step};
use crate::store::StoreOptions;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use tempfile::TempDir;

/// Imports the directory `root` into the store at `path`, making it where nothing is.
///
/// A new store is filled under a temporary name beside `path`, synced and renamed into place: a
/// failure or a crash leaves nothing at `path`. What an import that was killed has left beside it,
/// the next one removes. A store that is there is opened with `store` and imported into as by
/// [`import`]. A dry run makes nothing.
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
    let is_there = match fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(LayoutError::io("look at", path)(error)),
    };
    if options.dry_run && !is_there {
        return check(root, options);
    }
    let place = Place::of(path)?;
    if !options.dry_run {
        place.remove_leftovers();
    }
    match is_there {
        // Not closed: the host may have it open too.
        true => import(&store.open(path)?, root, options),
        false => import_to_new(root, &place, store, options),
    }
}

/// What the temporary names of an import begin with.
const PREFIX: &str = ".import.tmp-";

/// Where a store is to be.
struct Place<'p> {
    dir: TargetDir,
    name: &'p OsStr,
}

impl<'p> Place<'p> {
    fn of(path: &'p Path) -> Result<Self, LayoutError> {
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
        let dir = TargetDir::open(parent)?;
        Ok(Self { dir, name })
    }

    /// Removes what imports that were killed have left here. Whose process lives is locked.
    fn remove_leftovers(&self) {
        for name in self.dir.names().unwrap_or_default() {
            if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                continue;
            }
            if let Ok(_left) = locked(&self.dir.path_of(&name)) {
                // One that may not be removed, another user's say, is in nobody's way.
                let _ = self.dir.remove(&name);
            }
        }
    }

    /// A directory beside the store, locked while it is open; removed with everything in it when it
    /// is dropped.
    fn stage(&self) -> Result<(TempDir, TargetDir), LayoutError> {
        let here = self.dir.path();
        loop {
            let staging = tempfile::Builder::new()
                .prefix(PREFIX)
                .tempdir_in(here)
                .map_err(LayoutError::io("make a temporary directory in", here))?;
            step(|| Step::CreatedDir(staging.path().to_owned()));
            let lock = locked(staging.path());
            let is_there = staging.path().exists();
            match lock {
                Ok(lock) if is_there => return Ok((staging, lock)),
                // Another import has taken it for a leftover before it was locked.
                Ok(_) | Err(LayoutError::Busy { .. }) => {}
                Err(_) if !is_there => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Renames `staged` to its place, where nothing may be, and waits until that is on disk.
    fn take(&self, staged: &Path) -> Result<(), LayoutError> {
        let path = self.dir.path_of(self.name);
        let (cwd, dir) = (rustix::fs::CWD, self.dir.as_source().fd());
        let flags = RenameFlags::NOREPLACE;
        let renamed = match rustix::fs::renameat_with(cwd, staged, dir, self.name, flags) {
            // A link is made only where nothing is, too; the staged name goes with its directory.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                rustix::fs::linkat(cwd, staged, dir, self.name, AtFlags::empty())
            }
            renamed => renamed,
        };
        match renamed {
            Ok(()) => step(|| Step::Renamed(staged.to_owned(), path)),
            Err(Errno::EXIST) => return Err(LayoutError::StoreAppeared { path }),
            Err(error) => return Err(LayoutError::io("rename to", path)(error.into())),
        }
        self.dir.sync()
    }
}

/// The directory at `path`, which nobody else has locked.
fn locked(path: &Path) -> Result<TargetDir, LayoutError> {
    let dir = TargetDir::open(path)?;
    dir.lock()?;
    Ok(dir)
}

fn import_to_new(
    root: &Path,
    place: &Place<'_>,
    store: &StoreOptions,
    options: &ImportOptions,
) -> Result<ImportReport, LayoutError> {
    let (staging, _lock) = place.stage()?;
    let staged = staging.path().join("store");
    let filling = store.open(&staged)?;
    let report = import(&filling, root, options)?;
    filling.close()?;
    drop(filling);
    place.take(&staged)?;
    let path = staging.path().to_owned();
    staging.close().map_err(LayoutError::io("remove", &path))?;
    step(|| Step::Removed(path));
    Ok(report)
}
