//! Opening a store over a custom storage backend, for simulations of faults.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::redb_engine::{Handle, OpenStore, RedbEngine};
use crate::engine::redb::database::sharing::Sharing;
use crate::engine::redb::open::create::create_in;
use crate::engine::redb::open::existing::{open_beside_writers, open_over, read_any};
use crate::engine::redb::open::options::StoreOptions;
use crate::error::{Place, RuntimeError};
use crate::model::management::RuntimeBackendKind;
use redb::StorageBackend;
use std::sync::Arc;

/// Opens the store in `backend`, or creates one in an empty backend. For simulations of faults: a
/// custom backend lacks the guarantees of a file. All clones of `backend` must access the same
/// storage.
pub(crate) fn open_backend(
    backend: impl StorageBackend + Clone,
    options: &StoreOptions,
) -> Result<Arc<OpenStore>, RuntimeError> {
    let place = Place::named("(backend)");
    let bad_pages = Arc::default();
    let at = RedbContext::new("open", &place).noting(&bad_pages);
    let is_empty = backend.len().map_err(|error| at.io(error))? == 0;
    let handle = at.guard(|| {
        if is_empty {
            create_in(backend.clone(), options.schema, at)?;
        }
        match options.sharing {
            Sharing::ManyWriters => open_backend_of_many(backend, at, options),
            _ => open_over(backend, at, options, |_| Ok(())),
        }
    })?;
    let backend = RuntimeBackendKind::RedbStore;
    let mut engine = RedbEngine::new(
        place.clone(),
        backend,
        options.sharing,
        handle,
        Arc::clone(&bad_pages),
        None,
    );
    engine.clock = options.clock.clone();
    Ok(Arc::new(OpenStore::new(engine).guarded(options.guards)))
}

/// Opens the backend as a file that several processes write.
fn open_backend_of_many(
    backend: impl StorageBackend + Clone,
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> Result<Handle, RuntimeError> {
    let is_in_order = match read_any(backend.clone(), at, options) {
        Ok((_, found)) => found == options.schema.supported(),
        Err(RuntimeError::NeedsRepair { .. }) => false,
        Err(error) => return Err(error),
    };
    if !is_in_order {
        let mut alone = options.clone();
        alone.sharing = Sharing::OneWriter;
        if let Handle::Writer(writer) = open_over(backend.clone(), at, &alone, |_| Ok(()))? {
            writer.database.close().map_err(|error| at.redb(error))?;
        }
    }
    open_beside_writers(backend, at, options)
}
