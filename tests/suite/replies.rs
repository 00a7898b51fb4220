//! Replies, and followers of transcripts and events.

use crate::hosts::Shared;
use crate::support::{
    Host, Place, all_entries, all_events, fresh, named, new_worker, on_both, say, worker_ref,
};
use redb_runtime_store::catalog::WorkerStatus;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::{TranscriptRole, WorkerInput};
use redb_runtime_store::{EventFollower, Runtime, RuntimeError, TranscriptFollower};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

/// A runtime of a new store.
fn runtime() -> Runtime {
    fresh().runtime(named("r")).unwrap()
}

#[test]
fn reply_is_an_entry_without_an_event() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = new_worker(&runtime);
        let sent = runtime
            .send_input(&worker, WorkerInput::user("how many?"))
            .unwrap();
        let other = new_worker(&runtime);
        let events = all_events(&runtime);
        let ack = runtime.append_reply(&worker, "17").unwrap();
        assert_eq!(ack.worker_ref, worker);
        assert_eq!(ack.status, WorkerStatus::Running);
        assert_eq!(ack.transcript_sequence, sent.transcript_sequence + 1);
        // The last event of the runtime is that of the other worker.
        let created = runtime.worker_detail(&other).unwrap().last_event_id;
        assert_eq!(ack.event_id, created);
        assert_eq!(all_events(&runtime), events);
        let detail = runtime.worker_detail(&worker).unwrap();
        assert_eq!(
            (detail.last_event_id, detail.transcript_len),
            (sent.event_id, 2)
        );

        host.reopen();
        let entries = all_entries(&host.runtime, &worker);
        let reply = entries.last().unwrap();
        assert_eq!(reply.role, TranscriptRole::Assistant);
        assert_eq!(
            (reply.content.as_str(), reply.event_id),
            ("17", ack.event_id)
        );
        assert_eq!(reply.sequence, ack.transcript_sequence);
        let next = host
            .runtime
            .send_input(&worker, WorkerInput::user("thanks"))
            .unwrap();
        assert_eq!(next.transcript_sequence, ack.transcript_sequence + 1);
        assert!(host.runtime.store().verify().unwrap().is_clean());
    });
}

#[test]
fn replies_are_refused_by_the_rules_of_inputs() {
    let runtime = runtime();
    let id = runtime.runtime_id().unwrap();
    let worker = new_worker(&runtime);
    let before = runtime.worker_detail(&worker).unwrap();
    for blank in ["", " ", "\n\t"] {
        let refused = runtime.append_reply(&worker, blank);
        assert!(
            matches!(refused, Err(RuntimeError::InvalidRequest(_))),
            "{refused:?}"
        );
    }
    let refused = runtime.append_reply(&worker_ref(id.as_str(), "unknown"), "x");
    assert!(
        matches!(refused, Err(RuntimeError::WorkerNotFound { .. })),
        "{refused:?}"
    );
    let refused = runtime.append_reply(&worker_ref("another", "w"), "x");
    assert!(
        matches!(refused, Err(RuntimeError::WrongRuntime { .. })),
        "{refused:?}"
    );
    assert_eq!(runtime.worker_detail(&worker).unwrap(), before);
    for end in [Runtime::stop_worker, Runtime::cancel_worker] {
        let ended = new_worker(&runtime);
        end(&runtime, &ended, None).unwrap();
        let refused = runtime.append_reply(&ended, "x");
        assert!(
            matches!(refused, Err(RuntimeError::InvalidRequest(_))),
            "{refused:?}"
        );
    }
    runtime.stop_runtime().unwrap();
    let refused = runtime.append_reply(&worker, "x");
    assert!(
        matches!(refused, Err(RuntimeError::RuntimeStopped { .. })),
        "{refused:?}"
    );
}

