//! Several operations of one runtime as one commit.

use crate::error::RuntimeError;
use crate::ledger::transaction::Transaction;
use crate::model::attributes::Attributes;
use crate::model::catalog::{
    CreateWorkerRequest, WorkerDetail, WorkerLifecycleAck, WorkerStatus, WorkerSummary,
};
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::{
    RecordedTranscript, TranscriptProjection, TranscriptQuery, WorkerInput, WorkerInteractionAck,
};
use crate::model::management::{RuntimeBackendKind, RuntimeSummary, WorkerDeleteResult};
use crate::model::observation::{
    EventCursor, RecordedEventBatch, RuntimeEventBatch, RuntimeEventKind,
};
use crate::runtime::pages;
use crate::runtime::removal;
use crate::runtime::{operations, queries};

/// Several operations that share one commit: [`Runtime::transaction`](crate::Runtime::transaction) and
/// [`Runtime::submit`](crate::Runtime::submit).
///
/// The methods are those of [`Runtime`](crate::Runtime), with the same rules and errors. Reads see the
/// earlier writes of the transaction. A method that fails changes nothing and does not undo the methods
/// before it; if the closure returns the error, the whole transaction is undone.
#[derive(Debug)]
pub struct RuntimeTransaction<'t> {
    pub(super) transaction: Transaction<'t>,
    pub(super) runtime_id: &'t RuntimeId,
    backend: RuntimeBackendKind,
}

