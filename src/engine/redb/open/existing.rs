//! Opening the store at a path, and creating it if there is none.
//!
//! A file that is rejected is not changed: not renamed, truncated, replaced, repaired or migrated.
//! redb writes while it opens a file; [`write_gate`](crate::engine::redb::file::write_gate) holds
//! these writes back until the schema was read.

use crate::commit::{trace, within};
use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::file_backend;
use crate::engine::redb::database::open_store::OPEN_STORES;
use crate::engine::redb::database::redb_engine::{Handle, OpenStore, RedbEngine, Writer};
use crate::engine::redb::database::registry::{Found, Registration};
use crate::engine::redb::database::sharing::Sharing;
use crate::engine::redb::file::checked_pages::Role;
use crate::engine::redb::file::file_id::{FileId, has_links};
use crate::engine::redb::file::lock_holder;
use crate::engine::redb::file::one_sync::{OneSync, OneSyncFile};
use crate::engine::redb::file::page_walk;
use crate::engine::redb::file::recovered::RecoveredFile;
use crate::engine::redb::file::shared_file::{LockWaits, SharedFile};
use crate::engine::redb::file::unclean::Recovery;
use crate::engine::redb::file::write_gate::{hold, pass};
use crate::engine::redb::maintenance::verify::check::refuse_damaged_pages;
use crate::engine::redb::open::builder::{builder, checked};
use crate::engine::redb::open::create::create;
use crate::engine::redb::open::erasing::{erase_alone, erase_beside_writers};
use crate::engine::redb::open::options::{CommitSyncs, StoreOptions};
use crate::engine::redb::schema::migrate;
use crate::engine::redb::schema::version::Schema;
use crate::error::{Place, RuntimeError};
use crate::fs::names;
use crate::fs::staged_file;
use crate::model::management::RuntimeBackendKind;
use redb::{Database, ReadOnlyDatabase, ReadableDatabase, StorageBackend};
use std::cell::Cell;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first bytes of every redb file.
const REDB_MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// The pause between two attempts to open a locked file. redb reports a conflict of the locks of
/// opening at once instead of waiting, so the open polls.
const LOCK_POLL: Duration = Duration::from_millis(10);

/// Opens the store at `path`. If no file exists there, the store is created, unless the options
/// exclude that.
pub(crate) fn open(path: &Path, options: &StoreOptions) -> Result<Arc<OpenStore>, RuntimeError> {
    let place = Place::file(path);
    let at = RedbContext::new("open", &place);
    // Does not follow a link: a link to a missing file is an error, and no place for a new store.
    if let Err(error) = std::fs::symlink_metadata(path) {
        if error.kind() != ErrorKind::NotFound {
            return Err(at.io(error));
        }
        if !options.create || options.read_only {
            return Err(at.missing());
        }
        create(at.named("create"), options.schema)?;
    }
    open_existing(at, options)
}

