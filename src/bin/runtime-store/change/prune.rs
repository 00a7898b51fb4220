//! `prune`: removes the oldest rows of a store.

use crate::arguments::age::parse_age;
use crate::arguments::bytes::parse_bytes;
use crate::arguments::confirm::{ConfirmArguments, Mode, ask, declined, refuse_change, unread};
use crate::arguments::help;
use crate::arguments::location::Location;
use crate::arguments::repair;
use crate::arguments::select::{find_runtime, parse_runtime_id, runtime_of};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::progress;
use crate::output::text::{bytes_for_people, count, visible};
use clap::Args;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::retention::{PruneOptions, PruneReport, Retention, RuntimePrune};
use redb_runtime_store::{RuntimeError, Store};
use std::time::{Duration, SystemTime};

/// Remove the oldest events and entries of a store
///
/// Removes a row if any of the limits says so. Event ids and positions of the rows that stay do not change. A pinned
/// worker keeps its row and its transcript. What was removed is recorded as a diagnostic `runtime.pruned`. Shows the
/// rows that would be removed, and asks. Fails with exit code 3 while a host has the store open.
///
/// To keep the full history as files, run `export --update` into the same directory before each prune: it appends to what
/// earlier updates have left there.
#[derive(Args)]
#[command(after_help = help::PRUNE)]
pub(crate) struct Prune {
    /// The store's file
    #[arg(value_name = "STORE")]
    store: Location,
    /// Prune only this runtime, instead of all: its id, or the beginning of its id
    #[arg(long, value_name = "ID", value_parser = parse_runtime_id)]
    runtime: Option<RuntimeId>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    confirm: ConfirmArguments,
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
        let mode = self.confirm.mode(output)?;
        if mode == Mode::Go {
            let store = self.open(output)?;
            let only = self.only(&store)?;
            let report = prune(&store, &policy, (only.as_ref(), output))?;
            store.close()?;
            self.list(&report, output)?;
            return self.summary("removed", &report, output);
        }
        let planned_at = SystemTime::now();
        let shown = self.plan(&policy, output)?;
        if mode == Mode::DryRun || shown.report.is_empty() {
            self.list(&shown.report, output)?;
            return self.summary("would remove", &shown.report, output);
        }
        self.list(&shown.report, output).map_err(unread)?;
        if !ask(output, &format!("remove {}", in_words(&shown.report)))? {
            return Ok(declined(output));
        }
        // The ages count from the time at which the rows were shown. A clock that went backwards makes rows younger anyway.
        let policy = older_by(policy, planned_at.elapsed().unwrap_or_default());
        let report = self.prune_shown(&policy, &shown, output)?;
        self.summary("removed", &report, output)
    }

    fn open(&self, output: &Output) -> Result<Store, RuntimeError> {
        repair::for_writing(&self.store, output)
    }

    /// The only runtime to prune; `None` for all.
    fn only(&self, store: &Store) -> Result<Option<RuntimeId>, Failure> {
        let found = self.runtime.as_ref().map(|id| find_runtime(store, id));
        Ok(found.transpose()?.map(|runtime| runtime.runtime_id))
    }

    /// The rows that the policy would remove.
    fn plan(&self, policy: &Retention, output: &Output) -> Result<Plan, Failure> {
        let store = repair::for_reading_repaired(&self.store, output)?;
        let only = self.only(&store)?;
        let report = planned(&store, policy, only.as_ref())?;
        store.close()?;
        Ok(Plan { only, report })
    }

    /// Removes rows that were shown. Nobody else writes between the second plan and the removal: this process has the
    /// store.
    fn prune_shown(
        &self,
        policy: &Retention,
        shown: &Plan,
        output: &Output,
    ) -> Result<PruneReport, Failure> {
        let store = self.open(output)?;
        let only = shown.only.as_ref();
        let now = planned(&store, policy, only)?;
        refuse_change(is_within(&now, &shown.report), "the rows")?;
        let report = prune(&store, policy, (only, output))?;
        store.close()?;
        Ok(report)
    }

    /// Prints the rows of each runtime; with `--json` the whole report.
    fn list(&self, report: &PruneReport, output: &mut Output) -> Result<(), Failure> {
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
        Ok(())
    }

    fn summary(
        &self,
        verb: &str,
        report: &PruneReport,
        output: &mut Output,
    ) -> Result<Status, Failure> {
        let frees = match report.compacting_frees_bytes {
            Some(bytes) if !report.is_empty() => {
                format!("; compacting then frees about {}", bytes_for_people(bytes))
            }
            _ => String::new(),
        };
        output.summary(format!("{verb} {}{frees}", in_words(report)))?;
        Ok(Status::Done)
    }
}

/// The rows that were shown.
struct Plan {
    /// The runtime that `--runtime` named when they were shown.
    only: Option<RuntimeId>,
    report: PruneReport,
}

fn planned(
    store: &Store,
    policy: &Retention,
    only: Option<&RuntimeId>,
) -> Result<PruneReport, RuntimeError> {
    let options = PruneOptions::new().dry_run(true);
    match only {
        Some(id) => runtime_of(store, id)?.prune(policy, options),
        None => store.prune(policy, options),
    }
}

fn prune(
    store: &Store,
    policy: &Retention,
    (only, output): (Option<&RuntimeId>, &Output),
) -> Result<PruneReport, RuntimeError> {
    let spinner = progress::spinner(output, "pruning");
    let pruned = match only {
        Some(id) => runtime_of(store, id).and_then(|one| one.prune(policy, PruneOptions::new())),
        None => store.prune(policy, PruneOptions::new()),
    };
    spinner.finish_and_clear();
    pruned
}

/// Whether a plan has only rows that an earlier plan has.
fn is_within(plan: &PruneReport, earlier: &PruneReport) -> bool {
    plan.runtimes.iter().all(|now| {
        let shown = &earlier.runtimes;
        let shown = shown.iter().find(|one| one.runtime_id == now.runtime_id);
        shown.is_some_and(|shown| {
            let numbers = |of: &RuntimePrune| {
                [
                    of.events,
                    of.transcript_entries,
                    of.workers,
                    of.diagnostics,
                    of.bytes,
                    of.first_event_id,
                ]
            };
            let pairs = numbers(now).into_iter().zip(numbers(shown));
            pairs.into_iter().all(|(now, shown)| now <= shown)
        })
    })
}

fn in_words(report: &PruneReport) -> String {
    let rows = count(report.rows(), "row", "rows");
    format!("{rows}, {}", bytes_for_people(report.bytes()))
}

/// A policy whose ages are longer by `elapsed`.
fn older_by(mut policy: Retention, elapsed: Duration) -> Retention {
    for age in [&mut policy.newer_than, &mut policy.ended_before] {
        *age = age.map(|age| age.saturating_add(elapsed));
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_grow_by_the_time_of_the_question() {
        const MINUTE: Duration = Duration::from_secs(60);
        let policy = Retention::new().keep_events(9).newer_than(3 * MINUTE);
        let grown = older_by(policy, MINUTE);
        let expected = Retention::new().keep_events(9).newer_than(4 * MINUTE);
        assert_eq!(grown, expected);
        let policy = older_by(Retention::new().ended_before(Duration::MAX), MINUTE);
        assert_eq!(policy.ended_before, Some(Duration::MAX));
    }
}
