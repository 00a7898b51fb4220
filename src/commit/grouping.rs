//! How long a commit waits for those who are about to join it.
//!
//! Threads that write again and again come back as soon as their commit is done. Were the next batch
//! sealed at once, they would miss it: half of the threads would always wait for the other half, and
//! a commit would carry half of what it could. So whoever commits next waits until as many
//! operations are there as there were before, but only for a part of what the last commit took.
//!
//! One thread alone waits for nobody: then no other is expected. What was submitted counts like the
//! operations of threads that wait: more is expected to be submitted.

use std::time::{Duration, Instant};

/// The part of the last commit's time that is waited at most: a commit takes that much longer at
/// worst, and not again, since those who stay away are not expected a second time.
const PART: u32 = 4;

/// Whom the next commit waits for.
#[derive(Default)]
pub(crate) struct GroupWindow {
    /// How many operations the batch is expected to have.
    expected: usize,
    /// Until when the rest is waited for.
    deadline: Option<Instant>,
    /// Whether somebody waits.
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

    /// Whether a batch that has `operations` has all that are expected.
    pub(crate) fn is_complete(&self, operations: usize) -> bool {
        operations >= self.expected
    }

    /// How long to wait for a batch that has `operations`; `None` where it is to be committed now.
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
    fn nobody_is_waited_for_before_the_first_commit_and_by_one_thread_alone() {
        assert_eq!(GroupWindow::default().time_left(Instant::now(), 1), None);
        let (gather, now) = after(1, 0);
        assert_eq!(gather.time_left(now, 1), None);
    }

    #[test]
    fn those_who_return_are_waited_for_until_all_are_there() {
        let (gather, now) = after(3, 2);
        assert_eq!(gather.time_left(now, 2), Some(COMMIT / PART));
        assert_eq!(gather.time_left(now + COMMIT / 8, 4), Some(COMMIT / 8));
        assert_eq!(gather.time_left(now, 5), None);
    }

    #[test]
    fn those_who_stay_away_are_waited_for_no_longer_than_a_part_of_the_last_commit() {
        let (gather, now) = after(3, 0);
        assert_eq!(gather.time_left(now + COMMIT / PART, 1), None);
        let (gather, now) = after(1, 0);
        assert_eq!(gather.time_left(now, 1), None, "not a second time");
    }
}
