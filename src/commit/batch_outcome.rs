//! The outcome of a batch, which each of its operations learns.

use crate::commit::failure::Failure;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;

/// What waits for the outcome of a batch without a thread.
pub(crate) type Later = Box<dyn FnOnce(&BatchOutcome) + Send>;

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
