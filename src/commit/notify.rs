//! Waking followers after commits of this process.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts the commits of this process, and the close. A follower reads the count, then the rows, and then
/// waits until the count differs: no commit falls in between.
#[derive(Debug, Default)]
pub(crate) struct CommitCounter {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    /// Followers inside [`CommitCounter::wait`].
    waiting: usize,
}

impl CommitCounter {
    /// The state is whole after any panic: each change of it is one addition.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The count, to be read before the rows.
    pub(crate) fn count(&self) -> u64 {
        self.lock().count
    }

    /// The number of followers that wait.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Wakes all followers after a commit, or after the store was closed.
    pub(crate) fn announce(&self) {
        self.lock().count += 1;
        self.changed.notify_all();
    }

    /// Waits until the count is not `seen` any more, and no longer than `at_most`.
    pub(crate) fn wait(&self, seen: u64, at_most: Option<Duration>) {
        let mut state = self.lock();
        if state.count != seen {
            return;
        }
        state.waiting += 1;
        // After a spurious wake-up the caller reads once more than it needs to.
        let mut state = match at_most {
            Some(at_most) => self
                .changed
                .wait_timeout(state, at_most)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state),
            None => self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
        };
        state.waiting -= 1;
    }
}
