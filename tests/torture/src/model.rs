//! The reference model: the rules of a runtime a second time, in memory and as plainly as possible.
//!
//! The simulators of faults compare a store with the [`World`] that the model computes. The suite runs
//! random operations against both and compares every acknowledgement and every refusal too.

use crate::host_calls::{self, OpenHere};
use crate::rng::Rng;
use crate::world::{RuntimeState, WorkerState, World};
use redb_runtime_store::Runtime;
use redb_runtime_store::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, ProfileSelector, WorkerIntent,
    WorkerStatus, WorkspaceRef,
};
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptEntry, TranscriptRole, WorkerInput};
use redb_runtime_store::management::RuntimeStatus;
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::store::{PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One call on a runtime.
#[derive(Clone, Debug)]
pub enum Call {
    /// `create_worker`.
    Create(CreateWorkerRequest),
    /// `send_input`.
    Input(WorkerRef, WorkerInput),
    /// `append_reply`.
    Reply(WorkerRef, String),
    /// `stop_worker`, or `cancel_worker` where the status says so.
    End(WorkerRef, WorkerStatus, Option<String>),
    /// `delete_worker`.
    Delete(WorkerRef),
    /// `prune`: so many events, and entries of each worker, stay.
    Prune(u64, u64),
    /// `set_pinned`.
    Pin(WorkerRef, bool),
    /// `stop_runtime`.
    StopRuntime,
    /// `set_attributes`: the patch, as JSON.
    SetAttributes(WorkerRef, String),
    /// `send_input_once`: the key and the input.
    InputOnce(WorkerRef, String, WorkerInput),
    /// `open_work`: its name.
    OpenWork(WorkerRef, String),
    /// `close_work`: its name.
    CloseWork(WorkerRef, String),
    /// `fork_worker`.
    Fork(WorkerRef, Option<u64>),
    /// `redact_entry`: the position and the replacement.
    Redact(WorkerRef, u64, String),
}

/// The answer to an accepted [`Call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The status of the worker after the call; `Stopped` for [`Call::StopRuntime`].
    pub status: WorkerStatus,
    /// The sequence of the new transcript entry; 0 if the call adds none.
    pub sequence: u64,
    /// The id of the call's event. A call that changes nothing returns the last event of its worker or
    /// runtime.
    pub event_id: u64,
}

impl Ack {
    /// The acknowledgement of a deletion, which names no event.
    pub const DELETED: Self = Self {
        status: WorkerStatus::Stopped,
        sequence: 0,
        event_id: 0,
    };

    /// The answer to a call that has none.
    pub(crate) fn of_maintenance() -> Self {
        Self {
            status: WorkerStatus::Stopped,
            sequence: 0,
            event_id: 0,
        }
    }
}

/// The rule that rejects a [`Call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The worker belongs to another runtime.
    WrongRuntime,
    /// The runtime is stopped.
    RuntimeStopped,
    /// The runtime has no such worker.
    WorkerNotFound,
    /// A required text is blank, or the worker is not running.
    InvalidRequest,
    /// The key was sent with another input.
    KeyReused,
}

impl Refusal {
    /// The rule that `error` states; `None` for errors of the file or the disk.
    pub fn of(error: &RuntimeError) -> Option<Self> {
        match error {
            RuntimeError::WrongRuntime { .. } => Some(Self::WrongRuntime),
            RuntimeError::RuntimeStopped { .. } => Some(Self::RuntimeStopped),
            RuntimeError::WorkerNotFound { .. } => Some(Self::WorkerNotFound),
            RuntimeError::InvalidRequest(_) => Some(Self::InvalidRequest),
            RuntimeError::KeyReused { .. } => Some(Self::KeyReused),
            _ => None,
        }
    }
}

impl Call {
    /// A prune in one commit, so that the call is there or not.
    pub(crate) fn prune(events: u64, entries: u64) -> (Retention, PruneOptions) {
        let policy = Retention::new().keep_events(events).keep_entries(entries);
        (policy, PruneOptions::new().step_bytes(u64::MAX))
    }

