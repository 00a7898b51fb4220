//! The census: counts the contents of a store, and the space in its file.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::redb_engine::RedbEngine;
use crate::engine::redb::file::lock_holder;
use crate::engine::redb::maintenance::page_check;
use crate::engine::redb::maintenance::progress::{Meter, OnProgress, RowProgress};
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, FILES, IMPORTS, META, RUNTIMES, TOMBSTONES, TRANSCRIPTS, TableOf, WORKERS,
};
use crate::engine::redb::tables::view::View;
use crate::engine::redb::tables::walk::key_bytes;
use crate::error::RuntimeError;
use crate::ledger::convert;
use crate::ledger::stored::kept_file::is_document;
use crate::ledger::table_names::NO_RUNTIME;
use crate::model::identity::{RuntimeId, WorkerRef};
use redb::{Key, ReadTransaction, ReadableTableMetadata};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The options of a census.
#[derive(Clone, Debug)]
pub struct CensusOptions {
    pub(crate) largest_workers: usize,
    pub(crate) on_progress: OnProgress,
}

impl Default for CensusOptions {
    fn default() -> Self {
        Self {
            largest_workers: 10,
            on_progress: OnProgress::default(),
        }
    }
}

impl CensusOptions {
    /// Options that list the ten largest workers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many of the largest workers are listed. 10 by default.
    #[must_use]
    pub fn largest_workers(mut self, largest_workers: usize) -> Self {
        self.largest_workers = largest_workers;
        self
    }

    /// Sets a callback for the number of rows that are done, called every few thousand rows on the
    /// thread that counts.
    #[must_use]
    pub fn on_progress(
        mut self,
        on_progress: impl Fn(RowProgress) + Send + Sync + 'static,
    ) -> Self {
        self.on_progress = OnProgress::new(on_progress);
        self
    }
}

/// The logical size of rows: their keys and values, without the pages around them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tally {
    /// The number of rows.
    pub items: u64,
    /// The size of their keys and values, in bytes.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: usize) {
        self.items += 1;
        self.bytes += convert::stored_size(bytes);
    }
}

/// The contents of one runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuntimeCensus {
    /// The id of the runtime.
    pub runtime_id: RuntimeId,
    /// The rows of its workers.
    pub workers: Tally,
    /// Its event log.
    pub events: Tally,
    /// Its workers' transcripts.
    pub transcripts: Tally,
    /// Its diagnostics.
    pub diagnostics: Tally,
    /// Its kept files: those that the model has no place for. `items` counts files, which can have several rows; `bytes`
    /// includes the texts of documents that an export would write otherwise.
    pub files: Tally,
}

impl RuntimeCensus {
    /// The size of all rows of the runtime in bytes, without its own row.
    pub fn bytes(&self) -> u64 {
        self.workers.bytes
            + self.events.bytes
            + self.transcripts.bytes
            + self.diagnostics.bytes
            + self.files.bytes
    }
}

/// The contents of one worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct WorkerCensus {
    /// The size of its row and its transcript, in bytes.
    pub bytes: u64,
    /// The number of entries in its transcript.
    pub transcript_entries: u64,
    /// The reference of the worker.
    pub worker_ref: WorkerRef,
}

/// The space of one table in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TableCensus {
    /// The table's name.
    pub table: &'static str,
    /// The number of its rows.
    pub rows: u64,
    /// The number of pages in its tree.
    pub pages: u64,
    /// The size of its keys and values, in bytes.
    pub stored_bytes: u64,
    /// The size of the index above the rows and of the page headers, in bytes.
    pub metadata_bytes: u64,
    /// The unused space within its pages, in bytes.
    pub fragmented_bytes: u64,
}

impl TableCensus {
    /// The size of its pages, in bytes.
    pub fn bytes(&self) -> u64 {
        self.stored_bytes + self.metadata_bytes + self.fragmented_bytes
    }
}

/// A process with a snapshot of an older commit. Pages that were replaced after that commit cannot
/// be reused while the snapshot exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct ReaderCensus {
    /// The number of commits after the one that the process reads.
    pub commits_behind: u64,
    /// The id of the process.
    pub pid: u32,
    /// The size of the pages that were replaced after that commit and stay in the file, in bytes.
    /// They can be reused once the process drops its snapshot, unless another snapshot is equally
    /// old. `None` if the file could not be read consistently.
    pub kept_bytes: Option<u64>,
}

