//! Adding to an exported directory what the store has learnt since.

use super::error::LayoutError;
use super::export::Export;
use super::report::RuntimeExport;
use super::staging::TargetDir;
use crate::model::identity::RuntimeId;

/// What an update of one runtime directory found.
pub(super) struct Update;

impl Export<'_> {
    pub(super) fn check_update(
        &self,
        dir: &TargetDir,
        _id: &RuntimeId,
    ) -> Result<Update, LayoutError> {
        Err(LayoutError::InTheWay {
            path: dir.path().to_owned(),
            message: "not yet".into(),
        })
    }
    pub(super) fn update_runtime(
        &self,
        _dir: &TargetDir,
        _id: &RuntimeId,
        _update: Update,
        _report: &mut RuntimeExport,
    ) -> Result<(), LayoutError> {
        Ok(())
    }
}
