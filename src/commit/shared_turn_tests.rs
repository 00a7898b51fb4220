//! Shared turns under locks of other hosts, panics, and the code of hosts.

use crate::commit::engine::Engine;
use crate::commit::mock_engine::{MOMENT, MockEngine};
use crate::commit::pending::Pending;
use crate::commit::queue::{CommitQueue, Reach};
use crate::error::RuntimeError;
use crate::ledger::removals::Removals;
use crate::ledger::transaction::Transaction;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

type Mock = CommitQueue<MockEngine>;

/// Longer than anything takes here, unless threads wait for each other.
const LONG: Duration = Duration::from_secs(10);

fn queue(lock: Duration) -> Arc<Mock> {
    Arc::new(CommitQueue::new(MockEngine::new(lock)))
}

fn change(transaction: &mut Transaction<'_>, runtime: &str) {
    let removed = Removals {
        runtime: true,
        ..Removals::default()
    };
    transaction.changes().remove(runtime, removed, 1);
}

fn write(queue: &Mock, runtime: &str) -> Result<(), RuntimeError> {
    queue.write(("write", Reach::Runtime(runtime)), |transaction| {
        change(transaction, runtime);
        Ok(())
    })
}

fn submit(queue: &Arc<Mock>, runtime: &'static str) -> Pending<()> {
    queue.submit(("submit", runtime), move |transaction| {
        change(transaction, runtime);
        Ok(())
    })
}

/// Runs `work` on a thread. The test fails if it takes longer than [`LONG`].
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(work()));
    receive(&receiver)
}

fn receive<T>(receiver: &Receiver<T>) -> T {
    receiver
        .recv_timeout(LONG)
        .expect("threads wait for each other")
}

/// Waits until `is_true`.
fn until(is_true: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_true() {
        assert!(begin.elapsed() < LONG, "it does not come true");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A waker that runs a closure once.
struct Calls(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        let call = self.0.lock().unwrap().take();
        if let Some(call) = call {
            call();
        }
    }
}

/// Has `call` called when `pending` is done, which it is not yet.
fn on_wake(pending: &mut Pending<()>, call: impl FnOnce() + Send + 'static) {
    let waker = Waker::from(Arc::new(Calls(Mutex::new(Some(Box::new(call))))));
    let polled = pin!(pending).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
}

/// Submits an operation that stays in the open batch, which no thread leads.
fn submit_without_leader(queue: &Arc<Mock>, runtime: &'static str) -> Pending<()> {
    queue.submitted.fetch_add(1, Ordering::AcqRel);
    let pending = submit(queue, runtime);
    until(|| !queue.lock_staged().later.is_empty());
    queue.submitted.fetch_sub(1, Ordering::AcqRel);
    pending
}

/// Writes to `runtime` on four threads until it is dropped.
struct Load(Arc<AtomicBool>, Vec<thread::JoinHandle<()>>);

impl Load {
    fn on(queue: &Arc<Mock>, runtime: &'static str) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let threads = (0..4).map(|_| {
            let (queue, is_over) = (Arc::clone(queue), Arc::clone(&is_over));
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    write(&queue, runtime).unwrap();
                }
            })
        });
        let threads = threads.collect();
        Self(is_over, threads)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        for thread in self.1.drain(..) {
            let _ = thread.join();
        }
    }
}

#[test]
fn locked_runtime_leaves_others_writing() {
    let queue = queue(Duration::from_secs(1));
    queue.engine().state().locked.insert("locked".to_owned());
    let waiting = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || write(&queue, "locked"))
    };
    let begin = Instant::now();
    let mut longest = Duration::ZERO;
    let mut count = 0;
    while begin.elapsed() < Duration::from_millis(500) {
        let begin = Instant::now();
        write(&queue, "free").unwrap();
        longest = longest.max(begin.elapsed());
        count += 1;
    }
    assert!(longest < 10 * MOMENT, "{longest:?}");
    assert!(count > 50, "{count}");
    assert!(matches!(
        waiting.join().unwrap(),
        Err(RuntimeError::StoreBusy { .. })
    ));
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

