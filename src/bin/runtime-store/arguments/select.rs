//! Arguments that name a store, and one of its runtimes.

use crate::arguments::location::Location;
use crate::arguments::repair;
use crate::output::failure::Failure;
use crate::output::print::Output;
use clap::Args;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::management::{RuntimeOptions, RuntimeSummary};
use redb_runtime_store::store::Snapshot;
use redb_runtime_store::{Runtime, RuntimeError, Store};

/// A runtime id from the command line.
pub(crate) fn parse_runtime_id(text: &str) -> Result<RuntimeId, String> {
    RuntimeId::new(text).ok_or_else(|| "a runtime id must not be blank".to_owned())
}

/// A worker id from the command line.
pub(crate) fn parse_worker_id(text: &str) -> Result<WorkerId, String> {
    WorkerId::new(text).ok_or_else(|| "a worker id must not be blank".to_owned())
}

/// The store that a verb reads.
#[derive(Args)]
pub(crate) struct StoreArgument {
    /// The store's file
    #[arg(value_name = "STORE")]
    location: Location,
    #[command(flatten)]
    repair: RepairArgument,
}

impl StoreArgument {
    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// Opens the store read-only, and repairs it first if it was not closed cleanly.
    pub(crate) fn open(&self, output: &Output) -> Result<Store, Failure> {
        self.repair.open(&self.location, output)
    }
}

/// Whether to repair a store before it is read.
#[derive(Args)]
pub(crate) struct RepairArgument {
    /// Fail if the store was not closed cleanly, instead of repairing it first
    #[arg(long)]
    no_repair: bool,
}

impl RepairArgument {
    /// Opens the store read-only, and repairs it first if it was not closed cleanly.
    pub(crate) fn open(&self, location: &Location, output: &Output) -> Result<Store, Failure> {
        match self.no_repair {
            true => Ok(repair::for_reading(location)?),
            false => repair::for_reading_repaired(location, output),
        }
    }
}

/// A runtime of a store that a verb changes.
#[derive(Args)]
pub(crate) struct WritableArgument {
    /// The store's file
    #[arg(value_name = "STORE")]
    location: Location,
    #[command(flatten)]
    runtime: RuntimeArgument,
}

impl WritableArgument {
    /// Opens the store for writing, and the runtime: the named one, or the only one.
    pub(crate) fn open(&self, output: &Output) -> Result<(Store, Runtime), Failure> {
        let store = repair::for_writing(&self.location, output)?;
        let runtime = self.of(&store)?;
        Ok((store, runtime))
    }

    /// As [`open`](Self::open), but read-only, to show what a change would do. It works while a host has the store open.
    pub(crate) fn open_for_reading(&self, output: &Output) -> Result<(Store, Runtime), Failure> {
        let store = repair::for_reading_repaired(&self.location, output)?;
        let runtime = self.of(&store)?;
        Ok((store, runtime))
    }

    /// As [`open`](Self::open), with the runtime `id`, which was found before.
    pub(crate) fn open_of(
        &self,
        id: &RuntimeId,
        output: &Output,
    ) -> Result<(Store, Runtime), Failure> {
        let store = repair::for_writing(&self.location, output)?;
        let runtime = runtime_of(&store, id)?;
        Ok((store, runtime))
    }

    /// As [`open`](Self::open), with the worker that `text` names.
    pub(crate) fn open_worker(
        &self,
        text: &WorkerId,
        output: &Output,
    ) -> Result<(Store, Runtime, WorkerRef), Failure> {
        let (store, runtime) = self.open(output)?;
        let worker = worker_of(&store.snapshot()?, &runtime.runtime_id()?, text)?;
        Ok((store, runtime, worker))
    }

    fn of(&self, store: &Store) -> Result<Runtime, Failure> {
        let id = self.runtime.find(store)?.runtime_id;
        Ok(runtime_of(store, &id)?)
    }
}

/// One runtime of a store.
#[derive(Args)]
pub(crate) struct RuntimeArgument {
    /// The runtime, or the beginning of its id; required if the store has several
    #[arg(long, value_name = "ID", value_parser = parse_runtime_id)]
    runtime: Option<RuntimeId>,
}

impl RuntimeArgument {
    /// Opens the store, and finds the runtime: the named one, or the only one.
    pub(crate) fn open(
        &self,
        store: &StoreArgument,
        output: &Output,
    ) -> Result<(Store, RuntimeId), Failure> {
        let store = store.open(output)?;
        let id = self.find(&store)?.runtime_id;
        Ok((store, id))
    }

