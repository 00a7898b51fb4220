//! The handle of a runtime.

use crate::commit::pending::Pending;
use crate::error::RuntimeError;
use crate::ledger::rows::Rows;
use crate::ledger::whole;
use crate::model::catalog::{
    CreateWorkerRequest, WorkerDetail, WorkerLifecycleAck, WorkerStatus, WorkerSummary,
};
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::{
    TranscriptProjection, TranscriptQuery, WorkerInput, WorkerInteractionAck,
};
use crate::model::management::{
    RuntimeBackendKind, RuntimeLimits, RuntimeOptions, RuntimeStatus, RuntimeSummary,
};
use crate::model::observation::{
    EventCursor, EventSubscription, EventSubscriptionMode, RuntimeEventBatch, RuntimeEventKind,
};
use crate::runtime::pages;
use crate::runtime::transaction::RuntimeTransaction;
use crate::runtime::{operations, queries};
use crate::store::handle::Store;
use std::path::PathBuf;

/// A runtime that owns workers. Clones are handles of the same runtime; it is safe to use from any
/// number of threads.
///
/// # Durability
///
/// Every method that changes something is one transaction. When it returns `Ok`, everything that it
/// did is on disk; after an error nothing of it is, except after
/// [`CommitUncertain`](RuntimeError::CommitUncertain): then it is there wholly or not at all, and
/// opening the store again shows which. Until then every write is
/// [`StoreFailed`](RuntimeError::StoreFailed), and so are reads: redb does not touch a file again that
/// failed it.
///
/// # Errors
///
/// Every method can fail with `StoreIo`, `StoreCorrupt` and `StoreClosed`; one that changes
/// something also with `RuntimeStopped`, `StoreReadOnly`, `CommitUncertain` and `StoreFailed`. The
/// methods name what else they refuse.
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

/// The store and the id of a runtime, and the settings of a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedbRuntimeStoreOptions {
    /// The store's file.
    pub path: PathBuf,
    /// The runtime; without one the store's only runtime, or a fresh unique id in an empty store.
    pub runtime_id: Option<RuntimeId>,
    /// A new runtime's display name.
    pub display_name: Option<String>,
    /// A new runtime's limits.
    pub limits: RuntimeLimits,
}

impl RedbRuntimeStoreOptions {
    /// The only runtime of the store at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            runtime_id: None,
            display_name: None,
            limits: RuntimeLimits::default(),
        }
    }
}

impl Store {
    /// Opens the runtime that `options` name, or creates it. A runtime that exists keeps its own
    /// name, limits and status. A new one logs `RuntimeStarted` as event 1.
    ///
    /// Without an id: the store's only runtime, or a new one with a fresh unique id in an empty
    /// store.
    ///
    /// # Errors
    ///
    /// `InvalidRequest`, listing them, where there are several runtimes and no id; `StoreReadOnly`
    /// for a new runtime in a read-only store; the errors of every read and write.
    pub fn runtime(&self, options: RuntimeOptions) -> Result<Runtime, RuntimeError> {
        let existing = self.read("open runtime", |rows| resolve(rows, &options))?;
        let runtime_id = match existing {
            Some(runtime_id) => runtime_id,
            None => self.write("create runtime", |transaction| {
                // Another thread may have been quicker.
                if let Some(runtime_id) = resolve(transaction, &options)? {
                    return Ok(runtime_id);
                }
                let runtime_id = match &options.runtime_id {
                    Some(runtime_id) => runtime_id.clone(),
                    None => unique_runtime_id(transaction)?,
                };
                operations::create_runtime(transaction, &runtime_id, &options)?;
                Ok(runtime_id)
            })?,
        };
        Ok(Runtime {
            store: self.clone(),
            runtime_id,
        })
    }

    /// All runtimes of the store, in the order of their ids.
    ///
    /// # Errors
    ///
    /// The errors of every read: `StoreIo`, `StoreCorrupt`, `StoreClosed`.
    pub fn runtimes(&self) -> Result<Vec<RuntimeSummary>, RuntimeError> {
        let backend = self.engine().backend;
        self.read("list runtimes", |rows| {
            let all = whole::all_runtimes(rows)?;
            Ok(all
                .into_iter()
                .map(|(id, row)| queries::summary(&id, row, backend))
                .collect())
        })
    }
}

