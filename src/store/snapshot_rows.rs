//! Reads of rows that a directory and the public types do not have as records of their own.

use crate::error::RuntimeError;
use crate::ledger::checks::refuse_long_id;
use crate::ledger::convert;
use crate::ledger::rows::{DiagnosticRow, PAGE_ROWS};
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::model::identity::RuntimeId;
use crate::model::persisted::{PersistedRuntimeSnapshot, Stored};
use crate::store::snapshot::{Paged, Snapshot};

impl Snapshot {
    /// The row of a runtime without its diagnostics; `None` for an unknown runtime.
    pub(crate) fn runtime_alone(
        &self,
        id: &RuntimeId,
    ) -> Result<Option<Stored<PersistedRuntimeSnapshot>>, RuntimeError> {
        refuse_long_id(id.as_str())?;
        let row = self.view().runtime(id.as_str())?;
        Ok(row.map(|row| convert::runtime_snapshot(id.clone(), row, Vec::new())))
    }

    /// The diagnostics of a runtime, by id.
    pub(crate) fn diagnostic_rows(
        &self,
        id: &RuntimeId,
    ) -> impl Iterator<Item = Result<(u64, DiagnosticRow), RuntimeError>> + use<'_> {
        let id = id.clone();
        Paged::new(move |last: Option<&u64>| {
            let from = last.map_or(Some(0), |last| last.checked_add(1));
            let Some(from) = from else {
                return Ok(Vec::new());
            };
            let page = self.view().diagnostics(id.as_str(), from, PAGE_ROWS)?;
            Ok(page.into_iter().map(|(id, row)| (id, (id, row))).collect())
        })
    }

    /// The workers of a runtime that the store had, with their tombstones, by id.
    pub(crate) fn tombstones(
        &self,
        id: &RuntimeId,
    ) -> impl Iterator<Item = Result<(String, TombstoneRow), RuntimeError>> + use<'_> {
        let id = id.clone();
        Paged::new(move |last: Option<&String>| {
            let last = last.map(String::as_str);
            let page = self.view().tombstones(id.as_str(), last, PAGE_ROWS)?;
            let keyed = page.into_iter();
            Ok(keyed
                .map(|(worker, row)| (worker.clone(), (worker, row)))
                .collect())
        })
    }
}
