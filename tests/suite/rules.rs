//! The rules of a runtime, each with a store in memory and one in a file.

use crate::support::{
    Kept, all_entries, all_events, assert_refused, assert_whole, bulk, cursor, fresh, full_request,
    named, on_both, runtime_id, runtime_snapshot, say, worker_ref, worker_snapshot,
};
use redb_runtime_store::catalog::{
    CapabilityRequest, CreateWorkerRequest, ProfileSelector, WorkerIntent, WorkerStatus,
};
use redb_runtime_store::diagnostics::DiagnosticSeverity;
use redb_runtime_store::interaction::{TranscriptQuery, TranscriptRole, WorkerInput};
use redb_runtime_store::management::{RuntimeLimits, RuntimeOptions, RuntimeStatus};
use redb_runtime_store::observation::{EventSubscriptionMode, RuntimeEventKind};
use redb_runtime_store::{Runtime, RuntimeError};

fn request() -> CreateWorkerRequest {
    CreateWorkerRequest::default()
}

/// The messages of all events, in order.
fn messages(runtime: &Runtime) -> Vec<String> {
    let events = all_events(runtime).into_iter();
    events.map(|event| event.message).collect()
}

#[test]
fn new_runtime_logs_its_start_once() {
    on_both(|host| {
        for _ in 0..2 {
            let events = all_events(&host.runtime);
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].id, 1);
            assert_eq!(events[0].worker_ref, None);
            assert_eq!(events[0].kind, RuntimeEventKind::RuntimeStarted);
            assert_eq!(events[0].message, "runtime started");
            host.reopen();
        }
    });
}

#[test]
fn stored_settings_win_over_options() {
    for &kept in Kept::ALL {
        let limits = RuntimeLimits {
            max_transcript_projection_items: 3,
            max_event_batch_items: 4,
        };
        let options = RuntimeOptions {
            runtime_id: Some(runtime_id("a/ b")),
            display_name: Some("the name".to_owned()),
            limits,
        };
        let mut host = crate::support::Host::new(kept, options);
        host.runtime.stop_runtime().unwrap();
        host.reopen();
        let summary = host.runtime.summary().unwrap();
        assert_eq!(summary.runtime_id, runtime_id("a/ b"));
        assert_eq!(summary.display_name.as_deref(), Some("the name"));
        assert_eq!(summary.limits, limits);
        assert_eq!(summary.status, RuntimeStatus::Stopped);
        assert_eq!(summary.backend, kept.backend());
    }
}

