//! Operations that a shared turn has refused: which of them begins the next turn, and which have to leave it to others.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long an operation leaves turns to others after another host had its runtime locked: at least, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Waits for locks take at most one part in so many of the time, since they stop the operations on other runtimes.
const SHARE: u32 = 3;

/// The operations that wait for a turn which takes them, and the runtimes that other hosts have locked.
///
/// An operation that was refused begins a turn of its own, in which it may wait for a moment. Without that order,
/// operations on other runtimes could always begin the next turn before it.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    next_ticket: u64,
    /// Their tickets and runtimes; the first one begins the next turn.
    waiting: VecDeque<(u64, Option<String>)>,
    /// The runtimes of those that other hosts have locked, and when to ask for the lock again.
    locked: BTreeMap<String, Instant>,
}

impl Refused {
    /// Adds an operation, on `runtime` if that is known, and returns its ticket.
    pub(crate) fn add(&mut self, runtime: Option<&str>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.push_back((ticket, runtime.map(str::to_owned)));
        ticket
    }

    /// Removes an operation, which has its turn or has given up.
    pub(crate) fn remove(&mut self, ticket: u64) {
        let Some(index) = self.waiting.iter().position(|(one, _)| *one == ticket) else {
            return;
        };
        if let Some((_, Some(runtime))) = self.waiting.remove(index)
            && self
                .waiting
                .iter()
                .all(|(_, other)| other.as_ref() != Some(&runtime))
        {
            self.locked.remove(&runtime);
        }
    }

    /// Lets others begin turns before the operation with this ticket, until it is [resumed](Self::resume).
    pub(crate) fn suspend(&mut self, ticket: u64) -> Option<(u64, Option<String>)> {
        let index = self.waiting.iter().position(|(one, _)| *one == ticket)?;
        self.waiting.remove(index)
    }

    /// Gives a suspended operation its place back.
    pub(crate) fn resume(&mut self, suspended: Option<(u64, Option<String>)>) {
        if let Some((ticket, runtime)) = suspended {
            let index = self.waiting.partition_point(|(one, _)| *one < ticket);
            self.waiting.insert(index, (ticket, runtime));
        }
    }

    /// Another host had `runtime` locked, as a wait of `waited` has found.
    pub(crate) fn set_locked(&mut self, runtime: &str, waited: Duration, now: Instant) {
        self.locked.insert(runtime.to_owned(), now);
        let others = u32::try_from(self.locked.len()).unwrap_or(u32::MAX);
        let pause = waited.saturating_mul((SHARE - 1).saturating_mul(others));
        let until = now + pause.clamp(PAUSE.0, PAUSE.1);
        self.locked.insert(runtime.to_owned(), until);
    }

    /// How long operations on `runtime` leave the turns to others.
    pub(crate) fn pause(&self, runtime: &str, now: Instant) -> Option<Duration> {
        let until = self.locked.get(runtime)?;
        let left = until.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Whether the operation with this ticket, or one without, may begin a turn.
    pub(crate) fn may_begin(&self, ticket: Option<u64>, now: Instant) -> bool {
        let mut waiting = self.waiting.iter();
        let pause = |runtime: &Option<String>| self.pause(runtime.as_deref()?, now);
        let first = waiting.find(|(_, runtime)| pause(runtime).is_none());
        first.is_none_or(|(first, _)| Some(*first) == ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(50);

    #[test]
    fn first_refused_operation_begins_next_turn() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        assert!(refused.may_begin(None, now));
        let (first, second) = (refused.add(Some("a")), refused.add(Some("b")));
        assert!(!refused.may_begin(None, now));
        assert!(!refused.may_begin(Some(second), now));
        assert!(refused.may_begin(Some(first), now));
        refused.remove(first);
        assert!(refused.may_begin(Some(second), now));
        refused.remove(second);
        assert!(refused.may_begin(None, now));
    }

    #[test]
    fn locked_runtime_leaves_turns_to_others() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        let ticket = refused.add(Some("a"));
        refused.set_locked("a", MOMENT, now);
        assert!(refused.may_begin(None, now));
        assert_eq!(refused.pause("a", now), Some(2 * MOMENT));
        assert_eq!(refused.pause("b", now), None);
        let later = now + 2 * MOMENT;
        assert!(!refused.may_begin(None, later));
        assert!(refused.may_begin(Some(ticket), later));
    }

    #[test]
    fn waits_take_bounded_share_of_time() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        for runtime in ["a", "b", "c"] {
            refused.add(Some(runtime));
            refused.set_locked(runtime, MOMENT, now);
        }
        assert_eq!(refused.pause("c", now), Some(6 * MOMENT));
        refused.set_locked("c", Duration::ZERO, now);
        assert_eq!(refused.pause("c", now), Some(PAUSE.0));
    }

    #[test]
    fn locked_runtime_is_forgotten_with_last_operation() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        let (one, other) = (refused.add(Some("a")), refused.add(Some("a")));
        refused.set_locked("a", MOMENT, now);
        refused.remove(one);
        assert!(refused.pause("a", now).is_some());
        refused.remove(other);
        assert!(refused.pause("a", now).is_none());
    }
}
