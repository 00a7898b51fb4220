//! The committed rows of a snapshot, whichever engine has them.

#[cfg(feature = "postgres")]
use crate::engine::postgres::rows::reader::Reader;
#[cfg(feature = "postgres")]
use crate::engine::postgres::snapshot::PgSnapshot;
use crate::engine::redb::context::RedbContext;
use crate::engine::redb::file::checked_pages::BadPages;
use crate::engine::redb::tables::view::View;
use crate::error::Place;
use crate::fs::process::{Owned, Process};
use crate::ledger::context::OpContext;
use crate::ledger::snapshot_rows::SnapshotRows;
use redb::ReadTransaction;
use std::ops::Deref;
use std::sync::Arc;

/// What a snapshot holds of its engine.
pub(crate) enum HeldSnapshot {
    Redb(Owned<ReadTransaction>, Arc<BadPages>),
    #[cfg(feature = "postgres")]
    Postgres(Box<PgSnapshot>),
}

/// The rows of a snapshot. It dereferences to the reads that all engines have.
pub(crate) enum SnapshotView<'a> {
    Redb(View<'a, ReadTransaction>),
    #[cfg(feature = "postgres")]
    Postgres(Reader<'a>),
}

impl HeldSnapshot {
    /// The rows, for the operation `operation`.
    pub(crate) fn view<'a>(
        &'a self,
        operation: &'static str,
        (place, process): (&'a Place, Process),
    ) -> SnapshotView<'a> {
        match self {
            Self::Redb(tables, bad_pages) => SnapshotView::Redb(View {
                tables,
                at: RedbContext::of(OpContext::new(operation, place))
                    .noting(bad_pages)
                    .of_process(process),
            }),
            #[cfg(feature = "postgres")]
            Self::Postgres(snapshot) => SnapshotView::Postgres(Reader {
                source: &**snapshot,
                at: OpContext::new(operation, place),
            }),
        }
    }
}

impl<'a> Deref for SnapshotView<'a> {
    type Target = dyn SnapshotRows + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Redb(view) => view,
            #[cfg(feature = "postgres")]
            Self::Postgres(view) => view,
        }
    }
}
