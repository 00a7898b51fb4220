//! Closing an open store, and the registry of the stores that are open in this process.

use crate::commit::engine::Engine;
use crate::engine::redb::database::redb_engine::OpenStore;
use crate::engine::redb::database::registry::Registries;
use crate::error::RuntimeError;

/// The stores that are open in this process, by the identity of their file.
pub(crate) static OPEN_STORES: Registries<OpenStore> = Registries::new();

impl OpenStore {
    /// Closes the file for every handle of the store. Operations that were accepted are committed
    /// first. A call from within a transaction of the store is rejected: it would wait for itself.
    pub(crate) fn close(&self) -> Result<(), RuntimeError> {
        let at = self.engine().at("close");
        self.refuse_fork(at.operation())?;
        self.refuse_within()?;
        if !self.engine().stages_ahead() {
            // With several writers submitted operations wait in the background thread, not in the
            // queue, so ending the queue does not commit them.
            self.background.finish()?;
        }
        let has_failed = self.end_queue(at.operation())?;
        // After the queue has ended: no commit can use the file any more.
        let closed = self.engine().close_file(at).map_err(|error| {
            // After a failed commit redb reports the state of its memory, which is not that of the file.
            if has_failed { at.failed() } else { error }
        });
        // Wakes the followers, which find the store closed.
        self.commits.announce();
        self.engine().vacate();
        closed
    }

    /// Whether the store was closed or rejects operations until it is opened again. After a failed
    /// access redb also rejects reads.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_over() || self.engine().has_failed()
    }
}
