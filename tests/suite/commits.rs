//! Shared commits, host transactions and submissions.

use crate::support::{
    Kept, Place, all_entries, all_events, assert_whole, fresh, named, on_both, say, seeded,
};
use proptest::prelude::*;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput, WorkerInteractionAck};
use redb_runtime_store::{Pending, Runtime, RuntimeError, Store};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

fn with_workers(runtime: &Runtime, count: usize) -> Vec<WorkerRef> {
    (0..count)
        .map(|_| {
            runtime
                .create_worker(CreateWorkerRequest::default())
                .unwrap()
                .worker_ref
        })
        .collect()
}

/// A panic that a test intends, without a message on the terminal.
fn expected_panic() {
    std::panic::resume_unwind(Box::new("expected"));
}

#[test]
fn transaction_is_one_commit_and_reads_its_writes() {
    on_both(|host| {
        let runtime = &host.runtime;
        let worker = runtime
            .transaction(|tx| {
                let worker = tx.create_worker(CreateWorkerRequest::default())?.worker_ref;
                for text in ["one", "two", "three"] {
                    tx.send_input(&worker, WorkerInput::user(text))?;
                }
                assert_eq!(tx.worker_detail(&worker)?.transcript_len, 3);
                assert_eq!(tx.summary()?.active_worker_count, 1);
                assert_eq!(tx.diagnostics()?.len(), 2);
                assert_eq!(tx.list_workers()?.len(), 1);
                let page = tx.transcript_projection(&worker, TranscriptQuery::new(1, 2))?;
                let said: Vec<&str> = page
                    .items
                    .iter()
                    .map(|item| item.content.as_str())
                    .collect();
                assert_eq!(said, ["two", "three"]);
                let batch = tx.read_events(&runtime.event_cursor_from_start()?, 256)?;
                assert_eq!(batch.events.len(), 5);
                tx.stop_worker(&worker, None)?;
                assert!(matches!(
                    tx.send_input(&worker, WorkerInput::user("late")),
                    Err(RuntimeError::InvalidRequest(_))
                ));
                Ok(worker)
            })
            .unwrap();
        host.reopen();
        assert_eq!(all_entries(&host.runtime, &worker).len(), 3);
        assert_eq!(host.runtime.summary().unwrap().stopped_worker_count, 1);
        assert_whole(&host.runtime);
    });
}

#[test]
fn error_or_panic_rolls_back_whole_transaction() {
    on_both(|host| {
        let runtime = &host.runtime;
        let worker = with_workers(runtime, 1).remove(0);
        let before = (all_events(runtime), runtime.summary().unwrap());
        let failed: Result<(), _> = runtime.transaction(|tx| {
            tx.send_input(&worker, WorkerInput::user("gone"))?;
            tx.create_worker(CreateWorkerRequest::default())?;
            Err(RuntimeError::InvalidRequest("enough".to_owned()))
        });
        assert!(matches!(failed, Err(RuntimeError::InvalidRequest(reason)) if reason == "enough"));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            runtime.transaction(|tx| {
                tx.send_input(&worker, WorkerInput::user("gone"))?;
                expected_panic();
                Ok(())
            })
        }));
        assert!(panicked.is_err(), "the panic reaches its caller");
        assert_eq!(before, (all_events(runtime), runtime.summary().unwrap()));
        say(runtime, &worker, "still works").unwrap();
        host.reopen();
        assert_eq!(all_entries(&host.runtime, &worker).len(), 1);
    });
}

#[test]
fn failed_part_keeps_rest_of_transaction() {
    on_both(|host| {
        let worker = with_workers(&host.runtime, 1).remove(0);
        host.runtime
            .transaction(|tx| {
                tx.send_input(&worker, WorkerInput::user("kept"))?;
                assert!(tx.send_input(&worker, WorkerInput::user(" ")).is_err());
                tx.send_input(&worker, WorkerInput::user("kept, too"))
            })
            .unwrap();
        assert_eq!(all_entries(&host.runtime, &worker).len(), 2);
        assert_whole(&host.runtime);
    });
}

