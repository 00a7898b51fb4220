//! Reports of imports, exports and comparisons.

use crate::layout::findings::finding::Finding;
use crate::model::identity::{RuntimeId, WorkerId};
use crate::model::layout_form::LayoutForm;
use crate::model::visible::Visible;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Whether a number of files is left out of the JSON of a report.
pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Progress of an import or an export, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes read or written so far.
    pub bytes_done: u64,
    /// Bytes in total: a lower bound where files grow meanwhile, 0 where the total is unknown.
    pub bytes_total: u64,
}

/// The outcome of an import for one runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ImportOutcome {
    /// The runtime was imported. After a dry run: it would have been.
    Imported,
    /// The runtime replaced the one that the store had. After a dry run: it would have.
    Replaced,
    /// The store has the same runtime already. Nothing was written.
    AlreadyImported,
    /// The runtime was left out; the findings give the reason.
    Skipped,
}

/// What an import read of one runtime, and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuntimeImport {
    /// The runtime.
    pub runtime_id: RuntimeId,
    /// Its outcome.
    pub outcome: ImportOutcome,
    /// Intact workers.
    pub workers: u64,
    /// Intact events.
    pub events: u64,
    /// Intact transcript entries.
    pub transcript_entries: u64,
    /// Files and empty directories that are not part of the layout, which the store has as they are.
    #[serde(skip_serializing_if = "is_zero")]
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The newest form of its documents and logs.
    #[serde(skip_serializing_if = "is_form_a")]
    pub form: LayoutForm,
}

/// JSON for programs that know form a only stays as it is.
fn is_form_a(form: &LayoutForm) -> bool {
    *form == LayoutForm::A
}

/// The report of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportReport {
    /// Every requested runtime of the directory, sorted by the bytes of its id.
    pub runtimes: Vec<RuntimeImport>,
    /// Files and empty directories of no runtime that were stored. After a dry run: that would have been.
    #[serde(skip_serializing_if = "is_zero")]
    pub files: u64,
    /// The findings about the directory.
    pub findings: Vec<Finding>,
}

impl ImportReport {
    /// The number of runtimes with this outcome.
    pub fn count(&self, outcome: ImportOutcome) -> usize {
        let matches = |runtime: &&RuntimeImport| runtime.outcome == outcome;
        self.runtimes.iter().filter(matches).count()
    }

    /// Whether the directory has damage: a record was left out, a file was missing or a counter was
    /// raised. A strict import refuses such a directory.
    pub fn has_losses(&self) -> bool {
        let is_loss = |finding: &Finding| !finding.kind.is_accepted();
        self.findings.iter().any(is_loss)
    }
}

/// The outcome of an export for one runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExportOutcome {
    /// A new directory was written.
    Written,
    /// A new directory replaced the one that existed.
    Replaced,
    /// New records were added to the directory.
    Updated,
}

/// What an export wrote of one runtime, and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuntimeExport {
    /// The runtime.
    pub runtime_id: RuntimeId,
    /// Its directory.
    pub path: PathBuf,
    /// Its outcome.
    pub outcome: ExportOutcome,
    /// Workers whose `worker.json` was written.
    pub workers: u64,
    /// Events written.
    pub events: u64,
    /// Transcript entries written.
    pub transcript_entries: u64,
    /// Files and empty directories written that are not part of the layout.
    #[serde(skip_serializing_if = "is_zero")]
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
    /// The form of the layout in which it was written.
    #[serde(skip_serializing_if = "is_form_a")]
    pub form: LayoutForm,
    /// Logs that the directory did not have which the runtime was imported from: operations have added their rows.
    #[serde(skip_serializing_if = "is_zero")]
    pub new_logs: u64,
    /// Events and entries with a kind or a role that the readers of the form do not know. They are written as they are.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_in_form: u64,
    /// Members, ids and files that form a has no place for, after an export
    /// [in that form](crate::layout::ExportOptions::form_a).
    #[serde(skip_serializing_if = "FormALosses::is_empty")]
    pub losses: FormALosses,
    /// Entries that the store has redacted since: an update has written their lines anew.
    #[serde(skip_serializing_if = "is_zero")]
    pub redacted_entries: u64,
    /// Workers that the store has deleted, whose directories an update has removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed_workers: Vec<WorkerId>,
    /// Logs whose incomplete last lines an update has removed, because the store has pruned their records.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cut_off: Vec<PathBuf>,
}

/// Losses of an export in form a: the members, ids and files of a later form that form a has no place for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FormALosses {
    /// The members that documents of the imported directory lack, as JSON Pointers (RFC 6901), with the number of these
    /// documents. They are written with the default of the model, or the value that the import derived.
    pub absent: BTreeMap<String, u64>,
    /// Workers whose ids are numbers. They are written as strings.
    pub number_ids: u64,
    /// Files that are not part of the layout. They are left out.
    pub files: u64,
}

