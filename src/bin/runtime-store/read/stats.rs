//! `stats`: counts records and measures the space that they take.

use crate::arguments::help;
use crate::arguments::select::StoreArgument;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::progress;
use crate::output::table::{Column, Table};
use crate::output::text::{bar, bytes_for_people, count, visible};
use clap::Args;
use indicatif::HumanCount;
use redb_runtime_store::store::{Census, CensusOptions, RuntimeCensus};

/// Count the records of a store and the space they take
///
/// STORED is the size of the pages of a table: rows, index pages, and empty space within pages. IN ROWS is the size of its
/// rows, FILLED the part of the pages that they take. LOGICAL is the size of keys and values. Bars are relative to the largest row of their table.
#[derive(Args)]
#[command(after_help = help::STATS)]
pub(crate) struct Stats {
    #[command(flatten)]
    store: StoreArgument,
    /// List this many of the largest workers
    #[arg(long, value_name = "N", default_value_t = 10)]
    workers: usize,
}

impl Stats {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let store = self.store.open(output)?;
        let bar = progress::rows(output, "counting");
        let shown = bar.clone();
        let options = CensusOptions::new()
            .largest_workers(self.workers)
            .on_progress(move |progress| progress::show_rows(&shown, progress));
        let taken = store.census_with(&options);
        bar.finish_and_clear();
        let census = taken?;
        if output.json {
            output.object(&census)?;
            return Ok(Status::Done);
        }
        tables(output, &census)?;
        runtimes(output, &census)?;
        files(output, &census)?;
        workers(output, &census)?;
        file(output, &census)?;
        Ok(Status::Done)
    }
}

fn file(output: &mut Output, census: &Census) -> Result<(), Failure> {
    let bytes = |bytes: Option<u64>| bytes_for_people(bytes.unwrap_or(0));
    output.line("")?;
    for reader in &census.readers {
        let held = reader.kept_bytes.map(bytes_for_people);
        output.line(format!(
            "process {} holds a snapshot that is {} old, which keeps {} of old pages in the file",
            reader.pid,
            count(reader.commits_behind, "commit", "commits"),
            held.as_deref().unwrap_or("an unknown size"),
        ))?;
    }
    if census.file_bytes.is_none() {
        return output.line("the space is that of the tables and indexes on the server");
    }
    output.line(format!(
        "unused {}, compacting would free about {}",
        bytes(census.unused_bytes),
        bytes(census.compacting_frees_bytes),
    ))?;
    output.line(format!(
        "file size {}, on disk {}",
        bytes(census.file_bytes),
        bytes(census.disk_bytes.or(census.file_bytes)),
    ))
}

/// The widths of the bars of the three tables, in terminal cells.
const TABLE_BAR: usize = 16;
const RUNTIME_BAR: usize = 13;
const WORKER_BAR: usize = 13;

/// A number of rows.
fn rows(number: u64) -> String {
    HumanCount(number).to_string()
}

fn tables(output: &mut Output, census: &Census) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::text("TABLE", 12),
        Column::number("ROWS", 13),
        Column::number("STORED", 11),
        Column::text("", TABLE_BAR),
        Column::number("IN ROWS", 11),
        Column::number("FILLED", 7),
    ]);
    let most = census.tables.iter().map(|table| table.bytes()).max();
    for each in &census.tables {
        let cells = [
            each.table,
            &rows(each.rows),
            &bytes_for_people(each.bytes()),
            &bar(each.bytes(), most, TABLE_BAR),
            &bytes_for_people(each.stored_bytes),
            &percent(each.stored_bytes, each.bytes()),
        ];
        table.row(output, cells)?;
    }
    Ok(())
}

/// The part of the pages of a table that is filled with rows; `-` for a table without pages.
fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        _ => format!("{:.0} %", part as f64 / whole as f64 * 100.0),
    }
}

fn runtimes(output: &mut Output, census: &Census) -> Result<(), Failure> {
    if census.runtimes.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let mut table = Table::new([
        Column::rest("RUNTIME", 16),
        Column::number("WORKERS", 8),
        Column::number("EVENTS", 11),
        Column::number("ENTRIES", 11),
        Column::number("LOGICAL", 11),
        Column::text("", RUNTIME_BAR),
    ]);
    let most = census.runtimes.iter().map(RuntimeCensus::bytes).max();
    for runtime in &census.runtimes {
        let cells = [
            runtime.runtime_id.as_str(),
            &rows(runtime.workers.items),
            &rows(runtime.events.items),
            &rows(runtime.transcripts.items),
            &bytes_for_people(runtime.bytes()),
            &bar(runtime.bytes(), most, RUNTIME_BAR),
        ];
        table.row(output, cells)?;
    }
    Ok(())
}

/// The files that the model has no place for. Nothing for a store that has none.
fn files(output: &mut Output, census: &Census) -> Result<(), Failure> {
    let of_runtimes = census.runtimes.iter().map(|runtime| {
        let owner = format!("runtime {}", visible(&runtime.runtime_id));
        (owner, runtime.files)
    });
    let mut is_first = true;
    for (owner, files) in of_runtimes.chain([("no runtime".to_owned(), census.files)]) {
        if files.items == 0 {
            continue;
        }
        if std::mem::take(&mut is_first) {
            output.line("")?;
        }
        let (number, bytes) = (count(files.items, "file", "files"), files.bytes);
        let bytes = bytes_for_people(bytes);
        output.line(format!(
            "{number} of {owner} without a place in the model: {bytes}"
        ))?;
    }
    Ok(())
}

fn workers(output: &mut Output, census: &Census) -> Result<(), Failure> {
    if census.largest_workers.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let mut table = Table::new([
        Column::text("LARGEST WORKERS", 20),
        Column::rest("RUNTIME", 17),
        Column::number("ENTRIES", 11),
        Column::number("LOGICAL", 11),
        Column::text("", WORKER_BAR),
    ]);
    let most = census
        .largest_workers
        .iter()
        .map(|worker| worker.bytes)
        .max();
    for worker in &census.largest_workers {
        let cells = [
            worker.worker_ref.worker_id.as_str(),
            worker.worker_ref.runtime_id.as_str(),
            &rows(worker.transcript_entries),
            &bytes_for_people(worker.bytes),
            &bar(worker.bytes, most, WORKER_BAR),
        ];
        table.row(output, cells)?;
    }
    Ok(())
}
