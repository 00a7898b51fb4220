//! The handle of a runtime.

use crate::commit::pending::Pending;
use crate::commit::within;
use crate::error::RuntimeError;
use crate::ledger::rows::Rows;
use crate::model::attributes::Attributes;
use crate::model::catalog::{
    CreateWorkerRequest, WorkerDetail, WorkerLifecycleAck, WorkerStatus, WorkerSummary,
};
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::{
    RecordedTranscript, TranscriptProjection, TranscriptQuery, WorkerInput, WorkerInteractionAck,
};
use crate::model::management::{
    RuntimeBackendKind, RuntimeLimits, RuntimeOptions, RuntimeStatus, RuntimeSummary,
};
use crate::model::observation::{
    EventCursor, EventSubscription, EventSubscriptionMode, RecordedEventBatch, RuntimeEventBatch,
    RuntimeEventKind,
};
use crate::runtime::pages;
use crate::runtime::transaction::RuntimeTransaction;
use crate::runtime::{operations, queries};
use crate::store::handle::Store;
use std::path::PathBuf;

/// A runtime, which owns workers. Clones are handles of the same runtime. All threads of a process can use
/// it at the same time.
///
/// # Durability
///
/// Each method that changes the runtime is one transaction. When it returns `Ok`, its changes are on disk.
/// After an error the store has none of them. After [`CommitUncertain`](RuntimeError::CommitUncertain) the
/// store has all of them or none; which of the two is unknown until the store is opened again. Until then
/// every write returns [`StoreFailed`](RuntimeError::StoreFailed), and so does every read that needs the
/// file, because redb does not access a file after a failed access.
///
/// # Errors
///
/// The errors of every read are `StoreIo`, `StoreCorrupt`, `StoreClosed` and `StoreFailed`. The errors of
/// every write are also `RuntimeNotFound`, `RuntimeStopped`, `StoreReadOnly` and `CommitUncertain`. Each
/// method names its further errors.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) store: Store,
    pub(crate) runtime_id: RuntimeId,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("runtime_id", &self.runtime_id)
            .field("path", &self.store.path())
            .finish()
    }
}

/// The path of a store, the id of a runtime in it, and the settings of a new runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedbRuntimeStoreOptions {
    /// The store's file.
    pub path: PathBuf,
    /// The runtime. `None` means the only runtime of the store; in an empty store, a new runtime with a
    /// unique id.
    pub runtime_id: Option<RuntimeId>,
    /// The display name of a new runtime.
    pub display_name: Option<String>,
    /// The limits of a new runtime.
    pub limits: RuntimeLimits,
}

impl RedbRuntimeStoreOptions {
    /// Options for the only runtime of the store at `path`, with default settings.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            runtime_id: None,
            display_name: None,
            limits: RuntimeLimits::default(),
        }
    }
}

impl Runtime {
    /// Creates a runtime in memory, with default options and a unique id.
    ///
    /// # Panics
    ///
    /// As [`with_options`](Self::with_options).
    #[must_use]
    pub fn new_memory() -> Self {
        Self::with_options(RuntimeOptions::default())
    }

    /// Creates a runtime in memory.
    ///
    /// # Panics
    ///
    /// If the system returns no random bytes. No other step of a store in memory can fail.
    #[must_use]
    pub fn with_options(options: RuntimeOptions) -> Self {
        // No other thread has the store yet: its first operation waits for nothing, also inside a
        // transaction on another store.
        let create = || Store::in_memory().and_then(|store| store.runtime(options));
        let created = within::outside(create);
        match created {
            Ok(runtime) => runtime,
            // The directory store has this signature without a `Result`; hosts that move over use it.
            Err(error) => panic!("a runtime in memory cannot be created: {error}"),
        }
    }

    /// Opens the store at the path of the options, or creates it, and opens or creates the runtime in it.
    /// See [`Store::open`] and [`Store::runtime`].
    ///
    /// ```
    /// use redb_runtime_store::{RedbRuntimeStoreOptions, Runtime};
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("agents.redb");
    /// let runtime = Runtime::with_redb_store(RedbRuntimeStoreOptions {
    ///     display_name: Some("Agents".to_owned()),
    ///     ..RedbRuntimeStoreOptions::new(path)
    /// })?;
    /// # assert_eq!(runtime.summary()?.display_name.as_deref(), Some("Agents"));
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Store::open`] and [`Store::runtime`].
    pub fn with_redb_store(options: RedbRuntimeStoreOptions) -> Result<Self, RuntimeError> {
        Store::open(&options.path)?.runtime(RuntimeOptions {
            runtime_id: options.runtime_id,
            display_name: options.display_name,
            limits: options.limits,
        })
    }

    /// The store that contains the runtime.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Closes the store, with all of its runtimes; see [`Store::close`]. Other handles get `StoreClosed` from then on. On
    /// disk when this returns, and when it fails: every acknowledged operation.
    ///
    /// # Errors
    ///
    /// As [`Store::close`].
    pub fn close(&self) -> Result<(), RuntimeError> {
        self.store.close()
    }

    pub(crate) fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&dyn Rows) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.store.read(operation, read)
    }

    /// The runtime's id.
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound` if the runtime was removed from the store.
    pub fn runtime_id(&self) -> Result<RuntimeId, RuntimeError> {
        self.summary().map(|summary| summary.runtime_id)
    }

