//! Attributes of workers and entries, and filters over workers.

use crate::support::{Host, full_request, new_worker, on_both, say};
use redb_runtime_store::RuntimeError;
use redb_runtime_store::attributes::{Attributes, MAX_ATTRIBUTES_BYTES};
use redb_runtime_store::catalog::{CreateWorkerRequest, WorkerFilter, WorkerStatus};
use redb_runtime_store::identity::{WorkerId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
use std::time::{Duration, SystemTime};

fn of(json: &str) -> Attributes {
    Attributes::from_json(json).unwrap()
}

fn ids(page: &redb_runtime_store::catalog::WorkerPage) -> Vec<String> {
    let workers = page.workers.iter();
    workers
        .map(|worker| worker.summary.worker_id.to_string())
        .collect()
}

fn assert_invalid<T: std::fmt::Debug>(result: Result<T, RuntimeError>, why: &str) {
    match result {
        Err(RuntimeError::InvalidRequest(text)) if text.contains(why) => {}
        other => panic!("{why}: {other:?}"),
    }
}

#[test]
fn attributes_of_workers_and_entries_survive_reopening() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let created = runtime
            .create_worker_with(full_request(), of(r#"{"title":"a","gone":null}"#))
            .unwrap();
        let worker = created.worker_ref;
        let input = WorkerInput::user("question");
        let model = of(r#"{"model":"m-1","tokens":12}"#);
        runtime
            .send_input_with(&worker, input, model.clone())
            .unwrap();
        runtime
            .append_reply_with(&worker, "answer", of(r#"{"tokens":7}"#))
            .unwrap();
        runtime.append_reply(&worker, "bare").unwrap();

        host.reopen();
        let runtime = host.runtime.clone();
        assert_eq!(runtime.attributes(&worker).unwrap(), of(r#"{"title":"a"}"#));
        let page = runtime
            .recorded_transcript(&worker, TranscriptQuery::new(0, 10))
            .unwrap();
        let of_entries: Vec<_> = page
            .items
            .iter()
            .map(|item| item.attributes.clone())
            .collect();
        assert_eq!(
            of_entries,
            [model, of(r#"{"tokens":7}"#), Attributes::new()]
        );
        assert!(runtime.store().verify().unwrap().is_clean());
    });
}

#[test]
fn patch_merges_and_logs_no_event() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = new_worker(&runtime);
        let events = runtime.event_cursor_now().unwrap();
        runtime
            .set_attributes(&worker, of(r#"{"a":{"x":1,"y":2},"b":1}"#))
            .unwrap();
        let merged = runtime
            .set_attributes(&worker, of(r#"{"a":{"x":null,"z":3},"b":null}"#))
            .unwrap();
        assert_eq!(merged, of(r#"{"a":{"y":2,"z":3}}"#));
        runtime.stop_runtime().unwrap();
        let merged = runtime.set_attributes(&worker, of(r#"{"c":1}"#)).unwrap();
        assert_eq!(merged, of(r#"{"a":{"y":2,"z":3},"c":1}"#));
        assert_eq!(runtime.attributes(&worker).unwrap(), merged);
        // One event, of the stop.
        assert_eq!(
            runtime.event_cursor_now().unwrap().next_event_id,
            events.next_event_id + 1
        );
    });
}

#[test]
fn names_of_the_store_and_large_attributes_are_refused() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = new_worker(&runtime);
        let of_store = || of(r#"{"$once":1}"#);
        assert_invalid(runtime.set_attributes(&worker, of_store()), "$once");
        assert_invalid(
            runtime.create_worker_with(full_request(), of_store()),
            "$once",
        );
        let input = || WorkerInput::user("x");
        assert_invalid(
            runtime.send_input_with(&worker, input(), of_store()),
            "$once",
        );
        let text = |bytes: usize| "x".repeat(bytes - r#"{"t":""}"#.len());
        let most = Attributes::new()
            .with("t", text(MAX_ATTRIBUTES_BYTES))
            .unwrap();
        let more = Attributes::new()
            .with("t", text(MAX_ATTRIBUTES_BYTES + 1))
            .unwrap();
        assert_eq!(runtime.set_attributes(&worker, most.clone()).unwrap(), most);
        assert_invalid(runtime.set_attributes(&worker, more.clone()), "65537 bytes");
        assert_invalid(runtime.append_reply_with(&worker, "r", more), "65537 bytes");
        // A patch is measured by its result.
        assert_invalid(
            runtime.set_attributes(&worker, of(r#"{"u":1}"#)),
            "65542 bytes",
        );
        assert_eq!(runtime.attributes(&worker).unwrap(), most);
    });
}

#[test]
fn filters_select_by_status_attributes_and_change() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let workers: Vec<WorkerRef> = (0..5)
            .map(|number| {
                let attributes = Attributes::new().with("odd", number % 2 == 1).unwrap();
                let created = runtime.create_worker_with(full_request(), attributes);
                created.unwrap().worker_ref
            })
            .collect();
        runtime.stop_worker(&workers[1], None).unwrap();
        runtime.cancel_worker(&workers[2], None).unwrap();
        let id = |index: usize| workers[index].worker_id.to_string();
        let select = |filter: WorkerFilter| runtime.workers(&filter).unwrap();
        let all = select(WorkerFilter::new());
        assert_eq!(ids(&all), (0..5).map(id).collect::<Vec<_>>());
        let ended = WorkerFilter::new()
            .status(WorkerStatus::Stopped)
            .status(WorkerStatus::Cancelled);
        assert_eq!(ids(&select(ended)), [id(1), id(2)]);
        let odd = WorkerFilter::new().attributes(of(r#"{"odd":true}"#));
        assert_eq!(ids(&select(odd.clone())), [id(1), id(3)]);
        let odd_running = odd.status(WorkerStatus::Running);
        assert_eq!(ids(&select(odd_running)), [id(3)]);

        // Pages.
        let first = select(WorkerFilter::new().limit(2));
        assert_eq!(ids(&first), [id(0), id(1)]);
        let second = WorkerFilter::new().limit(3).after(first.next.unwrap());
        let second = select(second);
        assert_eq!(ids(&second), [id(2), id(3), id(4)]);
        assert_eq!(second.next, None);

        // Changes.
        let seen = all.last_change;
        let since = || WorkerFilter::new().changed_since(seen);
        assert_eq!(ids(&select(since())), Vec::<String>::new());
        say(&runtime, &workers[4], "hello").unwrap();
        runtime
            .set_attributes(&workers[0], of(r#"{"odd":null}"#))
            .unwrap();
        let changed = select(since());
        assert_eq!(ids(&changed), [id(0), id(4)]);
        assert_eq!(changed.last_change, seen + 2);
        // A patch that changes nothing is no change.
        runtime
            .set_attributes(&workers[0], Attributes::new())
            .unwrap();
        assert_eq!(select(since()).last_change, seen + 2);
        let later = SystemTime::now() + Duration::from_secs(3600);
        let after = WorkerFilter::new().changed_at_or_after(later);
        assert_eq!(ids(&select(after)), Vec::<String>::new());
        let since_the_epoch = WorkerFilter::new().changed_at_or_after(SystemTime::UNIX_EPOCH);
        assert_eq!(select(since_the_epoch).workers.len(), 5);
    });
}

#[test]
fn worker_created_again_is_the_same_worker() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let id = || WorkerId::new("mine").unwrap();
        let first = runtime.create_worker_as(id(), full_request()).unwrap();
        say(&runtime, &first.worker_ref, "hello").unwrap();
        host.reopen();
        let runtime = host.runtime.clone();
        let events = runtime.event_cursor_now().unwrap();
        let again = runtime.create_worker_as(id(), full_request()).unwrap();
        assert_eq!(
            (&again.worker_ref, again.transcript_len),
            (&first.worker_ref, 1)
        );
        let other = CreateWorkerRequest::default();
        match runtime.create_worker_as(id(), other.clone()) {
            Err(RuntimeError::WorkerExists { worker_ref }) => {
                assert_eq!(worker_ref, first.worker_ref);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(runtime.event_cursor_now().unwrap(), events);
        // In a transaction it is seen before the commit.
        runtime
            .transaction(|transaction| {
                let new = WorkerId::new("new").unwrap();
                let one = transaction.create_worker_as(new.clone(), other.clone())?;
                let two = transaction.create_worker_as(new, other.clone())?;
                assert_eq!(one.worker_ref, two.worker_ref);
                Ok(())
            })
            .unwrap();
        runtime.stop_worker(&first.worker_ref, None).unwrap();
        runtime.delete_worker(&first.worker_ref).unwrap();
        assert_invalid(
            runtime.create_worker_as(id(), full_request()),
            "was deleted",
        );
        // A stopped runtime still recognises the request.
        runtime.stop_runtime().unwrap();
        runtime
            .create_worker_as(WorkerId::new("new").unwrap(), other)
            .unwrap();
    });
}
