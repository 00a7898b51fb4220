//! Open work: what a host began for a worker and has not ended, so that a host that comes back finds it.

use crate::error::RuntimeError;
use crate::ledger::rows::Rows;
use crate::ledger::transaction::Transaction;
use crate::ledger::whole;
use crate::model::attributes::{Attributes, OPEN_WORK};
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::time::system_time;
use crate::runtime::attributes;
use crate::runtime::handle::Runtime;
use crate::runtime::transaction::RuntimeTransaction;
use crate::runtime::{operations, pages};
use crate::store::handle::Store;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// The greatest length of the name and the note of open work, in bytes.
const MAX_TEXT_BYTES: usize = 4096;

/// The most open work of a worker.
const MAX_OPEN: usize = 256;

/// Work that a host began and did not end before its process ended; see [`Store::unfinished`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnfinishedWork {
    /// The worker.
    pub worker_ref: WorkerRef,
    /// The name of the work.
    pub name: String,
    /// The note of the host.
    pub note: String,
    /// The time at which the work was opened.
    pub opened_at: Option<SystemTime>,
}

/// Open work in the attributes of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open {
    note: String,
    /// Milliseconds since 1970-01-01 00:00 UTC.
    at_ms: u64,
    /// The number of the opening of the store in which it was opened. An export does not have it: what an import
    /// brings was opened before.
    #[serde(default, skip_serializing_if = "is_before_all")]
    opening: u32,
}

fn is_before_all(opening: &u32) -> bool {
    *opening == 0
}

/// The open work of a worker, by name. Attributes from an import can have any form: a value that is not open work is ignored.
fn of_worker(attributes: &Attributes) -> BTreeMap<String, Open> {
    attributes.get(OPEN_WORK).unwrap_or_default()
}

fn put(attributes: &mut Attributes, open: &BTreeMap<String, Open>) -> Result<(), RuntimeError> {
    attributes.remove(OPEN_WORK);
    if !open.is_empty() {
        *attributes = std::mem::take(attributes).with(OPEN_WORK, open)?;
    }
    Ok(())
}

fn open(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
    (name, note): (&str, &str),
) -> Result<(), RuntimeError> {
    let invalid = |why: String| Err(RuntimeError::InvalidRequest(why));
    if name.trim().is_empty() || name.len() > MAX_TEXT_BYTES || note.len() > MAX_TEXT_BYTES {
        return invalid(format!(
            "the name of open work must not be blank, and name and note have at most {MAX_TEXT_BYTES} bytes each"
        ));
    }
    pages::refuse_foreign(runtime_id, worker_ref)?;
    operations::running(transaction, runtime_id)?;
    let row = operations::active_worker(transaction, worker_ref)?;
    // Before the read of the last opening, which locks the whole store where several hosts write.
    let current = transaction.opening();
    if current.is_some_and(|opening| !opening.has_one_writer) {
        return invalid(
            "open work needs a runtime that one process writes: with several writers no lock says which process lives"
                .to_owned(),
        );
    }
    let last = transaction.last_opening()?;
    let opening = current.map_or(last, |opening| opening.number_after(last));
    if opening > last {
        transaction.changes().last_opening = Some(opening);
    }
    let mut attributes = attributes::of_worker(transaction, &row)?;
    let mut all = of_worker(&attributes);
    if all.get(name).is_some_and(|known| known.opening == opening) {
        return invalid(format!("work {name:?} is open already"));
    }
    if all.len() >= MAX_OPEN {
        return invalid(format!(
            "a worker has at most {MAX_OPEN} pieces of open work"
        ));
    }
    let work = Open {
        note: note.to_owned(),
        at_ms: transaction.now_ms(),
        opening,
    };
    all.insert(name.to_owned(), work);
    put(&mut attributes, &all)?;
    attributes::put(transaction, worker_ref, row, &attributes)
}

fn close(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
    name: &str,
) -> Result<bool, RuntimeError> {
    pages::refuse_foreign(runtime_id, worker_ref)?;
    let row = pages::worker_row(transaction, worker_ref)?;
    let mut attributes = attributes::of_worker(transaction, &row)?;
    let mut all = of_worker(&attributes);
    if all.remove(name).is_none() {
        return Ok(false);
    }
    put(&mut attributes, &all)?;
    attributes::put(transaction, worker_ref, row, &attributes)?;
    Ok(true)
}

