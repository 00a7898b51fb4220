//! The options of a verification.

use crate::engine::redb::maintenance::progress::{OnPart, OnProgress, RowProgress};

/// The options of a verification: its scope, and how many findings it lists.
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
    /// Options that verify everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether every page of the file is checked. The check reads the file three times, and more
    /// often if it is damaged; writers of this process wait for it. `true` by default.
    #[must_use]
    pub fn pages(mut self, pages: bool) -> Self {
        self.pages = pages;
        self
    }

    /// Sets how many findings are listed; all are counted. 1000 by default.
    #[must_use]
    pub fn max_findings(mut self, max_findings: usize) -> Self {
        self.max_findings = max_findings;
        self
    }

    /// Sets a callback for the progress of the page check, from 0 to 1, called on the thread that
    /// verifies. The check begins before the rows are read, continues while they are read, and starts
    /// again if another process commits meanwhile.
    ///
    /// Writers wait for the check if the store is open for writing. So the callback must not change a
    /// store or wait for one; such a call fails with
    /// [`InvalidRequest`](crate::RuntimeError::InvalidRequest). See
    /// [closures and callbacks](crate::guide::transactions#closures-and-callbacks).
    #[must_use]
    pub fn on_page_progress(mut self, on_part: impl Fn(f64) + Send + Sync + 'static) -> Self {
        self.on_page_progress = OnPart::new(on_part);
        self
    }

    /// Sets a callback for the number of rows that are done, called every few thousand rows on the
    /// thread that verifies.
    #[must_use]
    pub fn on_progress(
        mut self,
        on_progress: impl Fn(RowProgress) + Send + Sync + 'static,
    ) -> Self {
        self.on_progress = OnProgress::new(on_progress);
        self
    }
}