    /// Makes the call on `runtime`, as an operation of its own.
    ///
    /// # Errors
    ///
    /// As the method of [`Runtime`].
    pub fn make(&self, runtime: &Runtime) -> Result<Ack, RuntimeError> {
        if let Some(made) = host_calls::make(self, runtime) {
            return made;
        }
        match self.clone() {
            Self::Create(request) => runtime.create_worker(request).map(|detail| Ack {
                status: detail.status,
                sequence: 0,
                event_id: detail.last_event_id,
            }),
            Self::Input(worker, input) => runtime.send_input(&worker, input).map(|ack| Ack {
                status: ack.status,
                sequence: ack.transcript_sequence,
                event_id: ack.event_id,
            }),
            Self::Reply(worker, content) => runtime.append_reply(&worker, content).map(|ack| Ack {
                status: ack.status,
                sequence: ack.transcript_sequence,
                event_id: ack.event_id,
            }),
            Self::End(worker, status, reason) => {
                let ack = match status {
                    WorkerStatus::Cancelled => runtime.cancel_worker(&worker, reason),
                    _ => runtime.stop_worker(&worker, reason),
                };
                ack.map(|ack| Ack {
                    status: ack.status,
                    sequence: 0,
                    event_id: ack.event_id,
                })
            }
            Self::Delete(worker) => {
                let result = runtime.delete_worker(&worker)?;
                assert!(result.deleted && result.worker_id == worker.worker_id);
                Ok(Ack::DELETED)
            }
            Self::Prune(events, entries) => {
                let (policy, options) = Self::prune(events, entries);
                runtime.prune(&policy, options)?;
                Ok(Ack::of_maintenance())
            }
            Self::Pin(worker, pinned) => {
                runtime.set_pinned(&worker, pinned)?;
                Ok(Ack::of_maintenance())
            }
            Self::StopRuntime => runtime.stop_runtime().map(|event_id| Ack {
                status: WorkerStatus::Stopped,
                sequence: 0,
                event_id,
            }),
            Self::SetAttributes(..)
            | Self::InputOnce(..)
            | Self::OpenWork(..)
            | Self::CloseWork(..)
            | Self::Fork(..)
            | Self::Redact(..) => unreachable!("made above"),
        }
    }
}

/// The id `id`.
///
/// # Panics
///
/// Where it is blank.
pub fn runtime_id(id: &str) -> RuntimeId {
    RuntimeId::new(id).expect("an id of the workload is not blank")
}

/// The state of a runtime that was just created.
pub fn new_runtime(id: &str) -> RuntimeState {
    let own = PersistedRuntimeSnapshot::new(runtime_id(id));
    let mut state = RuntimeState {
        own: own.into(),
        workers: BTreeMap::new(),
        events: Vec::new(),
        first_event_id: 1,
        import: None,
        open_here: OpenHere::default(),
    };
    state.log(None, RuntimeEventKind::RuntimeStarted, "runtime started");
    state
}

impl World {
    /// Makes `call` on the runtime `id`, which the world has.
    ///
    /// # Errors
    ///
    /// The rule that rejects the call, which then changed nothing.
    ///
    /// # Panics
    ///
    /// If the world has no runtime `id`.
    pub fn call(&mut self, id: &str, call: &Call) -> Result<Ack, Refusal> {
        let state = self.0.get_mut(id).expect("a runtime of the workload");
        Arc::make_mut(state).call(call)
    }

    /// Closes the store and opens it again: open work is that of an earlier opening.
    pub fn reopen(&mut self) {
        for state in self.0.values_mut() {
            Arc::make_mut(state).open_here = OpenHere::default();
        }
    }
}

