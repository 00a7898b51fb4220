//! Attributes of workers and entries, and the workers that a filter selects.

use crate::error::RuntimeError;
use crate::ledger::convert;
use crate::ledger::rows::{PAGE_ROWS, Rows, WorkerRow};
use crate::ledger::transaction::Transaction;
use crate::model::attributes::{self, Attributes, MAX_ATTRIBUTES_BYTES};
use crate::model::catalog::{CreateWorkerRequest, WorkerDetail};
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::{WorkerInput, WorkerInteractionAck};
use crate::model::time::system_time;
use crate::model::worker_filter::{WorkerEntry, WorkerFilter, WorkerPage};
use crate::runtime::handle::Runtime;
use crate::runtime::transaction::RuntimeTransaction;
use crate::runtime::{operations, pages, queries};

/// The attributes of a new worker or entry: those of a host, without members that are `null`.
fn of_host(given: Attributes) -> Result<Attributes, RuntimeError> {
    refuse_names_of_store(&given)?;
    let mut attributes = Attributes::new();
    attributes.merge(given);
    refuse_large(&attributes)?;
    Ok(attributes)
}

fn refuse_names_of_store(given: &Attributes) -> Result<(), RuntimeError> {
    match given.name_of_store() {
        None => Ok(()),
        Some(name) => Err(RuntimeError::InvalidRequest(format!(
            "the attribute {name:?}: names that begin with $ are the store's"
        ))),
    }
}

fn refuse_large(attributes: &Attributes) -> Result<(), RuntimeError> {
    match attributes.host_bytes() {
        0..=MAX_ATTRIBUTES_BYTES => Ok(()),
        bytes => Err(RuntimeError::InvalidRequest(format!(
            "the attributes have {bytes} bytes of JSON, the limit is {MAX_ATTRIBUTES_BYTES}"
        ))),
    }
}

/// The attributes of a worker's row.
pub(crate) fn of_worker(rows: &dyn Rows, row: &WorkerRow) -> Result<Attributes, RuntimeError> {
    let attributes = convert::parsed_attributes(row.attributes.as_deref());
    attributes.map_err(|message| {
        rows.at()
            .corrupt(format!("attributes of a worker: {message}"))
    })
}

/// Stores the attributes of a worker as a change of it.
pub(crate) fn put(
    transaction: &mut Transaction<'_>,
    worker_ref: &WorkerRef,
    mut row: WorkerRow,
    attributes: &Attributes,
) -> Result<(), RuntimeError> {
    let mut runtime = pages::runtime_row(transaction, &worker_ref.runtime_id)?;
    row.attributes = convert::stored_attributes(attributes);
    // What an import could not take for attributes has the same name.
    attributes::remove_from(&mut row.unknown);
    row.touch(&mut runtime, transaction.now_ms());
    let (id, worker_id) = convert::owner_of(worker_ref);
    transaction.changes().put_runtime(id, runtime)?;
    transaction.changes().put_worker(id, worker_id, row)
}

fn set(
    transaction: &mut Transaction<'_>,
    id: &RuntimeId,
    worker_ref: &WorkerRef,
    patch: Attributes,
) -> Result<Attributes, RuntimeError> {
    pages::refuse_foreign(id, worker_ref)?;
    refuse_names_of_store(&patch)?;
    let row = pages::worker_row(transaction, worker_ref)?;
    let before = of_worker(transaction, &row)?;
    let mut attributes = before.clone();
    attributes.merge(patch);
    refuse_large(&attributes)?;
    if attributes != before {
        put(transaction, worker_ref, row, &attributes)?;
    }
    Ok(attributes)
}

fn get(
    rows: &dyn Rows,
    id: &RuntimeId,
    worker_ref: &WorkerRef,
) -> Result<Attributes, RuntimeError> {
    pages::refuse_foreign(id, worker_ref)?;
    of_worker(rows, &pages::worker_row(rows, worker_ref)?)
}

/// Reads workers until the page is full or all are read.
fn select(
    rows: &dyn Rows,
    id: &RuntimeId,
    filter: &WorkerFilter,
) -> Result<WorkerPage, RuntimeError> {
    let last_change = pages::runtime_row(rows, id)?.last_change;
    let mut found = WorkerPage {
        workers: Vec::new(),
        next: None,
        last_change,
    };
    let mut last = filter.after.as_ref().map(WorkerId::to_string);
    loop {
        let page = rows.workers(id.as_str(), last.as_deref(), PAGE_ROWS)?;
        let Some((end, _)) = page.last() else {
            return Ok(found);
        };
        last = Some(end.clone());
        for (worker, row) in page {
            let entry = entry(rows, id, &worker, row)?;
            if !filter.selects(&entry) {
                continue;
            }
            if found.workers.len() >= filter.limit {
                let last = found.workers.last();
                found.next = match last {
                    Some(last) => Some(last.summary.worker_id.clone()),
                    None => filter.after.clone(),
                };
                return Ok(found);
            }
            found.workers.push(entry);
        }
    }
}

