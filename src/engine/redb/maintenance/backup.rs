//! Backup: a copy of a store, made while others read and write it.

use crate::commit::within::Within;
use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::compact_growth;
use crate::engine::redb::database::redb_engine::RedbEngine;
use crate::engine::redb::database::staged_backend::{backend_of, unsynced_backend_of};
use crate::engine::redb::maintenance::copy::{copy_rows, digest_rows};
use crate::engine::redb::maintenance::page_check::{self, PageCheck};
use crate::engine::redb::maintenance::progress::{Meter, OnPart, OnProgress, RowProgress, relay};
use crate::engine::redb::tables::view::View;
use crate::error::{Place, RuntimeError};
use crate::fs::staged_file::{self, StagedFile};
use crate::fs::staging::Unpublished;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase};
use serde::Serialize;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::rc::Rc;
use std::{panic, thread};

/// The page cache of redb while it writes the copy, in bytes of memory.
const CACHE_BYTES: usize = 64 << 20;

/// The page cache of redb while it reads the copy back, in bytes of memory. Each page is read once.
const READ_CACHE_BYTES: usize = 4 << 20;

/// The options of a backup.
#[derive(Clone, Debug, Default)]
pub struct BackupOptions {
    on_progress: OnProgress,
    on_page_progress: OnPart,
}

impl BackupOptions {
    /// Options without progress callbacks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a callback for the progress of the page check of the copy, from 0 to 1, called on the
    /// thread that makes the backup. The check runs after the rows are written, while they are read
    /// back.
    #[must_use]
    pub fn on_page_progress(mut self, on_part: impl Fn(f64) + Send + Sync + 'static) -> Self {
        self.on_page_progress = OnPart::new(on_part);
        self
    }

    /// Sets a callback for the number of rows that are done, called every few thousand rows on the
    /// thread that makes the backup. Each row counts twice: it is written, and read back.
    #[must_use]
    pub fn on_progress(
        mut self,
        on_progress: impl Fn(RowProgress) + Send + Sync + 'static,
    ) -> Self {
        self.on_progress = OnProgress::new(on_progress);
        self
    }
}

#[cfg(feature = "postgres")]
impl BackupOptions {
    /// The meter of a first copy with `rows` rows, of which the backup is made.
    pub(crate) fn first_half(&self, rows: u64) -> Meter {
        self.on_progress.meter(rows.saturating_mul(2))
    }

    /// The options of the backup itself.
    pub(crate) fn second_half(&self) -> Self {
        Self {
            on_progress: self.on_progress.second_half(),
            on_page_progress: self.on_page_progress.clone(),
        }
    }
}

/// The contents of a finished backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupReport {
    /// The number of rows in all tables.
    pub rows: u64,
    /// The size of the copy, in bytes.
    pub bytes: u64,
}

/// Copies the store to `path`; see [`Store::backup_with`](crate::Store::backup_with).
pub(crate) fn back_up(
    engine: &RedbEngine,
    path: &Path,
    options: &BackupOptions,
) -> Result<BackupReport, RuntimeError> {
    let place = Place::file(path);
    let at = RedbContext::new("back up", &place);
    refuse_in_the_way(at)?;
    let staged = StagedFile::beside(at.path()).map_err(|error| at.io(error))?;
    let from = engine.at("back up");
    let transaction = from.guard(|| engine.begin_read(from))?;
    let source = View {
        tables: &*transaction,
        at: from,
    };
    let total = source.total_rows()?;
    let on_part = &options.on_page_progress;
    let mut meter = options.on_progress.meter(total.saturating_mul(2));
    let copied = at.guard(|| write_copy(&source, &staged, at, &mut meter))?;
    let rows = meter.done();
    // From here on the copy is compared with the digest: writers of the store can reuse its old
    // pages.
    drop(transaction);
    let read_back = read_copy(&staged, at, &mut meter, on_part)?;
    if copied != read_back {
        return Err(
            at.corrupt("the copy was discarded: the rows read back differ from the rows written")
        );
    }
    // Never replaces a file: one may have appeared at the path while the rows were copied.
    let bytes = staged.publish().map_err(|error| match error {
        Unpublished::Failed(error) if error.kind() == ErrorKind::AlreadyExists => in_the_way(at),
        error => at.unpublished(error),
    })?;
    Ok(BackupReport { rows, bytes })
}

