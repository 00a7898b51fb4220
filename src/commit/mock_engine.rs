//! An engine in memory that shares turns, whose locks and commits a test controls.

use crate::commit::engine::{Admission, Admitted, Engine, Patience};
use crate::commit::failure::Failure;
use crate::error::{Place, RuntimeError};
use crate::ledger::change_set::ChangeSet;
use crate::ledger::context::OpContext;
use crate::ledger::rows::{
    DiagnosticRow, EachEntry, EachEvent, ImportRow, Rows, RuntimeRow, WorkerRow,
};
use crate::ledger::stored::kept_file::{FileChunkRow, FileKey};
use crate::ledger::stored::tombstone::{TombstoneRow, Unfinished};
use crate::ledger::table_names::UNFINISHED;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How long an admission that may wait waits for a lock.
pub(crate) const MOMENT: Duration = Duration::from_millis(20);

/// An engine over a store without rows.
pub(crate) struct MockEngine {
    place: Place,
    patience: Patience,
    state: Mutex<MockState>,
    changed: Condvar,
}

/// A turn; whether it was asked for a lock.
#[derive(Default)]
pub(crate) struct MockTurn(AtomicBool);

#[derive(Default)]
pub(crate) struct MockState {
    /// Runtimes that another host has locked.
    pub(crate) locked: BTreeSet<String>,
    /// Runtimes whose lock is only taken where the engine may wait.
    pub(crate) needs_wait: BTreeSet<String>,
    /// Runtimes with unfinished deletions.
    pub(crate) unfinished: BTreeSet<String>,
    /// How many commits may end, if that is limited.
    pub(crate) most_commits: Option<usize>,
    /// How many commits have begun.
    pub(crate) begun: usize,
    /// The runtimes of each commit.
    pub(crate) commits: Vec<Vec<String>>,
    /// How often a turn with locks was to wait for another one.
    pub(crate) waits_with_locks: usize,
    /// Runtimes whose rows were read.
    pub(crate) read: BTreeSet<String>,
}

impl MockEngine {
    /// An engine whose operations wait for locks of other hosts as long as `lock`.
    pub(crate) fn new(lock: Duration) -> Self {
        Self {
            place: Place::named("mock"),
            patience: Patience {
                lock,
                outage: Duration::from_secs(30),
            },
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, MockState> {
        self.state.lock().unwrap()
    }

    /// Lets so many commits end.
    pub(crate) fn allow_commits(&self, most: Option<usize>) {
        self.state().most_commits = most;
        self.changed.notify_all();
    }
}

impl Engine for MockEngine {
    type Snapshot = ();
    type Turn = MockTurn;

    fn place(&self) -> &Place {
        &self.place
    }

    fn stages_ahead(&self) -> bool {
        false
    }

    fn shares_turns(&self) -> bool {
        true
    }

    fn patience(&self) -> Patience {
        self.patience
    }

    fn admits(
        &self,
        turn: &MockTurn,
        runtime: &str,
        how: Admission,
        _: OpContext<'_>,
    ) -> Result<Admitted, RuntimeError> {
        let mut state = self.state();
        let has_locks = turn.0.swap(true, Ordering::Relaxed);
        state.waits_with_locks += usize::from(has_locks && how.may_wait);
        let is_locked = state.locked.contains(runtime);
        let is_refused = !how.may_wait && state.needs_wait.contains(runtime);
        drop(state);
        if is_locked && how.may_wait {
            std::thread::sleep(MOMENT);
        }
        Ok(match is_locked || is_refused {
            true => Admitted::NotNow,
            false => Admitted::Yes,
        })
    }

    fn others_may_commit(&self) -> bool {
        true
    }

    fn survives(&self, _: &Failure) -> bool {
        true
    }

    fn now_ms(&self) -> u64 {
        1
    }

    fn file_bytes(&self) -> u64 {
        0
    }

    fn snapshot(&self, _: OpContext<'_>) -> Result<(), RuntimeError> {
        Ok(())
    }

    fn snapshot_rows<'a>(&'a self, (): &'a (), at: OpContext<'a>) -> impl Rows + 'a {
        NoRows { engine: self, at }
    }

