//! The whole content of a store, to compare it with the expected content.

use crate::host_calls::{OpenHere, without_times};
use redb_runtime_store::Store;
use redb_runtime_store::catalog::WorkerStatus;
use redb_runtime_store::diagnostics::RuntimeDiagnostic;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::interaction::TranscriptEntry;
use redb_runtime_store::management::RuntimeSummary;
use redb_runtime_store::observation::RuntimeEvent;
use redb_runtime_store::store::{
    ImportRecord, PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Snapshot, Stored,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Everything about a runtime.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeState {
    /// Its own state.
    pub own: Stored<PersistedRuntimeSnapshot>,
    /// Its workers, by their ids.
    pub workers: BTreeMap<String, WorkerState>,
    /// Its log.
    pub events: Vec<Stored<RuntimeEvent>>,
    /// The floor of its log.
    pub first_event_id: u64,
    /// The import record, without its time, which differs in every run.
    pub import: Option<ImportRecord>,
    /// The open work of the model's opening.
    pub open_here: OpenHere,
}

/// Everything about a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerState {
    /// Its own state.
    pub own: Stored<PersistedWorkerSnapshot>,
    /// Its transcript.
    pub transcript: Vec<Stored<TranscriptEntry>>,
    /// The floor of its transcript.
    pub first_position: u64,
    /// Whether retention leaves it out.
    pub pinned: bool,
}

impl WorkerState {
    /// The position behind its last entry.
    pub(crate) fn end(&self) -> usize {
        self.first_position as usize + self.transcript.len()
    }
}

/// Everything in a store: its runtimes by their ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World(pub BTreeMap<String, Arc<RuntimeState>>);

/// The description of a broken guarantee.
#[derive(Debug)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names the action that failed.
pub trait Context<T> {
    /// Turns an error into a violation.
    fn or_violation(self, what: &str) -> Result<T, Violation>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn or_violation(self, what: &str) -> Result<T, Violation> {
        self.map_err(|error| Violation(format!("{what}: {error}")))
    }
}

impl World {
    /// Reads the whole content of `store` from one snapshot.
    ///
    /// # Errors
    ///
    /// The first error of a read.
    pub fn of(store: &Store) -> Result<Self, RuntimeError> {
        Self::at(&store.snapshot()?)
    }

    /// Reads everything that `snapshot` has.
    ///
    /// # Errors
    ///
    /// The first that a read gives.
    pub fn at(snapshot: &Snapshot) -> Result<Self, RuntimeError> {
        let mut world = BTreeMap::new();
        for id in snapshot.runtime_ids()? {
            // A listed runtime exists.
            if let Some(own) = snapshot.runtime(&id)? {
                let state = runtime_state(snapshot, own)?;
                world.insert(id.as_str().to_owned(), Arc::new(state));
            }
        }
        Ok(Self(world))
    }

    /// The same world without import records.
    #[must_use]
    pub fn without_imports(mut self) -> Self {
        for state in self.0.values_mut() {
            Arc::make_mut(state).import = None;
        }
        self
    }

    /// The first difference between this world and the expected one.
    pub fn difference(&self, expected: &Self) -> Option<String> {
        for id in self.0.keys().chain(expected.0.keys()) {
            match (self.0.get(id), expected.0.get(id)) {
                (Some(found), Some(wanted)) => {
                    if let Some(difference) = found.difference(wanted) {
                        return Some(format!("runtime {id}: {difference}"));
                    }
                }
                (Some(_), None) => return Some(format!("runtime {id} should not be there")),
                (None, _) => return Some(format!("runtime {id} is missing")),
            }
        }
        None
    }
}

/// Leaves the bytes out of the records of prunes: the model does not know how rows are stored.
pub fn without_bytes(diagnostics: &mut [RuntimeDiagnostic]) {
    for record in diagnostics
        .iter_mut()
        .filter(|one| one.code == "runtime.pruned")
    {
        if let Some((rows, _)) = record.message.rsplit_once(": ") {
            record.message = rows.to_owned();
        }
    }
}

fn runtime_state(
    snapshot: &Snapshot,
    mut own: Stored<PersistedRuntimeSnapshot>,
) -> Result<RuntimeState, RuntimeError> {
    without_bytes(&mut own.value.diagnostics);
    let id = own.value.runtime_id.clone();
    let mut workers = BTreeMap::new();
    for worker in snapshot.workers(&id)? {
        let mut own = worker?;
        without_times(&mut own);
        let worker_ref = &own.value.worker_ref;
        let name = worker_ref.worker_id.as_str().to_owned();
        let mut transcript: Vec<_> = snapshot
            .transcript(worker_ref, 0)?
            .collect::<Result<_, _>>()?;
        transcript.iter_mut().for_each(without_times);
        let first_position = snapshot.first_position(worker_ref)?;
        let pinned = snapshot.is_pinned(worker_ref)?;
        let worker = WorkerState {
            own,
            transcript,
            first_position,
            pinned,
        };
        workers.insert(name, worker);
    }
    let events = snapshot.events(&id, 0)?.collect::<Result<_, _>>()?;
    let mut import = snapshot.import_record(&id)?;
    if let Some(import) = &mut import {
        import.imported_at_s = 0;
    }
    let first_event_id = snapshot.first_event_id(&id)?;
    Ok(RuntimeState {
        own,
        workers,
        events,
        first_event_id,
        import,
        open_here: OpenHere::default(),
    })
}

