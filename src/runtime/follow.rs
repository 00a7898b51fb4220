//! Follows the event log of a runtime, and reads it to its end.

use crate::error::RuntimeError;
use crate::ledger::convert;
use crate::ledger::rows::Rows;
use crate::model::observation::{
    EventCursor, RecordedEvent, RecordedEventBatch, RuntimeEventBatch,
};
use crate::runtime::handle::Runtime;
use crate::runtime::{pages, wait};
use std::collections::VecDeque;
use std::time::Duration;

const OPERATION: &str = "follow events";

/// Waits for the events of a runtime; see [`Runtime::follow_events`].
///
/// It returns each event once, by increasing id, starting at its cursor. To continue after a restart, store
/// [`cursor`](Self::cursor) and follow from it again.
///
/// Take the events as suits the host, in any mixture: a batch at a time with a timeout
/// ([`next_batch`](Self::next_batch)), one at a time in async code ([`next`](Self::next)), or as an iterator, which
/// blocks for each event and ends after the first error.
#[derive(Debug)]
pub struct EventFollower {
    runtime: Runtime,
    cursor: EventCursor,
    /// Events that were read and not returned yet.
    ahead: VecDeque<RecordedEvent>,
    has_failed: bool,
}

impl Runtime {
    /// Follows the event log, starting at `cursor`. Also works on a read-only store that another process
    /// writes to.
    ///
    /// ```
    /// # let runtime = redb_runtime_store::Runtime::new_memory();
    /// for recorded in runtime.follow_events(runtime.event_cursor_from_start()?)? {
    ///     println!("{}", recorded?.event.message);
    /// #   break;
    /// }
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `WrongRuntimeCursor`.
    pub fn follow_events(&self, cursor: EventCursor) -> Result<EventFollower, RuntimeError> {
        pages::refuse_foreign_cursor(&self.runtime_id, &cursor)?;
        Ok(EventFollower {
            runtime: self.clone(),
            cursor,
            ahead: VecDeque::new(),
            has_failed: false,
        })
    }
}

/// The events of a runtime up to the end of its log; see [`Runtime::events`].
///
/// It ends where the log ends when it gets there, and after the first error. To wait for later events,
/// [`into_follower`](Self::into_follower).
#[derive(Debug)]
pub struct Events {
    follower: EventFollower,
}

impl Runtime {
    /// All events from `cursor` on, up to the end of the log, as an iterator. It reads a batch at a time, each in a
    /// transaction of its own: events that are committed meanwhile are included. For one view of everything, use a
    /// [`Snapshot`](crate::store::Snapshot).
    ///
    /// # Errors
    ///
    /// `WrongRuntimeCursor`. An item is an error as in [`EventFollower::next_batch`], and `EventsPruned` if events at
    /// `cursor` were pruned.
    ///
    /// ```
    /// use redb_runtime_store::{Store, management::RuntimeOptions};
    ///
    /// let runtime = Store::in_memory()?.runtime(RuntimeOptions::default())?;
    /// for event in runtime.events(runtime.event_cursor_from_start()?)? {
    ///     println!("{}", event?.event.message);
    /// }
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    pub fn events(&self, cursor: EventCursor) -> Result<Events, RuntimeError> {
        let follower = self.follow_events(cursor)?;
        Ok(Events { follower })
    }
}

impl Events {
    /// The cursor of the next event.
    pub fn cursor(&self) -> &EventCursor {
        self.follower.cursor()
    }

    /// Waits for the events after those that were returned. After an error it tries the same place again.
    pub fn into_follower(mut self) -> EventFollower {
        self.follower.has_failed = false;
        self.follower
    }
}

impl Iterator for Events {
    type Item = Result<RecordedEvent, RuntimeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let follower = &mut self.follower;
        if follower.has_failed {
            return None;
        }
        if follower.ahead.is_empty() {
            let runtime = &follower.runtime;
            let read = runtime.read(OPERATION, |rows| {
                EventFollower::read(rows, runtime, &follower.cursor)
            });
            match read.transpose()? {
                Ok(batch) => follower.ahead = batch.events.into(),
                Err(error) => {
                    follower.has_failed = true;
                    return Some(Err(error));
                }
            }
        }
        Some(follower.take_next())
    }
}

