//! Waiting for commits.

use super::shared::Shared;
use crate::error::RuntimeError;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the file is looked at where another process may write to it.
const POLL: Duration = Duration::from_millis(20);

/// Counts the commits of this process, and its close. Who waits for something new remembers the
/// count, looks, and then waits for another count: nothing falls in between.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Commits {
    /// The count is whole after any panic: each change of it is one addition.
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be remembered before looking.
    pub(crate) fn count(&self) -> u64 {
        *self.lock()
    }

    /// Something can be seen that was not there before: a commit, or that the store was closed.
    pub(crate) fn announce(&self) {
        *self.lock() += 1;
        self.changed.notify_all();
    }

    fn wait(&self, seen: u64, at_most: Option<Duration>) {
        let count = self.lock();
        if *count != seen {
            return;
        }
        // Woken for nothing, the caller looks once more than it needs to.
        drop(match at_most {
            Some(at_most) => self
                .changed
                .wait_timeout(count, at_most)
                .map(|(count, _)| count)
                .map_err(|poisoned| poisoned.into_inner().0),
            None => self.changed.wait(count).map_err(PoisonError::into_inner),
        });
    }
}

impl Shared {
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
        self.pipeline.refuse_within()?;
        let poll = self.others_may_write().then_some(POLL);
        let at_most = match (left, poll) {
            (Some(left), Some(poll)) => Some(left.min(poll)),
            (left, poll) => left.or(poll),
        };
        self.commits.wait(seen, at_most);
        Ok(true)
    }
}
