//! The workers that a report shows: all of a small store, of a large one those with the latest events.

use crate::arguments::select::worker_of;
use crate::output::failure::Failure;
use redb_runtime_store::RuntimeError;
use redb_runtime_store::catalog::WorkerStatus;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::store::Snapshot;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

/// The most runtimes that are shown, unless all workers are.
pub(crate) const MOST_RUNTIMES: usize = 50;

/// The most workers of a timeline, of the table and with a transcript, in all runtimes together.
const MOST_LANES: usize = 80;
const MOST_ROWS: usize = 1000;
const MOST_TRANSCRIPTS: usize = 50;

/// The fewest of each in one runtime: the others share the limits.
const FEWEST: usize = 2;

/// The bytes of all transcripts together, and the least for one.
const TRANSCRIPT_BYTES: usize = 3 << 20;
const LEAST_TRANSCRIPT_BYTES: usize = 32 << 10;

/// The workers that the user asked for.
pub(crate) struct Asked {
    /// The workers to list and to show; `None` for all.
    pub(crate) named: Option<BTreeSet<WorkerRef>>,
    /// Whether whole transcripts are shown, of all workers.
    pub(crate) all: bool,
}

impl Asked {
    /// Finds each of `texts` in the runtimes of a store.
    pub(crate) fn find(
        snapshot: &Snapshot,
        runtimes: &[RuntimeId],
        texts: &[WorkerId],
        all: bool,
    ) -> Result<Self, Failure> {
        let mut named = BTreeSet::new();
        for text in texts {
            named.insert(find(snapshot, runtimes, text)?);
        }
        Ok(Self {
            named: (!texts.is_empty()).then_some(named),
            all,
        })
    }

    fn names(&self, worker: &WorkerRef) -> Option<bool> {
        self.named.as_ref().map(|named| named.contains(worker))
    }
}

/// The worker for a text, in the only runtime that has one for it.
fn find(
    snapshot: &Snapshot,
    runtimes: &[RuntimeId],
    text: &WorkerId,
) -> Result<WorkerRef, Failure> {
    let mut found = Vec::new();
    for runtime in runtimes {
        let worker = worker_of(snapshot, runtime, text)?;
        if snapshot.worker(&worker)?.is_some() {
            found.push(worker);
        }
    }
    match (found.len(), runtimes.first()) {
        (0, Some(runtime)) if runtimes.len() == 1 => {
            Err(Failure::Store(RuntimeError::WorkerNotFound {
                runtime_id: runtime.clone(),
                worker_id: text.clone(),
            }))
        }
        (0, _) => Err(Failure::WrongUse(format!("no runtime has a worker {text}"))),
        (1, _) => Ok(found.swap_remove(0)),
        (several, _) => Err(Failure::WrongUse(format!(
            "{several} runtimes have a worker {text}; name one of them with --runtime"
        ))),
    }
}

/// The parts of a report in which a worker appears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) timeline: bool,
    pub(crate) table: bool,
    pub(crate) transcript: bool,
}

/// The workers of one runtime that a report shows.
#[derive(Default)]
pub(crate) struct Choice {
    parts: HashMap<WorkerId, Parts>,
    /// The parts of the workers that `parts` does not have.
    others: Parts,
    pub(crate) transcripts: usize,
    pub(crate) workers: u64,
    pub(crate) running: u64,
    pub(crate) cancelled: u64,
}

