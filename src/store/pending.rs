//! Operations that were submitted and not waited for, and the thread that commits them.

use super::Sharing;
use super::commit::{Outcome, unwind_or_return};
use super::shared::Shared;
use super::transaction::Transaction;
use crate::error::RuntimeError;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A submitted operation: [`wait`](Self::wait) for it, or await it.
///
/// Dropping it cancels nothing: the operation is committed all the same. It is a plain future, for
/// any executor.
///
/// A panic of the operation is raised by whoever waits for it.
#[must_use = "only waiting for it tells whether the operation is on disk"]
pub struct Pending<T> {
    state: State<T>,
    operation: &'static str,
}

enum State<T> {
    /// It ran. What it returned may be told once `batch` is on disk.
    Staged {
        shared: Arc<Shared>,
        outcome: Outcome<T>,
        batch: u64,
        waiter: u64,
    },
    /// It runs on the background thread.
    Queued(Arc<Slot<T>>),
    /// What it returned may be told.
    Known(Outcome<T>),
    /// It was told.
    Taken,
}

/// Nothing in it is pinned: the outcome is moved out.
impl<T> Unpin for Pending<T> {}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Staged { .. } => "staged",
            State::Queued(_) => "queued",
            State::Known(_) => "known",
            State::Taken => "taken",
        };
        f.debug_struct("Pending")
            .field("operation", &self.operation)
            .field("state", &state)
            .finish()
    }
}

/// Tells waiters apart in the queue.
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
    /// # Errors
    ///
    /// What the operation returned; `CommitUncertain` and `StoreFailed` where its commit, or one
    /// before it, failed; `InvalidRequest` where it was polled to its end before.
    pub fn wait(self) -> Result<T, RuntimeError> {
        match self.state {
            State::Staged {
                shared,
                outcome,
                batch,
                ..
            } => {
                shared.wait_for_batch(batch, shared.at(self.operation))?;
                unwind_or_return(outcome)
            }
            State::Queued(slot) => unwind_or_return(slot.wait()),
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
                shared,
                batch,
                waiter,
                ..
            } => {
                let at = shared.at(this.operation);
                match shared.poll_batch(*batch, *waiter, context.waker(), at) {
                    None => return Poll::Pending,
                    Some(Err(error)) => {
                        this.state = State::Taken;
                        return Poll::Ready(Err(error));
                    }
                    Some(Ok(())) => {}
                }
            }
            State::Queued(slot) => match slot.poll(context.waker()) {
                None => return Poll::Pending,
                Some(outcome) => this.state = State::Known(outcome),
            },
            State::Known(_) | State::Taken => {}
        }
        match std::mem::replace(&mut this.state, State::Taken) {
            State::Staged { outcome, .. } | State::Known(outcome) => {
                Poll::Ready(unwind_or_return(outcome))
            }
            State::Queued(_) | State::Taken => Poll::Ready(Err(taken())),
        }
    }
}

/// Where the background thread puts an operation's outcome.
struct Slot<T> {
    filled: Mutex<(Option<Outcome<T>>, Option<Waker>)>,
    ready: Condvar,
}

impl<T> Slot<T> {
    fn new() -> Self {
        Self {
            filled: Mutex::new((None, None)),
            ready: Condvar::new(),
        }
    }

