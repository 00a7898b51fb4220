//! Whether the documents of a directory are an earlier state of those of the store.

use crate::layout::compare::diff::{
    DIRECTORY_AND_STORE, Found, first_difference, runtime_json, worker_json,
};
use crate::layout::error::LayoutError;
use crate::layout::read::sink::Place;
use crate::layout::report::Difference;
use crate::ledger::rows::FIRST_EVENT_ID;
use crate::model::attributes;
use crate::model::catalog::WorkerStatus;
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::management::RuntimeStatus;
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored, UnknownMember, WorkerRetention,
};
use crate::model::retention::PRUNED;
use std::path::Path;

pub(crate) fn not_a_prefix(path: &Path, line: Option<u64>, found: impl Into<Found>) -> LayoutError {
    let Found { what, window } = found.into();
    LayoutError::NotAPrefix {
        difference: Box::new(Difference {
            path: path.to_owned(),
            line,
            what,
            window,
        }),
        has_pruned: false,
    }
}

/// Refuses a record that differs from that of the store.
pub(crate) fn go_along(place: Place<'_>, difference: Option<Found>) -> Result<(), LayoutError> {
    match difference {
        None => Ok(()),
        Some(found) => Err(not_a_prefix(place.path, place.line, found)),
    }
}

/// Removes the unknown members with the names of floors and pins. They have values that say nothing, and give way to the
/// members of the store once it has a floor or a pin.
pub(crate) fn without_retention<T>(mut stored: Stored<T>) -> Stored<T> {
    const NAMES: [&str; 5] = [
        "first_event_id",
        "pruned_workers",
        "deleted_workers",
        "first_position",
        "pinned",
    ];
    stored
        .unknown
        .retain(|member| !member.pointer.is_empty() || !NAMES.contains(&member.name.as_str()));
    stored
}

/// Refuses a worker document that is not an earlier state of the stored worker.
pub(crate) fn check_worker(
    path: &Path,
    mut worker: Stored<PersistedWorkerSnapshot>,
    stored: Stored<PersistedWorkerSnapshot>,
) -> Result<(), LayoutError> {
    let (old, new) = (&mut worker.value, &stored.value);
    if old.status == WorkerStatus::Running {
        old.status = new.status;
    }
    catch_up(
        path,
        "next_transcript_sequence",
        &mut old.next_transcript_sequence,
        new.next_transcript_sequence,
    )?;
    catch_up(
        path,
        "last_event_id",
        &mut old.last_event_id,
        new.last_event_id,
    )?;
    // A host can change these at any time.
    attributes::catch_up(&mut worker.unknown, &stored.unknown);
    let none = WorkerRetention::default();
    expect_same(
        path,
        &worker_json(path, worker, none)?,
        &worker_json(path, stored, none)?,
    )
}

/// Refuses a runtime document that is not an earlier state of the stored runtime.
pub(crate) fn check_runtime(
    path: &Path,
    mut runtime: Stored<PersistedRuntimeSnapshot>,
    stored: Stored<PersistedRuntimeSnapshot>,
) -> Result<(), LayoutError> {
    let (old, new) = (&mut runtime.value, &stored.value);
    if old.status == RuntimeStatus::Running {
        old.status = new.status;
    }
    catch_up(
        path,
        "next_worker_sequence",
        &mut old.next_worker_sequence,
        new.next_worker_sequence,
    )?;
    catch_up(
        path,
        "next_event_id",
        &mut old.next_event_id,
        new.next_event_id,
    )?;
    catch_up(
        path,
        "next_diagnostic_id",
        &mut old.next_diagnostic_id,
        new.next_diagnostic_id,
    )?;
    // An operator can change these at any time.
    old.display_name.clone_from(&new.display_name);
    old.limits = new.limits;
    take_prunes(&mut old.diagnostics, &new.diagnostics);
    let known = old.diagnostics.len();
    if let Some(added) = new.diagnostics.get(known..) {
        old.diagnostics.extend_from_slice(added);
        let is_added = |member: &&UnknownMember| diagnostic_index(member) >= Some(known);
        let added = stored.unknown.iter().filter(is_added).cloned();
        runtime.unknown.extend(added.collect::<Vec<_>>());
    }
    expect_same(
        path,
        &runtime_json(path, runtime, FIRST_EVENT_ID)?,
        &runtime_json(path, stored, FIRST_EVENT_ID)?,
    )
}

/// Takes the stored state of the records of prunes: each step of a prune adds to the record of its prune.
fn take_prunes(old: &mut [RuntimeDiagnostic], new: &[RuntimeDiagnostic]) {
    for diagnostic in old.iter_mut().filter(|old| old.code == PRUNED) {
        let stored = new.binary_search_by_key(&diagnostic.id, |stored| stored.id);
        if let Some(stored) = stored.ok().and_then(|index| new.get(index))
            && stored.code == PRUNED
        {
            diagnostic.clone_from(stored);
        }
    }
}

/// The diagnostic that an unknown member belongs to; `None` where it belongs to none.
fn diagnostic_index(member: &UnknownMember) -> Option<usize> {
    let rest = member.pointer.strip_prefix("/diagnostics/")?;
    rest.split('/').next()?.parse().ok()
}

fn catch_up(path: &Path, name: &str, old: &mut u64, new: u64) -> Result<(), LayoutError> {
    if *old > new {
        let what = format!("{name} is {old} in the directory and {new} in the store");
        return Err(not_a_prefix(path, None, what));
    }
    *old = new;
    Ok(())
}

fn expect_same(path: &Path, old: &[u8], new: &[u8]) -> Result<(), LayoutError> {
    match old == new {
        true => Ok(()),
        false => {
            let found = first_difference(DIRECTORY_AND_STORE, old, new);
            Err(not_a_prefix(path, None, found))
        }
    }
}
