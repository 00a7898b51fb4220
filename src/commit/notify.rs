//! Waking followers after commits of this process.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts the commits of this process, and the close. A follower reads the count, then the rows, and then
/// waits until the count differs: no commit falls in between.
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

    /// The count, to be read before the rows.
    pub(crate) fn count(&self) -> u64 {
        *self.lock()
    }

    /// Wakes all followers after a commit, or after the store was closed.
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
        // After a spurious wake-up the caller reads once more than it needs to.
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