#[test]
fn input_and_reply_can_share_a_commit() {
    let runtime = runtime();
    let worker = new_worker(&runtime);
    let undone: Result<(), _> = runtime.transaction(|transaction| {
        transaction.send_input(&worker, WorkerInput::user("a"))?;
        transaction.append_reply(&worker, "b")?;
        Err(RuntimeError::InvalidRequest("no".to_owned()))
    });
    undone.unwrap_err();
    assert_eq!(all_entries(&runtime, &worker), []);
    let to = worker.clone();
    let pending = runtime.submit(move |transaction| {
        let sent = transaction.send_input(&to, WorkerInput::user("a"))?;
        let reply = transaction.append_reply(&to, "b")?;
        assert_eq!(reply.event_id, sent.event_id);
        // A reply that is refused undoes nothing before it.
        transaction.append_reply(&to, " ").unwrap_err();
        Ok(())
    });
    pending.wait().unwrap();
    let said: Vec<_> = all_entries(&runtime, &worker)
        .into_iter()
        .map(|e| e.content)
        .collect();
    assert_eq!(said, ["a", "b"]);
}

/// The texts that `follower` yields until it has `count`.
fn heard(follower: &mut TranscriptFollower, count: usize) -> Vec<String> {
    let entries = follower
        .take(count)
        .map(|entry| entry.unwrap().entry.content);
    entries.collect()
}

#[test]
fn transcript_follower_gets_each_entry_once() {
    let runtime = runtime();
    let worker = new_worker(&runtime);
    say(&runtime, &worker, "0").unwrap();
    let mut follower = runtime.follow_transcript(&worker, 1).unwrap();
    assert!(follower.next_page(Duration::ZERO).unwrap().is_none());
    let host = runtime.clone();
    let writing = thread::spawn({
        let worker = worker.clone();
        move || {
            for number in 1..600 {
                match number % 3 {
                    0 => host
                        .append_reply(&worker, number.to_string())
                        .map(drop)
                        .unwrap(),
                    _ => say(&host, &worker, &number.to_string()).map(drop).unwrap(),
                }
            }
        }
    });
    let mut all = heard(&mut follower, 100);
    assert_eq!(follower.position(), 101);
    for _ in 0..100 {
        all.push(pollster::block_on(follower.next()).unwrap().entry.content);
    }
    while all.len() < 599 {
        let page = follower.next_page(LONG).unwrap().unwrap();
        assert_eq!(page.start, all.len() + 1);
        all.extend(page.items.into_iter().map(|entry| entry.entry.content));
    }
    writing.join().unwrap();
    let expected: Vec<_> = (1..600).map(|number| number.to_string()).collect();
    assert_eq!(all, expected);
    assert!(follower.next_page(Duration::ZERO).unwrap().is_none());
    assert_eq!(follower.position(), 600);
    // A page replaces the entries that were read ahead, also of the other ways to take them.
    for text in ["600", "601", "602"] {
        say(&runtime, &worker, text).unwrap();
    }
    assert_eq!(heard(&mut follower, 1), ["600"]);
    let page = follower.next_page(Duration::ZERO).unwrap().unwrap();
    assert_eq!((page.start, page.items.len()), (601, 2));
    say(&runtime, &worker, "603").unwrap();
    assert_eq!(heard(&mut follower, 1), ["603"]);
}

#[test]
fn followers_refuse_what_they_cannot_follow() {
    let runtime = runtime();
    let id = runtime.runtime_id().unwrap();
    let refused = runtime.follow_transcript(&worker_ref(id.as_str(), "unknown"), 0);
    assert!(
        matches!(refused, Err(RuntimeError::WorkerNotFound { .. })),
        "{refused:?}"
    );
    let refused = runtime.follow_transcript(&worker_ref("another", "w"), 0);
    assert!(
        matches!(refused, Err(RuntimeError::WrongRuntime { .. })),
        "{refused:?}"
    );
}

