//! Operations in a turn of their own, for engines whose rows other processes change.

use crate::commit::admission::deadline;
use crate::commit::engine::{Admission, Admitted, Engine};
use crate::commit::queue::{CommitQueue, Outcome, Reach, unwind_or_return};
use crate::commit::state::{Queue, QueueEnd};
use crate::commit::trace;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::transaction::Transaction;
use std::sync::MutexGuard;
use std::time::Instant;

impl<E: Engine> CommitQueue<E> {
    /// Runs and commits one operation in a turn of its own. Where other processes write too, the operation
    /// has to read inside the write transaction. `runtime` is the one that it reads first, if that is known.
    pub(crate) fn write_alone<T>(
        &self,
        at: OpContext<'_>,
        runtime: Option<&str>,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<Outcome<T>, RuntimeError> {
        if self.engine().shares_turns() {
            let (queue, turn) = self.admitted_alone(at, runtime)?;
            let started = (trace::Commit::begin(), Instant::now());
            return self.run_alone((queue, turn), started, at, operation);
        }
        let queue = self.lock_for_one(at)?;
        let started = (trace::Commit::begin(), Instant::now());
        match self.engine().begin(at) {
            Ok(turn) => self.run_alone((queue, turn), started, at, operation),
            Err(error) => {
                // Before `operation`, as in `stage_in_open`.
                drop(queue);
                Err(error)
            }
        }
    }

    /// Runs and commits one operation, unless another host has one of `runtimes` locked: `None` then. Where hosts lock the
    /// whole store, it waits for them.
    pub(crate) fn write_if_free<T>(
        &self,
        name: &'static str,
        runtimes: &[&str],
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<Option<T>, RuntimeError> {
        if !self.engine().shares_turns() {
            return self.write((name, Reach::Store(None)), operation).map(Some);
        }
        let at = self.context(name);
        let _write = trace::write(at);
        let (queue, turn) = self.admitted_alone(at, None)?;
        for (index, runtime) in runtimes.iter().enumerate() {
            // A turn without locks may wait for a moment.
            match self.is_free(&turn, runtime, index == 0, at) {
                Ok(true) => {}
                taken => {
                    let aborted = self.engine().abort(turn, at);
                    drop(queue);
                    return taken.and(aborted).map(|()| None);
                }
            }
        }
        let started = (trace::Commit::begin(), Instant::now());
        let outcome = self.run_alone((queue, turn), started, at, operation)?;
        unwind_or_return(outcome).map(Some)
    }

    /// Locks `runtime` for `turn` unless another host has it locked. Returns whether the turn has it.
    pub(crate) fn is_free(
        &self,
        turn: &E::Turn,
        runtime: &str,
        may_wait: bool,
        at: OpContext<'_>,
    ) -> Result<bool, RuntimeError> {
        let how = Admission {
            deadline: deadline(Instant::now(), self.engine().patience().outage),
            may_wait,
        };
        let admitted = self.engine().admits(turn, runtime, how, at)?;
        Ok(admitted == Admitted::Yes)
    }

    /// The queue, once no exclusive writer has the store.
    fn lock_for_one(
        &self,
        at: OpContext<'_>,
    ) -> Result<MutexGuard<'_, Queue<E::Snapshot>>, RuntimeError> {
        let mut queue = self.lock_with_room(at)?;
        while queue.over.is_none() && (queue.busy.is_some() || !queue.open.is_empty()) {
            self.end_gathering(&queue);
            queue = self.room.wait(queue)?;
        }
        match queue.refusal(None, at) {
            Some(refusal) => Err(refusal),
            None => Ok(queue),
        }
    }

    /// Runs `operation` in `turn`, and commits it.
    fn run_alone<T>(
        &self,
        (mut queue, turn): (MutexGuard<'_, Queue<E::Snapshot>>, E::Turn),
        (commit, begin): (trace::Commit, Instant),
        at: OpContext<'_>,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<Outcome<T>, RuntimeError> {
        let rows = self.engine().turn_rows(&turn, at);
        let outcome = self.stage(&mut queue, &rows, operation);
        drop(rows);
        if matches!(outcome, Ok(Ok(_))) {
            // No open for writing may follow a writer that ended within a deletion.
            self.share_deletion_in(&mut queue, &turn, at);
        }
        let batch = queue.open_batch;
        let (staged, size) = queue.take_open();
        if staged.is_empty() {
            let aborted = self.engine().abort(turn, at);
            drop(queue);
            // The error or panic of the operation says more than that of its undoing.
            if matches!(outcome, Ok(Ok(_))) {
                aborted?;
            }
        } else if let Err(failure) = self.engine().commit(turn, &staged, at) {
            let error = failure.error(at);
            if !self.engine().survives(&failure) {
                self.end(&mut queue, QueueEnd::Failed { batch, failure });
            }
            drop(queue);
            self.metrics.count(size, begin.elapsed(), true);
            commit.end(at, size, Some(&error));
            return Err(error);
        } else {
            self.commits.announce();
            drop(queue);
            self.metrics.count(size, begin.elapsed(), false);
            commit.end(at, size, None);
        }
        Ok(outcome)
    }

    /// Runs one operation as [`write_alone`](Self::write_alone) does, and returns every error and panic of it.
    pub(crate) fn write_alone_caught<T>(
        &self,
        at: OpContext<'_>,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Outcome<T> {
        match self.write_alone(at, None, operation) {
            Ok(outcome) => outcome,
            Err(error) => Ok(Err(error)),
        }
    }
}