impl EventFollower {
    /// The cursor of the next event or batch.
    pub fn cursor(&self) -> &EventCursor {
        &self.cursor
    }

    /// Waits for the next committed events and returns them: at most the batch limit of the runtime, and at
    /// least one. `None` if there is none within `timeout`; with a timeout of zero it does not wait.
    ///
    /// In the writing process it waits without polling. A commit of another process is detected within
    /// 100 ms.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let runtime = redb_runtime_store::Runtime::new_memory();
    /// let mut follower = runtime.follow_events(runtime.event_cursor_from_start()?)?;
    /// while let Some(batch) = follower.next_batch(Duration::from_millis(10))? {
    ///     println!("{} events", batch.events.len());
    /// }
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `StoreClosed` as soon as the store is closed, also during the wait; `RuntimeNotFound` if the runtime
    /// was removed; `EventsPruned` if events that the follower has not returned were pruned: it leaves none out
    /// silently; `InvalidRequest` if it would wait inside a closure, a callback or a waker (see
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
        // Read again, since it shows whether more events follow.
        self.ahead.clear();
        let read = |rows: &dyn Rows| Self::read(rows, &self.runtime, &self.cursor);
        let batch = wait::block(&self.runtime, OPERATION, timeout, read)?;
        if let Some(batch) = &batch {
            self.cursor = batch.cursor.clone();
        }
        Ok(batch)
    }

    /// Waits for the next committed event. A plain future, for any executor; it reads the file while it is polled, as
    /// every read does. Dropping it loses no event.
    ///
    /// # Errors
    ///
    /// As [`next_batch`](Self::next_batch).
    pub async fn next(&mut self) -> Result<RecordedEvent, RuntimeError> {
        if self.ahead.is_empty() {
            let read = |rows: &dyn Rows| Self::read(rows, &self.runtime, &self.cursor);
            self.ahead = wait::found(&self.runtime, OPERATION, read)
                .await?
                .events
                .into();
        }
        self.take_next()
    }

    /// As [`next`](Self::next), blocking.
    fn next_blocking(&mut self) -> Result<RecordedEvent, RuntimeError> {
        if self.ahead.is_empty() {
            let read = |rows: &dyn Rows| Self::read(rows, &self.runtime, &self.cursor);
            let batch = wait::block_until_found(&self.runtime, OPERATION, read)?;
            self.ahead = batch.events.into();
        }
        self.take_next()
    }

    /// Takes the next of the events that were read. There is at least one.
    fn take_next(&mut self) -> Result<RecordedEvent, RuntimeError> {
        let at = self.runtime.store.shared.context(OPERATION);
        let next = self.ahead.pop_front();
        let next = next.ok_or_else(|| at.corrupt("a batch of events is empty"))?;
        // A page of events has a next id after each of them.
        self.cursor.next_event_id = next.event.id.saturating_add(1);
        Ok(next)
    }

    /// The events from `cursor` on; `None` if there are none.
    fn read(
        rows: &dyn Rows,
        runtime: &Runtime,
        cursor: &EventCursor,
    ) -> Result<Option<RecordedEventBatch>, RuntimeError> {
        let id = &runtime.runtime_id;
        let limits = convert::limits(&pages::runtime_row(rows, id)?);
        // A limit of 0 would never return an event.
        let limit = limits.max_event_batch_items.max(1);
        let batch = pages::read_recorded_events(rows, id, cursor, limit, limit)?;
        Ok((!batch.events.is_empty()).then_some(batch))
    }
}

/// Blocks until the next event is committed. Ends after the first error.
impl Iterator for EventFollower {
    type Item = Result<RecordedEvent, RuntimeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let next = self.next_blocking();
        self.has_failed = next.is_err();
        Some(next)
    }
}
