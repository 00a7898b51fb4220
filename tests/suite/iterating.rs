//! Iterators over whole logs, and the way from an event to its entry.

use crate::retention::prune;
use crate::support::{all_entries, all_events, new_worker, on_both, say, send_many};
use redb_runtime_store::RuntimeError;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::observation::EventCursor;
use redb_runtime_store::retention::Retention;
use std::time::Duration;

#[test]
fn iterators_return_every_row_and_end() {
    on_both(|host| {
        let runtime = &host.runtime;
        let worker = new_worker(runtime);
        send_many(runtime, &worker, 600);
        runtime.append_reply(&worker, "the last").unwrap();
        let start = runtime.event_cursor_from_start().unwrap();
        let events = runtime.events(start.clone()).unwrap();
        let events: Vec<_> = events.map(|event| event.unwrap().event).collect();
        assert_eq!(events, all_events(runtime));
        let entries = runtime.entries(&worker, 0).unwrap();
        let entries: Vec<_> = entries.map(|entry| entry.unwrap().entry).collect();
        assert_eq!(entries, all_entries(runtime, &worker));
        let from = runtime.entries(&worker, 599).unwrap();
        assert_eq!(from.count(), 2);
        let from = EventCursor {
            next_event_id: 600,
            ..start
        };
        let first = runtime.events(from).unwrap().next().unwrap();
        assert_eq!(first.unwrap().event.id, 600);
    });
}

#[test]
fn iterators_see_what_is_committed_meanwhile() {
    on_both(|host| {
        let runtime = &host.runtime;
        let worker = new_worker(runtime);
        let start = runtime.event_cursor_from_start().unwrap();
        let mut events = runtime.events(start).unwrap();
        let mut entries = runtime.entries(&worker, 0).unwrap();
        assert_eq!(events.by_ref().count(), all_events(runtime).len());
        assert!(entries.next().is_none());
        let sent = runtime
            .send_input(&worker, WorkerInput::user("more"))
            .unwrap();
        assert_eq!(events.next().unwrap().unwrap().event.id, sent.event_id);
        assert_eq!(entries.next().unwrap().unwrap().entry.content, "more");
        assert!(events.next().is_none() && entries.next().is_none());
        assert_eq!(entries.position(), 1);
        assert_eq!(events.cursor().next_event_id, sent.event_id + 1);
        let none = events.into_follower().next_batch(Duration::ZERO).unwrap();
        assert_eq!(none, None);
        assert!(
            entries
                .into_follower()
                .next_page(Duration::ZERO)
                .unwrap()
                .is_none()
        );
    });
}

#[test]
fn iterators_report_pruned_rows_once() {
    on_both(|host| {
        let runtime = &host.runtime;
        let worker = new_worker(runtime);
        say(runtime, &worker, "a").unwrap();
        let start = runtime.event_cursor_from_start().unwrap();
        let mut events = runtime.events(start).unwrap();
        events.next().unwrap().unwrap();
        let mut entries = runtime.entries(&worker, 0).unwrap();
        entries.next().unwrap().unwrap();
        let (mut fresh, mut later) = (
            runtime
                .events(runtime.event_cursor_from_start().unwrap())
                .unwrap(),
            runtime.entries(&worker, 1).unwrap(),
        );
        for _ in 0..5 {
            say(runtime, &worker, "b").unwrap();
        }
        prune(runtime, Retention::new().keep_events(1).keep_entries(1));
        for pruned in [
            fresh.next().unwrap().map(drop),
            later.next().unwrap().map(drop),
        ] {
            let is_pruned = matches!(pruned, Err(RuntimeError::EventsPruned { .. }));
            assert!(is_pruned, "{pruned:?}");
        }
        assert!(fresh.next().is_none() && later.next().is_none());
        // A follower tries again, and says the same.
        assert!(fresh.into_follower().next_batch(Duration::ZERO).is_err());
        assert!(later.into_follower().next_page(Duration::ZERO).is_err());
    });
}

#[test]
fn entry_of_an_event_is_that_of_its_input() {
    on_both(|host| {
        let runtime = &host.runtime;
        let (first, second) = (new_worker(runtime), new_worker(runtime));
        // It has the id of the event before it, which no input made.
        runtime.append_reply(&first, "before any input").unwrap();
        let mut sent = Vec::new();
        for number in 0..50 {
            for worker in [&first, &second] {
                let input = WorkerInput::user(format!("{number} of {worker}"));
                let event = runtime.send_input(worker, input).unwrap().event_id;
                sent.push((worker.clone(), event, format!("{number} of {worker}")));
                for _ in 0..number % 3 {
                    runtime
                        .append_reply(worker, "a reply with the same event")
                        .unwrap();
                }
            }
        }
        let snapshot = runtime.store().snapshot().unwrap();
        for (worker, event, content) in &sent {
            let entry = snapshot.entry_of_event(worker, *event).unwrap();
            assert_eq!(entry.map(|entry| entry.content).as_ref(), Some(content));
            let other = if *worker == first { &second } else { &first };
            assert_eq!(snapshot.entry_of_event(other, *event).unwrap(), None);
        }
        for event in [0, 1, 2, 3, u64::MAX] {
            assert_eq!(snapshot.entry_of_event(&first, event).unwrap(), None);
        }
        drop(snapshot);
        prune(runtime, Retention::new().keep_entries(10));
        let snapshot = runtime.store().snapshot().unwrap();
        let (worker, event, _) = &sent[0];
        assert_eq!(snapshot.entry_of_event(worker, *event).unwrap(), None);
        let (worker, event, content) = sent.last().unwrap();
        let entry = snapshot.entry_of_event(worker, *event).unwrap();
        assert_eq!(entry.map(|entry| entry.content).as_ref(), Some(content));
    });
}

#[test]
fn closing_a_runtime_closes_its_store() {
    on_both(|host| {
        let runtime = host.runtime.clone();
        runtime.close().unwrap();
        let refused = host.runtime.summary();
        assert!(
            matches!(refused, Err(RuntimeError::StoreClosed { .. })),
            "{refused:?}"
        );
    });
}
