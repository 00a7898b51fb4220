//! Random sequences of operations on two runtimes of one store, against a model in plain memory.

use crate::layout_support::{content, exported, strict, tree};
use crate::support::{all_entries, all_events, named, runtime_id, scratch, seeded, worker_ref};
use proptest::collection::vec;
use proptest::prelude::*;
use redb_runtime_store::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, MountRef, ProfileSelector,
    WorkerDetail, WorkerIntent, WorkerStatus, WorkerSummary,
};
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::identity::{WorkerId, WorkerRef};
use redb_runtime_store::interaction::{
    TranscriptEntry, TranscriptRole, WorkerInput, WorkerInputKind,
};
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::collections::BTreeMap;

const IDS: [&str; 2] = ["r", "r\u{0}"];

/// One operation: on which of the two runtimes, and on a worker of either.
#[derive(Clone, Debug)]
enum Operation {
    Create(CreateWorkerRequest),
    Send(usize, WorkerInput),
    Stop(usize, Option<String>),
    Cancel(usize, Option<String>),
    StopRuntime,
    Reopen,
}

/// What an operation gave: numbers and a status, or the name of the error.
type Outcome = Result<(WorkerStatus, u64, u64), &'static str>;

fn name(error: &RuntimeError) -> &'static str {
    match error {
        RuntimeError::RuntimeStopped { .. } => "runtime stopped",
        RuntimeError::WrongRuntime { .. } => "wrong runtime",
        RuntimeError::WorkerNotFound { .. } => "worker not found",
        RuntimeError::InvalidRequest(_) => "invalid request",
        other => panic!("{other:?}"),
    }
}

struct Worker {
    detail: WorkerDetail,
    entries: Vec<TranscriptEntry>,
}

/// What a runtime ought to hold.
struct Model {
    id: &'static str,
    stopped: bool,
    workers: BTreeMap<WorkerId, Worker>,
    events: Vec<RuntimeEvent>,
    diagnostics: Vec<RuntimeDiagnostic>,
}

impl Model {
    fn new(id: &'static str) -> Self {
        let mut this = Self {
            id,
            stopped: false,
            workers: BTreeMap::new(),
            events: Vec::new(),
            diagnostics: Vec::new(),
        };
        this.log(
            None,
            RuntimeEventKind::RuntimeStarted,
            "runtime started".to_owned(),
        );
        this
    }

    fn log(&mut self, worker: Option<&WorkerRef>, kind: RuntimeEventKind, message: String) -> u64 {
        let id = self.events.len() as u64 + 1;
        self.events.push(RuntimeEvent {
            id,
            worker_ref: worker.cloned(),
            kind,
            message,
        });
        id
    }