    /// The summary of the runtime. It reads one row, with any number of workers.
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound` if the runtime was removed from the store.
    pub fn summary(&self) -> Result<RuntimeSummary, RuntimeError> {
        self.read("read summary", |rows| {
            let row = pages::runtime_row(rows, &self.runtime_id)?;
            Ok(queries::summary(&self.runtime_id, row, self.backend()))
        })
    }

    fn backend(&self) -> RuntimeBackendKind {
        self.store.shared.backend()
    }

    /// The runtime's lifecycle status.
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound` if the runtime was removed from the store.
    pub fn status(&self) -> Result<RuntimeStatus, RuntimeError> {
        self.summary().map(|summary| summary.status)
    }

    /// The runtime's diagnostics, by increasing id.
    ///
    /// # Errors
    ///
    /// The errors of every read.
    pub fn diagnostics(&self) -> Result<Vec<RuntimeDiagnostic>, RuntimeError> {
        self.read("read diagnostics", |rows| {
            queries::diagnostics(rows, &self.runtime_id)
        })
    }

    /// Stops the runtime: sets the status of active workers to `Stopped`, and logs one `RuntimeStopped` event.
    /// Returns the id of that event. Reads continue to work. A second call changes nothing and returns the id
    /// of the last event. On disk when this returns; see [`Runtime`] for failures.
    ///
    /// # Errors
    ///
    /// The errors of every write.
    pub fn stop_runtime(&self) -> Result<u64, RuntimeError> {
        self.store
            .write_to(&self.runtime_id, "stop runtime", |transaction| {
                operations::stop_runtime(transaction, &self.runtime_id)
            })
    }

    /// Creates a worker. On disk when this returns; see [`Runtime`] for failures.
    ///
    /// ```
    /// use redb_runtime_store::catalog::{CreateWorkerRequest, WorkerStatus};
    ///
    /// # let runtime = redb_runtime_store::Runtime::new_memory();
    /// let detail = runtime.create_worker(CreateWorkerRequest::default())?;
    /// assert_eq!(detail.status, WorkerStatus::Running);
    /// let worker = detail.worker_ref;
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a blank task objective or a blank capability name; the errors of every
    /// write.
    pub fn create_worker(
        &self,
        request: CreateWorkerRequest,
    ) -> Result<WorkerDetail, RuntimeError> {
        self.store
            .write_to(&self.runtime_id, "create worker", |transaction| {
                operations::create_worker(
                    transaction,
                    &self.runtime_id,
                    request,
                    &Attributes::new(),
                )
            })
    }

    /// All workers, sorted by the bytes of their ids.
    ///
    /// # Errors
    ///
    /// The errors of every read.
    pub fn list_workers(&self) -> Result<Vec<WorkerSummary>, RuntimeError> {
        self.read("list workers", |rows| {
            queries::list_workers(rows, &self.runtime_id)
        })
    }

    /// A worker with the request that created it.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`, `WorkerNotFound`, and the errors of every read.
    pub fn worker_detail(&self, worker_ref: &WorkerRef) -> Result<WorkerDetail, RuntimeError> {
        self.read("read worker", |rows| {
            queries::worker_detail(rows, &self.runtime_id, worker_ref)
        })
    }

    /// Sends input to a running worker: logs `WorkerInputAccepted` and appends the transcript entry. On disk
    /// when this returns; see [`Runtime`] for failures.
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// use redb_runtime_store::interaction::WorkerInput;
    ///
    /// let sent = runtime.send_input(&worker, WorkerInput::user("Hello!"))?;
    /// assert_eq!(sent.transcript_sequence, 1);
    /// # Ok::<(), RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for blank content and for a worker that is not running; `WrongRuntime`,
    /// `WorkerNotFound`; the errors of every write.
    pub fn send_input(
        &self,
        worker_ref: &WorkerRef,
        input: WorkerInput,
    ) -> Result<WorkerInteractionAck, RuntimeError> {
        self.store
            .write_to(&self.runtime_id, "send input", |transaction| {
                operations::send_input(
                    transaction,
                    &self.runtime_id,
                    worker_ref,
                    input,
                    &Attributes::new(),
                )
            })
    }

