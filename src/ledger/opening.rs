//! One opening of a store for writing: what lasts from the open to the close, in memory.

use crate::ledger::recent_keys::RecentKeys;
use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Limits that a host sets when it opens a store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Guards {
    /// The most bytes of a transcript entry, with its attributes.
    pub(crate) max_entry_bytes: Option<u64>,
    /// The length of the file from which on nothing is added.
    pub(crate) max_store_bytes: Option<u64>,
}

/// An opening of a store.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    number: OnceLock<u32>,
    /// Whether no other process can write to a runtime that this one writes to, as long as it lives.
    pub(crate) has_one_writer: bool,
    pub(crate) guards: Guards,
    pub(crate) recent_keys: RecentKeys,
    /// The runtimes and workers of forks under way.
    forks: Mutex<BTreeSet<(String, String)>>,
}

impl Opening {
    pub(crate) fn new(has_one_writer: bool) -> Self {
        Self {
            has_one_writer,
            ..Self::default()
        }
    }

    /// The number of the opening, if it has recorded open work. All handles of a store in one process have the same.
    pub(crate) fn number(&self) -> Option<u32> {
        self.number.get().copied()
    }

    /// The number of the opening. It follows those of all earlier openings, of which `last` is the greatest that is stored.
    /// The caller stores the number with the first open work: an opening that records none writes nothing.
    pub(crate) fn number_after(&self, last: u32) -> u32 {
        // Four thousand million openings are out of reach; a damaged number must not fail the operation.
        *self.number.get_or_init(|| last.saturating_add(1))
    }

    /// Marks a fork as under way, or as ended: its rows are no remains of an earlier opening.
    pub(crate) fn set_forking(&self, (runtime, worker): (&str, &str), is_forking: bool) {
        let mut forks = self.forks.lock().unwrap_or_else(PoisonError::into_inner);
        let fork = (runtime.to_owned(), worker.to_owned());
        match is_forking {
            true => drop(forks.insert(fork)),
            false => drop(forks.remove(&fork)),
        }
    }

    /// Whether a worker is the result of a fork that is under way.
    pub(crate) fn is_forking(&self, (runtime, worker): (&str, &str)) -> bool {
        let forks = self.forks.lock().unwrap_or_else(PoisonError::into_inner);
        !forks.is_empty() && forks.contains(&(runtime.to_owned(), worker.to_owned()))
    }
}