#[test]
fn store_calls_inside_its_transaction_are_refused() {
    on_both(|host| {
        let runtime = &host.runtime;
        let worker = with_workers(runtime, 1).remove(0);
        let other = Runtime::new_memory();
        runtime
            .transaction(|tx| {
                let called = say(runtime, &worker, "inner");
                assert!(
                    matches!(called, Err(RuntimeError::InvalidRequest(_))),
                    "{called:?}"
                );
                let nested = other.transaction(|_| say(runtime, &worker, "through another"));
                assert!(
                    matches!(nested, Err(RuntimeError::InvalidRequest(_))),
                    "{nested:?}"
                );
                let submitted = runtime.submit(|tx| tx.summary()).wait();
                assert!(matches!(submitted, Err(RuntimeError::InvalidRequest(_))));
                tx.send_input(&worker, WorkerInput::user("outer"))
            })
            .unwrap();
        assert_eq!(all_entries(runtime, &worker).len(), 1);
    });
}

fn submit_text(
    runtime: &Runtime,
    worker: &WorkerRef,
    text: String,
) -> Pending<WorkerInteractionAck> {
    let worker = worker.clone();
    runtime.submit(move |tx| tx.send_input(&worker, WorkerInput::user(text)))
}

#[test]
fn submissions_of_one_thread_keep_their_order() {
    on_both(|host| {
        let worker = with_workers(&host.runtime, 1).remove(0);
        let mut waiting = VecDeque::new();
        for number in 1..=600_u64 {
            waiting.push_back(submit_text(&host.runtime, &worker, number.to_string()));
            if waiting.len() == 100 {
                let acked = waiting.pop_front().unwrap().wait().unwrap();
                assert_eq!(acked.transcript_sequence, number - 99);
            }
        }
        for pending in waiting {
            pending.wait().unwrap();
        }
        host.reopen();
        let entries = all_entries(&host.runtime, &worker);
        let said: Vec<u64> = entries
            .iter()
            .map(|entry| entry.content.parse().unwrap())
            .collect();
        assert_eq!(said, (1..=600).collect::<Vec<u64>>());
    });
}

#[test]
fn dropped_submission_is_still_committed() {
    on_both(|host| {
        let worker = with_workers(&host.runtime, 1).remove(0);
        drop(submit_text(&host.runtime, &worker, "dropped".to_owned()));
        // Closing waits for the operations under way; in memory a later operation does.
        if host.kept == Kept::InMemory {
            say(&host.runtime, &worker, "later").unwrap();
        }
        host.reopen();
        assert_eq!(all_entries(&host.runtime, &worker)[0].content, "dropped");
    });
}

#[test]
fn submission_outlives_the_last_handle() {
    let place = Place::new();
    let runtime = place.open().runtime(named("r")).unwrap();
    let worker = with_workers(&runtime, 1).remove(0);
    drop(submit_text(&runtime, &worker, "submitted".to_owned()));
    drop(runtime);
    // The background thread may still have the store open: then this opens the same store.
    let runtime = place.open().runtime(named("r")).unwrap();
    assert_eq!(say(&runtime, &worker, "later").unwrap(), 4);
    let said: Vec<String> = all_entries(&runtime, &worker)
        .into_iter()
        .map(|e| e.content)
        .collect();
    assert_eq!(said, ["submitted", "later"]);
}

#[test]
fn submission_error_and_panic_reach_the_waiter() {
    on_both(|host| {
        let worker = with_workers(&host.runtime, 1).remove(0);
        let blank = submit_text(&host.runtime, &worker, " ".to_owned()).wait();
        assert!(
            matches!(blank, Err(RuntimeError::InvalidRequest(_))),
            "{blank:?}"
        );
        let panicking = host.runtime.submit(|_| {
            expected_panic();
            Ok(())
        });
        assert!(catch_unwind(AssertUnwindSafe(|| panicking.wait())).is_err());
        submit_text(&host.runtime, &worker, "works".to_owned())
            .wait()
            .unwrap();
        assert_eq!(all_entries(&host.runtime, &worker).len(), 1);
    });
}

/// Sends through the future, forty at a time.
async fn send_awaiting(runtime: Runtime, worker: WorkerRef, rounds: u64) -> Vec<u64> {
    let mut ids = Vec::new();
    for round in 0..rounds {
        let all: Vec<_> = (0..40)
            .map(|number| submit_text(&runtime, &worker, format!("{round}/{number}")))
            .collect();
        for pending in all {
            ids.push(pending.await.unwrap().event_id);
        }
    }
    ids
}