    /// Appends a reply of a running worker to its transcript, with the role `Assistant`. It logs no event: `event_id` is
    /// the id of the runtime's last event. On disk when this returns; see [`Runtime`] for failures, and
    /// [replies](crate::guide::replies).
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// let reply = runtime.append_reply(&worker, "Hello! What can I do?")?;
    /// assert_eq!(reply.transcript_sequence, 1);
    /// # Ok::<(), RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for blank content, for more than 512 MiB, and for a worker that is not running; `WrongRuntime`,
    /// `WorkerNotFound`; the errors of every write.
    pub fn append_reply(
        &self,
        worker_ref: &WorkerRef,
        content: impl Into<String>,
    ) -> Result<WorkerInteractionAck, RuntimeError> {
        let content = content.into();
        self.store
            .write_to(&self.runtime_id, "append reply", |transaction| {
                operations::append_reply(
                    transaction,
                    &self.runtime_id,
                    worker_ref,
                    content,
                    &Attributes::new(),
                )
            })
    }

    /// Stops a worker. `reason` becomes the message of the event. The first terminal status stays: a later
    /// stop or cancel returns it and logs nothing. On disk when this returns; see [`Runtime`] for failures.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`, `WorkerNotFound`; the errors of every write.
    pub fn stop_worker(
        &self,
        worker_ref: &WorkerRef,
        reason: Option<String>,
    ) -> Result<WorkerLifecycleAck, RuntimeError> {
        let to = (WorkerStatus::Stopped, RuntimeEventKind::WorkerStopped);
        self.store
            .write_to(&self.runtime_id, "stop worker", |transaction| {
                operations::end_worker(transaction, &self.runtime_id, worker_ref, to, reason)
            })
    }

    /// Cancels a worker; otherwise as [`stop_worker`](Self::stop_worker).
    ///
    /// # Errors
    ///
    /// As [`stop_worker`](Self::stop_worker).
    pub fn cancel_worker(
        &self,
        worker_ref: &WorkerRef,
        reason: Option<String>,
    ) -> Result<WorkerLifecycleAck, RuntimeError> {
        let to = (WorkerStatus::Cancelled, RuntimeEventKind::WorkerCancelled);
        self.store
            .write_to(&self.runtime_id, "cancel worker", |transaction| {
                operations::end_worker(transaction, &self.runtime_id, worker_ref, to, reason)
            })
    }

