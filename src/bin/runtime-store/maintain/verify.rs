//! `verify`: checks a store for damage.

use crate::arguments::help;
use crate::arguments::select::StoreArgument;
use crate::output::failure::{Failure, Status, error_chain};
use crate::output::print::Output;
use crate::output::progress;
use crate::output::text::count;
use clap::Args;
use indicatif::ProgressBar;
use redb_runtime_store::store::{VerifyFinding, VerifyKind, VerifyOptions, VerifyReport};
use redb_runtime_store::{RuntimeError, Severity, Store};
use rustix::io::Errno;
use serde::Serialize;
use std::sync::Once;
use std::time::Instant;

/// Check a store for damage
///
/// Checks every page, the checksum of every value, and the rules across tables, and lists the
/// findings. The store is not changed, except that a store which was not closed cleanly is repaired
/// first. If a store is too damaged to be repaired, its damaged pages are listed. Parts that the system
/// fails to read are listed, and the rest is checked.
///
/// Exit code 0: no damage; 4: damage found, or not all of the store can be read.
#[derive(Args)]
#[command(after_help = help::VERIFY)]
pub(crate) struct Verify {
    #[command(flatten)]
    store: StoreArgument,
    /// List at most this many findings; the rest are only counted
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
            Err(Failure::Store(error)) if is_of_contents(&error) => {
                let Some(path) = self.store.location().file() else {
                    return Err(error.into());
                };
                output.remark(error_chain(&error));
                let pages = pages_bar(output);
                let report = Store::verify_file(path, &self.options(&pages));
                pages.finish_and_clear();
                let is_unread = matches!(error, RuntimeError::StoreIo { .. });
                return report_result(output, &report?, begin, is_unread);
            }
            opened => opened?,
        };
        if self.store.location().file().is_none() {
            output.remark(PAGES_OF_SERVER);
        }
        let bar = pages_bar(output);
        let (shown, rows_begin) = (bar.clone(), Once::new());
        let options = self.options(&bar).on_progress(move |progress| {
            rows_begin.call_once(|| progress::count_rows(&shown, "verifying"));
            progress::show_rows(&shown, progress);
        });
        let verified = store.verify_with(&options);
        bar.finish_and_clear();
        report_result(output, &verified?, begin, false)
    }

    /// Options that show the page check on a bar.
    fn options(&self, pages: &ProgressBar) -> VerifyOptions {
        let shown = pages.clone();
        VerifyOptions::new()
            .max_findings(self.findings)
            .on_page_progress(move |part| progress::show_part(&shown, part))
    }
}

/// What is not checked of a store on a server.
const PAGES_OF_SERVER: &str = "checking records and rules; the pages are the server's: it checks them where it was set up with \
     data checksums, and pg_amcheck checks its indexes";

/// Whether a store does not open because of its contents: some are damaged, or the disk does not give them.
fn is_of_contents(error: &RuntimeError) -> bool {
    match error {
        RuntimeError::StoreCorrupt { .. } | RuntimeError::BytesAfterEnd { .. } => true,
        RuntimeError::StoreIo { source, .. } => {
            let unread = [Errno::IO, Errno::BADMSG, Errno::UCLEAN, Errno::NODATA];
            unread
                .map(|errno| Some(errno.raw_os_error()))
                .contains(&source.raw_os_error())
        }
        _ => false,
    }
}

fn pages_bar(output: &Output) -> ProgressBar {
    progress::part(output, "checking pages")
}

fn report_result(
    output: &mut Output,
    report: &VerifyReport,
    begin: Instant,
    is_unread: bool,
) -> Result<Status, Failure> {
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
        print(output, report, is_unread)?;
    }
    Ok(status)
}

fn print(output: &mut Output, report: &VerifyReport, is_unread: bool) -> Result<(), Failure> {
    for finding in &report.findings {
        output.line(format!("{}: {finding}", finding.severity))?;
    }
    let found = report.errors + report.warnings + report.infos;
    let listed = report.findings.len() as u64;
    if found > listed {
        let more = count(found - listed, "finding", "findings");
        output.line(format!("and {more} more"))?;
    }
    output.summary(format!(
        "{}: {}, {}, {}, {}",
        verdict(report, is_unread),
        count(report.runtimes, "runtime", "runtimes"),
        count(report.workers, "worker", "workers"),
        count(report.events, "event", "events"),
        count(report.transcript_entries, "entry", "entries"),
    ))
}

/// What was found, in a few words. Parts that the system failed to read are no damage; with `is_unread` the
/// store did not open because of such a part.
pub(crate) fn verdict(report: &VerifyReport, is_unread: bool) -> String {
    if report.is_clean() {
        return "no damage".to_owned();
    }
    let errors = count(report.errors, "error", "errors");
    let is_part = |finding: &VerifyFinding| match finding.kind {
        VerifyKind::ReadFailed | VerifyKind::Unreadable | VerifyKind::RowsNotChecked => true,
        _ => finding.severity != Severity::Error,
    };
    let read_failed = |finding: &VerifyFinding| finding.kind == VerifyKind::ReadFailed;
    let has_failed = is_unread || report.findings.iter().any(read_failed);
    if has_failed && report.findings.iter().all(is_part) {
        return format!("not all of it can be read, {errors}");
    }
    format!("damaged, {errors}")
}
