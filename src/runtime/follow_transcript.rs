//! Follows the transcript of a worker, and reads it to its end.

use crate::error::RuntimeError;
use crate::ledger::convert;
use crate::ledger::rows::Rows;
use crate::model::identity::WorkerRef;
use crate::model::interaction::{RecordedEntry, RecordedTranscript, TranscriptQuery};
use crate::runtime::handle::Runtime;
use crate::runtime::{pages, wait};
use std::collections::VecDeque;
use std::time::Duration;

const OPERATION: &str = "follow transcript";

/// Waits for the entries of a transcript; see [`Runtime::follow_transcript`].
///
/// It returns each entry once, by increasing position. To continue after a restart, store
/// [`position`](Self::position) and follow from it again.
///
/// Take the entries as suits the host, in any mixture: a page at a time with a timeout
/// ([`next_page`](Self::next_page)), one at a time in async code ([`next`](Self::next)), or as an iterator, which blocks
/// for each entry and ends after the first error.
#[derive(Debug)]
pub struct TranscriptFollower {
    runtime: Runtime,
    worker_ref: WorkerRef,
    position: usize,
    /// Entries that were read and not returned yet.
    ahead: VecDeque<RecordedEntry>,
    has_failed: bool,
}

impl Runtime {
    /// Follows the transcript of a worker, starting at position `start`, counted from 0: inputs and replies. A start past
    /// the end waits until the transcript has that position. Also works on a read-only store that another process writes
    /// to.
    ///
    /// A start of 0 is the first entry that the transcript has: retention can have removed the ones before it. A later start
    /// is the place that a follower has reached before. If entries from there on were removed, the follower returns
    /// `EventsPruned` instead of leaving them out.
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// # runtime.append_reply(&worker, "Hello!")?;
    /// for recorded in runtime.follow_transcript(&worker, 0)? {
    ///     println!("{}", recorded?.entry.content);
    /// #   break;
    /// }
    /// # Ok::<(), RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `WrongRuntime`, `WorkerNotFound`; the errors of every read.
    pub fn follow_transcript(
        &self,
        worker_ref: &WorkerRef,
        start: usize,
    ) -> Result<TranscriptFollower, RuntimeError> {
        let worker = self.read(OPERATION, |rows| {
            pages::refuse_foreign(&self.runtime_id, worker_ref)?;
            pages::worker_row(rows, worker_ref)
        })?;
        Ok(TranscriptFollower {
            runtime: self.clone(),
            worker_ref: worker_ref.clone(),
            position: match start {
                0 => convert::size(worker.first_position),
                start => start,
            },
            ahead: VecDeque::new(),
            has_failed: false,
        })
    }
}

/// The entries of a transcript up to its end; see [`Runtime::entries`].
///
/// It ends where the transcript ends when it gets there, and after the first error. To wait for later entries,
/// [`into_follower`](Self::into_follower).
#[derive(Debug)]
pub struct Entries {
    follower: TranscriptFollower,
}

impl Runtime {
    /// All entries of a transcript from position `start` on, counted from 0, up to its end, as an iterator. It reads a
    /// page at a time, each in a transaction of its own: entries that are committed meanwhile are included. A start of 0 is
    /// the first entry that the transcript has.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`, `WorkerNotFound`; the errors of every read. An item is an error as in
    /// [`TranscriptFollower::next_page`].
    ///
    /// ```
    /// use redb_runtime_store::{Store, catalog::CreateWorkerRequest, management::RuntimeOptions};
    ///
    /// let runtime = Store::in_memory()?.runtime(RuntimeOptions::default())?;
    /// let worker = runtime.create_worker(CreateWorkerRequest::default())?.worker_ref;
    /// for entry in runtime.entries(&worker, 0)? {
    ///     println!("{}", entry?.entry.content);
    /// }
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    pub fn entries(&self, worker_ref: &WorkerRef, start: usize) -> Result<Entries, RuntimeError> {
        let follower = self.follow_transcript(worker_ref, start)?;
        Ok(Entries { follower })
    }
}

impl Entries {
    /// The position of the next entry, from 0.
    pub fn position(&self) -> usize {
        self.follower.position()
    }

    /// Waits for the entries after those that were returned. After an error it tries the same place again.
    pub fn into_follower(mut self) -> TranscriptFollower {
        self.follower.has_failed = false;
        self.follower
    }
}

