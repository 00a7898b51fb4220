//! Inputs that a host can send again. What needs a file is in `sends_in_files`.

use crate::support::{Host, all_entries, new_worker, on_both, say};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::{Runtime, RuntimeError};
use std::sync::Barrier;
use std::thread;

pub(crate) fn once(
    runtime: &Runtime,
    worker: &redb_runtime_store::identity::WorkerRef,
    key: &str,
    text: &str,
) -> Result<u64, RuntimeError> {
    let ack = runtime.send_input_once(worker, key, WorkerInput::user(text))?;
    Ok(ack.transcript_sequence)
}

#[test]
fn repeated_input_returns_its_acknowledgement() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = new_worker(&runtime);
        let input = || WorkerInput::user("hello");
        let first = runtime.send_input_once(&worker, "k", input()).unwrap();
        say(&runtime, &worker, "between").unwrap();
        let events = runtime.event_cursor_now().unwrap();
        assert_eq!(
            runtime.send_input_once(&worker, "k", input()).unwrap(),
            first
        );
        host.reopen();
        let runtime = host.runtime.clone();
        assert_eq!(
            runtime.send_input_once(&worker, "k", input()).unwrap(),
            first
        );
        // Also if it could not be accepted any more.
        runtime.stop_worker(&worker, None).unwrap();
        runtime.stop_runtime().unwrap();
        assert_eq!(
            runtime.send_input_once(&worker, "k", input()).unwrap(),
            first
        );
        assert_eq!(all_entries(&runtime, &worker).len(), 2);
        // Two events, of the stops.
        let now = runtime.event_cursor_now().unwrap();
        assert_eq!(now.next_event_id, events.next_event_id + 2);
    });
}

#[test]
fn key_with_another_input_is_refused() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let (worker, other) = (new_worker(&runtime), new_worker(&runtime));
        once(&runtime, &worker, "k", "hello").unwrap();
        for input in [WorkerInput::user("Hello"), WorkerInput::system("hello")] {
            match runtime.send_input_once(&worker, "k", input) {
                Err(RuntimeError::KeyReused { worker_ref, key }) => {
                    assert_eq!((worker_ref, key.as_str()), (worker.clone(), "k"));
                }
                other => panic!("{other:?}"),
            }
        }
        // A key is of one worker.
        once(&runtime, &other, "k", "something else").unwrap();
        for blank in ["", " ", &"k".repeat(1025)] {
            let refused = once(&runtime, &worker, blank, "x").unwrap_err();
            assert!(
                matches!(refused, RuntimeError::InvalidRequest(_)),
                "{refused}"
            );
        }
        assert_eq!(all_entries(&runtime, &worker).len(), 1);
    });
}

#[test]
fn key_counts_for_256_entries() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = new_worker(&runtime);
        let first = once(&runtime, &worker, "k", "hello").unwrap();
        for number in 0..255 {
            once(&runtime, &worker, &format!("{number}"), "x").unwrap();
        }
        assert_eq!(once(&runtime, &worker, "k", "hello").unwrap(), first);
        host.reopen();
        let runtime = host.runtime.clone();
        assert_eq!(once(&runtime, &worker, "k", "hello").unwrap(), first);
        say(&runtime, &worker, "one more").unwrap();
        let again = once(&runtime, &worker, "k", "hello").unwrap();
        assert_eq!(again, first + 257);
        // The newest entry counts.
        assert_eq!(once(&runtime, &worker, "k", "hello").unwrap(), again);
    });
}

#[test]
fn undone_input_leaves_no_key() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = new_worker(&runtime);
        let undone = runtime.transaction(|transaction| {
            let input = WorkerInput::user("hello");
            let one = transaction.send_input_once(&worker, "k", input.clone())?;
            let two = transaction.send_input_once(&worker, "k", input)?;
            assert_eq!(one, two);
            Err::<(), _>(RuntimeError::InvalidRequest("undo".into()))
        });
        undone.unwrap_err();
        // Another entry at the same position.
        say(&runtime, &worker, "plain").unwrap();
        let sent = once(&runtime, &worker, "k", "hello").unwrap();
        assert_eq!(sent, 2);
        assert_eq!(once(&runtime, &worker, "k", "hello").unwrap(), sent);
        assert_eq!(all_entries(&runtime, &worker).len(), 2);
    });
}

#[test]
fn threads_with_one_key_write_one_entry() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = new_worker(&runtime);
        let barrier = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for round in 0..20 {
                        barrier.wait();
                        once(&runtime, &worker, &format!("k{round}"), "hello").unwrap();
                    }
                });
            }
        });
        assert_eq!(all_entries(&runtime, &worker).len(), 20);
    });
}
