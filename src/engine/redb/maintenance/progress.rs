//! Progress of maintenance: callbacks and counting.

use std::fmt;
use std::sync::Arc;

/// The progress of a long operation on a store, in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowProgress {
    /// The number of rows that are done.
    pub done: u64,
    /// The number of all rows.
    pub total: u64,
}

/// The number of rows between two reports.
const STRIDE: u64 = 4096;

/// A callback for progress in rows, called on the thread that works.
#[derive(Clone, Default)]
pub(crate) struct OnProgress(Option<Arc<dyn Fn(RowProgress) + Send + Sync>>);

impl OnProgress {
    pub(crate) fn new(on_progress: impl Fn(RowProgress) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(on_progress)))
    }

    /// A meter for `total` rows. It reports 0 at once.
    pub(crate) fn meter(&self, total: u64) -> Meter {
        let meter = Meter {
            on_progress: self.clone(),
            progress: RowProgress { done: 0, total },
        };
        meter.report();
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

/// A callback for progress from 0 to 1, called on the thread that works.
#[derive(Clone, Default)]
pub(crate) struct OnPart(Option<Arc<dyn Fn(f64) + Send + Sync>>);

impl OnPart {
    pub(crate) fn new(on_part: impl Fn(f64) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(on_part)))
    }

    /// Reports that the given part is done.
    pub(crate) fn report(&self, part: f64) {
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

/// Counts rows, and reports the count at intervals.
#[derive(Debug)]
pub(crate) struct Meter {
    on_progress: OnProgress,
    progress: RowProgress,
}

impl Meter {
    /// Counts one row.
    pub(crate) fn step(&mut self) {
        self.progress.done += 1;
        if self.progress.done.is_multiple_of(STRIDE) {
            self.report();
        }
    }

    /// The number of rows that were counted.
    pub(crate) fn done(&self) -> u64 {
        self.progress.done
    }

    fn report(&self) {
        if let Some(on_progress) = &self.on_progress.0 {
            on_progress(self.progress);
        }
    }
}
