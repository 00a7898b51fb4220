//! `redact`: replaces the texts of entries that match.

use crate::arguments::confirm::{ConfirmArguments, Mode, ask, declined, refuse_change, unread};
use crate::arguments::help;
use crate::arguments::rows::PatternArguments;
use crate::arguments::select::{WritableArgument, parse_worker_id, worker_of};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::{count, visible};
use crate::read::events::kind_name;
use clap::Args;
use redb_runtime_store::identity::{WorkerId, WorkerRef};
use redb_runtime_store::observation::RuntimeEventKind;
use redb_runtime_store::search::{Search, SearchRow};
use redb_runtime_store::store::Snapshot;
use redb_runtime_store::{Runtime, Store};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The most entries that one operation redacts.
const ENTRIES_AT_A_TIME: usize = 1024;

/// Replace the texts of entries that match
///
/// The whole text of each entry is replaced, and its attributes are removed; its sequence, role and time stay. The old text
/// can stay in free pages of the file until the store is compacted, and stays in backups and exports that were made
/// before. Lists the matches, and asks. Exit code 1: nothing matches. Fails with exit code 3 while a host has the store
/// open.
#[derive(Args)]
#[command(after_help = help::REDACT)]
pub(crate) struct Redact {
    #[command(flatten)]
    store: WritableArgument,
    /// The text to search for
    #[arg(value_name = "PATTERN")]
    pattern: String,
    /// Redact only entries of this worker: its id, the beginning of its id, or its number; repeatable
    #[arg(long, value_name = "ID", value_parser = parse_worker_id)]
    worker: Vec<WorkerId>,
    #[command(flatten)]
    matching: PatternArguments,
    /// The text that the entries get
    #[arg(long, value_name = "TEXT", default_value = "[redacted]", value_parser = parse_replacement)]
    replacement: String,
    #[command(flatten)]
    confirm: ConfirmArguments,
}

/// A text for redacted entries from the command line. It is checked before the question, and not only by the library.
fn parse_replacement(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("the replacement must not be blank".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// An entry that matches, or another match that stays.
#[derive(PartialEq, Eq)]
enum Match {
    Entry {
        worker_ref: WorkerRef,
        position: u64,
    },
    Event {
        id: u64,
        kind: RuntimeEventKind,
    },
    KeptFile {
        worker_id: Option<WorkerId>,
        path: PathBuf,
    },
}

/// The JSON form of a match.
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

/// All matches, in the order of the list.
#[derive(PartialEq, Eq)]
struct Found(Vec<Match>);

impl Redact {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let mode = self.confirm.mode(output)?;
        if mode == Mode::Go {
            let (store, runtime) = self.store.open(output)?;
            let found = self.find(&store, &runtime)?;
            self.redact((store, &runtime), &found)?;
            // What is listed is redacted, whether somebody reads the list or not.
            found.list(output, true)?;
            return found.end(output, "redacted");
        }
        let (shown, id) = {
            let (store, runtime) = self.store.open_for_reading(output)?;
            let found = (self.find(&store, &runtime)?, runtime.runtime_id()?);
            store.close()?;
            found
        };
        if mode == Mode::DryRun || shown.entries().next().is_none() {
            shown.list(output, false)?;
            return shown.end(output, "would redact");
        }
        shown.list(output, false).map_err(unread)?;
        if !ask(output, &format!("redact {}", shown.in_words()))? {
            return Ok(declined(output));
        }
        let (store, runtime) = self.store.open_of(&id, output)?;
        let found = self.find(&store, &runtime)?;
        refuse_change(found == shown, "the matches")?;
        self.redact((store, &runtime), &found)?;
        found.end(output, "redacted")
    }

    /// Redacts the entries, and closes the store.
    fn redact(&self, (store, runtime): (Store, &Runtime), found: &Found) -> Result<(), Failure> {
        for (worker_ref, positions) in found.by_worker() {
            for some in positions.chunks(ENTRIES_AT_A_TIME) {
                runtime.redact_entries(worker_ref, some.iter().copied(), &self.replacement)?;
            }
        }
        Ok(store.close()?)
    }

    /// The search for the pattern in the entries of the runtime, or of the named workers.
    fn search(&self, snapshot: &Snapshot, runtime: &Runtime) -> Result<Search, Failure> {
        let id = runtime.runtime_id()?;
        let mut search = self.matching.search(&self.pattern).runtime(id.clone());
        for worker in &self.worker {
            let worker = worker_of(snapshot, &id, worker)?;
            // A worker that does not exist is a mistake, and no worker without matches.
            runtime.worker_detail(&worker)?;
            search = search.worker(worker);
        }
        Ok(search)
    }

    /// Every match.
    fn find(&self, store: &Store, runtime: &Runtime) -> Result<Found, Failure> {
        let snapshot = store.snapshot()?;
        let search = self.search(&snapshot, runtime)?;
        let mut found = Vec::new();
        let matches = snapshot.search(&search);
        for row in matches.map_err(Failure::of_pattern)? {
            found.push(match row?.row {
                SearchRow::Event { event, .. } => Match::Event {
                    id: event.id,
                    kind: event.kind,
                },
                SearchRow::Entry {
                    position, entry, ..
                } => Match::Entry {
                    worker_ref: entry.worker_ref,
                    position,
                },
                _ => continue,
            });
        }
        for found_file in snapshot.search_kept_files(&search)? {
            found.push(Match::KeptFile {
                worker_id: found_file.file.worker_id,
                path: found_file.file.path,
            });
        }
        Ok(Found(found))
    }
}

impl Match {
    fn printed(&self, redacted: bool) -> Printed<'_> {
        match self {
            Self::Entry {
                worker_ref,
                position,
            } => Printed::Entry {
                worker_ref,
                position: *position,
                redacted,
            },
            Self::Event { id, .. } => Printed::Event { id: *id },
            Self::KeptFile { worker_id, path } => Printed::KeptFile {
                worker_id: worker_id.as_ref(),
                path,
            },
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Entry {
                worker_ref,
                position,
            } => format!("{}, position {position}", visible(&worker_ref.worker_id)),
            Self::Event { id, kind } => format!("event {id}, {}: stays", kind_name(*kind)),
            Self::KeptFile { worker_id, path } => {
                let owner = worker_id.as_ref().map(|worker| format!("{worker}, "));
                let owner = owner.unwrap_or_default();
                format!("{owner}kept file {}: stays", path.display())
            }
        }
    }
}

