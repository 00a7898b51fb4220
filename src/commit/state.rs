//! The state of a commit queue: its open and its sealed batch, who has the file, and its end.

use crate::commit::batch_outcome::BatchOutcome;
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

/// A batch that has this many operations, or this many bytes, takes no more.
const MAX_BATCH_OPERATIONS: usize = 1024;
const MAX_BATCH_BYTES: usize = 16 << 20;

/// Threads that wait for the queue to change. Waking nobody costs no system call.
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

    /// To be called after the change, which was made with the queue's lock held.
    pub(crate) fn wake_all(&self) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.condvar.notify_all();
        }
    }
}

pub(crate) struct Queue<S> {
    /// What operations staged since the last batch was sealed.
    pub(crate) open: ChangeSet,
    pub(crate) open_operations: usize,
    /// The committed rows below `sealed` and `open`, for all operations until the next commit is
    /// done. Held only while a batch is on its way: a reader that stays pins old pages.
    pub(crate) base: Option<S>,
    /// What is being committed.
    pub(crate) sealed: Option<Arc<ChangeSet>>,
    /// The number of the open batch. Batches below it were sealed.
    pub(crate) open_batch: u64,
    /// What those wait for who are in the open batch, and in the one that is being committed.
    pub(crate) open_outcome: Arc<OnceLock<BatchOutcome>>,
    pub(crate) sealed_outcome: Arc<OnceLock<BatchOutcome>>,
    /// Whom the next commit waits for.
    pub(crate) window: GroupWindow,
    /// Whether somebody waits to commit the open batch as soon as the commit under way is done.
    pub(crate) has_leader: bool,
    /// Whom to wake, without the lock, when a batch is finished: by batch and waiter.
    pub(crate) wakers: BTreeMap<(u64, u64), Waker>,
    /// The batch that the background thread was told to commit last.
    pub(crate) driven_batch: Option<u64>,
    /// Who has the file: a commit, or an exclusive writer.
    pub(crate) busy: Option<Busy>,
    /// How many wait until nothing is on its way to the disk.
    pub(crate) waiting_for_idle: usize,
    /// Why nothing is taken any more.
    pub(crate) over: Option<QueueEnd>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    Commit,
    Exclusive,
}

pub(crate) enum QueueEnd {
    /// The commit of batch `batch` failed. Its operations learn why, later ones only that.
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

    /// Whether the open batch takes another operation now.
    pub(crate) fn has_room(&self) -> bool {
        self.busy != Some(Busy::Exclusive)
            && self.waiting_for_idle == 0
            && self.open_operations < MAX_BATCH_OPERATIONS
            && self.open.bytes() < MAX_BATCH_BYTES
    }

    /// Whether `batch` is on disk. Batches below the open one were sealed; the last of them may
    /// still be on its way, or have failed.
    pub(crate) fn is_durable(&self, batch: u64) -> bool {
        let failed = match &self.over {
            Some(QueueEnd::Failed { batch: failed, .. }) => *failed <= batch,
            _ => false,
        };
        let on_its_way = self.sealed.is_some() && batch + 1 == self.open_batch;
        batch < self.open_batch && !on_its_way && !failed
    }

    /// What became of `batch`, once that is known.
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
            QueueEnd::Failed { .. } => Some(at.failed()),
        }
    }
}
