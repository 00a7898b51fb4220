//! The commit queue: operations of all threads share commits.
//!
//! An operation runs on its caller's thread, one at a time, under the queue's lock. It reads the
//! committed rows and everything staged above them, and stages its writes into the batch that is
//! open. Then it waits until that batch is on disk. Whoever finds nobody committing seals the open
//! batch and commits it, without the lock, so that the next batch fills meanwhile:
//!
//! ```text
//! committed rows  <-  batch being committed  <-  open batch  <-  the operation that runs now
//! ```
//!
//! One thread that waits for each of its operations waits for nobody else. An operation waits for the commit under way and its
//! own, which waits a moment for those who are about to join it ([`crate::commit::grouping`]). The first in a
//! batch that has to wait leads it, and is woken to commit it as soon as the commit before is done.
//! Nothing returns before everything that it saw is on disk, so nobody can learn of a change that a
//! crash could still undo.
//!
//! A commit that fails on I/O may or may not be in the file. What was staged above it saw it, so it
//! fails too, and the queue refuses everything until the store is opened again.

use crate::commit::background::Background;
use crate::commit::batch_outcome::BatchOutcome;
use crate::commit::engine::Engine;
use crate::commit::failure::Failure;
use crate::commit::notify::CommitCounter;
use crate::commit::state::{Busy, Queue, QueueEnd, Waiters};
use crate::commit::trace;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::rows::Rows;
use crate::ledger::transaction::Transaction;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// The queue of one store.
pub(crate) struct CommitQueue<E: Engine> {
    engine: E,
    pub(crate) queue: Mutex<Queue<E::Snapshot>>,
    /// The leader of the open batch, who waits for the commit under way.
    turn: Condvar,
    /// Who is about to commit the open batch, and waits for those who are expected in it.
    gathering: Condvar,
    /// Those who wait for room in the open batch, or for the queue to be idle.
    pub(crate) room: Waiters,
    /// Whether `queue.over` is set, for those who must not wait for the lock.
    over: AtomicBool,
    /// Commits the batches that no thread waits for.
    pub(crate) background: Background,
    /// Wakes the followers of this process.
    pub(crate) commits: CommitCounter,
}