/// The open work of a runtime that other openings than `opening` left.
fn left_by_others(
    rows: &dyn Rows,
    id: &RuntimeId,
    opening: Option<u32>,
    found: &mut Vec<UnfinishedWork>,
) -> Result<(), RuntimeError> {
    whole::each_worker(rows, id, |worker_ref, row| {
        let stored = row.attributes.as_ref();
        if !stored.is_some_and(|attributes| attributes.contains(OPEN_WORK)) {
            return Ok(());
        }
        let all = of_worker(&attributes::of_worker(rows, &row)?).into_iter();
        let left = all.filter(|(_, work)| opening != Some(work.opening));
        found.extend(left.map(|(name, work)| UnfinishedWork {
            worker_ref: worker_ref.clone(),
            name,
            note: work.note,
            opened_at: system_time(Some(work.at_ms)),
        }));
        Ok(())
    })
}

impl Runtime {
    /// Records that work for a running worker began: a call of a tool, an answer that is being generated. It is open until
    /// [`close_work`](Self::close_work). A host usually opens it in the transaction that appends the entry which the work
    /// belongs to, and closes it in the transaction that appends the result.
    ///
    /// Work that is open when a store is opened was left by a process that ended: [`Store::unfinished`] lists it. Opening
    /// it again takes it over. Logs no event. On disk when this returns; see [`Runtime`] for failures.
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// runtime.open_work(&worker, "call-1", "weather")?;
    /// let answer = "17 degrees";
    /// runtime.transaction(|tx| {
    ///     tx.append_reply(&worker, answer)?;
    ///     tx.close_work(&worker, "call-1")
    /// })?;
    /// # Ok::<(), RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a blank name, for a name or a note of more than 4 KiB, for work that this process has open
    /// already, for a worker that is not running or has 256 pieces of open work, and in a store with
    /// [`ManyWriters`](crate::Sharing::ManyWriters), where no lock says which process lives; `WrongRuntime`,
    /// `WorkerNotFound`; the errors of every write.
    pub fn open_work(
        &self,
        worker_ref: &WorkerRef,
        name: &str,
        note: &str,
    ) -> Result<(), RuntimeError> {
        self.store
            .write_to(&self.runtime_id, "open work", |transaction| {
                open(transaction, &self.runtime_id, worker_ref, (name, note))
            })
    }

    /// Records that work ended, of this process or of an earlier one. Returns whether it was open. Works on a worker or a
    /// runtime that was stopped, too. Logs no event. On disk when this returns; see [`Runtime`] for failures.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`, `WorkerNotFound`; the errors of every write, except `RuntimeStopped`.
    pub fn close_work(&self, worker_ref: &WorkerRef, name: &str) -> Result<bool, RuntimeError> {
        self.store
            .write_to(&self.runtime_id, "close work", |transaction| {
                close(transaction, &self.runtime_id, worker_ref, name)
            })
    }
}

impl RuntimeTransaction<'_> {
    /// Records that work for a running worker began.
    ///
    /// # Errors
    ///
    /// As [`Runtime::open_work`].
    pub fn open_work(
        &mut self,
        worker_ref: &WorkerRef,
        name: &str,
        note: &str,
    ) -> Result<(), RuntimeError> {
        self.part(|transaction, id| open(transaction, id, worker_ref, (name, note)))
    }

    /// Records that work ended.
    ///
    /// # Errors
    ///
    /// As [`Runtime::close_work`].
    pub fn close_work(&mut self, worker_ref: &WorkerRef, name: &str) -> Result<bool, RuntimeError> {
        self.part(|transaction, id| close(transaction, id, worker_ref, name))
    }
}

impl Store {
    /// The open work that an earlier opening of the store left: its process ended, by itself or by a crash, before it
    /// closed the work. The system dropped its lock with it, so no other process is doing the work. Sorted by runtime,
    /// worker and name. The cost is a scan of all workers.
    ///
    /// A store that is open read-only lists all open work, also that of a process which has the store open for writing.
    /// In a store on a server that gives leases, the work of a runtime whose lease another host has is not listed.
    ///
    /// ```
    /// # let runtime = redb_runtime_store::Runtime::new_memory();
    /// # let store = runtime.store();
    /// for work in store.unfinished()? {
    ///     println!("{}: {}", work.worker_ref.worker_id, work.name);
    /// }
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of every read: `StoreIo`, `StoreCorrupt`, `StoreClosed`.
    pub fn unfinished(&self) -> Result<Vec<UnfinishedWork>, RuntimeError> {
        let operation = "list open work";
        self.read(operation, |rows| {
            // After the snapshot: an opening has its number before its open work is committed.
            let opening = self.shared.opening().number();
            let mut found = Vec::new();
            for (id, _) in whole::all_runtimes(rows)? {
                if rows.is_held_elsewhere(id.as_str())? {
                    continue;
                }
                left_by_others(rows, &id, opening, &mut found)?;
            }
            Ok(found)
        })
    }
}
