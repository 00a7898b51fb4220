//! The seam to an engine: reads of rows, and turns that write a batch.

use crate::commit::failure::Failure;
use crate::error::{Place, RuntimeError};
use crate::ledger::change_set::ChangeSet;
use crate::ledger::context::OpContext;
use crate::ledger::rows::Rows;
use std::time::{Duration, Instant};

/// How often a follower looks where another process may commit.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// How a turn may take an operation.
#[derive(Clone, Copy, Debug)]
// redb admits every operation.
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
pub(crate) struct Admission {
    /// When the engine gives up to reach its storage.
    pub(crate) deadline: Instant,
    /// Whether the engine may wait for a lock that another host holds: for a moment only, since other operations wait
    /// meanwhile. Never while the turn has changes to commit, whose locks the other host may be waiting for.
    pub(crate) may_wait: bool,
}

/// Whether a turn takes an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
pub(crate) enum Admitted {
    /// The turn has the locks that the operation needs.
    Yes,
    /// Another host has them. A turn without changes is of no more use.
    NotNow,
}

/// How long an operation waits for its turn, counted from its call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For a lock that another host holds.
    pub(crate) lock: Duration,
    /// For a storage that does not answer.
    pub(crate) outage: Duration,
}

/// The storage that a [`CommitQueue`](crate::commit::queue::CommitQueue) commits to.
///
/// Reads are a trait ([`Rows`]) and writes are data ([`ChangeSet`]), so that the rules and the queue are
/// the same for every engine.
pub(crate) trait Engine: Send + Sync + 'static {
    /// The committed rows at a point in time, for as long as it is held.
    type Snapshot: Send;

    /// The right to write, which no other writer has at the same time.
    type Turn: Send;

    /// The place of the store, which errors name.
    fn place(&self) -> &Place;

    /// Whether operations may be staged above rows that are not committed yet: right where this queue
    /// alone changes the rows. Otherwise each operation reads and writes within a turn of its own.
    fn stages_ahead(&self) -> bool;

    /// Whether operations that cannot be staged ahead share turns; see [`shared_turn`](crate::commit::shared_turn).
    fn shares_turns(&self) -> bool {
        false
    }

    /// How long an operation waits for a shared turn.
    fn patience(&self) -> Patience {
        Patience {
            lock: Duration::MAX,
            outage: Duration::MAX,
        }
    }

    /// Whether `turn` takes an operation on `runtime`. Otherwise that operation runs in a later turn.
    fn admits(
        &self,
        turn: &Self::Turn,
        runtime: &str,
        how: Admission,
        at: OpContext<'_>,
    ) -> Result<Admitted, RuntimeError> {
        let _ = (turn, runtime, how, at);
        Ok(Admitted::Yes)
    }

    /// Rejects changes of an operation that the engine cannot write. The operation fails, and not the batch that it would
    /// have joined.
    fn check(&self, changes: &ChangeSet) -> Result<(), RuntimeError> {
        let _ = changes;
        Ok(())
    }

    /// Whether other processes may commit while this one has the store open.
    fn others_may_commit(&self) -> bool;

    /// Whether no other process can write to a runtime that this one writes to, as long as it lives.
    fn has_one_writer(&self) -> bool {
        !self.others_may_commit()
    }

    /// Whether the store goes on after a commit failed with `failure`. Otherwise it rejects every write until it is opened
    /// again.
    fn survives(&self, failure: &Failure) -> bool;

    /// How often a follower looks for commits of other processes; `None` if there are none. `idle` counts the looks since
    /// the last commit that it found.
    fn poll(&self, idle: u32) -> Option<Duration> {
        let _ = idle;
        self.others_may_commit().then_some(POLL)
    }

    /// A number that changes with each commit to `runtime`, if the engine has one: a cheap look for news.
    fn version(&self, runtime: &str, at: OpContext<'_>) -> Result<Option<i64>, RuntimeError> {
        let _ = (runtime, at);
        Ok(None)
    }

    /// The time that changes get, in milliseconds since 1970-01-01 00:00 UTC. Can run a host's code.
    fn now_ms(&self) -> u64;

    /// The length of the store's file, in bytes; 0 for a store without one.
    fn file_bytes(&self) -> u64;

    /// Takes a snapshot of the committed rows.
    fn snapshot(&self, at: OpContext<'_>) -> Result<Self::Snapshot, RuntimeError>;

    /// The rows of a snapshot.
    fn snapshot_rows<'a>(
        &'a self,
        snapshot: &'a Self::Snapshot,
        at: OpContext<'a>,
    ) -> impl Rows + 'a;

    /// Gives a snapshot up. Does not panic.
    fn release(&self, snapshot: Self::Snapshot, at: OpContext<'_>);

    /// Begins a turn; waits for writers of other processes.
    fn begin(&self, at: OpContext<'_>) -> Result<Self::Turn, RuntimeError>;

    /// The committed rows, as the turn sees them.
    fn turn_rows<'a>(&'a self, turn: &'a Self::Turn, at: OpContext<'a>) -> impl Rows + 'a;

    /// Writes `changes` and commits the turn. The turn is durable when this returns `Ok`; the failure
    /// says whether it may be on disk all the same.
    fn commit(
        &self,
        turn: Self::Turn,
        changes: &ChangeSet,
        at: OpContext<'_>,
    ) -> Result<(), Failure>;

    /// Undoes a turn.
    fn abort(&self, turn: Self::Turn, at: OpContext<'_>) -> Result<(), RuntimeError>;
}