impl RuntimeTransaction<'_> {
    /// Runs `operations` on `transaction`. If they fail, the caller drops the transaction.
    pub(crate) fn run<T>(
        transaction: &mut Transaction<'_>,
        runtime_id: &RuntimeId,
        backend: RuntimeBackendKind,
        operations: impl FnOnce(&mut RuntimeTransaction<'_>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let mut own = RuntimeTransaction {
            transaction: transaction.lend(),
            runtime_id,
            backend,
        };
        let result = operations(&mut own)?;
        transaction.give_back(own.transaction);
        Ok(result)
    }

    /// Runs a part of the transaction. If it fails, its changes are discarded and earlier ones stay.
    pub(super) fn part<T>(
        &mut self,
        part: impl FnOnce(&mut Transaction<'_>, &RuntimeId) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let id = self.runtime_id;
        self.transaction.nested(|transaction| part(transaction, id))
    }

    /// The runtime.
    pub fn runtime_id(&self) -> &RuntimeId {
        self.runtime_id
    }

    /// Creates a worker.
    ///
    /// # Errors
    ///
    /// As [`Runtime::create_worker`](crate::Runtime::create_worker).
    pub fn create_worker(
        &mut self,
        request: CreateWorkerRequest,
    ) -> Result<WorkerDetail, RuntimeError> {
        let id = self.runtime_id;
        self.transaction.nested(|transaction| {
            operations::create_worker(transaction, id, request, &Attributes::new())
        })
    }

    /// Gives input to a running worker.
    ///
    /// # Errors
    ///
    /// As [`Runtime::send_input`](crate::Runtime::send_input).
    pub fn send_input(
        &mut self,
        worker_ref: &WorkerRef,
        input: WorkerInput,
    ) -> Result<WorkerInteractionAck, RuntimeError> {
        let id = self.runtime_id;
        self.transaction.nested(|transaction| {
            operations::send_input(transaction, id, worker_ref, input, &Attributes::new())
        })
    }

    /// Appends a reply of a running worker to its transcript.
    ///
    /// # Errors
    ///
    /// As [`Runtime::append_reply`](crate::Runtime::append_reply).
    pub fn append_reply(
        &mut self,
        worker_ref: &WorkerRef,
        content: impl Into<String>,
    ) -> Result<WorkerInteractionAck, RuntimeError> {
        let (id, content) = (self.runtime_id, content.into());
        self.transaction.nested(|transaction| {
            operations::append_reply(transaction, id, worker_ref, content, &Attributes::new())
        })
    }

    /// Stops a worker.
    ///
    /// # Errors
    ///
    /// As [`Runtime::stop_worker`](crate::Runtime::stop_worker).
    pub fn stop_worker(
        &mut self,
        worker_ref: &WorkerRef,
        reason: Option<String>,
    ) -> Result<WorkerLifecycleAck, RuntimeError> {
        let to = (WorkerStatus::Stopped, RuntimeEventKind::WorkerStopped);
        self.end_worker(worker_ref, to, reason)
    }

    /// Cancels a worker.
    ///
    /// # Errors
    ///
    /// As [`Runtime::cancel_worker`](crate::Runtime::cancel_worker).
    pub fn cancel_worker(
        &mut self,
        worker_ref: &WorkerRef,
        reason: Option<String>,
    ) -> Result<WorkerLifecycleAck, RuntimeError> {
        let to = (WorkerStatus::Cancelled, RuntimeEventKind::WorkerCancelled);
        self.end_worker(worker_ref, to, reason)
    }

    /// Deletes a worker that is not running, with all its rows.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` also for a worker with more than 4 MiB of rows: it takes more than one commit. Otherwise as
    /// [`Runtime::delete_worker`](crate::Runtime::delete_worker).
    pub fn delete_worker(
        &mut self,
        worker_ref: &WorkerRef,
    ) -> Result<WorkerDeleteResult, RuntimeError> {
        let id = self.runtime_id;
        self.transaction
            .nested(|transaction| removal::delete_worker_whole(transaction, id, worker_ref))
    }

    /// Protects a worker from retention, or ends the protection. Works on a stopped runtime, too.
    ///
    /// # Errors
    ///
    /// As [`Runtime::set_pinned`](crate::Runtime::set_pinned).
    pub fn set_pinned(
        &mut self,
        worker_ref: &WorkerRef,
        is_pinned: bool,
    ) -> Result<(), RuntimeError> {
        let id = self.runtime_id;
        self.transaction
            .nested(|transaction| operations::set_pinned(transaction, id, worker_ref, is_pinned))
    }

    fn end_worker(
        &mut self,
        worker_ref: &WorkerRef,
        to: (WorkerStatus, RuntimeEventKind),
        reason: Option<String>,
    ) -> Result<WorkerLifecycleAck, RuntimeError> {
        let id = self.runtime_id;
        self.transaction
            .nested(|transaction| operations::end_worker(transaction, id, worker_ref, to, reason))
    }

    /// The runtime as a whole.
    ///
    /// # Errors
    ///
    /// As [`Runtime::summary`](crate::Runtime::summary).
    pub fn summary(&self) -> Result<RuntimeSummary, RuntimeError> {
        let row = pages::runtime_row(&self.transaction, self.runtime_id)?;
        Ok(queries::summary(self.runtime_id, row, self.backend))
    }

    /// The runtime's diagnostics.
    ///
    /// # Errors
    ///
    /// As [`Runtime::diagnostics`](crate::Runtime::diagnostics).
    pub fn diagnostics(&self) -> Result<Vec<RuntimeDiagnostic>, RuntimeError> {
        queries::diagnostics(&self.transaction, self.runtime_id)
    }

    /// All workers, in the order of their ids.
    ///
    /// # Errors
    ///
    /// As [`Runtime::list_workers`](crate::Runtime::list_workers).
    pub fn list_workers(&self) -> Result<Vec<WorkerSummary>, RuntimeError> {
        queries::list_workers(&self.transaction, self.runtime_id)
    }

    /// A worker with everything it was created with.
    ///
    /// # Errors
    ///
    /// As [`Runtime::worker_detail`](crate::Runtime::worker_detail).
    pub fn worker_detail(&self, worker_ref: &WorkerRef) -> Result<WorkerDetail, RuntimeError> {
        queries::worker_detail(&self.transaction, self.runtime_id, worker_ref)
    }

    /// A page of a worker's transcript.
    ///
    /// # Errors
    ///
    /// As [`Runtime::transcript_projection`](crate::Runtime::transcript_projection).
    pub fn transcript_projection(
        &self,
        worker_ref: &WorkerRef,
        query: TranscriptQuery,
    ) -> Result<TranscriptProjection, RuntimeError> {
        queries::transcript_projection(&self.transaction, self.runtime_id, worker_ref, query)
    }

    /// As [`transcript_projection`](Self::transcript_projection), with the time of each entry.
    ///
    /// # Errors
    ///
    /// As [`Runtime::transcript_projection`](crate::Runtime::transcript_projection).
    pub fn recorded_transcript(
        &self,
        worker_ref: &WorkerRef,
        query: TranscriptQuery,
    ) -> Result<RecordedTranscript, RuntimeError> {
        queries::recorded_transcript(&self.transaction, self.runtime_id, worker_ref, query)
    }

    /// As [`read_events`](Self::read_events), with the time of each event.
    ///
    /// # Errors
    ///
    /// As [`Runtime::read_events`](crate::Runtime::read_events).
    pub fn recorded_events(
        &self,
        cursor: &EventCursor,
        limit: usize,
    ) -> Result<RecordedEventBatch, RuntimeError> {
        queries::recorded_events(&self.transaction, self.runtime_id, cursor, limit)
    }

    /// Up to `limit` events from `cursor` on.
    ///
    /// # Errors
    ///
    /// As [`Runtime::read_events`](crate::Runtime::read_events).
    pub fn read_events(
        &self,
        cursor: &EventCursor,
        limit: usize,
    ) -> Result<RuntimeEventBatch, RuntimeError> {
        queries::read_events(&self.transaction, self.runtime_id, cursor, limit)
    }
}