    /// The worker that a change means, where it may be changed.
    fn refuse(&self, worker: &WorkerRef) -> Result<(), &'static str> {
        if worker.runtime_id != runtime_id(self.id) {
            return Err("wrong runtime");
        }
        if self.stopped {
            Err("runtime stopped")
        } else {
            Ok(())
        }
    }

    fn create(&mut self, request: CreateWorkerRequest) -> Outcome {
        if self.stopped {
            return Err("runtime stopped");
        }
        let blank = |text: &str| text.trim().is_empty();
        let blank_task =
            matches!(&request.intent, WorkerIntent::Task { objective } if blank(objective));
        if blank_task
            || request
                .requested_capabilities
                .iter()
                .any(|one| blank(&one.name))
        {
            return Err("invalid request");
        }
        let worker_id = format!("worker-{:08x}", self.workers.len() + 1);
        let worker = worker_ref(self.id, &worker_id);
        let message = format!("worker {worker_id} created");
        let event_id = self.log(Some(&worker), RuntimeEventKind::WorkerCreated, message);
        let mut codes = Vec::new();
        if request.config_bundle.is_none() {
            codes.push((
                "runtime.local_default_resources",
                "worker created without ConfigBundleRef; runtime-local defaults are assumed",
            ));
        }
        if request.requested_capabilities.is_empty() {
            codes.push((
                "worker.tools_less",
                "worker created without requested tool capabilities",
            ));
        }
        for (code, message) in codes {
            self.diagnostics.push(RuntimeDiagnostic {
                id: self.diagnostics.len() as u64 + 1,
                severity: DiagnosticSeverity::Info,
                code: code.to_owned(),
                message: message.to_owned(),
                worker_ref: Some(worker.clone()),
            });
        }
        let detail = WorkerDetail {
            runtime_id: worker.runtime_id.clone(),
            worker_id: worker.worker_id.clone(),
            worker_ref: worker,
            status: WorkerStatus::Running,
            intent: request.intent,
            profile: request.profile,
            config_bundle: request.config_bundle,
            requested_capabilities: request.requested_capabilities,
            workspace_refs: request.workspace_refs,
            mount_refs: request.mount_refs,
            transcript_len: 0,
            last_event_id: event_id,
        };
        let id = detail.worker_id.clone();
        self.workers.insert(
            id,
            Worker {
                detail,
                entries: Vec::new(),
            },
        );
        Ok((WorkerStatus::Running, 0, event_id))
    }

    fn send(&mut self, worker: &WorkerRef, input: WorkerInput) -> Outcome {
        self.refuse(worker)?;
        if input.content.trim().is_empty() {
            return Err("invalid request");
        }
        let known = self
            .workers
            .get(&worker.worker_id)
            .ok_or("worker not found")?;
        if known.detail.status != WorkerStatus::Running {
            return Err("invalid request");
        }
        let message = "worker input accepted".to_owned();
        let event_id = self.log(Some(worker), RuntimeEventKind::WorkerInputAccepted, message);
        let known = self.workers.get_mut(&worker.worker_id).unwrap();
        let sequence = known.entries.len() as u64 + 1;
        known.entries.push(TranscriptEntry {
            sequence,
            worker_ref: worker.clone(),
            role: match input.kind {
                WorkerInputKind::User => TranscriptRole::User,
                WorkerInputKind::System => TranscriptRole::System,
            },
            content: input.content,
            event_id,
        });
        known.detail.transcript_len += 1;
        known.detail.last_event_id = event_id;
        Ok((WorkerStatus::Running, sequence, event_id))
    }

    fn end(&mut self, worker: &WorkerRef, status: WorkerStatus, reason: Option<String>) -> Outcome {
        self.refuse(worker)?;
        let known = self
            .workers
            .get(&worker.worker_id)
            .ok_or("worker not found")?;
        if known.detail.status != WorkerStatus::Running {
            return Ok((known.detail.status, 0, known.detail.last_event_id));
        }
        let (kind, standard) = match status {
            WorkerStatus::Stopped => (RuntimeEventKind::WorkerStopped, "worker stopped"),
            _ => (RuntimeEventKind::WorkerCancelled, "worker cancelled"),
        };
        let event_id = self.log(Some(worker), kind, reason.unwrap_or(standard.to_owned()));
        let known = self.workers.get_mut(&worker.worker_id).unwrap();
        known.detail.status = status;
        known.detail.last_event_id = event_id;
        Ok((status, 0, event_id))
    }

    fn stop(&mut self) -> Outcome {
        if self.stopped {
            return Ok((WorkerStatus::Stopped, 0, self.events.len() as u64));
        }
        for worker in self.workers.values_mut() {
            if worker.detail.status == WorkerStatus::Running {
                worker.detail.status = WorkerStatus::Stopped;
            }
        }
        self.stopped = true;
        let message = format!("runtime {} stopped", self.id);
        let event_id = self.log(None, RuntimeEventKind::RuntimeStopped, message);
        Ok((WorkerStatus::Stopped, 0, event_id))
    }

    fn assert_same(&self, runtime: &Runtime) {
        assert_eq!(all_events(runtime), self.events);
        assert_eq!(runtime.diagnostics().unwrap(), self.diagnostics);
        let now = runtime.event_cursor_now().unwrap().next_event_id;
        assert_eq!(now, self.events.len() as u64 + 1);
        let summaries: Vec<_> = self
            .workers
            .values()
            .map(|worker| summary(&worker.detail))
            .collect();
        assert_eq!(runtime.list_workers().unwrap(), summaries);
        for Worker { detail, entries } in self.workers.values() {
            assert_eq!(runtime.worker_detail(&detail.worker_ref).unwrap(), *detail);
            assert_eq!(all_entries(runtime, &detail.worker_ref), *entries);
        }
        let whole = runtime.summary().unwrap();
        let with = |status| {
            summaries
                .iter()
                .filter(|worker| worker.status == status)
                .count()
        };
        assert_eq!(whole.worker_count, summaries.len());
        assert_eq!(whole.active_worker_count, with(WorkerStatus::Running));
        assert_eq!(whole.stopped_worker_count, with(WorkerStatus::Stopped));
        assert_eq!(whole.cancelled_worker_count, with(WorkerStatus::Cancelled));
        assert_eq!(whole.diagnostic_count, self.diagnostics.len());
    }
}

