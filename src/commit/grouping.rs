//! The group-commit window: how long the leader waits for followers.
//!
//! Threads that write in a loop come back as soon as their commit is done. If the next batch were sealed
//! at once, they would miss it: half of the threads would always wait for the other half, and a commit
//! would have half of the possible operations. So the leader waits until the batch has as many
//! operations as the last one, but only for a part of the time that the last commit took.
//!
//! A single thread does not wait, since no other operation is expected. Submitted operations count like
//! those of waiting threads: more submissions are expected.

use std::time::{Duration, Instant};

/// The window is at most this part of the last commit's time. A commit takes that much longer at worst,
/// and only once: operations that did not come are not expected a second time.
const PART: u32 = 4;

/// The window of the next commit.
#[derive(Default)]
pub(crate) struct GroupWindow {
    /// How many operations the batch is expected to have.
    expected: usize,
    /// The end of the window.
    deadline: Option<Instant>,
    /// Whether a leader waits.
    pub(crate) is_on: bool,
}

impl GroupWindow {
    /// A commit of `returning` operations took from `begin` until `now`, and `waiting` operations are
    /// in the next batch already.
    pub(crate) fn commit_is_done(
        &mut self,
        (begin, now): (Instant, Instant),
        returning: usize,
        waiting: usize,
    ) {
        self.expected = returning + waiting;
        self.deadline = now.checked_add(now.saturating_duration_since(begin) / PART);
    }

    /// The next commit begins at once.
    pub(crate) fn expect_no_more(&mut self) {
        self.deadline = None;
    }

    /// Whether a batch of `operations` has all expected ones.
    pub(crate) fn is_complete(&self, operations: usize) -> bool {
        operations >= self.expected
    }

    /// How long to wait with a batch of `operations`; `None` if it is to be committed now.
    pub(crate) fn time_left(&self, now: Instant, operations: usize) -> Option<Duration> {
        if self.is_complete(operations) {
            return None;
        }
        let left = self.deadline?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Duration = Duration::from_millis(8);

    /// After a commit of `returning` operations, with `waiting` in the next batch; and when it was
    /// done.
    fn after(returning: usize, waiting: usize) -> (GroupWindow, Instant) {
        let (mut gather, begin) = (GroupWindow::default(), Instant::now());
        let now = begin + COMMIT;
        gather.commit_is_done((begin, now), returning, waiting);
        (gather, now)
    }

    #[test]
    fn single_thread_never_waits() {
        assert_eq!(GroupWindow::default().time_left(Instant::now(), 1), None);
        let (gather, now) = after(1, 0);
        assert_eq!(gather.time_left(now, 1), None);
    }

    #[test]
    fn window_closes_when_expected_operations_arrive() {
        let (gather, now) = after(3, 2);
        assert_eq!(gather.time_left(now, 2), Some(COMMIT / PART));
        assert_eq!(gather.time_left(now + COMMIT / 8, 4), Some(COMMIT / 8));
        assert_eq!(gather.time_left(now, 5), None);
    }

    #[test]
    fn absent_operations_are_expected_once() {
        let (gather, now) = after(3, 0);
        assert_eq!(gather.time_left(now + COMMIT / PART, 1), None);
        let (gather, now) = after(1, 0);
        assert_eq!(gather.time_left(now, 1), None, "not a second time");
    }
}
