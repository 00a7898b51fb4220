//! `import`: imports a directory into a store.

use crate::arguments::bytes::parse_bytes;
use crate::arguments::help;
use crate::arguments::location::Location;
use crate::arguments::select::parse_runtime_id;
#[cfg(feature = "postgres")]
use crate::arguments::server::Server;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::progress;
use crate::output::text::{OTHER_FILE, OTHER_FILES, count, rate, totals};
use clap::Args;
#[cfg(feature = "postgres")]
use redb_runtime_store::RuntimeError;
use redb_runtime_store::Store;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::layout::{
    self, Conflict, Finding, FindingKind, ImportOptions, ImportOutcome, ImportReport, LayoutError,
    LayoutForm, RuntimeImport,
};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Import a directory into a store
///
/// Creates the store if it does not exist, unless nothing is imported. The import is atomic: if the directory is damaged,
/// nothing is imported. With --salvage, every record that can be read is imported, and the rest is
/// reported. The directory is never changed.
///
/// Exit code 4: the import was rejected, or --salvage left something out or repaired it.
#[derive(Args)]
#[command(after_help = help::IMPORT)]
pub(crate) struct Import {
    /// The directory that contains `runtimes/`
    #[arg(value_name = "ROOT")]
    root: PathBuf,
    /// The store's file
    #[arg(value_name = "STORE")]
    store: Location,
    /// Import only this runtime; may be repeated
    #[arg(long, value_name = "ID", value_parser = parse_runtime_id)]
    runtime: Vec<RuntimeId>,
    /// Import every readable record of a damaged directory, and report the rest
    #[arg(long)]
    salvage: bool,
    /// Report what would be imported; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace runtimes that the store already has; their text can stay in the file until `compact`
    #[arg(long)]
    replace: bool,
    /// Leave out the files and directories that are not part of the layout; otherwise the store has them as they are,
    /// and an export writes them again
    #[arg(long)]
    without_files: bool,
    /// Longest accepted line of a log, in bytes; K, M and G stand for 1024, 1024^2 and 1024^3
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = parse_bytes)]
    max_line_bytes: usize,
    /// Longest accepted runtime.json or worker.json, in bytes, as read and as it would be exported; K,
    /// M and G as above
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = parse_bytes)]
    max_document_bytes: usize,
}

/// The JSON form of a rejected import.
#[derive(Serialize)]
struct Refused<'a> {
    refused: bool,
    findings: &'a [Finding],
    conflicts: &'a [Conflict],
    dry_run: bool,
}

#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    report: &'a ImportReport,
    dry_run: bool,
    seconds: f64,
}

