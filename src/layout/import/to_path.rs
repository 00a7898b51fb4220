//! Imports a directory into the store at a path, which the import creates if needed.

use crate::engine::redb::database::compact_growth;
use crate::engine::redb::open::options::StoreOptions;
use crate::error::{Place, RuntimeError};
use crate::fs::names::file_name;
use crate::fs::staging::{Contents, Target, Unpublished, parent_of, remove_leftovers};
use crate::layout::error::LayoutError;
use crate::layout::import::directory::{check, import};
use crate::layout::options::ImportOptions;
use crate::layout::report::ImportReport;
use crate::store::handle::Store;
use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;

/// Imports the directory `root` into the store at `path`, and creates the store if there is none.
///
/// A new store appears atomically: it is filled in a directory `.import.tmp-XXXXXX` (six letters or
/// digits) next to `path`, synced and moved to `path`. A failure or a crash leaves nothing at `path`;
/// the next import removes the directory. An import that takes nothing, such as a salvage that leaves out every runtime,
/// creates no store. A store that exists is opened with the options `store`, and
/// the import is that of [`import`]. A dry run creates nothing and opens a store read-only, so it works
/// on a store that the user may not write, or that a host has open.
///
/// ```
/// use redb_runtime_store::Store;
/// use redb_runtime_store::layout::{self, ImportOptions};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let root = directory.path().join("agents");
/// # let seed = redb_runtime_store::Runtime::new_memory();
/// # layout::export(seed.store(), &root, layout::ExportOptions::new())?;
/// # let path = directory.path().join("agents.redb");
/// let options = ImportOptions::new();
/// let report = layout::import_to_path(root, path, &Store::options(), options)?;
/// println!("{} runtimes", report.runtimes.len());
/// # Ok::<(), layout::LayoutError>(())
/// ```
///
/// # Errors
///
/// Those of [`import`], and of creating and opening a store. [`LayoutError::NotForDryRun`] where a dry
/// run finds a store that must be repaired or migrated first; [`LayoutError::StoreAppeared`] where
/// another process created `path` meanwhile. [`RuntimeError::DurabilityUncertain`] where the new store is
/// complete and at `path`, but its directory could not be synced. After every other error nothing is at
/// `path` if nothing was there before.
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
        // Best effort: a directory that the user may not list has no leftovers of theirs.
        if let Ok(target) = target_of(path) {
            remove_leftovers(&[target]);
        }
        // Not closed: the host may have the same store open in this process.
        return import(&store.open(path)?, root, options);
    }
    // Also for a dry run, which must fail where the import would.
    let target = target_of(path)?;
    if options.dry_run {
        return check(root, options);
    }
    remove_leftovers(std::slice::from_ref(&target));
    import_to_new(root, (path, &target), store, options)
}

/// Opens the store at `path` read-only.
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
    Target::new(path, prefix, Contents::Store).map_err(LayoutError::io("open", parent_of(path)))
}

fn import_to_new(
    root: &Path,
    (path, target): (&Path, &Target),
    store: &StoreOptions,
    options: &ImportOptions,
) -> Result<ImportReport, LayoutError> {
    let staging = target.stage().map_err(LayoutError::io(
        "create a temporary directory in",
        parent_of(path),
    ))?;
    let filled = fill(&staging.file(), root, store, options);
    let (report, is_empty) = filled.map_err(|error| about_place(error, path))?;
    if is_empty {
        return Ok(report);
    }
    match target.publish(staging) {
        Ok(()) => Ok(report),
        Err(Unpublished::Moved(source)) => Err(RuntimeError::DurabilityUncertain {
            operation: "import",
            place: Place::file(path),
            source,
        })?,
        Err(Unpublished::Failed(error)) if error.kind() == ErrorKind::AlreadyExists => {
            Err(LayoutError::StoreAppeared {
                path: path.to_owned(),
            })
        }
        Err(Unpublished::Failed(error)) => Err(LayoutError::io("move the store to", path)(error)),
    }
}

/// Imports into a new store at `staged`, and closes it. Returns whether the store took neither a runtime nor a file.
fn fill(
    staged: &Path,
    root: &Path,
    store: &StoreOptions,
    options: &ImportOptions,
) -> Result<(ImportReport, bool), LayoutError> {
    let filling = create(staged, store)?;
    let report = import(&filling, root, options)?;
    let is_empty = {
        let snapshot = filling.snapshot()?;
        snapshot.runtime_ids()?.is_empty() && snapshot.next_file(None, "", false)?.is_none()
    };
    filling.close()?;
    Ok((report, is_empty))
}

/// Creates a store that is compact once it is filled and closed: see [`compact_growth`].
fn create(staged: &Path, store: &StoreOptions) -> Result<Store, LayoutError> {
    store.open(staged)?.close()?;
    let file = fs::OpenOptions::new().write(true).open(staged);
    let prepared = file.and_then(|file| compact_growth::prepare(&file));
    prepared.map_err(|source| RuntimeError::StoreIo {
        operation: "import",
        path: staged.to_owned(),
        source,
    })?;
    // redb repairs its record of free pages, which is no news to a host.
    let quietly = store.clone().on_repair(|_| ControlFlow::Continue(()));
    Ok(quietly.open(staged)?)
}

/// An error of the staged store, about the store that does not appear at `path`. The staged file is
/// removed, so an uncertain commit is a failed one, and nothing can be opened again.
fn about_place(error: LayoutError, path: &Path) -> LayoutError {
    let (operation, path) = ("import", path.to_owned());
    match error {
        LayoutError::Store(
            RuntimeError::CommitUncertain { source, .. }
            | RuntimeError::DurabilityUncertain { source, .. }
            | RuntimeError::StoreIo { source, .. },
        ) => LayoutError::Store(RuntimeError::StoreIo {
            operation,
            path,
            source,
        }),
        LayoutError::Store(RuntimeError::LocksUnsupported { .. }) => {
            LayoutError::Store(RuntimeError::LocksUnsupported {
                operation,
                place: Place::file(&path),
            })
        }
        error => error,
    }
}
