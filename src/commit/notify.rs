//! Waking followers after commits of this process.
//!
//! A follower that blocks waits on a condition variable. A follower that is awaited leaves its waker here, and a thread
//! of its own wakes it: a waker is a host's code, which must run neither on the thread that commits nor under a lock, and
//! commits of other processes are found only by reading again, which no commit of this process announces.

use crate::commit::watch::Watch;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

/// How long the thread that wakes followers lives on without one.
const LINGER: Duration = Duration::from_millis(500);

/// Counts the commits of this process, and the close. A follower reads the count, then the rows, and then
/// waits until the count differs: no commit falls in between.
#[derive(Debug, Default)]
pub(crate) struct CommitCounter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Wakes the thread that wakes followers.
    thread: Condvar,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    /// Followers inside [`CommitCounter::wait`].
    waiting: usize,
    /// Followers that are awaited.
    registered: Vec<Registered>,
    /// Followers that are awaited, where the thread looks for commits of other hosts.
    watched: Vec<Watched>,
    has_thread: bool,
    /// How often the thread wakes all followers without a commit of this process.
    poll: Option<Duration>,
}

#[derive(Debug)]
struct Registered {
    waiter: u64,
    /// The count that the follower has read at.
    seen: u64,
    waker: Waker,
}

/// A follower for which the thread looks. Dropping it ends that.
#[derive(Debug)]
struct Watched {
    /// The count at the last look.
    seen: u64,
    /// When to look again.
    due: Instant,
    /// The looks without news.
    idle: u32,
    watch: Weak<Watch>,
}

impl CommitCounter {
    /// The count, to be read before the rows.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().count
    }

    /// The number of followers that wait.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn waiting(&self) -> usize {
        let state = self.0.lock();
        state.waiting + state.registered.len() + state.watched.len()
    }

    /// Wakes all followers after a commit, or after the store was closed.
    pub(crate) fn announce(&self) {
        self.0.lock().count += 1;
        self.0.changed.notify_all();
        self.0.thread.notify_one();
    }

    /// Waits until the count is not `seen` any more, and no longer than `at_most`.
    pub(crate) fn wait(&self, seen: u64, at_most: Option<Duration>) {
        let mut state = self.0.lock();
        if state.count != seen {
            return;
        }
        state.waiting += 1;
        // After a spurious wake-up the caller reads once more than it needs to.
        let mut state = wait(&self.0.changed, state, at_most);
        state.waiting -= 1;
    }

    /// Wakes `waker` once the count is not `seen` any more, or after `poll`. It replaces an earlier waker of
    /// `waiter`. Returns `false`, and keeps no waker, if the count is another one already.
    pub(crate) fn register(
        &self,
        (waiter, waker): (u64, &Waker),
        seen: u64,
        poll: Option<Duration>,
    ) -> io::Result<bool> {
        // A waker is a host's code: it is cloned and dropped without the lock.
        let waker = waker.clone();
        let mut state = self.0.lock();
        if state.count != seen {
            return Ok(false);
        }
        let replaced = state.remove(waiter);
        state.registered.push(Registered {
            waiter,
            seen,
            waker,
        });
        state.poll = poll;
        let started = self.0.start_thread(state);
        drop(replaced);
        if started.is_err() {
            self.deregister(waiter);
        }
        started.map(|()| true)
    }

    /// Looks for news for `watch` once the count is not `seen` any more, and after `pause`. Returns `false`, and does not
    /// look, if the count is another one already.
    pub(crate) fn watch(&self, watch: &Arc<Watch>, seen: u64, pause: Duration) -> io::Result<bool> {
        let mut state = self.0.lock();
        if state.count != seen {
            return Ok(false);
        }
        state.watched.push(Watched {
            seen,
            due: Instant::now() + pause,
            idle: 0,
            watch: Arc::downgrade(watch),
        });
        self.0.start_thread(state).map(|()| true)
    }

    /// Forgets the waker of `waiter`.
    pub(crate) fn deregister(&self, waiter: u64) {
        let removed = self.0.lock().remove(waiter);
        drop(removed);
    }
}

impl State {
    fn remove(&mut self, waiter: u64) -> Option<Registered> {
        let index = self
            .registered
            .iter()
            .position(|one| one.waiter == waiter)?;
        Some(self.registered.swap_remove(index))
    }

