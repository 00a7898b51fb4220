//! Turns that operations share, for engines whose rows other hosts change.
//!
//! Such an operation has to read within the turn that writes its changes. While a commit is under way, operations wait;
//! then the first one begins the next turn, and each runs in it on its own thread, one at a time, and sees the changes of
//! those before it. One of them, the leader, commits the turn for all:
//!
//! ```text
//! committed rows, locked by the turn  <-  open batch  <-  the operation that runs now
//! ```
//!
//! A turn locks runtimes as operations come. A turn with changes waits for no lock, since two hosts could wait for each
//! other: an operation whose runtime is not free begins the next turn; see [`admission`](crate::commit::admission).

use crate::commit::batch_outcome::{BatchOutcome, store_outcomes, wake_each};
use crate::commit::engine::Engine;
use crate::commit::queue::{CommitQueue, Outcome};
use crate::commit::state::{Busy, Queue};
use crate::commit::within;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::deletion;
use crate::ledger::transaction::Transaction;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// How often a leader looks for deletions that an ended host has left.
const DELETION: Duration = Duration::from_secs(1);

/// How long a leader waits for an operation that is on its way before it looks again.
const ARRIVAL: Duration = Duration::from_millis(1);

/// The cell that gets the outcome of a batch.
pub(crate) type OutcomeCell = Arc<OnceLock<BatchOutcome>>;

/// An operation that ran in the open turn, and the batch that it has to wait for; `None` if it read and wrote nothing that
/// is not committed.
pub(crate) struct InTurn<'q, E: Engine, T> {
    queue: MutexGuard<'q, Queue<E::Snapshot>>,
    pub(crate) outcome: Outcome<T>,
    pub(crate) batch: Option<OutcomeCell>,
}

impl<E: Engine> CommitQueue<E> {
    /// Runs `operation`, which reads and writes rows of `runtime` only, and returns when its turn is committed.
    pub(crate) fn write_shared<T>(
        &self,
        at: OpContext<'_>,
        runtime: &str,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<Outcome<T>, RuntimeError> {
        let InTurn {
            queue,
            outcome,
            batch,
        } = self.run_in_turn(at, runtime, operation)?;
        let Some(batch) = batch else {
            return Ok(outcome);
        };
        match queue.busy {
            None => self.lead_turn(queue, at),
            Some(_) => drop(queue),
        }
        batch.wait().result(at)?;
        Ok(outcome)
    }

    /// Runs `operation` as [`write_shared`](Self::write_shared) does, and calls `then` with its outcome when its turn is
    /// committed. `is_last` says whether no further call follows on this thread, which would commit the turn.
    pub(crate) fn write_shared_later<T: Send + 'static>(
        &self,
        at: OpContext<'_>,
        runtime: &str,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
        then: (
            impl FnOnce(Outcome<T>, &BatchOutcome) -> Option<Waker> + Send + 'static,
            &dyn Fn() -> bool,
        ),
    ) {
        let (then, is_last) = then;
        let known = match self.run_in_turn(at, runtime, operation) {
            Err(error) => Ok(Err(error)),
            Ok(InTurn {
                queue,
                outcome,
                batch: None,
            }) => {
                drop(queue);
                outcome
            }
            Ok(InTurn {
                mut queue, outcome, ..
            }) => {
                let then = move |batch: &BatchOutcome| then(outcome, batch);
                queue.later.push(Box::new(then));
                return self.lead_submitted(queue, is_last, at);
            }
        };
        let then = move |batch: &BatchOutcome| then(known, batch);
        wake_each(store_outcomes(vec![Box::new(then)], &BatchOutcome::Durable));
        // Operations that were submitted before it can be in the open batch.
        self.lead_submitted(self.lock_staged(), is_last, at);
    }