#[test]
fn waits_for_locked_runtime_do_not_add_up() {
    let queue = queue(Duration::from_millis(300));
    queue.engine().state().locked.insert("locked".to_owned());
    let begin = Instant::now();
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || write(&queue, "locked"))
        })
        .collect();
    for thread in threads {
        let written = thread.join().unwrap();
        assert!(
            matches!(written, Err(RuntimeError::StoreBusy { .. })),
            "{written:?}"
        );
    }
    assert!(
        begin.elapsed() < Duration::from_millis(900),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn released_runtime_is_written() {
    let queue = queue(LONG);
    queue.engine().state().locked.insert("locked".to_owned());
    let waiting = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || write(&queue, "locked"))
    };
    thread::sleep(5 * MOMENT);
    queue.engine().state().locked.clear();
    in_time(move || waiting.join().unwrap()).unwrap();
    assert_eq!(queue.engine().state().commits, [["locked"]]);
}

#[test]
fn refused_operation_begins_next_turn() {
    let queue = queue(LONG);
    queue.engine().state().needs_wait.insert("new".to_owned());
    let _load = Load::on(&queue, "free");
    for _ in 0..20 {
        let begin = Instant::now();
        write(&queue, "new").unwrap();
        assert!(
            begin.elapsed() < Duration::from_secs(1),
            "{:?}",
            begin.elapsed()
        );
    }
    assert_eq!(queue.engine().state().waits_with_locks, 0);
}

#[test]
fn operation_alone_gets_its_turn() {
    let queue = queue(LONG);
    let _load = Load::on(&queue, "free");
    for _ in 0..20 {
        let begin = Instant::now();
        let alone = |transaction: &mut Transaction<'_>| {
            change(transaction, "alone");
            Ok(())
        };
        queue.write(("write", Reach::Store(None)), alone).unwrap();
        assert!(
            begin.elapsed() < Duration::from_secs(1),
            "{:?}",
            begin.elapsed()
        );
    }
}

#[test]
fn operation_alone_on_locked_runtime_leaves_others_writing() {
    let queue = queue(LONG);
    queue.engine().state().locked.insert("locked".to_owned());
    let waiting = {
        let queue = Arc::clone(&queue);
        let reach = Reach::Store(Some("locked"));
        thread::spawn(move || queue.write(("delete", reach), |_| Ok(())))
    };
    thread::sleep(2 * MOMENT);
    for _ in 0..20 {
        let begin = Instant::now();
        write(&queue, "free").unwrap();
        assert!(begin.elapsed() < 10 * MOMENT, "{:?}", begin.elapsed());
    }
    queue.engine().state().locked.clear();
    in_time(move || waiting.join().unwrap()).unwrap();
}

#[test]
fn panic_leaves_batch_of_others() {
    let queue = queue(LONG);
    let pending = submit_without_leader(&queue, "other");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        queue.write(("write", Reach::Runtime("own")), |transaction| {
            change(transaction, "own");
            if transaction.now_ms() == 1 {
                panic!("of the operation");
            }
            Ok(())
        })
    }));
    assert!(panicked.is_err());
    in_time(move || pending.wait()).unwrap();
    write(&queue, "later").unwrap();
    assert_eq!(queue.engine().state().commits, [["other"], ["later"]]);
}

#[test]
fn batch_without_its_turn_is_not_committed() {
    let queue = queue(LONG);
    let pending = submit_without_leader(&queue, "lost");
    *queue.lock_shared() = None;
    let later = {
        let queue = Arc::clone(&queue);
        in_time(move || write(&queue, "later"))
    };
    later.unwrap();
    let lost = in_time(move || pending.wait());
    assert!(
        matches!(lost, Err(RuntimeError::StoreConflict { .. })),
        "{lost:?}"
    );
    assert_eq!(queue.engine().state().commits, [["later"]]);
}

