//! Several processes that share one store.

use crate::support::{
    TestChild, all_entries, all_events, assert_refused, assert_whole, full_request, named, say,
    scratch, tell,
};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::observation::RuntimeEventKind;
use redb_runtime_store::store::{Sharing, StoreOptions};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use crate::support::{LONG, as_child, child, first_worker, wait_to_be_killed};

pub(crate) fn many() -> StoreOptions {
    Store::options()
        .sharing(Sharing::ManyWriters)
        .lock_timeout(LONG)
}

#[test]
fn second_writer_opens_after_holder_ends() {
    let name = "sharing::second_writer_opens_after_holder_ends";
    if let Some((_, path)) = as_child() {
        let _store = Store::open(path).unwrap();
        tell("open");
        wait_to_be_killed();
    }
    let (_directory, path) = scratch();
    let mut first = child(name, "holds", &path);
    assert_eq!(first.hear().as_deref(), Some("open"));
    let pid = first.child.id();
    for wait in [Duration::ZERO, Duration::from_millis(50)] {
        let refused = Store::options().lock_timeout(wait).open(&path);
        let holder = cfg!(target_os = "linux").then_some(pid);
        assert_refused!(refused, RuntimeError::StoreLocked { holder: told, .. } if told == holder);
    }
    let waiting = std::thread::spawn({
        let path = path.clone();
        move || Store::options().lock_timeout(LONG).open(path).map(drop)
    });
    first.kill();
    waiting.join().unwrap().unwrap();
}

#[test]
fn leftover_clone_never_blocks_reopening() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let leftover = std::thread::spawn(move || {
        gone.recv().unwrap();
        runtime.summary()
    });
    store.close().unwrap();
    let reopened = Store::open(&path).unwrap().runtime(named("r")).unwrap();
    say(&reopened, &first_worker(&reopened), "again").unwrap();
    go.send(()).unwrap();
    assert_refused!(leftover.join().unwrap(), RuntimeError::StoreClosed { .. });
    assert_whole(&reopened);
}

#[test]
fn readers_see_only_whole_commits() {
    let name = "sharing::readers_see_only_whole_commits";
    if let Some((_, path)) = as_child() {
        let runtime = Store::open(path).unwrap().runtime(named("r")).unwrap();
        let [one, two] =
            [(); 2].map(|()| runtime.create_worker(full_request()).unwrap().worker_ref);
        tell("ready");
        for _ in 0..500 {
            let both = runtime.transaction(|transaction| {
                let input = redb_runtime_store::interaction::WorkerInput::user("both");
                transaction.send_input(&one, input.clone())?;
                transaction.send_input(&two, input)
            });
            both.unwrap();
        }
        tell("done");
        wait_to_be_killed();
    }
    let (_directory, path) = scratch();
    let mut writer = child(name, "writes", &path);
    assert_eq!(writer.hear().as_deref(), Some("ready"));
    let store = Store::open_read_only(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let mut lengths = BTreeSet::new();
    while lengths.last() != Some(&500) {
        let workers = runtime.list_workers().unwrap();
        assert_eq!(workers[0].transcript_len, workers[1].transcript_len);
        let snapshot = store.snapshot().unwrap();
        let seen = [0, 1].map(|worker| {
            let worker = &workers[worker].worker_ref;
            snapshot
                .transcript(worker, 0)
                .unwrap()
                .map(Result::unwrap)
                .count()
        });
        assert_eq!(seen[0], seen[1]);
        lengths.insert(seen[0]);
    }
    assert!(lengths.len() > 2, "commits were seen while they were made");
    assert_whole(&runtime);
}

#[test]
fn endless_reader_blocks_nothing_and_is_named() {
    let name = "sharing::endless_reader_blocks_nothing_and_is_named";
    if let Some((_, path)) = as_child() {
        let store = Store::open_read_only(path).unwrap();
        let _snapshot = store.snapshot().unwrap();
        tell("reading");
        wait_to_be_killed();
    }
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = first_worker(&runtime);
    let mut reader = child(name, "reads", &path);
    assert_eq!(reader.hear().as_deref(), Some("reading"));
    let before = store.census().unwrap();
    for input in 0..300 {
        say(&runtime, &worker, &format!("input {input}")).unwrap();
    }
    let census = store.census().unwrap();
    let grown = census.unused_bytes.unwrap() - before.unused_bytes.unwrap();
    assert!(grown > 500_000, "the reader pins {grown} bytes");
    let refused = store.compact();
    if cfg!(target_os = "linux") {
        let pid = reader.child.id();
        let named = census.readers.iter().find(|reader| reader.pid == pid);
        let named = named.unwrap();
        assert_eq!(named.commits_behind, 300);
        let kept = named.kept_bytes.unwrap();
        let unused = census.unused_bytes.unwrap();
        assert!(kept > 500_000 && kept < unused, "{kept} of {unused}");
        let words = format!("process {pid}");
        assert_refused!(refused, RuntimeError::StoreBusy { reason, .. } if reason.contains(&words));
    } else {
        assert_refused!(refused, RuntimeError::StoreBusy { .. });
    }
    reader.kill();
    let compacted = store.compact().unwrap();
    assert!(
        compacted.bytes_after < compacted.bytes_before - grown / 2,
        "{compacted:?}"
    );
    say(&runtime, &worker, "one more").unwrap();
    assert_eq!(store.census().unwrap().readers, []);
    assert_whole(&runtime);
}

/// Sends inputs from four threads, and prints the event id of each acknowledgement.
pub(crate) fn write_with_four_threads(runtime: &Runtime, worker: &WorkerRef, inputs: usize) {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for input in 0..inputs {
                    let text = format!("{} {thread} {input}", std::process::id());
                    let event = say(runtime, worker, &text).unwrap();
                    tell(&event.to_string());
                }
            });
        }
    });
}

