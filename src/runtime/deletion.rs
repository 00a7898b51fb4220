//! Deletion of workers and runtimes.

use crate::error::RuntimeError;
use crate::ledger::checks;
use crate::ledger::deletion::{self, STEP_BYTES};
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::management::WorkerDeleteResult;
use crate::runtime::handle::Runtime;
use crate::runtime::removal;
use crate::store::handle::Store;

/// The options of the deletion of a runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeleteRuntimeOptions {
    even_if_running: bool,
}

impl DeleteRuntimeOptions {
    /// Options that reject a running runtime.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether a running runtime is deleted, too. `false` by default.
    #[must_use]
    pub fn even_if_running(mut self, even_if_running: bool) -> Self {
        self.even_if_running = even_if_running;
        self
    }
}

impl Runtime {
    /// Deletes a worker that is not running: its row, its transcript, its diagnostics and its kept files. Logs `WorkerDeleted`. The events
    /// of the worker stay, with their messages. Its id is never used again. Works on a stopped runtime, too.
    ///
    /// No reader sees any of it once the first commit is on disk. A worker with more than 4 MiB takes several commits,
    /// with other operations between them. When this returns `Ok`, all of it is removed from the tables on disk. If a
    /// later commit fails, or the process ends, the worker is deleted all the same, and the next open for writing removes
    /// the rest; so does another call. The bytes stay in free pages of the file until
    /// [`Store::compact`]: see [deletion](crate::guide::deletion).
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// runtime.stop_worker(&worker, None)?;
    /// runtime.delete_worker(&worker)?;
    /// assert!(runtime.list_workers()?.is_empty());
    /// # Ok::<(), RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a running worker; `WrongRuntime`, `WorkerNotFound`; the errors of every write, except
    /// `RuntimeStopped`.
    pub fn delete_worker(
        &self,
        worker_ref: &WorkerRef,
    ) -> Result<WorkerDeleteResult, RuntimeError> {
        let operation = "delete worker";
        let id = &self.runtime_id;
        let known = self.read(operation, |rows| {
            removal::known_diagnostics(rows, id, worker_ref)
        })?;
        let is_done = self.store.write_from(id, operation, |transaction| {
            removal::delete_worker(transaction, id, worker_ref, known)
        })?;
        if !is_done {
            self.store.finish_deletions_of(operation, id, STEP_BYTES)?;
        }
        Ok(removal::deleted(worker_ref))
    }
}

impl Store {
    /// Deletes a stopped runtime; see [`delete_runtime_with`](Self::delete_runtime_with).
    ///
    /// # Errors
    ///
    /// As [`delete_runtime_with`](Self::delete_runtime_with).
    pub fn delete_runtime(&self, id: &RuntimeId) -> Result<(), RuntimeError> {
        self.delete_runtime_with(id, &DeleteRuntimeOptions::default())
    }

    /// Deletes a runtime with all its rows: workers, events, transcripts, diagnostics, kept files, and its import record. Every handle
    /// of the runtime returns `RuntimeNotFound` afterwards. The id can be used again.
    ///
    /// No reader sees any of it once the first commit is on disk. A runtime with more than 4 MiB takes several commits,
    /// with other operations between them. When this returns `Ok`, all of it is removed from the tables on disk. If a
    /// later commit fails, or the process ends, the runtime is deleted all the same, and the next open for writing removes
    /// the rest; so does another call, and the creation of a runtime with this id. The bytes stay in free pages of the
    /// file until [`compact`](Self::compact): see [deletion](crate::guide::deletion).
    ///
    /// ```
    /// use redb_runtime_store::store::DeleteRuntimeOptions;
    /// # let runtime = redb_runtime_store::Runtime::new_memory();
    /// # let (store, id) = (runtime.store(), runtime.runtime_id()?);
    ///
    /// let options = DeleteRuntimeOptions::new().even_if_running(true);
    /// store.delete_runtime_with(&id, &options)?;
    /// assert!(store.runtimes()?.is_empty());
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a running runtime, unless the options accept it; `RuntimeNotFound`; the errors of every
    /// write, except `RuntimeStopped`.
    pub fn delete_runtime_with(
        &self,
        id: &RuntimeId,
        options: &DeleteRuntimeOptions,
    ) -> Result<(), RuntimeError> {
        let operation = "delete runtime";
        checks::refuse_long_id(id.as_str())?;
        let is_done = self.write_from(id, operation, |transaction| {
            removal::delete_runtime(transaction, id, options.even_if_running)
        })?;
        match is_done {
            true => Ok(()),
            false => self.finish_deletions_of(operation, id, STEP_BYTES),
        }
    }

    /// Removes the rows that unfinished deletions of a runtime have left, a commit for each `step_bytes`.
    pub(crate) fn finish_deletions_of(
        &self,
        operation: &'static str,
        id: &RuntimeId,
        step_bytes: usize,
    ) -> Result<(), RuntimeError> {
        while !self.write_from(id, operation, |transaction| {
            deletion::step(transaction, id.as_str(), step_bytes)
        })? {}
        Ok(())
    }
}