    fn release(&self, (): (), _: OpContext<'_>) {}

    fn begin(&self, _: OpContext<'_>) -> Result<MockTurn, RuntimeError> {
        Ok(MockTurn::default())
    }

    fn turn_rows<'a>(&'a self, _: &'a MockTurn, at: OpContext<'a>) -> impl Rows + 'a {
        NoRows { engine: self, at }
    }

    fn commit(&self, _: MockTurn, changes: &ChangeSet, _: OpContext<'_>) -> Result<(), Failure> {
        let mut state = self.state();
        state.begun += 1;
        while state
            .most_commits
            .is_some_and(|most| state.commits.len() >= most)
        {
            state = self.changed.wait(state).unwrap();
        }
        state
            .commits
            .push(changes.runtimes.keys().cloned().collect());
        Ok(())
    }

    fn abort(&self, _: MockTurn, _: OpContext<'_>) -> Result<(), RuntimeError> {
        Ok(())
    }
}

struct NoRows<'a> {
    engine: &'a MockEngine,
    at: OpContext<'a>,
}

impl Rows for NoRows<'_> {
    fn at(&self) -> OpContext<'_> {
        self.at
    }

    fn last_opening(&self) -> Result<u32, RuntimeError> {
        Ok(0)
    }

    fn runtime(&self, _: &str) -> Result<Option<RuntimeRow>, RuntimeError> {
        Ok(None)
    }

    fn runtimes(
        &self,
        _: Option<&str>,
        _: usize,
    ) -> Result<Vec<(String, RuntimeRow)>, RuntimeError> {
        Ok(Vec::new())
    }

    fn worker(&self, _: &str, _: &str) -> Result<Option<WorkerRow>, RuntimeError> {
        Ok(None)
    }

    fn workers(
        &self,
        _: &str,
        _: Option<&str>,
        _: usize,
    ) -> Result<Vec<(String, WorkerRow)>, RuntimeError> {
        Ok(Vec::new())
    }

    fn events(&self, _: &str, _: u64, _: usize, _: &mut EachEvent<'_>) -> Result<(), RuntimeError> {
        Ok(())
    }

    fn last_event_id(&self, _: &str) -> Result<Option<u64>, RuntimeError> {
        Ok(None)
    }

    fn transcript(
        &self,
        _: &str,
        _: &str,
        _: u64,
        _: usize,
        _: &mut EachEntry<'_>,
    ) -> Result<(), RuntimeError> {
        Ok(())
    }

    fn diagnostics(
        &self,
        _: &str,
        _: u64,
        _: usize,
    ) -> Result<Vec<(u64, DiagnosticRow)>, RuntimeError> {
        Ok(Vec::new())
    }

    fn import(&self, _: &str) -> Result<Option<ImportRow>, RuntimeError> {
        Ok(None)
    }

    fn tombstone(&self, runtime: &str, worker: &str) -> Result<Option<TombstoneRow>, RuntimeError> {
        let mut state = self.engine.state();
        if runtime != UNFINISHED {
            return Ok(None);
        }
        state.read.insert(worker.to_owned());
        let unfinished = Unfinished {
            is_whole: true,
            workers: Vec::new(),
        };
        let is_there = state.unfinished.contains(worker);
        Ok(is_there.then_some(TombstoneRow::Unfinished(unfinished)))
    }

    fn tombstones(
        &self,
        runtime: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, TombstoneRow)>, RuntimeError> {
        if runtime != UNFINISHED {
            return Ok(Vec::new());
        }
        let state = self.engine.state();
        let later = state.unfinished.iter();
        let later = later.filter(|one| after.is_none_or(|after| one.as_str() > after));
        let row = TombstoneRow::Unfinished(Unfinished::default());
        Ok(later
            .take(limit)
            .map(|one| (one.clone(), row.clone()))
            .collect())
    }

    fn file_chunk(&self, _: &str, _: &str, _: u64) -> Result<Option<FileChunkRow>, RuntimeError> {
        Ok(None)
    }

    fn file_keys(
        &self,
        _: &str,
        _: (&str, u64),
        _: Option<&str>,
        _: usize,
    ) -> Result<Vec<FileKey>, RuntimeError> {
        Ok(Vec::new())
    }
}
