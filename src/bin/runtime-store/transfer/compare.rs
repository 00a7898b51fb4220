//! `compare`: compares a directory with a store, or two stores, record by record.

use crate::arguments::bytes::parse_bytes;
use crate::arguments::help;
use crate::arguments::location::Location;
use crate::arguments::select::{RepairArgument, parse_runtime_id};
use crate::output::failure::{Failure, MORE_LINE_BYTES, Status, is_too_long};
use crate::output::print::Output;
use crate::output::text::{OTHER_FILE, OTHER_FILES, count};
use clap::Args;
use redb_runtime_store::Store;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::layout::{
    self, CompareOptions, Comparison, DifferenceKind, DifferenceWindow, StoreComparison,
};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

/// Compare a directory with a store, or two stores
///
/// Reads every record of both sides and lists the differences. Of long values it shows the text around the first
/// difference. Exit code 0: same content; 4: the contents differ.
#[derive(Args)]
#[command(after_help = help::COMPARE)]
pub(crate) struct Compare {
    /// A directory that contains `runtimes/`, or a store's file
    #[arg(value_name = "ROOT|STORE")]
    left: Location,
    /// A store's file; or a directory, if the first one is a store
    #[arg(value_name = "STORE")]
    right: Location,
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
        match (self.left.is_directory(), self.right.is_directory()) {
            (true, true) => Err(Failure::WrongUse(format!(
                "{} and {} are directories: one side must be a store; `diff -r` compares two directories",
                self.left, self.right
            ))),
            (false, true) => self.directory(output, &self.right, &self.left),
            (true, false) => self.directory(output, &self.left, &self.right),
            (false, false) => self.stores(output),
        }
    }

    fn options(&self) -> CompareOptions {
        CompareOptions::new()
            .runtimes(self.runtime.iter().cloned())
            .max_line_bytes(self.max_line_bytes)
    }

    fn open(&self, location: &Location, output: &Output) -> Result<Store, Failure> {
        self.repair.open(location, output)
    }

    fn directory(
        &self,
        output: &mut Output,
        root: &Location,
        store: &Location,
    ) -> Result<Status, Failure> {
        let store = self.open(store, output)?;
        // A directory is one of files.
        let root = root.file().unwrap_or(Path::new(""));
        let comparison = layout::compare_with(&store, root, self.options())?;
        match output.json {
            true => output.object(&comparison)?,
            false => of_directory(output, &comparison)?,
        }
        Ok(status(comparison.is_same()))
    }

    fn stores(&self, output: &mut Output) -> Result<Status, Failure> {
        let (first, second) = (
            self.open(&self.left, output)?,
            self.open(&self.right, output)?,
        );
        let comparison = layout::compare_stores(&first, &second, self.options())?;
        match output.json {
            true => output.object(&comparison)?,
            false => self.of_stores(output, &comparison)?,
        }
        Ok(status(comparison.is_same()))
    }

    /// Prints a comparison of two stores for people.
    fn of_stores(&self, output: &mut Output, comparison: &StoreComparison) -> Result<(), Failure> {
        let names = (&self.left, &self.right);
        for difference in &comparison.differences {
            listed(
                output,
                difference.headline(),
                &difference.window,
                (names.0, names.1),
            )?;
        }
        more(
            output,
            comparison.differences.len(),
            comparison.total_differences,
        )?;
        let sides = [
            (
                comparison.times_only_in_first,
                comparison.pruned_only_in_first,
                names.0,
            ),
            (
                comparison.times_only_in_second,
                comparison.pruned_only_in_second,
                names.1,
            ),
        ];
        for (times, _, name) in sides {
            timed(output, times, name)?;
        }
        for (_, pruned, name) in sides {
            if pruned > 0 {
                let rows = count(pruned, "row is", "rows are");
                output.summary(format!(
                    "{rows} only in {name}: the other store has pruned them"
                ))?;
            }
        }
        only_bytes(output, comparison.only_bytes)?;
        if comparison.import_records > 0 {
            let records = count(
                comparison.import_records,
                "import record differs",
                "import records differ",
            );
            output.summary(format!("{records}, which is no difference of content"))?;
        }
        let same = [
            comparison.same_runtimes,
            comparison.workers,
            comparison.events,
            comparison.transcript_entries,
        ];
        output.summary(result(&comparison.differing, same, comparison.files))
    }
}

