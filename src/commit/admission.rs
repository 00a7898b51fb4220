//! How an operation gets into a shared turn.
//!
//! An operation joins the open turn if the locks that it needs are free. Otherwise it waits until that turn is committed,
//! and begins the next one, before later operations. There it may wait for a moment. If another host has the lock longer
//! than that, the turn is given up, and operations on other runtimes go on until the lock is tried once more.

use crate::commit::engine::{Admission, Admitted, Engine, Patience};
use crate::commit::queue::CommitQueue;
use crate::commit::refused::Refused;
use crate::commit::state::{Busy, Queue};
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an operation waits for the one that begins the next turn before it looks again. It is woken in time, except
/// where that one gave up.
const RESERVED: Duration = Duration::from_millis(20);

/// A limit beyond the range of [`Instant`].
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);

type Guard<'q, E> = MutexGuard<'q, Queue<<E as Engine>::Snapshot>>;

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

/// `patience` from `arrival` on.
pub(crate) fn deadline(arrival: Instant, patience: Duration) -> Instant {
    arrival
        .checked_add(patience)
        .unwrap_or_else(|| arrival + FAR)
}

/// Why an operation cannot ask for a turn now.
enum Obstacle {
    /// An exclusive writer of this process has the store.
    Exclusive,
    /// The open turn is full, or is being committed.
    Closed,
    /// The open turn has refused the operation.
    Refused,
    /// Another host has the runtime locked; others have the turns for so long.
    Locked(Duration),
    /// An operation that was refused begins the next turn.
    Reserved,
}

/// An operation that waits for a turn.
struct Candidate<'q, 'c, E: Engine> {
    queue: &'q CommitQueue<E>,
    at: OpContext<'c>,
    runtime: Option<&'c str>,
    /// Whether it needs a turn of its own.
    is_alone: bool,
    patience: Patience,
    /// When the operation was called. Waits for exclusive writers of this process do not count.
    arrival: Instant,
    /// While the leader of a turn is to wait for the operation.
    arriving: Option<Arriving<'q>>,
    /// The batch whose turn has refused the operation.
    refused_by: Option<u64>,
    /// Its place among the refused operations.
    ticket: Option<u64>,
    /// Whether another host had the runtime locked.
    found_locked: bool,
}

impl<E: Engine> CommitQueue<E> {
    /// The queue and the open turn, once that takes an operation on `runtime`.
    pub(crate) fn admitted(
        &self,
        at: OpContext<'_>,
        runtime: &str,
    ) -> Result<(Guard<'_, E>, E::Turn), RuntimeError> {
        Candidate::new(self, at, Some(runtime), false).admitted()
    }

    /// The queue and a new turn, once no other is open. The turn has `runtime` locked, if that is given.
    pub(crate) fn admitted_alone(
        &self,
        at: OpContext<'_>,
        runtime: Option<&str>,
    ) -> Result<(Guard<'_, E>, E::Turn), RuntimeError> {
        Candidate::new(self, at, runtime, true).admitted()
    }

    /// The refused operations. No other lock is taken with theirs held.
    fn lock_refused(&self) -> MutexGuard<'_, Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'q, 'c, E: Engine> Candidate<'q, 'c, E> {
    fn new(
        queue: &'q CommitQueue<E>,
        at: OpContext<'c>,
        runtime: Option<&'c str>,
        is_alone: bool,
    ) -> Self {
        Self {
            queue,
            at,
            runtime,
            is_alone,
            patience: queue.engine().patience(),
            arrival: Instant::now(),
            arriving: None,
            refused_by: None,
            ticket: None,
            found_locked: false,
        }
    }

    fn admitted(mut self) -> Result<(Guard<'q, E>, E::Turn), RuntimeError> {
        self.arrive();
        let mut queue = self.queue.lock_soon(self.at)?;
        loop {
            self.arrive();
            if let Some(refusal) = queue.refusal(None, self.at) {
                return Err(refusal);
            }
            if let Some(obstacle) = self.obstacle(&queue) {
                queue = self.wait(queue, &obstacle)?;
                continue;
            }
            self.refuse_late()?;
            if let Some(turn) = self.ask(&queue)? {
                return Ok((queue, turn));
            }
        }
    }

    /// Has the leader of the open turn wait for the operation.
    fn arrive(&mut self) {
        if !self.is_alone {
            let count = &self.queue.arriving;
            self.arriving.get_or_insert_with(|| Arriving::new(count));
        }
    }

    fn obstacle(&self, queue: &Queue<E::Snapshot>) -> Option<Obstacle> {
        if queue.busy == Some(Busy::Exclusive) {
            return Some(Obstacle::Exclusive);
        }
        let is_open = !queue.open.is_empty();
        let is_closed = queue.busy == Some(Busy::Commit) && !queue.window.is_on;
        if is_closed || !queue.has_room() {
            return Some(Obstacle::Closed);
        }
        if is_open && (self.is_alone || self.refused_by == Some(queue.open_batch)) {
            return Some(Obstacle::Refused);
        }
        let (refused, now) = (self.queue.lock_refused(), Instant::now());
        let pause = self.runtime.and_then(|runtime| refused.pause(runtime, now));
        if let Some(pause) = pause {
            return Some(Obstacle::Locked(pause));
        }
        (!is_open && !refused.may_begin(self.ticket, now)).then_some(Obstacle::Reserved)
    }