impl FormALosses {
    /// Whether nothing is lost.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl RuntimeExport {
    /// The report of an export that wrote nothing yet.
    pub(crate) fn new(runtime_id: RuntimeId, path: PathBuf, outcome: ExportOutcome) -> Self {
        Self {
            runtime_id,
            path,
            outcome,
            workers: 0,
            events: 0,
            transcript_entries: 0,
            files: 0,
            bytes: 0,
            form: LayoutForm::A,
            new_logs: 0,
            not_in_form: 0,
            losses: FormALosses::default(),
            removed_workers: Vec::new(),
            redacted_entries: 0,
            cut_off: Vec::new(),
        }
    }
}

/// The report of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// Every exported runtime, sorted by its id.
    pub runtimes: Vec<RuntimeExport>,
    /// After an update of all runtimes: the directories of runtimes that the store does not have, such as deleted ones. The
    /// update has left them as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_in_store: Vec<PathBuf>,
    /// Files written that belong to no runtime.
    #[serde(skip_serializing_if = "is_zero")]
    pub files: u64,
}

/// The kind of what differs between two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DifferenceKind {
    /// A runtime that one side lacks, or its own members: name, status, limits, counters, the floor of its event log; in a
    /// directory its diagnostics, too.
    Runtime,
    /// A worker that one side lacks, or its own members: request, status, attributes, counters, floor, pin.
    Worker,
    /// An event.
    Event,
    /// A transcript entry.
    TranscriptEntry,
    /// A diagnostic of two stores.
    Diagnostic,
    /// A file that is not part of the layout.
    File,
    /// What is known of a worker that was deleted, or that retention removed.
    RemovedWorker,
    /// A part of a directory that cannot be read.
    Damage,
}

/// The surroundings of the first character in which two long values differ.
///
/// The left side is the directory, or the first one of two stores; the right side is the store, or the second one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DifferenceWindow {
    /// The offset of the first character that differs, in bytes: in the JSON text of the value without the white space
    /// between its parts, or in the file.
    pub offset: u64,
    /// Up to 24 characters before the offset and 48 after it on the left side, with an ellipsis where text is cut off.
    /// What is no UTF-8 is replaced by U+FFFD.
    pub left: String,
    /// The same on the right side.
    pub right: String,
}

/// One difference between a directory and a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The file or directory.
    pub path: PathBuf,
    /// The line, from 1; `None` where the difference is not about one line.
    pub line: Option<u64>,
    /// The difference in words, with both values where they are short.
    pub what: String,
    /// Where long values differ; `None` for short ones, and for something that one side lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<DifferenceWindow>,
}

impl Difference {
    /// The difference on one line, without its window.
    pub fn headline(&self) -> impl fmt::Display + '_ {
        Headline(self)
    }
}

struct Headline<'d>(&'d Difference);

impl fmt::Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference {
            path, line, what, ..
        } = self.0;
        write!(f, "{}", Visible(path.display()))?;
        if let Some(line) = line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", Visible(what))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline().fmt(f)?;
        match &self.window {
            None => Ok(()),
            Some(window) => {
                let (left, right) = (Visible(&window.left), Visible(&window.right));
                write!(f, ": {left} in the directory and {right} in the store")
            }
        }
    }
}

/// The report of a comparison between a directory and a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// Runtimes that are on both sides.
    pub runtimes: u64,
    /// Runtimes of which nothing differs.
    pub same_runtimes: u64,
    /// Workers that are the same on both sides.
    pub workers: u64,
    /// Events that are the same on both sides.
    pub events: u64,
    /// Transcript entries that are the same on both sides.
    pub transcript_entries: u64,
    /// Files and empty directories that are not part of the layout, and that are the same on both sides.
    #[serde(skip_serializing_if = "is_zero")]
    pub files: u64,
    /// The first 100 differences.
    pub differences: Vec<Difference>,
    /// The number of all differences.
    pub total_differences: u64,
    /// The number of differences of each kind that has any.
    pub differing: BTreeMap<DifferenceKind, u64>,
    /// Files that only the directory has, because the import left them out: on request, or because earlier versions
    /// left out every file that is not part of the layout. No difference.
    #[serde(skip_serializing_if = "is_zero")]
    pub files_left_out: u64,
    /// Equal events and entries whose time only the store has, as after an export without times. No difference.
    pub times_only_in_store: u64,
    /// Equal events and entries whose time only the directory has. No difference.
    pub times_only_in_directory: u64,
    /// Events, entries and workers that only the directory has, because the store has pruned them: an archive. No difference.
    pub pruned_only_in_directory: u64,
    /// Equal events, entries and documents whose bytes are not those that an export would write. No difference.
    #[serde(skip_serializing_if = "is_zero")]
    pub only_bytes: u64,
    /// Findings about the directory that are no differences.
    pub findings: Vec<Finding>,
}

impl Comparison {
    /// Whether directory and store have the same content.
    pub fn is_same(&self) -> bool {
        self.total_differences == 0
    }
}