    /// The id of the runtime `id` in a store that is open, or of the only one whose id begins with it.
    pub(crate) fn find_named(store: &Store, id: &RuntimeId) -> Result<RuntimeId, Failure> {
        let runtime = Some(id.clone());
        Ok(Self { runtime }.find(store)?.runtime_id)
    }

    /// The runtime in a store that is open.
    fn find(&self, store: &Store) -> Result<RuntimeSummary, Failure> {
        if let Some(id) = &self.runtime {
            return find_runtime(store, id);
        }
        let mut all = store.runtimes()?;
        match all.len() {
            0 => Err(Failure::WrongUse(format!(
                "{}: the store has no runtimes",
                store.path().display()
            ))),
            1 => Ok(all.swap_remove(0)),
            _ => Err(Failure::SeveralRuntimes {
                path: store.path().to_owned(),
                ids: all.into_iter().map(|runtime| runtime.runtime_id).collect(),
            }),
        }
    }
}

/// The runtime with the id `text`, or the only one whose id begins with it.
pub(crate) fn find_runtime(store: &Store, text: &RuntimeId) -> Result<RuntimeSummary, Failure> {
    let mut all = store.runtimes()?;
    let ids = all.iter().map(|runtime| runtime.runtime_id.as_str());
    match match_of(text.as_str(), ids)? {
        Some(at) => Ok(all.swap_remove(at)),
        None => Err(Failure::Store(RuntimeError::RuntimeNotFound {
            path: store.path().to_owned(),
            runtime_id: text.clone(),
        })),
    }
}

/// The most ids that are listed where several begin with the text that was given.
const MOST_LISTED: usize = 5;

/// The index of the id in `ids` that equals a text, or of the only one that begins with it.
pub(crate) fn match_of<'i>(
    text: &str,
    ids: impl Iterator<Item = &'i str>,
) -> Result<Option<usize>, Failure> {
    let mut begun: Vec<(usize, &str)> = Vec::new();
    for (at, id) in ids.enumerate() {
        if id == text {
            return Ok(Some(at));
        }
        if id.starts_with(text) {
            begun.push((at, id));
        }
    }
    match begun.as_slice() {
        [] => Ok(None),
        [(at, _)] => Ok(Some(*at)),
        several => {
            let listed: Vec<&str> = several
                .iter()
                .map(|(_, id)| *id)
                .take(MOST_LISTED)
                .collect();
            let more = match several.len().checked_sub(MOST_LISTED) {
                None | Some(0) => String::new(),
                Some(more) => format!(" and {more} more"),
            };
            Err(Failure::WrongUse(format!(
                "{} ids begin with {text}: {}{more}",
                several.len(),
                listed.join(", ")
            )))
        }
    }
}

/// Finds the worker for a text: a worker's id, the only id that begins with the text, or the number of a generated id
/// (`7` is `worker-00000007`). A text that no worker matches is taken as an id: events can name a worker that is gone.
pub(crate) fn worker_of(
    snapshot: &Snapshot,
    runtime: &RuntimeId,
    text: &WorkerId,
) -> Result<WorkerRef, Failure> {
    let exact = WorkerRef::new(runtime.clone(), text.clone());
    if snapshot.worker(&exact)?.is_some() {
        return Ok(exact);
    }
    let numbered = WorkerId::new(format!("worker-{:0>8}", text.as_str()));
    if let Some(numbered) = numbered.map(|id| WorkerRef::new(runtime.clone(), id))
        && snapshot.worker(&numbered)?.is_some()
    {
        return Ok(numbered);
    }
    let mut ids = Vec::new();
    for worker in snapshot.workers(runtime)? {
        let id = worker?.value.worker_ref.worker_id;
        if id.as_str().starts_with(text.as_str()) {
            ids.push(id);
        }
    }
    let at = match_of(text.as_str(), ids.iter().map(WorkerId::as_str))?;
    let found = at.map(|at| WorkerRef::new(runtime.clone(), ids.swap_remove(at)));
    Ok(found.unwrap_or(exact))
}

/// The runtime `id` of a store, which has it.
pub(crate) fn runtime_of(store: &Store, id: &RuntimeId) -> Result<Runtime, RuntimeError> {
    // Opening a runtime that the store does not have would create it.
    if !store.snapshot()?.has_runtime(id)? {
        return Err(RuntimeError::RuntimeNotFound {
            path: store.path().to_owned(),
            runtime_id: id.clone(),
        });
    }
    store.runtime(RuntimeOptions {
        runtime_id: Some(id.clone()),
        ..RuntimeOptions::default()
    })
}
