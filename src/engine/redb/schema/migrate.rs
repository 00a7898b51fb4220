//! What is done to a store of an older version besides the steps themselves.

use crate::engine::redb::context::RedbContext;
use crate::error::RuntimeError;
use crate::fs::staged_file::StagedFile;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What opening a store for writing would do to its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationPlan {
    /// The schema version that the store has.
    pub found: u32,
    /// The schema version that it would have.
    pub supported: u32,
    /// Where it would be copied to first.
    pub backup: Option<PathBuf>,
}

impl MigrationPlan {
    /// Whether the store would be migrated.
    pub fn is_needed(&self) -> bool {
        self.found < self.supported
    }
}

/// Where a store of version `found` is copied to before it is migrated.
pub(crate) fn copy_path(path: &Path, found: u32) -> PathBuf {
    let mut copy = OsString::from(path);
    copy.push(format!(".v{found}.bak"));
    PathBuf::from(copy)
}

/// Copies the store at `at.path`, which is of version `found` and which nobody else writes to, for
/// those who want to go back. The copy is synced and renamed into place: it is there whole or not.
///
/// It replaces an earlier copy of that version: one that a migration made which then failed, since
/// when the store has gone on.
pub(crate) fn keep_copy(at: RedbContext<'_>, found: u32) -> Result<(), RuntimeError> {
    let at = at.named("back up before a migration");
    let copied = StagedFile::beside(&copy_path(at.path(), found)).and_then(|mut copy| {
        copy.fill_from(&mut File::open(at.path())?)?;
        copy.replace()
    });
    copied.map_err(|error| at.io(error))
}

/// The paths of the copies that migrations to version `supported` can have made of the store at `path`.
pub(crate) fn copy_paths(path: &Path, supported: u32) -> Vec<PathBuf> {
    (1..supported).map(|found| copy_path(path, found)).collect()
}
