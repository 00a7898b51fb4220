//! `backup`: a copy of a store, taken while it works.

use crate::failure::{Failure, Status};
use crate::import::rate;
use crate::output::{Output, count};
use crate::select::StoreArgument;
use crate::{help, progress};
use clap::Args;
use redb_runtime_store::store::{BackupOptions, BackupReport};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Copy a store into a new file while it works
///
/// The copy is the store at one moment, without free space. It is read back before it appears at
/// its place, whole or not at all. A file that is there already is refused.
#[derive(Args)]
#[command(after_help = help::BACKUP)]
pub(crate) struct Backup {
    #[command(flatten)]
    store: StoreArgument,
    /// The file that gets the copy
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
        let (shown, checked) = (bar.clone(), bar.clone());
        let options = BackupOptions::new()
            .on_progress(move |progress| progress::show_rows(&shown, progress))
            .on_page_progress(move |part| {
                checked.set_message(format!("checking {:.0} % of the pages", part * 100.0));
            });
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
