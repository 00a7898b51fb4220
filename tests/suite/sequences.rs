//! Random sequences of operations on two runtimes of one store, compared with the reference model.

use crate::layout_support::{content, exported, strict, tree};
use crate::support::{Place, all_entries, all_events, fresh, named, seeded, worker_ref};
use proptest::collection::vec;
use proptest::prelude::*;
use redb_runtime_store::catalog::{
    CapabilityRequest, ConfigBundleRef, CreateWorkerRequest, MountRef, ProfileSelector,
    WorkerDetail, WorkerIntent, WorkerStatus, WorkerSummary,
};
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::FindingKind;
use redb_runtime_store::{Runtime, Store};
use std::sync::Arc;
use torture::model::{Ack, Call, Refusal, new_runtime};
use torture::world::{RuntimeState, WorkerState, World, without_bytes};

const IDS: [&str; 2] = ["r", "r\u{0}"];

/// One step of a sequence.
#[derive(Clone, Debug)]
enum Operation {
    Call(Call),
    Reopen,
}

/// Asserts that every read of `runtime` returns the state of the model.
fn assert_same(state: &RuntimeState, runtime: &Runtime) {
    let own = &state.own.value;
    let events: Vec<_> = state
        .events
        .iter()
        .map(|event| event.value.clone())
        .collect();
    assert_eq!(all_events(runtime), events);
    let mut diagnostics = runtime.diagnostics().unwrap();
    without_bytes(&mut diagnostics);
    assert_eq!(diagnostics, own.diagnostics);
    let now = runtime.event_cursor_now().unwrap().next_event_id;
    let start = runtime.event_cursor_from_start().unwrap().next_event_id;
    assert_eq!((start, now), (state.first_event_id, own.next_event_id));
    assert_eq!(now - start, events.len() as u64);
    let details: Vec<_> = state.workers.values().map(detail).collect();
    let summaries: Vec<_> = details.iter().map(summary).collect();
    assert_eq!(runtime.list_workers().unwrap(), summaries);
    for (detail, worker) in details.iter().zip(state.workers.values()) {
        let worker_ref = &detail.worker_ref;
        assert_eq!(runtime.worker_detail(worker_ref).unwrap(), *detail);
        let entries = worker.transcript.iter().map(|entry| entry.value.clone());
        assert_eq!(
            all_entries(runtime, worker_ref),
            entries.collect::<Vec<_>>()
        );
    }
    let unfinished = runtime.store().unfinished().unwrap().into_iter();
    let unfinished = unfinished.filter(|work| work.worker_ref.runtime_id == own.runtime_id);
    let unfinished: Vec<_> = unfinished
        .map(|work| (work.worker_ref.worker_id.to_string(), work.name))
        .collect();
    assert_eq!(unfinished, state.unfinished());
    let whole = runtime.summary().unwrap();
    let with = |status| {
        let has_status = summaries.iter().filter(|worker| worker.status == status);
        has_status.count()
    };
    assert_eq!(whole.worker_count, summaries.len());
    assert_eq!(whole.active_worker_count, with(WorkerStatus::Running));
    assert_eq!(whole.stopped_worker_count, with(WorkerStatus::Stopped));
    assert_eq!(whole.cancelled_worker_count, with(WorkerStatus::Cancelled));
    assert_eq!(whole.diagnostic_count, own.diagnostics.len());
}

