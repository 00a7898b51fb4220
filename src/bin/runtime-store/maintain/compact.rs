//! `compact`: returns the free space of a store's file to the file system.

use crate::arguments::help;
use crate::arguments::location::Location;
use crate::arguments::repair;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::progress;
use crate::output::text::bytes_for_people;
use clap::Args;
use redb_runtime_store::store::CompactReport;
use serde::Serialize;
use std::time::Instant;

/// Return a store's free space to the file system
///
/// Needs exclusive access: fails with exit code 3 while a host has the store open or another process
/// holds a snapshot of it.
///
/// Text that was removed or replaced can stay in the file until then. Compacting overwrites it with zeros,
/// unless the file is damaged; a backup has none of it.
#[derive(Args)]
#[command(after_help = help::COMPACT)]
pub(crate) struct Compact {
    /// The store's file
    #[arg(value_name = "STORE")]
    store: Location,
}

#[derive(Serialize)]
struct Printed {
    #[serde(flatten)]
    report: CompactReport,
    freed_bytes: u64,
    seconds: f64,
}

impl Compact {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let Some(path) = self.store.file() else {
            return left_to_server(output);
        };
        let begin = Instant::now();
        let store = repair::for_writing(&self.store, output)?;
        let spinner = progress::spinner(output, "compacting");
        let compacted = store.compact();
        spinner.set_message("closing");
        let closed = store.close();
        spinner.finish_and_clear();
        let mut report = compacted?;
        closed?;
        // Closing writes a few more pages: report the size that remains afterwards.
        if let Ok(metadata) = std::fs::metadata(path) {
            report.bytes_after = metadata.len();
        }
        let freed_bytes = report.bytes_before.saturating_sub(report.bytes_after);
        if output.json {
            output.object(&Printed {
                report,
                freed_bytes,
                seconds: begin.elapsed().as_secs_f64(),
            })?;
            return Ok(Status::Done);
        }
        if !report.is_erased {
            output.remark(
                "text that was removed can still be in the file, because a page is damaged: run `runtime-store verify`, \
                 or copy the store with `runtime-store backup`",
            );
        }
        let remain = bytes_for_people(report.bytes_after);
        output.summary(match freed_bytes {
            0 => format!("nothing to free, the store has {remain}"),
            _ => format!(
                "compacted: freed {} of {}, {remain} remain, in {:.2} s",
                bytes_for_people(freed_bytes),
                bytes_for_people(report.bytes_before),
                begin.elapsed().as_secs_f64(),
            ),
        })?;
        Ok(Status::Done)
    }
}

/// The end of a run for a store on a server.
fn left_to_server(output: &mut Output) -> Result<Status, Failure> {
    if output.json {
        output.object(&serde_json::json!({ "left_to_server": true }))?;
    }
    output.summary(
        "nothing was done: the server frees the space of removed rows by itself (autovacuum), for new rows; VACUUM FULL returns \
         it to the file system",
    )?;
    Ok(Status::Done)
}