    /// Runs `operations` and commits their changes as one transaction. An `Err` or a panic of the closure
    /// undoes all changes. On disk when this returns; see [`Runtime`] for failures.
    ///
    /// The closure runs once, on the calling thread, while other writers of the store wait: keep it short. It
    /// may change the store through its argument only. Any other change of this or another store, and any
    /// wait for one, returns `InvalidRequest`; reads are allowed. See
    /// [closures and callbacks](crate::guide::transactions#closures-and-callbacks).
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// use redb_runtime_store::interaction::WorkerInput;
    ///
    /// runtime.transaction(|tx| {
    ///     tx.send_input(&worker, WorkerInput::user("Two and two?"))?;
    ///     tx.append_reply(&worker, "Four.")
    /// })?;
    /// # Ok::<(), RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the closure; the errors of every write.
    pub fn transaction<T>(
        &self,
        operations: impl FnOnce(&mut RuntimeTransaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.store
            .write_to(&self.runtime_id, "transaction", |transaction| {
                RuntimeTransaction::run(transaction, &self.runtime_id, self.backend(), operations)
            })
    }

    /// Runs `operations` as [`transaction`](Self::transaction) does, and returns before the commit, which a
    /// background thread makes. The submissions of one thread are committed in their order.
    ///
    /// The changes are on disk once [`Pending::wait`] or awaiting the [`Pending`] has returned `Ok`. Dropping
    /// the [`Pending`] does not cancel the commit.
    ///
    /// If 1,024 operations or 16 MiB are waiting for a commit, this waits for the running commit first.
    ///
    /// Inside the closure of a transaction, and inside a callback that writers wait for, the result is
    /// `InvalidRequest`; see [closures and callbacks](crate::guide::transactions#closures-and-callbacks).
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// use redb_runtime_store::interaction::WorkerInput;
    ///
    /// # let to = worker.clone();
    /// let pending = runtime.submit(move |tx| tx.send_input(&to, WorkerInput::user("Hello!")));
    /// // Other work. Then:
    /// let sent = pending.wait()?;
    /// # Ok::<(), RuntimeError>(())
    /// ```
    pub fn submit<T: Send + 'static>(
        &self,
        operations: impl FnOnce(&mut RuntimeTransaction<'_>) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Pending<T> {
        let (runtime_id, backend) = (self.runtime_id.clone(), self.backend());
        self.store
            .submit(&self.runtime_id, "submit", move |transaction| {
                RuntimeTransaction::run(transaction, &runtime_id, backend, operations)
            })
    }

    /// Reads a page of a worker's transcript. Past the end, the page has no items and no `next_start`. The
    /// cost is one seek and the items, at any length of the transcript.
    ///
    /// Positions never shift. A query that starts at an entry that retention removed begins at the first entry that is
    /// left: `start` of the page is the position of its first item. `total_items` is the position after the last entry.
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// use redb_runtime_store::interaction::TranscriptQuery;
    ///
    /// # runtime.append_reply(&worker, "Hello!")?;
    /// let page = runtime.transcript_projection(&worker, TranscriptQuery::new(0, 100))?;
    /// for entry in &page.items {
    ///     println!("{}: {}", entry.role, entry.content);
    /// }
    /// # assert_eq!(page.total_items, 1);
    /// # Ok::<(), RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `LimitTooLarge` if the query requests more items than the runtime's limit; `WrongRuntime`,
    /// `WorkerNotFound`; the errors of every read.
    pub fn transcript_projection(
        &self,
        worker_ref: &WorkerRef,
        query: TranscriptQuery,
    ) -> Result<TranscriptProjection, RuntimeError> {
        self.read("read transcript", |rows| {
            queries::transcript_projection(rows, &self.runtime_id, worker_ref, query)
        })
    }

    /// As [`transcript_projection`](Self::transcript_projection), with the time of each entry.
    ///
    /// # Errors
    ///
    /// As [`transcript_projection`](Self::transcript_projection).
    pub fn recorded_transcript(
        &self,
        worker_ref: &WorkerRef,
        query: TranscriptQuery,
    ) -> Result<RecordedTranscript, RuntimeError> {
        self.read("read transcript", |rows| {
            queries::recorded_transcript(rows, &self.runtime_id, worker_ref, query)
        })
    }

    /// A cursor to the first event that the log has: event 1, or the first one that retention has left. See
    /// [`prune`](Self::prune).
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound`, and the errors of every read.
    pub fn event_cursor_from_start(&self) -> Result<EventCursor, RuntimeError> {
        self.read("read cursor", |rows| {
            let row = pages::runtime_row(rows, &self.runtime_id)?;
            Ok(self.cursor(row.first_event_id))
        })
    }

    /// A cursor to the end of the log: the next event that the runtime logs.
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound`, and the errors of every read.
    pub fn event_cursor_now(&self) -> Result<EventCursor, RuntimeError> {
        self.read("read cursor", |rows| {
            let row = pages::runtime_row(rows, &self.runtime_id)?;
            Ok(self.cursor(row.next_event_id))
        })
    }

    fn cursor(&self, next_event_id: u64) -> EventCursor {
        EventCursor {
            runtime_id: self.runtime_id.clone(),
            next_event_id,
        }
    }

    /// Reads up to `limit` events, starting at `cursor`. An empty batch has an unchanged cursor. The cost is
    /// one seek and the events, at any length of the log.
    ///
    /// ```
    /// # let runtime = redb_runtime_store::Runtime::new_memory();
    /// let mut cursor = runtime.event_cursor_from_start()?;
    /// loop {
    ///     let batch = runtime.read_events(&cursor, 100)?;
    ///     for event in &batch.events {
    ///         println!("{}: {}", event.id, event.message);
    ///     }
    ///     cursor = batch.cursor;
    ///     if !batch.has_more {
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `WrongRuntimeCursor`; `EventsPruned` for a cursor below the first event that retention has left;
    /// `LimitTooLarge` if `limit` is greater than the runtime's limit; the errors of every read.
    pub fn read_events(
        &self,
        cursor: &EventCursor,
        limit: usize,
    ) -> Result<RuntimeEventBatch, RuntimeError> {
        self.read("read events", |rows| {
            queries::read_events(rows, &self.runtime_id, cursor, limit)
        })
    }

    /// As [`read_events`](Self::read_events), with the time of each event.
    ///
    /// # Errors
    ///
    /// As [`read_events`](Self::read_events).
    pub fn recorded_events(
        &self,
        cursor: &EventCursor,
        limit: usize,
    ) -> Result<RecordedEventBatch, RuntimeError> {
        self.read("read events", |rows| {
            queries::recorded_events(rows, &self.runtime_id, cursor, limit)
        })
    }

    /// A subscription that starts at `cursor`. The host polls it.
    ///
    /// # Errors
    ///
    /// `WrongRuntimeCursor`.
    pub fn subscribe_events(&self, cursor: EventCursor) -> Result<EventSubscription, RuntimeError> {
        pages::refuse_foreign_cursor(&self.runtime_id, &cursor)?;
        Ok(EventSubscription {
            runtime_id: self.runtime_id.clone(),
            cursor,
            mode: EventSubscriptionMode::PollOnly,
        })
    }
}