fn detail(worker: &WorkerState) -> WorkerDetail {
    let own = worker.own.value.clone();
    WorkerDetail {
        runtime_id: own.worker_ref.runtime_id.clone(),
        worker_id: own.worker_ref.worker_id.clone(),
        worker_ref: own.worker_ref,
        status: own.status,
        intent: own.request.intent,
        profile: own.request.profile,
        config_bundle: own.request.config_bundle,
        requested_capabilities: own.request.requested_capabilities,
        workspace_refs: own.request.workspace_refs,
        mount_refs: own.request.mount_refs,
        transcript_len: worker.first_position as usize + worker.transcript.len(),
        last_event_id: own.last_event_id,
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

/// A worker of either runtime, which exists or not: the target of an operation.
fn target(number: usize) -> WorkerRef {
    worker_ref(IDS[number % 2], &format!("worker-{:08x}", number / 2))
}

/// Makes `call` on `runtime`. Panics on any error but a rejection by the rules.
fn made(runtime: &Runtime, call: &Call) -> Result<Ack, Refusal> {
    call.make(runtime)
        .map_err(|error| Refusal::of(&error).unwrap_or_else(|| panic!("{call:?}: {error:?}")))
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

/// A call of a host that comes back.
fn any_host_call() -> impl Strategy<Value = Call> {
    let worker = || (0_usize..10).prop_map(target);
    let name = || "[ab ]";
    let patch = (name(), prop_oneof![Just("null"), Just("1"), Just("\"x\"")]);
    let patch = prop_oneof![
        9 => patch.prop_map(|(name, value)| format!("{{\"{name}\":{value}}}")),
        1 => Just(r#"{"$a":1}"#.to_owned()),
    ];
    let input = "[ab ]".prop_map(WorkerInput::user);
    let at = proptest::option::of(0_u64..6);
    prop_oneof![
        3 => (worker(), patch).prop_map(|(worker, patch)| Call::SetAttributes(worker, patch)),
        6 => (worker(), name(), input)
            .prop_map(|(worker, key, input)| Call::InputOnce(worker, key, input)),
        4 => (worker(), name()).prop_map(|(worker, name)| Call::OpenWork(worker, name)),
        2 => (worker(), name()).prop_map(|(worker, name)| Call::CloseWork(worker, name)),
        2 => (worker(), at).prop_map(|(worker, at)| Call::Fork(worker, at)),
        2 => (worker(), 0_u64..5, any_text())
            .prop_map(|(worker, position, text)| Call::Redact(worker, position, text)),
    ]
}

fn any_operation() -> impl Strategy<Value = Operation> {
    // Worker 0 is never created, so it is a worker that does not exist.
    let worker = || (0_usize..10).prop_map(target);
    let reason = || proptest::option::of(any_text());
    let input = prop_oneof![
        any_text().prop_map(WorkerInput::user),
        any_text().prop_map(WorkerInput::system),
    ];
    let end = |status| {
        let call = move |(worker, reason)| Call::End(worker, status, reason);
        (worker(), reason()).prop_map(call)
    };
    let call = prop_oneof![
        8 => any_request().prop_map(Call::Create),
        24 => (worker(), input).prop_map(|(worker, input)| Call::Input(worker, input)),
        16 => (worker(), any_text()).prop_map(|(worker, text)| Call::Reply(worker, text)),
        4 => end(WorkerStatus::Stopped),
        4 => end(WorkerStatus::Cancelled),
        5 => worker().prop_map(Call::Delete),
        4 => (0_u64..12, 0_u64..3).prop_map(|(events, entries)| Call::Prune(events, entries)),
        3 => (worker(), any::<bool>()).prop_map(|(worker, pinned)| Call::Pin(worker, pinned)),
        1 => Just(Call::StopRuntime),
        20 => any_host_call(),
    ];
    prop_oneof![
        77 => call.prop_map(Operation::Call),
        2 => Just(Operation::Reopen),
    ]
}

/// Runs `operations` on two runtimes of the store that `open` gives.
fn assert_follows_the_model(
    operations: &[(usize, Operation)],
    closes: bool,
    open: impl Fn() -> Store,
) {
    let opened = || {
        let store = open();
        (IDS.map(|id| store.runtime(named(id)).unwrap()), store)
    };
    let mut model = World::default();
    for id in IDS {
        model.0.insert(id.to_owned(), Arc::new(new_runtime(id)));
    }
    let assert_both_same = |model: &World, (live, store): &([Runtime; 2], Store)| {
        for (id, runtime) in IDS.into_iter().zip(live) {
            assert_same(&model.0[id], runtime);
        }
        let difference = World::of(store).unwrap().difference(model);
        assert_eq!(difference, None);
    };
    let mut live = opened();
    for (which, operation) in operations {
        match operation {
            Operation::Reopen => {
                live = opened();
                // In memory the store was not closed.
                if closes {
                    model.reopen();
                }
                assert_both_same(&model, &live);
            }
            Operation::Call(call) => {
                let expected = model.call(IDS[*which], call);
                assert_eq!(made(&live.0[*which], call), expected, "{call:?}");
            }
        }
    }
    assert_both_same(&model, &live);
}

proptest! {
    #![proptest_config(seeded(100))]
    #[test]
    fn operations_follow_model_in_memory(
        operations in vec((0_usize..2, any_operation()), 1..60)
    ) {
        let store = fresh();
        assert_follows_the_model(&operations, false, || store.clone());
    }
}

proptest! {
    #![proptest_config(seeded(30))]
    #[test]
    fn operations_follow_model_in_a_file(
        operations in vec((0_usize..2, any_operation()), 1..60)
    ) {
        let place = Place::new();
        assert_follows_the_model(&operations, true, || {
            // Random operations open work, which needs one writer.
            place.open_alone().close().unwrap();
            place.open_alone()
        });
    }
}

proptest! {
    #![proptest_config(seeded(60))]
    #[test]
    fn operations_survive_export_and_import(
        operations in vec((0_usize..2, any_operation()), 1..60)
    ) {
        let store = fresh();
        let runtimes = IDS.map(|id| store.runtime(named(id)).unwrap());
        let mut has_deleted = false;
        for (on, operation) in operations {
            if let Operation::Call(call) = operation {
                let made = made(&runtimes[on], &call);
                has_deleted |= made.is_ok() && matches!(call, Call::Delete(_));
            }
        }
        let first = exported(&store);
        let fresh = fresh();
        let report = strict(&fresh, first.path()).unwrap();
        // The diagnostics of a deleted worker leave a gap in their ids.
        let mut findings = report.findings.iter();
        let accepted = findings.all(|found| has_deleted && found.kind == FindingKind::Gap);
        prop_assert!(accepted, "{:?}", report.findings);
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
