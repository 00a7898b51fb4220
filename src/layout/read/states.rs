//! Derives what the documents of a later form lack from the event log.

use crate::layout::dir::source::SourceDir;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::read::checks::event_belongs;
use crate::layout::read::log::{Checks, LogSummary, Owner};
use crate::layout::read::reader::Reader;
use crate::layout::read::sink::{DiscardSink, ReadStop};
use crate::layout::read::worker_states::WorkerStates;
use crate::model::identity::RuntimeId;
use crate::model::layout_form::{AbsentMember, DocumentOrigin};
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::PersistedWorkerSnapshot;
use serde::Serialize;

impl Reader<'_> {
    /// Gives a worker the status and the last event id that its document lacks. Reads the event log once for all workers
    /// of a runtime, and only if a document lacks one of them.
    pub(crate) fn derive_state(
        &mut self,
        runtime_dir: &SourceDir,
        origin: &DocumentOrigin,
        worker: &mut PersistedWorkerSnapshot,
    ) -> Result<(), ReadStop> {
        let lacks_status = origin.lacks("/status");
        let lacks_event = origin.lacks("/last_event_id");
        if !lacks_status && !lacks_event {
            return Ok(());
        }
        let worker_ref = &worker.worker_ref;
        let states = self.states(runtime_dir, &worker_ref.runtime_id)?;
        let (status, last_event_id) = states.of(&worker_ref.worker_id);
        if lacks_status {
            worker.status = status;
        }
        if lacks_event {
            worker.last_event_id = last_event_id;
        }
        Ok(())
    }

    /// The states of all workers by the events that the reading takes, in their order. Reads the event log once.
    pub(crate) fn states(
        &mut self,
        runtime_dir: &SourceDir,
        id: &RuntimeId,
    ) -> Result<&WorkerStates, ReadStop> {
        let states = match self.states.take() {
            Some(states) => states,
            None => self.read_states(runtime_dir, id)?,
        };
        Ok(self.states.insert(states))
    }

    fn read_states(&mut self, dir: &SourceDir, id: &RuntimeId) -> Result<WorkerStates, ReadStop> {
        let mut states = WorkerStates::default();
        let mut discard = DiscardSink;
        let mut reader = Reader::new(dir.path().to_owned(), self.rules, &mut discard, &|_| {});
        let owner = Owner {
            runtime: id.as_str(),
            worker: None,
            can_be_missing: true,
            next: self.next_event_id,
        };
        let mut checks = Checks::<RuntimeEvent> {
            belongs: &|event| event_belongs(event, id),
            note: &mut |event, _| states.note(event),
        };
        // Its findings are those of the reading that follows.
        match reader.read_log(dir, &owner, LogSummary::default(), &mut checks) {
            Ok(_) | Err(ReadStop::Refused) => Ok(states),
            Err(failed) => Err(failed),
        }
    }
}

/// The finding about a runtime of a form without logs.
pub(crate) fn no_history(dir: &SourceDir) -> Finding {
    let message = "releases from 1 August 2026 on wrote no events and no transcripts here; the workers are imported \
                   without them, their status and counters as far as the directory has them";
    Finding::new(FindingKind::NoHistory, dir.path().to_owned(), message)
}

/// Whether a document lacks a member of its outermost object.
pub(crate) fn lacks(absent: &[AbsentMember], member: &str) -> bool {
    let is_it = |absent: &AbsentMember| absent.pointer.strip_prefix('/') == Some(member);
    absent.iter().any(is_it)
}

/// Sets the value of an absent member that the import derived.
pub(crate) fn settle(absent: &mut [AbsentMember], pointer: &str, value: &impl Serialize) {
    if let Some(member) = absent.iter_mut().find(|member| member.pointer == pointer)
        && let Ok(json) = serde_json::to_string(value)
    {
        member.json = json;
    }
}
