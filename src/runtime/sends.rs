//! Inputs that a host can send again.

use crate::error::RuntimeError;
use crate::ledger::convert;
use crate::ledger::rows::Rows;
use crate::ledger::transaction::Transaction;
use crate::model::attributes::{Attributes, ONCE, Once};
use crate::model::catalog::WorkerStatus;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::{TranscriptRole, WorkerInput, WorkerInteractionAck};
use crate::runtime::handle::Runtime;
use crate::runtime::transaction::RuntimeTransaction;
use crate::runtime::{operations, pages};
use xxhash_rust::xxh3::Xxh3;

/// The greatest length of a key, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 1024;

/// A hash of an input: of its sender and its content.
fn hash(input: &WorkerInput) -> String {
    let mut hash = Xxh3::new();
    let role = match TranscriptRole::from(input.kind) {
        TranscriptRole::User => 0,
        TranscriptRole::Assistant => 1,
        TranscriptRole::System => 2,
    };
    hash.update(&[role]);
    hash.update(input.content.as_bytes());
    format!("{:032x}", hash.digest128())
}

/// Accepts an input unless one of the last entries has its key.
fn send_once(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
    (key, input): (&str, WorkerInput),
) -> Result<WorkerInteractionAck, RuntimeError> {
    if key.trim().is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(RuntimeError::InvalidRequest(format!(
            "the key of an input must have 1 to {MAX_KEY_BYTES} bytes and not be blank"
        )));
    }
    pages::refuse_foreign(runtime_id, worker_ref)?;
    let hash = hash(&input);
    if let Some(worker) = transaction.worker(runtime_id.as_str(), worker_ref.worker_id.as_str())?
        && let Some(opening) = transaction.opening()
    {
        let of = convert::owner_of(worker_ref);
        let (committed, end) = (transaction.committed(), worker.transcript_len);
        let keys = &opening.recent_keys;
        // Before the status: a repeated input writes nothing, also if the worker was stopped since.
        if let Some(entry) = keys.find(committed, transaction, of, (end, key))? {
            let is_same = |stored: &String| *stored == hash;
            return match entry.once.input.as_ref().is_none_or(is_same) {
                true => Ok(WorkerInteractionAck {
                    worker_ref: worker_ref.clone(),
                    // An input is accepted by a running worker only.
                    status: WorkerStatus::Running,
                    transcript_sequence: entry.sequence,
                    event_id: entry.event_id,
                }),
                false => Err(RuntimeError::KeyReused {
                    worker_ref: worker_ref.clone(),
                    key: key.to_owned(),
                }),
            };
        }
    }
    let once = Once {
        key: key.to_owned(),
        input: Some(hash),
    };
    let attributes = Attributes::new().with(ONCE, once)?;
    operations::send_input(transaction, runtime_id, worker_ref, input, &attributes)
}

impl Runtime {
    /// Sends input that can be sent again. If one of the last 256 entries of the worker has `key` and the same input,
    /// returns its acknowledgement and writes nothing, also if the worker was stopped since. Otherwise as
    /// [`send_input`](Self::send_input). So a host sends again after [`CommitUncertain`](RuntimeError::CommitUncertain), or
    /// after a crash before it recorded the acknowledgement.
    ///
    /// The key is stored with the entry, together with a hash of the input, and an export and an import preserve both. A
    /// redaction of the entry removes the hash: from then on any input with the key gets the acknowledgement. On disk
    /// when this returns; see [`Runtime`] for failures.
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// use redb_runtime_store::interaction::WorkerInput;
    ///
    /// let input = WorkerInput::user("How many are left?");
    /// let first = runtime.send_input_once(&worker, "question-1", input.clone())?;
    /// let again = runtime.send_input_once(&worker, "question-1", input)?;
    /// assert_eq!(first, again);
    /// # Ok::<(), RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`KeyReused`](RuntimeError::KeyReused) if the newest entry with `key` has another input; `InvalidRequest` for a blank
    /// key and for one of more than 1 KiB; otherwise as [`send_input`](Self::send_input).
    pub fn send_input_once(
        &self,
        worker_ref: &WorkerRef,
        key: &str,
        input: WorkerInput,
    ) -> Result<WorkerInteractionAck, RuntimeError> {
        self.store
            .write_to(&self.runtime_id, "send input", |transaction| {
                send_once(transaction, &self.runtime_id, worker_ref, (key, input))
            })
    }
}

impl RuntimeTransaction<'_> {
    /// Gives input that can be sent again to a running worker.
    ///
    /// # Errors
    ///
    /// As [`Runtime::send_input_once`].
    pub fn send_input_once(
        &mut self,
        worker_ref: &WorkerRef,
        key: &str,
        input: WorkerInput,
    ) -> Result<WorkerInteractionAck, RuntimeError> {
        self.part(|transaction, id| send_once(transaction, id, worker_ref, (key, input)))
    }
}
