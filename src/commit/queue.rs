//! The commit queue: operations of all threads share commits.
//!
//! An operation runs on its caller's thread, one at a time, under the queue's lock. It reads the
//! committed rows and all changes staged above them, and stages its own changes in the open batch. Then
//! it waits until that batch is on disk. A waiting operation that finds no commit under way seals the
//! open batch and commits it without the lock, so that the next batch fills in the meantime:
//!
//! ```text
//! committed rows  <-  batch being committed  <-  open batch  <-  the operation that runs now
//! ```
//!
//! A single thread that waits for each of its operations waits for no other thread. An operation waits
//! for the commit under way and for its own commit, which includes the group window
//! ([`crate::commit::grouping`]). The first operation of a batch that has to wait is the batch's leader:
//! it is woken to commit the batch as soon as the commit before it is done. No operation returns before
//! every change that it read is on disk, so no caller learns of a change that a crash could still undo.
//!
//! A batch whose commit failed on I/O may or may not be in the file. The batch staged above it read its
//! changes, so it fails too, and the queue rejects every operation until the store is opened again.

use crate::commit::background::Background;
use crate::commit::batch_outcome::{BatchOutcome, store_outcomes, wake_each};
use crate::commit::engine::Engine;
use crate::commit::failure::Failure;
use crate::commit::metrics::Metrics;
use crate::commit::notify::CommitCounter;
use crate::commit::refused::Refused;
use crate::commit::state::{Busy, Queue, QueueEnd, Waiters};
use crate::commit::{trace, within};
use crate::error::RuntimeError;
use crate::fs::process::Process;
use crate::ledger::context::OpContext;
use crate::ledger::opening::{Guards, Opening};
use crate::ledger::rows::Rows;
use crate::ledger::transaction::Transaction;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;
use std::time::Instant;

/// The queue of one store.
pub(crate) struct CommitQueue<E: Engine> {
    engine: E,
    /// The process that opened the store.
    process: Process,
    pub(crate) queue: Mutex<Queue<E::Snapshot>>,
    /// Wakes the leader of the open batch, which waits for the commit under way.
    turn: Condvar,
    /// Wakes the leader that keeps the group window open for expected operations.
    pub(crate) gathering: Condvar,
    /// Threads that wait for room in the open batch, or for the queue to be idle.
    pub(crate) room: Waiters,
    /// Whether `queue.over` is set, for callers that must not wait for the lock.
    over: AtomicBool,
    /// Commits the batches that no thread waits for.
    pub(crate) background: Background,
    /// Wakes the followers of this process.
    pub(crate) commits: CommitCounter,
    /// The open turn of an engine that shares turns. Its lock is taken only with that of `queue`.
    pub(crate) shared: Mutex<Option<E::Turn>>,
    /// How many operations are on their way to a shared turn.
    pub(crate) arriving: AtomicUsize,
    /// The operations that shared turns have refused.
    pub(crate) refused: Mutex<Refused>,
    /// How many submitted operations the background thread has still to run.
    pub(crate) submitted: AtomicUsize,
    /// This opening of the store.
    pub(crate) opening: Opening,
    pub(crate) metrics: Metrics,
}

/// Runs `operation`, records during the call which queue it runs in, and catches its panic.
pub(crate) fn run_noted<T, E: Engine>(
    queue: &CommitQueue<E>,
    operation: impl FnOnce() -> T,
) -> std::thread::Result<T> {
    let operation = || within::operation(queue.address(), operation);
    catch_unwind(AssertUnwindSafe(operation))
}

/// How often a thread lets others run before it sleeps on the lock of the queue. A thread that sleeps has to be woken by the
/// one before it, which takes longer than its operation: 64 threads on two processors made 23,600 inputs a second without,
/// 32,500 with 8, and 25,700 with 64.
const YIELDS: usize = 8;