impl RuntimeState {
    pub(crate) fn log(
        &mut self,
        worker: Option<&WorkerRef>,
        kind: RuntimeEventKind,
        message: &str,
    ) -> u64 {
        let own = &mut self.own.value;
        let id = own.next_event_id;
        own.next_event_id += 1;
        let event = RuntimeEvent {
            id,
            worker_ref: worker.cloned(),
            kind,
            message: message.to_owned(),
        };
        self.events.push(event.into());
        id
    }

    /// Makes `call` on this runtime.
    ///
    /// # Errors
    ///
    /// The rule that rejects the call, which then changed nothing.
    pub fn call(&mut self, call: &Call) -> Result<Ack, Refusal> {
        if let Some(called) = self.host_call(call) {
            return called;
        }
        match call {
            Call::Create(request) => self.create(request),
            Call::Input(worker, input) => self.input(worker, input),
            Call::Reply(worker, content) => self.reply(worker, content),
            Call::End(worker, status, reason) => self.end(worker, *status, reason.as_deref()),
            Call::Delete(worker) => self.delete(worker),
            Call::Prune(events, entries) => Ok(self.prune(*events, *entries)),
            Call::Pin(worker, pinned) => self.pin(worker, *pinned),
            Call::StopRuntime => Ok(self.stop()),
            _ => unreachable!("called above"),
        }
    }

    pub(crate) fn refuse_stopped(&self) -> Result<(), Refusal> {
        match self.own.value.status {
            RuntimeStatus::Running => Ok(()),
            RuntimeStatus::Stopped => Err(Refusal::RuntimeStopped),
        }
    }

    pub(crate) fn refuse_foreign(&self, worker: &WorkerRef) -> Result<(), Refusal> {
        match worker.runtime_id == self.own.value.runtime_id {
            true => Ok(()),
            false => Err(Refusal::WrongRuntime),
        }
    }

    fn worker(&self, worker: &WorkerRef) -> Result<&PersistedWorkerSnapshot, Refusal> {
        let worker = self.workers.get(worker.worker_id.as_str());
        let worker = worker.ok_or(Refusal::WorkerNotFound)?;
        Ok(&worker.own.value)
    }

    fn stop(&mut self) -> Ack {
        let ack = |event_id| Ack {
            status: WorkerStatus::Stopped,
            sequence: 0,
            event_id,
        };
        if self.own.value.status == RuntimeStatus::Stopped {
            return ack(self.own.value.next_event_id - 1);
        }
        for worker in self.workers.values_mut() {
            let status = &mut worker.own.value.status;
            if status.is_active() {
                *status = WorkerStatus::Stopped;
            }
        }
        self.own.value.status = RuntimeStatus::Stopped;
        let message = format!("runtime {} stopped", self.own.value.runtime_id);
        ack(self.log(None, RuntimeEventKind::RuntimeStopped, &message))
    }

    fn create(&mut self, request: &CreateWorkerRequest) -> Result<Ack, Refusal> {
        self.refuse_stopped()?;
        if has_blank_text(request) {
            return Err(Refusal::InvalidRequest);
        }
        let worker_ref = self.next_worker();
        let name = worker_ref.worker_id.to_string();
        let message = format!("worker {name} created");
        let event_id = self.log(Some(&worker_ref), RuntimeEventKind::WorkerCreated, &message);
        if request.config_bundle.is_none() {
            let message =
                "worker created without ConfigBundleRef; runtime-local defaults are assumed";
            self.note(&worker_ref, "runtime.local_default_resources", message);
        }
        if request.requested_capabilities.is_empty() {
            let message = "worker created without requested tool capabilities";
            self.note(&worker_ref, "worker.tools_less", message);
        }
        let own = PersistedWorkerSnapshot::new(worker_ref, request.clone(), event_id);
        let worker = WorkerState {
            own: own.into(),
            transcript: Vec::new(),
            first_position: 0,
            pinned: false,
        };
        self.workers.insert(name, worker);
        Ok(Ack {
            status: WorkerStatus::Running,
            sequence: 0,
            event_id,
        })
    }

