//! `compare`: compares a directory with a store, record by record.

use crate::arguments::help;
use crate::arguments::select::{RepairArgument, parse_runtime_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::{count, visible};
use clap::Args;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::layout;
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
    #[command(flatten)]
    repair: RepairArgument,
}

impl Compare {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let store = self.repair.open(&self.store, output)?;
        let comparison = layout::compare_runtimes(&store, &self.root, &self.runtime)?;
        let status = if comparison.is_same() {
            Status::Done
        } else {
            Status::Differs
        };
        if output.json {
            output.object(&comparison)?;
            return Ok(status);
        }
        output.findings(&comparison.findings);
        for difference in &comparison.differences {
            output.line(visible(&difference.to_string()))?;
        }
        let listed = comparison.differences.len() as u64;
        if comparison.total_differences > listed {
            let more = comparison.total_differences - listed;
            output.line(format!(
                "and {} more",
                count(more, "difference", "differences")
            ))?;
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
        ))?;
        Ok(status)
    }
}