#[test]
fn refused_operation_leads_submitted_batch() {
    let queue = queue(Duration::from_secs(1));
    queue.engine().state().locked.insert("locked".to_owned());
    let first = submit(&queue, "free");
    let second = submit(&queue, "locked");
    let begin = Instant::now();
    in_time(move || first.wait()).unwrap();
    assert!(
        begin.elapsed() < Duration::from_millis(900),
        "{:?}",
        begin.elapsed()
    );
    assert!(matches!(second.wait(), Err(RuntimeError::StoreBusy { .. })));
}

#[test]
fn panicking_waker_leaves_other_outcomes() {
    let queue = queue(LONG);
    let mut first = submit_without_leader(&queue, "first");
    on_wake(&mut first, || panic!("of the waker"));
    let second = submit(&queue, "second");
    in_time(move || second.wait()).unwrap();
    first.wait().unwrap();
    write(&queue, "later").unwrap();
}

#[test]
fn panicking_waker_of_refused_operation_leaves_batch() {
    let queue = queue(LONG);
    let turn = queue.take_turn(queue.context("hold")).unwrap();
    let batch = submit(&queue, "batch");
    let mut failing = queue.submit(("submit", "batch"), |_| {
        Err::<(), _>(RuntimeError::InvalidRequest("by the operation".to_owned()))
    });
    on_wake(&mut failing, || panic!("of the waker"));
    drop(turn);
    in_time(move || batch.wait()).unwrap();
}

/// Has a leader on a thread of the host call a waker while a submitted operation waits for its commit. Returns what the
/// waker did with that operation.
fn waker_on_leader<T: Send + 'static>(
    act: impl FnOnce(&Arc<Mock>, Pending<()>) -> T + Send + 'static,
) -> T {
    let queue = queue(LONG);
    let mut first = submit_without_leader(&queue, "first");
    queue.engine().allow_commits(Some(0));
    let (sender, receiver) = channel();
    let next: Arc<Mutex<Option<Pending<()>>>> = Arc::default();
    {
        let (queue, next) = (Arc::clone(&queue), Arc::clone(&next));
        on_wake(&mut first, move || {
            let next = next.lock().unwrap().take().unwrap();
            sender.send(act(&queue, next)).unwrap();
        });
    }
    let leader = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || write(&queue, "leader"))
    };
    until(|| queue.engine().state().begun == 1);
    *next.lock().unwrap() = Some(submit(&queue, "next"));
    // The background thread waits for the commit.
    thread::sleep(5 * MOMENT);
    queue.engine().allow_commits(Some(1));
    let acted = receive(&receiver);
    queue.engine().allow_commits(None);
    in_time(move || leader.join().unwrap()).unwrap();
    acted
}

#[test]
fn waker_on_leader_cannot_wait() {
    let waited = waker_on_leader(|_, next| next.wait());
    assert!(
        matches!(waited, Err(RuntimeError::InvalidRequest(_))),
        "{waited:?}"
    );
}

#[test]
fn waker_on_leader_cannot_close() {
    let closed = waker_on_leader(|queue, _| queue.background.finish());
    assert!(
        matches!(closed, Err(RuntimeError::InvalidRequest(_))),
        "{closed:?}"
    );
}

#[test]
fn waker_on_leader_may_write() {
    let written = waker_on_leader(|queue, _| {
        queue.engine().allow_commits(None);
        write(queue, "waker")
    });
    written.unwrap();
}

#[test]
fn blocking_waker_leaves_operations_running() {
    let waited = waker_on_leader(|queue, next| {
        queue.engine().allow_commits(None);
        thread::spawn(move || next.wait()).join().unwrap()
    });
    waited.unwrap();
}

#[test]
fn blocking_waker_of_refused_leader_leaves_operations_running() {
    let queue = queue(Duration::from_secs(1));
    queue.engine().state().locked.insert("locked".to_owned());
    let turn = queue.take_turn(queue.context("hold")).unwrap();
    let mut first = submit(&queue, "free");
    let (sender, receiver) = channel();
    {
        let queue = Arc::clone(&queue);
        on_wake(&mut first, move || {
            let written = thread::spawn(move || write(&queue, "free")).join();
            sender.send(written.unwrap()).unwrap();
        });
    }
    let refused = submit(&queue, "locked");
    drop(turn);
    receive(&receiver).unwrap();
    assert!(in_time(move || refused.wait()).is_err());
}

