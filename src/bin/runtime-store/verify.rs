//! `verify`: whether a store is whole.

use crate::failure::{Failure, Status};
use crate::output::{Output, count, visible};
use crate::select::StoreArgument;
use crate::{help, progress};
use clap::Args;
use indicatif::ProgressBar;
use redb_runtime_store::store::{VerifyOptions, VerifyReport};
use redb_runtime_store::{RuntimeError, Store};
use serde::Serialize;
use std::time::Instant;

/// Verify a store
///
/// The database's own check of every page, the checksum of every value, and the rules across
/// tables. All findings are listed, as many as --findings allows; nothing is changed but that a store
/// which a killed host left is repaired first. Of one that is too damaged for that the damaged pages
/// are listed. Exit code 0: no damage; 4: damage.
#[derive(Args)]
#[command(after_help = help::VERIFY)]
pub(crate) struct Verify {
    #[command(flatten)]
    store: StoreArgument,
    /// List at most this many findings; all are counted
    #[arg(long, value_name = "N", default_value_t = 1000)]
    findings: usize,
}

#[derive(Serialize)]
struct Printed<'a> {
    is_clean: bool,
    #[serde(flatten)]
    report: &'a VerifyReport,
    seconds: f64,
}

impl Verify {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let begin = Instant::now();
        let store = match self.store.open(output) {
            Err(Failure::Store(error @ RuntimeError::StoreCorrupt { .. })) => {
                output.remark(error.to_string());
                let pages = pages_bar(output);
                let report = Store::verify_file(self.store.path(), &self.options(&pages));
                pages.finish_and_clear();
                return say(output, &report?, begin);
            }
            opened => opened?,
        };
        let (bar, pages) = (progress::rows(output, "verifying"), pages_bar(output));
        let (shown, shown_before) = (bar.clone(), pages.clone());
        let options = self.options(&pages).on_progress(move |progress| {
            shown_before.finish_and_clear();
            progress::show_rows(&shown, progress);
        });
        let verified = store.verify_with(&options);
        pages.finish_and_clear();
        bar.finish_and_clear();
        say(output, &verified?, begin)
    }

    /// With the progress of the pages on a bar of its own, which ends before the rows begin.
    fn options(&self, pages: &ProgressBar) -> VerifyOptions {
        let shown = pages.clone();
        VerifyOptions::new()
            .max_findings(self.findings)
            .on_page_progress(move |part| progress::show_part(&shown, part))
    }
}

fn pages_bar(output: &Output) -> ProgressBar {
    progress::part(output, "checking pages")
}

fn say(output: &mut Output, report: &VerifyReport, begin: Instant) -> Result<Status, Failure> {
    let status = if report.is_clean() {
        Status::Done
    } else {
        Status::Differs
    };
    if output.json {
        output.object(&Printed {
            is_clean: report.is_clean(),
            report,
            seconds: begin.elapsed().as_secs_f64(),
        })?;
    } else {
        print(output, report)?;
    }
    Ok(status)
}

fn print(output: &mut Output, report: &VerifyReport) -> Result<(), Failure> {
    for finding in &report.findings {
        let line = visible(&finding.to_string());
        output.line(format!("{}: {line}", finding.severity))?;
    }
    let found = report.errors + report.warnings + report.infos;
    let listed = report.findings.len() as u64;
    if found > listed {
        let more = count(found - listed, "finding", "findings");
        output.line(format!("and {more} more"))?;
    }
    output.summary(format!(
        "{}: {}, {}, {}, {}",
        if report.is_clean() {
            "whole".to_owned()
        } else {
            format!("damaged, {}", count(report.errors, "error", "errors"))
        },
        count(report.runtimes, "runtime", "runtimes"),
        count(report.workers, "worker", "workers"),
        count(report.events, "event", "events"),
        count(report.transcript_entries, "entry", "entries"),
    ))
}
