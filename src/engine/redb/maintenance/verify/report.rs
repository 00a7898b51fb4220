//! The report of a verification: its findings, and how many are kept.

use crate::engine::redb::file::page_walk::DamagedPages;
use crate::engine::redb::maintenance::page_check::PageCheck;
use crate::engine::redb::maintenance::verify::options::VerifyOptions;
use crate::model::severity::Severity;
use serde::Serialize;
use std::fmt;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerifyKind {
    /// redb's own check found damaged pages.
    Pages,
    /// The file's record of its free pages is not right. redb can put it right: open the store with
    /// [`verify_on_open`](crate::store::StoreOptions::verify_on_open).
    FreePages,
    /// redb's own check could not be made.
    PagesNotChecked,
    /// A part of a table that cannot be read.
    Unreadable,
    /// A value whose checksum is wrong, or that makes no sense.
    Value,
    /// Keys that do not increase.
    Order,
    /// A count that is not the number of what it counts.
    Count,
    /// A counter that would give out a number again.
    Counter,
    /// A hole in the positions of a transcript.
    Position,
    /// Sequences of a transcript that do not increase.
    Sequence,
    /// Rows of a runtime or a worker that is not there.
    Orphan,
    /// The store's own facts are missing.
    Meta,
    /// A running worker in a stopped runtime.
    Status,
    /// A worker's last event was never given out.
    LastEvent,
    /// Events or diagnostics name a worker that is not there.
    UnknownWorker,
    /// Entries name an event that the log does not have.
    UnknownEvent,
    /// Ids that were given out and that the log does not have.
    Gap,
    /// The store does not open, so its rows were not checked.
    RowsNotChecked,
}

impl VerifyKind {
    /// How much it matters.
    pub fn severity(self) -> Severity {
        match self {
            Self::Gap | Self::UnknownEvent | Self::PagesNotChecked => Severity::Info,
            Self::UnknownWorker | Self::LastEvent | Self::Status | Self::FreePages => {
                Severity::Warning
            }
            _ => Severity::Error,
        }
    }
}

/// Something that a verification brought to light.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyFinding {
    /// What was found.
    pub kind: VerifyKind,
    /// How much it matters.
    pub severity: Severity,
    /// The table that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'static str>,
    /// The key in the table, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What was found, in words.
    pub message: String,
}

/// Table, key and message, in one line.
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

/// What a verification says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Rows that were looked at, of all tables.
    pub rows: u64,
    /// Runtimes.
    pub runtimes: u64,
    /// Workers.
    pub workers: u64,
    /// Events.
    pub events: u64,
    /// Transcript entries.
    pub transcript_entries: u64,
    /// Diagnostics.
    pub diagnostics: u64,
    /// Whether redb checked every page of the file.
    pub pages_checked: bool,
    /// How many findings are errors.
    pub errors: u64,
    /// How many are warnings.
    pub warnings: u64,
    /// How many are only good to know.
    pub infos: u64,
    /// The findings, as many as are kept.
    pub findings: Vec<VerifyFinding>,
}

impl VerifyReport {
    /// Whether no damage was found.
    pub fn is_clean(&self) -> bool {
        self.errors == 0
    }
}

/// Gathers findings.
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

    pub(crate) fn add_pages(&mut self, checked: &PageCheck) {
        let (kind, message) = match checked {
            PageCheck::Whole => return,
            PageCheck::Damaged(found) => return self.add_damaged(found),
            PageCheck::Refused(message) => (VerifyKind::Pages, message.clone()),
            PageCheck::WrongFreePages => (
                VerifyKind::FreePages,
                "the file's record of its free pages is not right".to_owned(),
            ),
            PageCheck::Busy => (
                VerifyKind::PagesNotChecked,
                "the pages were not checked: another process commits all the time".to_owned(),
            ),
        };
        self.add(kind, (None, None), message);
    }

    fn add_damaged(&mut self, found: &DamagedPages) {
        for page in &found.pages {
            let message = match page.table {
                Some(_) => page.in_words(),
                None => format!("{}, which tells where tables are", page.in_words()),
            };
            self.add(VerifyKind::Pages, (page.table, None), message);
        }
        if found.more > 0 {
            let message = format!("{} more pages are damaged", found.more);
            self.add(VerifyKind::Pages, (None, None), message);
        }
    }
}