impl<E: Engine> CommitQueue<E> {
    /// A queue that commits to `engine`.
    pub(crate) fn new(engine: E) -> Self {
        Self {
            opening: Opening::new(engine.has_one_writer()),
            engine,
            process: Process::current(),
            queue: Mutex::new(Queue::new()),
            turn: Condvar::new(),
            gathering: Condvar::new(),
            room: Waiters::default(),
            over: AtomicBool::new(false),
            background: Background::default(),
            commits: CommitCounter::default(),
            shared: Mutex::new(None),
            arriving: AtomicUsize::new(0),
            refused: Mutex::default(),
            submitted: AtomicUsize::new(0),
            metrics: Metrics::default(),
        }
    }

    /// With guards, which a host sets when it opens the store.
    pub(crate) fn guarded(mut self, guards: Guards) -> Self {
        self.opening.guards = guards;
        self
    }

    /// The engine that the queue commits to.
    pub(crate) fn engine(&self) -> &E {
        &self.engine
    }

    /// The context of the operation `operation` on the store.
    pub(crate) fn context(&self, operation: &'static str) -> OpContext<'_> {
        OpContext::new(operation, self.engine.place())
    }

    /// Rejects calls from a fork; see [`OpContext::refuse_fork`].
    pub(crate) fn refuse_fork(&self, at: OpContext<'_>) -> Result<(), RuntimeError> {
        at.refuse_fork(self.process)
    }

    /// Whether the calling process is a fork of the one that opened the store.
    pub(crate) fn is_forked(&self) -> bool {
        !self.process.is_current()
    }

    pub(crate) fn lock(
        &self,
        at: OpContext<'_>,
    ) -> Result<MutexGuard<'_, Queue<E::Snapshot>>, RuntimeError> {
        self.refuse_fork(at)?;
        self.refuse_within()?;
        self.queue.lock().map_err(|_| RuntimeError::StatePoisoned)
    }

    /// As [`lock`](Self::lock), for one of many threads that each hold the lock for microseconds: it lets others run for a
    /// while before it sleeps.
    pub(crate) fn lock_soon(
        &self,
        at: OpContext<'_>,
    ) -> Result<MutexGuard<'_, Queue<E::Snapshot>>, RuntimeError> {
        self.refuse_fork(at)?;
        self.refuse_within()?;
        for _ in 0..YIELDS {
            match self.queue.try_lock() {
                Ok(queue) => return Ok(queue),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
                Err(TryLockError::Poisoned(_)) => return Err(RuntimeError::StatePoisoned),
            }
        }
        self.queue.lock().map_err(|_| RuntimeError::StatePoisoned)
    }

    /// The address of the queue, by which [`within`] knows it.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Rejects changes and waits inside closures and callbacks; see [`within`].
    pub(crate) fn refuse_within(&self) -> Result<(), RuntimeError> {
        within::refuse(self.address())
    }

    /// The queue for operations that are already staged. They commit and learn the outcome of their batch
    /// even if the lock is poisoned: no code that can panic leaves the queue half changed.
    pub(crate) fn lock_staged(&self) -> MutexGuard<'_, Queue<E::Snapshot>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the group window: the leader commits the open batch now.
    pub(crate) fn end_gathering(&self, queue: &Queue<E::Snapshot>) {
        if queue.window.is_on {
            self.gathering.notify_one();
        }
    }

    /// Whether the queue reached its terminal state and rejects new operations.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Sets the terminal state; the first one stays.
    pub(crate) fn end(&self, queue: &mut Queue<E::Snapshot>, over: QueueEnd) {
        queue.over.get_or_insert(over);
        self.over.store(true, Ordering::Release);
    }
}

/// The rows that an operation reads and writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach<'r> {
    /// Those of this runtime. Such operations can share turns.
    Runtime(&'r str),
    /// Those of this runtime, if one is known, and others of the store.
    Store(Option<&'r str>),
}

impl<'r> Reach<'r> {
    pub(crate) fn runtime(self) -> Option<&'r str> {
        match self {
            Self::Runtime(runtime) => Some(runtime),
            Self::Store(runtime) => runtime,
        }
    }
}

/// An operation that ran and whose commit nothing waits for yet.
pub(crate) struct StagedForLater<T> {
    pub(crate) outcome: Outcome<T>,
    /// The batch that must be on disk before the outcome may be given to the caller.
    pub(crate) batch: Option<u64>,
    /// The same batch, where the background thread does not commit it yet.
    pub(crate) undriven: Option<u64>,
}