impl Choice {
    /// Chooses workers of `runtime`, which shares the limits with `sharing` runtimes.
    pub(crate) fn of(
        snapshot: &Snapshot,
        runtime: &RuntimeId,
        asked: &Asked,
        sharing: usize,
    ) -> Result<Self, Failure> {
        let share = |most: usize| (most / sharing.max(1)).max(FEWEST);
        let mut choice = Self::default();
        let mut latest = Latest::new(share(MOST_ROWS).max(share(MOST_LANES)));
        for worker in snapshot.workers(runtime)? {
            let worker = worker?.value;
            choice.count(worker.status);
            latest.add(worker.last_event_id, worker.worker_ref);
        }
        let is_all = asked.all && asked.named.is_none();
        choice.others.table = is_all;
        choice.others.transcript = is_all;
        for (rank, worker) in latest.into_sorted().into_iter().enumerate() {
            let is_named = asked.names(&worker);
            let parts = Parts {
                timeline: rank < share(MOST_LANES),
                table: is_named.unwrap_or(is_all || rank < share(MOST_ROWS)),
                transcript: is_named.unwrap_or(is_all || rank < share(MOST_TRANSCRIPTS)),
            };
            choice.parts.insert(worker.worker_id, parts);
        }
        let named = asked.named.iter().flatten();
        for worker in named.filter(|worker| worker.runtime_id == *runtime) {
            let parts = choice.parts.entry(worker.worker_id.clone()).or_default();
            (parts.table, parts.transcript) = (true, true);
        }
        let with_transcript = choice.parts.values().filter(|parts| parts.transcript);
        choice.transcripts = with_transcript.count();
        Ok(choice)
    }

    /// Shows none of the workers of `runtime`, and counts them.
    pub(crate) fn none(snapshot: &Snapshot, runtime: &RuntimeId) -> Result<Self, Failure> {
        let mut choice = Self::default();
        for worker in snapshot.workers(runtime)? {
            choice.count(worker?.value.status);
        }
        Ok(choice)
    }

    fn count(&mut self, status: WorkerStatus) {
        self.workers += 1;
        match status {
            WorkerStatus::Running => self.running += 1,
            WorkerStatus::Stopped => {}
            WorkerStatus::Cancelled => self.cancelled += 1,
        }
    }

    /// The workers of the timeline.
    pub(crate) fn in_timeline(&self) -> impl Iterator<Item = &WorkerId> {
        let chosen = self.parts.iter().filter(|(_, parts)| parts.timeline);
        chosen.map(|(worker, _)| worker)
    }

    pub(crate) fn parts(&self, worker: &WorkerId) -> Parts {
        self.parts.get(worker).copied().unwrap_or(self.others)
    }
}

/// The bytes of each of `transcripts` transcripts.
pub(crate) fn bytes_of_each(transcripts: usize) -> usize {
    (TRANSCRIPT_BYTES / transcripts.max(1)).max(LEAST_TRANSCRIPT_BYTES)
}

/// The workers with the latest events, of those that were added.
struct Latest {
    most: usize,
    heap: BinaryHeap<Reverse<(u64, Reverse<WorkerRef>)>>,
}

impl Latest {
    fn new(most: usize) -> Self {
        Self {
            most,
            heap: BinaryHeap::new(),
        }
    }

    fn add(&mut self, last_event_id: u64, worker: WorkerRef) {
        self.heap.push(Reverse((last_event_id, Reverse(worker))));
        if self.heap.len() > self.most {
            self.heap.pop();
        }
    }

    /// The worker with the latest event first; of several with the same event, the one with the least id.
    fn into_sorted(self) -> Vec<WorkerRef> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted.map(|Reverse((_, Reverse(worker)))| worker).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Latest;
    use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};

    #[test]
    fn workers_with_latest_events_come_first() {
        let runtime: RuntimeId = "r".parse().unwrap();
        let mut latest = Latest::new(3);
        for (event, id) in [(1, "a"), (9, "b"), (2, "c"), (9, "d"), (4, "e")] {
            let id: WorkerId = id.parse().unwrap();
            latest.add(event, WorkerRef::new(runtime.clone(), id));
        }
        let sorted: Vec<_> = latest.into_sorted();
        let ids: Vec<&str> = sorted
            .iter()
            .map(|worker| worker.worker_id.as_str())
            .collect();
        assert_eq!(ids, ["b", "d", "e"]);
    }
}
