//! The rules of a runtime once more, in the plainest form, to know what a store should say.

use crate::rng::Rng;
use crate::world::{RuntimeState, WorkerState, World};
use redb_runtime_store::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, ProfileSelector, WorkerIntent,
    WorkerStatus, WorkspaceRef,
};
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptEntry, WorkerInput};
use redb_runtime_store::management::{RuntimeLimits, RuntimeStatus};
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
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
    /// `stop_worker`, or `cancel_worker` where the status says so.
    End(WorkerRef, WorkerStatus, Option<String>),
    /// `stop_runtime`.
    StopRuntime,
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
    let own = PersistedRuntimeSnapshot {
        runtime_id: runtime_id(id),
        display_name: None,
        status: RuntimeStatus::Running,
        limits: RuntimeLimits::default(),
        next_worker_sequence: 1,
        next_event_id: 1,
        next_diagnostic_id: 1,
        diagnostics: Vec::new(),
    };
    let mut state = RuntimeState {
        own: own.into(),
        workers: BTreeMap::new(),
        events: Vec::new(),
        import: None,
    };
    state.log(None, RuntimeEventKind::RuntimeStarted, "runtime started");
    state
}

impl World {
    /// Makes `call` on the runtime `id`. False where it must be refused.
    pub fn call(&mut self, id: &str, call: &Call) -> bool {
        self.0
            .get_mut(id)
            .is_some_and(|state| Arc::make_mut(state).call(call))
    }
}

impl RuntimeState {
    fn log(&mut self, worker: Option<&WorkerRef>, kind: RuntimeEventKind, message: &str) -> u64 {
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

    fn call(&mut self, call: &Call) -> bool {
        let is_running = self.own.value.status == RuntimeStatus::Running;
        match call {
            Call::StopRuntime => {
                if is_running {
                    self.stop();
                }
                true
            }
            _ if !is_running => false,
            Call::Create(request) => {
                self.create(request);
                true
            }
            Call::Input(worker, input) => self.input(worker, input),
            Call::End(worker, status, reason) => self.end(worker, *status, reason.as_deref()),
        }
    }

    fn stop(&mut self) {
        for worker in self.workers.values_mut() {
            let status = &mut worker.own.value.status;
            if status.is_active() {
                *status = WorkerStatus::Stopped;
            }
        }
        self.own.value.status = RuntimeStatus::Stopped;
        let message = format!("runtime {} stopped", self.own.value.runtime_id);
        self.log(None, RuntimeEventKind::RuntimeStopped, &message);
    }

    fn create(&mut self, request: &CreateWorkerRequest) {
        let name = loop {
            let sequence = self.own.value.next_worker_sequence;
            self.own.value.next_worker_sequence += 1;
            let name = format!("worker-{sequence:08x}");
            if !self.workers.contains_key(&name) {
                break name;
            }
        };
        let worker_id = WorkerId::new(name.clone()).expect("a generated id is not blank");
        let worker_ref = WorkerRef::new(self.own.value.runtime_id.clone(), worker_id);
        let message = format!("worker {name} created");
        let event = self.log(Some(&worker_ref), RuntimeEventKind::WorkerCreated, &message);
        if request.config_bundle.is_none() {
            let message =
                "worker created without ConfigBundleRef; runtime-local defaults are assumed";
            self.note(&worker_ref, "runtime.local_default_resources", message);
        }
        if request.requested_capabilities.is_empty() {
            let message = "worker created without requested tool capabilities";
            self.note(&worker_ref, "worker.tools_less", message);
        }
        let own = PersistedWorkerSnapshot {
            worker_ref,
            status: WorkerStatus::Running,
            request: request.clone(),
            next_transcript_sequence: 1,
            last_event_id: event,
        };
        let worker = WorkerState {
            own: own.into(),
            transcript: Vec::new(),
        };
        self.workers.insert(name, worker);
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

    fn is_running(&self, worker: &WorkerRef) -> bool {
        let worker = self.workers.get(worker.worker_id.as_str());
        worker.is_some_and(|worker| worker.own.value.status.is_active())
    }

    fn input(&mut self, worker_ref: &WorkerRef, input: &WorkerInput) -> bool {
        if input.content.trim().is_empty() || !self.is_running(worker_ref) {
            return false;
        }
        let kind = RuntimeEventKind::WorkerInputAccepted;
        let event = self.log(Some(worker_ref), kind, "worker input accepted");
        if let Some(worker) = self.workers.get_mut(worker_ref.worker_id.as_str()) {
            let own = &mut worker.own.value;
            let entry = TranscriptEntry {
                sequence: own.next_transcript_sequence,
                worker_ref: worker_ref.clone(),
                role: input.kind.into(),
                content: input.content.clone(),
                event_id: event,
            };
            own.next_transcript_sequence += 1;
            own.last_event_id = event;
            worker.transcript.push(Stored::from(entry));
        }
        true
    }

    fn end(&mut self, worker: &WorkerRef, status: WorkerStatus, reason: Option<&str>) -> bool {
        if !self.workers.contains_key(worker.worker_id.as_str()) {
            return false;
        }
        // The first terminal status stays, and nothing is logged.
        if !self.is_running(worker) {
            return true;
        }
        let (kind, message) = match status {
            WorkerStatus::Cancelled => (RuntimeEventKind::WorkerCancelled, "worker cancelled"),
            _ => (RuntimeEventKind::WorkerStopped, "worker stopped"),
        };
        let event = self.log(Some(worker), kind, reason.unwrap_or(message));
        if let Some(worker) = self.workers.get_mut(worker.worker_id.as_str()) {
            worker.own.value.status = status;
            worker.own.value.last_event_id = event;
        }
        true
    }
}

/// Any call that makes sense on a runtime in this state; now and then one that is refused.
pub fn any_call(state: &RuntimeState, rng: &mut Rng) -> Call {
    let workers: Vec<&WorkerState> = state.workers.values().collect();
    if workers.is_empty() || rng.chance(12) {
        return Call::Create(any_request(rng));
    }
    let worker_ref = rng.pick(&workers).own.value.worker_ref.clone();
    match rng.below(100) {
        0..=4 => Call::End(worker_ref, WorkerStatus::Stopped, None),
        5..=9 => {
            let bytes = rng.between(1, 60);
            let reason = rng.text(bytes);
            Call::End(worker_ref, WorkerStatus::Cancelled, Some(reason))
        }
        10..=11 => Call::Input(worker_ref, WorkerInput::user("  ")),
        _ => Call::Input(worker_ref, any_input(rng)),
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
