//! The options of a verification.

use crate::engine::redb::maintenance::progress::{OnPart, OnProgress, RowProgress};

/// What a verification looks at, and how many findings it keeps.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    pub(crate) pages: bool,
    pub(crate) max_findings: usize,
    pub(crate) on_progress: OnProgress,
    pub(crate) on_page_progress: OnPart,
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
