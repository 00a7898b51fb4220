//! Inputs that a host can send again.

use crate::sharing::{as_child, child, first_worker, many, wait_to_be_killed};
use crate::support::{Host, all_entries, named, new_worker, on_both, say, scratch, tell};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::store::Sharing;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::path::Path;
use std::sync::Barrier;
use std::thread;

fn once(
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

#[test]
fn processes_with_one_key_write_one_entry() {
    let name = "sends::processes_with_one_key_write_one_entry";
    let send_all = |path: &Path| {
        let store = many().open(path).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let worker = first_worker(&runtime);
        let keys = (0..30).map(|number| format!("k{number}"));
        keys.map(|key| once(&runtime, &worker, &key, "hello").unwrap())
            .collect::<Vec<_>>()
    };
    if let Some((_, path)) = as_child() {
        let sent = send_all(&path);
        tell(&format!("{sent:?}"));
        wait_to_be_killed();
    }
    let (_directory, path) = scratch();
    let store = many().open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = first_worker(&runtime);
    let mut child = child(name, "sends", &path);
    let sent = send_all(&path);
    assert_eq!(child.hear(), Some(format!("{sent:?}")));
    assert_eq!(all_entries(&runtime, &worker).len(), 30);
    child.kill();
}

/// Two stores of one file stand for two processes: each has its own memory of keys.
#[test]
fn key_of_another_writer_is_found() {
    let (_directory, path) = scratch();
    let open = || {
        let options = Store::options().sharing(Sharing::ManyWriters);
        let store = options.open(&path).unwrap();
        store.runtime(named("r")).unwrap()
    };
    let runtime = open();
    let worker = new_worker(&runtime);
    let first = once(&runtime, &worker, "k", "hello").unwrap();
    runtime.store().close().unwrap();
    let runtime = open();
    assert_eq!(once(&runtime, &worker, "k", "hello").unwrap(), first);
    assert_eq!(all_entries(&runtime, &worker).len(), 1);
}

#[test]
fn redacted_input_keeps_its_key_without_its_hash() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    let first = once(&runtime, &worker, "k", "4711").unwrap();
    let hash = format!("{:032x}", {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        hash.update(&[0]);
        hash.update(b"4711");
        hash.digest128()
    });
    let has_hash = || {
        let copy = path.with_extension("copy");
        store.backup(&copy).unwrap();
        let bytes = std::fs::read(&copy).unwrap();
        std::fs::remove_file(&copy).unwrap();
        memchr::memmem::find(&bytes, hash.as_bytes()).is_some()
    };
    assert!(has_hash());
    runtime.redact_entry(&worker, 0, "[removed]").unwrap();
    assert!(!has_hash());
    // Nothing tells the inputs apart any more, and nothing is written.
    assert_eq!(once(&runtime, &worker, "k", "4711").unwrap(), first);
    assert_eq!(once(&runtime, &worker, "k", "other").unwrap(), first);
    assert_eq!(all_entries(&runtime, &worker).len(), 1);
}
