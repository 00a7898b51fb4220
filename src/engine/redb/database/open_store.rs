//! Closing an open store, and the stores that are open in this process.

use crate::commit::engine::Engine;
use crate::engine::redb::database::redb_engine::OpenStore;
use crate::engine::redb::database::registry::Registry;
use crate::error::RuntimeError;

/// The stores that are open in this process, by the file they are in.
pub(crate) static OPEN_STORES: Registry<OpenStore> = Registry::new();

impl OpenStore {
    /// Closes the file for every handle. The commits under way end first.
    pub(crate) fn close(&self) -> Result<(), RuntimeError> {
        let at = self.engine().at("close");
        self.refuse_within()?;
        if !self.engine().stages_ahead() {
            // Submissions wait there and not in the queue, where the close would find them.
            self.background.finish()?;
        }
        self.end_queue(at.operation())?;
        let closed = self.engine().close_file(at);
        self.commits.announce();
        self.engine().vacate();
        closed
    }

    /// Whether the store was closed, or rejects operations until it is opened again. After a failed
    /// access redb answers nothing any more, also to readers.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_over() || self.engine().has_failed()
    }
}
