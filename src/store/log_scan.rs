//! Scans of one log that keep their place between calls, whichever engine has the rows.

#[cfg(feature = "postgres")]
use crate::engine::postgres::rows::scan as postgres;
use crate::engine::redb::tables::scan;
use crate::error::RuntimeError;
use crate::fs::process::Process;
use crate::ledger::stored::envelope::Verified;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::store::snapshot_view::SnapshotView;
use std::ops::Range;

/// A scan of the event log of a runtime.
// One exists at a time: its size does not matter, and a box would cost an allocation for each log.
#[allow(clippy::large_enum_variant)]
pub(crate) enum EventScan {
    Redb(scan::EventScan),
    #[cfg(feature = "postgres")]
    Postgres(postgres::EventScan),
}

/// A scan of the transcript of a worker.
// As above.
#[allow(clippy::large_enum_variant)]
pub(crate) enum TranscriptScan {
    Redb(scan::TranscriptScan),
    #[cfg(feature = "postgres")]
    Postgres(postgres::TranscriptScan),
}

impl EventScan {
    /// Begins behind the id `after`, in the direction of the scan.
    pub(crate) fn begin(
        view: &SnapshotView<'_>,
        id: &RuntimeId,
        after: Option<u64>,
        scan: (bool, Process),
    ) -> Result<Self, RuntimeError> {
        match view {
            SnapshotView::Redb(view) => Ok(Self::Redb(view.scan_events(id, after, scan)?)),
            #[cfg(feature = "postgres")]
            SnapshotView::Postgres(_) => {
                let scan = postgres::EventScan::of_events(id, after, scan.0);
                Ok(Self::Postgres(scan))
            }
        }
    }

    /// The first result of `each`, from here on.
    pub(crate) fn find<O>(
        &mut self,
        view: &SnapshotView<'_>,
        each: impl FnMut(u64, Verified<'_>) -> Result<Option<O>, String>,
    ) -> Result<Option<O>, RuntimeError> {
        match (self, view) {
            (Self::Redb(scan), SnapshotView::Redb(view)) => scan.find(view.at, each),
            #[cfg(feature = "postgres")]
            (Self::Postgres(scan), SnapshotView::Postgres(view)) => scan.find(view, each),
            // A search reads one snapshot.
            #[cfg(feature = "postgres")]
            _ => Ok(None),
        }
    }
}

impl TranscriptScan {
    /// Begins at the first of `positions`, or at the last one. A missing position is an error.
    pub(crate) fn begin(
        view: &SnapshotView<'_>,
        worker: &WorkerRef,
        positions: Range<u64>,
        scan: (bool, Process),
    ) -> Result<Self, RuntimeError> {
        match view {
            SnapshotView::Redb(view) => {
                let scan = view.scan_transcript(worker, positions, scan)?;
                Ok(Self::Redb(scan))
            }
            #[cfg(feature = "postgres")]
            SnapshotView::Postgres(_) => {
                let scan = postgres::TranscriptScan::of_transcript(worker, positions, scan.0);
                Ok(Self::Postgres(scan))
            }
        }
    }

    /// The first result of `each`, from here on.
    pub(crate) fn find<O>(
        &mut self,
        view: &SnapshotView<'_>,
        each: impl FnMut(u64, Verified<'_>) -> Result<Option<O>, String>,
    ) -> Result<Option<O>, RuntimeError> {
        match (self, view) {
            (Self::Redb(scan), SnapshotView::Redb(view)) => scan.find(view.at, each),
            #[cfg(feature = "postgres")]
            (Self::Postgres(scan), SnapshotView::Postgres(view)) => scan.find(view, each),
            // A search reads one snapshot.
            #[cfg(feature = "postgres")]
            _ => Ok(None),
        }
    }
}
