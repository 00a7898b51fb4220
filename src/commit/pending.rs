//! Submitted operations: the caller waits for them later, or not at all.

use crate::commit::batch_outcome::{BatchOutcome, wake_each};
use crate::commit::engine::Engine;
use crate::commit::queue::{CommitQueue, Outcome, unwind_or_return};
use crate::commit::within;
use crate::error::RuntimeError;
use crate::ledger::transaction::Transaction;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A submitted operation: [`wait`](Self::wait) for it, or await it.
///
/// Dropping it cancels nothing: the operation is committed all the same. It is a plain future, for
/// any executor.
///
/// A panic of the operation is raised in the thread that waits for it.
#[must_use = "only waiting for it tells whether the operation is on disk"]
pub struct Pending<T> {
    state: State<T>,
    operation: &'static str,
}

enum State<T> {
    /// It ran. Its result may be returned once `batch` is on disk.
    Staged {
        queue: Arc<dyn BatchQueue>,
        outcome: Outcome<T>,
        batch: u64,
        waiter: u64,
    },
    /// It runs on the background thread.
    Queued {
        queue: Arc<dyn BatchQueue>,
        slot: Arc<Slot<T>>,
    },
    /// Its result may be returned.
    Known(Outcome<T>),
    /// Its result was returned.
    Taken,
}

/// Nothing in it is pinned: the outcome is moved out.
impl<T> Unpin for Pending<T> {}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Staged { .. } => "staged",
            State::Queued { .. } => "queued",
            State::Known(_) => "known",
            State::Taken => "taken",
        };
        f.debug_struct("Pending")
            .field("operation", &self.operation)
            .field("state", &state)
            .finish()
    }
}

/// Numbers the waiters of the queue.
static NEXT_WAITER: AtomicU64 = AtomicU64::new(0);

impl<T> Pending<T> {
    /// An operation that was refused before it ran.
    pub(crate) fn refused(operation: &'static str, error: RuntimeError) -> Self {
        Self {
            state: State::Known(Ok(Err(error))),
            operation,
        }
    }

    /// Blocks until the operation is on disk, and returns what it returned.
    ///
    /// ```
    /// # let runtime = redb_runtime_store::Runtime::new_memory();
    /// let pending = runtime.submit(|tx| tx.create_worker(Default::default()));
    /// let worker = pending.wait()?.worker_ref;
    /// # assert_eq!(runtime.list_workers()?.len(), 1);
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What the operation returned; `CommitUncertain` and `StoreFailed` where its commit, or one
    /// before it, failed; `InvalidRequest` where it was polled to its end before, and where the wait could
    /// be for itself: inside a closure or a callback that holds writers up, and, with
    /// [`ManyWriters`](crate::store::Sharing::ManyWriters), inside a waker if the operation has not run
    /// yet. See [closures and callbacks](crate::guide::transactions#closures-and-callbacks).
    pub fn wait(self) -> Result<T, RuntimeError> {
        match self.state {
            State::Staged {
                queue,
                outcome,
                batch,
                ..
            } => {
                queue.wait_for(batch, self.operation)?;
                unwind_or_return(outcome)
            }
            State::Queued { queue, slot } => {
                queue.refuse_fork(self.operation)?;
                unwind_or_return(slot.wait())
            }
            State::Known(outcome) => unwind_or_return(outcome),
            State::Taken => Err(taken()),
        }
    }
}

fn taken() -> RuntimeError {
    RuntimeError::InvalidRequest("the operation's result was taken already".to_owned())
}

