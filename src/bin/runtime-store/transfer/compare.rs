//! `compare`: compares a directory with a store, record by record.

use crate::arguments::bytes::parse_bytes;
use crate::arguments::help;
use crate::arguments::select::{RepairArgument, parse_runtime_id};
use crate::output::failure::{Failure, MORE_LINE_BYTES, Status, is_too_long};
use crate::output::print::Output;
use crate::output::text::{OTHER_FILE, OTHER_FILES, count};
use clap::Args;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::layout::{self, CompareOptions, Comparison};
use std::path::PathBuf;

/// Compare a directory with a store
///
/// Reads every record of both sides and lists the differences. Exit code 0: same content; 4: the
/// contents differ.
#[derive(Args)]
#[command(after_help = help::COMPARE)]
pub(crate) struct Compare {
    /// The directory that contains `runtimes/`
    #[arg(value_name = "ROOT")]
    root: PathBuf,
    /// The store's file
    #[arg(value_name = "STORE")]
    store: PathBuf,
    /// Compare only this runtime; may be repeated
    #[arg(long, value_name = "ID", value_parser = parse_runtime_id)]
    runtime: Vec<RuntimeId>,
    /// Longest accepted line of a log, in bytes; K, M and G stand for 1024, 1024^2 and 1024^3
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = parse_bytes)]
    max_line_bytes: usize,
    #[command(flatten)]
    repair: RepairArgument,
}

impl Compare {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let store = self.repair.open(&self.store, output)?;
        let options = CompareOptions::new()
            .runtimes(self.runtime.iter().cloned())
            .max_line_bytes(self.max_line_bytes);
        let comparison = layout::compare_with(&store, &self.root, &options)?;
        let status = if comparison.is_same() {
            Status::Done
        } else {
            Status::Differs
        };
        if output.json {
            output.object(&comparison)?;
            return Ok(status);
        }
        print(output, &comparison)?;
        Ok(status)
    }
}

/// Prints a comparison for people: the differences, the remarks, and the counts of both sides.
fn print(output: &mut Output, comparison: &Comparison) -> Result<(), Failure> {
    output.findings(&comparison.findings);
    for difference in &comparison.differences {
        output.line(difference.to_string())?;
    }
    if comparison.differences.iter().any(is_too_long) {
        output.remark(MORE_LINE_BYTES);
    }
    let listed = comparison.differences.len() as u64;
    if comparison.total_differences > listed {
        let more = comparison.total_differences - listed;
        output.line(format!(
            "and {} more",
            count(more, "difference", "differences")
        ))?;
    }
    for (rows, side) in [
        (comparison.times_only_in_store, "store"),
        (comparison.times_only_in_directory, "directory"),
    ] {
        if rows > 0 {
            let rows = count(rows, "event or entry has", "events and entries have");
            output.summary(format!("{rows} a time only in the {side}"))?;
        }
    }
    if comparison.files_left_out > 0 {
        let files = count(comparison.files_left_out, "file is", "files are");
        output.summary(format!(
            "{files} only in the directory: the import left them out"
        ))?;
    }
    if comparison.pruned_only_in_directory > 0 {
        let rows = comparison.pruned_only_in_directory;
        let rows = count(rows, "row is", "rows are");
        output.summary(format!(
            "{rows} only in the directory: the store has pruned them"
        ))?;
    }
    if comparison.only_bytes > 0 {
        let records = comparison.only_bytes;
        let records = count(records, "line or document has", "lines and documents have");
        output.summary(format!("{records} the same values in other bytes"))?;
    }
    if comparison.files > 0 {
        let files = count(comparison.files, OTHER_FILE, OTHER_FILES);
        output.summary(format!("the same on both sides: {files}"))?;
    }
    output.summary(format!(
        "{}: {}, {}, {}, {} on both sides",
        if comparison.is_same() {
            "the same"
        } else {
            "different"
        },
        count(comparison.runtimes, "runtime", "runtimes"),
        count(comparison.workers, "worker", "workers"),
        count(comparison.events, "event", "events"),
        count(comparison.transcript_entries, "entry", "entries"),
    ))
}