#[test]
fn many_writers_survive_a_kill_of_one() {
    let name = "sharing::many_writers_survive_a_kill_of_one";
    if let Some((role, path)) = as_child() {
        if role == "opens" {
            // Opening writes to the file as well.
            loop {
                let store = many().open(&path).unwrap();
                let runtime = store.runtime(named("r")).unwrap();
                tell(
                    &say(&runtime, &first_worker(&runtime), "opened")
                        .unwrap()
                        .to_string(),
                );
                store.close().unwrap();
            }
        }
        let runtime = many().open(path).unwrap().runtime(named("r")).unwrap();
        let inputs = if role == "killed" { usize::MAX } else { 25 };
        write_with_four_threads(&runtime, &first_worker(&runtime), inputs);
        tell("done");
        wait_to_be_killed();
    }
    let (_directory, path) = scratch();
    let runtime = many().open(&path).unwrap().runtime(named("r")).unwrap();
    let worker = first_worker(&runtime);
    let mut acknowledged = Vec::new();
    let mut killed = child(name, "killed", &path);
    let mut opens = child(name, "opens", &path);
    let mut writers = [0, 1].map(|_| child(name, "writes", &path));
    for _ in 0..20 {
        acknowledged.push(killed.hear().unwrap());
        acknowledged.push(opens.hear().unwrap());
    }
    killed.kill();
    std::iter::from_fn(|| killed.hear()).for_each(|event| acknowledged.push(event));
    for writer in &mut writers {
        let told = std::iter::from_fn(|| writer.hear()).take_while(|told| told != "done");
        acknowledged.extend(told);
    }
    writers.iter_mut().for_each(TestChild::kill);
    opens.kill();
    std::iter::from_fn(|| opens.hear()).for_each(|event| acknowledged.push(event));

    say(&runtime, &worker, "the last one").unwrap();
    assert_whole(&runtime);
    let ids: BTreeSet<u64> = acknowledged.iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids.len(), acknowledged.len(), "an id was given twice");
    let events = all_events(&runtime);
    let input = RuntimeEventKind::WorkerInputAccepted;
    for id in ids {
        assert_eq!(events[id as usize - 1].kind, input, "event {id}");
    }
    let store = runtime.store();
    assert!(store.verify().unwrap().is_clean());
    store.close().unwrap();
    let reopened = Store::open(&path).unwrap().runtime(named("r")).unwrap();
    assert_whole(&reopened);
}

#[test]
fn reads_with_many_writers_are_never_stale() {
    let name = "sharing::reads_with_many_writers_are_never_stale";
    if let Some((_, path)) = as_child() {
        let runtime = many().open(path).unwrap().runtime(named("r")).unwrap();
        let worker = first_worker(&runtime);
        for input in 0..50 {
            let event = say(&runtime, &worker, &format!("input {input}")).unwrap();
            tell(&event.to_string());
            let mut go = [0];
            std::io::stdin().read_exact(&mut go).unwrap();
        }
        return;
    }
    let (_directory, path) = scratch();
    let runtime = many().open(&path).unwrap().runtime(named("r")).unwrap();
    let worker = first_worker(&runtime);
    let mut writer = child(name, "writes", &path);
    let mut go = writer.child.stdin.take().unwrap();
    for _ in 0..50 {
        let event: u64 = writer.hear().unwrap().parse().unwrap();
        let cursor = runtime.event_cursor_now().unwrap();
        assert_eq!(cursor.next_event_id, event + 1);
        // A write decides on current rows too.
        assert_eq!(say(&runtime, &worker, "mine").unwrap(), event + 1);
        std::io::Write::write_all(&mut go, b"g").unwrap();
    }
    assert_whole(&runtime);
}

#[test]
fn closing_many_writer_store_finishes_submissions() {
    let (_directory, path) = scratch();
    let store = many().open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = first_worker(&runtime);
    for input in 0..100 {
        let worker = worker.clone();
        let text = redb_runtime_store::interaction::WorkerInput::user(format!("input {input}"));
        drop(runtime.submit(move |tx| tx.send_input(&worker, text)));
    }
    store.close().unwrap();
    let runtime = many().open(&path).unwrap().runtime(named("r")).unwrap();
    assert_eq!(all_entries(&runtime, &worker).len(), 100);
    assert_whole(&runtime);
}