/// The runtime that `options` mean, if the store has it.
fn resolve(rows: &dyn Rows, options: &RuntimeOptions) -> Result<Option<RuntimeId>, RuntimeError> {
    if let Some(runtime_id) = &options.runtime_id {
        let row = rows.runtime(runtime_id.as_str())?;
        return Ok(row.map(|_| runtime_id.clone()));
    }
    let mut all = whole::all_runtimes(rows)?;
    if all.len() > 1 {
        let ids: Vec<String> = all
            .iter()
            .map(|(id, _)| format!("{:?}", id.as_str()))
            .collect();
        return Err(RuntimeError::InvalidRequest(format!(
            "{}: there are {} runtimes in this store, name one of them: {}",
            rows.at().place,
            ids.len(),
            ids.join(", ")
        )));
    }
    Ok(all.pop().map(|(id, _)| id))
}

fn unique_runtime_id(rows: &dyn Rows) -> Result<RuntimeId, RuntimeError> {
    let id = format!(
        "runtime-{}",
        crate::ledger::unique_id::unique_id(rows.at())?
    );
    RuntimeId::new(id).ok_or_else(|| rows.at().corrupt("a generated runtime id is blank"))
}

impl Runtime {
    /// A runtime in memory, with a fresh unique id.
    #[must_use]
    pub fn new_memory() -> Self {
        Self::with_options(RuntimeOptions::default())
    }

    /// A runtime in memory.
    ///
    /// # Panics
    ///
    /// Where the system has no random numbers: nothing else about a store in memory can fail.
    #[must_use]
    pub fn with_options(options: RuntimeOptions) -> Self {
        let created = Store::in_memory().and_then(|store| store.runtime(options));
        match created {
            Ok(runtime) => runtime,
            // The signature is the directory store's, which could not fail either.
            Err(error) => panic!("a runtime in memory cannot be created: {error}"),
        }
    }

    /// Opens the store at the options' path, creates it where there is nothing, and opens or
    /// creates the runtime in it. See [`Store::open`] and [`Store::runtime`].
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

    /// The store that the runtime is in.
    pub fn store(&self) -> &Store {
        &self.store
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
    /// `RuntimeNotFound` where the runtime was removed from the store.
    pub fn runtime_id(&self) -> Result<RuntimeId, RuntimeError> {
        self.summary().map(|summary| summary.runtime_id)
    }

    /// The runtime as a whole. Costs the same with any number of workers.
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound` where the runtime was removed from the store.
    pub fn summary(&self) -> Result<RuntimeSummary, RuntimeError> {
        self.read("read summary", |rows| {
            let row = pages::runtime_row(rows, &self.runtime_id)?;
            Ok(queries::summary(&self.runtime_id, row, self.backend()))
        })
    }

    fn backend(&self) -> RuntimeBackendKind {
        self.store.engine().backend
    }

    /// The runtime's lifecycle status.
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound` where the runtime was removed from the store.
    pub fn status(&self) -> Result<RuntimeStatus, RuntimeError> {
        self.summary().map(|summary| summary.status)
    }

    /// The runtime's diagnostics, in the order of their ids.
    ///
    /// # Errors
    ///
    /// The errors of every read.
    pub fn diagnostics(&self) -> Result<Vec<RuntimeDiagnostic>, RuntimeError> {
        self.read("read diagnostics", |rows| {
            queries::diagnostics(rows, &self.runtime_id)
        })
    }

    /// Stops the runtime: active workers become `Stopped`, one `RuntimeStopped` event is logged,
    /// whose id is returned. Everything stays readable. A second call changes nothing and returns
    /// the last event id. Durable when it returns; see [`Runtime`] for when it fails.
    ///
    /// # Errors
    ///
    /// The errors of every write.
    pub fn stop_runtime(&self) -> Result<u64, RuntimeError> {
        self.store.write("stop runtime", |transaction| {
            operations::stop_runtime(transaction, &self.runtime_id)
        })
    }

    /// Creates a worker. Durable when it returns; see [`Runtime`] for when it fails.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a blank task objective or a blank capability name; the errors of every
    /// write.
    pub fn create_worker(
        &self,
        request: CreateWorkerRequest,
    ) -> Result<WorkerDetail, RuntimeError> {
        self.store.write("create worker", |transaction| {
            operations::create_worker(transaction, &self.runtime_id, request)
        })
    }

    /// All workers, in the order of their ids.
    ///
    /// # Errors
    ///
    /// The errors of every read.
    pub fn list_workers(&self) -> Result<Vec<WorkerSummary>, RuntimeError> {
        self.read("list workers", |rows| {
            queries::list_workers(rows, &self.runtime_id)
        })
    }

    /// A worker with everything it was created with.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`, `WorkerNotFound`, and the errors of every read.
    pub fn worker_detail(&self, worker_ref: &WorkerRef) -> Result<WorkerDetail, RuntimeError> {
        self.read("read worker", |rows| {
            queries::worker_detail(rows, &self.runtime_id, worker_ref)
        })
    }

    /// Gives input to a running worker: logs `WorkerInputAccepted` and appends the transcript
    /// entry. Durable when it returns; see [`Runtime`] for when it fails.
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
        self.store.write("send input", |transaction| {
            operations::send_input(transaction, &self.runtime_id, worker_ref, input)
        })
    }