impl Iterator for Entries {
    type Item = Result<RecordedEntry, RuntimeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let follower = &mut self.follower;
        if follower.has_failed {
            return None;
        }
        if follower.ahead.is_empty() {
            let (runtime, worker) = (&follower.runtime, &follower.worker_ref);
            let read = runtime.read(OPERATION, |rows| {
                TranscriptFollower::read(rows, runtime, worker, follower.position)
            });
            match read.transpose()? {
                Ok(page) => follower.ahead = page.items.into(),
                Err(error) => {
                    follower.has_failed = true;
                    return Some(Err(error));
                }
            }
        }
        Some(follower.take_next())
    }
}

impl TranscriptFollower {
    /// The position of the next entry or page, from 0.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Waits for the next committed entries and returns them: at most the transcript limit of the runtime, and at least
    /// one. `None` if there is none within `timeout`; with a timeout of zero it does not wait.
    ///
    /// In the writing process it waits without polling. A commit of another process is detected within 100 ms.
    ///
    /// # Errors
    ///
    /// As [`EventFollower::next_batch`](crate::EventFollower::next_batch), and `WorkerNotFound` if the worker was removed.
    /// `EventsPruned`, with positions, if entries that the follower has not returned were pruned.
    /// After an error the position is unchanged.
    pub fn next_page(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<RecordedTranscript>, RuntimeError> {
        self.ahead.clear();
        let read =
            |rows: &dyn Rows| Self::read(rows, &self.runtime, &self.worker_ref, self.position);
        let page = wait::block(&self.runtime, OPERATION, timeout, read)?;
        if let Some(page) = &page {
            self.position = page.start.saturating_add(page.items.len());
        }
        Ok(page)
    }

    /// Waits for the next committed entry. A plain future, for any executor; it reads the file while it is polled, as
    /// every read does. Dropping it loses no entry.
    ///
    /// # Errors
    ///
    /// As [`next_page`](Self::next_page).
    pub async fn next(&mut self) -> Result<RecordedEntry, RuntimeError> {
        if self.ahead.is_empty() {
            let read =
                |rows: &dyn Rows| Self::read(rows, &self.runtime, &self.worker_ref, self.position);
            self.ahead = wait::found(&self.runtime, OPERATION, read)
                .await?
                .items
                .into();
        }
        self.take_next()
    }

    /// As [`next`](Self::next), blocking.
    fn next_blocking(&mut self) -> Result<RecordedEntry, RuntimeError> {
        if self.ahead.is_empty() {
            let read =
                |rows: &dyn Rows| Self::read(rows, &self.runtime, &self.worker_ref, self.position);
            let page = wait::block_until_found(&self.runtime, OPERATION, read)?;
            self.ahead = page.items.into();
        }
        self.take_next()
    }

    /// Takes the next of the entries that were read. There is at least one.
    fn take_next(&mut self) -> Result<RecordedEntry, RuntimeError> {
        let at = self.runtime.store.shared.context(OPERATION);
        let next = self.ahead.pop_front();
        let next = next.ok_or_else(|| at.corrupt("a page of entries is empty"))?;
        self.position = self.position.saturating_add(1);
        Ok(next)
    }

    /// The entries from `position` on; `None` if there are none.
    fn read(
        rows: &dyn Rows,
        runtime: &Runtime,
        worker_ref: &WorkerRef,
        position: usize,
    ) -> Result<Option<RecordedTranscript>, RuntimeError> {
        let limits = convert::limits(&pages::runtime_row(rows, &runtime.runtime_id)?);
        // A limit of 0 would never return an entry.
        let limit = limits.max_transcript_projection_items.max(1);
        let query = TranscriptQuery::new(position, limit);
        let page = pages::read_recorded_transcript(rows, worker_ref, query, limit)?;
        if page.start > position {
            return Err(RuntimeError::EventsPruned {
                requested: convert::stored_size(position),
                first: convert::stored_size(page.start),
            });
        }
        Ok((!page.items.is_empty()).then_some(page))
    }
}

/// Blocks until the next entry is committed. Ends after the first error.
impl Iterator for TranscriptFollower {
    type Item = Result<RecordedEntry, RuntimeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let next = self.next_blocking();
        self.has_failed = next.is_err();
        Some(next)
    }
}
