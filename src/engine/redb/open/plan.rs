//! Planning a migration: the schema version of a store, found without changing its file.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::file::checked_pages::Role;
use crate::engine::redb::file::recovered::RecoveredFile;
use crate::engine::redb::file::write_gate::hold;
use crate::engine::redb::open::builder::{builder, checked};
use crate::engine::redb::open::existing::{
    open_for_reading, open_for_writing, read_any, refuse_other_kinds, shared_file, version_of,
};
use crate::engine::redb::open::options::StoreOptions;
use crate::engine::redb::schema::migrate::{self, MigrationPlan};
use crate::error::{Place, RuntimeError};
use crate::fs::names;
use redb::StorageBackend;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// Finds the migration that an open for writing would make; see [`StoreOptions::migration_plan`].
pub(crate) fn migration_plan(
    path: &Path,
    options: &StoreOptions,
) -> Result<MigrationPlan, RuntimeError> {
    let (place, bad_pages) = (Place::file(path), Arc::default());
    let at = RedbContext::new("plan a migration", &place).noting(&bad_pages);
    if std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Err(at.missing());
    }
    let metadata = names::metadata(path).map_err(|error| at.io(error))?;
    refuse_other_kinds(&metadata, at)?;
    let read = open_for_reading(at)
        .and_then(|file| read_any(shared_file(file, at, options)?, at, options));
    let found = match read {
        Ok((_, found)) => found,
        // The file was not closed cleanly. It is opened for writing in memory only: the write gate
        // holds all writes, and drops them.
        Err(RuntimeError::NeedsRepair { .. }) => match open_for_writing(at) {
            Ok(file) => held_version(shared_file(file, at, options)?, at, options)?,
            // An exclusive lock needs a descriptor that is open for writing. Without it the file is read
            // as a repair would leave it.
            Err(RuntimeError::StoreIo { .. }) => {
                let file = shared_file(open_for_reading(at)?, at, options)?;
                let file = RecoveredFile::new(file).map_err(|error| at.io(error))?;
                let needs_repair = || RuntimeError::NeedsRepair {
                    path: path.to_owned(),
                };
                read_any(file.ok_or_else(needs_repair)?, at, options)?.1
            }
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let supported = options.schema.supported();
    let makes_copy = found < supported && options.backup_before_migration;
    Ok(MigrationPlan {
        found,
        supported,
        steps: options.schema.steps_after(found),
        backup: makes_copy.then(|| migrate::copy_path(path, found)),
    })
}

/// The schema version of the store in `backend`. redb opens the store for writing, and the write
/// gate drops all of its writes.
fn held_version(
    backend: impl StorageBackend,
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> Result<u32, RuntimeError> {
    at.guard(|| {
        let (backend, _gate) = hold(backend, options.planted).map_err(|error| at.io(error))?;
        let database = builder(options)
            .create_with_backend(checked(backend, Role::OnlyWriter, at, options))
            .map_err(|error| at.redb(error))?;
        version_of(&database, options.schema, at)
    })
}
