//! Waiting for commits of this process and of others.

use crate::commit::engine::Engine;
use crate::commit::queue::CommitQueue;
use crate::commit::within;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
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
