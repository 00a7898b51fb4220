//! Importing into a store that need not exist yet.

use crate::error::RuntimeError;
use crate::fs::names::file_name;
use crate::fs::staging::{Target, parent_of, remove_leftovers};
use crate::layout::error::LayoutError;
use crate::layout::import::directory::{check, import};
use crate::layout::options::ImportOptions;
use crate::layout::report::ImportReport;
use crate::store::{Store, StoreOptions};
use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

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
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(LayoutError::io("inspect", path)(error)),
    };
    if is_there && options.dry_run {
        return import(&open_for_dry_run(path, store)?, root, options);
    }
    if is_there {
        // Without a directory that may be listed there is nothing to tidy up, and nothing amiss.
        if let Ok(target) = target_of(path) {
            remove_leftovers(&[target]);
        }
        // Not closed: the host may have it open too.
        return import(&store.open(path)?, root, options);
    }
    // Also where nothing is written: an import without it would fail here.
    let target = target_of(path)?;
    if options.dry_run {
        return check(root, options);
    }
    remove_leftovers(std::slice::from_ref(&target));
    import_to_new(root, &target, store, options)
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

/// The start of the names of staging directories of imports.
const PREFIX: &str = ".import.tmp-";

/// The target at `path`, where a store is to appear.
fn target_of(path: &Path) -> Result<Target, LayoutError> {
    if file_name(path).is_none() {
        return Err(LayoutError::InTheWay {
            path: path.to_owned(),
            message: "the path names no file".into(),
        });
    }
    let prefix = |_: &OsStr| PREFIX.into();
    Target::new(path, prefix).map_err(LayoutError::io("open", parent_of(path)))
}

fn import_to_new(
    root: &Path,
    target: &Target,
    store: &StoreOptions,
    options: &ImportOptions,
) -> Result<ImportReport, LayoutError> {
    let path = target.path();
    let staging = target.stage().map_err(LayoutError::io(
        "create a temporary directory in",
        parent_of(&path),
    ))?;
    let filling = store.open(staging.file())?;
    let report = import(&filling, root, options)?;
    filling.close()?;
    drop(filling);
    target
        .publish(staging)
        .map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => LayoutError::StoreAppeared { path },
            _ => LayoutError::io("move the store to", path)(error),
        })?;
    Ok(report)
}