    /// The id of a new worker.
    pub(crate) fn next_worker(&mut self) -> WorkerRef {
        let name = loop {
            let sequence = self.own.value.next_worker_sequence;
            self.own.value.next_worker_sequence += 1;
            let name = format!("worker-{sequence:08x}");
            if !self.workers.contains_key(&name) && !self.has_deleted(&name) {
                break name;
            }
        };
        let worker_id = WorkerId::new(name).expect("a generated id is not blank");
        WorkerRef::new(self.own.value.runtime_id.clone(), worker_id)
    }

    /// Whether a worker with this id was deleted: the log says so until it is pruned. By then the counter of ids is past it.
    fn has_deleted(&self, name: &str) -> bool {
        self.events.iter().any(|event| {
            let worker = event.value.worker_ref.as_ref();
            event.value.kind == RuntimeEventKind::WorkerDeleted
                && worker.is_some_and(|worker| worker.worker_id.as_str() == name)
        })
    }

    /// A deletion is accepted by a stopped runtime, too.
    fn delete(&mut self, worker_ref: &WorkerRef) -> Result<Ack, Refusal> {
        self.refuse_foreign(worker_ref)?;
        if self.worker(worker_ref)?.status.is_active() {
            return Err(Refusal::InvalidRequest);
        }
        let id = worker_ref.worker_id.as_str();
        self.workers.remove(id);
        self.open_here.0.retain(|(worker, _)| worker != id);
        let diagnostics = &mut self.own.value.diagnostics;
        diagnostics.retain(|diagnostic| diagnostic.worker_ref.as_ref() != Some(worker_ref));
        let kind = RuntimeEventKind::WorkerDeleted;
        self.log(Some(worker_ref), kind, "worker deleted");
        Ok(Ack::DELETED)
    }

    fn prune(&mut self, keep_events: u64, keep_entries: u64) -> Ack {
        let surplus = |rows: usize, keep: u64| rows.saturating_sub(keep as usize);
        let mut removed = Vec::new();
        let events = surplus(self.events.len(), keep_events);
        let events: Vec<_> = self.events.drain(..events).collect();
        if let Some(last) = events.last() {
            let (first, last) = (self.first_event_id, last.value.id);
            removed.push(format!("{} events (ids {first} to {last})", events.len()));
            self.first_event_id = last + 1;
        }
        let mut entries = 0;
        for worker in self.workers.values_mut().filter(|worker| !worker.pinned) {
            let surplus = surplus(worker.transcript.len(), keep_entries);
            worker.transcript.drain(..surplus);
            worker.first_position += surplus as u64;
            entries += surplus;
        }
        if entries > 0 {
            removed.push(format!("{entries} transcript entries"));
        }
        if !removed.is_empty() {
            let own = &mut self.own.value;
            own.diagnostics.push(RuntimeDiagnostic {
                id: own.next_diagnostic_id,
                severity: DiagnosticSeverity::Info,
                code: "runtime.pruned".to_owned(),
                message: format!("retention removed {}", removed.join(", ")),
                worker_ref: None,
            });
            own.next_diagnostic_id += 1;
        }
        Ack::of_maintenance()
    }

    fn pin(&mut self, worker_ref: &WorkerRef, pinned: bool) -> Result<Ack, Refusal> {
        self.refuse_foreign(worker_ref)?;
        let worker = self.workers.get_mut(worker_ref.worker_id.as_str());
        worker.ok_or(Refusal::WorkerNotFound)?.pinned = pinned;
        Ok(Ack::of_maintenance())
    }

    fn note(&mut self, worker: &WorkerRef, code: &str, message: &str) {
        let own = &mut self.own.value;
        own.diagnostics.push(RuntimeDiagnostic {
            id: own.next_diagnostic_id,
            severity: DiagnosticSeverity::Info,
            code: code.to_owned(),
            message: message.to_owned(),
            worker_ref: Some(worker.clone()),
        });
        own.next_diagnostic_id += 1;
    }

