//! The state of a commit queue: its open and its sealed batch, the current user of the file, and its
//! terminal state.

use crate::commit::batch_outcome::{BatchOutcome, Later};
use crate::commit::failure::Failure;
use crate::commit::grouping::GroupWindow;
use crate::commit::trace::Batch;
use crate::error::RuntimeError;
use crate::ledger::change_set::ChangeSet;
use crate::ledger::context::OpContext;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, MutexGuard, OnceLock};
use std::task::Waker;
use std::time::{Duration, Instant};

/// The limits of a batch. A batch that reached either takes no more operations.
const MAX_BATCH_OPERATIONS: usize = 1024;
const MAX_BATCH_BYTES: usize = 16 << 20;

/// Threads that wait for the queue to change. A wake without a waiting thread costs no system call.
#[derive(Default)]
pub(crate) struct Waiters {
    condvar: Condvar,
    /// Changed only with the queue's lock held.
    count: AtomicUsize,
}

impl Waiters {
    pub(crate) fn wait<'q, S>(
        &self,
        queue: MutexGuard<'q, Queue<S>>,
    ) -> Result<MutexGuard<'q, Queue<S>>, RuntimeError> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let queue = self.condvar.wait(queue);
        self.count.fetch_sub(1, Ordering::Relaxed);
        queue.map_err(|_| RuntimeError::StatePoisoned)
    }

    /// As [`wait`](Self::wait), and no longer than `at_most`.
    pub(crate) fn wait_timeout<'q, S>(
        &self,
        queue: MutexGuard<'q, Queue<S>>,
        at_most: Duration,
    ) -> Result<MutexGuard<'q, Queue<S>>, RuntimeError> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let waited = self.condvar.wait_timeout(queue, at_most);
        self.count.fetch_sub(1, Ordering::Relaxed);
        waited
            .map(|(queue, _)| queue)
            .map_err(|_| RuntimeError::StatePoisoned)
    }

    /// Wakes all threads. Call it after a change that was made with the queue's lock held.
    pub(crate) fn wake_all(&self) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.condvar.notify_all();
        }
    }
}

/// The part of a commit queue that its lock guards. `S` is the engine's snapshot.
pub(crate) struct Queue<S> {
    /// The open batch: the changes since the last batch was sealed.
    pub(crate) open: ChangeSet,
    pub(crate) open_operations: usize,
    /// The snapshot below `sealed` and `open`, for all operations until the next commit is done. It is
    /// held only while a batch is staged or committed: a held snapshot pins old pages.
    pub(crate) base: Option<S>,
    /// The batch that is being committed.
    pub(crate) sealed: Option<Arc<ChangeSet>>,
    /// The number of the open batch. All batches with a lower number were sealed.
    pub(crate) open_batch: u64,
    /// The outcome that the operations of the open batch, and of the sealed one, wait for.
    pub(crate) open_outcome: Arc<OnceLock<BatchOutcome>>,
    pub(crate) sealed_outcome: Arc<OnceLock<BatchOutcome>>,
    /// How long the leader waits for followers.
    pub(crate) window: GroupWindow,
    /// Whether a leader waits to commit the open batch as soon as the commit under way is done.
    pub(crate) has_leader: bool,
    /// Called with the outcome of the open batch, without the lock.
    pub(crate) later: Vec<Later>,
    /// When a leader of shared turns last found no deletion to continue.
    pub(crate) shared_at: Option<Instant>,
    /// The wakers of submitted operations, by batch and waiter. They are called without the lock.
    pub(crate) wakers: BTreeMap<(u64, u64), Waker>,
    /// The last batch that was given to the background thread.
    pub(crate) driven_batch: Option<u64>,
    /// The current user of the file: a commit, or an exclusive writer.
    pub(crate) busy: Option<Busy>,
    /// How many threads wait until no commit is staged or under way.
    pub(crate) waiting_for_idle: usize,
    /// Terminal state: why new operations are rejected.
    pub(crate) over: Option<QueueEnd>,
}

/// The user of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    Commit,
    Exclusive,
}

/// The terminal state of a queue.
pub(crate) enum QueueEnd {
    /// The commit of batch `batch` failed. Its operations get the cause, later ones [`Failure::later`].
    Failed { batch: u64, failure: Failure },
    /// The store was closed.
    Closed,
}

impl<S> Queue<S> {
    pub(crate) fn new() -> Self {
        Self {
            open: ChangeSet::default(),
            open_operations: 0,
            base: None,
            sealed: None,
            open_batch: 0,
            open_outcome: Arc::default(),
            sealed_outcome: Arc::default(),
            window: GroupWindow::default(),
            has_leader: false,
            later: Vec::new(),
            shared_at: None,
            wakers: BTreeMap::new(),
            driven_batch: None,
            busy: None,
            waiting_for_idle: 0,
            over: None,
        }
    }

    /// Empties the open batch.
    pub(crate) fn take_open(&mut self) -> (ChangeSet, Batch) {
        let staged = std::mem::take(&mut self.open);
        let size = Batch {
            operations: std::mem::take(&mut self.open_operations),
            bytes: Some(staged.bytes()),
        };
        (staged, size)
    }

    /// Whether the open batch takes another operation.
    pub(crate) fn has_room(&self) -> bool {
        self.busy != Some(Busy::Exclusive)
            && self.waiting_for_idle == 0
            && self.open_operations < MAX_BATCH_OPERATIONS
            && self.open.bytes() < MAX_BATCH_BYTES
    }

    /// Whether `batch` is on disk. Batches below the open one were sealed; the commit of the last of them
    /// may still be under way, or have failed.
    pub(crate) fn is_durable(&self, batch: u64) -> bool {
        let failed = match &self.over {
            Some(QueueEnd::Failed { batch: failed, .. }) => *failed <= batch,
            _ => false,
        };
        let on_its_way = self.sealed.is_some() && batch + 1 == self.open_batch;
        batch < self.open_batch && !on_its_way && !failed
    }

    /// The outcome of `batch`, once it is known.
    pub(crate) fn finished(
        &self,
        batch: u64,
        at: OpContext<'_>,
    ) -> Option<Result<(), RuntimeError>> {
        if self.is_durable(batch) {
            return Some(Ok(()));
        }
        self.refusal(Some(batch), at).map(Err)
    }

    /// The error for an operation of batch `batch` or, without one, for a new operation.
    pub(crate) fn refusal(&self, batch: Option<u64>, at: OpContext<'_>) -> Option<RuntimeError> {
        match self.over.as_ref()? {
            QueueEnd::Closed => Some(at.closed()),
            QueueEnd::Failed {
                batch: failed,
                failure,
            } if batch == Some(*failed) => Some(failure.error(at)),
            QueueEnd::Failed { failure, .. } => Some(failure.later(at)),
        }
    }
}