fn entry(
    rows: &dyn Rows,
    id: &RuntimeId,
    worker: &str,
    row: WorkerRow,
) -> Result<WorkerEntry, RuntimeError> {
    let worker_ref = convert::worker_ref(id, worker).map_err(|why| rows.at().corrupt(why))?;
    Ok(WorkerEntry {
        attributes: of_worker(rows, &row)?,
        change: row.change,
        changed_at: system_time(row.changed_at_ms),
        summary: queries::worker_summary(worker_ref, row),
    })
}

impl Runtime {
    /// As [`create_worker`](Self::create_worker), with attributes. On disk when this returns; see [`Runtime`] for
    /// failures.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` also for attributes of more than [`MAX_ATTRIBUTES_BYTES`], and for a name that begins with `$`.
    pub fn create_worker_with(
        &self,
        request: CreateWorkerRequest,
        attributes: Attributes,
    ) -> Result<WorkerDetail, RuntimeError> {
        let attributes = of_host(attributes)?;
        self.store
            .write_to(&self.runtime_id, "create worker", |transaction| {
                operations::create_worker(transaction, &self.runtime_id, request, &attributes)
            })
    }

    /// Creates a worker with an id of the host's. If the same request created a worker with this id before, returns that
    /// worker as it is and writes nothing: so a host can repeat the call after
    /// [`CommitUncertain`](RuntimeError::CommitUncertain) or a crash. On disk when this returns; see [`Runtime`] for
    /// failures.
    ///
    /// # Errors
    ///
    /// [`WorkerExists`](RuntimeError::WorkerExists) if another request created a worker with this id; `InvalidRequest`
    /// for an id of a deleted worker, and for an id of more than 64 KiB; otherwise as
    /// [`create_worker`](Self::create_worker).
    pub fn create_worker_as(
        &self,
        worker_id: WorkerId,
        request: CreateWorkerRequest,
    ) -> Result<WorkerDetail, RuntimeError> {
        self.store
            .write_to(&self.runtime_id, "create worker", |transaction| {
                operations::create_worker_as(transaction, &self.runtime_id, worker_id, request)
            })
    }

    /// As [`send_input`](Self::send_input), with attributes of the transcript entry. On disk when this returns; see
    /// [`Runtime`] for failures.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` also for attributes of more than [`MAX_ATTRIBUTES_BYTES`], and for a name that begins with `$`.
    pub fn send_input_with(
        &self,
        worker_ref: &WorkerRef,
        input: WorkerInput,
        attributes: Attributes,
    ) -> Result<WorkerInteractionAck, RuntimeError> {
        let attributes = of_host(attributes)?;
        self.store
            .write_to(&self.runtime_id, "send input", |transaction| {
                let id = &self.runtime_id;
                operations::send_input(transaction, id, worker_ref, input, &attributes)
            })
    }

    /// As [`append_reply`](Self::append_reply), with attributes of the transcript entry. On disk when this returns; see
    /// [`Runtime`] for failures.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` also for attributes of more than [`MAX_ATTRIBUTES_BYTES`], and for a name that begins with `$`.
    pub fn append_reply_with(
        &self,
        worker_ref: &WorkerRef,
        content: impl Into<String>,
        attributes: Attributes,
    ) -> Result<WorkerInteractionAck, RuntimeError> {
        let (content, attributes) = (content.into(), of_host(attributes)?);
        self.store
            .write_to(&self.runtime_id, "append reply", |transaction| {
                let id = &self.runtime_id;
                operations::append_reply(transaction, id, worker_ref, content, &attributes)
            })
    }

    /// The attributes of a worker.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`, `WorkerNotFound`, and the errors of every read.
    pub fn attributes(&self, worker_ref: &WorkerRef) -> Result<Attributes, RuntimeError> {
        self.read("read attributes", |rows| {
            get(rows, &self.runtime_id, worker_ref)
        })
    }

