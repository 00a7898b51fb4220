//! Verifying a store: redb's own check, every value's checksum, and the rules across tables.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::redb_engine::OpenStore;
use crate::engine::redb::file::page_walk::{DamagedPage, DamagedPages};
use crate::engine::redb::maintenance::page_check::{self, PageCheck};
use crate::engine::redb::maintenance::progress::{OnPart, OnProgress, RowProgress};
use crate::engine::redb::maintenance::verify::damage::Damage;
use crate::engine::redb::maintenance::verify::rules::Rules;
use crate::engine::redb::tables::view::View;
use crate::error::RuntimeError;
use crate::severity::Severity;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// What a verification looks at, and how many findings it keeps.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    pages: bool,
    max_findings: usize,
    on_progress: OnProgress,
    on_page_progress: OnPart,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            pages: true,
            max_findings: 1000,
            on_progress: OnProgress::default(),
            on_page_progress: OnPart::default(),
        }
    }
}

impl VerifyOptions {
    /// Everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether redb checks every page of the file: it reads the file up to three times, and writers
    /// of this process wait meanwhile. `true` by default.
    #[must_use]
    pub fn pages(mut self, pages: bool) -> Self {
        self.pages = pages;
        self
    }

    /// How many findings are kept; all are counted. 1000 by default.
    #[must_use]
    pub fn max_findings(mut self, max_findings: usize) -> Self {
        self.max_findings = max_findings;
        self
    }

    /// Told now and then how far the check of the pages is, from 0 to 1. It comes before the rows, and
    /// can begin anew where another process commits meanwhile.
    #[must_use]
    pub fn on_page_progress(mut self, on_part: impl Fn(f64) + Send + Sync + 'static) -> Self {
        self.on_page_progress = OnPart::new(on_part);
        self
    }

    /// Told now and then how many rows are done, from the thread that verifies.
    #[must_use]
    pub fn on_progress(
        mut self,
        on_progress: impl Fn(RowProgress) + Send + Sync + 'static,
    ) -> Self {
        self.on_progress = OnProgress::new(on_progress);
        self
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerifyKind {
    /// redb's own check found damaged pages.
    Pages,
    /// The file's record of its free pages is not right. redb can put it right: open the store with
    /// [`verify_on_open`](super::StoreOptions::verify_on_open).
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
    fn new(options: &VerifyOptions) -> Self {
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

    fn add_pages(&mut self, checked: &PageCheck) {
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

/// Verifies the store; see [`Store::verify_with`](crate::Store::verify_with).
pub(crate) fn verify(
    store: &OpenStore,
    options: &VerifyOptions,
) -> Result<VerifyReport, RuntimeError> {
    let engine = store.engine();
    let at = engine.at("verify");
    let mut findings = Findings::new(options);
    let damage = match options.pages {
        true => verify_pages(store, at, &mut findings, &options.on_page_progress)?,
        false => None,
    };
    let transaction = at.guard(|| engine.begin_read(at))?;
    let view = View {
        tables: &transaction,
        at,
    };
    // A length that cannot be read comes up again where the rows are counted.
    let total = view.total_rows().unwrap_or(0);
    let meter = options.on_progress.meter(total);
    Rules::new(view, &mut findings, meter, engine, damage).check()?;
    Ok(findings.report)
}

/// Verifies a file; see [`Store::verify_file`](crate::Store::verify_file).
pub(crate) fn verify_file(
    path: &Path,
    options: &VerifyOptions,
) -> Result<VerifyReport, RuntimeError> {
    let at = RedbContext::new("verify", path);
    let metadata = std::fs::metadata(at.path).map_err(|error| at.io(error))?;
    if metadata.len() == 0 {
        return Err(at.not_a_store("it is an empty file"));
    }
    let mut findings = Findings::new(options);
    let checked = page_check::check_shared(at.path, at, &options.on_page_progress)?;
    findings.report.pages_checked = checked != PageCheck::Busy;
    findings.add_pages(&checked);
    let message = "the rows were not checked: the store does not open";
    findings.add(VerifyKind::RowsNotChecked, (None, None), message);
    Ok(findings.report)
}

/// Checks the pages. Returns where rows cannot be read, if that came up.
fn verify_pages(
    store: &OpenStore,
    at: RedbContext<'_>,
    findings: &mut Findings,
    on_part: &OnPart,
) -> Result<Option<Damage>, RuntimeError> {
    let path = match store.engine().file_path() {
        Ok(path) => path,
        Err(reason) => {
            let message = format!("the pages were not checked: {reason}");
            findings.add(VerifyKind::PagesNotChecked, (None, None), message);
            return Ok(None);
        }
    };
    let checked = check_pages(store, &path, at, on_part)?;
    findings.report.pages_checked = checked != PageCheck::Busy;
    findings.add_pages(&checked);
    Ok(match checked {
        PageCheck::Damaged(found) => Some(Damage::new(found)),
        _ => None,
    })
}

/// redb's own check of the store's file, which is at `path`.
fn check_pages(
    store: &OpenStore,
    path: &Path,
    at: RedbContext<'_>,
    on_part: &OnPart,
) -> Result<PageCheck, RuntimeError> {
    if !store.engine().is_writer()? {
        return page_check::check_shared(path, at, on_part);
    }
    let _turn = store.take_turn(at.operation())?;
    // Keeps the other processes out where several may write; never committed.
    let transaction = at.guard(|| store.engine().begin_write(at))?;
    let checked = page_check::check(path, at, on_part);
    at.guard(|| transaction.abort().map_err(|error| at.redb(error)))?;
    checked
}

/// Refuses a store with damaged pages, as an open that verifies them does.
pub(crate) fn refuse_damaged_pages(
    store: &OpenStore,
    at: RedbContext<'_>,
) -> Result<(), RuntimeError> {
    let Ok(path) = store.engine().file_path() else {
        return Ok(());
    };
    match check_pages(store, &path, at, &OnPart::default())? {
        PageCheck::Damaged(found) => {
            let pages = found.pages.iter().map(DamagedPage::in_words);
            Err(at.corrupt(pages.collect::<Vec<_>>().join("; ")))
        }
        PageCheck::Refused(message) => Err(at.corrupt(message)),
        PageCheck::Whole | PageCheck::WrongFreePages | PageCheck::Busy => Ok(()),
    }
}