#[test]
fn pending_is_a_future_for_any_executor() {
    on_both(|host| {
        let workers = with_workers(&host.runtime, 2);
        let (runtime, worker) = (host.runtime.clone(), workers[0].clone());
        let simple = pollster::block_on(send_awaiting(runtime, worker, 5));
        assert!(simple.is_sorted(), "in order: {simple:?}");
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let ids = tokio.block_on(async {
            let tasks: Vec<_> = (0..4)
                .map(|_| tokio::spawn(send_awaiting(host.runtime.clone(), workers[1].clone(), 3)))
                .collect();
            let mut ids = Vec::new();
            for task in tasks {
                ids.extend(task.await.unwrap());
            }
            ids
        });
        assert_eq!(ids.len(), 480);
        assert_eq!(all_entries(&host.runtime, &workers[1]).len(), 480);
        assert_whole(&host.runtime);
    });
}

#[test]
fn finished_pending_refuses_another_wait() {
    let runtime = fresh().runtime(named("r")).unwrap();
    let mut pending = runtime.submit(|tx| tx.summary());
    pollster::block_on(&mut pending).unwrap();
    assert!(matches!(
        pending.wait(),
        Err(RuntimeError::InvalidRequest(_))
    ));
}

/// The steps of one thread of the property test.
#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    SendBlank(usize),
    Submit(usize),
    Create,
    Stop(usize),
    Transaction(usize, usize),
    FailingTransaction(usize),
    PanickingTransaction(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let worker = || 0..4_usize;
    prop_oneof![
        6 => worker().prop_map(Step::Send),
        2 => worker().prop_map(Step::SendBlank),
        4 => worker().prop_map(Step::Submit),
        1 => Just(Step::Create),
        1 => worker().prop_map(Step::Stop),
        3 => (worker(), worker()).prop_map(|(a, b)| Step::Transaction(a, b)),
        3 => worker().prop_map(Step::FailingTransaction),
        2 => worker().prop_map(Step::PanickingTransaction),
    ]
}

/// An operation that was acknowledged, by its last event.
type Acknowledged = (u64, Box<dyn FnOnce(&Runtime) -> u64 + Send>);

fn send_acked(text: String, worker: WorkerRef, event_id: u64) -> Acknowledged {
    let replay = move |model: &Runtime| say(model, &worker, &text).unwrap();
    (event_id, Box::new(replay))
}

/// Runs a step. Returns the acknowledged operations that are in the log.
fn run_step(
    runtime: &Runtime,
    workers: &[WorkerRef],
    text: &str,
    step: Step,
) -> Option<Acknowledged> {
    let input = || WorkerInput::user(text);
    match step {
        Step::Send(at) => {
            let acked = runtime.send_input(&workers[at], input()).ok()?;
            Some(send_acked(
                text.to_owned(),
                workers[at].clone(),
                acked.event_id,
            ))
        }
        Step::SendBlank(at) => {
            runtime
                .send_input(&workers[at], WorkerInput::user(" "))
                .unwrap_err();
            None
        }
        Step::Submit(at) => {
            let acked = submit_text(runtime, &workers[at], text.to_owned())
                .wait()
                .ok()?;
            Some(send_acked(
                text.to_owned(),
                workers[at].clone(),
                acked.event_id,
            ))
        }
        Step::Create => {
            let acked = runtime
                .create_worker(CreateWorkerRequest::default())
                .unwrap();
            let create = |model: &Runtime| {
                model
                    .create_worker(CreateWorkerRequest::default())
                    .unwrap()
                    .last_event_id
            };
            Some((acked.last_event_id, Box::new(create)))
        }
        Step::Stop(at) => {
            let acked = runtime
                .stop_worker(&workers[at], Some(text.to_owned()))
                .unwrap();
            let (worker, text) = (workers[at].clone(), text.to_owned());
            // A second stop returns the event of the first: replaying it changes nothing either.
            let stop =
                move |model: &Runtime| model.stop_worker(&worker, Some(text)).unwrap().event_id;
            Some((acked.event_id, Box::new(stop)))
        }
        Step::Transaction(a, b) => {
            let acked = send_both(runtime, &workers[a], &workers[b], text).ok()?;
            let (a, b, text) = (workers[a].clone(), workers[b].clone(), text.to_owned());
            let replay = move |model: &Runtime| send_both(model, &a, &b, &text).unwrap().event_id;
            Some((acked.event_id, Box::new(replay)))
        }
        Step::FailingTransaction(at) => {
            fail_in_transaction(runtime, &workers[at], text);
            None
        }
        Step::PanickingTransaction(at) => {
            panic_in_transaction(runtime, &workers[at], text);
            None
        }
    }
}

