//! Waiting for commits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts the commits of this process, and its close. Who waits for something new remembers the
/// count, looks, and then waits for another count: nothing falls in between.
#[derive(Debug, Default)]
pub(crate) struct CommitCounter {
    count: Mutex<u64>,
    changed: Condvar,
}

impl CommitCounter {
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

    /// Waits until the count is not `seen` any more, and no longer than `at_most`.
    pub(crate) fn wait(&self, seen: u64, at_most: Option<Duration>) {
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
