//! Reads of import records.

use crate::error::RuntimeError;
use crate::ledger::checks::refuse_long_id;
use crate::ledger::table_names::NO_RUNTIME;
use crate::model::identity::RuntimeId;
use crate::model::persisted::ImportRecord;
use crate::store::snapshot::Snapshot;

impl Snapshot {
    /// The import records, sorted by runtime id: one for each runtime that was imported or left out. The
    /// record of the files that belong to no imported runtime has no id and comes first.
    pub fn import_records(
        &self,
    ) -> impl Iterator<Item = Result<(Option<RuntimeId>, ImportRecord), RuntimeError>> + use<'_>
    {
        let mut last: Option<String> = None;
        let mut has_ended = false;
        std::iter::from_fn(move || {
            if has_ended {
                return None;
            }
            let next = self.view().next_import(last.as_deref()).transpose();
            has_ended = !matches!(next, Some(Ok(_)));
            next.map(|next| {
                let (key, row) = next?;
                let id = RuntimeId::new(key.as_str());
                last = Some(key);
                Ok((id, row))
            })
        })
    }

    /// The import record of the files that belong to no imported runtime.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn import_record_without_runtime(&self) -> Result<Option<ImportRecord>, RuntimeError> {
        self.view().import(NO_RUNTIME)
    }

    /// The import record of a runtime; `None` for a runtime that was not imported. A runtime that an import
    /// left out has a record, too.
    ///
    /// # Errors
    ///
    /// As [`runtime_ids`](Self::runtime_ids).
    pub fn import_record(&self, id: &RuntimeId) -> Result<Option<ImportRecord>, RuntimeError> {
        refuse_long_id(id.as_str())?;
        self.view().import(id.as_str())
    }
}