/// Counts how often it was woken.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn future_is_woken_by_a_commit_and_not_before() {
    let runtime = runtime();
    let worker = new_worker(&runtime);
    let mut events = runtime
        .follow_events(runtime.event_cursor_now().unwrap())
        .unwrap();
    let mut entries = runtime.follow_transcript(&worker, 0).unwrap();
    let counts = [Arc::new(Counting::default()), Arc::new(Counting::default())];
    let wakers = counts.clone().map(Waker::from);
    let mut next_event = pin!(events.next());
    let mut next_entry = pin!(entries.next());
    let mut contexts = wakers.each_ref().map(Context::from_waker);
    assert!(next_event.as_mut().poll(&mut contexts[0]).is_pending());
    assert!(next_entry.as_mut().poll(&mut contexts[1]).is_pending());
    // A second poll replaces the waker, and adds none.
    assert!(next_entry.as_mut().poll(&mut contexts[1]).is_pending());
    await_followers(&runtime, 2);
    let woken = || {
        counts
            .each_ref()
            .map(|count| count.0.load(Ordering::SeqCst))
    };
    // The thread that wakes followers runs meanwhile: it has nothing to wake, and waits for a commit.
    for _ in 0..10_000 {
        thread::yield_now();
        assert_eq!(woken(), [0, 0]);
    }
    runtime.append_reply(&worker, "x").unwrap();
    while woken() != [1, 1] {
        thread::yield_now();
    }
    // The reply logs no event: that future waits on.
    assert!(next_event.as_mut().poll(&mut contexts[0]).is_pending());
    match next_entry.as_mut().poll(&mut contexts[1]) {
        Poll::Ready(Ok(entry)) => assert_eq!(entry.entry.content, "x"),
        other => panic!("{other:?}"),
    }
    await_followers(&runtime, 1);
}

/// Waits until `count` followers wait. The thread that looks for commits of other hosts takes them off and puts them back.
fn await_followers(runtime: &Runtime, count: usize) {
    let begin = Instant::now();
    while runtime.store().waiting_followers() != count {
        assert!(begin.elapsed() < LONG, "not {count} followers wait");
        thread::yield_now();
    }
}

#[test]
fn dropped_future_loses_nothing_and_forgets_its_waker() {
    let runtime = runtime();
    let worker = new_worker(&runtime);
    let mut follower = runtime.follow_transcript(&worker, 0).unwrap();
    for is_committed in [false, true] {
        let mut next = Box::pin(follower.next());
        let mut context = Context::from_waker(Waker::noop());
        assert!(next.as_mut().poll(&mut context).is_pending());
        await_followers(&runtime, 1);
        if is_committed {
            runtime.append_reply(&worker, "a").unwrap();
        }
        drop(next);
        await_followers(&runtime, 0);
    }
    runtime.append_reply(&worker, "b").unwrap();
    let said = [(); 2].map(|()| pollster::block_on(follower.next()).unwrap().entry.content);
    assert_eq!(said, ["a", "b"]);
}

#[test]
fn close_ends_every_kind_of_waiting() {
    let runtime = runtime();
    let worker = new_worker(&runtime);
    let event_follower = || {
        runtime
            .follow_events(runtime.event_cursor_now().unwrap())
            .unwrap()
    };
    let entry_follower = || runtime.follow_transcript(&worker, 0).unwrap();
    let (mut one, mut two) = (event_follower(), entry_follower());
    let (mut three, mut four) = (event_follower(), entry_follower());
    let waits: [thread::JoinHandle<Option<RuntimeError>>; 4] = [
        thread::spawn(move || pollster::block_on(one.next()).err()),
        thread::spawn(move || pollster::block_on(two.next()).err()),
        thread::spawn(move || Iterator::next(&mut three)?.err()),
        thread::spawn(move || Iterator::next(&mut four)?.err()),
    ];
    while runtime.store().waiting_followers() < 4 {
        thread::yield_now();
    }
    runtime.store().close().unwrap();
    for wait in waits {
        let ended = wait.join().unwrap();
        assert!(
            matches!(ended, Some(RuntimeError::StoreClosed { .. })),
            "{ended:?}"
        );
    }
}

#[test]
fn iterator_ends_after_its_first_error() {
    let runtime = runtime();
    let mut follower = runtime
        .follow_events(runtime.event_cursor_from_start().unwrap())
        .unwrap();
    let ids = Iterator::by_ref(&mut follower).take(1);
    let ids: Vec<_> = ids.map(|event| event.unwrap().event.id).collect();
    assert_eq!(ids, [1]);
    runtime.store().close().unwrap();
    assert!(matches!(Iterator::next(&mut follower), Some(Err(_))));
    assert!(Iterator::next(&mut follower).is_none());
    assert_eq!(follower.cursor().next_event_id, 2);
}