#[test]
fn missing_id_means_the_only_runtime() {
    let store = fresh();
    let without_id = || store.runtime(RuntimeOptions::default());
    let first = without_id().unwrap().runtime_id().unwrap();
    assert!(first.as_str().starts_with("runtime-"), "{first}");
    assert_eq!(without_id().unwrap().runtime_id().unwrap(), first);
    assert_eq!(store.runtimes().unwrap().len(), 1);
    store.runtime(named("second \"one\"")).unwrap();
    match without_id() {
        Err(RuntimeError::InvalidRequest(message)) => {
            assert!(message.contains(first.as_str()), "{message}");
            assert!(message.contains(r#""second \"one\"""#), "{message}");
        }
        other => panic!("wanted a list of the runtimes, got {other:?}"),
    }
}

#[test]
fn worker_ids_are_numbered_in_order() {
    on_both(|host| {
        let first = host.runtime.create_worker(request()).unwrap();
        assert_eq!(first.worker_ref, worker_ref("r", "worker-00000001"));
        assert_eq!(first.worker_id, first.worker_ref.worker_id);
        assert_eq!(first.runtime_id, runtime_id("r"));
        assert_eq!(first.status, WorkerStatus::Running);
        assert_eq!((first.transcript_len, first.last_event_id), (0, 2));
        host.reopen();
        let second = host.runtime.create_worker(full_request()).unwrap();
        assert_eq!(second.worker_id.as_str(), "worker-00000002");
        assert_eq!(second.config_bundle, full_request().config_bundle);
        let list = host.runtime.list_workers().unwrap();
        let ids: Vec<_> = list
            .iter()
            .map(|worker| worker.worker_id.as_str())
            .collect();
        assert_eq!(ids, ["worker-00000001", "worker-00000002"]);
        assert_eq!(list[1].requested_capability_count, 1);
        assert!(list[1].has_config_bundle && !list[0].has_config_bundle);
        assert_eq!(
            host.runtime.worker_detail(&second.worker_ref).unwrap(),
            second
        );
        let last = all_events(&host.runtime).pop().unwrap();
        assert_eq!(last.kind, RuntimeEventKind::WorkerCreated);
        assert_eq!(last.message, "worker worker-00000002 created");
        assert_eq!(last.worker_ref, Some(second.worker_ref));
        assert_whole(&host.runtime);
    });
}

#[test]
fn existing_worker_numbers_are_skipped() {
    on_both(|host| {
        let taken = worker_ref("r", "worker-00000001");
        bulk(host.runtime.store(), |load| {
            load.put_worker(worker_snapshot(&taken, 1).into())?;
            load.put_runtime(runtime_snapshot("r", 2).into())
        });
        let created = host.runtime.create_worker(full_request()).unwrap();
        assert_eq!(created.worker_id.as_str(), "worker-00000002");
        assert_whole(&host.runtime);
    });
}

#[test]
fn blank_request_fields_use_no_ids() {
    on_both(|host| {
        let before = messages(&host.runtime);
        for blank in ["", " \t\n"] {
            let objective = blank.to_owned();
            let task = WorkerIntent::Task { objective };
            let task = CreateWorkerRequest::tools_less(task, ProfileSelector::default());
            assert_refused!(
                host.runtime.create_worker(task),
                RuntimeError::InvalidRequest(_)
            );
            let capability = CreateWorkerRequest {
                requested_capabilities: ["good", blank].map(CapabilityRequest::named).into(),
                ..request()
            };
            assert_refused!(
                host.runtime.create_worker(capability),
                RuntimeError::InvalidRequest(_)
            );
        }
        assert_eq!(messages(&host.runtime), before);
        let next = host.runtime.create_worker(request()).unwrap();
        assert_eq!(next.worker_id.as_str(), "worker-00000001");
        assert_whole(&host.runtime);
    });
}

#[test]
fn diagnostics_name_missing_worker_resources() {
    on_both(|host| {
        let runtime = &host.runtime;
        runtime.create_worker(full_request()).unwrap();
        assert_eq!(runtime.diagnostics().unwrap(), []);
        runtime.create_worker(request()).unwrap();
        let only_bundle = CreateWorkerRequest {
            requested_capabilities: Vec::new(),
            ..full_request()
        };
        runtime.create_worker(only_bundle).unwrap();
        host.reopen();
        let defaults = (
            "runtime.local_default_resources",
            "worker created without ConfigBundleRef; runtime-local defaults are assumed",
        );
        let tools_less = (
            "worker.tools_less",
            "worker created without requested tool capabilities",
        );
        let wanted = [
            (1, defaults, "worker-00000002"),
            (2, tools_less, "worker-00000002"),
            (3, tools_less, "worker-00000003"),
        ];
        let diagnostics = host.runtime.diagnostics().unwrap();
        assert_eq!(diagnostics.len(), wanted.len());
        for (diagnostic, (id, (code, message), worker)) in diagnostics.into_iter().zip(wanted) {
            assert_eq!(diagnostic.id, id);
            assert_eq!(diagnostic.severity, DiagnosticSeverity::Info);
            assert_eq!((&*diagnostic.code, &*diagnostic.message), (code, message));
            assert_eq!(diagnostic.worker_ref, Some(worker_ref("r", worker)));
        }
        assert_eq!(host.runtime.summary().unwrap().diagnostic_count, 3);
    });
}

#[test]
fn input_is_logged_and_appended() {
    on_both(|host| {
        let worker = host.runtime.create_worker(request()).unwrap().worker_ref;
        let ack = host
            .runtime
            .send_input(&worker, WorkerInput::user("a"))
            .unwrap();
        assert_eq!((ack.transcript_sequence, ack.event_id), (1, 3));
        assert_eq!(
            (ack.worker_ref, ack.status),
            (worker.clone(), WorkerStatus::Running)
        );
        host.reopen();
        let ack = host
            .runtime
            .send_input(&worker, WorkerInput::system(" b\n"))
            .unwrap();
        assert_eq!((ack.transcript_sequence, ack.event_id), (2, 4));
        let entries = all_entries(&host.runtime, &worker);
        assert_eq!(entries[0].role, TranscriptRole::User);
        assert_eq!(entries[1].role, TranscriptRole::System);
        assert_eq!((&*entries[0].content, &*entries[1].content), ("a", " b\n"));
        assert_eq!((entries[1].sequence, entries[1].event_id), (2, 4));
        assert_eq!(entries[1].worker_ref, worker);
        assert_eq!(messages(&host.runtime)[2..], ["worker input accepted"; 2]);
        let detail = host.runtime.worker_detail(&worker).unwrap();
        assert_eq!((detail.transcript_len, detail.last_event_id), (2, 4));
        assert_whole(&host.runtime);
    });
}

#[test]
fn blank_or_late_input_is_refused() {
    on_both(|host| {
        let runtime = &host.runtime;
        let [running, stopped, cancelled] =
            [(); 3].map(|()| runtime.create_worker(request()).unwrap().worker_ref);
        runtime.stop_worker(&stopped, None).unwrap();
        runtime.cancel_worker(&cancelled, None).unwrap();
        let before = messages(runtime);
        for blank in ["", " ", "\n\u{2003}"] {
            assert_refused!(
                say(runtime, &running, blank),
                RuntimeError::InvalidRequest(_)
            );
        }
        for ended in [&stopped, &cancelled] {
            assert_refused!(say(runtime, ended, "a"), RuntimeError::InvalidRequest(_));
        }
        assert_eq!(messages(runtime), before);
        assert_whole(runtime);
    });
}

#[test]
fn first_terminal_worker_status_stays() {
    on_both(|host| {
        let create = |runtime: &Runtime| runtime.create_worker(request()).unwrap().worker_ref;
        let (stopped, cancelled) = (create(&host.runtime), create(&host.runtime));
        let ack = host.runtime.stop_worker(&stopped, None).unwrap();
        assert_eq!((ack.status, ack.event_id), (WorkerStatus::Stopped, 4));
        let reason = Some("done with it".to_owned());
        let ack = host
            .runtime
            .cancel_worker(&cancelled, reason.clone())
            .unwrap();
        assert_eq!((ack.status, ack.event_id), (WorkerStatus::Cancelled, 5));
        host.reopen();
        for _ in 0..2 {
            let ack = host
                .runtime
                .cancel_worker(&stopped, reason.clone())
                .unwrap();
            assert_eq!((ack.status, ack.event_id), (WorkerStatus::Stopped, 4));
            let ack = host.runtime.stop_worker(&cancelled, None).unwrap();
            assert_eq!((ack.status, ack.event_id), (WorkerStatus::Cancelled, 5));
            assert_eq!(ack.worker_ref, cancelled);
        }
        assert_eq!(
            messages(&host.runtime)[3..],
            ["worker stopped", "done with it"]
        );
        let events = all_events(&host.runtime);
        assert_eq!(events[3].kind, RuntimeEventKind::WorkerStopped);
        assert_eq!(events[4].kind, RuntimeEventKind::WorkerCancelled);
        let cancelled_plainly = create(&host.runtime);
        host.runtime
            .cancel_worker(&cancelled_plainly, None)
            .unwrap();
        assert_eq!(messages(&host.runtime).last().unwrap(), "worker cancelled");
        assert_whole(&host.runtime);
    });
}

#[test]
fn stopping_runtime_stops_only_active_workers() {
    on_both(|host| {
        let runtime = &host.runtime;
        let [running, cancelled] =
            [(); 2].map(|()| runtime.create_worker(request()).unwrap().worker_ref);
        runtime.cancel_worker(&cancelled, None).unwrap();
        assert_eq!(runtime.stop_runtime().unwrap(), 5);
        for _ in 0..2 {
            let runtime = &host.runtime;
            assert_eq!(runtime.status().unwrap(), RuntimeStatus::Stopped);
            let worker = runtime.worker_detail(&running).unwrap();
            assert_eq!(
                (worker.status, worker.last_event_id),
                (WorkerStatus::Stopped, 2)
            );
            let worker = runtime.worker_detail(&cancelled).unwrap();
            assert_eq!(
                (worker.status, worker.last_event_id),
                (WorkerStatus::Cancelled, 4)
            );
            let last = all_events(runtime).pop().unwrap();
            assert_eq!((last.id, last.kind), (5, RuntimeEventKind::RuntimeStopped));
            assert_eq!(
                (&*last.message, last.worker_ref),
                ("runtime r stopped", None)
            );
            assert_eq!(
                runtime.stop_runtime().unwrap(),
                5,
                "the last event, and no new one"
            );
            assert_whole(runtime);
            host.reopen();
        }
    });
}

#[test]
fn stopping_runtime_stops_workers_past_a_page() {
    on_both(|host| {
        bulk(host.runtime.store(), |load| {
            for number in 0..2_500 {
                let worker = worker_ref("r", &format!("w{number}"));
                load.put_worker(worker_snapshot(&worker, 1).into())?;
            }
            load.put_runtime(runtime_snapshot("r", 2).into())
        });
        assert_eq!(host.runtime.summary().unwrap().active_worker_count, 2_500);
        host.runtime.stop_runtime().unwrap();
        assert_eq!(host.runtime.summary().unwrap().stopped_worker_count, 2_500);
        assert_whole(&host.runtime);
    });
}

#[test]
fn stopped_runtime_is_read_only() {
    on_both(|host| {
        let worker = host.runtime.create_worker(request()).unwrap().worker_ref;
        say(&host.runtime, &worker, "a").unwrap();
        host.runtime.stop_runtime().unwrap();
        host.reopen();
        let runtime = &host.runtime;
        let before = messages(runtime);
        macro_rules! assert_stopped {
            ($result:expr) => {
                assert_refused!(
                    $result,
                    RuntimeError::RuntimeStopped { runtime_id: id } if id == runtime_id("r")
                )
            };
        }
        assert_stopped!(runtime.create_worker(request()));
        assert_stopped!(say(runtime, &worker, "b"));
        assert_stopped!(runtime.stop_worker(&worker, None));
        assert_stopped!(runtime.cancel_worker(&worker, None));
        assert_eq!(messages(runtime), before);
        assert_eq!(all_entries(runtime, &worker).len(), 1);
        assert_eq!(runtime.list_workers().unwrap().len(), 1);
        assert_eq!(runtime.diagnostics().unwrap().len(), 2);
        assert_eq!(runtime.event_cursor_now().unwrap(), cursor("r", 5));
        assert_whole(runtime);
    });
}

/// Hosts of the directory store distinguish these errors.
#[test]
fn stop_and_blank_content_come_before_foreign_refs() {
    on_both(|host| {
        let runtime = &host.runtime;
        let worker = runtime.create_worker(request()).unwrap().worker_ref;
        let foreign = worker_ref("q", worker.worker_id.as_str());
        let blank = || say(runtime, &foreign, " ");
        assert_refused!(blank(), RuntimeError::InvalidRequest(_));
        assert_refused!(
            runtime.append_reply(&foreign, " "),
            RuntimeError::InvalidRequest(_)
        );
        assert_refused!(
            say(runtime, &foreign, "a"),
            RuntimeError::WrongRuntime { .. }
        );
        runtime.stop_runtime().unwrap();
        assert_refused!(blank(), RuntimeError::RuntimeStopped { .. });
        assert_refused!(
            runtime.append_reply(&foreign, "a"),
            RuntimeError::RuntimeStopped { .. }
        );
        assert_refused!(
            runtime.stop_worker(&foreign, None),
            RuntimeError::RuntimeStopped { .. }
        );
        assert_refused!(
            runtime.cancel_worker(&foreign, None),
            RuntimeError::RuntimeStopped { .. }
        );
    });
}

#[test]
fn foreign_and_unknown_workers_give_different_errors() {
    on_both(|host| {
        let runtime = &host.runtime;
        let worker = runtime.create_worker(request()).unwrap().worker_ref;
        let foreign = worker_ref("q", worker.worker_id.as_str());
        let unknown = worker_ref("r", "worker-00000002");
        let query = TranscriptQuery::new(0, 1);
        macro_rules! assert_told_apart {
            ($call:expr) => {
                let call = $call;
                assert_refused!(
                    call(&foreign),
                    RuntimeError::WrongRuntime { expected_runtime_id, actual_runtime_id, worker_id }
                        if expected_runtime_id == runtime_id("r")
                            && actual_runtime_id == runtime_id("q")
                            && worker_id == worker.worker_id
                );
                assert_refused!(
                    call(&unknown),
                    RuntimeError::WorkerNotFound { runtime_id: id, worker_id }
                        if id == runtime_id("r") && worker_id == unknown.worker_id
                );
            };
        }
        assert_told_apart!(|worker| runtime.worker_detail(worker));
        assert_told_apart!(|worker| runtime.transcript_projection(worker, query));
        assert_told_apart!(|worker| say(runtime, worker, "a"));
        assert_told_apart!(|worker| runtime.stop_worker(worker, None));
        assert_told_apart!(|worker| runtime.cancel_worker(worker, None));
    });
}

#[test]
fn cursors_start_or_end_and_refuse_foreign() {
    on_both(|host| {
        let runtime = &host.runtime;
        assert_eq!(runtime.event_cursor_from_start().unwrap(), cursor("r", 1));
        let now = runtime.event_cursor_now().unwrap();
        let event_id = runtime.create_worker(request()).unwrap().last_event_id;
        assert_eq!(now, cursor("r", event_id));
        assert_eq!(runtime.read_events(&now, 9).unwrap().events[0].id, event_id);
        let subscription = runtime.subscribe_events(now.clone()).unwrap();
        assert_eq!(
            (subscription.runtime_id, subscription.cursor),
            (runtime_id("r"), now)
        );
        assert_eq!(subscription.mode, EventSubscriptionMode::PollOnly);
        macro_rules! assert_wrong_cursor {
            ($result:expr) => {
                assert_refused!(
                    $result,
                    RuntimeError::WrongRuntimeCursor { expected_runtime_id, actual_runtime_id }
                        if expected_runtime_id == runtime_id("r")
                            && actual_runtime_id == runtime_id("q")
                )
            };
        }
        assert_wrong_cursor!(runtime.read_events(&cursor("q", 1), 1));
        assert_wrong_cursor!(runtime.subscribe_events(cursor("q", 1)));
    });
}

#[test]
fn exhausted_ids_are_refused_without_trace() {
    on_both(|host| {
        let worker = worker_ref("r", "w");
        bulk(host.runtime.store(), |load| {
            load.put_worker(worker_snapshot(&worker, u64::MAX).into())?;
            load.put_runtime(runtime_snapshot("r", 2).into())
        });
        let before = messages(&host.runtime);
        assert_refused!(
            say(&host.runtime, &worker, "a"),
            RuntimeError::InvalidRequest(_)
        );
        assert_eq!(messages(&host.runtime), before);
        bulk(host.runtime.store(), |load| {
            load.put_runtime(runtime_snapshot("r", u64::MAX).into())
        });
        let creation = host.runtime.create_worker(request());
        assert_refused!(creation, RuntimeError::InvalidRequest(_));
        assert_eq!(host.runtime.list_workers().unwrap().len(), 1);
        assert_eq!(messages(&host.runtime), before);
    });
}

#[test]
fn worker_ids_have_eight_hex_digits() {
    let wanted = [
        (1, "worker-00000001"),
        (0xABC, "worker-00000abc"),
        (0x1_0000_0000, "worker-100000000"),
    ];
    for (sequence, id) in wanted {
        let store = fresh();
        bulk(&store, |load| {
            let mut runtime = runtime_snapshot("r", 1);
            runtime.next_worker_sequence = sequence;
            load.put_runtime(runtime.into())
        });
        let runtime = store.runtime(named("r")).unwrap();
        let worker = runtime.create_worker(request()).unwrap();
        assert_eq!(worker.worker_id.as_str(), id);
    }
}