/// The contents of a store, and the space in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Census {
    /// The size of the file in bytes; `None` in memory, or if the file cannot be found.
    pub file_bytes: Option<u64>,
    /// The disk space of the file in bytes, if the system reports it. It is less than `file_bytes`
    /// if the file was grown but not yet written.
    pub disk_bytes: Option<u64>,
    /// The size of all pages that no table uses, in bytes: free pages, pages that snapshots of
    /// older commits still need, and the pages of redb itself. `None` in memory.
    pub unused_bytes: Option<u64>,
    /// An estimate, in bytes, of how much the file shrinks if it is compacted and closed while no
    /// snapshot exists. `None` in memory.
    pub compacting_frees_bytes: Option<u64>,
    /// All tables.
    pub tables: Vec<TableCensus>,
    /// All runtimes, in the order of their ids.
    pub runtimes: Vec<RuntimeCensus>,
    /// The kept files that belong to no runtime, as [`RuntimeCensus::files`].
    pub files: Tally,
    /// The largest workers, in descending order of size.
    pub largest_workers: Vec<WorkerCensus>,
    /// The processes with snapshots of older commits, the oldest first. Empty if the system does
    /// not list locks.
    pub readers: Vec<ReaderCensus>,
}

/// The disk space of the file at `path`, in bytes.
#[cfg(unix)]
fn disk_bytes(path: &std::path::Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    // `st_blocks` counts units of 512 bytes on every file system.
    Some(std::fs::metadata(path).ok()?.blocks() * 512)
}

#[cfg(not(unix))]
fn disk_bytes(_: &std::path::Path) -> Option<u64> {
    None
}

/// An estimate of the space that redb itself uses in a compacted and closed file: the header, its
/// own tables, and the allocator state, which grows with the file. Measured: 32 KiB for stores of
/// up to 50,000 rows.
fn own_bytes(table_bytes: u64) -> u64 {
    (32 << 10) + table_bytes / 8192
}

/// Counts the contents of the store; see [`Store::census_with`](crate::Store::census_with).
pub(crate) fn take_census(
    engine: &RedbEngine,
    options: &CensusOptions,
) -> Result<Census, RuntimeError> {
    let at = engine.at("take a census");
    let transaction = at.guard(|| engine.begin_read(at))?;
    let view = View {
        tables: &*transaction,
        at,
    };
    let mut count = Count {
        view: &view,
        meter: options.on_progress.meter(view.total_rows()?),
        largest: BinaryHeap::new(),
        keep: options.largest_workers,
    };
    let runtimes = count.runtimes()?;
    let files = count.files(NO_RUNTIME)?;
    let mut largest: Vec<WorkerCensus> = count.largest.into_iter().map(|least| least.0).collect();
    largest.sort_unstable_by(|one, other| other.cmp(one));
    let tables = tables(&view)?;
    let used: u64 = tables.iter().map(TableCensus::bytes).sum();
    let readers = engine.readers(at)?;
    let file_bytes = engine.file_bytes(at)?;
    let path = engine.file_path().ok();
    Ok(Census {
        file_bytes,
        disk_bytes: path.and_then(|path| disk_bytes(&path)),
        unused_bytes: file_bytes.map(|file| file.saturating_sub(used)),
        compacting_frees_bytes: file_bytes.map(|file| file.saturating_sub(used + own_bytes(used))),
        tables,
        runtimes,
        files,
        largest_workers: largest,
        readers,
    })
}

/// An estimate, in bytes, of how much the file shrinks if it is compacted after rows of `removed` bytes were removed. `None`
/// in memory.
pub(crate) fn compacting_frees(
    engine: &RedbEngine,
    view: &View<'_, ReadTransaction>,
    removed: u64,
) -> Result<Option<u64>, RuntimeError> {
    let Some(file_bytes) = engine.file_bytes(view.at)? else {
        return Ok(None);
    };
    let used: u64 = tables(view)?.iter().map(TableCensus::bytes).sum();
    let used = used.saturating_sub(removed);
    Ok(Some(file_bytes.saturating_sub(used + own_bytes(used))))
}

impl RedbEngine {
    /// The processes with snapshots of older commits. The caller holds a snapshot of the newest
    /// commit, whose lock shows its id.
    fn readers(&self, at: RedbContext<'_>) -> Result<Vec<ReaderCensus>, RuntimeError> {
        let readers = self.file().map(lock_holder::readers).unwrap_or_default();
        let newest = readers.iter().map(|reads| reads.newest).max().unwrap_or(0);
        let mut old: Vec<ReaderCensus> = readers
            .into_iter()
            .filter(|reads| reads.oldest < newest)
            .map(|reads| ReaderCensus {
                commits_behind: newest - reads.oldest,
                pid: reads.pid,
                kept_bytes: None,
            })
            .collect();
        if let (false, Ok(path)) = (old.is_empty(), self.file_path()) {
            let replaced = page_check::replaced_bytes(&path, at)?;
            for reader in &mut old {
                // A page that commit N replaced is still part of the snapshots before N.
                let state = newest - reader.commits_behind;
                reader.kept_bytes = replaced
                    .as_ref()
                    .map(|replaced| replaced.range(state + 1..).map(|(_, bytes)| bytes).sum());
            }
        }
        old.sort_unstable_by(|one, other| other.cmp(one));
        Ok(old)
    }
}

