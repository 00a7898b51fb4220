//! Creating a store: in memory, in an empty storage backend, or in a file that appears atomically.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::file_backend::refuse_without_locks;
use crate::engine::redb::database::redb_engine::{Handle, OpenStore, RedbEngine, Writer};
use crate::engine::redb::database::sharing::Sharing;
use crate::engine::redb::database::staged_backend::backend_of;
use crate::engine::redb::file::write_gate::FileSize;
use crate::engine::redb::schema::version::Schema;
use crate::error::{Place, RuntimeError};
use crate::fs::staged_file::StagedFile;
use crate::fs::staging::Unpublished;
use crate::ledger::unique_id::unique_id;
use crate::model::management::RuntimeBackendKind;
#[cfg(feature = "postgres")]
use redb::backends::FileBackend;
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, StorageBackend};
use std::io::ErrorKind;
#[cfg(feature = "postgres")]
use std::path::Path;
use std::sync::Arc;

/// What redb holds in memory of a temporary file, in bytes.
#[cfg(feature = "postgres")]
const TEMPORARY_CACHE_BYTES: usize = 64 << 20;

/// Creates a store in memory.
///
/// The memory backend of redb supports no range locks, so redb can open it only in the exclusive
/// mode.
pub(crate) fn in_memory() -> Result<Arc<OpenStore>, RuntimeError> {
    alone(
        &Place::named("(in memory)"),
        &mut Builder::new(),
        InMemoryBackend::new(),
    )
}

/// Creates a store in a file that has no name and is gone with the store: a copy that need not fit into memory.
#[cfg(feature = "postgres")]
pub(crate) fn in_temporary_file(
    place: &Place,
    dir: Option<&Path>,
) -> Result<Arc<OpenStore>, RuntimeError> {
    let at = RedbContext::new("create a temporary copy", place);
    let file = dir.map_or_else(tempfile::tempfile, tempfile::tempfile_in);
    let file = file.map_err(|error| at.io(error))?;
    let backend = FileBackend::new(file).map_err(|error| at.redb(error))?;
    alone(
        place,
        Builder::new().set_cache_size(TEMPORARY_CACHE_BYTES),
        backend,
    )
}

/// Creates a store in `backend` that no other handle can have.
fn alone(
    place: &Place,
    builder: &mut Builder,
    backend: impl StorageBackend,
) -> Result<Arc<OpenStore>, RuntimeError> {
    let at = RedbContext::new("create", place);
    let database = at.guard(|| {
        let database = builder
            .create_with_backend(backend)
            .map_err(|error| at.redb(error))?;
        initialise(&database, Schema::default(), at)?;
        Ok(database)
    })?;
    let engine = RedbEngine::new(
        place.clone(),
        RuntimeBackendKind::Memory,
        Sharing::Exclusive,
        Handle::Writer(Writer::new(database, FileSize::default(), None)),
        Arc::default(),
        None,
    );
    Ok(Arc::new(OpenStore::new(engine)))
}

/// Writes the schema into an empty database, in one durable transaction.
fn initialise(
    database: &Database,
    schema: Schema,
    at: RedbContext<'_>,
) -> Result<(), RuntimeError> {
    let mut transaction = database.begin_write().map_err(|error| at.redb(error))?;
    // In the exclusive mode redb commits in one phase unless asked otherwise.
    transaction.set_two_phase_commit(true);
    schema.create(&transaction, unique_id(at.operation())?, at)?;
    transaction.commit().map_err(|error| at.redb(error))
}

/// Creates a store in `backend`, which is empty, and closes it.
pub(crate) fn create_in(
    backend: impl StorageBackend,
    schema: Schema,
    at: RedbContext<'_>,
) -> Result<(), RuntimeError> {
    let database = Builder::new()
        .create_with_backend(backend)
        .map_err(|error| at.redb(error))?;
    initialise(&database, schema, at)?;
    database.close().map_err(|error| at.redb(error))
}

/// Creates a store at `at.path`. The file is written and synced in a staging directory next to its
/// path, then renamed to it: a crash leaves a complete store at the path, or no file. If another
/// process created a store at the path meanwhile, that one stays and the call succeeds.
pub(crate) fn create(at: RedbContext<'_>, schema: Schema) -> Result<(), RuntimeError> {
    // Listing the directory for leftovers is slow in a large directory. The open that follows the
    // creation does it.
    let staged = StagedFile::beside_leftovers(at.path()).map_err(|error| at.io(error))?;
    at.guard(|| {
        let backend = backend_of(&staged, at)?;
        // A store that no process could open must not appear.
        refuse_without_locks(&backend.0, at)?;
        create_in(backend, schema, at)
    })?;
    match staged.publish() {
        Ok(_) => Ok(()),
        // Two hosts may create the same store at the same time. Both then open the file that was
        // published first.
        Err(Unpublished::Failed(error)) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(at.unpublished(error)),
    }
}