    /// Takes out the followers that have read at an earlier count, or all of them.
    fn take_due(&mut self, all: bool) -> Vec<Registered> {
        let count = self.count;
        let is_due = |one: &mut Registered| all || one.seen != count;
        self.registered.extract_if(.., is_due).collect()
    }

    /// Takes out the followers for which the thread has to look now.
    fn take_looks(&mut self) -> Vec<Watched> {
        let (count, now) = (self.count, Instant::now());
        let is_due = |one: &mut Watched| one.seen != count || one.due <= now;
        let mut due: Vec<Watched> = self.watched.extract_if(.., is_due).collect();
        for one in &mut due {
            // Counted before the look: a commit during it causes another one.
            one.seen = count;
        }
        due
    }

    /// How long the thread may sleep.
    fn pause(&self) -> Option<Duration> {
        if self.is_idle() {
            return Some(LINGER);
        }
        let poll = self.poll.filter(|_| !self.registered.is_empty());
        let due = self.watched.iter().map(|one| one.due).min();
        let look = due.map(|due| due.saturating_duration_since(Instant::now()));
        poll.into_iter().chain(look).min()
    }

    fn is_idle(&self) -> bool {
        self.registered.is_empty() && self.watched.is_empty()
    }
}

impl Shared {
    /// The state is whole after any panic: no panic can happen while the lock is held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread, or starts it.
    fn start_thread(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> io::Result<()> {
        let has_thread = std::mem::replace(&mut state.has_thread, true);
        drop(state);
        if has_thread {
            self.thread.notify_one();
            return Ok(());
        }
        let shared = Arc::clone(self);
        let named = std::thread::Builder::new().name("runtime-store-follow".to_owned());
        let started = named.spawn(move || shared.wake_followers());
        if started.is_err() {
            self.lock().has_thread = false;
        }
        started.map(|_| ())
    }

    /// Wakes followers until none has been there for [`LINGER`]. It holds no handle of the store.
    fn wake_followers(&self) {
        let mut state = self.lock();
        let mut has_polled = false;
        loop {
            let (due, looks) = (state.take_due(has_polled), state.take_looks());
            has_polled = false;
            if !due.is_empty() || !looks.is_empty() {
                drop(state);
                for one in due {
                    // A panic of a host's waker must not keep the others asleep.
                    let _ = catch_unwind(AssertUnwindSafe(|| one.waker.wake()));
                }
                self.look(looks);
                state = self.lock();
                continue;
            }
            let is_idle = state.is_idle();
            let at_most = state.pause();
            let before = (state.count, state.registered.len(), state.watched.len());
            state = wait(&self.thread, state, at_most);
            let now = (state.count, state.registered.len(), state.watched.len());
            if is_idle && now == before {
                state.has_thread = false;
                return;
            }
            // Without a commit of this process, one of another may be there.
            has_polled = !is_idle && state.poll.is_some();
        }
    }

    /// Looks for news for each of `looks`.
    fn look(&self, looks: Vec<Watched>) {
        let mut looks = looks.into_iter();
        while let Some(mut one) = looks.next() {
            let Some(watch) = one.watch.upgrade() else {
                continue;
            };
            let looked = catch_unwind(AssertUnwindSafe(|| watch.look(one.idle)));
            match looked.unwrap_or(Ok(None)) {
                Ok(None) => end(&watch, Ok(())),
                Ok(Some(pause)) => {
                    one.due = Instant::now() + pause;
                    one.idle = one.idle.saturating_add(1);
                    self.lock().watched.push(one);
                }
                Err(error) => {
                    end(&watch, Err(copy_of(&error)));
                    // The other looks would wait as long for the same server.
                    let waiting = std::mem::take(&mut self.lock().watched);
                    for other in looks.by_ref().chain(waiting) {
                        if let Some(watch) = other.watch.upgrade() {
                            end(&watch, Err(copy_of(&error)));
                        }
                    }
                }
            }
        }
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// Ends a watch. A panic of a host's waker must not keep the others asleep.
fn end(watch: &Watch, outcome: io::Result<()>) {
    let _ = catch_unwind(AssertUnwindSafe(|| watch.end(outcome)));
}

/// Waits on `condvar`, no longer than `at_most`.
fn wait<'s>(
    condvar: &Condvar,
    state: MutexGuard<'s, State>,
    at_most: Option<Duration>,
) -> MutexGuard<'s, State> {
    match at_most {
        Some(at_most) => condvar
            .wait_timeout(state, at_most)
            .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state),
        None => condvar.wait(state).unwrap_or_else(PoisonError::into_inner),
    }
}