impl<T> Future for Pending<T> {
    type Output = Result<T, RuntimeError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match &this.state {
            State::Staged {
                queue,
                batch,
                waiter,
                ..
            } => match queue.poll(*batch, *waiter, context.waker(), this.operation) {
                None => return Poll::Pending,
                Some(Err(error)) => {
                    this.state = State::Taken;
                    return Poll::Ready(Err(error));
                }
                Some(Ok(())) => {}
            },
            State::Queued { queue, slot } => {
                if let Err(forked) = queue.refuse_fork(this.operation) {
                    this.state = State::Taken;
                    return Poll::Ready(Err(forked));
                }
                match slot.poll(context.waker()) {
                    None => return Poll::Pending,
                    Some(outcome) => this.state = State::Known(outcome),
                }
            }
            State::Known(_) | State::Taken => {}
        }
        match std::mem::replace(&mut this.state, State::Taken) {
            State::Staged { outcome, .. } | State::Known(outcome) => {
                Poll::Ready(unwind_or_return(outcome))
            }
            State::Queued { .. } | State::Taken => Poll::Ready(Err(taken())),
        }
    }
}

/// Where the background thread puts an operation's outcome.
struct Slot<T> {
    /// The address of the queue of the operation.
    queue: usize,
    filled: Mutex<(Option<Outcome<T>>, Option<Waker>)>,
    ready: Condvar,
}

impl<T> Slot<T> {
    fn new(queue: usize) -> Self {
        Self {
            queue,
            filled: Mutex::new((None, None)),
            ready: Condvar::new(),
        }
    }

    /// No panic can happen while the lock is held.
    fn lock(&self) -> MutexGuard<'_, (Option<Outcome<T>>, Option<Waker>)> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the outcome for the thread that waits for it. Returns the waker of the task that does.
    fn fill(&self, outcome: Outcome<T>) -> Option<Waker> {
        let mut filled = self.lock();
        filled.0 = Some(outcome);
        let waker = filled.1.take();
        drop(filled);
        self.ready.notify_all();
        waker
    }