fn send_both(
    runtime: &Runtime,
    a: &WorkerRef,
    b: &WorkerRef,
    text: &str,
) -> Result<WorkerInteractionAck, RuntimeError> {
    runtime.transaction(|tx| {
        tx.send_input(a, WorkerInput::user(format!("{text}, first")))?;
        tx.send_input(b, WorkerInput::user(format!("{text}, second")))
    })
}

fn fail_in_transaction(runtime: &Runtime, worker: &WorkerRef, text: &str) {
    let failed: Result<(), _> = runtime.transaction(|tx| {
        let _ = tx.send_input(worker, WorkerInput::user(text));
        tx.create_worker(CreateWorkerRequest::default())?;
        Err(RuntimeError::InvalidRequest("on purpose".to_owned()))
    });
    failed.unwrap_err();
}

fn panic_in_transaction(runtime: &Runtime, worker: &WorkerRef, text: &str) {
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        runtime.transaction(|tx| {
            let _ = tx.send_input(worker, WorkerInput::user(text));
            expected_panic();
            Ok(())
        })
    }));
    panicked.unwrap_err();
}

/// The whole content of a runtime of the property test, except the reasons of stops.
fn state(runtime: &Runtime) -> impl PartialEq + std::fmt::Debug {
    let workers = runtime.list_workers().unwrap();
    let transcripts: Vec<_> = workers
        .iter()
        .map(|worker| all_entries(runtime, &worker.worker_ref))
        .collect();
    let events: Vec<_> = all_events(runtime)
        .into_iter()
        .map(|event| (event.id, event.kind, event.worker_ref))
        .collect();
    let next = runtime.event_cursor_now().unwrap();
    (
        workers,
        transcripts,
        events,
        runtime.diagnostics().unwrap(),
        next,
    )
}

fn check_against_sequential_model(kept: Kept, threads: Vec<Vec<Step>>) {
    let host = crate::support::Host::new(kept, named("r"));
    let runtime = &host.runtime;
    let workers = with_workers(runtime, 4);
    let acknowledged: Mutex<Vec<Acknowledged>> = Mutex::default();
    std::thread::scope(|scope| {
        for (thread, steps) in threads.into_iter().enumerate() {
            let (workers, acknowledged) = (&workers, &acknowledged);
            scope.spawn(move || {
                for (number, step) in steps.into_iter().enumerate() {
                    let text = format!("thread {thread}, step {number}");
                    let acked = run_step(runtime, workers, &text, step);
                    acknowledged.lock().unwrap().extend(acked);
                }
            });
        }
    });
    let model = Store::in_memory().unwrap().runtime(named("r")).unwrap();
    with_workers(&model, 4);
    let mut acknowledged = acknowledged.into_inner().unwrap();
    acknowledged.sort_by_key(|(event_id, _)| *event_id);
    // A stop of a worker that was stopped already returns the first one's event: of those that
    // share one, the acknowledgements do not tell which came first.
    let mut last = 0;
    for (event_id, replay) in acknowledged {
        if event_id != last {
            assert_eq!(replay(&model), event_id);
        }
        last = event_id;
    }
    assert_eq!(state(runtime), state(&model));
    assert_whole(runtime);
}

proptest! {
    #![proptest_config(seeded(40))]
    #[test]
    fn interleavings_equal_a_sequence(
        threads in prop::collection::vec(prop::collection::vec(step(), 0..25), 8)
    ) {
        check_against_sequential_model(Kept::ALL[0], threads);
    }
}

proptest! {
    #![proptest_config(seeded(3))]
    #[test]
    fn interleavings_equal_a_sequence_that_lasts(
        threads in prop::collection::vec(prop::collection::vec(step(), 0..25), 8)
    ) {
        check_against_sequential_model(Kept::LASTING, threads);
    }
}