#[test]
fn followers_run_on_tokio_tasks() {
    let executor = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let runtime = runtime();
    let worker = new_worker(&runtime);
    let followers: Vec<_> = (0..20)
        .map(|_| {
            let mut entries = runtime.follow_transcript(&worker, 0).unwrap();
            let start = runtime.event_cursor_from_start().unwrap();
            let mut events: EventFollower = runtime.follow_events(start).unwrap();
            executor.spawn(async move {
                let mut ids = 0;
                for _ in 0..52 {
                    ids += events.next().await.unwrap().event.id;
                }
                let mut texts = String::new();
                for _ in 0..100 {
                    texts += &entries.next().await.unwrap().entry.content;
                }
                (ids, texts)
            })
        })
        .collect();
    for _ in 0..50 {
        say(&runtime, &worker, "q").unwrap();
        runtime.append_reply(&worker, "a").unwrap();
    }
    for follower in followers {
        let (ids, texts) = executor.block_on(follower).unwrap();
        assert_eq!((ids, texts), ((1..=52).sum(), "qa".repeat(50)));
    }
}

#[test]
fn waker_may_write_to_the_store_it_follows() {
    /// Writes where it is woken first.
    struct Writing {
        runtime: Runtime,
        worker: WorkerRef,
        woken: AtomicUsize,
    }
    impl Wake for Writing {
        fn wake(self: Arc<Self>) {
            if self.woken.fetch_add(1, Ordering::SeqCst) == 0 {
                self.runtime
                    .append_reply(&self.worker, "from the waker")
                    .unwrap();
            }
        }
    }
    for sharing in Shared::ALL {
        let place = Place::new();
        let store = sharing.open(&place).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let worker = new_worker(&runtime);
        let writing = Arc::new(Writing {
            runtime: runtime.clone(),
            worker: worker.clone(),
            woken: AtomicUsize::new(0),
        });
        let waker = Waker::from(Arc::clone(&writing));
        let mut follower = runtime.follow_transcript(&worker, 1).unwrap();
        let mut next = pin!(follower.next());
        assert!(
            next.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        say(&runtime, &worker, "x").unwrap();
        // The next poll replaces the waker, so it must have been called.
        while writing.woken.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let entry = pollster::block_on(next).unwrap();
        assert_eq!(entry.entry.content, "from the waker");
    }
}

#[test]
fn futures_are_refused_inside_transactions() {
    let runtime = runtime();
    let worker = new_worker(&runtime);
    let mut follower = runtime.follow_transcript(&worker, 0).unwrap();
    let refused = runtime.transaction(|_| Ok(pollster::block_on(follower.next())));
    let refused = refused.unwrap();
    assert!(
        matches!(refused, Err(RuntimeError::InvalidRequest(_))),
        "{refused:?}"
    );
}

#[test]
fn transcript_is_followed_across_processes() {
    let name = "replies::transcript_is_followed_across_processes";
    if let Some(path) = crate::support::told_as_child() {
        let runtime = Place::at(&path).open().runtime(named("r")).unwrap();
        let worker = worker_ref("r", "worker-00000001");
        for number in 0..200 {
            runtime.append_reply(&worker, number.to_string()).unwrap();
        }
        return;
    }
    let place = Place::new();
    let store = place.open();
    let worker = new_worker(&store.runtime(named("r")).unwrap());
    store.close().unwrap();
    let reader = place.open_read_only();
    let runtime = reader.runtime(named("r")).unwrap();
    let mut awaited = runtime.follow_transcript(&worker, 0).unwrap();
    let mut blocking = runtime.follow_transcript(&worker, 0).unwrap();
    let mut child = crate::support::TestChild::start(name, place.address());
    let expected: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    let in_async = thread::spawn(move || {
        let next = |_| pollster::block_on(awaited.next()).unwrap().entry.content;
        (0..200).map(next).collect::<Vec<_>>()
    });
    assert_eq!(heard(&mut blocking, 200), expected);
    assert_eq!(in_async.join().unwrap(), expected);
    assert_eq!(child.hear(), None);
}