/// Opens the store at `at.path`, and waits up to `lock_timeout` for a lock of another process.
///
/// Between two attempts this process holds no lock and no place in the registry. So another open of
/// the same file in this process waits for its own timeout, not for this one.
fn open_existing(
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> Result<Arc<OpenStore>, RuntimeError> {
    // A deadline too late to represent means to wait without limit.
    let deadline = Instant::now().checked_add(options.lock_timeout);
    loop {
        match try_to_open(at, options) {
            Ok(Some(store)) => return Ok(store),
            Ok(None) => {}
            Err(RuntimeError::StoreLocked { path, .. }) => {
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    // Looked up once, at the end: finding the holder reads `/proc` of every
                    // process.
                    let file = std::fs::metadata(&path).ok();
                    let file = file.and_then(|metadata| FileId::of(&metadata));
                    let holder = file.and_then(lock_holder::holder);
                    return Err(RuntimeError::StoreLocked { path, holder });
                }
                // It would wait for another process.
                within::refuse_any()?;
                std::thread::sleep(LOCK_POLL.min(options.lock_timeout));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Makes one attempt to open the store at `at.path`. Returns `None` if the file was replaced or the
/// store was closed during the attempt, so that the caller tries again.
fn try_to_open(
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> Result<Option<Arc<OpenStore>>, RuntimeError> {
    let metadata = names::metadata(at.path()).map_err(|error| at.io(error))?;
    refuse_other_kinds(&metadata, at)?;
    let Some(file) = FileId::of(&metadata) else {
        return open_file(at, options, None);
    };
    let Some(stores) = OPEN_STORES.current() else {
        let nested = "the process is nested too deep in forks that opened stores";
        return Err(at.io(std::io::Error::other(nested)));
    };
    match stores.find(file, !options.read_only) {
        Found::Open(shared) if shared.has_ended() => {
            // The store was closed or its file failed, but handles of it still exist. Closing it
            // frees the registry for a new open. A file that failed cannot be closed cleanly; that
            // error is ignored.
            match shared.close() {
                Ok(()) | Err(RuntimeError::StoreFailed { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        }
        Found::Open(shared) => {
            shared.engine().found_at(at.path());
            if options.verify_on_open && !options.read_only {
                refuse_damaged_pages(&shared, at)?;
            }
            Ok(Some(shared))
        }
        Found::Within => Err(RuntimeError::InvalidRequest(
            "the callback `on_repair` opened a store that is being opened already, by itself or by another \
             thread, and may not wait for it: it may only return whether to continue the repair"
                .to_owned(),
        )),
        Found::Vacant(registration) => open_file(at, options, Some(registration)),
    }
}

/// Rejects directories, special files and empty files.
pub(crate) fn refuse_other_kinds(
    metadata: &Metadata,
    at: RedbContext<'_>,
) -> Result<(), RuntimeError> {
    if metadata.is_dir() {
        // Hosts that move over open the path that they had.
        return Err(at.not_a_store(
            "it is a directory; import a directory of the directory store into a store at another path, with \
             `layout::import_to_path` or `runtime-store import`",
        ));
    }
    if !metadata.is_file() {
        return Err(at.not_a_store("it is not a regular file"));
    }
    if metadata.len() == 0 {
        return Err(at.not_a_store("it is an empty file"));
    }
    Ok(())
}

/// Rejects a file that does not start with the magic number of redb. Without this check redb itself
/// would report the file as damaged.
fn refuse_other_formats(file: &mut File, at: RedbContext<'_>) -> Result<(), RuntimeError> {
    let mut magic = Vec::with_capacity(REDB_MAGIC.len());
    let limit = REDB_MAGIC.len() as u64;
    file.take(limit)
        .read_to_end(&mut magic)
        .map_err(|error| at.io(error))?;
    if magic != REDB_MAGIC {
        return Err(at.not_a_store("it is not a redb database"));
    }
    Ok(())
}

/// Opens the file at `at.path` and publishes the store in the registry. Returns `None` if the path
/// leads to another file than the registered one.
fn open_file(
    at: RedbContext<'_>,
    options: &StoreOptions,
    registration: Option<Registration<OpenStore>>,
) -> Result<Option<Arc<OpenStore>>, RuntimeError> {
    let bad_pages = Arc::default();
    let opening = Opening {
        at: at.noting(&bad_pages),
        options,
        file: registration.as_ref().map(Registration::file),
        recovered: Cell::new(false),
    };
    let opened = match (options.read_only, options.sharing) {
        (true, _) => opening.open_reader()?,
        (false, Sharing::ManyWriters) => opening.open_one_of_many()?,
        (false, _) => opening.open_writer(options)?,
    };
    let Some(handle) = opened else {
        return Ok(None);
    };
    if !options.read_only {
        let copies = migrate::copy_paths(at.path(), options.schema.supported());
        // One call for all paths: each call lists the directory, which can have many entries.
        staged_file::remove_leftovers(
            [at.path()]
                .into_iter()
                .chain(copies.iter().map(PathBuf::as_path)),
        );
    }
    let key = registration.as_ref().map(Registration::key);
    let recovered = opening.recovered.get();
    let mut engine = RedbEngine::new(
        at.place.clone(),
        RuntimeBackendKind::RedbStore,
        options.sharing,
        handle,
        Arc::clone(&bad_pages),
        registration,
    );
    engine.recovered_in_memory = recovered;
    engine.clock = options.clock.clone();
    let shared = Arc::new(OpenStore::new(engine).guarded(options.guards));
    if let (Some(key), Some(stores)) = (key, OPEN_STORES.current()) {
        stores.publish(key, &shared);
    }
    report_recovery(at, shared.engine().recovery);
    Ok(Some(shared))
}

/// Reports the outcome of a recovery to the telemetry.
fn report_recovery(at: RedbContext<'_>, recovery: Option<Recovery>) {
    trace::recovered(at.place, recovery, recovery == Some(Recovery::RolledBack));
}

/// One open of a file: its path, and the identity that the file must have. A path can lead to
/// another file at any time, and the registry shares the store by identity.
///
/// The file is opened again for each attempt. On Linux the locks of redb belong to the open file
/// description: they end when its last descriptor is closed, and the locks of other descriptions
/// stay.
struct Opening<'a> {
    at: RedbContext<'a>,
    options: &'a StoreOptions,
    /// `None` on systems where files have no reliable identity.
    file: Option<FileId>,
    /// Whether the file is read without the repair that it needs.
    recovered: Cell<bool>,
}

impl Opening<'_> {
    /// Returns `file` if it is the expected one.
    fn expected(&self, file: File) -> Result<Option<File>, RuntimeError> {
        if self.file.is_none() {
            return Ok(Some(file));
        }
        let metadata = file.metadata().map_err(|error| self.at.io(error))?;
        Ok((FileId::of(&metadata) == self.file).then_some(file))
    }

    /// Opens the file for reading only.
    fn open_reader(&self) -> Result<Option<Handle>, RuntimeError> {
        let Some(file) = self.expected(open_for_reading(self.at)?)? else {
            return Ok(None);
        };
        let backend = shared_file(file, self.at, self.options)?;
        let (database, found) = match read_any(backend, self.at, self.options) {
            Err(RuntimeError::NeedsRepair { path }) if has_a_writer(self.at)? => {
                // The file needs a repair, and the writer that has it open does that. Reported as
                // locked, so that the caller waits for it.
                return Err(RuntimeError::StoreLocked { path, holder: None });
            }
            Err(error @ RuntimeError::NeedsRepair { .. }) => match self.recover(error)? {
                Some(recovered) => recovered,
                None => return Ok(None),
            },
            read => read?,
        };
        if found < self.options.schema.supported() {
            return Err(too_old(self.at, self.options, found));
        }
        Ok(Some(Handle::Reader(database)))
    }

    /// Opens a file without a repair, if the options ask for that and no writer has the file open; else
    /// fails with `error`.
    fn recover(
        &self,
        error: RuntimeError,
    ) -> Result<Option<(ReadOnlyDatabase, u32)>, RuntimeError> {
        let (at, options) = (self.at, self.options);
        let is_wanted = options.read_only && options.recover_in_memory;
        // redb itself reads an exclusive file only with its record of free pages.
        if !is_wanted || options.sharing == Sharing::Exclusive {
            return Err(error);
        }
        let Some(file) = self.expected(open_for_reading(at)?)? else {
            return Ok(None);
        };
        let file = RecoveredFile::new(shared_file(file, at, options)?);
        let Some(file) = file.map_err(|error| at.io(error))? else {
            return Err(error);
        };
        self.recovered.set(true);
        read_any(file, at, options).map(Some)
    }

    /// Opens the file for writing, repairs it and migrates it if necessary.
    fn open_writer(&self, options: &StoreOptions) -> Result<Option<Handle>, RuntimeError> {
        let at = self.at;
        let Some(file) = self.expected(open_for_writing(at)?)? else {
            return Ok(None);
        };
        let Some(links) = self.named(&file)? else {
            return Ok(None);
        };
        let handle = at.guard(|| {
            let backend = shared_file(file, at, options)?;
            open_over(backend, at, options, |found| {
                match options.backup_before_migration {
                    true => migrate::keep_copy(at, found),
                    false => Ok(()),
                }
            })
        });
        Ok(Some(self.explained(handle)?.in_file(links)))
    }

    /// The file to ask for its links, which `Handle::in_file` takes; `None` if the file was deleted. Some file
    /// systems count no links: there the path still leads to the file.
    fn named(&self, file: &File) -> Result<Option<Option<File>>, RuntimeError> {
        if has_links(file) {
            let file = file.try_clone().map_err(|error| self.at.io(error))?;
            return Ok(Some(Some(file)));
        }
        let there = std::fs::metadata(self.at.path()).ok();
        let is_there = there.as_ref().and_then(FileId::of) == self.file;
        Ok(is_there.then_some(None))
    }

    /// Says of a file that redb takes for damaged if only bytes after its end are in the way.
    fn explained<T>(&self, opened: Result<T, RuntimeError>) -> Result<T, RuntimeError> {
        let Err(error @ RuntimeError::StoreCorrupt { .. }) = opened else {
            return opened;
        };
        let file = file_backend::over(open_for_reading(self.at)?, self.at)?;
        match page_walk::bytes_after_end(&file) {
            Ok(Some(bytes)) => Err(self.at.bytes_after_end(bytes)),
            _ => Err(error),
        }
    }

    /// Opens the store while other processes may write to it. The write gate cannot be used here:
    /// another process may commit as soon as redb releases the locks of opening, before the held
    /// writes reach the file. So the file is first opened for reading only. If it needs a repair or
    /// a migration, it is opened, and closed again, as the only writer.
    fn open_one_of_many(&self) -> Result<Option<Handle>, RuntimeError> {
        let at = self.at;
        match self.open_reader() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(RuntimeError::NeedsRepair { .. } | RuntimeError::StoreSchemaTooOld { .. }) => {
                let mut alone = self.options.clone();
                alone.sharing = Sharing::OneWriter;
                if let Some(Handle::Writer(writer)) = self.open_writer(&alone)? {
                    report_recovery(at, writer.recovery);
                    at.guard(|| writer.database.close().map_err(|error| at.redb(error)))?;
                }
                // The next attempt finds the file repaired and migrated.
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let Some(file) = self.expected(open_for_writing(at)?)? else {
            return Ok(None);
        };
        let Some(links) = self.named(&file)? else {
            return Ok(None);
        };
        let handle = at.guard(|| {
            let backend = shared_file(file, at, self.options)?;
            open_beside_writers(backend, at, self.options)
        });
        Ok(Some(self.explained(handle)?.in_file(links)))
    }
}

/// A backend over `file`, which other processes may have open.
pub(crate) fn shared_file(
    file: File,
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> Result<SharedFile<impl StorageBackend>, RuntimeError> {
    let metadata = file.metadata().map_err(|error| at.io(error))?;
    let backend = file_backend::with_locks(file, at)?;
    let waits = LockWaits {
        limit: options.commit_lock_timeout,
        place: at.place.clone(),
        file: FileId::of(&metadata),
        others_write: options.sharing == Sharing::ManyWriters,
        planted: options.planted,
    };
    Ok(SharedFile::new(options.file(backend), waits))
}

/// Opens the store in `backend` while other processes may write to it. The store was closed
/// cleanly, or another process has it open.
pub(crate) fn open_beside_writers(
    backend: impl StorageBackend,
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> Result<Handle, RuntimeError> {
    let (backend, size, file) = pass(backend).map_err(|error| at.io(error))?;
    let database = builder(options)
        .create_with_backend(backend)
        .map_err(|error| at.redb(error))?;
    let erase = erase_beside_writers(file, options);
    let writer = Writer::new(database, size, Some(erase));
    Ok(Handle::Writer(
        writer.quick_repair_from(options.quick_repair_from),
    ))
}

/// The error for a store of version `found` that must not be migrated.
fn too_old(at: RedbContext<'_>, options: &StoreOptions, found: u32) -> RuntimeError {
    RuntimeError::StoreSchemaTooOld {
        path: at.path().to_owned(),
        found,
        supported: options.schema.supported(),
    }
}

/// Opens a store of any supported version for reading. Returns the database and its schema version.
pub(crate) fn read_any(
    backend: impl StorageBackend,
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> Result<(ReadOnlyDatabase, u32), RuntimeError> {
    at.guard(|| {
        let database = builder(options)
            .open_read_only_with_backend(checked(backend, Role::Reader, at, options))
            .map_err(|error| at.redb(error))?;
        let transaction = database.begin_read().map_err(|error| at.redb(error))?;
        let found = options.schema.check(&transaction, at)?;
        drop(transaction);
        Ok((database, found))
    })
}

/// Whether another process has the file at `at.path` open for writing. `false` where the system cannot tell.
pub(crate) fn has_a_writer(at: RedbContext<'_>) -> Result<bool, RuntimeError> {
    // The descriptor of an open store was given to redb.
    let file = file_backend::over(open_for_reading(at)?, at)?;
    let byte = Bound::Included(lock_holder::SHARED_WRITER_BYTE);
    let asked = file.query_lock_range(byte, byte);
    asked.map_err(|error| at.redb(error))
}

/// Opens the file at `at.path` for reading; rejects other formats.
pub(crate) fn open_for_reading(at: RedbContext<'_>) -> Result<File, RuntimeError> {
    let mut file = File::open(at.path()).map_err(|error| at.io(error))?;
    refuse_other_formats(&mut file, at)?;
    Ok(file)
}

/// Opens the file at `at.path` for reading and writing; rejects other formats.
pub(crate) fn open_for_writing(at: RedbContext<'_>) -> Result<File, RuntimeError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(at.path())
        .map_err(|error| at.io(error))?;
    refuse_other_formats(&mut file, at)?;
    Ok(file)
}

/// Opens the store in `backend` as its only writer, and migrates it if it has an older version.
/// `before_migration` gets that version before anything is written.
pub(crate) fn open_over(
    backend: impl StorageBackend,
    at: RedbContext<'_>,
    options: &StoreOptions,
    before_migration: impl FnOnce(u32) -> Result<(), RuntimeError>,
) -> Result<Handle, RuntimeError> {
    let one_sync = OneSync::default();
    let backend = OneSyncFile::new(backend, one_sync.clone(), options.planted);
    let (backend, gate) = hold(backend, options.planted).map_err(|error| at.io(error))?;
    let database = builder(options)
        .create_with_backend(checked(backend, Role::OnlyWriter, at, options))
        .map_err(|error| at.redb(error))?;
    let size = gate.size();
    let found = version_of(&database, options.schema, at)?;
    let is_old = found < options.schema.supported();
    if is_old && !options.migrate {
        return Err(too_old(at, options, found));
    }
    if is_old {
        before_migration(found)?;
    }
    // From here on the file is known to be a store that this version can read, so the writes that
    // redb made while opening may reach it.
    // Taken before the gate is opened, which consumes it.
    let file = gate.file();
    let recovery = gate.recovery().map_err(|error| at.io(error))?;
    gate.open()
        .map_err(|error| at.redb(redb::Error::Io(error)))?;
    // A commit that redb chose may be in the page cache alone, and the next one must not rely on it.
    let is_proven = recovery != Some(Recovery::LeftToRedb);
    let one_sync = (is_proven && options.commit_syncs == CommitSyncs::One).then_some(one_sync);
    let writer = Writer::new(database, size, Some(erase_alone(file, at, options)));
    let writer = writer
        .recovered(recovery)
        .with_one_sync(one_sync)
        .quick_repair_from(options.quick_repair_from);
    if is_old {
        migrate(&writer, options.schema, found, at.named("migrate"))?;
    }
    Ok(Handle::Writer(writer))
}

/// The schema version of the store, if this crate can read or migrate it.
pub(crate) fn version_of(
    database: &Database,
    schema: Schema,
    at: RedbContext<'_>,
) -> Result<u32, RuntimeError> {
    let transaction = database.begin_read().map_err(|error| at.redb(error))?;
    schema.check(&transaction, at)
}

/// Migrates a store from version `found` to the current one, in one transaction: after a crash the
/// store has the old version or the new one.
fn migrate(
    writer: &Writer,
    schema: Schema,
    found: u32,
    at: RedbContext<'_>,
) -> Result<(), RuntimeError> {
    let transaction = writer.database.begin_write();
    let mut transaction = transaction.map_err(|error| at.redb(error))?;
    transaction.set_two_phase_commit(true);
    schema.migrate(&transaction, found, at)?;
    // After the steps: the size of the file decides, and a step may have made the file large.
    transaction.set_quick_repair(writer.is_large());
    transaction.commit().map_err(|error| at.redb(error))
}
