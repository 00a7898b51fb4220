//! The rows that a change set removes, as plain data.

use std::collections::{BTreeMap, BTreeSet};

/// The floor above every number of a log: the rows with all numbers are removed.
pub(crate) const ALL: u64 = u64::MAX;

/// Whether a row with this number is below `floor`.
pub(crate) fn is_below(number: u64, floor: u64) -> bool {
    number < floor || floor == ALL
}

/// The rows of one runtime to remove. They are those of the layers below: a change set removes them first, then
/// writes its own rows.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    /// The runtime's own row and its import record.
    pub(crate) runtime: bool,
    /// Worker rows. Their transcripts are removed on their own.
    pub(crate) workers: BTreeSet<String>,
    /// The events below this id; 0 for none, [`ALL`] for all.
    pub(crate) events_below: u64,
    /// The entries below this position, by worker; [`ALL`] for all.
    pub(crate) entries_below: BTreeMap<String, u64>,
    /// All entries of the runtime, also those of workers that the change set does not know.
    pub(crate) all_entries: bool,
    pub(crate) diagnostics: BTreeSet<u64>,
    pub(crate) tombstones: BTreeSet<String>,
    /// Chunks of files: their path and number.
    pub(crate) files: BTreeSet<(String, u64)>,
}

impl Removals {
    /// The position below which the entries of `worker` are removed; 0 for none.
    pub(crate) fn entries_below(&self, worker: &str) -> u64 {
        match self.all_entries {
            true => ALL,
            false => self.entries_below.get(worker).copied().unwrap_or(0),
        }
    }

    /// Whether a chunk of a file is removed.
    pub(crate) fn file(&self, path: &str, chunk: u64) -> bool {
        // Most operations remove none, and a look-up needs a copy of the path.
        !self.files.is_empty() && self.files.contains(&(path.to_owned(), chunk))
    }

    /// Raises the floor of the transcript of `worker`.
    pub(crate) fn raise_entries(&mut self, worker: String, floor: u64) {
        let raised = self.entries_below.entry(worker).or_default();
        *raised = floor.max(*raised);
    }

    /// Adds the removals of a later operation.
    pub(crate) fn extend(&mut self, later: Self) {
        self.runtime |= later.runtime;
        self.workers.extend(later.workers);
        self.events_below = self.events_below.max(later.events_below);
        for (worker, floor) in later.entries_below {
            self.raise_entries(worker, floor);
        }
        self.all_entries |= later.all_entries;
        self.diagnostics.extend(later.diagnostics);
        self.tombstones.extend(later.tombstones);
        self.files.extend(later.files);
    }
}
