//! Waiting for commits of this process and of others.

use crate::commit::engine::{Engine, POLL};
use crate::commit::queue::CommitQueue;
use crate::commit::watch::Watch;
use crate::commit::within;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

impl<E: Engine> CommitQueue<E> {
    /// Waits until there may be newer rows than when the count was `seen`: returns after a commit or the
    /// close in this process, and after [`Engine::poll`] where other processes may commit; `idle` counts the waits
    /// without news. Returns whether time is left until `deadline`; without a deadline it always is.
    ///
    /// Rejected where this thread may hold up the commit that it would wait for; see [`within`].
    pub(crate) fn wait_for_news(
        &self,
        (seen, idle): (u64, u32),
        at: OpContext<'_>,
        deadline: Option<Instant>,
    ) -> Result<bool, RuntimeError> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(false);
        }
        self.refuse_fork(at)?;
        within::refuse_wait(self.address())?;
        let poll = self.engine().poll(idle);
        let at_most = match (left, poll) {
            (Some(left), Some(poll)) => Some(left.min(poll)),
            (left, poll) => left.or(poll),
        };
        self.commits.wait(seen, at_most);
        Ok(true)
    }

    /// Watches for a commit that changes `runtime` after its version `version`, since the count was `seen`. `None` if there
    /// may be newer rows already.
    ///
    /// Rejected as [`poll_news`](Self::poll_news).
    pub(crate) fn watch_news(
        self: &Arc<Self>,
        seen: u64,
        (runtime, version): (&str, i64),
        waker: &Waker,
        at: OpContext<'_>,
    ) -> Result<Option<Arc<Watch>>, RuntimeError> {
        self.refuse_fork(at)?;
        within::refuse(self.address())?;
        let operation = at.operation;
        // The thread that looks does not hold the store open.
        let (queue, runtime) = (Arc::downgrade(self), runtime.to_owned());
        let look = move |idle| {
            let Some(queue) = queue.upgrade() else {
                return Ok(None);
            };
            match queue.engine().version(&runtime, queue.context(operation)) {
                Ok(Some(now)) if now == version => Ok(queue.engine().poll(idle)),
                Err(RuntimeError::StoreIo { source, .. }) => Err(source),
                // The follower gets an error from its own read.
                Ok(_) | Err(_) => Ok(None),
            }
        };
        let watch = Arc::new(Watch::new(look, waker.clone()));
        let pause = self.engine().poll(0).unwrap_or(POLL);
        let is_watched = self.commits.watch(&watch, seen, pause);
        let is_watched = is_watched.map_err(|error| at.io(error))?;
        Ok(is_watched.then_some(watch))
    }

    /// Leaves the waker of `waiter` for the next commit since the count was `seen`, in this process or, where other
    /// processes may commit, in any. Returns `false` if there may be newer rows already.
    ///
    /// Rejected inside closures and callbacks, as their executor would wait; see [`within`].
    pub(crate) fn poll_news(
        &self,
        seen: u64,
        waiter: (u64, &Waker),
        at: OpContext<'_>,
    ) -> Result<bool, RuntimeError> {
        self.refuse_fork(at)?;
        within::refuse(self.address())?;
        let poll = self.engine().poll(0);
        let registered = self.commits.register(waiter, seen, poll);
        registered.map_err(|error| at.io(error))
    }
}
