//! Looks for commits of other hosts, for followers that are awaited.
//!
//! A look asks a server and can take long in an outage, so it runs on the thread that wakes followers and not on that
//! of an executor. The follower is woken for news only.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// Looks for news. The argument counts the looks before that found none. Returns how long to wait with the next look, or
/// `None` for news.
type Look = dyn Fn(u32) -> io::Result<Option<Duration>> + Send + Sync;

/// A follower that waits for news.
pub(crate) struct Watch {
    look: Box<Look>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// That there is news, or that no look is possible.
    outcome: Option<io::Result<()>>,
    waker: Option<Waker>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    pub(crate) fn new(
        look: impl Fn(u32) -> io::Result<Option<Duration>> + Send + Sync + 'static,
        waker: Waker,
    ) -> Self {
        Self {
            look: Box::new(look),
            state: Mutex::new(State {
                outcome: None,
                waker: Some(waker),
            }),
        }
    }

    /// No code that can panic runs with the lock held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn look(&self, idle: u32) -> io::Result<Option<Duration>> {
        (self.look)(idle)
    }

    /// Wakes the follower, which finds `outcome`.
    pub(crate) fn end(&self, outcome: io::Result<()>) {
        let mut state = self.lock();
        state.outcome = Some(outcome);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The outcome; without one yet, `waker` is woken when it is there.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<io::Result<()>> {
        // A waker is a host's code: it is cloned and dropped without the lock.
        let waker = waker.clone();
        let mut state = self.lock();
        if let Some(outcome) = state.outcome.take() {
            return Some(outcome);
        }
        let replaced = state.waker.replace(waker);
        drop(state);
        drop(replaced);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::notify::CommitCounter;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Sender, channel};
    use std::task::Wake;
    use std::thread;
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_millis(2);

    struct Woken(Sender<()>);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn follower_is_woken_for_news_only() {
        let (sender, woken) = channel();
        let waker = Waker::from(Arc::new(Woken(sender)));
        let (counter, looks) = (CommitCounter::default(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&looks);
        let look = move |idle: u32| {
            let before = counted.fetch_add(1, Ordering::Relaxed);
            assert_eq!(idle as usize, before);
            Ok((before < 4).then_some(PAUSE))
        };
        let watch = Arc::new(Watch::new(look, waker.clone()));
        assert!(counter.watch(&watch, counter.count(), PAUSE).unwrap());
        woken.recv_timeout(LONG).unwrap();
        assert_eq!(looks.load(Ordering::Relaxed), 5);
        assert!(watch.poll(&waker).unwrap().is_ok());
    }

    #[test]
    fn commit_of_this_process_causes_look() {
        let (sender, woken) = channel();
        let waker = Waker::from(Arc::new(Woken(sender)));
        let counter = CommitCounter::default();
        let seen = counter.count();
        let watch = Arc::new(Watch::new(|_| Ok(None), waker));
        assert!(counter.watch(&watch, seen, LONG * 10).unwrap());
        assert!(woken.recv_timeout(10 * PAUSE).is_err());
        counter.announce();
        woken.recv_timeout(LONG).unwrap();
        assert!(!counter.watch(&watch, seen, PAUSE).unwrap());
    }

    #[test]
    fn failed_look_ends_all_watches() {
        let (sender, woken) = channel();
        let waker = Waker::from(Arc::new(Woken(sender)));
        let (counter, looks) = (CommitCounter::default(), Arc::new(AtomicUsize::new(0)));
        let watches: Vec<_> = (0..4)
            .map(|_| {
                let counted = Arc::clone(&looks);
                let look = move |_| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    Err(io::ErrorKind::TimedOut.into())
                };
                Arc::new(Watch::new(look, waker.clone()))
            })
            .collect();
        for watch in &watches {
            let pause = Duration::from_millis(50);
            assert!(counter.watch(watch, counter.count(), pause).unwrap());
        }
        for _ in &watches {
            woken.recv_timeout(LONG).unwrap();
        }
        for watch in &watches {
            let outcome = watch.poll(&waker).unwrap();
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(looks.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn dropped_follower_is_not_looked_for() {
        let (counter, looks) = (CommitCounter::default(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&looks);
        let look = move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(Some(PAUSE))
        };
        let watch = Arc::new(Watch::new(look, Waker::noop().clone()));
        assert!(counter.watch(&watch, counter.count(), PAUSE).unwrap());
        let begin = Instant::now();
        while looks.load(Ordering::Relaxed) == 0 {
            assert!(begin.elapsed() < LONG);
            thread::sleep(PAUSE);
        }
        drop(watch);
        thread::sleep(5 * PAUSE);
        let after = looks.load(Ordering::Relaxed);
        thread::sleep(10 * PAUSE);
        assert_eq!(looks.load(Ordering::Relaxed), after);
    }
}
