//! Waiting for rows of a runtime, blocking or as a future, for both kinds of follower.

use crate::commit::watch::Watch;
use crate::error::RuntimeError;
use crate::ledger::rows::Rows;
use crate::runtime::handle::Runtime;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Reads what came after the follower's place; `None` if nothing did.
type ReadNews<'r, T> = dyn FnMut(&dyn Rows) -> Result<Option<T>, RuntimeError> + 'r;

/// Numbers the futures that wait.
static NEXT_WAITER: AtomicU64 = AtomicU64::new(0);

/// Reads rows until `read` finds some. `None` if it finds none within `timeout`.
pub(crate) fn block<T>(
    runtime: &Runtime,
    operation: &'static str,
    timeout: Duration,
    mut read: impl FnMut(&dyn Rows) -> Result<Option<T>, RuntimeError>,
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
        if has_news(runtime, operation, version)? {
            idle = 0;
            let (now, found) = read_with_version(runtime, operation, &mut read)?;
            if found.is_some() {
                return Ok(found);
            }
            version = now;
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
    mut read: impl FnMut(&dyn Rows) -> Result<Option<T>, RuntimeError>,
) -> Result<T, RuntimeError> {
    loop {
        if let Some(found) = block(runtime, operation, Duration::MAX, &mut read)? {
            return Ok(found);
        }
    }
}

/// Reads rows until `read` finds some, and is woken for each read. It reads while it is polled. Where the engine counts
/// versions, another thread looks for news.
pub(crate) async fn found<T>(
    runtime: &Runtime,
    operation: &'static str,
    mut read: impl FnMut(&dyn Rows) -> Result<Option<T>, RuntimeError>,
) -> Result<T, RuntimeError> {
    let waiter = Waiter {
        runtime,
        number: NEXT_WAITER.fetch_add(1, Ordering::Relaxed),
    };
    let mut watch = None;
    poll_fn(|context| {
        let polled = waiter.poll((&mut watch, context.waker()), operation, &mut read);
        match polled {
            Ok(None) => Poll::Pending,
            Ok(Some(found)) => Poll::Ready(Ok(found)),
            Err(error) => Poll::Ready(Err(error)),
        }
    })
    .await
}

impl Waiter<'_> {
    /// Reads once, and again as long as there may be newer rows. `None` if the waker is woken for the next read.
    fn poll<T>(
        &self,
        (watch, waker): (&mut Option<Arc<Watch>>, &Waker),
        operation: &'static str,
        read: &mut ReadNews<'_, T>,
    ) -> Result<Option<T>, RuntimeError> {
        let (runtime, queue) = (self.runtime, &self.runtime.store.shared);
        let at = queue.context(operation);
        queue.refuse_fork(at)?;
        if let Some(watched) = watch {
            queue.refuse_within()?;
            match watched.poll(waker) {
                None => return Ok(None),
                Some(outcome) => {
                    *watch = None;
                    outcome.map_err(|error| at.io(error))?;
                }
            }
        }
        loop {
            // As in `block`.
            let seen = queue.commits().count();
            let (version, found) = read_with_version(runtime, operation, read)?;
            if found.is_some() {
                return Ok(found);
            }
            refuse_file_elsewhere(runtime, operation)?;
            let is_waiting = match version {
                None => queue.poll_news(seen, (self.number, waker), at)?,
                Some(version) => {
                    let version = (runtime.runtime_id.as_str(), version);
                    *watch = queue.watch_news(seen, version, waker, at)?;
                    watch.is_some()
                }
            };
            if is_waiting {
                return Ok(None);
            }
        }
    }
}

/// Whether the rows of the runtime have to be read: `version` is that of the last read. Always where the engine does not
/// count versions.
fn has_news(
    runtime: &Runtime,
    operation: &'static str,
    version: Option<i64>,
) -> Result<bool, RuntimeError> {
    if version.is_none() {
        return Ok(true);
    }
    let queue = &runtime.store.shared;
    let id = runtime.runtime_id.as_str();
    let now = queue.version(id, queue.context(operation))?;
    Ok(now != version)
}

/// Reads rows, and the version of the runtime that they belong to. A look can ask another server than the read: the
/// version of that one could be newer than the rows, which would then never be read.
fn read_with_version<T>(
    runtime: &Runtime,
    operation: &'static str,
    read: &mut ReadNews<'_, T>,
) -> Result<(Option<i64>, Option<T>), RuntimeError> {
    let id = runtime.runtime_id.as_str();
    let queue = &runtime.store.shared;
    queue.read_with_version(operation, id, |rows| read(rows))
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
