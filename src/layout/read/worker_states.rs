//! The states of workers as the event log has them.

use crate::model::borrowed::BorrowedEvent;
use crate::model::catalog::WorkerStatus;
use crate::model::identity::WorkerId;
use crate::model::observation::RuntimeEventKind;
use std::collections::HashMap;

/// The sequence from which a worker id was generated.
pub(crate) fn generated_sequence(id: impl AsRef<str>) -> Option<u64> {
    let id = id.as_ref();
    let hex = id.strip_prefix("worker-")?;
    let sequence = u64::from_str_radix(hex, 16).ok()?;
    let is_generated = WorkerId::generated(sequence).as_str() == id && sequence < u64::MAX;
    is_generated.then_some(sequence)
}

/// The states of the workers of a runtime, for documents that do not have them.
#[derive(Debug, Default)]
pub(crate) struct WorkerStates {
    workers: HashMap<Box<str>, (WorkerStatus, u64)>,
    is_runtime_stopped: bool,
}

impl WorkerStates {
    /// Adds the next event of the log.
    pub(crate) fn note(&mut self, event: &BorrowedEvent<'_>) {
        let status = match event.kind {
            RuntimeEventKind::RuntimeStopped => {
                self.is_runtime_stopped = true;
                return;
            }
            RuntimeEventKind::WorkerStopped | RuntimeEventKind::WorkerDeleted => {
                Some(WorkerStatus::Stopped)
            }
            RuntimeEventKind::WorkerCancelled => Some(WorkerStatus::Cancelled),
            _ => None,
        };
        let Some(worker) = &event.worker_ref else {
            return;
        };
        let none = (WorkerStatus::Running, 0);
        let state = self
            .workers
            .entry((&*worker.worker_id).into())
            .or_insert(none);
        *state = (status.unwrap_or(state.0), event.id);
    }

    /// Whether an event stopped the runtime.
    pub(crate) fn is_runtime_stopped(&self) -> bool {
        self.is_runtime_stopped
    }

    /// The sequence after those of all ids that the events name, from 1.
    pub(crate) fn next_sequence(&self) -> u64 {
        let sequences = self.workers.keys().filter_map(generated_sequence);
        sequences.max().map_or(1, |last| last + 1)
    }

    /// The status of a worker by its last stop, cancel or delete event, and the id of its last event; 0 for none.
    pub(crate) fn of(&self, worker: &WorkerId) -> (WorkerStatus, u64) {
        let none = (WorkerStatus::Running, 0);
        let (status, last) = *self.workers.get(worker.as_str()).unwrap_or(&none);
        match self.is_runtime_stopped && status == WorkerStatus::Running {
            true => (WorkerStatus::Stopped, last),
            false => (status, last),
        }
    }
}
