//! Runs a function on many items with several threads.

use crate::commit::within::Within;
use std::sync::Mutex;
use std::{panic, thread};

/// The number of threads. More than processors, because most of them wait for the disk.
const THREADS: usize = 8;

/// The state that the threads share.
struct Queue<I, E> {
    items: I,
    taken: usize,
    /// The error of the first item that has one.
    error: Option<(usize, E)>,
}

/// Calls `work` for every item. Returns the error of the first item that has one; items after it may be
/// skipped.
pub(crate) fn for_each<I, E>(
    items: impl Iterator<Item = I> + Send,
    work: impl Fn(I) -> Result<(), E> + Sync,
) -> Result<(), E>
where
    I: Send,
    E: Send,
{
    let queue = Mutex::new(Queue {
        items,
        taken: 0,
        error: None,
    });
    let run = || {
        while let Some((index, item)) = next(&queue) {
            if let Err(error) = work(item) {
                fail(&queue, index, error);
            }
        }
    };
    let within = Within::current();
    let enter_and_run = || {
        // `work` may call a host's callback.
        within.clone().enter();
        run();
    };
    thread::scope(|scope| {
        let other = |_| {
            thread::Builder::new()
                .spawn_scoped(scope, enter_and_run)
                .ok()
        };
        // If the system has no more threads, the existing ones do all the work.
        let others: Vec<_> = (1..THREADS).map_while(other).collect();
        run();
        for other in others {
            other
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic));
        }
    });
    match queue.into_inner().map(|queue| queue.error) {
        Ok(Some((_, error))) => Err(error),
        // Only a panic poisons the lock, and `join` has passed that on already.
        Ok(None) | Err(_) => Ok(()),
    }
}

/// The next item and its index; `None` at the end or after an error.
fn next<I, E>(queue: &Mutex<Queue<impl Iterator<Item = I>, E>>) -> Option<(usize, I)> {
    let mut queue = queue.lock().ok()?;
    if queue.error.is_some() {
        return None;
    }
    let item = queue.items.next()?;
    queue.taken += 1;
    Some((queue.taken - 1, item))
}

fn fail<I, E>(queue: &Mutex<Queue<I, E>>, index: usize, error: E) {
    if let Ok(mut queue) = queue.lock()
        && queue.error.as_ref().is_none_or(|(first, _)| index < *first)
    {
        queue.error = Some((index, error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn every_item_is_worked_on_once() {
        let sum = AtomicUsize::new(0);
        let done = for_each(0..1000, |n| {
            sum.fetch_add(n, Ordering::Relaxed);
            Ok::<_, ()>(())
        });
        assert_eq!((done, sum.into_inner()), (Ok(()), 999 * 1000 / 2));
    }

    #[test]
    fn the_error_of_the_first_item_wins_also_where_it_comes_late() {
        for _ in 0..20 {
            let failed = for_each(0..100, |n| match n {
                3 => {
                    thread::sleep(Duration::from_millis(5));
                    Err(n)
                }
                4.. => Err(n),
                _ => Ok(()),
            });
            assert_eq!(failed, Err(3));
        }
    }

    #[test]
    fn after_an_error_no_more_items_are_taken() {
        let begun = AtomicUsize::new(0);
        let failed = for_each(0.., |_: u64| {
            begun.fetch_add(1, Ordering::Relaxed);
            Err(())
        });
        assert_eq!(failed, Err(()));
        assert!(begun.into_inner() <= THREADS);
    }

    #[test]
    #[should_panic(expected = "another thread")]
    fn a_panic_of_any_thread_reaches_the_caller() {
        let caller = thread::current().id();
        let _ = for_each(0..1000, |_| {
            assert_eq!(thread::current().id(), caller, "another thread");
            // Leaves some to the others.
            thread::sleep(Duration::from_millis(1));
            Ok::<_, ()>(())
        });
    }
}
