//! Creating and opening.
//!
//! A file that cannot be opened is never touched: not renamed, truncated, replaced, repaired or
//! stamped. See [`crate::engine::redb::file::write_gate`] for how that holds although redb writes when it opens.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::open_store::OPEN_STORES;
use crate::engine::redb::database::redb_engine::{Handle, OpenStore, RedbEngine, Reopen, Writer};
use crate::engine::redb::database::registry::{Found, Registration};
use crate::engine::redb::database::sharing::Sharing;
use crate::engine::redb::file::checked_pages::{CheckedPages, Role};
use crate::engine::redb::file::file_id::FileId;
use crate::engine::redb::file::lock_holder;

use crate::engine::redb::file::write_gate::{KeptFile, hold, pass};
use crate::engine::redb::maintenance::verify::check::refuse_damaged_pages;
use crate::engine::redb::open::create::create;
use crate::engine::redb::open::options::StoreOptions;
use crate::engine::redb::schema::migrate;
use crate::engine::redb::schema::version::Schema;
use crate::error::{Place, RuntimeError};
use crate::fs::staged_file;

use crate::model::management::RuntimeBackendKind;
use redb::backends::FileBackend;
use redb::{Builder, Database, ReadOnlyDatabase, ReadableDatabase, StorageBackend};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What every redb file begins with.
const REDB_MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// How often a locked file is tried again.
const LOCK_POLL: Duration = Duration::from_millis(10);