    /// No panic can happen while the lock is held.
    fn lock(&self) -> MutexGuard<'_, (Option<Outcome<T>>, Option<Waker>)> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, outcome: Outcome<T>) {
        let mut filled = self.lock();
        filled.0 = Some(outcome);
        let waker = filled.1.take();
        drop(filled);
        self.ready.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wait(&self) -> Outcome<T> {
        let mut filled = self.lock();
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
        let mut filled = self.lock();
        let outcome = filled.0.take();
        if outcome.is_none() {
            filled.1 = Some(waker.clone());
        }
        outcome
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that works for one store: started by its first job, ended with the store. A job holds
/// the store open until it is done.
#[derive(Default)]
pub(crate) struct Background {
    jobs: Mutex<Jobs>,
    done: Arc<Done>,
}

#[derive(Default)]
struct Jobs {
    thread: Option<Sender<Job>>,
    /// How many the thread was given.
    given: u64,
}

/// How many jobs are done.
#[derive(Default)]
struct Done {
    count: Mutex<u64>,
    more: Condvar,
}

impl Done {
    /// The count is whole after any panic: each change of it is one addition.
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_one(&self) {
        *self.lock() += 1;
        self.more.notify_all();
    }

    fn wait_for(&self, count: u64) {
        let mut done = self.lock();
        while *done < count {
            done = self.more.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

thread_local! {
    /// Whose jobs this thread does: the address of their count.
    static WORKS_FOR: Cell<usize> = const { Cell::new(0) };
}

/// Runs `job`. What panics in it (a host's subscriber of `tracing`, say) does not end the thread: others
/// wait for its later jobs.
fn run_alone(job: Job) {
    let _ = catch_unwind(AssertUnwindSafe(job));
}

impl Background {
    fn run(&self, job: Job) -> std::io::Result<()> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = match jobs.thread.take() {
            Some(thread) => thread,
            None => self.start()?,
        };
        // The thread takes jobs as long as we hold this end.
        let _ = thread.send(job);
        jobs.thread = Some(thread);
        jobs.given += 1;
        Ok(())
    }

    fn start(&self) -> std::io::Result<Sender<Job>> {
        let (sender, receiver) = channel::<Job>();
        let done = Arc::clone(&self.done);
        let work = move || {
            WORKS_FOR.set(Arc::as_ptr(&done).addr());
            for job in receiver {
                run_alone(job);
                done.add_one();
            }
        };
        std::thread::Builder::new()
            .name("runtime-store".to_owned())
            .spawn(work)?;
        Ok(sender)
    }

    /// Waits for the jobs that were given so far. Refused on the thread that would have to do them.
    pub(super) fn finish(&self) -> Result<(), RuntimeError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let given = jobs.given;
        drop(jobs);
        if WORKS_FOR.get() != Arc::as_ptr(&self.done).addr() {
            self.done.wait_for(given);
            return Ok(());
        }
        // The job that runs now is one of them.
        match given - *self.done.lock() {
            0 | 1 => Ok(()),
            _ => Err(RuntimeError::InvalidRequest(
                "the store was closed by what a submission woke, on the thread that has others \
                 still to run; close it on another thread"
                    .to_owned(),
            )),
        }
    }
}

impl Shared {
    /// Runs `operation` and returns at once; it is committed in the background. Operations of one
    /// thread are committed in their order.
    ///
    /// It runs on this thread, and waits only where the open batch is full. Where other processes
    /// write too, it runs in the background: it needs the file to itself, which can take long.
    pub(crate) fn submit<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Pending<T> {
        if self.sharing == Sharing::ManyWriters {
            return self.submit_queued(name, operation);
        }
        let state = match self.stage_for_later(self.at(name), operation) {
            Err(error) => State::Known(Ok(Err(error))),
            Ok((outcome, None)) => State::Known(outcome),
            Ok((outcome, Some(batch))) => State::Staged {
                shared: Arc::clone(self),
                outcome,
                batch,
                waiter: NEXT_WAITER.fetch_add(1, Ordering::Relaxed),
            },
        };
        Pending {
            state,
            operation: name,
        }
    }

    fn submit_queued<T: Send + 'static>(
        self: &Arc<Self>,
        name: &'static str,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Pending<T> {
        let slot = Arc::new(Slot::new());
        let (shared, filled) = (Arc::clone(self), Arc::clone(&slot));
        let job = move || filled.fill(shared.write_alone_caught(shared.at(name), operation));
        let state = match self.pipeline.background.run(Box::new(job)) {
            Ok(()) => State::Queued(slot),
            Err(error) => State::Known(Ok(Err(self.at(name).io(error)))),
        };
        Pending {
            state,
            operation: name,
        }
    }

    /// Has `batch` committed in the background; without a thread to do so, commits it here.
    pub(super) fn drive(self: &Arc<Self>, batch: u64) -> Result<(), RuntimeError> {
        const NAME: &str = "commit";
        let shared = Arc::clone(self);
        // Those who wait for the batch are told of its failure.
        let job = move || drop(shared.wait_for_batch(batch, shared.at(NAME)));
        match self.pipeline.background.run(Box::new(job)) {
            Ok(()) => Ok(()),
            Err(_) => self.wait_for_batch(batch, self.at(NAME)),
        }
    }
}
