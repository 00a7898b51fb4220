//! Limits that a host sets, and the counts of commits.

use crate::support::{Place, named, new_worker, on_both, say};
use redb_runtime_store::RuntimeError;
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::interaction::WorkerInput;

#[test]
fn entry_over_the_limit_is_refused_before_anything_is_written() {
    let place = Place::new();
    let store = place.open_with(Place::options().max_entry_bytes(10));
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    say(&runtime, &worker, "0123456789").unwrap();
    let events = runtime.event_cursor_now().unwrap();
    let refused = [
        runtime.send_input(&worker, WorkerInput::user("0123456789a")),
        runtime.append_reply(&worker, "0123456789a"),
        runtime.append_reply_with(&worker, "0123", Attributes::new().with("a", 1).unwrap()),
    ];
    for refused in refused {
        match refused {
            Err(RuntimeError::EntryTooLarge { bytes: 11, max: 10 }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(runtime.event_cursor_now().unwrap(), events);
}

#[test]
fn metrics_count_commits_and_operations() {
    on_both(|host| {
        let (runtime, store) = (&host.runtime, host.runtime.store());
        let worker = new_worker(runtime);
        assert_eq!(store.metrics().commits, 2);
        let before = store.metrics();
        for _ in 0..10 {
            say(runtime, &worker, "hello").unwrap();
        }
        runtime
            .transaction(|transaction| transaction.send_input(&worker, WorkerInput::user("x")))
            .unwrap();
        runtime
            .send_input(&worker, WorkerInput::user(" "))
            .unwrap_err();
        let after = store.metrics();
        assert_eq!(after.commits - before.commits, 11);
        assert_eq!(after.operations - before.operations, 11);
        assert_eq!(after.failures, 0);
        assert!(after.bytes > before.bytes);
        let timed: u64 = after.commit_times.iter().map(|class| class.commits).sum();
        assert_eq!(timed, after.commits);
    });
}