impl Found {
    /// Prints every match.
    fn list(&self, output: &mut Output, redacted: bool) -> Result<(), Failure> {
        for found in &self.0 {
            match output.json {
                true => output.object(&found.printed(redacted))?,
                false => output.line(found.in_words())?,
            }
        }
        Ok(())
    }

    /// The entries to redact.
    fn entries(&self) -> impl Iterator<Item = (&WorkerRef, u64)> {
        self.0.iter().filter_map(|found| match found {
            Match::Entry {
                worker_ref,
                position,
            } => Some((worker_ref, *position)),
            _ => None,
        })
    }

    /// The positions to redact of one worker after the other.
    fn by_worker(&self) -> Vec<(&WorkerRef, Vec<u64>)> {
        let mut workers: Vec<(&WorkerRef, Vec<u64>)> = Vec::new();
        for (worker_ref, position) in self.entries() {
            match workers.last_mut() {
                Some((last, positions)) if *last == worker_ref => positions.push(position),
                _ => workers.push((worker_ref, vec![position])),
            }
        }
        workers
    }

    /// The number of entries.
    fn in_words(&self) -> String {
        count(self.entries().count() as u64, "entry", "entries")
    }

    fn number_of(&self, is_one: fn(&Match) -> bool) -> u64 {
        self.0.iter().filter(|found| is_one(found)).count() as u64
    }

    /// Prints the last line, and returns the exit code: as of a search, that of a failure where nothing matches.
    fn end(&self, output: &mut Output, verb: &str) -> Result<Status, Failure> {
        if self.0.is_empty() {
            output.summary("nothing matches")?;
            return Ok(Status::Failed);
        }
        let events = self.number_of(|found| matches!(found, Match::Event { .. }));
        let files = self.number_of(|found| matches!(found, Match::KeptFile { .. }));
        let stays = match (events, files) {
            (0, 0) => String::new(),
            (events, files) => format!(
                "; {} and {} that match stay",
                count(events, "event", "events"),
                count(files, "kept file", "kept files")
            ),
        };
        output.summary(match self.entries().next().is_none() {
            true => format!("no entry matches{stays}"),
            false => format!("{verb} {}{stays}", self.in_words()),
        })?;
        Ok(Status::Done)
    }
}