#[test]
fn waker_may_write_before_exclusive_writer() {
    let queue = queue(LONG);
    let mut first = submit_without_leader(&queue, "first");
    let (sender, receiver) = channel();
    {
        let queue = Arc::clone(&queue);
        on_wake(&mut first, move || {
            sender.send(write(&queue, "waker")).unwrap()
        });
    }
    drop(queue.take_turn(queue.context("load")).unwrap());
    receive(&receiver).unwrap();
}

#[test]
fn batch_is_led_after_wakers_of_exclusive_writer() {
    let queue = queue(LONG);
    let mut first = submit_without_leader(&queue, "first");
    on_wake(&mut first, || {});
    // It waits on the background thread when the wakers are given to that.
    queue.engine().allow_commits(Some(0));
    let taking = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || drop(queue.take_turn(queue.context("load")).unwrap()))
    };
    until(|| queue.engine().state().begun == 1);
    let second = submit(&queue, "second");
    thread::sleep(5 * MOMENT);
    queue.engine().allow_commits(None);
    in_time(move || taking.join().unwrap());
    in_time(move || second.wait()).unwrap();
}

#[test]
fn close_commits_open_turn() {
    let queue = queue(LONG);
    let pending = submit_without_leader(&queue, "open");
    {
        let queue = Arc::clone(&queue);
        in_time(move || queue.end_queue(queue.context("close"))).unwrap();
    }
    pending.wait().unwrap();
    assert!(matches!(
        write(&queue, "later"),
        Err(RuntimeError::StoreClosed { .. })
    ));
}

#[test]
fn close_refuses_operation_that_waits_for_lock() {
    let queue = queue(LONG);
    queue.engine().state().locked.insert("locked".to_owned());
    let waiting = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || write(&queue, "locked"))
    };
    thread::sleep(2 * MOMENT);
    queue.end_queue(queue.context("close")).unwrap();
    let written = in_time(move || waiting.join().unwrap());
    assert!(
        matches!(written, Err(RuntimeError::StoreClosed { .. })),
        "{written:?}"
    );
}

#[test]
fn shared_deletion_skips_locked_runtimes() {
    let queue = queue(LONG);
    for runtime in ["a", "b"] {
        queue.engine().state().unfinished.insert(runtime.to_owned());
    }
    queue.engine().state().locked.insert("a".to_owned());
    write(&queue, "own").unwrap();
    assert_eq!(queue.engine().state().commits, [["", "b", "own"]]);
    assert!(!queue.engine().state().read.contains("a"));
}

#[test]
fn shared_deletion_skips_locked_list() {
    let queue = queue(LONG);
    queue.engine().state().unfinished.insert("a".to_owned());
    queue.engine().state().locked.insert(String::new());
    write(&queue, "own").unwrap();
    let alone = |transaction: &mut Transaction<'_>| {
        change(transaction, "alone");
        Ok(())
    };
    queue.write(("write", Reach::Store(None)), alone).unwrap();
    assert_eq!(queue.engine().state().commits, [["own"], ["alone"]]);
}

#[test]
fn threads_share_turns() {
    let queue = queue(LONG);
    queue.engine().allow_commits(Some(0));
    let threads: Vec<_> = (0..17)
        .map(|_| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || write(&queue, "shared").unwrap())
        })
        .collect();
    until(|| queue.arriving.load(Ordering::Acquire) + queue.engine().state().begun >= 1);
    thread::sleep(5 * MOMENT);
    queue.engine().allow_commits(None);
    for thread in threads {
        in_time(move || thread.join().unwrap());
    }
    let commits = queue.engine().state().commits.len();
    assert!(commits <= 3, "{commits}");
    assert!(queue.engine().shares_turns());
}
