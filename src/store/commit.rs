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
//! own, which waits a moment for those who are about to join it ([`super::gather`]). The first in a
//! batch that has to wait leads it, and is woken to commit it as soon as the commit before is done.
//! Nothing returns before everything that it saw is on disk, so nobody can learn of a change that a
//! crash could still undo.
//!
//! A commit that fails on I/O may or may not be in the file. What was staged above it saw it, so it
//! fails too, and the queue refuses everything until the store is opened again.

use super::context::At;
use super::failure::Failure;
use super::gather::Gather;
use super::pending::Background;
use super::read::{Rows, View};
use super::shared::Shared;
use super::trace::{self, Batch};
use super::transaction::{Staged, Transaction};
use crate::error::RuntimeError;
use redb::{ReadTransaction, WriteTransaction};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// A batch that has this many operations, or this many bytes, takes no more.
const MAX_BATCH_OPERATIONS: usize = 1024;
const MAX_BATCH_BYTES: usize = 16 << 20;

/// The queue of one store.
#[derive(Default)]
pub(crate) struct Pipeline {
    queue: Mutex<Queue>,
    /// The leader of the open batch, who waits for the commit under way.
    turn: Condvar,
    /// Who is about to commit the open batch, and waits for those who are expected in it.
    gathering: Condvar,
    /// Those who wait for room in the open batch, or for the queue to be idle.
    room: Waiters,
    /// Whether `queue.over` is set, for those who must not wait for the lock.
    over: AtomicBool,
    /// Commits what nobody waits for.
    pub(super) background: Background,
}

/// Threads that wait for the queue to change. Waking nobody costs no system call.
#[derive(Default)]
struct Waiters {
    condvar: Condvar,
    /// Changed only with the queue's lock held.
    count: AtomicUsize,
}

impl Waiters {
    fn wait<'q>(
        &self,
        queue: MutexGuard<'q, Queue>,
    ) -> Result<MutexGuard<'q, Queue>, RuntimeError> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let queue = self.condvar.wait(queue);
        self.count.fetch_sub(1, Ordering::Relaxed);
        queue.map_err(|_| RuntimeError::StatePoisoned)
    }

    /// To be called after the change, which was made with the queue's lock held.
    fn wake_all(&self) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.condvar.notify_all();
        }
    }
}

#[derive(Default)]
struct Queue {
    /// What operations staged since the last batch was sealed.
    open: Staged,
    open_operations: usize,
    /// The committed rows below `sealed` and `open`, for all operations until the next commit is
    /// done. Held only while a batch is on its way: a reader that stays pins old pages.
    base: Option<ReadTransaction>,
    /// What is being committed.
    sealed: Option<Arc<Staged>>,
    /// The number of the open batch. Batches below it were sealed.
    open_batch: u64,
    /// What those wait for who are in the open batch, and in the one that is being committed.
    open_fate: Arc<OnceLock<Fate>>,
    sealed_fate: Arc<OnceLock<Fate>>,
    /// Whom the next commit waits for.
    gather: Gather,
    /// Whether somebody waits to commit the open batch as soon as the commit under way is done.
    has_leader: bool,
    /// Whom to wake, without the lock, when a batch is finished: by batch and waiter.
    wakers: BTreeMap<(u64, u64), Waker>,
    /// The batch that the background thread was told to commit last.
    driven_batch: Option<u64>,
    /// Who has the file: a commit, or an exclusive writer.
    busy: Option<Busy>,
    /// How many wait until nothing is on its way to the disk.
    waiting_for_idle: usize,
    /// Why nothing is taken any more.
    over: Option<Over>,
}

/// What became of a batch.
enum Fate {
    /// It is on disk.
    Durable,
    /// Its commit failed.
    Failed(Failure),
    /// The commit of the batch that it was staged above failed.
    Undone,
}