/// Opens the store at `path`, creates it where there is nothing.
pub(crate) fn open(path: &Path, options: &StoreOptions) -> Result<Arc<OpenStore>, RuntimeError> {
    let place = Place::file(path);
    let at = RedbContext::new("open", &place);
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

/// Opens the store at `at.path`, waiting for other processes.
///
/// Between two tries this process holds nothing of the file, so that its other opens of it wait as
/// long as they want to, and no longer.
fn open_existing(
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> Result<Arc<OpenStore>, RuntimeError> {
    // A timeout past the end of time is none.
    let deadline = Instant::now().checked_add(options.lock_timeout);
    loop {
        match try_to_open(at, options) {
            Ok(Some(store)) => return Ok(store),
            Ok(None) => {}
            Err(RuntimeError::StoreLocked { path, .. }) => {
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    let file = std::fs::metadata(&path).ok();
                    let file = file.and_then(|metadata| FileId::of(&metadata));
                    let holder = file.and_then(lock_holder::holder);
                    return Err(RuntimeError::StoreLocked { path, holder });
                }
                std::thread::sleep(LOCK_POLL.min(options.lock_timeout));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens the store at `at.path`, or says who is in the way. `None` where there is another one now
/// than there was a moment ago, and it is to be tried again.
fn try_to_open(
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> Result<Option<Arc<OpenStore>>, RuntimeError> {
    let metadata = std::fs::metadata(at.path()).map_err(|error| at.io(error))?;
    refuse_other_kinds(&metadata, at)?;
    let Some(file) = FileId::of(&metadata) else {
        return open_file(at, options, None);
    };
    match OPEN_STORES.find(file, !options.read_only) {
        Found::Open(shared) if shared.has_ended() => {
            // Closed, or in need of being opened again: leftover handles do not matter, nor that
            // a file that failed does not close in order.
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
            "the store is opened from within its own opening: `on_repair` only looks and decides"
                .to_owned(),
        )),
        Found::Vacant(registration) => open_file(at, options, Some(registration)),
    }
}

/// Refuses what cannot be a store by its kind.
pub(crate) fn refuse_other_kinds(
    metadata: &Metadata,
    at: RedbContext<'_>,
) -> Result<(), RuntimeError> {
    if metadata.is_dir() {
        return Err(at.not_a_store("it is a directory"));
    }
    if !metadata.is_file() {
        return Err(at.not_a_store("it is not a regular file"));
    }
    if metadata.len() == 0 {
        return Err(at.not_a_store("it is an empty file"));
    }
    Ok(())
}

/// Refuses what cannot be a store by its first bytes.
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

/// Opens the file at `at.path`; `None` where it is not the one that was registered.
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
        // One call: each would list the directory, which can have many entries.
        staged_file::remove_leftovers(
            [at.path()]
                .into_iter()
                .chain(copies.iter().map(PathBuf::as_path)),
        );
    }
    let key = registration.as_ref().map(Registration::key);
    let shared = Arc::new(OpenStore::new(RedbEngine::new(
        at.place.clone(),
        RuntimeBackendKind::RedbStore,
        options.sharing,
        handle,
        Arc::clone(&bad_pages),
        registration,
    )));
    if let Some(key) = key {
        OPEN_STORES.publish(key, &shared);
    }
    Ok(Some(shared))
}

pub(crate) fn builder(options: &StoreOptions) -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(options.cache_bytes)
        .set_concurrency_mode(options.sharing.concurrency_mode())
        .set_check_integrity_on_open(options.verify_on_open && !options.read_only);
    if let Some(on_repair) = options.on_repair.clone() {
        builder.set_repair_callback(move |session| {
            if on_repair(session.progress()).is_break() {
                session.abort();
            }
        });
    }
    builder
}

/// A backend over `file` that checks pages, where they are to be checked.
pub(crate) fn checked<B: StorageBackend>(
    file: B,
    role: Role,
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> CheckedPages<B> {
    let role = match options.check_pages {
        true => role,
        false => Role::Unchecked,
    };
    CheckedPages::new(file, role, at.bad_pages())
}

/// The place where a file is opened, and the file that has to be there: what is opened is what
/// later opens of that file share, and a path can lead to another file at any moment.
///
/// A file is opened anew each time, since it is with its last descriptor that its locks end. Those
/// of other descriptors are not touched by that.
struct Opening<'a> {
    at: RedbContext<'a>,
    options: &'a StoreOptions,
    /// `None` where files cannot be told apart.
    file: Option<FileId>,
}

impl Opening<'_> {
    /// The file, where it is the one that has to be there.
    fn expected(&self, file: File) -> Result<Option<File>, RuntimeError> {
        if self.file.is_none() {
            return Ok(Some(file));
        }
        let metadata = file.metadata().map_err(|error| self.at.io(error))?;
        Ok((FileId::of(&metadata) == self.file).then_some(file))
    }

    fn open_reader(&self) -> Result<Option<Handle>, RuntimeError> {
        let Some(file) = self.expected(open_for_reading(self.at)?)? else {
            return Ok(None);
        };
        let backend = FileBackend::new(file).map_err(|error| self.at.redb(error))?;
        let (database, found) = match read_any(backend, self.at, self.options) {
            Err(RuntimeError::NeedsRepair { path }) if self.has_a_writer()? => {
                // It repairs the file, or has just done so.
                return Err(RuntimeError::StoreLocked { path, holder: None });
            }
            read => read?,
        };
        if found < self.options.schema.supported() {
            return Err(too_old(self.at, self.options, found));
        }
        Ok(Some(Handle::Reader(database)))
    }

    /// Whether somebody has the file open for writing, where the system tells it.
    fn has_a_writer(&self) -> Result<bool, RuntimeError> {
        let file = FileBackend::new(open_for_reading(self.at)?);
        let file = file.map_err(|error| self.at.redb(error))?;
        let byte = Bound::Included(lock_holder::SHARED_WRITER_BYTE);
        Ok(file.query_lock_range(byte, byte).unwrap_or(false))
    }

    fn open_writer(&self, options: &StoreOptions) -> Result<Option<Handle>, RuntimeError> {
        let at = self.at;
        let Some(file) = self.expected(open_for_writing(at)?)? else {
            return Ok(None);
        };
        let handle = at.guard(|| {
            let backend = FileBackend::new(file).map_err(|error| at.redb(error))?;
            open_over(options.file(backend), at, options, |found| {
                match options.backup_before_migration {
                    true => migrate::keep_copy(at, found),
                    false => Ok(()),
                }
            })
        })?;
        Ok(Some(handle))
    }

    /// Opens the store beside other writers. Nothing can be held back then: another one may commit
    /// as soon as redb believes that it is done with the file. So the file is first looked at
    /// read-only, and one that nobody repairs or migrates for us is brought in order with nobody
    /// beside us.
    fn open_one_of_many(&self) -> Result<Option<Handle>, RuntimeError> {
        let at = self.at;
        match self.open_reader() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(RuntimeError::NeedsRepair { .. } | RuntimeError::StoreSchemaTooOld { .. }) => {
                let mut alone = self.options.clone();
                alone.sharing = Sharing::OneWriter;
                if let Some(Handle::Writer(writer)) = self.open_writer(&alone)? {
                    at.guard(|| writer.database.close().map_err(|error| at.redb(error)))?;
                }
                // To be looked at once more.
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let Some(file) = self.expected(open_for_writing(at)?)? else {
            return Ok(None);
        };
        let handle = at.guard(|| {
            let backend = FileBackend::new(file).map_err(|error| at.redb(error))?;
            open_beside_writers(self.options.file(backend), at, self.options)
        })?;
        Ok(Some(handle))
    }
}

/// Opens the store that is in `backend` beside other writers: one that was closed cleanly, or that
/// one of them has open.
pub(crate) fn open_beside_writers(
    backend: impl StorageBackend,
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> Result<Handle, RuntimeError> {
    let (backend, size) = pass(backend).map_err(|error| at.io(error))?;
    let database = builder(options)
        .create_with_backend(backend)
        .map_err(|error| at.redb(error))?;
    // redb saves what a repair would rebuild itself, where several write.
    Ok(Handle::Writer(Writer::new(database, size, None)))
}

fn too_old(at: RedbContext<'_>, options: &StoreOptions, found: u32) -> RuntimeError {
    RuntimeError::StoreSchemaTooOld {
        path: at.path().to_owned(),
        found,
        supported: options.schema.supported(),
    }
}

/// Opens a store of any version that we know for reading; returns its version, too.
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

pub(crate) fn open_for_reading(at: RedbContext<'_>) -> Result<File, RuntimeError> {
    let mut file = File::open(at.path()).map_err(|error| at.io(error))?;
    refuse_other_formats(&mut file, at)?;
    Ok(file)
}

pub(crate) fn open_for_writing(at: RedbContext<'_>) -> Result<File, RuntimeError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(at.path())
        .map_err(|error| at.io(error))?;
    refuse_other_formats(&mut file, at)?;
    Ok(file)
}

/// Opens the store that is in `backend`, and migrates it where it is of an older version. Before
/// anything is written, `before_migration` is told that version.
pub(crate) fn open_over(
    backend: impl StorageBackend,
    at: RedbContext<'_>,
    options: &StoreOptions,
    before_migration: impl FnOnce(u32) -> Result<(), RuntimeError>,
) -> Result<Handle, RuntimeError> {
    let (backend, gate) = hold(backend).map_err(|error| at.io(error))?;
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
    // It is a store that we can read: the writes of opening may reach the file.
    let file = gate.file();
    gate.open().map_err(|error| at.io(error))?;
    let writer = Writer::new(database, size, Some(reopen(file, at, options)));
    if is_old {
        migrate(&writer, options.schema, found, at.named("migrate"))?;
    }
    Ok(Handle::Writer(writer))
}

/// How the database in `file` is opened again.
fn reopen<B: StorageBackend>(
    file: KeptFile<B>,
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> Reopen {
    let mut options = options.clone();
    // There is nothing to repair, and it was verified as it was asked for.
    options.verify_on_open = false;
    options.on_repair = None;
    let bad_pages = at.bad_pages();
    Box::new(move |database, at| {
        let at = at.noting(&bad_pages);
        file.keep(|backend| {
            at.guard(|| {
                database.close().map_err(|error| at.redb(error))?;
                builder(&options)
                    .create_with_backend(checked(backend, Role::OnlyWriter, at, &options))
                    .map_err(|error| at.redb(error))
            })
        })
    })
}

/// The version of a store that we can read or migrate.
pub(crate) fn version_of(
    database: &Database,
    schema: Schema,
    at: RedbContext<'_>,
) -> Result<u32, RuntimeError> {
    let transaction = database.begin_read().map_err(|error| at.redb(error))?;
    schema.check(&transaction, at)
}

/// Brings a store of version `found` up to date, in one transaction.
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
    transaction.set_quick_repair(writer.is_large());
    transaction.commit().map_err(|error| at.redb(error))
}
