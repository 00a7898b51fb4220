//! What an import, an export and a comparison say when they are done.

use crate::layout::findings::finding::Finding;
use crate::model::identity::RuntimeId;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// How far a long piece of work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that are done.
    pub bytes_done: u64,
    /// Bytes that there are; a lower bound where files grow meanwhile, 0 where it is not known.
    pub bytes_total: u64,
}

/// What became of one runtime of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ImportOutcome {
    /// It is in the store now; after a dry run: it would be.
    Imported,
    /// It is in the store instead of what was there; after a dry run: it would be.
    Replaced,
    /// The same source was imported before. Nothing was done.
    AlreadyImported,
    /// It was left out; the findings say why.
    Skipped,
}

/// What an import did with one runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuntimeImport {
    /// The runtime.
    pub runtime_id: RuntimeId,
    /// What became of it.
    pub outcome: ImportOutcome,
    /// Workers that are whole.
    pub workers: u64,
    /// Events that are whole.
    pub events: u64,
    /// Transcript entries that are whole.
    pub transcript_entries: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportReport {
    /// Every runtime of the directory that was asked for, in the order of their ids' bytes.
    pub runtimes: Vec<RuntimeImport>,
    /// What was noticed.
    pub findings: Vec<Finding>,
}

impl ImportReport {
    /// How many runtimes came to `outcome`.
    pub fn count(&self, outcome: ImportOutcome) -> usize {
        let matches = |runtime: &&RuntimeImport| runtime.outcome == outcome;
        self.runtimes.iter().filter(matches).count()
    }

    /// Whether something was not as it should be: left out, missing or raised. A strict import
    /// refuses a directory with any of that.
    pub fn has_losses(&self) -> bool {
        let is_loss = |finding: &Finding| !finding.kind.is_accepted();
        self.findings.iter().any(is_loss)
    }
}

/// What an export did with one runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExportOutcome {
    /// The directory is new.
    Written,
    /// The directory took the place of one that was there.
    Replaced,
    /// What is new was added to the directory.
    Updated,
}

/// What an export did with one runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuntimeExport {
    /// The runtime.
    pub runtime_id: RuntimeId,
    /// Its directory.
    pub path: PathBuf,
    /// What became of it.
    pub outcome: ExportOutcome,
    /// Workers that were written, or written again.
    pub workers: u64,
    /// Events that were written.
    pub events: u64,
    /// Transcript entries that were written.
    pub transcript_entries: u64,
    /// Bytes that were written.
    pub bytes: u64,
}

/// What an export did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// Every runtime that was exported.
    pub runtimes: Vec<RuntimeExport>,
}

/// One thing that a directory and a store do not agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The file or directory.
    pub path: PathBuf,
    /// The line, from 1, where it is about a line.
    pub line: Option<u64>,
    /// What differs, in words.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What a directory and a store agree on, and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// Runtimes that are on both sides.
    pub runtimes: u64,
    /// Workers that are the same on both sides.
    pub workers: u64,
    /// Events that are the same on both sides.
    pub events: u64,
    /// Transcript entries that are the same on both sides.
    pub transcript_entries: u64,
    /// The first differences.
    pub differences: Vec<Difference>,
    /// How many differences there are.
    pub total_differences: u64,
    /// What else was noticed in the directory, and is no difference.
    pub findings: Vec<Finding>,
}

impl Comparison {
    /// Whether directory and store say the same.
    pub fn is_same(&self) -> bool {
        self.total_differences == 0
    }
}