impl Fate {
    fn result(&self, at: At<'_>) -> Result<(), RuntimeError> {
        match self {
            Self::Durable => Ok(()),
            Self::Failed(failure) => Err(failure.error(at)),
            Self::Undone => Err(at.failed()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Busy {
    Commit,
    Exclusive,
}

enum Over {
    /// The commit of batch `batch` failed. Its operations learn why, later ones only that.
    Failed { batch: u64, failure: Failure },
    /// The store was closed.
    Closed,
}

thread_local! {
    /// The queues whose locks this thread holds while operations run, by address.
    static RUNNING_IN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Runs `operation` with a note of the queue that it runs in, and catches its panic.
fn run_noted<T>(pipeline: &Pipeline, operation: impl FnOnce() -> T) -> std::thread::Result<T> {
    RUNNING_IN.with_borrow_mut(|running| running.push(std::ptr::from_ref(pipeline).addr()));
    let outcome = catch_unwind(AssertUnwindSafe(operation));
    RUNNING_IN.with_borrow_mut(Vec::pop);
    outcome
}

impl Pipeline {
    fn lock(&self) -> Result<MutexGuard<'_, Queue>, RuntimeError> {
        self.refuse_within()?;
        self.queue.lock().map_err(|_| RuntimeError::StatePoisoned)
    }

    /// Refuses calls from operations of this queue, which hold its lock.
    pub(super) fn refuse_within(&self) -> Result<(), RuntimeError> {
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
    fn lock_staged(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a batch committed that is waited with, where nobody else may join it any more.
    fn end_gathering(&self, queue: &Queue) {
        if queue.gather.is_on {
            self.gathering.notify_one();
        }
    }

    /// Whether the queue takes nothing any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends the queue, unless it is over already.
    fn end(&self, queue: &mut Queue, over: Over) {
        queue.over.get_or_insert(over);
        self.over.store(true, Ordering::Release);
    }
}

impl Queue {
    /// Empties the open batch.
    fn take_open(&mut self) -> (Staged, Batch) {
        let staged = std::mem::take(&mut self.open);
        let size = Batch {
            operations: std::mem::take(&mut self.open_operations),
            bytes: Some(staged.bytes()),
        };
        (staged, size)
    }

    /// Whether the open batch takes another operation now.
    fn has_room(&self) -> bool {
        self.busy != Some(Busy::Exclusive)
            && self.waiting_for_idle == 0
            && self.open_operations < MAX_BATCH_OPERATIONS
            && self.open.bytes() < MAX_BATCH_BYTES
    }

    /// Whether `batch` is on disk. Batches below the open one were sealed; the last of them may
    /// still be on its way, or have failed.
    fn is_durable(&self, batch: u64) -> bool {
        let failed = match &self.over {
            Some(Over::Failed { batch: failed, .. }) => *failed <= batch,
            _ => false,
        };
        let on_its_way = self.sealed.is_some() && batch + 1 == self.open_batch;
        batch < self.open_batch && !on_its_way && !failed
    }

    /// What became of `batch`, once that is known.
    fn finished(&self, batch: u64, at: At<'_>) -> Option<Result<(), RuntimeError>> {
        if self.is_durable(batch) {
            return Some(Ok(()));
        }
        self.refusal(Some(batch), at).map(Err)
    }

    /// The error for an operation of batch `batch` or, without one, for a new operation.
    fn refusal(&self, batch: Option<u64>, at: At<'_>) -> Option<RuntimeError> {
        match self.over.as_ref()? {
            Over::Closed => Some(at.closed()),
            Over::Failed {
                batch: failed,
                failure,
            } if batch == Some(*failed) => Some(failure.error(at)),
            Over::Failed { .. } => Some(at.failed()),
        }
    }
}

/// What an operation returned, or its panic.
pub(crate) type Outcome<T> = std::thread::Result<Result<T, RuntimeError>>;

impl Shared {
    /// Runs `operation` and returns when what it wrote is on disk.
    ///
    /// It runs on this thread. Where it fails or panics, nothing that it staged is committed.
    pub(crate) fn write<T>(
        &self,
        name: &'static str,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let at = self.at(name);
        let _write = trace::write(at);
        let queue = self.lock_with_room(at)?;
        if self.sharing == super::Sharing::ManyWriters {
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

    /// Runs `operation` and leaves its commit to the background thread. Returns its outcome and the
    /// batch that must be on disk before anybody may learn of it.
    pub(super) fn stage_for_later<T>(
        self: &Arc<Self>,
        at: At<'_>,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<(Outcome<T>, Option<u64>), RuntimeError> {
        let queue = self.lock_with_room(at)?;
        let (mut queue, outcome, batch) = self.stage_in_open(queue, at, operation)?;
        let undriven =
            batch.filter(|batch| queue.driven_batch.is_none_or(|driven| driven < *batch));
        if let Some(batch) = undriven {
            queue.driven_batch = Some(batch);
            drop(queue);
            self.drive(batch)?;
        }
        Ok((outcome, batch))
    }

    /// The queue, once the open batch takes another operation.
    fn lock_with_room(&self, at: At<'_>) -> Result<MutexGuard<'_, Queue>, RuntimeError> {
        let mut queue = self.pipeline.lock()?;
        while queue.over.is_none() && !queue.has_room() {
            queue = self.pipeline.room.wait(queue)?;
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
        mut queue: MutexGuard<'q, Queue>,
        at: At<'_>,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<(MutexGuard<'q, Queue>, Outcome<T>, Option<u64>), RuntimeError> {
        let base = match queue.base.take() {
            Some(base) => base,
            None => at.guard(|| self.begin_read(at))?,
        };
        let outcome = self.stage(&mut queue, &View { tables: &base, at }, operation);
        let batch = if !queue.open.is_empty() {
            Some(queue.open_batch)
        } else {
            queue.sealed.as_ref().map(|_| queue.open_batch - 1)
        };
        match batch {
            Some(_) => queue.base = Some(base),
            None => release(Some(base), at),
        }
        Ok((queue, outcome, batch))
    }

    /// Runs `operation` above everything staged so far, and adds what it staged to the open batch
    /// where it succeeds. A panic is caught, so that it does not poison the queue.
    fn stage<T>(
        &self,
        queue: &mut Queue,
        base: &dyn Rows,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Outcome<T> {
        let below = queue.sealed.iter().map(Arc::as_ref);
        let mut transaction = Transaction::new(base, below.chain([&queue.open]).collect());
        let outcome = run_noted(&self.pipeline, || operation(&mut transaction));
        let staged = transaction.into_staged();
        if matches!(outcome, Ok(Ok(_))) && !staged.is_empty() {
            queue.open.merge(staged);
            queue.open_operations += 1;
            if !queue.has_room() || queue.gather.is_complete(queue.open_operations) {
                self.pipeline.end_gathering(queue);
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
        mut queue: MutexGuard<'q, Queue>,
        batch: u64,
        at: At<'_>,
    ) -> Result<(), RuntimeError> {
        loop {
            if let Some(finished) = queue.finished(batch, at) {
                return finished;
            }
            if queue.busy.is_none() {
                self.commit_open(self.gather(queue), at);
                queue = self.pipeline.lock_staged();
            } else if batch == queue.open_batch && queue.sealed.is_some() && !queue.has_leader {
                queue.has_leader = true;
                queue = self.lead(queue, batch);
            } else {
                let fate = match batch == queue.open_batch {
                    true => Arc::clone(&queue.open_fate),
                    false => Arc::clone(&queue.sealed_fate),
                };
                drop(queue);
                return fate.wait().result(at);
            }
        }
    }

    /// Waits as the leader of `batch` until it can be committed, or until somebody else was quicker.
    fn lead<'q>(&'q self, mut queue: MutexGuard<'q, Queue>, batch: u64) -> MutexGuard<'q, Queue> {
        while queue.sealed.is_some() && batch == queue.open_batch {
            let turn = self.pipeline.turn.wait(queue);
            queue = turn.unwrap_or_else(PoisonError::into_inner);
        }
        queue
    }

    /// Waits until those are in the open batch who are expected there, with the file taken: this
    /// thread commits it.
    fn gather<'q>(&'q self, mut queue: MutexGuard<'q, Queue>) -> MutexGuard<'q, Queue> {
        queue.busy = Some(Busy::Commit);
        while queue.has_room()
            && let Some(left) = queue
                .gather
                .time_left(Instant::now(), queue.open_operations)
        {
            queue.gather.is_on = true;
            let gathering = self.pipeline.gathering.wait_timeout(queue, left);
            (queue, _) = gathering.unwrap_or_else(PoisonError::into_inner);
            queue.gather.is_on = false;
        }
        queue
    }

    /// Returns when `batch` is on disk.
    pub(super) fn wait_for_batch(&self, batch: u64, at: At<'_>) -> Result<(), RuntimeError> {
        self.pipeline.refuse_within()?;
        self.wait_for(self.pipeline.lock_staged(), batch, at)
    }

    /// Whether `batch` is on disk, or why it will not be; else `waker` is woken when it is known.
    pub(super) fn poll_batch(
        &self,
        batch: u64,
        waiter: u64,
        waker: &Waker,
        at: At<'_>,
    ) -> Option<Result<(), RuntimeError>> {
        if let Err(within) = self.pipeline.refuse_within() {
            return Some(Err(within));
        }
        // A host's code, which may panic: cloned and dropped without the lock.
        let waker = waker.clone();
        let mut queue = self.pipeline.lock_staged();
        if let Some(finished) = queue.finished(batch, at) {
            return Some(finished);
        }
        let replaced = queue.wakers.insert((batch, waiter), waker);
        drop(queue);
        drop(replaced);
        None
    }

    /// Seals the open batch and commits it, without holding the queue's lock meanwhile.
    fn commit_open(&self, mut queue: MutexGuard<'_, Queue>, at: At<'_>) {
        let batch = queue.open_batch;
        let (sealed, size) = queue.take_open();
        let sealed = Arc::new(sealed);
        queue.open_batch += 1;
        queue.sealed = Some(Arc::clone(&sealed));
        queue.sealed_fate = std::mem::take(&mut queue.open_fate);
        queue.busy = Some(Busy::Commit);
        drop(queue);
        self.pipeline.room.wake_all();

        let begin = Instant::now();
        let commit = trace::Commit::begin();
        let outcome = match at.guard(|| self.begin_write(at)) {
            Ok(transaction) => self.write_and_commit(transaction, &sealed, at),
            Err(error) => Err(Failure::before_commit(error)),
        };
        let failure = outcome.as_ref().err().map(|failure| failure.error(at));

        let mut queue = self.pipeline.lock_staged();
        queue.busy = None;
        queue.sealed = None;
        // Before the next commit begins, which could not use the pages again that it pins.
        release(queue.base.take(), at);
        let (took, waiting) = ((begin, Instant::now()), queue.open_operations);
        queue.gather.commit_is_done(took, size.operations, waiting);
        // Before all others, so that the disk is busy again while those are woken.
        if std::mem::take(&mut queue.has_leader) {
            self.pipeline.turn.notify_one();
        }
        let finished = Arc::clone(&queue.sealed_fate);
        let (wakers, fate) = match outcome {
            Ok(()) => {
                self.commits.announce();
                let later = queue.wakers.split_off(&(batch + 1, 0));
                let wakers = std::mem::replace(&mut queue.wakers, later);
                (wakers, Fate::Durable)
            }
            Err(failure) => {
                let over = Over::Failed {
                    batch,
                    failure: failure.clone(),
                };
                self.pipeline.end(&mut queue, over);
                let _ = queue.open_fate.set(Fate::Undone);
                (std::mem::take(&mut queue.wakers), Fate::Failed(failure))
            }
        };
        drop(queue);
        // Each is set once: by the commit of its batch, or by that of the one before.
        let _ = finished.set(fate);
        self.pipeline.room.wake_all();
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
        mut queue: MutexGuard<'_, Queue>,
        at: At<'_>,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<Outcome<T>, RuntimeError> {
        let commit = trace::Commit::begin();
        let transaction = at.guard(|| self.begin_write(at))?;
        let view = View {
            tables: &transaction,
            at,
        };
        let outcome = self.stage(&mut queue, &view, operation);
        let batch = queue.open_batch;
        let (staged, size) = queue.take_open();
        if staged.is_empty() {
            at.guard(|| transaction.abort().map_err(|error| at.redb(error)))?;
        } else if let Err(failure) = self.write_and_commit(transaction, &staged, at) {
            let error = failure.error(at);
            self.pipeline
                .end(&mut queue, Over::Failed { batch, failure });
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
    pub(super) fn write_alone_caught<T>(
        &self,
        at: At<'_>,
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

    /// Runs `load` in a write transaction of its own, with nothing else on its way to the disk.
    /// Commits where it succeeds; `Err` and a panic undo all of it.
    pub(crate) fn write_exclusively<T, E: From<RuntimeError>>(
        &self,
        name: &'static str,
        load: impl FnOnce(&WriteTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let at = self.at(name);
        let _write = trace::write(at);
        let turn = self.take_turn(at)?;
        let transaction = at.guard(|| self.begin_write(at))?;
        let result = match run_noted(&self.pipeline, || load(&transaction)) {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => {
                undo(transaction, at);
                return Err(error);
            }
            Err(panic) => {
                // Undone here: redb leaves its pages behind where it is dropped by a panic.
                undo(transaction, at);
                resume_unwind(panic)
            }
        };
        let (load, size) = (trace::Commit::begin(), Batch::LOAD);
        if let Err(failure) = self.commit(transaction, at) {
            let error = failure.error(at);
            turn.fail(failure);
            load.end(at, size, Some(&error));
            return Err(error.into());
        }
        self.commits.announce();
        load.end(at, size, None);
        Ok(result)
    }

    /// The queue once nothing is on its way to the disk, or once it takes nothing any more.
    /// Operations that come later wait behind us.
    fn lock_idle(&self, at: At<'_>) -> Result<MutexGuard<'_, Queue>, RuntimeError> {
        let mut queue = self.pipeline.lock()?;
        queue.waiting_for_idle += 1;
        self.pipeline.end_gathering(&queue);
        while queue.over.is_none() && (queue.busy.is_some() || !queue.open.is_empty()) {
            if queue.busy.is_some() {
                queue = self.pipeline.room.wait(queue)?;
            } else {
                // Whoever was told to commit it may be this thread: the background one, in a waker.
                self.commit_open(queue, at);
                queue = self.pipeline.lock_staged();
            }
        }
        queue.waiting_for_idle -= 1;
        Ok(queue)
    }

    /// Waits for the commits under way, and ends the queue.
    pub(super) fn end_queue(&self, at: At<'_>) -> Result<(), RuntimeError> {
        let mut queue = self.lock_idle(at)?;
        self.pipeline.end(&mut queue, Over::Closed);
        drop(queue);
        self.pipeline.room.wake_all();
        Ok(())
    }

    /// Waits until nothing is on its way to the disk, and keeps it so.
    pub(super) fn take_turn(&self, at: At<'_>) -> Result<ExclusiveTurn<'_>, RuntimeError> {
        let mut queue = self.lock_idle(at)?;
        if let Some(refusal) = queue.refusal(None, at) {
            return Err(refusal);
        }
        queue.busy = Some(Busy::Exclusive);
        Ok(ExclusiveTurn(&self.pipeline))
    }
}

/// The turn of an exclusive writer; over when dropped, also by a panic.
pub(super) struct ExclusiveTurn<'p>(&'p Pipeline);

impl ExclusiveTurn<'_> {
    /// What was written in the turn failed: nothing is written any more until the store is opened
    /// again.
    pub(super) fn give_up(&self, message: String) {
        self.fail(Failure::Refused(std::io::ErrorKind::Other, message));
    }

    fn fail(&self, failure: Failure) {
        if let Ok(mut queue) = self.0.queue.lock() {
            let batch = queue.open_batch;
            self.0.end(&mut queue, Over::Failed { batch, failure });
        }
    }
}

impl Drop for ExclusiveTurn<'_> {
    fn drop(&mut self) {
        if let Ok(mut queue) = self.0.queue.lock() {
            queue.busy = None;
        }
        self.0.room.wake_all();
    }
}

/// Undoes a load. Where an access to the file has failed redb cannot, and takes nothing any more: the
/// error of the load says more, and the next write meets [`Failure::Earlier`].
fn undo(transaction: WriteTransaction, at: At<'_>) {
    let _ = at.guard(|| transaction.abort().map_err(|error| at.redb(error)));
}

/// Ends a read. Where redb panics over that, the queue's lock is not poisoned.
fn release(base: Option<ReadTransaction>, at: At<'_>) {
    let _ = at.guard(|| {
        drop(base);
        Ok(())
    });
}

impl Shared {
    fn write_and_commit(
        &self,
        transaction: WriteTransaction,
        batch: &Staged,
        at: At<'_>,
    ) -> Result<(), Failure> {
        if let Err(error) = at.guard(|| batch.write(&transaction, at)) {
            // On a damaged file redb can panic once more when it undoes the transaction. The queue
            // would be left as if the commit were still under way, and everybody would wait for it.
            let _ = at.guard(|| {
                drop(transaction);
                Ok(())
            });
            return Err(Failure::before_commit(error));
        }
        self.commit(transaction, at)
    }

    fn commit(&self, mut transaction: WriteTransaction, at: At<'_>) -> Result<(), Failure> {
        self.save_free_pages(&mut transaction)
            .map_err(Failure::before_commit)?;
        match at.guard(|| Ok(transaction.commit())) {
            Ok(outcome) => outcome.map_err(Failure::in_commit),
            // A panic in the middle of a commit says as little about its outcome as an error does.
            Err(panic) => Err(Failure::Uncertain(
                std::io::ErrorKind::Other,
                panic.to_string(),
            )),
        }
    }
}

pub(super) fn unwind_or_return<T>(outcome: Outcome<T>) -> Result<T, RuntimeError> {
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}