fn summary(detail: &WorkerDetail) -> WorkerSummary {
    WorkerSummary {
        worker_ref: detail.worker_ref.clone(),
        runtime_id: detail.runtime_id.clone(),
        worker_id: detail.worker_id.clone(),
        status: detail.status,
        intent: detail.intent.clone(),
        profile: detail.profile.clone(),
        requested_capability_count: detail.requested_capabilities.len(),
        has_config_bundle: detail.config_bundle.is_some(),
        transcript_len: detail.transcript_len,
        last_event_id: detail.last_event_id,
    }
}

/// The workers that operations aim at: some of either runtime, known or not.
fn target(number: usize) -> WorkerRef {
    worker_ref(IDS[number % 2], &format!("worker-{:08x}", number / 2))
}

fn model_does(model: &mut Model, operation: Operation) -> Outcome {
    match operation {
        Operation::Create(request) => model.create(request),
        Operation::Send(worker, input) => model.send(&target(worker), input),
        Operation::Stop(worker, reason) => {
            model.end(&target(worker), WorkerStatus::Stopped, reason)
        }
        Operation::Cancel(worker, reason) => {
            model.end(&target(worker), WorkerStatus::Cancelled, reason)
        }
        Operation::StopRuntime => model.stop(),
        Operation::Reopen => Err("not an operation of a runtime"),
    }
}

fn runtime_does(runtime: &Runtime, operation: Operation) -> Outcome {
    let outcome = match operation {
        Operation::Create(request) => runtime
            .create_worker(request)
            .map(|detail| (detail.status, 0, detail.last_event_id)),
        Operation::Send(worker, input) => runtime
            .send_input(&target(worker), input)
            .map(|ack| (ack.status, ack.transcript_sequence, ack.event_id)),
        Operation::Stop(worker, reason) => runtime
            .stop_worker(&target(worker), reason)
            .map(|ack| (ack.status, 0, ack.event_id)),
        Operation::Cancel(worker, reason) => runtime
            .cancel_worker(&target(worker), reason)
            .map(|ack| (ack.status, 0, ack.event_id)),
        Operation::StopRuntime => runtime
            .stop_runtime()
            .map(|event_id| (WorkerStatus::Stopped, 0, event_id)),
        Operation::Reopen => return Err("not an operation of a runtime"),
    };
    outcome.map_err(|error| name(&error))
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![1 => "[ \t\n]{0,2}", 8 => "\\PC{1,10}"]
}

fn any_request() -> impl Strategy<Value = CreateWorkerRequest> {
    let intent = prop_oneof![
        Just(WorkerIntent::default()),
        any_text().prop_map(|objective| WorkerIntent::Task { objective }),
    ];
    let capabilities = vec(any_text().prop_map(CapabilityRequest::named), 0..3);
    let bundle = proptest::option::of(any_text().prop_map(|id| ConfigBundleRef { id }));
    let mounts = vec((any_text(), any_text()), 0..2);
    (intent, capabilities, bundle, mounts).prop_map(
        |(intent, capabilities, config_bundle, mounts)| {
            let mounts = mounts.into_iter();
            CreateWorkerRequest {
                intent,
                profile: ProfileSelector::Named("p".to_owned()),
                config_bundle,
                requested_capabilities: capabilities,
                mount_refs: mounts
                    .map(|(name, reference)| MountRef { name, reference })
                    .collect(),
                ..CreateWorkerRequest::default()
            }
        },
    )
}

