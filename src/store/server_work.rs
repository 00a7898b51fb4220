//! Maintenance of a store in a PostgreSQL database: backup to a file, census, verification.

use crate::commit::engine::Engine;
use crate::engine::postgres::engine::PostgresStore;
use crate::engine::postgres::maintenance::census::{self, Count, Counts};
use crate::engine::postgres::maintenance::raw::PgRaw;
use crate::engine::postgres::rows::reader::Reader;
use crate::engine::postgres::snapshot::PgSnapshot;
use crate::engine::redb::context::RedbContext;
use crate::engine::redb::maintenance::backup::{
    self, BackupOptions, BackupReport, refuse_in_the_way,
};
use crate::engine::redb::maintenance::census::{
    Census, CensusOptions, RuntimeCensus, TableCensus, Tally, WorkerCensus,
};
use crate::engine::redb::maintenance::progress::OnProgress;
use crate::engine::redb::maintenance::verify::check;
use crate::engine::redb::maintenance::verify::options::VerifyOptions;
use crate::engine::redb::maintenance::verify::report::VerifyReport;
use crate::engine::redb::open::take_in;
use crate::error::{Place, RuntimeError};
use crate::ledger::context::OpContext;
use crate::ledger::table_names as table;
use crate::ledger::whole::all_runtimes;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use std::path::Path;

/// The size of a page of PostgreSQL, in bytes.
const PAGE_BYTES: u64 = 8192;

fn snapshot(store: &PostgresStore, at: OpContext<'_>) -> Result<PgSnapshot, RuntimeError> {
    store.refuse_fork(at)?;
    PgSnapshot::take_whole(&store.engine().server).map_err(|error| error.runtime(at))
}

/// Copies the store to a new redb file at `path`. The rows are first copied to a temporary file in the same directory. Then
/// that file is backed up as any store in a file, so a backup has the same rows and the same checks for every engine.
pub(crate) fn back_up(
    store: &PostgresStore,
    path: &Path,
    options: &BackupOptions,
) -> Result<BackupReport, RuntimeError> {
    let at = store.context("back up");
    let to = Place::file(path);
    refuse_in_the_way(RedbContext::new("back up", &to))?;
    let snapshot = snapshot(store, at)?;
    let rows = census::count_rows(&snapshot).map_err(|error| error.runtime(at))?;
    let raw = PgRaw::new(&snapshot, at);
    let beside = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let beside = beside.unwrap_or(Path::new("."));
    let place = (store.engine().place(), Some(beside));
    let copy = take_in::to_temporary_file(&raw, place, &mut options.first_half(rows))?;
    drop(raw);
    drop(snapshot);
    backup::back_up(copy.engine(), path, &options.second_half())
}

/// Verifies the records of the store and the rules across tables, on a copy in a temporary file.
pub(crate) fn verify(
    store: &PostgresStore,
    options: &VerifyOptions,
) -> Result<VerifyReport, RuntimeError> {
    let at = store.context("verify");
    let snapshot = snapshot(store, at)?;
    let raw = PgRaw::new(&snapshot, at);
    let place = (store.engine().place(), None);
    let copy = take_in::to_temporary_file(&raw, place, &mut OnProgress::default().meter(0))?;
    // The server checks its own pages.
    check::verify(&copy, &options.clone().pages(false))
}

/// Counts the rows of the store.
pub(crate) fn take_census(
    store: &PostgresStore,
    options: &CensusOptions,
) -> Result<Census, RuntimeError> {
    let at = store.context("take a census");
    let snapshot = snapshot(store, at)?;
    let counts = census::count(&snapshot, options.largest_workers, at)?;
    // The server counts all rows at once.
    let rows = counts.tables.iter().map(|table| table.count.0).sum();
    options.on_progress.meter(rows).finish();
    let ids = all_runtimes(&Reader {
        source: &snapshot,
        at,
    })?;
    let runtimes = ids.into_iter().map(|(id, _)| of_runtime(&counts, id));
    Ok(Census {
        file_bytes: None,
        disk_bytes: None,
        unused_bytes: None,
        compacting_frees_bytes: None,
        runtimes: runtimes.collect(),
        files: tally(&counts, table::FILES, ""),
        tables: tables(&counts),
        largest_workers: largest(&counts),
        readers: Vec::new(),
    })
}

fn tally(counts: &Counts, table: &'static str, runtime: &str) -> Tally {
    let count = counts.by_runtime.get(&(table, runtime.to_owned()));
    let (items, bytes): Count = count.copied().unwrap_or_default();
    Tally { items, bytes }
}

fn of_runtime(counts: &Counts, runtime_id: RuntimeId) -> RuntimeCensus {
    let of = |table| tally(counts, table, runtime_id.as_str());
    RuntimeCensus {
        workers: of(table::WORKERS),
        events: of(table::EVENTS),
        transcripts: of(table::TRANSCRIPTS),
        diagnostics: of(table::DIAGNOSTICS),
        files: of(table::FILES),
        runtime_id,
    }
}

fn tables(counts: &Counts) -> Vec<TableCensus> {
    let tables = counts.tables.iter().map(|space| {
        let (rows, stored) = space.count;
        TableCensus {
            table: space.name,
            rows,
            pages: (space.table_bytes + space.index_bytes) / PAGE_BYTES,
            stored_bytes: stored,
            metadata_bytes: space.index_bytes,
            fragmented_bytes: space.table_bytes.saturating_sub(stored),
        }
    });
    tables.collect()
}

fn largest(counts: &Counts) -> Vec<WorkerCensus> {
    let workers = counts.largest.iter();
    let workers = workers.filter_map(|(runtime, worker, bytes, entries)| {
        let worker_ref = WorkerRef::new(
            RuntimeId::new(runtime.as_str())?,
            WorkerId::new(worker.as_str())?,
        );
        Some(WorkerCensus {
            bytes: *bytes,
            transcript_entries: *entries,
            worker_ref,
        })
    });
    workers.collect()
}