    /// Stops a worker; the reason is the event's message. The first terminal status stays: a later
    /// stop or cancel returns it and logs nothing. Durable when it returns; see [`Runtime`] for
    /// when it fails.
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
        self.store.write("stop worker", |transaction| {
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
        self.store.write("cancel worker", |transaction| {
            operations::end_worker(transaction, &self.runtime_id, worker_ref, to, reason)
        })
    }

    /// Runs `operations` and commits what they did as one transaction; `Err` and a panic undo all of
    /// it. Durable when it returns; see [`Runtime`] for when it fails.
    ///
    /// The closure runs once, on this thread, while other writers of the store wait: keep it short.
    /// It must not use the store but through its argument; a call on the runtime itself is refused
    /// there.
    ///
    /// # Errors
    ///
    /// What the closure returns; the errors of every write.
    pub fn transaction<T>(
        &self,
        operations: impl FnOnce(&mut RuntimeTransaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.store.write("transaction", |transaction| {
            RuntimeTransaction::run(transaction, &self.runtime_id, self.backend(), operations)
        })
    }

    /// Runs `operations` as [`transaction`](Self::transaction) does, and returns at once: the commit
    /// goes on in the background. What is submitted by one thread is committed in that order.
    /// Nothing is durable before [`Pending::wait`], or awaiting it, has returned `Ok`; dropping it
    /// cancels nothing.
    ///
    /// Where 1,024 operations or 16 MiB wait already, this waits for the commit under way first.
    pub fn submit<T: Send + 'static>(
        &self,
        operations: impl FnOnce(&mut RuntimeTransaction<'_>) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Pending<T> {
        let (runtime_id, backend) = (self.runtime_id.clone(), self.backend());
        self.store.submit("submit", move |transaction| {
            RuntimeTransaction::run(transaction, &runtime_id, backend, operations)
        })
    }

    /// A page of a worker's transcript. Past the end it has no items and no `next_start`. Costs the
    /// seek and the items, at any length of the transcript.
    ///
    /// # Errors
    ///
    /// `LimitTooLarge` where the query asks for more than the runtime's limit; `WrongRuntime`,
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

    /// A cursor to the first event.
    ///
    /// # Errors
    ///
    /// None; a `Result` for hosts that move over from the directory store.
    pub fn event_cursor_from_start(&self) -> Result<EventCursor, RuntimeError> {
        Ok(self.cursor(1))
    }

    /// A cursor to the next event that will be logged.
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

    /// Up to `limit` events from `cursor` on. An empty batch keeps the cursor. Costs the seek and
    /// the events, at any length of the log.
    ///
    /// # Errors
    ///
    /// `WrongRuntimeCursor`; `LimitTooLarge` where `limit` is over the runtime's; the errors of
    /// every read.
    pub fn read_events(
        &self,
        cursor: &EventCursor,
        limit: usize,
    ) -> Result<RuntimeEventBatch, RuntimeError> {
        self.read("read events", |rows| {
            queries::read_events(rows, &self.runtime_id, cursor, limit)
        })
    }

    /// A subscription that is read by polling from `cursor`.
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
