//! `export`: exports a store into a directory.

use crate::arguments::bytes::parse_bytes;
use crate::arguments::help;
use crate::arguments::select::{StoreArgument, find_runtime, parse_runtime_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::progress;
use crate::output::text::{OTHER_FILE, OTHER_FILES, count, rate, totals, visible};
use clap::{Args, ValueEnum};
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::layout::{
    self, ExistingDirectory, ExportOptions, ExportReport, RuntimeExport,
};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Export a store into a directory
///
/// Exports one snapshot of the store; hosts may write meanwhile. Each runtime directory appears
/// atomically. A runtime directory that already exists is an error unless --replace or --update is
/// given.
///
/// --update appends to the logs. A reader of a log during an update, or after a killed one, can see
/// an incomplete line after the last newline. The next --update completes that line; it never
/// changes bytes that were written before. What the store has pruned stays in the directory: it is the
/// archive of the store. The directory of a deleted worker is removed; that of a deleted runtime stays and is reported.
#[derive(Args)]
#[command(after_help = help::EXPORT)]
pub(crate) struct Export {
    #[command(flatten)]
    store: StoreArgument,
    /// The directory in which `runtimes/` is created
    #[arg(value_name = "ROOT")]
    root: PathBuf,
    /// Export only this runtime, or the only one whose id begins so; may be repeated
    #[arg(long, value_name = "ID", value_parser = parse_runtime_id)]
    runtime: Vec<RuntimeId>,
    /// Replace runtime directories that already exist
    #[arg(long, conflicts_with = "update")]
    replace: bool,
    /// Add new records to runtime directories of an earlier export
    #[arg(long)]
    update: bool,
    /// Add the time at which each event and entry was recorded, as a last member "recorded_at"
    #[arg(long)]
    times: bool,
    /// Write every runtime in this form of the layout: `a`, the one of runtimes that were not imported. Default: the form
    /// in which the runtime was imported
    #[arg(long = "as", value_name = "FORM")]
    as_form: Option<Form>,
    /// With --update: also append to a log that ends before what the store has pruned: the log gets a gap, and loses an
    /// incomplete last line whose record was pruned
    #[arg(long, requires = "update")]
    allow_gap: bool,
    /// Longest accepted line of a log that --update reads, in bytes; K, M and G stand for 1024, 1024^2 and
    /// 1024^3
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = parse_bytes)]
    max_line_bytes: usize,
}

/// A form that a runtime can be written in.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    A,
}

#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    report: &'a ExportReport,
    seconds: f64,
}

impl Export {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let begin = Instant::now();
        let store = self.store.open(output)?;
        let named = self.runtime.iter().map(|id| find_runtime(&store, id));
        let named: Vec<_> = named.collect::<Result<_, _>>()?;
        let bar = progress::bar(output, "exporting");
        let shown = bar.clone();
        let existing = match (self.replace, self.update) {
            (true, _) => ExistingDirectory::Replace,
            (_, true) => ExistingDirectory::Update,
            _ => ExistingDirectory::Refuse,
        };
        let options = ExportOptions::new()
            .runtimes(named.into_iter().map(|runtime| runtime.runtime_id))
            .existing(existing)
            .times(self.times)
            .form_a(self.as_form == Some(Form::A))
            .allow_gap(self.allow_gap)
            .max_line_bytes(self.max_line_bytes)
            .on_progress(move |progress| progress::show(&shown, progress));
        let exported = layout::export(&store, &self.root, &options);
        bar.finish_and_clear();
        print(output, &exported?, begin.elapsed())?;
        Ok(Status::Done)
    }
}

fn print(output: &mut Output, report: &ExportReport, elapsed: Duration) -> Result<(), Failure> {
    if output.json {
        return output.object(&Printed {
            report,
            seconds: elapsed.as_secs_f64(),
        });
    }
    for worker in report
        .runtimes
        .iter()
        .flat_map(|runtime| &runtime.removed_workers)
    {
        output.line(format!(
            "removed worker {}, which was deleted",
            visible(worker)
        ))?;
    }
    for path in report.runtimes.iter().flat_map(|runtime| &runtime.cut_off) {
        output.line(format!(
            "{}: removed the incomplete last line, whose record the store has pruned",
            visible(path.display())
        ))?;
    }
    for path in &report.not_in_store {
        output.line(format!(
            "{}: the store does not have this runtime, and its directory stays",
            visible(path.display())
        ))?;
    }
    for runtime in &report.runtimes {
        let id = visible(&runtime.runtime_id);
        for (count, what) in [
            (
                runtime.new_logs,
                "logs that the imported directory did not have",
            ),
            (
                runtime.not_in_form,
                "events and entries of a kind or a role that readers of its form do not know",
            ),
        ] {
            if count > 0 {
                output.line(format!(
                    "runtime {id}, form {}: {count} {what}",
                    runtime.form
                ))?;
            }
        }
    }
    for runtime in &report.runtimes {
        print_losses(output, runtime)?;
    }
    let sum = |of: fn(&RuntimeExport) -> u64| report.runtimes.iter().map(of).sum::<u64>();
    output.summary(totals(
        "exported",
        [
            report.runtimes.len() as u64,
            sum(|runtime| runtime.workers),
            sum(|runtime| runtime.events),
            sum(|runtime| runtime.transcript_entries),
        ],
    ))?;
    let files = sum(|runtime| runtime.files) + report.files;
    if files > 0 {
        let files = count(files, OTHER_FILE, OTHER_FILES);
        output.summary(format!("exported {files}"))?;
    }
    let bytes = sum(|runtime| runtime.bytes);
    output.summary(rate("wrote", bytes, elapsed))
}

/// Prints what an export in form a could not say.
fn print_losses(output: &mut Output, runtime: &RuntimeExport) -> Result<(), Failure> {
    let (id, losses) = (visible(&runtime.runtime_id), &runtime.losses);
    for (pointer, documents) in &losses.absent {
        let documents = count(*documents, "document lacked", "documents lacked");
        output.line(format!(
            "runtime {id}: {documents} {pointer}, which form a requires"
        ))?;
    }
    if losses.number_ids > 0 {
        let ids = count(
            losses.number_ids,
            "id of a worker was",
            "ids of workers were",
        );
        output.line(format!(
            "runtime {id}: {ids} numbers and are strings in form a"
        ))?;
    }
    if losses.files > 0 {
        let files = count(losses.files, "file", "files");
        output.line(format!(
            "runtime {id}: left out {files} that are not part of form a"
        ))?;
    }
    Ok(())
}