impl RuntimeState {
    fn difference(&self, expected: &Self) -> Option<String> {
        if self == expected {
            return None;
        }
        if self.own != expected.own {
            let (found, wanted) = (&self.own, &expected.own);
            return Some(format!("state is {found:?}\n  should be {wanted:?}"));
        }
        if self.import != expected.import {
            let (found, wanted) = (&self.import, &expected.import);
            return Some(format!("imported as {found:?}\n  should be {wanted:?}"));
        }
        if self.first_event_id != expected.first_event_id {
            let (found, wanted) = (self.first_event_id, expected.first_event_id);
            return Some(format!("the first event is {found}, should be {wanted}"));
        }
        if self.events != expected.events {
            return Some(first_difference("event", &self.events, &expected.events));
        }
        for (id, wanted) in &expected.workers {
            match self.workers.get(id) {
                None => return Some(format!("worker {id} is missing")),
                Some(found) if found.own != wanted.own => {
                    let (found, wanted) = (&found.own, &wanted.own);
                    return Some(format!("worker {id} is {found:?}\n  should be {wanted:?}"));
                }
                Some(found) if found.first_position != wanted.first_position => {
                    let (found, wanted) = (found.first_position, wanted.first_position);
                    return Some(format!("worker {id} begins at {found}, should at {wanted}"));
                }
                Some(found) if found.pinned != wanted.pinned => {
                    return Some(format!("worker {id} is pinned: {}", found.pinned));
                }
                Some(found) if found.transcript != wanted.transcript => {
                    let what = format!("worker {id}: entry");
                    return Some(first_difference(
                        &what,
                        &found.transcript,
                        &wanted.transcript,
                    ));
                }
                Some(_) => {}
            }
        }
        Some("there are workers that should not be there".to_owned())
    }

    fn count(&self, status: WorkerStatus) -> usize {
        let all = self.workers.values();
        all.filter(|worker| worker.own.value.status == status)
            .count()
    }
}

fn first_difference<T: PartialEq + fmt::Debug>(what: &str, found: &[T], wanted: &[T]) -> String {
    let same = found.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    format!(
        "{} {what}s, should be {}; number {same} is {:?}\n  should be {:?}",
        found.len(),
        wanted.len(),
        found.get(same),
        wanted.get(same)
    )
}

/// Checks the rules across the rows of a store that contains `world`: by `verify`, and by comparing the
/// stored counts with the rows.
///
/// # Errors
///
/// The first broken rule.
pub fn check_rules(store: &Store, world: &World) -> Result<(), Violation> {
    let report = store.verify().or_violation("verifying")?;
    if !report.is_clean() {
        return Err(Violation(format!("verify finds {report:?}")));
    }
    let summaries = store.runtimes().or_violation("listing the runtimes")?;
    if summaries.len() != world.0.len() {
        return Err(Violation(format!(
            "{} runtimes are listed",
            summaries.len()
        )));
    }
    for summary in summaries {
        let id = summary.runtime_id.as_str();
        let Some(state) = world.0.get(id) else {
            return Err(Violation(format!("runtime {id} is listed, but not there")));
        };
        check_runtime(state, &summary)
            .map_err(|what| Violation(format!("runtime {id}: {what}")))?;
    }
    Ok(())
}

fn check_runtime(state: &RuntimeState, summary: &RuntimeSummary) -> Result<(), String> {
    let own = &state.own.value;
    let counts = [
        ("workers", summary.worker_count, state.workers.len()),
        (
            "active",
            summary.active_worker_count,
            state.count(WorkerStatus::Running),
        ),
        (
            "stopped",
            summary.stopped_worker_count,
            state.count(WorkerStatus::Stopped),
        ),
        (
            "cancelled",
            summary.cancelled_worker_count,
            state.count(WorkerStatus::Cancelled),
        ),
        (
            "diagnostics",
            summary.diagnostic_count,
            own.diagnostics.len(),
        ),
    ];
    for (what, counted, there) in counts {
        if counted != there {
            return Err(format!("{counted} {what} are counted, {there} are there"));
        }
    }
    let ids: Vec<u64> = state.events.iter().map(|event| event.value.id).collect();
    increasing("event ids", &ids, own.next_event_id)?;
    let ids: Vec<u64> = own.diagnostics.iter().map(|one| one.id).collect();
    increasing("diagnostic ids", &ids, own.next_diagnostic_id)?;
    for (id, worker) in &state.workers {
        let entries = worker.transcript.iter();
        let sequences: Vec<u64> = entries.map(|entry| entry.value.sequence).collect();
        let next = worker.own.value.next_transcript_sequence;
        increasing(&format!("sequences of {id}"), &sequences, next)?;
        if worker.own.value.last_event_id >= own.next_event_id {
            return Err(format!("{id} names an event that is still to come"));
        }
    }
    Ok(())
}

fn increasing(what: &str, ids: &[u64], next: u64) -> Result<(), String> {
    let in_order = ids.windows(2).all(|pair| pair[0] < pair[1]);
    if !in_order || ids.last().is_some_and(|last| *last >= next) {
        return Err(format!("{what} are not increasing, or not below {next}"));
    }
    Ok(())
}