    /// Changes the attributes of a worker by a JSON merge patch (RFC 7396) and returns the result: a member of the patch
    /// that is `null` removes the one of its name, an object is merged into an object, any other value replaces. Logs no
    /// event, and works on a stopped runtime, too. A patch that changes nothing writes nothing. On disk when this returns;
    /// see [`Runtime`] for failures.
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// use redb_runtime_store::attributes::Attributes;
    ///
    /// let patch = Attributes::new().with("title", "Report")?;
    /// assert_eq!(runtime.set_attributes(&worker, patch.clone())?, patch);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a result of more than [`MAX_ATTRIBUTES_BYTES`], and for a name that begins with `$`;
    /// `WrongRuntime`, `WorkerNotFound`; the errors of every write, except `RuntimeStopped`.
    pub fn set_attributes(
        &self,
        worker_ref: &WorkerRef,
        patch: Attributes,
    ) -> Result<Attributes, RuntimeError> {
        self.store
            .write_to(&self.runtime_id, "set attributes", |transaction| {
                set(transaction, &self.runtime_id, worker_ref, patch)
            })
    }

    /// A page of the workers that `filter` selects, by the order of their ids. The cost is a scan of all workers, from
    /// [`WorkerFilter::after`] on until the page is full: about 60 ms for 100,000 workers.
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// use redb_runtime_store::catalog::{WorkerFilter, WorkerStatus};
    ///
    /// let running = WorkerFilter::new().status(WorkerStatus::Running);
    /// for entry in runtime.workers(&running)?.workers {
    ///     println!("{}", entry.summary.worker_ref.worker_id);
    /// }
    /// # Ok::<(), RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound`, and the errors of every read.
    pub fn workers(&self, filter: &WorkerFilter) -> Result<WorkerPage, RuntimeError> {
        self.read("list workers", |rows| {
            select(rows, &self.runtime_id, filter)
        })
    }
}

impl RuntimeTransaction<'_> {
    /// Creates a worker with attributes.
    ///
    /// # Errors
    ///
    /// As [`Runtime::create_worker_with`].
    pub fn create_worker_with(
        &mut self,
        request: CreateWorkerRequest,
        attributes: Attributes,
    ) -> Result<WorkerDetail, RuntimeError> {
        let attributes = of_host(attributes)?;
        self.part(|transaction, id| {
            operations::create_worker(transaction, id, request, &attributes)
        })
    }

    /// Creates a worker with an id of the host's, unless the same request has created it.
    ///
    /// # Errors
    ///
    /// As [`Runtime::create_worker_as`].
    pub fn create_worker_as(
        &mut self,
        worker_id: WorkerId,
        request: CreateWorkerRequest,
    ) -> Result<WorkerDetail, RuntimeError> {
        self.part(|transaction, id| {
            operations::create_worker_as(transaction, id, worker_id, request)
        })
    }

    /// Gives input with attributes to a running worker.
    ///
    /// # Errors
    ///
    /// As [`Runtime::send_input_with`].
    pub fn send_input_with(
        &mut self,
        worker_ref: &WorkerRef,
        input: WorkerInput,
        attributes: Attributes,
    ) -> Result<WorkerInteractionAck, RuntimeError> {
        let attributes = of_host(attributes)?;
        self.part(|transaction, id| {
            operations::send_input(transaction, id, worker_ref, input, &attributes)
        })
    }

    /// Appends a reply with attributes.
    ///
    /// # Errors
    ///
    /// As [`Runtime::append_reply_with`].
    pub fn append_reply_with(
        &mut self,
        worker_ref: &WorkerRef,
        content: impl Into<String>,
        attributes: Attributes,
    ) -> Result<WorkerInteractionAck, RuntimeError> {
        let (content, attributes) = (content.into(), of_host(attributes)?);
        self.part(|transaction, id| {
            operations::append_reply(transaction, id, worker_ref, content, &attributes)
        })
    }

    /// The attributes of a worker.
    ///
    /// # Errors
    ///
    /// As [`Runtime::attributes`].
    pub fn attributes(&self, worker_ref: &WorkerRef) -> Result<Attributes, RuntimeError> {
        get(&self.transaction, self.runtime_id, worker_ref)
    }

    /// Changes the attributes of a worker by a JSON merge patch.
    ///
    /// # Errors
    ///
    /// As [`Runtime::set_attributes`].
    pub fn set_attributes(
        &mut self,
        worker_ref: &WorkerRef,
        patch: Attributes,
    ) -> Result<Attributes, RuntimeError> {
        self.part(|transaction, id| set(transaction, id, worker_ref, patch))
    }

    /// A page of the workers that `filter` selects.
    ///
    /// # Errors
    ///
    /// As [`Runtime::workers`].
    pub fn workers(&self, filter: &WorkerFilter) -> Result<WorkerPage, RuntimeError> {
        select(&self.transaction, self.runtime_id, filter)
    }
}