    pub(crate) fn input(
        &mut self,
        worker_ref: &WorkerRef,
        input: &WorkerInput,
    ) -> Result<Ack, Refusal> {
        self.refuse_stopped()?;
        if input.content.trim().is_empty() {
            return Err(Refusal::InvalidRequest);
        }
        self.refuse_foreign(worker_ref)?;
        let status = self.worker(worker_ref)?.status;
        if !status.is_active() {
            return Err(Refusal::InvalidRequest);
        }
        let kind = RuntimeEventKind::WorkerInputAccepted;
        let event_id = self.log(Some(worker_ref), kind, "worker input accepted");
        let worker = self.workers.get_mut(worker_ref.worker_id.as_str());
        let worker = worker.ok_or(Refusal::WorkerNotFound)?;
        let own = &mut worker.own.value;
        let sequence = own.next_transcript_sequence;
        own.next_transcript_sequence += 1;
        own.last_event_id = event_id;
        let entry = TranscriptEntry {
            sequence,
            worker_ref: worker_ref.clone(),
            role: input.kind.into(),
            content: input.content.clone(),
            event_id,
        };
        worker.transcript.push(Stored::from(entry));
        Ok(Ack {
            status,
            sequence,
            event_id,
        })
    }

    fn reply(&mut self, worker_ref: &WorkerRef, content: &str) -> Result<Ack, Refusal> {
        self.refuse_stopped()?;
        if content.trim().is_empty() {
            return Err(Refusal::InvalidRequest);
        }
        self.refuse_foreign(worker_ref)?;
        let status = self.worker(worker_ref)?.status;
        if !status.is_active() {
            return Err(Refusal::InvalidRequest);
        }
        let event_id = self.own.value.next_event_id - 1;
        let worker = self.workers.get_mut(worker_ref.worker_id.as_str());
        let worker = worker.ok_or(Refusal::WorkerNotFound)?;
        let sequence = worker.own.value.next_transcript_sequence;
        worker.own.value.next_transcript_sequence += 1;
        let entry = TranscriptEntry {
            sequence,
            worker_ref: worker_ref.clone(),
            role: TranscriptRole::Assistant,
            content: content.to_owned(),
            event_id,
        };
        worker.transcript.push(Stored::from(entry));
        Ok(Ack {
            status,
            sequence,
            event_id,
        })
    }

    fn end(
        &mut self,
        worker_ref: &WorkerRef,
        status: WorkerStatus,
        reason: Option<&str>,
    ) -> Result<Ack, Refusal> {
        self.refuse_stopped()?;
        self.refuse_foreign(worker_ref)?;
        let before = self.worker(worker_ref)?;
        // The first terminal status stays, and no event is logged.
        if !before.status.is_active() {
            return Ok(Ack {
                status: before.status,
                sequence: 0,
                event_id: before.last_event_id,
            });
        }
        let (kind, message) = match status {
            WorkerStatus::Cancelled => (RuntimeEventKind::WorkerCancelled, "worker cancelled"),
            _ => (RuntimeEventKind::WorkerStopped, "worker stopped"),
        };
        let event_id = self.log(Some(worker_ref), kind, reason.unwrap_or(message));
        let worker = self.workers.get_mut(worker_ref.worker_id.as_str());
        let own = &mut worker.ok_or(Refusal::WorkerNotFound)?.own.value;
        own.status = status;
        own.last_event_id = event_id;
        Ok(Ack {
            status,
            sequence: 0,
            event_id,
        })
    }
}

/// Whether a text that a request must state is blank: the objective of a task, or the name of a
/// capability.
fn has_blank_text(request: &CreateWorkerRequest) -> bool {
    let is_blank = |text: &str| text.trim().is_empty();
    let is_blank_task =
        matches!(&request.intent, WorkerIntent::Task { objective } if is_blank(objective));
    let mut capabilities = request.requested_capabilities.iter();
    is_blank_task || capabilities.any(|capability| is_blank(&capability.name))
}