    /// Commits the open batch if the last submitted operation has run: of a batch of such operations alone no other thread
    /// is the leader.
    fn lead_submitted(
        &self,
        mut queue: MutexGuard<'_, Queue<E::Snapshot>>,
        is_last: &dyn Fn() -> bool,
        at: OpContext<'_>,
    ) {
        if queue.busy.is_none() && !queue.open.is_empty() && is_last() {
            queue.window.expect_no_more();
            self.lead_turn(queue, at);
        }
    }

    /// Waits for the open turn, or begins one, and runs `operation` in it.
    fn run_in_turn<T>(
        &self,
        at: OpContext<'_>,
        runtime: &str,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<InTurn<'_, E, T>, RuntimeError> {
        let (mut queue, turn) = self.admitted(at, runtime)?;
        let rows = self.engine().turn_rows(&turn, at);
        let outcome = self.stage(&mut queue, &rows, operation);
        drop(rows);
        if self.arriving.load(Ordering::Acquire) == 0 {
            self.end_gathering(&queue);
        }
        self.refuse_fork(at)?;
        let batch = match queue.open.is_empty() {
            // The turn has nothing to commit.
            true => {
                self.engine().abort(turn, at)?;
                None
            }
            false => {
                *self.lock_shared() = Some(turn);
                Some(Arc::clone(&queue.open_outcome))
            }
        };
        Ok(InTurn {
            queue,
            outcome,
            batch,
        })
    }

    /// Commits the open turn, after the group window.
    pub(crate) fn lead_turn(&self, queue: MutexGuard<'_, Queue<E::Snapshot>>, at: OpContext<'_>) {
        let mut queue = self.gather_arriving(queue);
        self.share_deletion(&mut queue, at);
        self.commit_open(queue, at, |wakers| {
            within::as_background(|| wake_each(wakers));
        });
    }

    /// Takes the turn for its commit, once all operations that wait for it have run in it, and the expected ones have come
    /// or the group window has ended. An operation that waits already costs the others less than a turn of its own.
    fn gather_arriving<'q>(
        &'q self,
        mut queue: MutexGuard<'q, Queue<E::Snapshot>>,
    ) -> MutexGuard<'q, Queue<E::Snapshot>> {
        queue.busy = Some(Busy::Commit);
        while queue.has_room() {
            let left = queue
                .window
                .time_left(Instant::now(), queue.open_operations);
            if left.is_none() && self.arriving.load(Ordering::Acquire) == 0 {
                break;
            }
            queue.window.is_on = true;
            let waited = self.gathering.wait_timeout(queue, left.unwrap_or(ARRIVAL));
            (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
            queue.window.is_on = false;
        }
        queue
    }

    /// Continues a deletion that an ended host has left, now and then.
    fn share_deletion(&self, queue: &mut Queue<E::Snapshot>, at: OpContext<'_>) {
        let now = Instant::now();
        if queue.shared_at.is_some_and(|last| now < last + DELETION) {
            return;
        }
        let Some(turn) = self.lock_shared().take() else {
            return;
        };
        let before = queue.open.bytes();
        self.share_deletion_in(queue, &turn, at);
        if queue.open.bytes() == before {
            queue.shared_at = Some(now);
        }
        *self.lock_shared() = Some(turn);
    }

    /// Adds a share of a deletion that an ended host has left to the changes of `turn`. It waits for no lock, which other
    /// operations of the turn would have to wait for: rows that another host has locked are left to it.
    pub(crate) fn share_deletion_in(
        &self,
        queue: &mut Queue<E::Snapshot>,
        turn: &E::Turn,
        at: OpContext<'_>,
    ) {
        let is_free = |runtime: &str| matches!(self.is_free(turn, runtime, false, at), Ok(true));
        let rows = self.engine().turn_rows(turn, at);
        // A failure is that of the deletion, not of the operations of the turn: the next open for writing reports it.
        let _ = self.stage(queue, &rows, |transaction| {
            deletion::share(transaction, is_free)
        });
    }

    /// The open turn. Its lock is taken only with the queue's.
    pub(crate) fn lock_shared(&self) -> MutexGuard<'_, Option<E::Turn>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
