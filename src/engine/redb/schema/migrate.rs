//! The plan of a migration, and the copy of the file that is made before it.

use crate::engine::redb::context::RedbContext;
use crate::error::RuntimeError;
use crate::fs::staged_file::StagedFile;
use crate::fs::staging::Unpublished;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The migration that an open of the store for writing would make.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationPlan {
    /// The schema version of the store.
    pub found: u32,
    /// The schema version after the open.
    pub supported: u32,
    /// The path that the file would be copied to first; `None` if there is nothing to migrate or
    /// copies are turned off.
    pub backup: Option<PathBuf>,
    /// The steps, in their order: the version that each leads to, and what it does. Empty if there is nothing to
    /// migrate.
    pub steps: Vec<(u32, &'static str)>,
}

impl MigrationPlan {
    /// Whether the open would migrate the store.
    pub fn is_needed(&self) -> bool {
        self.found < self.supported
    }
}

/// The path of the copy of a store of version `found`.
pub(crate) fn copy_path(path: &Path, found: u32) -> PathBuf {
    let mut copy = OsString::from(path);
    copy.push(format!(".v{found}.bak"));
    PathBuf::from(copy)
}

/// Copies the store at `at.path`, of version `found`, so that the migration can be undone. No other
/// process may write to it. The copy is synced and then renamed into place, so it is complete or
/// absent.
///
/// It replaces an earlier copy of that version. Such a copy is left by a migration that failed; the
/// store may have changed since.
pub(crate) fn keep_copy(at: RedbContext<'_>, found: u32) -> Result<(), RuntimeError> {
    let at = at.named("back up before a migration");
    let path = copy_path(at.path(), found);
    let copy = || -> Result<(), Unpublished> {
        let mut copy = StagedFile::beside(&path)?;
        copy.fill_from(&mut File::open(at.path())?)?;
        copy.replace()
    };
    // Without a copy that is certainly on disk the store is not migrated.
    copy().map_err(|error| at.io(error.into_io()))
}

/// The paths of all copies that migrations up to version `supported` can have made of the store at
/// `path`.
pub(crate) fn copy_paths(path: &Path, supported: u32) -> Vec<PathBuf> {
    (1..supported).map(|found| copy_path(path, found)).collect()
}