/// Any call that makes sense on a runtime in this state; now and then one that is refused.
pub fn any_call(state: &RuntimeState, rng: &mut Rng) -> Call {
    let workers: Vec<&WorkerState> = state.workers.values().collect();
    if workers.is_empty() || rng.chance(12) {
        return Call::Create(any_request(rng));
    }
    let worker_ref = rng.pick(&workers).own.value.worker_ref.clone();
    if rng.chance(5) {
        let mut ended = workers.iter().map(|worker| &worker.own.value);
        let ended = ended.find(|own| !own.status.is_active());
        // A running one is refused.
        return Call::Delete(ended.map_or(worker_ref, |own| own.worker_ref.clone()));
    }
    match rng.below(100) {
        0..=4 => Call::End(worker_ref, WorkerStatus::Stopped, None),
        5..=9 => {
            let bytes = rng.between(1, 60);
            let reason = rng.text(bytes);
            Call::End(worker_ref, WorkerStatus::Cancelled, Some(reason))
        }
        40..=59 => any_host_call(&workers, worker_ref, rng),
        10..=11 => Call::Input(worker_ref, WorkerInput::user("  ")),
        12 => Call::Reply(worker_ref, "\n".to_owned()),
        13..=39 => Call::Reply(worker_ref, any_input(rng).content),
        _ => Call::Input(worker_ref, any_input(rng)),
    }
}

/// Any call of a host that comes back, without open work, which is refused where several processes write.
fn any_host_call(workers: &[&WorkerState], worker_ref: WorkerRef, rng: &mut Rng) -> Call {
    let worker = workers
        .iter()
        .find(|worker| worker.own.value.worker_ref == worker_ref);
    let end = worker.map_or(0, |worker| worker.end());
    match rng.below(10) {
        0..=3 => {
            let key = format!("key {}", rng.below(4));
            let text = format!("sent {}", rng.below(2));
            Call::InputOnce(worker_ref, key, WorkerInput::user(text))
        }
        4..=6 => {
            let (name, value) = (rng.below(3), rng.below(4));
            let value = match value {
                0 => "null".to_owned(),
                value => format!("\"{value}\""),
            };
            Call::SetAttributes(worker_ref, format!("{{\"name {name}\":{value}}}"))
        }
        7 => {
            let at = rng.below(end + 2) as u64;
            Call::Fork(worker_ref, rng.chance(50).then_some(at))
        }
        _ => Call::Redact(worker_ref, rng.below(end + 1) as u64, rng.text(9)),
    }
}

fn any_input(rng: &mut Rng) -> WorkerInput {
    let bytes = match rng.below(100) {
        0..=74 => rng.between(1, 200),
        75..=91 => rng.between(200, 4_000),
        92..=97 => rng.between(4_000, 30_000),
        _ => rng.between(30_000, 200_000),
    };
    let content = rng.text(bytes);
    if rng.chance(50) {
        WorkerInput::user(content)
    } else {
        WorkerInput::system(content)
    }
}

fn any_request(rng: &mut Rng) -> CreateWorkerRequest {
    let intent = match rng.below(3) {
        0 => WorkerIntent::Assistant { purpose: None },
        1 => WorkerIntent::Task {
            objective: rng.text(30),
        },
        _ => WorkerIntent::Role {
            role: rng.text(8),
            purpose: Some(rng.text(12)),
        },
    };
    let mut request = CreateWorkerRequest::tools_less(intent, ProfileSelector::Named(rng.text(5)));
    if rng.chance(50) {
        request.config_bundle = Some(ConfigBundleRef { id: rng.text(10) });
    }
    if rng.chance(50) {
        request.requested_capabilities = vec![CapabilityRequest::named(rng.text(6))];
        request.workspace_refs = vec![WorkspaceRef {
            name: rng.text(4),
            reference: rng.text(20),
        }];
    }
    request
}
