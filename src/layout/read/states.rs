//! Derives what the documents of a later form lack from the event log.

use crate::layout::dir::source::{NotOpened, SourceDir};
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::line::read_line;
use crate::layout::format::lines::LineReader;
use crate::layout::read::log_record::{LogRecord, LogRow};
use crate::layout::read::reader::Reader;
use crate::layout::read::sink::ReadStop;
use crate::layout::read::worker_states::WorkerStates;
use crate::model::identity::RuntimeId;
use crate::model::layout_form::{AbsentMember, DocumentOrigin};
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::PersistedWorkerSnapshot;
use serde::Serialize;
use std::io::BufReader;

impl Reader<'_> {
    /// Gives a worker the status and the last event id that its document lacks. Reads the event log once for all workers
    /// of a runtime, and only if a document lacks one of them.
    pub(crate) fn derive_state(
        &mut self,
        runtime_dir: &SourceDir,
        origin: &DocumentOrigin,
        worker: &mut PersistedWorkerSnapshot,
    ) -> Result<(), ReadStop> {
        let lacks = |pointer: &str| origin.absent.iter().any(|one| one.pointer == pointer);
        let (status, last_event_id) = (lacks("/status"), lacks("/last_event_id"));
        if !status && !last_event_id {
            return Ok(());
        }
        let id = &worker.worker_ref.runtime_id;
        let states = match self.states.take() {
            Some(states) => states,
            None if self.rules.mends() => self.states_in_order(runtime_dir, id)?,
            None => self.worker_states(runtime_dir, id)?,
        };
        let derived = states.of(&worker.worker_ref.worker_id);
        if status {
            worker.status = derived.0;
        }
        if last_event_id {
            worker.last_event_id = derived.1;
        }
        self.states = Some(states);
        Ok(())
    }

    /// The states of all workers by the event log. Lines that are no events count as absent: the reading that imports
    /// the log reports them.
    fn worker_states(
        &mut self,
        dir: &SourceDir,
        runtime: &RuntimeId,
    ) -> Result<WorkerStates, ReadStop> {
        let mut states = WorkerStates::default();
        let file = match dir.open_file(RuntimeEvent::FILE) {
            Ok(file) => file,
            Err(NotOpened::Io(source)) => {
                self.refused("open", dir.path_of(RuntimeEvent::FILE), source)?;
                return Ok(states);
            }
            Err(_) => return Ok(states),
        };
        let mut lines = LineReader::new(BufReader::new(file), self.rules.max_line_bytes);
        loop {
            let line = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(states),
                Err(error) => {
                    self.refused("read", dir.path_of(RuntimeEvent::FILE), error)?;
                    return Ok(states);
                }
            };
            let text = std::str::from_utf8(line.bytes).unwrap_or_default();
            match RuntimeEvent::known(text, runtime.as_str()) {
                Some(event) if event.number() < u64::MAX => states.note(&event),
                Some(_) => {}
                None => {
                    let read =
                        read_line::<RuntimeEvent>(line.bytes, runtime.as_str(), &mut self.scratch);
                    if let Ok((event, _)) = read
                        && event.value.id < u64::MAX
                    {
                        states.note(&event.into());
                    }
                }
            }
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
