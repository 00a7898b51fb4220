//! The keys of the last entries of transcripts, in memory: whether an input with a key was accepted is looked up before
//! each input that has one, and reading all of these entries each time would cost more than the input.
//!
//! A window has the keys of committed entries only, so an operation that is undone leaves nothing in it. Entries that are
//! staged above the committed rows are read each time: they are few. Another process, or an import, can replace the
//! entries behind a window. So a window belongs to one change of its worker or an earlier one, and its last entry is read
//! again at each use. A window that does not fit is filled anew.

use crate::error::RuntimeError;
use crate::ledger::rows::{Rows, TranscriptRow};
use crate::model::attributes::{ONCE, Once};
use serde::Deserialize;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The number of the last entries of a transcript in which a key is found.
pub(crate) const WINDOW: u64 = 256;

/// The most workers whose windows are in memory. Each has at most 6 KiB.
const MAX_WORKERS: usize = 4096;

/// The windows of a store, by runtime and worker.
#[derive(Debug, Default)]
pub(crate) struct RecentKeys {
    windows: Mutex<HashMap<(String, String), Window>>,
}

/// The keys of the last committed entries of a worker.
#[derive(Debug, Default)]
struct Window {
    /// The position after the last entry that was read.
    end: u64,
    /// The number of the last change of the worker by then.
    change: u64,
    /// A digest of the last entry that was read.
    last: u64,
    /// Positions, ascending, and hashes of keys.
    keys: VecDeque<(u64, u128)>,
}

/// An entry with a key.
pub(crate) struct KeyedEntry {
    pub(crate) sequence: u64,
    pub(crate) event_id: u64,
    pub(crate) once: Once,
}

impl RecentKeys {
    /// The newest of the last entries of a worker that has `key`. `committed` are the rows below the changes that `rows`
    /// sees; the worker has the entries before `end` in `rows`.
    pub(crate) fn find(
        &self,
        committed: &dyn Rows,
        rows: &dyn Rows,
        (runtime, worker): (&str, &str),
        (end, key): (u64, &str),
    ) -> Result<Option<KeyedEntry>, RuntimeError> {
        let first = end.saturating_sub(WINDOW);
        let hash = xxh3_128(key.as_bytes());
        let mut places: Vec<u64> = Vec::new();
        let read = {
            // No code that can panic leaves a window half changed: it is put back when it is whole.
            let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (runtime.to_owned(), worker.to_owned());
            let known = windows.remove(&at).unwrap_or_default();
            let window = known.caught_up(committed, (runtime, worker))?;
            let found = window.keys.iter().rev();
            let found = found.filter(|(position, of)| *of == hash && *position >= first);
            places.extend(found.map(|(position, _)| *position));
            let read = window.end;
            if windows.len() >= MAX_WORKERS {
                windows.clear();
            }
            windows.insert(at, window);
            read
        };
        let mut newest = None;
        let from = read.max(first);
        if from < end {
            let rest = usize::try_from(end - from).unwrap_or(usize::MAX);
            rows.transcript(runtime, worker, from, rest, &mut |_, row| {
                newest = keyed(&row, key).or(newest.take());
                Ok(())
            })?;
        }
        for position in places {
            if newest.is_some() {
                break;
            }
            rows.transcript(runtime, worker, position, 1, &mut |_, row| {
                newest = keyed(&row, key);
                Ok(())
            })?;
        }
        Ok(newest)
    }
}

impl Window {
    /// The window with all committed entries of a worker.
    fn caught_up(
        self,
        committed: &dyn Rows,
        (runtime, worker): (&str, &str),
    ) -> Result<Self, RuntimeError> {
        let row = committed.worker(runtime, worker)?;
        let (end, change) = row.map_or((0, 0), |row| (row.transcript_len, row.change));
        let mut window = match self.end <= end && self.change <= change {
            true => self,
            false => Self::default(),
        };
        if window.end > 0 {
            let (last, mut is_same) = (window.last, false);
            committed.transcript(runtime, worker, window.end - 1, 1, &mut |_, row| {
                is_same = digest(&row) == last;
                Ok(())
            })?;
            if !is_same {
                window = Self::default();
            }
        }
        let first = end.saturating_sub(WINDOW);
        window.keys.retain(|(position, _)| *position >= first);
        let from = window.end.max(first);
        if from < end {
            let rest = usize::try_from(end - from).unwrap_or(usize::MAX);
            committed.transcript(runtime, worker, from, rest, &mut |position, row| {
                let once = once(&row);
                window
                    .keys
                    .extend(once.map(|once| (position, xxh3_128(once.key.as_bytes()))));
                window.last = digest(&row);
                Ok(())
            })?;
        }
        (window.end, window.change) = (end, change);
        Ok(window)
    }
}

/// The member of the attributes of an entry that has its key.
#[derive(Deserialize)]
struct Keyed {
    #[serde(rename = "$once")]
    once: Option<Once>,
}

fn once(row: &TranscriptRow<'_>) -> Option<Once> {
    let attributes = row.attributes.as_deref()?;
    if !attributes.contains(ONCE) {
        return None;
    }
    // Members that an import brought can have any form.
    serde_json::from_str::<Keyed>(attributes).ok()?.once
}

fn keyed(row: &TranscriptRow<'_>, key: &str) -> Option<KeyedEntry> {
    // JSON without an escape has each text as it is. In a commit of many inputs most entries end here, unparsed.
    let attributes = row.attributes.as_deref()?;
    if !attributes.contains(key) && !attributes.contains('\\') {
        return None;
    }
    let once = once(row).filter(|once| once.key == key)?;
    Some(KeyedEntry {
        sequence: row.sequence,
        event_id: row.event_id,
        once,
    })
}

/// Enough of an entry to tell it from another one at its position.
fn digest(row: &TranscriptRow<'_>) -> u64 {
    let mut digest = Xxh3::new();
    digest.update(&row.sequence.to_le_bytes());
    digest.update(&row.event_id.to_le_bytes());
    digest.update(&row.recorded_at_ms.unwrap_or(0).to_le_bytes());
    digest.update(&(row.content.len() as u64).to_le_bytes());
    digest.update(row.attributes.as_deref().unwrap_or_default().as_bytes());
    digest.digest()
}