    /// Waits until `obstacle` may be gone.
    fn wait(
        &mut self,
        queue: Guard<'q, E>,
        obstacle: &Obstacle,
    ) -> Result<Guard<'q, E>, RuntimeError> {
        let mut at_most = None;
        match obstacle {
            Obstacle::Exclusive | Obstacle::Closed => {}
            // The leader of the open turn need not wait for the operation.
            Obstacle::Refused => self.arriving = None,
            Obstacle::Locked(pause) => {
                self.arriving = None;
                self.take_ticket();
                self.found_locked = true;
                self.refuse_late()?;
                let left = self.deadline().saturating_duration_since(Instant::now());
                at_most = Some(left.min(*pause));
            }
            Obstacle::Reserved => at_most = Some(RESERVED),
        }
        if self.is_alone {
            // Operations that share turns could begin one after the other for ever.
            self.take_ticket();
        }
        self.queue.end_gathering(&queue);
        let is_exclusive = matches!(obstacle, Obstacle::Exclusive);
        let queue = self.wait_for_change(queue, at_most)?;
        if is_exclusive {
            self.arrival = Instant::now();
        }
        Ok(queue)
    }

    /// Waits until the open turn may have been committed, and no longer than `at_most`. A batch of submitted operations
    /// alone can be without a leader: this thread leads it.
    fn wait_for_change(
        &mut self,
        queue: Guard<'q, E>,
        at_most: Option<Duration>,
    ) -> Result<Guard<'q, E>, RuntimeError> {
        if queue.busy.is_none() && !queue.open.is_empty() {
            self.arriving = None;
            // The leader calls wakers of hosts: no operation waits for this thread meanwhile.
            let suspended = self
                .ticket
                .map(|ticket| self.queue.lock_refused().suspend(ticket));
            self.queue.lead_turn(queue, self.at);
            let queue = self.queue.lock_staged();
            if let Some(suspended) = suspended {
                self.queue.lock_refused().resume(suspended);
            }
            return Ok(queue);
        }
        match at_most {
            Some(at_most) => self.queue.room.wait_timeout(queue, at_most),
            None => self.queue.room.wait(queue),
        }
    }

    /// When the operation gives up.
    fn deadline(&self) -> Instant {
        let patience = match self.found_locked {
            true => self.patience.lock,
            false => self.patience.outage,
        };
        deadline(self.arrival, patience)
    }

    fn refuse_late(&self) -> Result<(), RuntimeError> {
        if Instant::now() < self.deadline() {
            return Ok(());
        }
        Err(self.at.busy(match self.found_locked {
            true => "another host holds a lock on the same rows",
            false => "operations before this one waited too long for the server",
        }))
    }

    /// Asks the open turn to take the operation, or a new one; `None` if it has to wait.
    fn ask(&mut self, queue: &Queue<E::Snapshot>) -> Result<Option<E::Turn>, RuntimeError> {
        let engine = self.queue.engine();
        let has_changes = !queue.open.is_empty();
        let turn = match self.queue.lock_shared().take() {
            Some(turn) => turn,
            None if has_changes => {
                // The turn of the batch is gone, with a panic, and its commit will fail.
                self.refused_by = Some(queue.open_batch);
                return Ok(None);
            }
            None => engine.begin(self.at)?,
        };
        let how = Admission {
            deadline: deadline(self.arrival, self.patience.outage),
            may_wait: !has_changes,
        };
        let begun = Instant::now();
        let admitted = self.runtime.map_or(Ok(Admitted::Yes), |runtime| {
            engine.admits(&turn, runtime, how, self.at)
        });
        match admitted {
            Ok(Admitted::Yes) => return Ok(Some(turn)),
            // An error may be that of another operation's runtime. In a turn of its own this one gets its own error.
            Ok(Admitted::NotNow) | Err(_) if has_changes => {
                *self.queue.lock_shared() = Some(turn);
                self.refused_by = Some(queue.open_batch);
                self.take_ticket();
            }
            Ok(Admitted::NotNow) => {
                engine.abort(turn, self.at)?;
                self.take_ticket();
                self.found_locked = true;
                self.set_locked(begun.elapsed());
                // The next turn is anybody's.
                self.queue.room.wake_all();
            }
            Err(error) => {
                let _ = engine.abort(turn, self.at);
                return Err(error);
            }
        }
        Ok(None)
    }

    fn set_locked(&self, waited: Duration) {
        if let Some(runtime) = self.runtime {
            let mut refused = self.queue.lock_refused();
            refused.set_locked(runtime, waited, Instant::now());
        }
    }

    fn take_ticket(&mut self) {
        if self.ticket.is_none() {
            self.ticket = Some(self.queue.lock_refused().add(self.runtime));
        }
    }
}

impl<E: Engine> Drop for Candidate<'_, '_, E> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.queue.lock_refused().remove(ticket);
            // Operations that come later may begin a turn, or join that of this one.
            self.queue.room.wake_all();
        }
    }
}
