//! Spans and events for `tracing`, behind the feature of that name. Without the feature nothing is compiled.
//!
//! Everything has the target `redb_runtime_store`. Around each operation, from its call until it is
//! durable, is a span `write` (debug) with the operation's name and the path. Each commit is an event
//! in the thread that made it: `committed` (debug) or `commit failed` (error), with the number of its
//! operations, their size in memory where it is known, and its time in microseconds.
//!
//! A thread that waits for a lock of the file for more than a second is an event too: `waiting for a lock`
//! (warn), with the process id of the holder where the system reports it.
//!
//! A store that was not closed cleanly is reported when it is open: `recovered` (info), or `rolled back`
//! (warn) if its last commit was not complete.
//!
//! A commit is reported after it ended, without any lock: a subscriber that panics or is slow affects only
//! its own thread.

use crate::error::RuntimeError;
use crate::ledger::context::OpContext;

/// The size of a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// Operations that changed something.
    pub(crate) operations: usize,
    /// Estimated memory of their rows, in bytes; unknown for a load.
    pub(crate) bytes: Option<usize>,
}

impl Batch {
    /// A load: one operation that writes to the file as it goes.
    pub(crate) const LOAD: Self = Self {
        operations: 1,
        bytes: None,
    };
}

pub(crate) use imp::{Commit, recovered, waits_for_lock, write};

#[cfg(feature = "tracing")]
mod imp {
    use super::{Batch, OpContext, RuntimeError};
    use crate::error::{Place, with_causes};
    use std::fmt::Debug;
    use std::time::Instant;
    use tracing::span::EnteredSpan;

    const TARGET: &str = "redb_runtime_store";

    /// An operation under way; over when dropped.
    pub(crate) struct Write {
        _span: EnteredSpan,
    }

    /// An operation begins.
    pub(crate) fn write(at: OpContext<'_>) -> Write {
        let (operation, path) = (at.operation, at.place);
        let span = tracing::debug_span!(target: TARGET, "write", operation, %path);
        Write {
            _span: span.entered(),
        }
    }

    /// A thread waits for a lock of the file at `place`, which the process `holder` holds, where the system
    /// reports it.
    /// The subscriber runs on a thread of its own, which also asks for the holder: the thread that waits may
    /// hold locks that a read of the subscriber needs, and the system may take long to answer.
    pub(crate) fn waits_for_lock(
        place: &Place,
        holder: impl FnOnce() -> Option<u32> + Send + 'static,
    ) {
        let path = place.to_string();
        let report = move || {
            let holder = holder();
            tracing::warn!(target: TARGET, path, holder, "waiting for a lock");
        };
        // Without a thread the wait is not reported.
        let _ = std::thread::Builder::new().spawn(report);
    }

    /// The store at `place` was not closed cleanly, if there is an `outcome`.
    pub(crate) fn recovered<R: Debug>(place: &Place, outcome: Option<R>, is_rolled_back: bool) {
        let Some(outcome) = outcome else { return };
        let path = place;
        match is_rolled_back {
            true => tracing::warn!(target: TARGET, %path, "rolled back"),
            false => tracing::info!(target: TARGET, %path, ?outcome, "recovered"),
        }
    }

    /// A commit under way.
    pub(crate) struct Commit {
        begin: Instant,
    }

    impl Commit {
        pub(crate) fn begin() -> Self {
            Self {
                begin: Instant::now(),
            }
        }

        /// The commit of `batch` is durable, or failed.
        pub(crate) fn end(self, at: OpContext<'_>, batch: Batch, failure: Option<&RuntimeError>) {
            let operations = batch.operations as u64;
            let bytes = batch.bytes.map(|bytes| bytes as u64);
            let micros = u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX);
            let path = at.place;
            match failure {
                None => tracing::debug!(
                    target: TARGET, %path, operations, bytes, micros, "committed"
                ),
                Some(error) => {
                    let error = with_causes(error);
                    tracing::error!(
                        target: TARGET, %path, operations, bytes, micros, %error, "commit failed"
                    );
                }
            }
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod imp {
    use super::{Batch, OpContext, RuntimeError};
    use crate::error::Place;

    pub(crate) struct Write;

    pub(crate) fn write(_: OpContext<'_>) -> Write {
        Write
    }

    pub(crate) fn recovered<R>(_: &Place, _: Option<R>, _: bool) {}

    pub(crate) fn waits_for_lock(_: &Place, _: impl FnOnce() -> Option<u32> + Send + 'static) {}

    pub(crate) struct Commit;

    impl Commit {
        pub(crate) fn begin() -> Self {
            Self
        }

        pub(crate) fn end(self, _: OpContext<'_>, _: Batch, _: Option<&RuntimeError>) {}
    }
}