/// The result of an operation, or its panic.
pub(crate) type Outcome<T> = std::thread::Result<Result<T, RuntimeError>>;

impl<E: Engine> CommitQueue<E> {
    /// Runs `operation` and returns when its changes are on disk.
    ///
    /// The operation runs on this thread. If it fails or panics, none of its changes is committed.
    pub(crate) fn write<T>(
        &self,
        (name, reach): (&'static str, Reach<'_>),
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let at = self.context(name);
        let _write = trace::write(at);
        if let Reach::Runtime(runtime) = reach
            && self.engine.shares_turns()
        {
            return unwind_or_return(self.write_shared(at, runtime, operation)?);
        }
        if !self.engine.stages_ahead() {
            return unwind_or_return(self.write_alone(at, reach.runtime(), operation)?);
        }
        let queue = self.lock_with_room(at)?;
        let (queue, outcome, batch) = self.stage_in_open(queue, at, operation)?;
        if let Some(batch) = batch {
            self.wait_for(queue, batch, at)?;
        } else {
            drop(queue);
        }
        unwind_or_return(outcome)
    }

    /// Runs `operation` without waiting for its commit.
    pub(crate) fn stage_for_later<T>(
        &self,
        at: OpContext<'_>,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<StagedForLater<T>, RuntimeError> {
        let queue = self.lock_with_room(at)?;
        let (mut queue, outcome, batch) = self.stage_in_open(queue, at, operation)?;
        let undriven =
            batch.filter(|batch| queue.driven_batch.is_none_or(|driven| driven < *batch));
        if undriven.is_some() {
            queue.driven_batch = undriven;
        }
        Ok(StagedForLater {
            outcome,
            batch,
            undriven,
        })
    }

