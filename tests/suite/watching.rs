//! Followers of an event log.

use crate::support::{
    Place, TestChild, all_events, assert_refused, assert_whole, bulk, cursor, first_worker,
    full_request, named, on_both, runtime_id, say, tell, told_as_child, wait_to_be_killed,
};
use redb_runtime_store::management::RuntimeLimits;
use redb_runtime_store::observation::RuntimeEvent;
use redb_runtime_store::{EventFollower, Runtime, RuntimeError};
use std::time::Duration;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// The next `count` events.
pub(crate) fn next(follower: &mut EventFollower, count: usize) -> Vec<RuntimeEvent> {
    let mut events = Vec::new();
    while events.len() < count {
        let batch = follower.next_batch(LONG).unwrap();
        events.extend(batch.expect("an event within the time").events);
    }
    events
}

#[test]
fn follower_gets_each_event_once() {
    on_both(|host| follow_threads(&host.runtime));
}

fn follow_threads(runtime: &Runtime) {
    runtime
        .set_limits(RuntimeLimits {
            max_event_batch_items: 5,
            ..RuntimeLimits::default()
        })
        .unwrap();
    let workers: Vec<_> = (0..4)
        .map(|_| runtime.create_worker(full_request()).unwrap().worker_ref)
        .collect();
    let total = 1 + 4 + 4 * 50;
    let begin = std::time::Instant::now();
    let followers: Vec<_> = (0..3)
        .map(|_| {
            let start = runtime.event_cursor_from_start().unwrap();
            let mut follower = runtime.follow_events(start).unwrap();
            std::thread::spawn(move || {
                let mut events = Vec::new();
                while events.len() < total {
                    let batch = follower.next_batch(LONG).unwrap().unwrap();
                    assert!(batch.events.len() <= 5, "more than the runtime's limit");
                    events.extend(batch.events);
                    assert_eq!(follower.cursor(), &batch.cursor);
                }
                events
            })
        })
        .collect();
    std::thread::scope(|scope| {
        for worker in &workers {
            scope.spawn(|| {
                for input in 0..50 {
                    say(runtime, worker, &format!("input {input}")).unwrap();
                }
            });
        }
    });
    for follower in followers {
        assert_eq!(follower.join().unwrap(), all_events(runtime));
    }
    assert!(
        begin.elapsed() < LONG / 2,
        "followers are woken, and do not wait for their timeout"
    );
}

#[test]
fn follower_without_news_keeps_its_cursor() {
    on_both(|host| follow_without_news(&host.runtime));
}

fn follow_without_news(runtime: &Runtime) {
    let mut follower = runtime
        .follow_events(runtime.event_cursor_now().unwrap())
        .unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(30)] {
        assert_eq!(follower.next_batch(timeout).unwrap(), None);
        assert_eq!(follower.cursor().next_event_id, 2);
    }
    // An operation that logs no event wakes no follower with a batch.
    runtime.set_display_name(Some("name".to_owned())).unwrap();
    assert_eq!(follower.next_batch(Duration::ZERO).unwrap(), None);
    runtime.stop_runtime().unwrap();
    assert_eq!(next(&mut follower, 1)[0].message, "runtime r stopped");
    let foreign = runtime.follow_events(cursor("another", 1));
    assert_refused!(foreign, RuntimeError::WrongRuntimeCursor { .. });
}

#[test]
fn follower_refuses_waiting_inside_transaction() {
    on_both(|host| {
        let start = host.runtime.event_cursor_from_start().unwrap();
        let mut follower = host.runtime.follow_events(start).unwrap();
        host.runtime
            .transaction(|tx| {
                // Committed events can be read.
                assert!(follower.next_batch(Duration::ZERO).unwrap().is_some());
                assert_eq!(follower.next_batch(Duration::ZERO).unwrap(), None);
                let waited = follower.next_batch(LONG);
                assert_refused!(waited, RuntimeError::InvalidRequest(_));
                tx.create_worker(full_request())
            })
            .unwrap();
        assert_eq!(next(&mut follower, 1).len(), 1);
    });
}

#[cfg(feature = "fault-injection")]
#[test]
fn closing_the_store_wakes_followers() {
    let runtime = Place::new().open().runtime(named("r")).unwrap();
    let now = runtime.event_cursor_now().unwrap();
    let mut follower = runtime.follow_events(now).unwrap();
    let (ends, ended) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || ends.send(follower.next_batch(Duration::MAX)));
    while runtime.store().waiting_followers() == 0 {
        assert!(!waiting.is_finished(), "it returns without an event");
        std::thread::yield_now();
    }
    runtime.store().close().unwrap();
    let ended = ended.recv_timeout(LONG).expect("the follower still waits");
    assert_refused!(ended, RuntimeError::StoreClosed { .. });
}

#[test]
fn follower_survives_kills_of_the_writer() {
    let name = "watching::follower_survives_kills_of_the_writer";
    if let Some(path) = told_as_child() {
        let runtime = Place::at(&path).open().runtime(named("r")).unwrap();
        let worker = first_worker(&runtime);
        for input in 0..500 {
            say(&runtime, &worker, &format!("input {input}")).unwrap();
        }
        tell("done");
        wait_to_be_killed();
    }
    let place = Place::new();
    let open = || place.open().runtime(named("r")).unwrap();
    open().store().close().unwrap();
    let follower = place.open_read_only();
    let follower = follower.runtime(named("r")).unwrap();
    let start = follower.event_cursor_from_start().unwrap();
    let mut follower = follower.follow_events(start).unwrap();
    let mut events = Vec::new();
    for _ in 0..2 {
        let mut writer = TestChild::start(name, place.address());
        // The first events are read while it writes.
        events.extend(next(&mut follower, 100));
        assert_eq!(writer.hear().as_deref(), Some("done"));
        // It never closes the store: the next writer of a file repairs it while this reader has it open.
        writer.kill();
    }
    let runtime = open();
    runtime.stop_runtime().unwrap();
    while events.len() < 1003 {
        events.extend(next(&mut follower, 1));
    }
    assert_eq!(follower.next_batch(Duration::ZERO).unwrap(), None);
    assert_eq!(events, all_events(&runtime));
    assert_whole(&runtime);
}

#[test]
fn follower_elsewhere_sees_commits_and_the_removal() {
    let place = Place::new();
    let runtime = place.open().runtime(named("r")).unwrap();
    let reader = place.open_read_only().runtime(named("r")).unwrap();
    let now = reader.event_cursor_now().unwrap();
    let mut follower = reader.follow_events(now).unwrap();
    assert_eq!(follower.next_batch(Duration::ZERO).unwrap(), None);
    runtime.create_worker(full_request()).unwrap();
    assert_eq!(next(&mut follower, 1)[0].id, 2);
    bulk(runtime.store(), |load| {
        load.remove_runtime(&runtime_id("r"))
    });
    assert_refused!(
        follower.next_batch(Duration::MAX),
        RuntimeError::RuntimeNotFound { .. }
    );
}
