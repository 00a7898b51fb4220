//! Backup: a copy of a store, made while others read and write it.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::redb_engine::RedbEngine;
use crate::engine::redb::database::staged_backend::backend_of;
use crate::engine::redb::maintenance::page_check::{self, PageCheck};
use crate::engine::redb::maintenance::progress::{Meter, OnPart, OnProgress, RowProgress};
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, IMPORTS, META, RUNTIMES, TRANSCRIPTS, TableOf, Tables, WORKERS,
};
use crate::engine::redb::tables::view::View;
use crate::error::{Place, RuntimeError};
use crate::fs::staged_file::{self, StagedFile};
use crate::fs::staging::Unpublished;
use crate::ledger::envelope::{self, KeyBytes, Record};
use redb::{Builder, Database, Key, ReadTransaction, ReadableDatabase, Value, WriteTransaction};
use serde::Serialize;
use std::io::{self, ErrorKind};
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// The page cache of redb for the copy, in bytes of memory.
const CACHE_BYTES: usize = 64 << 20;

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

    /// Sets a callback for the progress of the page check of the copy, from 0 to 1. The check runs
    /// after the rows are written and before they are read back. The callback also gets 0 when redb
    /// starts to compact the copy, which reports no progress of its own.
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
    let copied = at.guard(|| write_copy(&source, &staged, at, &mut meter, on_part))?;
    let rows = meter.done();
    // From here on the copy is compared with the digest: writers of the store can reuse its old
    // pages.
    drop(transaction);
    let read_back = at.guard(|| read_copy(&staged, at, &mut meter, on_part))?;
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
    on_part: &OnPart,
) -> Result<u128, RuntimeError> {
    let mut database: Database = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(backend_of(staged, at)?)
        .map_err(|error| at.redb(error))?;
    let mut transaction = database.begin_write().map_err(|error| at.redb(error))?;
    transaction.set_two_phase_commit(true);
    let mut copy = Copy {
        meter,
        digest: Xxh3::new(),
        target: Some((&transaction, at)),
    };
    copy.all(source)?;
    let digest = copy.digest.digest128();
    transaction.commit().map_err(|error| at.redb(error))?;
    // redb grows a file in large steps. Compacting returns the free space of the copy.
    on_part.report(0.0);
    database.compact().map_err(|error| at.redb(error))?;
    database.close().map_err(|error| at.redb(error))?;
    Ok(digest)
}

/// Checks the pages of the staged file, and reads every row. Returns a digest of the rows.
fn read_copy(
    staged: &StagedFile,
    at: RedbContext<'_>,
    meter: &mut Meter,
    on_part: &OnPart,
) -> Result<u128, RuntimeError> {
    match page_check::check(&staged.path(), at, on_part)? {
        PageCheck::Whole => {}
        PageCheck::Unread(error) => return Err(at.io(io::Error::other(error))),
        PageCheck::Refused(message) => return Err(at.corrupt(message)),
        other => {
            return Err(at.corrupt(format!(
                "the copy was discarded: its page check reports {other:?}"
            )));
        }
    }
    let database = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .open_read_only_with_backend(backend_of(staged, at)?)
        .map_err(|error| at.redb(error))?;
    let transaction = database.begin_read().map_err(|error| at.redb(error))?;
    let mut copy = Copy {
        meter,
        digest: Xxh3::new(),
        target: None,
    };
    copy.all(&View {
        tables: &transaction,
        at,
    })?;
    Ok(copy.digest.digest128())
}

/// Reads every row of a store, and writes it to the target, if there is one.
struct Copy<'a> {
    meter: &'a mut Meter,
    digest: Xxh3,
    target: Option<(&'a WriteTransaction, RedbContext<'a>)>,
}

impl Copy<'_> {
    fn all(&mut self, source: &View<'_, ReadTransaction>) -> Result<(), RuntimeError> {
        self.table(source, &META)?;
        self.table(source, &RUNTIMES)?;
        self.table(source, &WORKERS)?;
        self.table(source, &EVENTS)?;
        self.table(source, &TRANSCRIPTS)?;
        self.table(source, &DIAGNOSTICS)?;
        self.table(source, &IMPORTS)
    }

    fn table<K, R>(
        &mut self,
        source: &View<'_, ReadTransaction>,
        table: &TableOf<K, R>,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        R: Record,
        for<'k> K::SelfType<'k>: KeyBytes + std::borrow::Borrow<K::SelfType<'k>>,
    {
        // A target has every table, also those without rows: a read transaction cannot open a
        // missing table.
        let mut open = match self.target {
            None => None,
            Some((transaction, at)) => {
                let open = transaction.open(table.definition);
                Some((open.map_err(|error| at.redb(error))?, at))
            }
        };
        self.digest.update(table.name.as_bytes());
        source.walk(table, .., |key, value| {
            envelope::decode::<R>(table.name, &key, value).map_err(|message| {
                let message = format!("table {}, key {key:?}: {message}", table.name);
                source.at.corrupt(message)
            })?;
            {
                let key = <K as Value>::as_bytes(&key);
                // The lengths separate keys from values: other pairs of the same bytes give another
                // digest.
                self.digest.update(&key.as_ref().len().to_le_bytes());
                self.digest.update(key.as_ref());
            }
            self.digest.update(&value.len().to_le_bytes());
            self.digest.update(value);
            if let Some((open, at)) = &mut open {
                open.insert(&key, value).map_err(|error| at.redb(error))?;
            }
            self.meter.step();
            Ok(())
        })
    }
}
