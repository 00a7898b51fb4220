//! Turns of an exclusive writer: bulk loads, compaction, checks of the file, and the close.

use crate::commit::batch_outcome::wake_each;
use crate::commit::engine::Engine;
use crate::commit::failure::Failure;
use crate::commit::queue::{CommitQueue, run_noted};
use crate::commit::state::{Busy, Queue, QueueEnd};
use crate::commit::trace::{self, Batch};
use crate::commit::within;
use crate::error::RuntimeError;
use crate::ledger::change_set::ChangeSet;
use crate::ledger::context::OpContext;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// The callbacks that run while a caller of [`CommitQueue::lock_idle`] commits the open batch.
const ENDING: &str = "a callback of the last commit before a close or an exclusive writer";

impl<E: Engine> CommitQueue<E> {
    /// Runs `load` in a turn of its own, while no other commit is under way. Commits if it succeeds; `Err`
    /// and a panic undo all of it.
    pub(crate) fn write_exclusively<T, F: From<RuntimeError>>(
        &self,
        name: &'static str,
        load: impl FnOnce(&E::Turn) -> Result<T, F>,
    ) -> Result<T, F> {
        let at = self.context(name);
        let _write = trace::write(at);
        let exclusive = self.take_turn(at)?;
        let turn = self.engine().begin(at)?;
        let result = match run_noted(self, || load(&turn)) {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => {
                self.undo(turn, at);
                return Err(error);
            }
            Err(panic) => {
                // Undone here: redb does not free the pages of a transaction that a panic drops.
                self.undo(turn, at);
                resume_unwind(panic)
            }
        };
        let (load, size, begin) = (trace::Commit::begin(), Batch::LOAD, Instant::now());
        // The load wrote its rows within the turn.
        if let Err(failure) = self.engine().commit(turn, &ChangeSet::default(), at) {
            let error = failure.error(at);
            if !self.engine().survives(&failure) {
                exclusive.fail(failure);
            }
            drop(exclusive);
            self.metrics.count(size, begin.elapsed(), true);
            load.end(at, size, Some(&error));
            return Err(error.into());
        }
        self.commits.announce();
        // A subscriber that changes the store would wait for the turn.
        drop(exclusive);
        self.metrics.count(size, begin.elapsed(), false);
        load.end(at, size, None);
        Ok(result)
    }

    /// Undoes a load. After a failed access to the file the engine cannot, and rejects every later access.
    /// The error of the load says more, and the next write gets [`Failure::Earlier`].
    fn undo(&self, turn: E::Turn, at: OpContext<'_>) {
        let _ = self.engine().abort(turn, at);
    }

    /// The queue once no batch is staged or being committed, or once it reached its terminal state. Later
    /// operations wait for the caller.
    fn lock_idle(
        &self,
        at: OpContext<'_>,
    ) -> Result<MutexGuard<'_, Queue<E::Snapshot>>, RuntimeError> {
        let mut queue = self.lock(at)?;
        queue.waiting_for_idle += 1;
        self.end_gathering(&queue);
        while queue.over.is_none() && (queue.busy.is_some() || !queue.open.is_empty()) {
            if queue.busy.is_some() {
                queue = self.room.wait(queue)?;
            } else {
                // This thread may be the background thread that was given the batch, inside a waker.
                within::callback(ENDING, || {
                    self.commit_open(queue, at, |wakers| self.wake_elsewhere(wakers));
                });
                queue = self.lock_staged();
            }
        }
        queue.waiting_for_idle -= 1;
        Ok(queue)
    }

    /// Has the background thread call `wakers`: one that changes the store would wait for this thread,
    /// which other operations wait for.
    fn wake_elsewhere(&self, wakers: Vec<Waker>) {
        if wakers.is_empty() {
            return;
        }
        let wakers = Arc::new(Mutex::new(wakers));
        let take = |wakers: &Mutex<Vec<Waker>>| {
            std::mem::take(&mut *wakers.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let given = Arc::clone(&wakers);
        if self
            .background
            .run(Box::new(move || wake_each(take(&given))))
            .is_err()
        {
            wake_each(take(&wakers));
        }
    }

    /// Waits for the commits under way, and closes the queue. Returns whether a commit had failed.
    pub(crate) fn end_queue(&self, at: OpContext<'_>) -> Result<bool, RuntimeError> {
        let mut queue = self.lock_idle(at)?;
        let has_failed = matches!(queue.over, Some(QueueEnd::Failed { .. }));
        self.end(&mut queue, QueueEnd::Closed);
        drop(queue);
        self.room.wake_all();
        Ok(has_failed)
    }

    /// The queue, for the holder of a turn; `None` in a fork, whose copy of the lock another thread of the
    /// parent may have held.
    fn lock_in_turn(&self) -> Option<MutexGuard<'_, Queue<E::Snapshot>>> {
        match self.is_forked() {
            true => None,
            false => self.queue.lock().ok(),
        }
    }

    /// Waits until no commit is under way, and holds later ones back until the turn is dropped.
    pub(crate) fn take_turn(
        &self,
        at: OpContext<'_>,
    ) -> Result<ExclusiveTurn<'_, E>, RuntimeError> {
        let mut queue = self.lock_idle(at)?;
        if let Some(refusal) = queue.refusal(None, at) {
            return Err(refusal);
        }
        queue.busy = Some(Busy::Exclusive);
        Ok(ExclusiveTurn(self))
    }
}

/// The turn of an exclusive writer. It ends when it is dropped, also by a panic.
pub(crate) struct ExclusiveTurn<'q, E: Engine>(&'q CommitQueue<E>);

impl<E: Engine> ExclusiveTurn<'_, E> {
    /// Ends the queue after a failed write of the turn: every write is rejected until the store is opened
    /// again.
    pub(crate) fn give_up(&self, message: String) {
        self.fail(Failure::Refused(std::io::ErrorKind::Other, message));
    }

    /// Ends the queue with `failure`.
    pub(crate) fn fail(&self, failure: Failure) {
        if let Some(mut queue) = self.0.lock_in_turn() {
            let batch = queue.open_batch;
            self.0.end(&mut queue, QueueEnd::Failed { batch, failure });
        }
    }
}

impl<E: Engine> Drop for ExclusiveTurn<'_, E> {
    fn drop(&mut self) {
        if let Some(mut queue) = self.0.lock_in_turn() {
            queue.busy = None;
            drop(queue);
            self.0.room.wake_all();
        }
    }
}