    /// The queue, once the open batch takes another operation.
    pub(crate) fn lock_with_room(
        &self,
        at: OpContext<'_>,
    ) -> Result<MutexGuard<'_, Queue<E::Snapshot>>, RuntimeError> {
        let mut queue = self.lock(at)?;
        while queue.over.is_none() && !queue.has_room() {
            let is_free = queue.busy.is_none() && queue.waiting_for_idle == 0;
            if is_free && within::is_background() {
                // Inside a waker, on the thread that may have been given the full batch to commit.
                self.commit_open(queue, at, wake_each);
                queue = self.lock_staged();
            } else {
                queue = self.room.wait(queue)?;
            }
        }
        match queue.refusal(None, at) {
            Some(refusal) => Err(refusal),
            None => Ok(queue),
        }
    }

    /// Runs `operation`, and returns the batch with the changes that it read and wrote: the open one or
    /// the one before it; `None` if all of them are on disk.
    #[allow(clippy::type_complexity)]
    fn stage_in_open<'q, T>(
        &'q self,
        mut queue: MutexGuard<'q, Queue<E::Snapshot>>,
        at: OpContext<'_>,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<(MutexGuard<'q, Queue<E::Snapshot>>, Outcome<T>, Option<u64>), RuntimeError> {
        let base = match queue
            .base
            .take()
            .map_or_else(|| self.engine.snapshot(at), Ok)
        {
            Ok(base) => base,
            Err(error) => {
                // Before `operation`: dropping a host's values runs the host's code.
                drop(queue);
                return Err(error);
            }
        };
        let outcome = self.stage(&mut queue, &self.engine.snapshot_rows(&base, at), operation);
        // The operation may have forked. In the child no thread commits what the parent staged.
        self.refuse_fork(at)?;
        let batch = if !queue.open.is_empty() {
            Some(queue.open_batch)
        } else {
            queue.sealed.as_ref().map(|_| queue.open_batch - 1)
        };
        match batch {
            Some(_) => queue.base = Some(base),
            None => self.engine.release(base, at),
        }
        Ok((queue, outcome, batch))
    }

    /// Runs `operation` above all staged changes. If it succeeds, its changes join the open batch. A panic
    /// is caught, so that it does not poison the queue's lock.
    pub(crate) fn stage<T>(
        &self,
        queue: &mut Queue<E::Snapshot>,
        base: &dyn Rows,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Outcome<T> {
        let below = queue.sealed.iter().map(Arc::as_ref);
        let mut transaction = Transaction::new(base, below.chain([&queue.open]).collect());
        let outcome = run_noted(self, || {
            transaction.begin(self.engine.now_ms(), &self.opening);
            if let Some(max) = self.opening.guards.max_store_bytes {
                transaction.limit_store(self.engine.file_bytes(), max);
            }
            let done = operation(&mut transaction)?;
            self.engine.check(transaction.changes())?;
            Ok(done)
        });
        let staged = transaction.into_staged();
        if matches!(outcome, Ok(Ok(_))) && !staged.is_empty() {
            queue.open.merge(staged);
            queue.open_operations += 1;
            if !queue.has_room() || queue.window.is_complete(queue.open_operations) {
                self.end_gathering(queue);
            }
        }
        outcome
    }

    /// Returns when `batch` is on disk; commits it if no other thread does.
    ///
    /// The first thread that waits for the open batch while a sealed one is committed becomes the leader,
    /// and is woken alone to commit it. All others wait on the cell of their batch instead of the queue's
    /// lock, on which they would wait for each other once more.
    fn wait_for<'q>(
        &'q self,
        mut queue: MutexGuard<'q, Queue<E::Snapshot>>,
        batch: u64,
        at: OpContext<'_>,
    ) -> Result<(), RuntimeError> {
        loop {
            if let Some(finished) = queue.finished(batch, at) {
                return finished;
            }
            if queue.busy.is_none() {
                self.commit_open(self.gather(queue), at, wake_each);
                queue = self.lock_staged();
            } else if batch == queue.open_batch && queue.sealed.is_some() && !queue.has_leader {
                queue.has_leader = true;
                queue = self.lead(queue, batch);
            } else {
                let outcome = match batch == queue.open_batch {
                    true => Arc::clone(&queue.open_outcome),
                    false => Arc::clone(&queue.sealed_outcome),
                };
                drop(queue);
                return outcome.wait().result(at);
            }
        }
    }

    /// Waits as the leader of `batch` until it can be committed, or until another thread sealed it.
    fn lead<'q>(
        &'q self,
        mut queue: MutexGuard<'q, Queue<E::Snapshot>>,
        batch: u64,
    ) -> MutexGuard<'q, Queue<E::Snapshot>> {
        while queue.sealed.is_some() && batch == queue.open_batch {
            let turn = self.turn.wait(queue);
            queue = turn.unwrap_or_else(PoisonError::into_inner);
        }
        queue
    }

    /// Takes the file, then keeps the group window open until the expected operations have joined the open
    /// batch. The calling thread commits it.
    fn gather<'q>(
        &'q self,
        mut queue: MutexGuard<'q, Queue<E::Snapshot>>,
    ) -> MutexGuard<'q, Queue<E::Snapshot>> {
        queue.busy = Some(Busy::Commit);
        while queue.has_room()
            && let Some(left) = queue
                .window
                .time_left(Instant::now(), queue.open_operations)
        {
            queue.window.is_on = true;
            let gathering = self.gathering.wait_timeout(queue, left);
            (queue, _) = gathering.unwrap_or_else(PoisonError::into_inner);
            queue.window.is_on = false;
        }
        queue
    }

    /// Returns when `batch` is on disk.
    pub(crate) fn wait_for_batch(&self, batch: u64, at: OpContext<'_>) -> Result<(), RuntimeError> {
        self.refuse_fork(at)?;
        self.refuse_within()?;
        self.wait_for(self.lock_staged(), batch, at)
    }

    /// Whether `batch` is on disk, or why it will not be; otherwise `waker` is woken when that is known.
    pub(crate) fn poll_batch(
        &self,
        batch: u64,
        waiter: u64,
        waker: &Waker,
        at: OpContext<'_>,
    ) -> Option<Result<(), RuntimeError>> {
        if let Err(refusal) = self.refuse_fork(at).and_then(|()| self.refuse_within()) {
            return Some(Err(refusal));
        }
        // A waker is a host's code and may panic: it is cloned and dropped without the lock.
        let waker = waker.clone();
        let mut queue = self.lock_staged();
        if let Some(finished) = queue.finished(batch, at) {
            return Some(finished);
        }
        let replaced = queue.wakers.insert((batch, waiter), waker);
        drop(queue);
        drop(replaced);
        None
    }

    /// Seals the open batch and commits it, without holding the queue's lock meanwhile. Then gives `wake`
    /// the wakers that wait for the batch.
    pub(crate) fn commit_open(
        &self,
        mut queue: MutexGuard<'_, Queue<E::Snapshot>>,
        at: OpContext<'_>,
        wake: impl FnOnce(Vec<Waker>),
    ) {
        let batch = queue.open_batch;
        let (sealed, size) = queue.take_open();
        let sealed = Arc::new(sealed);
        queue.open_batch += 1;
        queue.sealed = Some(Arc::clone(&sealed));
        queue.sealed_outcome = std::mem::take(&mut queue.open_outcome);
        let (later, open_turn) = (std::mem::take(&mut queue.later), self.lock_shared().take());
        queue.busy = Some(Busy::Commit);
        drop(queue);
        self.room.wake_all();

        let begin = Instant::now();
        let commit = trace::Commit::begin();
        let outcome = match open_turn {
            Some(turn) => self.engine.commit(turn, &sealed, at),
            // The turn that the batch was read in is gone, with a panic.
            None if self.engine.shares_turns() => Err(Failure::Conflict),
            None => match self.engine.begin(at) {
                Ok(turn) => self.engine.commit(turn, &sealed, at),
                Err(error) => Err(Failure::before_commit(error)),
            },
        };
        let failure = outcome.as_ref().err().map(|failure| failure.error(at));

        let mut queue = self.lock_staged();
        queue.busy = None;
        queue.sealed = None;
        // Before the next commit begins: it cannot reuse the pages that a held snapshot pins.
        if let Some(base) = queue.base.take() {
            self.engine.release(base, at);
        }
        let arriving = self.arriving.load(Ordering::Acquire);
        let (took, waiting) = ((begin, Instant::now()), queue.open_operations + arriving);
        queue.window.commit_is_done(took, size.operations, waiting);
        // The leader first, so that the disk is busy again while the others are woken.
        if std::mem::take(&mut queue.has_leader) {
            self.turn.notify_one();
        }
        let finished = Arc::clone(&queue.sealed_outcome);
        let (wakers, outcome) = match outcome {
            Ok(()) => {
                self.commits.announce();
                let later = queue.wakers.split_off(&(batch + 1, 0));
                let wakers = std::mem::replace(&mut queue.wakers, later);
                (wakers, BatchOutcome::Durable)
            }
            // The next turn does not depend on this one.
            Err(failure) if self.engine.survives(&failure) => {
                (BTreeMap::new(), BatchOutcome::Failed(failure))
            }
            Err(failure) => {
                let over = QueueEnd::Failed {
                    batch,
                    failure: failure.clone(),
                };
                self.end(&mut queue, over);
                let _ = queue
                    .open_outcome
                    .set(BatchOutcome::Undone(failure.clone()));
                (
                    std::mem::take(&mut queue.wakers),
                    BatchOutcome::Failed(failure),
                )
            }
        };
        drop(queue);
        // Each is set once: by the commit of its batch, or by that of the one before.
        let _ = finished.set(outcome);
        // Before the code of a host, which may wait for one of these threads.
        self.room.wake_all();
        let mut wakers: Vec<Waker> = wakers.into_values().collect();
        if let Some(outcome) = finished.get()
            && !later.is_empty()
        {
            wakers.extend(store_outcomes(later, outcome));
        }
        wake(wakers);
        self.metrics.count(size, begin.elapsed(), failure.is_some());
        commit.end(at, size, failure.as_ref());
    }
}

pub(crate) fn unwind_or_return<T>(outcome: Outcome<T>) -> Result<T, RuntimeError> {
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}
