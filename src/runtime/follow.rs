//! Following a runtime's event log.

use crate::commit::engine::Engine;
use crate::error::RuntimeError;
use crate::ledger::convert;
use crate::model::observation::{EventCursor, RuntimeEventBatch};
use crate::runtime::handle::Runtime;
use crate::runtime::pages;
use std::time::{Duration, Instant};

/// Waits for the events of a runtime: [`Runtime::follow_events`].
///
/// It gives every event from its cursor on once, in their order. To go on after a restart, keep
/// [`cursor`](Self::cursor) and follow from it again.
#[derive(Debug)]
pub struct EventFollower {
    runtime: Runtime,
    cursor: EventCursor,
}

impl Runtime {
    /// Follows the event log from `cursor` on. Works on a read-only store too, also while another
    /// process writes to it.
    ///
    /// # Errors
    ///
    /// `WrongRuntimeCursor`.
    pub fn follow_events(&self, cursor: EventCursor) -> Result<EventFollower, RuntimeError> {
        pages::refuse_foreign_cursor(&self.runtime_id, &cursor)?;
        Ok(EventFollower {
            runtime: self.clone(),
            cursor,
        })
    }
}

impl EventFollower {
    /// The cursor of the next batch.
    pub fn cursor(&self) -> &EventCursor {
        &self.cursor
    }

    /// The next events, as soon as there are any: at most as many as the runtime's limit (but at
    /// least one), and only committed ones. `None` when there were none within `timeout`; zero only
    /// looks.
    ///
    /// In the process that writes this waits without polling; what another process commits is seen
    /// within 100 ms.
    ///
    /// # Errors
    ///
    /// `StoreClosed` as soon as the store is closed, also while waiting; `RuntimeNotFound` where
    /// the runtime was removed; `InvalidRequest` where it would wait inside a transaction on the
    /// store; `StoreMoved` where another process may write and the store's path no longer leads to
    /// the file that is open: open the store again then. `StoreIo`, `StoreCorrupt`. The cursor stays
    /// where it was.
    pub fn next_batch(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<RuntimeEventBatch>, RuntimeError> {
        // A timeout past the end of time is none.
        let deadline = Instant::now().checked_add(timeout);
        let queue = &self.runtime.store.shared;
        loop {
            let seen = queue.commits.count();
            let batch = self.read()?;
            if !batch.events.is_empty() {
                self.cursor = batch.cursor.clone();
                return Ok(Some(batch));
            }
            self.refuse_file_elsewhere()?;
            if !queue.wait_for_news(seen, deadline)? {
                return Ok(None);
            }
        }
    }

    /// Fails if it would wait for another process whose commits cannot reach the file that is open.
    fn refuse_file_elsewhere(&self) -> Result<(), RuntimeError> {
        let store = &self.runtime.store;
        if !store.engine().others_may_commit() || store.is_in_place() {
            return Ok(());
        }
        Err(store.engine().at("follow events").moved())
    }

    fn read(&self) -> Result<RuntimeEventBatch, RuntimeError> {
        let runtime_id = &self.runtime.runtime_id;
        self.runtime.read("follow events", |rows| {
            let limits = convert::limits(&pages::runtime_row(rows, runtime_id)?);
            let limit = limits.max_event_batch_items.max(1);
            pages::read_events(rows, runtime_id, &self.cursor, limit, limit)
        })
    }
}
