//! The report of a copy.

use crate::model::identity::RuntimeId;
use serde::Serialize;

/// The outcome of a copy for one runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CopyOutcome {
    /// The destination did not have it.
    Copied,
    /// The destination had it with other content.
    Replaced,
    /// The destination had it with the same content. Nothing was written.
    Same,
}

/// A runtime in a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuntimeCopy {
    /// The runtime.
    pub runtime_id: RuntimeId,
    /// Whether it was written.
    pub outcome: CopyOutcome,
    /// The number of its workers.
    pub workers: u64,
    /// The number of its events.
    pub events: u64,
    /// The number of the entries of its transcripts.
    pub transcript_entries: u64,
    /// The number of its diagnostics.
    pub diagnostics: u64,
    /// The number of its kept files, own texts of documents included.
    pub files: u64,
    /// The bytes of its events, entries and files, as they are stored.
    pub bytes: u64,
}

/// The result of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CopyReport {
    /// The runtimes, in the order of their ids.
    pub runtimes: Vec<RuntimeCopy>,
    /// The number of files of no runtime that were written.
    pub files: u64,
    /// The number of import records of no runtime that were written.
    pub import_records: u64,
}

impl CopyReport {
    /// The number of runtimes with this outcome.
    pub fn count(&self, outcome: CopyOutcome) -> usize {
        let of = |runtime: &&RuntimeCopy| runtime.outcome == outcome;
        self.runtimes.iter().filter(of).count()
    }
}
