//! Erasing the unused bytes of an open file, which closes the database and opens it again.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::redb_engine::Erase;
use crate::engine::redb::file::checked_pages::Role;
use crate::engine::redb::file::write_gate::KeptFile;
use crate::engine::redb::open::builder::{builder, checked, for_reopening};
use crate::engine::redb::open::options::StoreOptions;
use redb::StorageBackend;

/// The function that erases the unused bytes of `file`, of which this process is the only writer.
pub(crate) fn erase_alone<B: StorageBackend>(
    file: KeptFile<B>,
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> Erase {
    let options = for_reopening(options);
    let bad_pages = at.bad_pages();
    Box::new(move |database, at| {
        let at = at.noting(&bad_pages);
        file.keep(|backend| {
            at.guard(|| {
                database.close().map_err(|error| at.redb(error))?;
                let is_whole = file.erase_unused().map_err(|error| at.io(error))?;
                let database = builder(&options)
                    .create_with_backend(checked(backend, Role::OnlyWriter, at, &options))
                    .map_err(|error| at.redb(error))?;
                Ok((database, is_whole))
            })
        })
    })
}

/// The function that erases the unused bytes of `file`, which other processes write to.
pub(crate) fn erase_beside_writers<B: StorageBackend>(
    file: KeptFile<B>,
    options: &StoreOptions,
) -> Erase {
    let options = for_reopening(options);
    Box::new(move |database, at| {
        at.guard(|| {
            // Its lock excludes the commits of other processes.
            let turn = database.begin_write().map_err(|error| at.redb(error))?;
            let is_whole = file.erase_unused().map_err(|error| at.io(error))?;
            turn.abort().map_err(|error| at.redb(error))?;
            let database = file.keep(|backend| {
                database.close().map_err(|error| at.redb(error))?;
                builder(&options)
                    .create_with_backend(backend)
                    .map_err(|error| at.redb(error))
            })?;
            // The lock of the last writer was kept, too. The end of this turn releases it. It is a commit, because the
            // other processes drop their page caches when they find a newer one.
            let turn = database.begin_write().map_err(|error| at.redb(error))?;
            turn.commit().map_err(|error| at.redb(error))?;
            Ok((database, is_whole))
        })
    })
}
