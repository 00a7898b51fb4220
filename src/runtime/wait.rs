//! Waiting for rows of a runtime, blocking or as a future, for both kinds of follower.

use crate::error::RuntimeError;
use crate::runtime::handle::Runtime;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Numbers the futures that wait.
static NEXT_WAITER: AtomicU64 = AtomicU64::new(0);

/// Reads rows until `read` finds some. `None` if it finds none within `timeout`.
pub(crate) fn block<T>(
    runtime: &Runtime,
    operation: &'static str,
    timeout: Duration,
    mut read: impl FnMut() -> Result<Option<T>, RuntimeError>,
) -> Result<Option<T>, RuntimeError> {
    // A deadline beyond the range of `Instant` is no deadline.
    let deadline = Instant::now().checked_add(timeout);
    let queue = &runtime.store.shared;
    let at = queue.context(operation);
    queue.refuse_fork(at)?;
    let (mut version, mut idle) = (None, 0);
    loop {
        // Counted before the read: a commit between the read and the wait ends the wait at once.
        let seen = queue.commits().count();
        if has_news(runtime, operation, &mut version)? {
            idle = 0;
            if let Some(found) = read()? {
                return Ok(Some(found));
            }
        }
        refuse_file_elsewhere(runtime, operation)?;
        if !queue.wait_for_news((seen, idle), at, deadline)? {
            return Ok(None);
        }
        idle = idle.saturating_add(1);
    }
}

/// Waits without a limit, as [`block`] does.
pub(crate) fn block_until_found<T>(
    runtime: &Runtime,
    operation: &'static str,
    mut read: impl FnMut() -> Result<Option<T>, RuntimeError>,
) -> Result<T, RuntimeError> {
    loop {
        if let Some(found) = block(runtime, operation, Duration::MAX, &mut read)? {
            return Ok(found);
        }
    }
}

/// Reads rows until `read` finds some, and is woken for each read.
pub(crate) async fn found<T>(
    runtime: &Runtime,
    operation: &'static str,
    mut read: impl FnMut() -> Result<Option<T>, RuntimeError>,
) -> Result<T, RuntimeError> {
    let waiter = Waiter {
        runtime,
        number: NEXT_WAITER.fetch_add(1, Ordering::Relaxed),
    };
    let mut version = None;
    poll_fn(|context| {
        let queue = &runtime.store.shared;
        let at = queue.context(operation);
        let mut poll = || {
            queue.refuse_fork(at)?;
            loop {
                // As in `block`.
                let seen = queue.commits().count();
                if has_news(runtime, operation, &mut version)?
                    && let Some(found) = read()?
                {
                    return Ok(Poll::Ready(found));
                }
                refuse_file_elsewhere(runtime, operation)?;
                if queue.poll_news(seen, (waiter.number, context.waker()), at)? {
                    return Ok(Poll::Pending);
                }
            }
        };
        match poll() {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(found)) => Poll::Ready(Ok(found)),
            Err(error) => Poll::Ready(Err(error)),
        }
    })
    .await
}

/// Whether the rows of the runtime have to be read: `version` is that of the last read, and becomes that of now. Always
/// where the engine does not count versions.
fn has_news(
    runtime: &Runtime,
    operation: &'static str,
    version: &mut Option<i64>,
) -> Result<bool, RuntimeError> {
    let queue = &runtime.store.shared;
    let id = runtime.runtime_id.as_str();
    let now = queue.version(id, queue.context(operation))?;
    Ok(now.is_none() || std::mem::replace(version, now) != now)
}

/// A future that waits. Dropping it forgets its waker.
struct Waiter<'r> {
    runtime: &'r Runtime,
    number: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let queue = &self.runtime.store.shared;
        // In a fork the lock may be held by a thread that the fork does not have.
        if !queue.is_forked() {
            queue.commits().deregister(self.number);
        }
    }
}

/// Fails if the wait would be for another process whose commits go to another file than the open one.
fn refuse_file_elsewhere(runtime: &Runtime, operation: &'static str) -> Result<(), RuntimeError> {
    let store = &runtime.store;
    if !store.shared.others_may_commit() || store.is_in_place() {
        return Ok(());
    }
    Err(store.shared.context(operation).moved(false))
}
