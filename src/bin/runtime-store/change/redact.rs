//! `redact`: replaces the texts of entries that match.

use crate::arguments::help;
use crate::arguments::rows::PatternArguments;
use crate::arguments::select::{WritableArgument, parse_worker_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::{count, visible};
use crate::read::events::kind_name;
use clap::Args;
use redb_runtime_store::Runtime;
use redb_runtime_store::identity::{WorkerId, WorkerRef};
use redb_runtime_store::search::{Search, SearchRow};
use redb_runtime_store::store::{KeptFile, Snapshot};
use serde::Serialize;
use std::path::Path;

/// The most entries that one operation redacts.
const ENTRIES_AT_A_TIME: usize = 1024;

/// Replace the texts of entries that match
///
/// The whole text of each entry is replaced, and its attributes are removed; its sequence, role and time stay. The old text
/// can stay in free pages of the file until the store is compacted, and stays in backups and exports that were made
/// before. Fails with exit code 3 while a host has the store open.
#[derive(Args)]
#[command(after_help = help::REDACT)]
pub(crate) struct Redact {
    #[command(flatten)]
    store: WritableArgument,
    /// The text to search for
    #[arg(value_name = "PATTERN")]
    pattern: String,
    /// Redact only entries of this worker; repeatable
    #[arg(long, value_name = "ID", value_parser = parse_worker_id)]
    worker: Vec<WorkerId>,
    #[command(flatten)]
    matching: PatternArguments,
    /// The text that the entries get
    #[arg(long, value_name = "TEXT", default_value = "[redacted]")]
    replacement: String,
    /// Redact the entries, instead of only listing them
    #[arg(long)]
    yes: bool,
}

/// An entry that matches, or another match that stays.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Printed<'a> {
    Entry {
        worker_ref: &'a WorkerRef,
        position: u64,
        redacted: bool,
    },
    Event {
        id: u64,
    },
    KeptFile {
        #[serde(skip_serializing_if = "Option::is_none")]
        worker_id: Option<&'a WorkerId>,
        path: &'a Path,
    },
}

/// The entries to redact of one worker after the other.
#[derive(Default)]
struct Found {
    entries: Vec<(WorkerRef, Vec<u64>)>,
    events: u64,
    files: u64,
}

impl Redact {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime) = self.store.open(output)?;
        let id = runtime.runtime_id()?;
        let mut search = self.matching.search(&self.pattern).runtime(id.clone());
        for worker in &self.worker {
            let worker = WorkerRef::new(id.clone(), worker.clone());
            // A worker that does not exist is a mistake, and no worker without matches.
            runtime.worker_detail(&worker)?;
            search = search.worker(worker);
        }
        let found = self.find(&store.snapshot()?, &search, output)?;
        if self.yes {
            redact(&runtime, &found.entries, &self.replacement)?;
        }
        store.close()?;
        output.summary(self.in_words(&found))?;
        Ok(Status::Done)
    }

    /// Prints every match, and collects the entries.
    fn find(
        &self,
        snapshot: &Snapshot,
        search: &Search,
        output: &mut Output,
    ) -> Result<Found, Failure> {
        let mut found = Found::default();
        let matches = snapshot.search(search);
        for row in matches.map_err(Failure::of_pattern)? {
            match row?.row {
                SearchRow::Event { event, .. } => {
                    found.events += 1;
                    let kind = kind_name(event.kind);
                    let text = format!("event {}, {kind}: stays", event.id);
                    show(output, &Printed::Event { id: event.id }, text)?;
                }
                SearchRow::Entry {
                    position, entry, ..
                } => {
                    let worker_ref = entry.worker_ref;
                    let text = format!("{}, position {position}", visible(&worker_ref.worker_id));
                    let printed = Printed::Entry {
                        worker_ref: &worker_ref,
                        position,
                        redacted: self.yes,
                    };
                    show(output, &printed, text)?;
                    found.add(worker_ref, position);
                }
                _ => {}
            }
        }
        for KeptFile {
            worker_id, path, ..
        } in files(snapshot, search)?
        {
            found.files += 1;
            let owner = worker_id.as_ref().map(|worker| format!("{worker}, "));
            let owner = owner.unwrap_or_default();
            let text = format!("{owner}kept file {}: stays", path.display());
            let printed = Printed::KeptFile {
                worker_id: worker_id.as_ref(),
                path: &path,
            };
            show(output, &printed, text)?;
        }
        Ok(found)
    }

    fn in_words(&self, found: &Found) -> String {
        let entries = found.entries.iter().map(|(_, positions)| positions.len());
        let entries = count(entries.sum::<usize>() as u64, "entry", "entries");
        let stays = match (found.events, found.files) {
            (0, 0) => String::new(),
            (events, files) => format!(
                "; {} and {} that match stay",
                count(events, "event", "events"),
                count(files, "kept file", "kept files")
            ),
        };
        match self.yes {
            true => format!("redacted {entries}{stays}"),
            false => format!("would redact {entries}{stays}; run it with --yes"),
        }
    }
}

impl Found {
    fn add(&mut self, worker_ref: WorkerRef, position: u64) {
        match self.entries.last_mut() {
            Some((last, positions)) if *last == worker_ref => positions.push(position),
            _ => self.entries.push((worker_ref, vec![position])),
        }
    }
}

fn show(output: &mut Output, printed: &Printed<'_>, text: String) -> Result<(), Failure> {
    match output.json {
        true => output.object(printed),
        false => output.line(text),
    }
}

fn files(snapshot: &Snapshot, search: &Search) -> Result<Vec<KeptFile>, Failure> {
    let found = snapshot.search_kept_files(search)?;
    Ok(found.into_iter().map(|found| found.file).collect())
}

fn redact(
    runtime: &Runtime,
    entries: &[(WorkerRef, Vec<u64>)],
    replacement: &str,
) -> Result<(), Failure> {
    for (worker_ref, positions) in entries {
        for some in positions.chunks(ENTRIES_AT_A_TIME) {
            runtime.redact_entries(worker_ref, some.iter().copied(), replacement)?;
        }
    }
    Ok(())
}