fn tables(view: &View<'_, ReadTransaction>) -> Result<Vec<TableCensus>, RuntimeError> {
    Ok(vec![
        table(view, &META)?,
        table(view, &RUNTIMES)?,
        table(view, &WORKERS)?,
        table(view, &EVENTS)?,
        table(view, &TRANSCRIPTS)?,
        table(view, &DIAGNOSTICS)?,
        table(view, &IMPORTS)?,
        table(view, &TOMBSTONES)?,
        table(view, &FILES)?,
    ])
}

fn table<K: Key + 'static, R>(
    view: &View<'_, ReadTransaction>,
    table: &TableOf<K, R>,
) -> Result<TableCensus, RuntimeError> {
    view.in_table(table, |open, at| {
        let stats = open.stats().map_err(|error| at.redb(error))?;
        Ok(TableCensus {
            table: table.name,
            rows: open.len().map_err(|error| at.redb(error))?,
            pages: stats.leaf_pages() + stats.branch_pages(),
            stored_bytes: stats.stored_bytes(),
            metadata_bytes: stats.metadata_bytes(),
            fragmented_bytes: stats.fragmented_bytes(),
        })
    })
}

/// A census under way.
struct Count<'a> {
    view: &'a View<'a, ReadTransaction>,
    meter: Meter,
    /// The largest workers so far, with the smallest of them on top.
    largest: BinaryHeap<Reverse<WorkerCensus>>,
    keep: usize,
}

impl Count<'_> {
    fn runtimes(&mut self) -> Result<Vec<RuntimeCensus>, RuntimeError> {
        let mut runtimes = Vec::new();
        let view = self.view;
        view.walk(&RUNTIMES, .., |id, _| {
            self.meter.step();
            let blank = || view.at.corrupt("a stored runtime id is blank");
            let runtime_id = RuntimeId::new(id).ok_or_else(blank)?;
            runtimes.push(self.runtime(runtime_id)?);
            Ok(())
        })?;
        Ok(runtimes)
    }

    fn runtime(&mut self, runtime_id: RuntimeId) -> Result<RuntimeCensus, RuntimeError> {
        let next = crate::engine::redb::tables::view::after_runtime(runtime_id.as_str());
        let (id, next) = (runtime_id.as_str(), next.as_str());
        let (mut workers, mut events, mut diagnostics) =
            (Tally::default(), Tally::default(), Tally::default());
        let mut transcripts = Tally::default();
        let view = self.view;
        view.walk(&WORKERS, (id, "")..(next, ""), |key, value| {
            self.meter.step();
            let bytes = key_bytes::<(&str, &str)>(&key) + value.len();
            workers.add(bytes);
            let worker_ref = convert::worker_ref(&runtime_id, key.1)
                .map_err(|message| view.at.corrupt(message))?;
            let transcript = self.transcript(&worker_ref)?;
            transcripts.items += transcript.items;
            transcripts.bytes += transcript.bytes;
            self.note(WorkerCensus {
                bytes: convert::stored_size(bytes) + transcript.bytes,
                transcript_entries: transcript.items,
                worker_ref,
            });
            Ok(())
        })?;
        view.walk(&EVENTS, (id, 0)..(next, 0), |key, value| {
            self.meter.step();
            events.add(key_bytes::<(&str, u64)>(&key) + value.len());
            Ok(())
        })?;
        view.walk(&DIAGNOSTICS, (id, 0)..(next, 0), |key, value| {
            self.meter.step();
            diagnostics.add(key_bytes::<(&str, u64)>(&key) + value.len());
            Ok(())
        })?;
        let files = self.files(id)?;
        Ok(RuntimeCensus {
            files,
            runtime_id,
            workers,
            events,
            transcripts,
            diagnostics,
        })
    }

    fn files(&mut self, owner: &str) -> Result<Tally, RuntimeError> {
        let next = crate::engine::redb::tables::view::after_runtime(owner);
        let mut tally = Tally::default();
        self.view
            .walk(&FILES, (owner, "", 0)..(&*next, "", 0), |key, value| {
                self.meter.step();
                tally.add(key_bytes::<(&str, &str, u64)>(&key) + value.len());
                // A file is counted with its first chunk.
                tally.items -= u64::from(key.2 > 0 || is_document(key.1));
                Ok(())
            })?;
        Ok(tally)
    }

    fn transcript(&mut self, worker: &WorkerRef) -> Result<Tally, RuntimeError> {
        let mut tally = Tally::default();
        let (runtime, worker) = (worker.runtime_id.as_str(), worker.worker_id.as_str());
        let range = (runtime, worker, 0)..=(runtime, worker, u64::MAX);
        self.view.walk(&TRANSCRIPTS, range, |key, value| {
            self.meter.step();
            tally.add(key_bytes::<(&str, &str, u64)>(&key) + value.len());
            Ok(())
        })?;
        Ok(tally)
    }

    /// Adds the worker, and drops the smallest one if there are too many.
    fn note(&mut self, worker: WorkerCensus) {
        self.largest.push(Reverse(worker));
        if self.largest.len() > self.keep {
            self.largest.pop();
        }
    }
}
