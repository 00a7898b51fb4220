//! The report of a verification, with its findings.

use crate::engine::redb::file::page_walk::DamagedPages;
use crate::engine::redb::maintenance::page_check::PageCheck;
use crate::engine::redb::maintenance::verify::options::VerifyOptions;
use crate::model::severity::Severity;
use serde::Serialize;
use std::fmt;

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerifyKind {
    /// Damaged pages, found by the page check.
    Pages,
    /// The saved allocator state of the file is wrong. To rebuild it, open the store with
    /// [`verify_on_open`](crate::store::StoreOptions::verify_on_open).
    FreePages,
    /// The pages could not be checked.
    PagesNotChecked,
    /// A part of a table that cannot be read.
    Unreadable,
    /// A value with a wrong checksum, or that cannot be decoded.
    Value,
    /// Keys that are not in ascending order.
    Order,
    /// A stored count that differs from the number of rows.
    Count,
    /// A counter that would assign a number again.
    Counter,
    /// Rows with a time after the latest time that their runtime stores: rows that follow could get
    /// earlier times.
    Time,
    /// Rows below the floor that retention has set, or a floor after the end of its log.
    Floor,
    /// Attributes that cannot be read or are too large, or open work that names an opening which the store never had.
    Attributes,
    /// A gap in the positions of a transcript.
    Position,
    /// Sequences of a transcript that are not ascending.
    Sequence,
    /// A file with a missing or misplaced chunk, with a chunk of more than 1 MiB, or with a path that is none.
    File,
    /// Rows of a runtime or a worker that does not exist.
    Orphan,
    /// A property of the store is missing or invalid.
    Meta,
    /// A running worker in a stopped runtime.
    Status,
    /// The last event of a worker has an id that was never assigned.
    LastEvent,
    /// Events or diagnostics that name a worker that does not exist.
    UnknownWorker,
    /// Transcript entries that name an event that is not in the log.
    UnknownEvent,
    /// A tombstone that contradicts the other rows: its worker exists.
    Tombstone,
    /// A deletion that was interrupted. Its rows are hidden; the next open for writing removes them.
    UnfinishedDeletion,
    /// Assigned ids that are missing from the log.
    Gap,
    /// The rows were not checked, because the store cannot be opened.
    RowsNotChecked,
    /// A part of the file that the system failed to read. That is no damage of the store, but its pages and
    /// rows were not all checked.
    ReadFailed,
}

impl VerifyKind {
    /// The severity of a finding of this kind.
    pub fn severity(self) -> Severity {
        match self {
            Self::Gap | Self::UnknownEvent | Self::PagesNotChecked | Self::UnfinishedDeletion => {
                Severity::Info
            }
            Self::UnknownWorker | Self::LastEvent | Self::Status | Self::FreePages => {
                Severity::Warning
            }
            _ => Severity::Error,
        }
    }
}

/// A finding of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyFinding {
    /// The kind of the finding.
    pub kind: VerifyKind,
    /// The severity of the finding.
    pub severity: Severity,
    /// The table, if the finding is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'static str>,
    /// The key in the table, for display.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A description of the finding.
    pub message: String,
}

/// Writes the table, the key and the message in one line.
impl fmt::Display for VerifyFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = self.table {
            write!(f, "table {table}")?;
            if let Some(key) = &self.key {
                write!(f, ", key {key}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The number of rows that were read, in all tables.
    pub rows: u64,
    /// The number of runtimes.
    pub runtimes: u64,
    /// The number of workers.
    pub workers: u64,
    /// The number of events.
    pub events: u64,
    /// The number of transcript entries.
    pub transcript_entries: u64,
    /// The number of diagnostics.
    pub diagnostics: u64,
    /// Whether every page of the file was checked.
    pub pages_checked: bool,
    /// The number of findings that are errors.
    pub errors: u64,
    /// The number of findings that are warnings.
    pub warnings: u64,
    /// The number of findings that are for information only.
    pub infos: u64,
    /// The findings, up to the limit of the options.
    pub findings: Vec<VerifyFinding>,
}

impl VerifyReport {
    /// Whether no finding is an error.
    pub fn is_clean(&self) -> bool {
        self.errors == 0
    }
}

/// Collects findings.
pub(crate) struct Findings {
    pub(crate) report: VerifyReport,
    max_findings: usize,
}

impl Findings {
    pub(crate) fn new(options: &VerifyOptions) -> Self {
        Self {
            report: VerifyReport::default(),
            max_findings: options.max_findings,
        }
    }

    /// Counts a finding, and lists it if there is room.
    pub(crate) fn add(
        &mut self,
        kind: VerifyKind,
        (table, key): (Option<&'static str>, Option<String>),
        message: impl Into<String>,
    ) {
        let severity = kind.severity();
        match severity {
            Severity::Error => self.report.errors += 1,
            Severity::Warning => self.report.warnings += 1,
            Severity::Info => self.report.infos += 1,
        }
        if self.report.findings.len() < self.max_findings {
            self.report.findings.push(VerifyFinding {
                kind,
                severity,
                table,
                key,
                message: message.into(),
            });
        }
    }

    /// Adds the findings in the rows, and takes over their counts, after the findings of a page check.
    pub(crate) fn append(&mut self, rows: Self) {
        let pages = std::mem::replace(&mut self.report, rows.report);
        let report = &mut self.report;
        report.pages_checked = pages.pages_checked;
        report.errors += pages.errors;
        report.warnings += pages.warnings;
        report.infos += pages.infos;
        report.findings.splice(..0, pages.findings);
        report.findings.truncate(self.max_findings);
    }

    /// Adds the findings of a page check.
    pub(crate) fn add_pages(&mut self, checked: &PageCheck) {
        let (kind, message) = match checked {
            PageCheck::Whole => return,
            PageCheck::Damaged(found) => return self.add_damaged(found),
            PageCheck::Refused(message) => (VerifyKind::Pages, message.clone()),
            PageCheck::Unread(error) => (
                VerifyKind::ReadFailed,
                format!("the pages were not all checked: {error}"),
            ),
            PageCheck::WrongFreePages => (
                VerifyKind::FreePages,
                "the saved allocator state does not match the pages in use".to_owned(),
            ),
            PageCheck::Busy => (
                VerifyKind::PagesNotChecked,
                "the pages were not checked: another process committed during each attempt"
                    .to_owned(),
            ),
        };
        self.add(kind, (None, None), message);
    }

    fn add_damaged(&mut self, found: &DamagedPages) {
        for page in &found.pages {
            let message = match page.table {
                Some(_) => page.in_words(),
                None => format!(
                    "{}; it belongs to the table list or to redb's own tables",
                    page.in_words()
                ),
            };
            let kind = match page.error {
                Some(_) => VerifyKind::ReadFailed,
                None => VerifyKind::Pages,
            };
            self.add(kind, (page.table, None), message);
        }
        if found.more > 0 {
            let message = format!("{} more pages are damaged", found.more);
            self.add(VerifyKind::Pages, (None, None), message);
        }
    }
}