/// Rejects a path that names a directory, or at which something exists.
pub(crate) fn refuse_in_the_way(at: RedbContext<'_>) -> Result<(), RuntimeError> {
    if ends_in_separator(at.path()) {
        let message =
            "a backup is a file, but the path names a directory: remove the separator at its end";
        return Err(at.io(io::Error::new(ErrorKind::IsADirectory, message)));
    }
    if std::fs::symlink_metadata(at.path()).is_ok() {
        // No later backup to this path gets further than here, so none would remove the leftovers
        // of a killed one.
        staged_file::remove_leftovers([at.path()]);
        return Err(in_the_way(at));
    }
    Ok(())
}

fn ends_in_separator(path: &Path) -> bool {
    let last = path.as_os_str().as_encoded_bytes().last();
    last.is_some_and(|last| std::path::is_separator(char::from(*last)))
}

/// The error for a path at which something exists.
fn in_the_way(at: RedbContext<'_>) -> RuntimeError {
    let message = "the path exists already, and a backup does not replace anything: choose another path, or \
                   move the existing file first";
    at.io(io::Error::new(ErrorKind::AlreadyExists, message))
}

/// Writes every row of `source` to the staged file. Returns a digest of the rows.
fn write_copy(
    source: &View<'_, ReadTransaction>,
    staged: &StagedFile,
    at: RedbContext<'_>,
    meter: &mut Meter,
) -> Result<u128, RuntimeError> {
    let database = create(staged, at)?;
    let mut transaction = database.begin_write().map_err(|error| at.redb(error))?;
    transaction.set_two_phase_commit(true);
    let digest = copy_rows(source, (&transaction, at), meter)?;
    transaction.commit().map_err(|error| at.redb(error))?;
    // Cuts off the free space at the end, which is all free space of the copy.
    database.close().map_err(|error| at.redb(error))?;
    Ok(digest)
}

/// Creates an empty database in the staged file, of a size that leaves the file compact: see
/// [`compact_growth`].
fn create(staged: &StagedFile, at: RedbContext<'_>) -> Result<Database, RuntimeError> {
    let open = || {
        Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(unsynced_backend_of(staged, at)?)
            .map_err(|error| at.redb(error))
    };
    open()?.close().map_err(|error| at.redb(error))?;
    let file = staged.try_clone_file().map_err(|error| at.io(error))?;
    compact_growth::prepare(&file).map_err(|error| at.io(error))?;
    open()
}

/// Checks the pages of the staged file on another thread, while this one reads every row, and the disk
/// takes the file. Returns a digest of the rows.
fn read_copy(
    staged: &StagedFile,
    at: RedbContext<'_>,
    meter: &mut Meter,
    on_part: &OnPart,
) -> Result<u128, RuntimeError> {
    let path = staged.path();
    thread::scope(|scope| {
        let (on_part, relayed) = relay(on_part);
        let within = Within::current();
        let checking = thread::Builder::new()
            .spawn_scoped(scope, || {
                within.enter();
                let on_part = on_part;
                at.guard(|| page_check::check(&path, at, &on_part))
            })
            .map_err(|error| at.io(error))?;
        // The file is complete: most of the wait of its publication is over by then.
        let syncing = thread::Builder::new()
            .spawn_scoped(scope, || staged.sync())
            .map_err(|error| at.io(error))?;
        let relayed = Rc::new(relayed);
        meter.pass_on(&relayed);
        let read = at.guard(|| read_rows(staged, at, meter));
        relayed.pass_on_all();
        let checked = checking
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        let synced = syncing
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        synced.map_err(|error| at.io(error))?;
        // Damage that both find is described by its pages.
        refuse_damaged(checked?, at)?;
        read
    })
}

fn refuse_damaged(checked: PageCheck, at: RedbContext<'_>) -> Result<(), RuntimeError> {
    match checked {
        PageCheck::Whole => Ok(()),
        PageCheck::Unread(error) => Err(at.io(io::Error::other(error))),
        PageCheck::Refused(message) => Err(at.corrupt(message)),
        other => Err(at.corrupt(format!(
            "the copy was discarded: its page check reports {other:?}"
        ))),
    }
}

fn read_rows(
    staged: &StagedFile,
    at: RedbContext<'_>,
    meter: &mut Meter,
) -> Result<u128, RuntimeError> {
    let database = Builder::new()
        .set_cache_size(READ_CACHE_BYTES)
        .open_read_only_with_backend(backend_of(staged, at)?)
        .map_err(|error| at.redb(error))?;
    let transaction = database.begin_read().map_err(|error| at.redb(error))?;
    let tables = &transaction;
    digest_rows(&View { tables, at }, meter)
}