impl Import {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let begin = Instant::now();
        let bar = progress::bar(output, "importing");
        let shown = bar.clone();
        let options = ImportOptions::new()
            .runtimes(self.runtime.iter().cloned())
            .salvage(self.salvage)
            .dry_run(self.dry_run)
            .replace(self.replace)
            .without_files(self.without_files)
            .max_line_bytes(self.max_line_bytes)
            .max_document_bytes(self.max_document_bytes as u64)
            .on_progress(move |progress| progress::show(&shown, progress));
        let imported = self.import(&options);
        bar.finish_and_clear();
        if let (true, Err(error)) = (output.json, &imported) {
            self.print_refusal(output, error)?;
        }
        let (report, creates_none) = imported?;
        self.print(output, (&report, creates_none), begin.elapsed())?;
        Ok(if report.has_losses() {
            Status::Differs
        } else {
            Status::Done
        })
    }

    /// Imports, and returns whether there is no store afterwards.
    fn import(&self, options: &ImportOptions) -> Result<(ImportReport, bool), LayoutError> {
        match &self.store {
            Location::File(path) => {
                let report = layout::import_to_path(&self.root, path, &Store::options(), options)?;
                Ok((report, !path.exists()))
            }
            #[cfg(feature = "postgres")]
            Location::Server(server) => self.import_to_server(server, options),
        }
    }

    /// As [`import`](Self::import). The schema is created once the directory is known to have something to import.
    #[cfg(feature = "postgres")]
    fn import_to_server(
        &self,
        server: &Server,
        options: &ImportOptions,
    ) -> Result<(ImportReport, bool), LayoutError> {
        let store = match self.dry_run {
            true => server.for_reading(),
            false => server.for_writing(),
        };
        match store {
            Err(RuntimeError::StoreMissing { .. }) => {}
            store => return Ok((layout::import(&store?, &self.root, options)?, false)),
        }
        let checked = layout::check(&self.root, options)?;
        let is_empty = checked.count(ImportOutcome::Imported) == 0 && checked.files == 0;
        if self.dry_run || is_empty {
            return Ok((checked, true));
        }
        Ok((
            layout::import(&server.for_filling()?, &self.root, options)?,
            false,
        ))
    }

    /// Prints every finding and conflict of a rejected import as JSON.
    fn print_refusal(&self, output: &mut Output, error: &LayoutError) -> Result<(), Failure> {
        let (findings, conflicts): (&[Finding], &[Conflict]) = match error {
            LayoutError::Refused {
                findings,
                conflicts,
                ..
            } => (findings, conflicts),
            LayoutError::Conflict { conflicts, .. } => (&[], conflicts),
            _ => return Ok(()),
        };
        output.object(&Refused {
            refused: true,
            findings,
            conflicts,
            dry_run: self.dry_run,
        })
    }

    fn print(
        &self,
        output: &mut Output,
        (report, creates_none): (&ImportReport, bool),
        elapsed: Duration,
    ) -> Result<(), Failure> {
        let seconds = elapsed.as_secs_f64();
        if output.json {
            return output.object(&Printed {
                report,
                dry_run: self.dry_run,
                seconds,
            });
        }
        output.findings(&report.findings);
        let is_conflict = |finding: &Finding| finding.kind == FindingKind::Conflict;
        if report.findings.iter().any(is_conflict) {
            output.remark("use --replace to replace what the store already has");
        }
        print_form(output, report)?;
        for (outcome, name) in [
            (ImportOutcome::AlreadyImported, "already imported"),
            (ImportOutcome::Skipped, "left out"),
        ] {
            let runtimes = report.count(outcome) as u64;
            if runtimes > 0 {
                let runtimes = count(runtimes, "runtime", "runtimes");
                output.summary(format!("{name}: {runtimes}"))?;
            }
        }
        self.print_taken(output, (report, creates_none))?;
        if report.count(ImportOutcome::AlreadyImported) == report.runtimes.len()
            && report.files == 0
            && !report.runtimes.is_empty()
        {
            // A rate would be about a directory that was not read whole.
            return Ok(());
        }
        let read = report.runtimes.iter().map(|runtime| runtime.bytes).sum();
        output.summary(rate("read", read, elapsed))
    }

    /// Prints the totals of what was imported, or why nothing was.
    fn print_taken(
        &self,
        output: &mut Output,
        (report, creates_none): (&ImportReport, bool),
    ) -> Result<(), Failure> {
        let taken: Vec<&RuntimeImport> = report
            .runtimes
            .iter()
            .filter(|runtime| is_taken(runtime.outcome))
            .collect();
        if !taken.is_empty() {
            return self.print_totals(output, &taken, report.files);
        }
        if report.files > 0 {
            let files = count(report.files, OTHER_FILE, OTHER_FILES);
            return output.summary(format!("{} {files}", self.verb()));
        }
        let why = match (report.runtimes.is_empty(), report.has_losses()) {
            (true, false) => "the directory has no runtime",
            (true, true) => "the directory has no runtime that can be read",
            (false, _) if report.count(ImportOutcome::Skipped) == 0 => return Ok(()),
            (false, _) if report.count(ImportOutcome::AlreadyImported) == 0 => {
                "every runtime was left out"
            }
            (false, _) => "every runtime was left out or is there already",
        };
        output.summary(match (self.dry_run, creates_none) {
            (true, _) => format!("nothing would be imported: {why}"),
            (false, false) => format!("nothing was imported: {why}"),
            (false, true) => format!("nothing was imported, and no store was created: {why}"),
        })
    }

    fn verb(&self) -> &'static str {
        match self.dry_run {
            true => "would import",
            false => "imported",
        }
    }

    /// Prints the totals of the runtimes that were imported, and of the files: those of the runtimes and of none.
    fn print_totals(
        &self,
        output: &mut Output,
        taken: &[&RuntimeImport],
        files_of_none: u64,
    ) -> Result<(), Failure> {
        let sum = |of: fn(&RuntimeImport) -> u64| taken.iter().map(|r| of(r)).sum::<u64>();
        let verb = self.verb();
        output.summary(totals(
            verb,
            [
                taken.len() as u64,
                sum(|runtime| runtime.workers),
                sum(|runtime| runtime.events),
                sum(|runtime| runtime.transcript_entries),
            ],
        ))?;
        let files = sum(|runtime| runtime.files) + files_of_none;
        if files > 0 {
            let files = count(files, OTHER_FILE, OTHER_FILES);
            output.summary(format!("{verb} {files}"))?;
        }
        Ok(())
    }
}

fn is_taken(outcome: ImportOutcome) -> bool {
    matches!(outcome, ImportOutcome::Imported | ImportOutcome::Replaced)
}

/// Prints the newest form that the directory has, if it is not the first one. Runtimes of one directory have one form, or
/// the directory grew over several releases.
fn print_form(output: &mut Output, report: &ImportReport) -> Result<(), Failure> {
    let newest = report.runtimes.iter().map(|runtime| runtime.form).max();
    match newest.filter(|form| *form > LayoutForm::A) {
        None => Ok(()),
        Some(form) => output.summary(format!(
            "written by a release of {} or later (form {form})",
            form.since()
        )),
    }
}