fn status(is_same: bool) -> Status {
    match is_same {
        true => Status::Done,
        false => Status::Differs,
    }
}

/// Prints a comparison of a directory with a store for people: the differences, the remarks, and the counts.
fn of_directory(output: &mut Output, comparison: &Comparison) -> Result<(), Failure> {
    output.findings(&comparison.findings);
    for difference in &comparison.differences {
        listed(
            output,
            difference.headline(),
            &difference.window,
            (&"directory", &"store"),
        )?;
    }
    if comparison.differences.iter().any(is_too_long) {
        output.remark(MORE_LINE_BYTES);
    }
    more(
        output,
        comparison.differences.len(),
        comparison.total_differences,
    )?;
    timed(output, comparison.times_only_in_store, &"the store")?;
    timed(output, comparison.times_only_in_directory, &"the directory")?;
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
    only_bytes(output, comparison.only_bytes)?;
    let same = [
        comparison.same_runtimes,
        comparison.workers,
        comparison.events,
        comparison.transcript_entries,
    ];
    output.summary(result(&comparison.differing, same, comparison.files))
}

/// Prints a difference; of long values with a line for each side.
fn listed(
    output: &mut Output,
    headline: impl Display,
    window: &Option<DifferenceWindow>,
    (left, right): (&dyn Display, &dyn Display),
) -> Result<(), Failure> {
    output.line(headline.to_string())?;
    let Some(window) = window else {
        return Ok(());
    };
    let (left, right) = (format!("{left}:"), format!("{right}:"));
    let width = left.chars().count().max(right.chars().count());
    output.line(format!("    {left:width$} {}", window.left))?;
    output.line(format!("    {right:width$} {}", window.right))
}

/// Prints how many differences are not listed.
fn more(output: &mut Output, listed: usize, total: u64) -> Result<(), Failure> {
    match total.saturating_sub(listed as u64) {
        0 => Ok(()),
        more => output.line(format!(
            "and {} more",
            count(more, "difference", "differences")
        )),
    }
}

/// Prints how many rows have a time on one side only.
fn timed(output: &mut Output, rows: u64, side: &dyn Display) -> Result<(), Failure> {
    if rows == 0 {
        return Ok(());
    }
    let rows = count(rows, "event or entry has", "events and entries have");
    output.summary(format!("{rows} a time only in {side}"))
}

fn only_bytes(output: &mut Output, records: u64) -> Result<(), Failure> {
    if records == 0 {
        return Ok(());
    }
    let records = count(records, "line or document has", "lines and documents have");
    output.summary(format!("{records} the same values in other bytes"))
}

/// The last line: how many records of each kind differ, and how many are the same.
fn result(
    differing: &BTreeMap<DifferenceKind, u64>,
    [runtimes, workers, events, entries]: [u64; 4],
    files: u64,
) -> String {
    let mut same = vec![
        count(runtimes, "runtime", "runtimes"),
        count(workers, "worker", "workers"),
        count(events, "event", "events"),
        count(entries, "entry", "entries"),
    ];
    if files > 0 {
        same.push(count(files, OTHER_FILE, OTHER_FILES));
    }
    let same = format!("the same on both sides: {}", same.join(", "));
    if differing.is_empty() {
        return same;
    }
    let parts: Vec<String> = differing
        .iter()
        .map(|(kind, n)| counted(*kind, *n))
        .collect();
    let differ = match differing.values().sum::<u64>() {
        1 => "differs",
        _ => "differ",
    };
    format!("{} {differ}; {same}", parts.join(", "))
}

fn counted(kind: DifferenceKind, number: u64) -> String {
    let (one, several) = match kind {
        DifferenceKind::Runtime => ("runtime", "runtimes"),
        DifferenceKind::Worker => ("worker", "workers"),
        DifferenceKind::Event => ("event", "events"),
        DifferenceKind::TranscriptEntry => ("entry", "entries"),
        DifferenceKind::Diagnostic => ("diagnostic", "diagnostics"),
        DifferenceKind::File => (OTHER_FILE, OTHER_FILES),
        DifferenceKind::RemovedWorker => ("removed worker", "removed workers"),
        DifferenceKind::Damage => ("damaged line or file", "damaged lines and files"),
        _ => ("other record", "other records"),
    };
    count(number, one, several)
}
