//! The report of a comparison of two stores.

use crate::layout::report::{DifferenceKind, DifferenceWindow, is_zero};
use crate::model::identity::{RuntimeId, WorkerId};
use crate::model::visible::Visible;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// One difference between two stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreDifference {
    /// The kind of the record.
    pub kind: DifferenceKind,
    /// The runtime; `None` for a file that belongs to no runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_id: Option<RuntimeId>,
    /// The worker; `None` for a record of none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// The id of an event or a diagnostic, or the sequence of an entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// The path of a file, below the directory of its worker or its runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The difference in words, with both values where they are short.
    pub what: String,
    /// Where long values differ; `None` for short ones, and for something that one side lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<DifferenceWindow>,
}

impl StoreDifference {
    /// The difference on one line, without its window.
    pub fn headline(&self) -> impl fmt::Display + '_ {
        Headline(self)
    }

    /// The name of [`number`](Self::number).
    fn numbered(&self) -> &'static str {
        match self.kind {
            DifferenceKind::Event => "event",
            DifferenceKind::Diagnostic => "diagnostic",
            _ => "entry",
        }
    }
}

struct Headline<'d>(&'d StoreDifference);

impl fmt::Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(difference) = self;
        let mut parts = Vec::new();
        if let Some(id) = &difference.runtime_id {
            parts.push(format!("runtime {}", Visible(id)));
        }
        if let Some(id) = &difference.worker_id {
            parts.push(format!("worker {}", Visible(id)));
        }
        if let Some(number) = difference.number {
            parts.push(format!("{} {number}", difference.numbered()));
        }
        if let Some(path) = &difference.path {
            parts.push(format!("file {}", Visible(path.display())));
        }
        write!(f, "{}: {}", parts.join(", "), Visible(&difference.what))
    }
}

impl fmt::Display for StoreDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline().fmt(f)?;
        match &self.window {
            None => Ok(()),
            Some(window) => {
                let (left, right) = (Visible(&window.left), Visible(&window.right));
                write!(f, ": {left} in the first store and {right} in the second")
            }
        }
    }
}

/// The report of a comparison of two stores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreComparison {
    /// Runtimes that both stores have.
    pub runtimes: u64,
    /// Runtimes of which nothing differs.
    pub same_runtimes: u64,
    /// Workers that are the same in both stores.
    pub workers: u64,
    /// Events that are the same in both stores.
    pub events: u64,
    /// Transcript entries that are the same in both stores.
    pub transcript_entries: u64,
    /// Diagnostics that are the same in both stores.
    pub diagnostics: u64,
    /// Files and empty directories that are not part of the layout, and that are the same in both stores.
    #[serde(skip_serializing_if = "is_zero")]
    pub files: u64,
    /// The first 100 differences.
    pub differences: Vec<StoreDifference>,
    /// The number of all differences.
    pub total_differences: u64,
    /// The number of differences of each kind that has any.
    pub differing: BTreeMap<DifferenceKind, u64>,
    /// Equal events, entries and diagnostics whose time only the first store has. No difference.
    pub times_only_in_first: u64,
    /// Equal events, entries and diagnostics whose time only the second store has. No difference.
    pub times_only_in_second: u64,
    /// Events and entries that only the first store has, because the second one has pruned them. The floors of their logs
    /// are the difference.
    pub pruned_only_in_first: u64,
    /// Events and entries that only the second store has, because the first one has pruned them.
    pub pruned_only_in_second: u64,
    /// Equal events, entries, runtimes and workers that exports would write with other bytes. No difference.
    #[serde(skip_serializing_if = "is_zero")]
    pub only_bytes: u64,
    /// Import records that differ, or that one store lacks: where the runtimes came from, and what was left out then. No
    /// difference.
    #[serde(skip_serializing_if = "is_zero")]
    pub import_records: u64,
}

impl StoreComparison {
    /// Whether both stores have the same content.
    pub fn is_same(&self) -> bool {
        self.total_differences == 0
    }
}
