//! Progress of maintenance.

use std::fmt;
use std::sync::Arc;

/// How far a long piece of work on a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowProgress {
    /// Rows that are done.
    pub done: u64,
    /// Rows that there are.
    pub total: u64,
}

/// How many rows lie between two reports.
const STRIDE: u64 = 4096;

/// Told about progress, from the thread that works.
#[derive(Clone, Default)]
pub(crate) struct OnProgress(Option<Arc<dyn Fn(RowProgress) + Send + Sync>>);

impl OnProgress {
    pub(crate) fn new(on_progress: impl Fn(RowProgress) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(on_progress)))
    }

    /// Counts `total` rows.
    pub(crate) fn meter(&self, total: u64) -> Meter {
        let meter = Meter {
            on_progress: self.clone(),
            progress: RowProgress { done: 0, total },
        };
        meter.tell();
        meter
    }
}

impl fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnProgress")
            .field(&self.0.is_some())
            .finish()
    }
}

/// Told about the part that is done, from 0 to 1, from the thread that works.
#[derive(Clone, Default)]
pub(crate) struct OnPart(Option<Arc<dyn Fn(f64) + Send + Sync>>);

impl OnPart {
    pub(crate) fn new(on_part: impl Fn(f64) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(on_part)))
    }

    pub(crate) fn tell(&self, part: f64) {
        if let Some(on_part) = &self.0 {
            on_part(part);
        }
    }
}

impl fmt::Debug for OnPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnPart").field(&self.0.is_some()).finish()
    }
}

/// Counts rows, and tells about it now and then.
#[derive(Debug)]
pub(crate) struct Meter {
    on_progress: OnProgress,
    progress: RowProgress,
}

impl Meter {
    /// One row is done.
    pub(crate) fn step(&mut self) {
        self.progress.done += 1;
        if self.progress.done.is_multiple_of(STRIDE) {
            self.tell();
        }
    }

    /// How many rows were done.
    pub(crate) fn done(&self) -> u64 {
        self.progress.done
    }

    fn tell(&self) {
        if let Some(on_progress) = &self.on_progress.0 {
            on_progress(self.progress);
        }
    }
}
