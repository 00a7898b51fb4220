//! `copy`: copies runtimes from one store to another.

use crate::arguments::help;
use crate::arguments::location::Location;
use crate::arguments::repair;
use crate::arguments::select::{StoreArgument, parse_runtime_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::progress;
use crate::output::text::{count, rate, totals};
use clap::Args;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::store::{CopyOptions, CopyOutcome, CopyReport, RuntimeCopy};
use redb_runtime_store::{RuntimeError, Store};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Copy runtimes from one store to another
///
/// Either store is in a file or on a server. Copies everything of one snapshot of the first one, and creates the second one if
/// it does not exist. Hosts may write meanwhile; a runtime that changes after its copy differs from it.
///
/// A copy that was interrupted is run again: each runtime is there as a whole or not at all, and those with the same content
/// are skipped. If the second store has other content, nothing is copied unless --replace is given.
///
/// Exit code 4: the second store has other content.
#[derive(Args)]
#[command(after_help = help::COPY)]
pub(crate) struct Copy {
    #[command(flatten)]
    source: StoreArgument,
    /// The store to copy to: a file, or the URL of a schema on a server
    #[arg(value_name = "DESTINATION")]
    destination: Location,
    /// Copy only this runtime; may be repeated
    #[arg(long, value_name = "ID", value_parser = parse_runtime_id)]
    runtime: Vec<RuntimeId>,
    /// Replace what the second store has with other content
    #[arg(long)]
    replace: bool,
    /// Read everything, and report what would be copied; write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    report: &'a CopyReport,
    dry_run: bool,
    seconds: f64,
}

/// The JSON form of a copy that was refused.
#[derive(Serialize)]
struct Refused<'a> {
    refused: bool,
    runtimes: &'a [RuntimeId],
    others: &'a [String],
    dry_run: bool,
}

impl Copy {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let begin = Instant::now();
        // Before a destination is created.
        let source = self.source.open(output)?;
        let bar = progress::rows(output, "copying");
        let shown = bar.clone();
        let options = CopyOptions::new()
            .runtimes(self.runtime.iter().cloned())
            .replace(self.replace)
            .on_progress(move |progress| progress::show_rows(&shown, progress));
        let copied = self.copy(&source, &options, output);
        bar.finish_and_clear();
        if let (true, Err(error)) = (output.json, &copied) {
            self.print_refusal(output, error)?;
        }
        self.print(output, &copied?, begin.elapsed())?;
        Ok(Status::Done)
    }

    fn copy(
        &self,
        source: &Store,
        options: &CopyOptions,
        output: &Output,
    ) -> Result<CopyReport, RuntimeError> {
        if !self.dry_run {
            let destination = repair::for_filling(&self.destination, output)?;
            let report = source.copy_to(&destination, options)?;
            destination.close()?;
            return Ok(report);
        }
        let destination = match repair::for_reading(&self.destination) {
            Err(RuntimeError::StoreMissing { .. }) => None,
            opened => Some(opened?),
        };
        source.check_copy(destination.as_ref(), options)
    }

    fn print_refusal(&self, output: &mut Output, error: &RuntimeError) -> Result<(), Failure> {
        let RuntimeError::CopyConflict {
            runtimes, others, ..
        } = error
        else {
            return Ok(());
        };
        output.object(&Refused {
            refused: true,
            runtimes,
            others,
            dry_run: self.dry_run,
        })
    }

    fn print(
        &self,
        output: &mut Output,
        report: &CopyReport,
        elapsed: Duration,
    ) -> Result<(), Failure> {
        if output.json {
            return output.object(&Printed {
                report,
                dry_run: self.dry_run,
                seconds: elapsed.as_secs_f64(),
            });
        }
        let same = report.count(CopyOutcome::Same) as u64;
        if same > 0 {
            let runtimes = count(same, "runtime", "runtimes");
            output.summary(format!("already there: {runtimes}"))?;
        }
        let written = report.runtimes.iter();
        let written: Vec<&RuntimeCopy> = written
            .filter(|runtime| runtime.outcome != CopyOutcome::Same)
            .collect();
        if same > 0 && written.is_empty() && report.files == 0 {
            return Ok(());
        }
        let sum = |of: fn(&RuntimeCopy) -> u64| written.iter().map(|r| of(r)).sum::<u64>();
        let verb = match self.dry_run {
            true => "would copy",
            false => "copied",
        };
        output.summary(totals(
            verb,
            [
                written.len() as u64,
                sum(|runtime| runtime.workers),
                sum(|runtime| runtime.events),
                sum(|runtime| runtime.transcript_entries),
            ],
        ))?;
        if report.files > 0 {
            let files = count(report.files, "file", "files");
            output.summary(format!("{verb} {files} of no runtime"))?;
        }
        let read = report.runtimes.iter().map(|runtime| runtime.bytes).sum();
        output.summary(rate("read", read, elapsed))
    }
}
