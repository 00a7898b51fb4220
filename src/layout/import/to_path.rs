//! Importing into a store that need not exist yet.

use crate::error::RuntimeError;
use crate::fs::names::file_name;
use crate::fs::steps::{Change, Step, TemporaryDir, attempt, step};
use crate::layout::dir::target::TargetDir;
use crate::layout::error::LayoutError;
use crate::layout::import::directory::{check, import};
use crate::layout::options::ImportOptions;
use crate::layout::report::ImportReport;
use crate::store::{Store, StoreOptions};
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use std::borrow::Borrow;
use std::ffi::OsStr;
use std::path::Path;
use std::{fs, io};

/// Imports the directory `root` into the store at `path`, making it where nothing is.
///
/// A new store is filled under a temporary name beside `path`, synced and renamed into place: a
/// failure or a crash leaves nothing at `path`. What an import that was killed has left beside it, a
/// directory `.import.tmp-XXXXXX` with six letters or digits, the next one removes. A store that is
/// there is opened with `store` and imported into as by [`import`]. A dry run makes nothing, and opens
/// a store that is there read-only: also one that may not be written to, or that a host has open.
///
/// # Errors
///
/// As [`import`]; and where the store can be neither made nor opened. A dry run refuses a store that
/// would have to be repaired or migrated first: [`LayoutError::NotForDryRun`].
pub fn import_to_path(
    root: impl AsRef<Path>,
    path: impl AsRef<Path>,
    store: &StoreOptions,
    options: impl Borrow<ImportOptions>,
) -> Result<ImportReport, LayoutError> {
    import_to(root.as_ref(), path.as_ref(), store, options.borrow())
}

fn import_to(
    root: &Path,
    path: &Path,
    store: &StoreOptions,
    options: &ImportOptions,
) -> Result<ImportReport, LayoutError> {
    let is_there = match fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(LayoutError::io("inspect", path)(error)),
    };
    if is_there && options.dry_run {
        return import(&open_for_dry_run(path, store)?, root, options);
    }
    if is_there {
        // Without a directory that may be listed there is nothing to tidy up, and nothing amiss.
        if let Ok(place) = Place::of(path) {
            place.remove_leftovers();
        }
        // Not closed: the host may have it open too.
        return import(&store.open(path)?, root, options);
    }
    // Also where nothing is written: an import without it would fail here.
    let place = Place::of(path)?;
    if options.dry_run {
        return check(root, options);
    }
    place.remove_leftovers();
    import_to_new(root, &place, store, options)
}

/// The name that a store at `path` has.
fn named(path: &Path) -> Result<&OsStr, LayoutError> {
    file_name(path).ok_or_else(|| LayoutError::InTheWay {
        path: path.to_owned(),
        message: "this names no file".into(),
    })
}

/// Opens the store at `path` in a way that changes nothing, whatever state it is in.
fn open_for_dry_run(path: &Path, store: &StoreOptions) -> Result<Store, LayoutError> {
    match store.clone().read_only(true).open(path) {
        Err(
            source @ (RuntimeError::NeedsRepair { .. } | RuntimeError::StoreSchemaTooOld { .. }),
        ) => Err(LayoutError::NotForDryRun { source }),
        opened => Ok(opened?),
    }
}

/// What the temporary names of an import begin with.
const PREFIX: &str = ".import.tmp-";

/// How many random letters and digits they end with.
const RANDOM_CHARS: usize = 6;

/// The name of the store in its temporary directory.
const STAGED: &str = "store";

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
        let name = named(path)?;
        let dir = TargetDir::open(parent)?;
        Ok(Self { dir, name })
    }

    /// Removes what imports that were killed have left here. Whose process lives is locked; where
    /// the file system has no locks nobody can know, and everything stays.
    fn remove_leftovers(&self) {
        for name in self.dir.names().unwrap_or_default() {
            let Some(name) = name.to_str().filter(|name| is_temporary(name)) else {
                continue;
            };
            if let Ok((_left, true)) = self.locked(name) {
                // One that may not be removed, another user's say, is in nobody's way.
                let _ = self.dir.remove(name);
            }
        }
    }

    /// The directory `name`, which nobody else has locked, and whether it is locked now.
    fn locked(&self, name: &str) -> Result<(TargetDir, bool), LayoutError> {
        let dir = self.dir.open_dir(name)?;
        let is_locked = dir.lock()?;
        Ok((dir, is_locked))
    }

    /// A directory beside the store, locked while it is open; removed with everything in it when it
    /// is dropped.
    fn stage(&self) -> Result<(TemporaryDir, TargetDir), LayoutError> {
        let here = self.dir.path();
        loop {
            let mut name = tempfile::Builder::new();
            name.prefix(PREFIX).rand_bytes(RANDOM_CHARS);
            let staging = TemporaryDir::new(&mut name, here)
                .map_err(LayoutError::io("create a temporary directory in", here))?;
            let name = staging.path().file_name().and_then(OsStr::to_str);
            let locked = self.locked(name.unwrap_or_default());
            let is_there = staging.path().symlink_metadata().is_ok();
            match locked {
                Ok((dir, _)) if is_there => return Ok((staging, dir)),
                // Another import has taken it for a leftover before it was locked.
                Ok(_) | Err(LayoutError::Busy { .. }) => {}
                Err(_) if !is_there => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Renames the store in `staging` to its place, where nothing may be, and waits until that is on
    /// disk.
    fn take(&self, staging: &TargetDir) -> Result<(), LayoutError> {
        let path = self.dir.path_of(self.name);
        let (from, to) = (staging.as_source().fd(), self.dir.as_source().fd());
        let flags = RenameFlags::NOREPLACE;
        attempt(Change::Rename).map_err(LayoutError::io("move a file to", &path))?;
        let renamed = match rustix::fs::renameat_with(from, STAGED, to, self.name, flags) {
            // A link is made only where nothing is, too; the staged name goes with its directory.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                rustix::fs::linkat(from, STAGED, to, self.name, AtFlags::empty())
            }
            renamed => renamed,
        };
        match renamed {
            Ok(()) => step(|| Step::Renamed(staging.path_of(STAGED), path)),
            Err(Errno::EXIST) => return Err(LayoutError::StoreAppeared { path }),
            Err(error) => return Err(LayoutError::io("move a file to", path)(error.into())),
        }
        Ok(self.dir.sync()?)
    }
}

/// Whether the temporary directory of an import could have that name.
fn is_temporary(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|random| {
        random.len() == RANDOM_CHARS && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn import_to_new(
    root: &Path,
    place: &Place<'_>,
    store: &StoreOptions,
    options: &ImportOptions,
) -> Result<ImportReport, LayoutError> {
    let (staging, locked) = place.stage()?;
    let filling = store.open(locked.path_of(STAGED))?;
    let report = import(&filling, root, options)?;
    filling.close()?;
    drop(filling);
    place.take(&locked)?;
    let path = staging.path().to_owned();
    // The store is in its place: a directory that cannot be removed is no failure.
    drop(staging);
    step(|| Step::Removed(path));
    Ok(report)
}
