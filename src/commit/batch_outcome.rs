//! The outcome of a batch, which each of its operations learns.

use crate::commit::failure::Failure;
use crate::commit::within;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// What waits for the outcome of a batch without a thread. It stores an operation's outcome where its host finds it, and
/// returns the host's waker, which is called once no other thread waits for this one.
pub(crate) type Later = Box<dyn FnOnce(&BatchOutcome) -> Option<Waker> + Send>;

/// The outcome of a batch.
pub(crate) enum BatchOutcome {
    /// The batch is on disk.
    Durable,
    /// The batch's commit failed.
    Failed(Failure),
    /// The commit of the batch that this one was staged above failed.
    Undone(Failure),
}

impl BatchOutcome {
    /// The result of an operation of the batch.
    pub(crate) fn result(&self, at: OpContext<'_>) -> Result<(), RuntimeError> {
        match self {
            Self::Durable => Ok(()),
            Self::Failed(failure) => Err(failure.error(at)),
            Self::Undone(failure) => Err(failure.later(at)),
        }
    }
}

/// Stores `outcome` where each of `later` has its host find it. Returns the wakers of hosts.
pub(crate) fn store_outcomes(later: Vec<Later>, outcome: &BatchOutcome) -> Vec<Waker> {
    within::as_background(|| {
        let stored = later.into_iter().map(|store| {
            // It can drop values of a host, whose panic must not keep the others from their outcomes.
            catch_unwind(AssertUnwindSafe(|| store(outcome)))
        });
        stored.filter_map(|waker| waker.ok().flatten()).collect()
    })
}

/// Calls `wakers`.
pub(crate) fn wake_each(wakers: Vec<Waker>) {
    for waker in wakers {
        // A waker is a host's code: its panic must not keep the other wakers from being called.
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}
