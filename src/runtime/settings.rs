//! The settings of a runtime. Changing one logs no event, and works on a stopped runtime, too.

use crate::error::RuntimeError;
use crate::ledger::convert;
use crate::model::management::RuntimeLimits;
use crate::runtime::handle::Runtime;
use crate::runtime::pages;

impl Runtime {
    /// Sets or removes the runtime's display name. On disk when this returns; see [`Runtime`] for failures.
    ///
    /// # Errors
    ///
    /// The errors of every write, except `RuntimeStopped`.
    pub fn set_display_name(&self, display_name: Option<String>) -> Result<(), RuntimeError> {
        self.store.write("set display name", |transaction| {
            let mut row = pages::runtime_row(transaction, &self.runtime_id)?;
            row.display_name = display_name;
            transaction
                .changes()
                .put_runtime(self.runtime_id.as_str(), row)
        })
    }

    /// Sets the limits of the runtime: the most items that one read returns. They apply to reads that begin
    /// afterwards. On disk when this returns; see [`Runtime`] for failures.
    ///
    /// # Errors
    ///
    /// The errors of every write, except `RuntimeStopped`.
    pub fn set_limits(&self, limits: RuntimeLimits) -> Result<(), RuntimeError> {
        self.store.write("set limits", |transaction| {
            let mut row = pages::runtime_row(transaction, &self.runtime_id)?;
            convert::set_limits(&mut row, limits);
            transaction
                .changes()
                .put_runtime(self.runtime_id.as_str(), row)
        })
    }
}
