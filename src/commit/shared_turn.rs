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
//! A turn locks runtimes as operations come. It never waits for a lock that is out of order, since two hosts could wait for
//! each other: the engine does not admit such an operation, which runs in the next turn.

use crate::commit::batch_outcome::BatchOutcome;
use crate::commit::engine::{Admission, Admitted, Engine};
use crate::commit::queue::{CommitQueue, Outcome, wake_each};
use crate::commit::state::{Busy, Queue};
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::deletion;
use crate::ledger::transaction::Transaction;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How often a leader looks for deletions that an ended host has left.
const SHARE: Duration = Duration::from_secs(1);

/// How long a leader waits for an operation that is on its way before it looks again.
const ARRIVAL: Duration = Duration::from_millis(1);

/// The cell that gets the outcome of a batch.
pub(crate) type OutcomeCell = Arc<OnceLock<BatchOutcome>>;

/// An operation on its way to a turn.
struct Arriving<'q>(&'q AtomicUsize);

impl<'q> Arriving<'q> {
    fn new(count: &'q AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

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
            impl FnOnce(Outcome<T>, &BatchOutcome) + Send + 'static,
            &dyn Fn() -> bool,
        ),
    ) {
        let (then, is_last) = then;
        let mut queue = match self.run_in_turn(at, runtime, operation) {
            Err(error) => {
                then(Ok(Err(error)), &BatchOutcome::Durable);
                self.lock_staged()
            }
            Ok(InTurn {
                queue,
                outcome,
                batch: None,
            }) => {
                drop(queue);
                then(outcome, &BatchOutcome::Durable);
                self.lock_staged()
            }
            Ok(InTurn {
                mut queue, outcome, ..
            }) => {
                queue
                    .later
                    .push(Box::new(move |batch| then(outcome, batch)));
                queue
            }
        };
        if queue.busy.is_none() && !queue.open.is_empty() && is_last() {
            // Of a batch of such operations alone nobody else is the leader.
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

    /// The queue and the open turn, once that takes an operation on `runtime`.
    #[allow(clippy::type_complexity)]
    fn admitted(
        &self,
        at: OpContext<'_>,
        runtime: &str,
    ) -> Result<(MutexGuard<'_, Queue<E::Snapshot>>, E::Turn), RuntimeError> {
        let mut arriving = Arriving::new(&self.arriving);
        let far = Duration::from_secs(60 * 60 * 24 * 365);
        let patience = self.engine().patience();
        let (busy_at, deadline) = (
            Instant::now() + patience.lock.min(far),
            Instant::now() + patience.outage.min(far),
        );
        let mut queue = self.lock(at)?;
        loop {
            let is_committing = queue.busy == Some(Busy::Commit) && !queue.window.is_on;
            if queue.over.is_none() && (is_committing || !queue.has_room()) {
                queue = self.wait_for_next_turn(queue, at)?;
                continue;
            }
            if let Some(refusal) = queue.refusal(None, at) {
                return Err(refusal);
            }
            let open = self.lock_shared().take();
            let turn = match open {
                Some(turn) => turn,
                None => self.engine().begin(at)?,
            };
            let how = Admission {
                deadline,
                may_wait: queue.open.is_empty(),
            };
            match self.engine().admits(&turn, runtime, how, at) {
                Ok(Admitted::Yes) => return Ok((queue, turn)),
                // The rows of the batch are not those of this operation.
                Err(error) if queue.open.is_empty() => {
                    let _ = self.engine().abort(turn, at);
                    return Err(error);
                }
                Err(error) => {
                    *self.lock_shared() = Some(turn);
                    return Err(error);
                }
                Ok(Admitted::NotNow) if how.may_wait => {
                    self.engine().abort(turn, at)?;
                    if Instant::now() >= busy_at {
                        return Err(at.busy("another host holds a lock on the same rows"));
                    }
                }
                Ok(Admitted::NotNow) => {
                    *self.lock_shared() = Some(turn);
                    // The leader need not wait for this one.
                    drop(arriving);
                    self.end_gathering(&queue);
                    queue = self.wait_for_next_turn(queue, at)?;
                    arriving = Arriving::new(&self.arriving);
                }
            }
        }
    }

    /// Waits until the open turn may have been committed. A batch of submitted operations alone has no leader yet: this
    /// thread leads it.
    pub(crate) fn wait_for_next_turn<'q>(
        &'q self,
        queue: MutexGuard<'q, Queue<E::Snapshot>>,
        at: OpContext<'_>,
    ) -> Result<MutexGuard<'q, Queue<E::Snapshot>>, RuntimeError> {
        if queue.busy.is_none() && !queue.open.is_empty() {
            self.lead_turn(queue, at);
            return Ok(self.lock_staged());
        }
        self.room.wait(queue)
    }

    /// Commits the open turn, after the group window.
    fn lead_turn(&self, queue: MutexGuard<'_, Queue<E::Snapshot>>, at: OpContext<'_>) {
        let mut queue = self.gather_arriving(queue);
        self.share_deletion(&mut queue, at);
        self.commit_open(queue, at, wake_each);
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
        if queue.shared_at.is_some_and(|last| now < last + SHARE) {
            return;
        }
        let Some(turn) = self.lock_shared().take() else {
            return;
        };
        let before = queue.open.bytes();
        let rows = self.engine().turn_rows(&turn, at);
        // A failure is that of the deletion, which the next open for writing reports.
        let _ = self.stage(queue, &rows, deletion::share);
        drop(rows);
        if queue.open.bytes() == before {
            queue.shared_at = Some(now);
        }
        *self.lock_shared() = Some(turn);
    }

    /// The open turn. Its lock is taken only with the queue's.
    pub(crate) fn lock_shared(&self) -> MutexGuard<'_, Option<E::Turn>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
