//! Waiting for commits of this process and of others.

use crate::commit::engine::Engine;
use crate::commit::queue::CommitQueue;
use crate::error::RuntimeError;
use std::time::{Duration, Instant};

/// How often the file is looked at where another process may write to it.
const POLL: Duration = Duration::from_millis(20);

impl<E: Engine> CommitQueue<E> {
    /// Waits until there may be more to see than when `seen` was remembered: at once after a commit
    /// or the close in this process, and every [`POLL`] where other processes write. Returns whether
    /// there is time left until `deadline`; without one there always is.
    ///
    /// Refused within an operation on the store: nobody could commit what it waits for.
    pub(crate) fn wait_for_news(
        &self,
        seen: u64,
        deadline: Option<Instant>,
    ) -> Result<bool, RuntimeError> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(false);
        }
        self.refuse_within()?;
        let poll = self.engine().others_may_commit().then_some(POLL);
        let at_most = match (left, poll) {
            (Some(left), Some(poll)) => Some(left.min(poll)),
            (left, poll) => left.or(poll),
        };
        self.commits.wait(seen, at_most);
        Ok(true)
    }
}
