//! Follows the event log of a runtime.

use crate::commit::engine::Engine;
use crate::error::RuntimeError;
use crate::ledger::convert;
use crate::model::observation::{EventCursor, RecordedEventBatch, RuntimeEventBatch};
use crate::runtime::handle::Runtime;
use crate::runtime::pages;
use std::time::{Duration, Instant};

/// Waits for the events of a runtime; see [`Runtime::follow_events`].
///
/// It returns each event once, by increasing id, starting at its cursor. To continue after a restart, store
/// [`cursor`](Self::cursor) and follow from it again.
#[derive(Debug)]
pub struct EventFollower {
    runtime: Runtime,
    cursor: EventCursor,
}

impl Runtime {
    /// Follows the event log, starting at `cursor`. Also works on a read-only store that another process
    /// writes to.
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

    /// Waits for the next committed events and returns them: at most the batch limit of the runtime, and at
    /// least one. `None` if there is none within `timeout`; with a timeout of zero it does not wait.
    ///
    /// In the writing process it waits without polling. A commit of another process is detected within
    /// 100 ms.
    ///
    /// # Errors
    ///
    /// `StoreClosed` as soon as the store is closed, also during the wait; `RuntimeNotFound` if the runtime
    /// was removed; `InvalidRequest` if it would wait inside a closure, a callback or a waker (see
    /// [closures and callbacks](crate::guide::transactions#closures-and-callbacks)); `StoreMoved` if
    /// another process may write and the store's path no longer leads to the open file: open the store
    /// again. `StoreIo`, `StoreCorrupt`. After an error the cursor is unchanged.
    pub fn next_batch(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<RuntimeEventBatch>, RuntimeError> {
        let batch = self.next_recorded_batch(timeout)?;
        Ok(batch.map(|batch| RuntimeEventBatch {
            runtime_id: batch.runtime_id,
            cursor: batch.cursor,
            events: batch
                .events
                .into_iter()
                .map(|recorded| recorded.event)
                .collect(),
            has_more: batch.has_more,
        }))
    }

    /// As [`next_batch`](Self::next_batch), with the time of each event.
    ///
    /// # Errors
    ///
    /// As [`next_batch`](Self::next_batch).
    pub fn next_recorded_batch(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<RecordedEventBatch>, RuntimeError> {
        // A deadline beyond the range of `Instant` is no deadline.
        let deadline = Instant::now().checked_add(timeout);
        let queue = &self.runtime.store.shared;
        let at = queue.context("follow events");
        queue.refuse_fork(at)?;
        loop {
            // Counted before the read: a commit between the read and the wait ends the wait at once.
            let seen = queue.commits.count();
            let batch = self.read()?;
            if !batch.events.is_empty() {
                self.cursor = batch.cursor.clone();
                return Ok(Some(batch));
            }
            self.refuse_file_elsewhere()?;
            if !queue.wait_for_news(seen, at, deadline)? {
                return Ok(None);
            }
        }
    }

    /// Fails if the wait would be for another process whose commits go to another file than the open one.
    fn refuse_file_elsewhere(&self) -> Result<(), RuntimeError> {
        let store = &self.runtime.store;
        if !store.engine().others_may_commit() || store.is_in_place() {
            return Ok(());
        }
        Err(store.engine().at("follow events").moved(false))
    }

    fn read(&self) -> Result<RecordedEventBatch, RuntimeError> {
        let runtime_id = &self.runtime.runtime_id;
        self.runtime.read("follow events", |rows| {
            let limits = convert::limits(&pages::runtime_row(rows, runtime_id)?);
            // A limit of 0 would never return an event.
            let limit = limits.max_event_batch_items.max(1);
            pages::read_recorded_events(rows, runtime_id, &self.cursor, limit, limit)
        })
    }
}
