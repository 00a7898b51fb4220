//! `backup`: copies a store while hosts use it.

use crate::arguments::help;
use crate::arguments::select::StoreArgument;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::progress;
use crate::output::text::count;
use crate::output::text::rate;
use clap::Args;
use indicatif::ProgressBar;
use redb_runtime_store::store::{BackupOptions, BackupReport, RowProgress};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Copy a store into a new file while hosts use it
///
/// Copies one snapshot of the store, without free space, and checks the copy before it appears under
/// its name, atomically. An existing file is never overwritten. What a killed backup left in the
/// directory is removed first.
///
/// A backup contains rows only. Text that was removed or replaced is not in it, though it can still be
/// in the free pages of the store's file.
#[derive(Args)]
#[command(after_help = help::BACKUP)]
pub(crate) struct Backup {
    #[command(flatten)]
    store: StoreArgument,
    /// The file to create
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Serialize)]
struct Printed {
    #[serde(flatten)]
    report: BackupReport,
    seconds: f64,
}

impl Backup {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let begin = Instant::now();
        let store = self.store.open(output)?;
        let bar = progress::rows(output, "copying");
        let shown = bar.clone();
        let options =
            BackupOptions::new().on_progress(move |progress| show_halves(&shown, progress));
        let copied = store.backup_with(&self.file, &options);
        bar.finish_and_clear();
        let report = copied?;
        let elapsed = begin.elapsed();
        if output.json {
            output.object(&Printed {
                report,
                seconds: elapsed.as_secs_f64(),
            })?;
            return Ok(Status::Done);
        }
        output.summary(format!("copied: {}", count(report.rows, "row", "rows")))?;
        output.summary(rate("wrote", report.bytes, elapsed))?;
        Ok(Status::Done)
    }
}

/// Shows the progress of a backup. The library counts each row twice: it is written, and read back.
fn show_halves(bar: &ProgressBar, progress: RowProgress) {
    let total = progress.total / 2;
    let (what, done) = match progress.done.checked_sub(total) {
        None => ("copying", progress.done),
        Some(read) => ("checking", read),
    };
    bar.set_message(what);
    bar.set_length(total);
    bar.set_position(done);
}