    /// Waits for the outcome. Rejected where this thread may hold up the operation.
    fn wait(&self) -> Outcome<T> {
        let mut filled = self.lock();
        if filled.0.is_none()
            && let Err(refused) = within::refuse_wait(self.queue)
        {
            return Ok(Err(refused));
        }
        loop {
            if let Some(outcome) = filled.0.take() {
                return outcome;
            }
            filled = self
                .ready
                .wait(filled)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn poll(&self, waker: &Waker) -> Option<Outcome<T>> {
        // A waker is a host's code: it is cloned and dropped without the lock.
        let waker = waker.clone();
        let mut filled = self.lock();
        if let Some(outcome) = filled.0.take() {
            return Some(outcome);
        }
        // The executor would wait. On a background thread it may poll inside a waker and go on.
        if let Err(refused) = within::refuse(self.queue) {
            return Some(Ok(Err(refused)));
        }
        let replaced = filled.1.replace(waker);
        drop(filled);
        drop(replaced);
        None
    }
}

/// The queue of a submitted operation, whatever engine it commits to.
trait BatchQueue: Send + Sync {
    /// Rejects calls from a fork; see [`CommitQueue::refuse_fork`].
    fn refuse_fork(&self, operation: &'static str) -> Result<(), RuntimeError>;

    /// Returns when `batch` is on disk.
    fn wait_for(&self, batch: u64, operation: &'static str) -> Result<(), RuntimeError>;

    /// Whether `batch` is on disk, or why it will not be; otherwise `waker` is woken as soon as that is
    /// known.
    fn poll(
        &self,
        batch: u64,
        waiter: u64,
        waker: &Waker,
        operation: &'static str,
    ) -> Option<Result<(), RuntimeError>>;
}

impl<E: Engine> BatchQueue for CommitQueue<E> {
    fn refuse_fork(&self, operation: &'static str) -> Result<(), RuntimeError> {
        Self::refuse_fork(self, self.context(operation))
    }

    fn wait_for(&self, batch: u64, operation: &'static str) -> Result<(), RuntimeError> {
        self.wait_for_batch(batch, self.context(operation))
    }

    fn poll(
        &self,
        batch: u64,
        waiter: u64,
        waker: &Waker,
        operation: &'static str,
    ) -> Option<Result<(), RuntimeError>> {
        self.poll_batch(batch, waiter, waker, self.context(operation))
    }
}

impl<E: Engine> CommitQueue<E> {
    /// Runs `operation` and returns at once; it is committed in the background. Operations of one
    /// thread are committed in their order.
    ///
    /// It runs on this thread, and waits only where the open batch is full. Where other processes
    /// write too, it runs in the background: it needs the file to itself, which can take long.
    pub(crate) fn submit<T: Send + 'static>(
        self: &Arc<Self>,
        (name, runtime): (&'static str, &str),
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Pending<T> {
        if !self.engine().stages_ahead() {
            return self.submit_queued(name, runtime, operation);
        }
        let state = self
            .stage_and_drive(name, operation)
            .unwrap_or_else(|error| State::Known(Ok(Err(error))));
        Pending {
            state,
            operation: name,
        }
    }

    fn stage_and_drive<T>(
        self: &Arc<Self>,
        name: &'static str,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<State<T>, RuntimeError> {
        let staged = self.stage_for_later(self.context(name), operation)?;
        if let Some(batch) = staged.undriven {
            self.drive(batch)?;
        }
        Ok(match staged.batch {
            None => State::Known(staged.outcome),
            Some(batch) => State::Staged {
                queue: Arc::<Self>::clone(self),
                outcome: staged.outcome,
                batch,
                waiter: NEXT_WAITER.fetch_add(1, Ordering::Relaxed),
            },
        })
    }

    fn submit_queued<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        runtime: &str,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Pending<T> {
        let refused =
            Self::refuse_fork(self, self.context(name)).and_then(|()| self.refuse_within());
        if let Err(refused) = refused {
            return Pending::refused(name, refused);
        }
        let slot = Arc::new(Slot::new(self.address()));
        let (queue, filled) = (Arc::clone(self), Arc::clone(&slot));
        let runtime = self.engine().shares_turns().then(|| runtime.to_owned());
        let job = move || {
            queue.submitted.fetch_sub(1, Ordering::AcqRel);
            match runtime {
                None => {
                    let outcome = queue.write_alone_caught(queue.context(name), operation);
                    wake_each(filled.fill(outcome).into_iter().collect());
                }
                Some(runtime) => queue.run_submitted((name, &runtime), operation, filled),
            }
        };
        // Before the job, so that an earlier operation does not take itself for the last one after this one has run.
        self.submitted.fetch_add(1, Ordering::AcqRel);
        let state = match self.background.run(Box::new(job)) {
            Ok(()) => State::Queued {
                queue: Arc::<Self>::clone(self),
                slot,
            },
            Err(error) => {
                self.submitted.fetch_sub(1, Ordering::AcqRel);
                State::Known(Ok(Err(self.context(name).io(error))))
            }
        };
        Pending {
            state,
            operation: name,
        }
    }

    /// Runs a submitted operation in a shared turn. The last one of those that wait commits it.
    fn run_submitted<T: Send + 'static>(
        self: &Arc<Self>,
        (name, runtime): (&'static str, &str),
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError>,
        slot: Arc<Slot<T>>,
    ) {
        let queue = Arc::clone(self);
        let fill = move |outcome: Outcome<T>, batch: &BatchOutcome| match batch
            .result(queue.context(name))
        {
            Ok(()) => slot.fill(outcome),
            Err(error) => slot.fill(Ok(Err(error))),
        };
        let is_last = || self.submitted.load(Ordering::Acquire) == 0;
        self.write_shared_later(self.context(name), runtime, operation, (fill, &is_last));
    }

    /// Has `batch` committed in the background; without a thread to do so, commits it here.
    fn drive(self: &Arc<Self>, batch: u64) -> Result<(), RuntimeError> {
        const NAME: &str = "commit";
        let queue = Arc::clone(self);
        // Operations that wait for the batch get its failure themselves.
        let job = move || drop(queue.wait_for_batch(batch, queue.context(NAME)));
        match self.background.run(Box::new(job)) {
            Ok(()) => Ok(()),
            Err(_) => self.wait_for_batch(batch, self.context(NAME)),
        }
    }
}