thread_local! {
    /// The queues whose locks this thread holds while operations run, by address.
    static RUNNING_IN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Runs `operation` with a note of the queue that it runs in, and catches its panic.
pub(crate) fn run_noted<T, E: Engine>(
    queue: &CommitQueue<E>,
    operation: impl FnOnce() -> T,
) -> std::thread::Result<T> {
    RUNNING_IN.with_borrow_mut(|running| running.push(std::ptr::from_ref(queue).addr()));
    let outcome = catch_unwind(AssertUnwindSafe(operation));
    RUNNING_IN.with_borrow_mut(Vec::pop);
    outcome
}

impl<E: Engine> CommitQueue<E> {
    /// A queue that commits to `engine`.
    pub(crate) fn new(engine: E) -> Self {
        Self {
            engine,
            queue: Mutex::new(Queue::new()),
            turn: Condvar::new(),
            gathering: Condvar::new(),
            room: Waiters::default(),
            over: AtomicBool::new(false),
            background: Background::default(),
            commits: CommitCounter::default(),
        }
    }

    /// The engine that the queue commits to.
    pub(crate) fn engine(&self) -> &E {
        &self.engine
    }

    /// The context of the operation `operation` on the store.
    pub(crate) fn context(&self, operation: &'static str) -> OpContext<'_> {
        OpContext::new(operation, self.engine.place())
    }

    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, Queue<E::Snapshot>>, RuntimeError> {
        self.refuse_within()?;
        self.queue.lock().map_err(|_| RuntimeError::StatePoisoned)
    }

    /// Refuses calls from operations of this queue, which hold its lock.
    pub(crate) fn refuse_within(&self) -> Result<(), RuntimeError> {
        let this = std::ptr::from_ref(self).addr();
        if RUNNING_IN.with_borrow(|running| running.contains(&this)) {
            return Err(RuntimeError::InvalidRequest(
                "an operation on the store was called from within a transaction on it; \
                 call the transaction's own methods there"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// The queue for those whose operation is staged. They commit, and are told what became of their
    /// batch, also where the lock is poisoned: no code that can panic leaves the queue half changed.
    pub(crate) fn lock_staged(&self) -> MutexGuard<'_, Queue<E::Snapshot>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a batch committed that is waited with, where nobody else may join it any more.
    pub(crate) fn end_gathering(&self, queue: &Queue<E::Snapshot>) {
        if queue.window.is_on {
            self.gathering.notify_one();
        }
    }

    /// Whether the queue takes nothing any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends the queue, unless it is over already.
    pub(crate) fn end(&self, queue: &mut Queue<E::Snapshot>, over: QueueEnd) {
        queue.over.get_or_insert(over);
        self.over.store(true, Ordering::Release);
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

/// What an operation returned, or its panic.
pub(crate) type Outcome<T> = std::thread::Result<Result<T, RuntimeError>>;

impl<E: Engine> CommitQueue<E> {
    /// Runs `operation` and returns when what it wrote is on disk.
    ///
    /// It runs on this thread. Where it fails or panics, nothing that it staged is committed.
    pub(crate) fn write<T>(
        &self,
        name: &'static str,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let at = self.context(name);
        let _write = trace::write(at);
        let queue = self.lock_with_room(at)?;
        if !self.engine.stages_ahead() {
            return unwind_or_return(self.write_alone(queue, at, operation)?);
        }
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
    fn lock_with_room(
        &self,
        at: OpContext<'_>,
    ) -> Result<MutexGuard<'_, Queue<E::Snapshot>>, RuntimeError> {
        let mut queue = self.lock()?;
        while queue.over.is_none() && !queue.has_room() {
            queue = self.room.wait(queue)?;
        }
        match queue.refusal(None, at) {
            Some(refusal) => Err(refusal),
            None => Ok(queue),
        }
    }

    /// Runs `operation`, and says which batch has what it saw and wrote: the open one or the one
    /// before it; `None` where everything is on disk.
    #[allow(clippy::type_complexity)]
    fn stage_in_open<'q, T>(
        &'q self,
        mut queue: MutexGuard<'q, Queue<E::Snapshot>>,
        at: OpContext<'_>,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<(MutexGuard<'q, Queue<E::Snapshot>>, Outcome<T>, Option<u64>), RuntimeError> {
        let base = match queue.base.take() {
            Some(base) => base,
            None => self.engine.snapshot(at)?,
        };
        let outcome = self.stage(&mut queue, &self.engine.snapshot_rows(&base, at), operation);
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

    /// Runs `operation` above everything staged so far, and adds what it staged to the open batch
    /// where it succeeds. A panic is caught, so that it does not poison the queue.
    fn stage<T>(
        &self,
        queue: &mut Queue<E::Snapshot>,
        base: &dyn Rows,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Outcome<T> {
        let below = queue.sealed.iter().map(Arc::as_ref);
        let mut transaction = Transaction::new(base, below.chain([&queue.open]).collect());
        let outcome = run_noted(self, || operation(&mut transaction));
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

    /// Returns when `batch` is on disk; commits it where nobody else does.
    ///
    /// The first who waits for the open batch while a sealed one is committed becomes its leader and
    /// is woken alone, to commit it. All others are woken when their batch is finished, and need not
    /// look at the queue again: its lock would make them wait for each other once more.
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
                self.commit_open(self.gather(queue), at);
                queue = self.lock_staged();
            } else if batch == queue.open_batch && queue.sealed.is_some() && !queue.has_leader {
                queue.has_leader = true;
                queue = self.lead(queue, batch);
            } else {
                let fate = match batch == queue.open_batch {
                    true => Arc::clone(&queue.open_outcome),
                    false => Arc::clone(&queue.sealed_outcome),
                };
                drop(queue);
                return fate.wait().result(at);
            }
        }
    }

    /// Waits as the leader of `batch` until it can be committed, or until somebody else was quicker.
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

    /// Waits until those are in the open batch who are expected there, with the file taken: this
    /// thread commits it.
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
        self.refuse_within()?;
        self.wait_for(self.lock_staged(), batch, at)
    }

    /// Whether `batch` is on disk, or why it will not be; else `waker` is woken when it is known.
    pub(crate) fn poll_batch(
        &self,
        batch: u64,
        waiter: u64,
        waker: &Waker,
        at: OpContext<'_>,
    ) -> Option<Result<(), RuntimeError>> {
        if let Err(within) = self.refuse_within() {
            return Some(Err(within));
        }
        // A host's code, which may panic: cloned and dropped without the lock.
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

    /// Seals the open batch and commits it, without holding the queue's lock meanwhile.
    pub(crate) fn commit_open(
        &self,
        mut queue: MutexGuard<'_, Queue<E::Snapshot>>,
        at: OpContext<'_>,
    ) {
        let batch = queue.open_batch;
        let (sealed, size) = queue.take_open();
        let sealed = Arc::new(sealed);
        queue.open_batch += 1;
        queue.sealed = Some(Arc::clone(&sealed));
        queue.sealed_outcome = std::mem::take(&mut queue.open_outcome);
        queue.busy = Some(Busy::Commit);
        drop(queue);
        self.room.wake_all();

        let begin = Instant::now();
        let commit = trace::Commit::begin();
        let outcome = match self.engine.begin(at) {
            Ok(turn) => self.engine.commit(turn, &sealed, at),
            Err(error) => Err(Failure::before_commit(error)),
        };
        let failure = outcome.as_ref().err().map(|failure| failure.error(at));

        let mut queue = self.lock_staged();
        queue.busy = None;
        queue.sealed = None;
        // Before the next commit begins, which could not use the pages again that it pins.
        if let Some(base) = queue.base.take() {
            self.engine.release(base, at);
        }
        let (took, waiting) = ((begin, Instant::now()), queue.open_operations);
        queue.window.commit_is_done(took, size.operations, waiting);
        // Before all others, so that the disk is busy again while those are woken.
        if std::mem::take(&mut queue.has_leader) {
            self.turn.notify_one();
        }
        let finished = Arc::clone(&queue.sealed_outcome);
        let (wakers, fate) = match outcome {
            Ok(()) => {
                self.commits.announce();
                let later = queue.wakers.split_off(&(batch + 1, 0));
                let wakers = std::mem::replace(&mut queue.wakers, later);
                (wakers, BatchOutcome::Durable)
            }
            Err(failure) => {
                let over = QueueEnd::Failed {
                    batch,
                    failure: failure.clone(),
                };
                self.end(&mut queue, over);
                let _ = queue.open_outcome.set(BatchOutcome::Undone);
                (
                    std::mem::take(&mut queue.wakers),
                    BatchOutcome::Failed(failure),
                )
            }
        };
        drop(queue);
        // Each is set once: by the commit of its batch, or by that of the one before.
        let _ = finished.set(fate);
        self.room.wake_all();
        for waker in wakers.into_values() {
            // A host's code: its panic is nobody's here, and the others are woken all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
        commit.end(at, size, failure.as_ref());
    }

    /// Runs and commits one operation with the file to itself: where other processes write too,
    /// what it reads has to be read inside the write transaction.
    fn write_alone<T>(
        &self,
        mut queue: MutexGuard<'_, Queue<E::Snapshot>>,
        at: OpContext<'_>,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<Outcome<T>, RuntimeError> {
        let commit = trace::Commit::begin();
        let turn = self.engine.begin(at)?;
        let outcome = self.stage(&mut queue, &self.engine.turn_rows(&turn, at), operation);
        let batch = queue.open_batch;
        let (staged, size) = queue.take_open();
        if staged.is_empty() {
            self.engine.abort(turn, at)?;
        } else if let Err(failure) = self.engine.commit(turn, &staged, at) {
            let error = failure.error(at);
            self.end(&mut queue, QueueEnd::Failed { batch, failure });
            drop(queue);
            commit.end(at, size, Some(&error));
            return Err(error);
        } else {
            self.commits.announce();
            drop(queue);
            commit.end(at, size, None);
        }
        Ok(outcome)
    }

    /// Runs one operation as [`write`](Self::write) does where several processes write, and gives
    /// its panic back instead of raising it.
    pub(crate) fn write_alone_caught<T>(
        &self,
        at: OpContext<'_>,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Outcome<T> {
        match self.lock_with_room(at) {
            Ok(queue) => match self.write_alone(queue, at, operation) {
                Ok(outcome) => outcome,
                Err(error) => Ok(Err(error)),
            },
            Err(error) => Ok(Err(error)),
        }
    }
}

pub(crate) fn unwind_or_return<T>(outcome: Outcome<T>) -> Result<T, RuntimeError> {
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}
