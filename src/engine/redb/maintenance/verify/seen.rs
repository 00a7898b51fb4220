//! The state of a verification within one log, in constant memory.

use crate::engine::redb::maintenance::verify::report::VerifyKind;
use crate::ledger::rows::{RuntimeRow, TranscriptRow};
use crate::model::time;
use redb::Key;

/// The state of a walk through one transcript.
#[derive(Default)]
pub(crate) struct TranscriptSeen {
    pub(crate) entries: u64,
    pub(crate) next_position: u64,
    pub(crate) last_sequence: Option<u64>,
    pub(crate) without_event: u64,
    /// The entries below the floor, which no read returns. They are not counted as entries.
    pub(crate) below_floor: u64,
}

impl TranscriptSeen {
    /// A transcript whose entries begin at position `floor`.
    pub(crate) fn from_floor(floor: u64) -> Self {
        Self {
            next_position: floor,
            ..Self::default()
        }
    }

    /// Takes the next entry. Returns the finding, if it breaks a rule.
    pub(crate) fn take(
        &mut self,
        position: u64,
        entry: Option<&TranscriptRow<'_>>,
        has_event: bool,
    ) -> Option<(VerifyKind, String)> {
        let expected = std::mem::replace(&mut self.next_position, position.saturating_add(1));
        self.entries += 1;
        self.without_event += u64::from(!has_event);
        let sequence = entry.map(|entry| entry.sequence);
        let last = self.last_sequence;
        self.last_sequence = last.max(sequence);
        if position != expected {
            let message = format!(
                "position {expected} is expected here: an entry before this one is missing"
            );
            return Some((VerifyKind::Position, message));
        }
        let sequence = sequence?;
        if sequence == 0 || last.is_some_and(|last| sequence <= last) {
            let message = format!(
                "sequence {sequence} is not greater than {}",
                last.unwrap_or(0)
            );
            return Some((VerifyKind::Sequence, message));
        }
        None
    }
}

/// Rows that are dated after the latest time of their runtime.
#[derive(Default)]
pub(crate) struct LateRows {
    /// The latest time of the runtime; `None` if it has none.
    latest_ms: Option<u64>,
    rows: u64,
    first: Option<(&'static str, String, u64)>,
}

impl LateRows {
    /// No rows yet of a runtime with this row; `None` if the row cannot be read.
    pub(crate) fn of(runtime: Option<&RuntimeRow>) -> Self {
        Self {
            latest_ms: runtime.map_or(Some(u64::MAX), |row| row.latest_time_ms),
            ..Self::default()
        }
    }

    /// Takes the time of the next row.
    pub(crate) fn take(
        &mut self,
        table: &'static str,
        key: &impl std::fmt::Debug,
        time_ms: Option<u64>,
    ) {
        if let Some(time_ms) = time_ms.filter(|time_ms| Some(*time_ms) > self.latest_ms) {
            self.rows += 1;
            self.first
                .get_or_insert_with(|| (table, format!("{key:?}"), time_ms));
        }
    }

    /// The message of the finding, if there are such rows.
    pub(crate) fn message(self) -> Option<String> {
        let (table, key, time_ms) = self.first?;
        let latest = self.latest_ms.map(time::rfc3339);
        Some(format!(
            "{} rows have a time after the latest time of the runtime ({}); the first is key {key} of table \
             {table}, with the time {}",
            self.rows,
            latest.as_deref().unwrap_or("none"),
            time::rfc3339(time_ms)
        ))
    }
}

/// The last key that a walk has met.
#[derive(Default)]
pub(crate) struct LastKey {
    key: Vec<u8>,
    is_met: bool,
}

impl LastKey {
    pub(crate) fn get(&self) -> Option<&[u8]> {
        self.is_met.then_some(&self.key)
    }

    /// Replaces the key. Returns whether the new one is greater.
    pub(crate) fn advance<K: Key>(&mut self, key: &[u8]) -> bool {
        let is_after = !self.is_met || K::compare(&self.key, key).is_lt();
        self.key.clear();
        self.key.extend_from_slice(key);
        self.is_met = true;
        is_after
    }
}

/// The largest number of runs of successive event ids that are remembered.
const RUNS: usize = 4096;

/// Event ids of a runtime that a walk has found, as runs of successive ids.
#[derive(Default)]
pub(crate) struct EventIds {
    runtime: String,
    /// The first and the last id of each run, in increasing order.
    runs: Vec<(u64, u64)>,
}

impl EventIds {
    /// No ids of `runtime` yet.
    pub(crate) fn of(runtime: &str) -> Self {
        Self {
            runtime: runtime.to_owned(),
            runs: Vec::new(),
        }
    }

    /// Adds an id, unless it is not greater than the ids before it, or begins a run too many.
    pub(crate) fn push(&mut self, id: u64) {
        let is_full = self.runs.len() == RUNS;
        match self.runs.last_mut() {
            Some((_, last)) if id.checked_sub(1) == Some(*last) => *last = id,
            Some((_, last)) if id <= *last => {}
            _ if is_full => {}
            _ => self.runs.push((id, id)),
        }
    }

    /// Whether the ids of `runtime` contain `id`. If they do not, the event may still exist.
    pub(crate) fn contain(&self, runtime: &str, id: u64) -> bool {
        let run = self.runs.partition_point(|(first, _)| *first <= id);
        let run = run.checked_sub(1).and_then(|before| self.runs.get(before));
        run.is_some_and(|(_, last)| id <= *last) && self.runtime == runtime
    }
}

/// Rows that name workers that do not exist.
#[derive(Default)]
pub(crate) struct UnknownWorkers {
    pub(crate) rows: u64,
    pub(crate) first: Option<(u64, String)>,
}

impl UnknownWorkers {
    /// The message of the finding, if there are such rows. `what` names their kind.
    pub(crate) fn message(self, what: &str) -> Option<String> {
        let (id, worker) = self.first?;
        Some(format!(
            "{} {what} name workers that do not exist; the first is {id}, which names {worker:?}",
            self.rows
        ))
    }
}
