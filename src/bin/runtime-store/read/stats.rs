//! `stats`: counts records and measures the space that they take.

use crate::arguments::help;
use crate::arguments::select::StoreArgument;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::progress;
use crate::output::table::{Column, Table};
use crate::output::text::{bytes_for_people, count, visible};
use clap::Args;
use redb_runtime_store::store::{Census, CensusOptions};

/// Count the records of a store and the space they take
///
/// LOGICAL is the size of keys and values. STORED is the size of the pages that hold them: rows, index
/// pages, and empty space within pages.
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
        file(output, &census)?;
        tables(output, &census)?;
        runtimes(output, &census)?;
        files(output, &census)?;
        workers(output, &census)?;
        Ok(Status::Done)
    }
}

fn file(output: &mut Output, census: &Census) -> Result<(), Failure> {
    let bytes = |bytes: Option<u64>| bytes_for_people(bytes.unwrap_or(0));
    output.line(format!(
        "file size {}, on disk {}",
        bytes(census.file_bytes),
        bytes(census.disk_bytes.or(census.file_bytes)),
    ))?;
    output.line(format!(
        "unused {}, compacting would free about {}",
        bytes(census.unused_bytes),
        bytes(census.compacting_frees_bytes),
    ))?;
    for reader in &census.readers {
        let held = reader.kept_bytes.map(bytes_for_people);
        output.line(format!(
            "process {} holds a snapshot that is {} old, which keeps {} of old pages in the file",
            reader.pid,
            count(reader.commits_behind, "commit", "commits"),
            held.as_deref().unwrap_or("an unknown size"),
        ))?;
    }
    Ok(())
}

fn tables(output: &mut Output, census: &Census) -> Result<(), Failure> {
    output.line("")?;
    let mut table = Table::new([
        Column::text("TABLE", 12),
        Column::number("ROWS", 13),
        Column::number("STORED", 12),
        Column::number("IN ROWS", 12),
        Column::number("INDEX", 11),
        Column::number("EMPTY", 10),
    ]);
    for each in &census.tables {
        let cells = [
            each.table,
            &each.rows.to_string(),
            &bytes_for_people(each.bytes()),
            &bytes_for_people(each.stored_bytes),
            &bytes_for_people(each.metadata_bytes),
            &bytes_for_people(each.fragmented_bytes),
        ];
        table.row(output, cells)?;
    }
    Ok(())
}

fn runtimes(output: &mut Output, census: &Census) -> Result<(), Failure> {
    if census.runtimes.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let mut table = Table::new([
        Column::rest("RUNTIME", 24),
        Column::number("WORKERS", 9),
        Column::number("EVENTS", 13),
        Column::number("ENTRIES", 13),
        Column::number("LOGICAL", 12),
    ]);
    for runtime in &census.runtimes {
        let cells = [
            runtime.runtime_id.as_str(),
            &runtime.workers.items.to_string(),
            &runtime.events.items.to_string(),
            &runtime.transcripts.items.to_string(),
            &bytes_for_people(runtime.bytes()),
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
        Column::text("LARGEST WORKERS", 24),
        Column::rest("RUNTIME", 24),
        Column::number("ENTRIES", 13),
        Column::number("LOGICAL", 12),
    ]);
    for worker in &census.largest_workers {
        let cells = [
            worker.worker_ref.worker_id.as_str(),
            worker.worker_ref.runtime_id.as_str(),
            &worker.transcript_entries.to_string(),
            &bytes_for_people(worker.bytes),
        ];
        table.row(output, cells)?;
    }
    Ok(())
}
