//! `prune`: removes the oldest rows of a store.

use crate::arguments::age::parse_age;
use crate::arguments::bytes::parse_bytes;
use crate::arguments::help;
use crate::arguments::repair;
use crate::arguments::select::{parse_runtime_id, runtime_of};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::progress;
use crate::output::text::{bytes_for_people, count, visible};
use clap::Args;
use redb_runtime_store::Store;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::retention::{PruneOptions, PruneReport, Retention};
use std::path::PathBuf;
use std::time::Duration;

/// Remove the oldest events and entries of a store
///
/// Removes a row if any of the limits says so. Event ids and positions of the rows that stay do not change. A pinned
/// worker keeps its row and its transcript. What was removed is recorded as a diagnostic `runtime.pruned`.
///
/// To keep the full history as files, run `export --update` into the same directory before each prune: it appends to what
/// earlier updates have left there.
#[derive(Args)]
#[command(after_help = help::PRUNE)]
pub(crate) struct Prune {
    /// The store's file
    #[arg(value_name = "STORE")]
    store: PathBuf,
    /// Prune only this runtime, instead of all
    #[arg(long, value_name = "ID", value_parser = parse_runtime_id)]
    runtime: Option<RuntimeId>,
    #[command(flatten)]
    limits: Limits,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct Limits {
    /// Keep the last N events of each runtime
    #[arg(long, value_name = "N")]
    keep_events: Option<u64>,
    /// Keep the last N entries of each transcript
    #[arg(long, value_name = "N")]
    keep_entries: Option<u64>,
    /// Keep at most this much of events and entries, of all logs in proportion; K, M and G stand for 1024, 1024^2 and
    /// 1024^3
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    keep_bytes: Option<usize>,
    /// Keep what is younger than this age (90s, 20m, 2h, 3d, 4w)
    #[arg(long, value_name = "AGE", value_parser = age)]
    newer_than: Option<Duration>,
    /// Remove whole workers that ended at least this long ago
    #[arg(long, value_name = "AGE", value_parser = age)]
    ended_before: Option<Duration>,
}

fn age(text: &str) -> Result<Duration, String> {
    parse_age(text).ok_or_else(|| "expected an age, for example 90s, 20m, 2h, 3d or 4w".to_owned())
}

impl Limits {
    fn policy(&self) -> Retention {
        let mut policy = Retention::new();
        policy.keep_events = self.keep_events;
        policy.keep_entries = self.keep_entries;
        policy.keep_bytes = self.keep_bytes.map(|bytes| bytes as u64);
        policy.newer_than = self.newer_than;
        policy.ended_before = self.ended_before;
        policy
    }
}

impl Prune {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let policy = self.limits.policy();
        if policy.is_empty() {
            let message = "name at least one limit, for example --keep-events 100000";
            return Err(Failure::WrongUse(message.to_owned()));
        }
        let store = repair::for_writing(Store::options(), &self.store, output)?;
        let options = PruneOptions::new().dry_run(self.dry_run);
        let spinner = progress::spinner(output, "pruning");
        let pruned = match &self.runtime {
            Some(id) => runtime_of(&store, id).and_then(|runtime| runtime.prune(&policy, options)),
            None => store.prune(&policy, options),
        };
        spinner.finish_and_clear();
        let report = pruned?;
        store.close()?;
        self.print(&report, output)?;
        Ok(Status::Done)
    }

    fn print(&self, report: &PruneReport, output: &mut Output) -> Result<(), Failure> {
        if output.json {
            return output.object(report);
        }
        for runtime in &report.runtimes {
            output.line(format!(
                "{}: {}, {}, {}, {}",
                visible(&runtime.runtime_id),
                count(runtime.events, "event", "events"),
                count(runtime.transcript_entries, "entry", "entries"),
                count(runtime.workers, "worker", "workers"),
                bytes_for_people(runtime.bytes),
            ))?;
        }
        let verb = match self.dry_run {
            true => "would remove",
            false => "removed",
        };
        let frees = match report.compacting_frees_bytes {
            Some(bytes) if !report.is_empty() => {
                format!("; compacting then frees about {}", bytes_for_people(bytes))
            }
            _ => String::new(),
        };
        output.summary(format!(
            "{verb} {}, {}{frees}",
            count(report.rows(), "row", "rows"),
            bytes_for_people(report.bytes()),
        ))
    }
}
