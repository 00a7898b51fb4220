//! Kills of jobs on a copy of the store: a migration, and a prune in many commits.

use crate::child::{patient, say};
use crate::crash_steps::later_release;
use crate::power_loss::check_world;
use crate::world::{Context, RuntimeState, Violation, World, check_rules};
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::retention::{PruneOptions, Retention};
use std::path::Path;

/// The events of a runtime, and the entries of a worker, that the prune keeps.
const KEPT: u64 = 5;

/// Migrates the store at `path`, as the child.
pub(crate) fn migrate(path: &Path) -> Result<(), Violation> {
    later_release().open(path).or_violation("migrating")?;
    say("done")
}

/// Prunes the store at `path`, as the child.
pub(crate) fn prune(path: &Path) -> Result<(), Violation> {
    let store = patient().open(path).or_violation("opening")?;
    let policy = Retention::new().keep_events(KEPT).keep_entries(KEPT);
    let options = PruneOptions::new().step_bytes(1_000);
    store.prune(&policy, options).or_violation("pruning")?;
    say("done")
}

/// The store is unchanged or migrated; a copy that exists is complete.
pub(crate) fn check_migrated(
    sound: &Path,
    copied: &Path,
    said: &[String],
) -> Result<(), Violation> {
    let store = patient().open(sound).or_violation("opening")?;
    let expected = [World::of(&store).or_violation("reading")?];
    drop(store);
    match patient().open(copied) {
        Ok(_) if said.iter().any(|line| line == "done") => {
            return Err(Violation(
                "it was migrated, but an older release opens it".to_owned(),
            ));
        }
        Ok(store) => check_world(&store, &expected)?,
        Err(RuntimeError::StoreSchemaTooNew { .. }) => {
            let copy = copied.with_file_name("store.redb.v2.bak");
            check_world(
                &patient().open(copy).or_violation("opening the copy")?,
                &expected,
            )?;
        }
        Err(error) => return Err(Violation(error.to_string())),
    }
    let store = later_release()
        .open(copied)
        .or_violation("migrating again")?;
    check_world(&store, &expected)?;
    crate::power_loss::check_works(&store)
}

/// Each log has lost as many of its oldest rows as its floor says, and the next prune removes the rest.
pub(crate) fn check_pruned(sound: &Path, copied: &Path, said: &[String]) -> Result<(), Violation> {
    let store = patient().open(sound).or_violation("opening")?;
    let before = World::of(&store).or_violation("reading")?;
    drop(store);
    let store = patient().open(copied).or_violation("opening")?;
    let pruned = World::of(&store).or_violation("reading")?;
    check_rules(&store, &pruned)?;
    let mut is_done = true;
    for (id, before) in &before.0 {
        let Some(pruned) = pruned.0.get(id) else {
            return Err(Violation(format!("runtime {id} is missing")));
        };
        is_done &= check_runtime(before, pruned)
            .map_err(|what| Violation(format!("runtime {id}: {what}")))?;
    }
    if !is_done && said.iter().any(|line| line == "done") {
        return Err(Violation("it was pruned, but rows are left".to_owned()));
    }
    let policy = Retention::new().keep_events(KEPT).keep_entries(KEPT);
    let again = store
        .prune(&policy, PruneOptions::new())
        .or_violation("pruning again")?;
    if is_done != again.is_empty() {
        return Err(Violation(format!("pruned again: {again:?}")));
    }
    crate::power_loss::check_works(&store)
}

/// Whether no row is left that the prune removes. Fails if rows and floors do not agree.
fn check_runtime(before: &RuntimeState, pruned: &RuntimeState) -> Result<bool, String> {
    let is_suffix = |all: usize, gone: usize, left: usize| all == gone + left;
    let first = pruned.first_event_id;
    let gone = before
        .events
        .iter()
        .filter(|event| event.value.id < first)
        .count();
    if !before.events.ends_with(&pruned.events)
        || !is_suffix(before.events.len(), gone, pruned.events.len())
    {
        return Err(format!("{} events from {first} on", pruned.events.len()));
    }
    let mut is_done = pruned.events.len() as u64 <= KEPT;
    let mut has_lost = gone > 0;
    for (id, before) in &before.workers {
        let Some(pruned) = pruned.workers.get(id) else {
            return Err(format!("worker {id} is missing"));
        };
        let gone = (pruned.first_position - before.first_position) as usize;
        if !before.transcript.ends_with(&pruned.transcript)
            || !is_suffix(before.transcript.len(), gone, pruned.transcript.len())
        {
            return Err(format!("worker {id}: {} entries", pruned.transcript.len()));
        }
        is_done &= pruned.transcript.len() as u64 <= KEPT;
        has_lost |= gone > 0;
    }
    let records = pruned.own.value.diagnostics.iter();
    let records = records
        .filter(|record| record.code == "runtime.pruned")
        .count();
    match records == usize::from(has_lost) {
        true => Ok(is_done),
        false => Err(format!(
            "{records} records of the prune, rows are gone: {has_lost}"
        )),
    }
}