fn any_operation() -> impl Strategy<Value = Operation> {
    // Numbers of workers from 0, which no runtime gives.
    let worker = || 0_usize..10;
    let reason = || proptest::option::of(any_text());
    let input = prop_oneof![
        any_text().prop_map(WorkerInput::user),
        any_text().prop_map(WorkerInput::system),
    ];
    prop_oneof![
        8 => any_request().prop_map(Operation::Create),
        24 => (worker(), input).prop_map(|(worker, input)| Operation::Send(worker, input)),
        4 => (worker(), reason()).prop_map(|(worker, reason)| Operation::Stop(worker, reason)),
        4 => (worker(), reason()).prop_map(|(worker, reason)| Operation::Cancel(worker, reason)),
        1 => Just(Operation::StopRuntime),
        2 => Just(Operation::Reopen),
    ]
}

/// Runs `operations` on two runtimes of the store that `open` gives.
fn assert_follows_the_model(operations: &[(usize, Operation)], open: impl Fn() -> Store) {
    let runtimes = || {
        let store = open();
        IDS.map(|id| store.runtime(named(id)).unwrap())
    };
    let mut models = IDS.map(Model::new);
    let mut live = runtimes();
    for (which, operation) in operations {
        if matches!(operation, Operation::Reopen) {
            live = runtimes();
            models
                .iter()
                .zip(&live)
                .for_each(|(model, runtime)| model.assert_same(runtime));
            continue;
        }
        let wanted = model_does(&mut models[*which], operation.clone());
        let got = runtime_does(&live[*which], operation.clone());
        assert_eq!(got, wanted, "{operation:?}");
    }
    models
        .iter()
        .zip(&live)
        .for_each(|(model, runtime)| model.assert_same(runtime));
}

proptest! {
    #![proptest_config(seeded(100))]
    #[test]
    fn operations_follow_model_in_memory(
        operations in vec((0_usize..2, any_operation()), 1..60)
    ) {
        let store = Store::in_memory().unwrap();
        assert_follows_the_model(&operations, || store.clone());
    }
}

proptest! {
    #![proptest_config(seeded(30))]
    #[test]
    fn operations_follow_model_in_a_file(
        operations in vec((0_usize..2, any_operation()), 1..60)
    ) {
        let (_directory, path) = scratch();
        assert_follows_the_model(&operations, || {
            let store = Store::open(&path).unwrap();
            store.close().unwrap();
            Store::open(&path).unwrap()
        });
    }
}

proptest! {
    #![proptest_config(seeded(60))]
    #[test]
    fn operations_survive_export_and_import(
        operations in vec((0_usize..2, any_operation()), 1..60)
    ) {
        let store = Store::in_memory().unwrap();
        let runtimes = IDS.map(|id| store.runtime(named(id)).unwrap());
        for (on, operation) in operations {
            if !matches!(operation, Operation::Reopen) {
                let _ = runtime_does(&runtimes[on], operation);
            }
        }
        let first = exported(&store);
        let fresh = Store::in_memory().unwrap();
        let report = strict(&fresh, first.path()).unwrap();
        prop_assert!(report.findings.is_empty(), "{:?}", report.findings);
        // Everything that a snapshot holds, counters included.
        prop_assert_eq!(content(&fresh), content(&store));
        for (id, runtime) in IDS.into_iter().zip(&runtimes) {
            let imported = fresh.runtime(named(id)).unwrap();
            prop_assert_eq!(imported.summary().unwrap(), runtime.summary().unwrap());
            prop_assert_eq!(imported.list_workers().unwrap(), runtime.list_workers().unwrap());
            prop_assert_eq!(imported.diagnostics().unwrap(), runtime.diagnostics().unwrap());
        }
        prop_assert_eq!(tree(exported(&fresh).path()), tree(first.path()));
    }
}
