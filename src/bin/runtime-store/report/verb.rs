//! `report`: writes a report of a store as one HTML file.

use crate::arguments::help;
use crate::arguments::select::{RuntimeArgument, StoreArgument, parse_runtime_id, parse_worker_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::progress;
use crate::output::text::bytes_for_people;
use crate::read::times::Times;
use crate::report::choice::Asked;
use crate::report::destination::Destination;
use crate::report::page::Page;
use crate::report::source::{Checked, MOST_FINDINGS, Source};
use crate::report::walk::Survey;
use crate::report::{findings, growth, head, timeline, transcripts, workers};
use clap::Args;
use redb_runtime_store::Store;
use redb_runtime_store::identity::{RuntimeId, WorkerId};
use redb_runtime_store::store::VerifyOptions;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// Write a report of a store as one HTML file
///
/// The report has sizes and counts, the findings of imports, the diagnostics, a timeline of each runtime, the growth of
/// the store, its workers and the ends of their transcripts. It is one file without scripts that loads nothing, for any
/// browser, also on a phone. Everything in it is read from one snapshot of the store.
///
/// Of a large store it shows the workers with the latest events, and says how many others there are. The file that
/// --output names appears at once, when the report is complete; only its owner can read it.
///
/// Exit code 4: --verify found damage; the report is written.
#[derive(Args)]
#[command(after_help = help::REPORT)]
pub(crate) struct Report {
    #[command(flatten)]
    store: StoreArgument,
    /// Report only this runtime: its id, or the beginning of its id
    #[arg(long, value_name = "ID", value_parser = parse_runtime_id)]
    runtime: Option<RuntimeId>,
    /// List only this worker, and show its transcript: its id, the beginning of its id, or its number; repeatable
    #[arg(long = "worker", value_name = "ID", value_parser = parse_worker_id)]
    workers: Vec<WorkerId>,
    /// The file to write, which is replaced if it exists; standard output by default
    #[arg(long = "output", short = 'o', value_name = "FILE")]
    file: Option<PathBuf>,
    /// List all workers with their whole transcripts, instead of the last 200 entries
    #[arg(long)]
    all: bool,
    /// Check the store for damage first
    #[arg(long)]
    verify: bool,
    /// Show times in UTC instead of the local time zone
    #[arg(long)]
    utc: bool,
}

/// The result of a report that was written to a file.
#[derive(Serialize)]
struct Printed<'a> {
    file: &'a Path,
    bytes: u64,
    runtimes: u64,
    workers: u64,
    events: u64,
    transcript_entries: u64,
    seconds: f64,
}

impl Report {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let begin = Instant::now();
        if output.json && self.file.is_none() {
            let why = "a report is HTML; with --json name its file with --output";
            return Err(Failure::WrongUse(why.to_owned()));
        }
        let store = self.store.open(output)?;
        let mut destination = Destination::new(self.file.as_deref(), store.path())?;
        let checked = match self.verify {
            true => Some(check(&store, output)?),
            false => None,
        };
        let spinner = progress::spinner(output, "reading the store");
        let is_damaged = checked
            .as_ref()
            .is_some_and(|checked| !checked.report.is_clean());
        let written = self.write(&store, checked, destination.writer());
        spinner.finish_and_clear();
        let survey = written?;
        let bytes = destination.finish(output)?;
        if let Some(file) = &self.file {
            let totals = &survey.totals;
            match output.json {
                true => output.object(&Printed {
                    file,
                    bytes,
                    runtimes: totals.runtimes,
                    workers: totals.workers,
                    events: totals.events,
                    transcript_entries: totals.entries,
                    seconds: begin.elapsed().as_secs_f64(),
                })?,
                false => output.summary(format!(
                    "wrote {}: {}",
                    file.display(),
                    bytes_for_people(bytes)
                ))?,
            }
        }
        Ok(match is_damaged {
            true => Status::Differs,
            false => Status::Done,
        })
    }

    /// Writes the page from one snapshot.
    fn write(
        &self,
        store: &Store,
        checked: Option<Checked>,
        out: &mut dyn Write,
    ) -> Result<Survey, Failure> {
        let named = self.runtime.as_ref();
        let named = named
            .map(|id| RuntimeArgument::find_named(store, id))
            .transpose()?;
        let snapshot = store.snapshot()?;
        let source = Source::of(store.path(), checked);
        let ids = named.map_or_else(|| snapshot.runtime_ids(), |id| Ok(vec![id]))?;
        let asked = Asked::find(&snapshot, &ids, &self.workers, self.all)?;
        let mut survey = Survey::take(&snapshot, &ids, &asked)?;
        let times = Times::shown(self.utc);
        let mut page = Page::begin(out, &times, &source.name)?;
        head::write(&mut page, &source, &survey)?;
        findings::write(&mut page, &source, &survey, &snapshot)?;
        timeline::write(&mut page, &mut survey)?;
        growth::write(&mut page, &mut survey)?;
        workers::write(&mut page, &survey)?;
        transcripts::write(&mut page, &survey, &snapshot)?;
        page.end()?;
        Ok(survey)
    }
}

/// Checks the store for damage.
fn check(store: &Store, output: &Output) -> Result<Checked, Failure> {
    let checked_at = SystemTime::now();
    let spinner = progress::spinner(output, "checking the store");
    let options = VerifyOptions::new().max_findings(MOST_FINDINGS);
    let report = store.verify_with(&options);
    spinner.finish_and_clear();
    Ok(Checked {
        report: report?,
        checked_at,
    })
}