/// Closes a store when it is woken, and sends the result.
struct Closes(Store, std::sync::mpsc::Sender<Result<(), RuntimeError>>);

impl std::task::Wake for Closes {
    fn wake(self: Arc<Self>) {
        let _ = self.1.send(self.0.close());
    }
}

#[test]
fn close_on_its_own_thread_is_refused() {
    let (_directory, path) = scratch();
    let store = many().open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = first_worker(&runtime);
    let (tells, closed) = std::sync::mpsc::channel();
    let waker = std::task::Waker::from(Arc::new(Closes(store.clone(), tells)));
    let submit = |go: std::sync::mpsc::Receiver<()>| {
        let worker = worker.clone();
        runtime.submit(move |tx| {
            go.recv().unwrap();
            let text = redb_runtime_store::interaction::WorkerInput::user("hello");
            tx.send_input(&worker, text)
        })
    };
    let gates: [_; 2] = std::array::from_fn(|_| std::sync::mpsc::channel());
    let [(first, behind_first), (second, behind_second)] = gates;
    let mut pending = [behind_first, behind_second].map(submit);
    for pending in &mut pending {
        let mut context = std::task::Context::from_waker(&waker);
        let polled = std::future::Future::poll(std::pin::Pin::new(pending), &mut context);
        assert!(polled.is_pending());
    }
    // The second submission is queued behind the first on the thread that would wait for it.
    first.send(()).unwrap();
    let refused = closed.recv_timeout(LONG).expect("it waits for itself");
    assert_refused!(refused, RuntimeError::InvalidRequest(_));
    second.send(()).unwrap();
    closed.recv_timeout(LONG).expect("nothing is left").unwrap();
    let runtime = many().open(&path).unwrap().runtime(named("r")).unwrap();
    assert_eq!(all_entries(&runtime, &worker).len(), 2);
}

#[test]
fn runtime_settings_are_durable_without_events() {
    use redb_runtime_store::management::RuntimeLimits;
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let limits = RuntimeLimits {
        max_transcript_projection_items: 7,
        max_event_batch_items: 9,
    };
    runtime.set_display_name(Some("a name".to_owned())).unwrap();
    runtime.set_limits(limits).unwrap();
    store.close().unwrap();
    let runtime = Store::open(&path).unwrap().runtime(named("r")).unwrap();
    let summary = runtime.summary().unwrap();
    assert_eq!(summary.display_name.as_deref(), Some("a name"));
    assert_eq!(summary.limits, limits);
    assert_eq!(runtime.event_cursor_now().unwrap().next_event_id, 2);
    let start = runtime.event_cursor_from_start().unwrap();
    assert_refused!(
        runtime.read_events(&start, 10),
        RuntimeError::LimitTooLarge {
            requested: 10,
            max: 9
        }
    );
    runtime.set_display_name(None).unwrap();
    assert_eq!(runtime.summary().unwrap().display_name, None);
    runtime.stop_runtime().unwrap();
    // Maintenance works on a stopped runtime.
    runtime
        .set_display_name(Some("another".to_owned()))
        .unwrap();
    runtime.set_limits(RuntimeLimits::default()).unwrap();
    let summary = runtime.summary().unwrap();
    assert_eq!(summary.display_name.as_deref(), Some("another"));
    assert_eq!(summary.limits, RuntimeLimits::default());
    let read_only = Store::options().read_only(true).open(&path).unwrap();
    let runtime = read_only.runtime(named("r")).unwrap();
    assert_refused!(
        runtime.set_limits(limits),
        RuntimeError::StoreReadOnly { .. }
    );
}

#[test]
fn lone_many_writer_works_as_usual() {
    let (_directory, path) = scratch();
    let runtime = many().open(&path).unwrap().runtime(named("r")).unwrap();
    let worker = runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap()
        .worker_ref;
    assert_refused!(say(&runtime, &worker, " "), RuntimeError::InvalidRequest(_));
    say(&runtime, &worker, "hello").unwrap();
    assert_eq!(all_entries(&runtime, &worker).len(), 1);
    runtime.store().close().unwrap();
    let runtime = Store::open(&path).unwrap().runtime(named("r")).unwrap();
    assert_whole(&runtime);
}

#[test]
fn earlier_reader_is_a_separate_store() {
    let (_directory, path) = scratch();
    Store::open(&path).unwrap().close().unwrap();
    let reader = Store::open_read_only(&path).unwrap();
    let exclusive = Store::options().sharing(Sharing::Exclusive);
    assert_refused!(exclusive.open(&path), RuntimeError::StoreLocked { .. });

    let writer = Store::open(&path).unwrap();
    writer.runtime(named("r")).unwrap();
    assert_eq!(reader.runtimes().unwrap().len(), 1, "it follows");
    let later = Store::open_read_only(&path).unwrap();
    writer.close().unwrap();
    assert_refused!(later.runtimes(), RuntimeError::StoreClosed { .. });
    assert_eq!(reader.runtimes().unwrap().len(), 1, "it stays open");
    reader.close().unwrap();
    assert_eq!(exclusive.open(&path).unwrap().runtimes().unwrap().len(), 1);
}
