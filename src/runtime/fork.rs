//! Forks of workers: a new worker with a copy of the request, the attributes and the entries of another one.
//!
//! Rows are copied and not shared, so that deletion, retention and export need to know nothing of forks. A long transcript
//! takes several commits. Until the last one the new worker has no row of its own and is listed as an unfinished
//! deletion: no reader sees it, and after a crash the next open removes the copied rows.

use crate::error::RuntimeError;
use crate::ledger::deletion::{self, ROW_BYTES, STEP_BYTES};
use crate::ledger::rows::{Rows, TranscriptRow, WorkerRow};
use crate::ledger::transaction::Transaction;
use crate::ledger::{checks, convert};
use crate::model::attributes::{FORKED_FROM, ONCE};
use crate::model::catalog::{WorkerDetail, WorkerStatus};
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::layout_form::{LineForm, Spelling};
use crate::model::observation::RuntimeEventKind;
use crate::model::persisted::PersistedWorkerSnapshot;
use crate::runtime::handle::Runtime;
use crate::runtime::transaction::RuntimeTransaction;
use crate::runtime::{attributes, operations, pages, queries};
use serde_json::json;
use std::borrow::Cow;

/// A fork under way.
#[derive(Clone, Debug)]
struct Fork {
    source: WorkerRef,
    target: WorkerRef,
    spelling: Spelling,
    /// The position of the first entry, which is that of the source.
    first: u64,
    /// The position of the next entry to copy.
    next: u64,
    /// The position after the last entry to copy.
    end: u64,
}

/// Takes the id of the new worker, and decides on the entries.
fn begin(
    transaction: &mut Transaction<'_>,
    id: &RuntimeId,
    source: &WorkerRef,
    at: Option<u64>,
) -> Result<Fork, RuntimeError> {
    pages::refuse_foreign(id, source)?;
    let mut runtime = operations::running(transaction, id)?;
    transaction.refuse_full()?;
    let row = pages::worker_row(transaction, source)?;
    let end = at.unwrap_or(row.transcript_len);
    if end < row.first_position || end > row.transcript_len {
        return Err(RuntimeError::InvalidRequest(format!(
            "position {end} of worker {}: its transcript has the positions {} to {}",
            source.worker_id, row.first_position, row.transcript_len
        )));
    }
    let target = operations::next_worker(transaction, id, &mut runtime, transaction.now_ms())?;
    let spelling = runtime.form.spelling();
    transaction.changes().put_runtime(id.as_str(), runtime)?;
    Ok(Fork {
        source: source.clone(),
        target,
        spelling,
        first: row.first_position,
        next: row.first_position,
        end,
    })
}

impl Fork {
    fn source_row(&self, rows: &dyn Rows) -> Result<WorkerRow, RuntimeError> {
        let row = pages::worker_row(rows, &self.source)?;
        match row.first_position > self.next && self.next < self.end {
            false => Ok(row),
            true => Err(RuntimeError::InvalidRequest(format!(
                "worker {}: entries were pruned while it was forked; fork it again",
                self.source.worker_id
            ))),
        }
    }

    /// Copies entries of about `budget` bytes, and at least one. Returns whether all are copied.
    fn copy(
        &mut self,
        transaction: &mut Transaction<'_>,
        budget: usize,
    ) -> Result<bool, RuntimeError> {
        self.source_row(transaction)?;
        let (id, source) = convert::owner_of(&self.source);
        let (mut bytes, mut copied) = (0, Vec::new());
        while self.next < self.end && bytes < budget {
            // Few at a time: one more page than needed would be in memory.
            let wanted = convert::size(self.end - self.next).min(16);
            let before = copied.len();
            transaction.transcript(id, source, self.next, wanted, &mut |position, row| {
                if bytes < budget {
                    bytes += ROW_BYTES + row.text_bytes();
                    copied.push((position, self.copied(row)));
                }
                Ok(())
            })?;
            let Some((last, _)) = copied.last().filter(|_| copied.len() > before) else {
                return Err(transaction.at().corrupt(format!(
                    "table transcripts: {} has no entry at position {}",
                    self.source, self.next
                )));
            };
            self.next = last + 1;
        }
        let (id, target) = convert::owner_of(&self.target);
        for (position, row) in copied {
            transaction
                .changes()
                .put_transcript(id, target, position, row)?;
        }
        Ok(self.next >= self.end)
    }

    /// The row of the copy. The own text of a line names the worker that it was imported with, and a key is of one worker.
    fn copied(&self, row: TranscriptRow<'_>) -> TranscriptRow<'static> {
        let attributes = row.attributes.map(|stored| {
            // Attributes that cannot be read have no key, and are copied as they are.
            let mut attributes = convert::parsed_attributes(Some(&stored)).unwrap_or_default();
            match attributes.remove(ONCE) {
                Some(_) => convert::stored_attributes(&attributes),
                None => Some(stored.into_owned()),
            }
        });
        TranscriptRow {
            sequence: row.sequence,
            role: row.role,
            event_id: row.event_id,
            content: Cow::Owned(row.content.into_owned()),
            unknown: row.unknown,
            recorded_at_ms: row.recorded_at_ms,
            attributes: attributes.flatten().map(Cow::Owned),
            form: LineForm::spelled(self.spelling),
        }
    }

    /// Writes the row of the new worker and logs it. All entries are copied.
    fn finish(&self, transaction: &mut Transaction<'_>) -> Result<WorkerDetail, RuntimeError> {
        let id = &self.source.runtime_id;
        let mut runtime = operations::running(transaction, id)?;
        let source = self.source_row(transaction)?;
        let created = RuntimeEventKind::WorkerCreated;
        let event = (Some(&self.target), created, None);
        let last_event_id = operations::log(transaction, id, &mut runtime, event)?;
        let next_transcript_sequence = self.next_sequence(transaction, &source)?;
        let snapshot = PersistedWorkerSnapshot {
            worker_ref: self.target.clone(),
            status: WorkerStatus::Running,
            request: source.request.clone(),
            next_transcript_sequence,
            last_event_id,
        };
        let mut attributes = attributes::of_worker(transaction, &source)?.of_host();
        attributes.insert(
            FORKED_FROM,
            json!({"worker_id": self.source.worker_id.as_str(), "at": self.end}),
        );
        let mut worker = convert::worker_row(snapshot.into(), self.end);
        worker.attributes = convert::stored_attributes(&attributes);
        worker.first_position = self.first;
        worker.touch(&mut runtime, transaction.now_ms());
        let (id, worker_id) = convert::owner_of(&self.target);
        checks::recount_worker(
            transaction.at(),
            id,
            &mut runtime,
            None,
            WorkerStatus::Running,
        )?;
        transaction.changes().put_runtime(id, runtime)?;
        transaction
            .changes()
            .put_worker(id, worker_id, worker.clone())?;
        Ok(queries::detail(&self.target, worker))
    }

    /// The sequence after those of the copied entries.
    fn next_sequence(&self, rows: &dyn Rows, source: &WorkerRow) -> Result<u64, RuntimeError> {
        let (id, worker) = convert::owner_of(&self.source);
        let mut next = source.next_transcript_sequence;
        if self.end < source.transcript_len {
            rows.transcript(id, worker, self.end, 1, &mut |_, row| {
                next = row.sequence;
                Ok(())
            })?;
        }
        Ok(next)
    }
}

/// Forks a worker in one commit.
fn fork_whole(
    transaction: &mut Transaction<'_>,
    id: &RuntimeId,
    source: &WorkerRef,
    at: Option<u64>,
) -> Result<WorkerDetail, RuntimeError> {
    let mut fork = begin(transaction, id, source, at)?;
    match fork.copy(transaction, STEP_BYTES)? {
        true => fork.finish(transaction),
        false => Err(RuntimeError::InvalidRequest(format!(
            "worker {} has more entries than the {STEP_BYTES} bytes that one commit copies: fork it outside of a \
             transaction, in a store that one process writes",
            source.worker_id
        ))),
    }
}

impl Runtime {
    /// Creates a running worker with a copy of the request, the attributes and the entries of another one, up to the
    /// position `at`, which is not copied; with `None` all entries. If retention has removed entries of the source, the copy
    /// begins where the source does. Positions, sequences and times stay. The attribute `$forked_from` names the source
    /// and the position. Open work and the keys of [`send_input_once`](Self::send_input_once) are not copied. Logs
    /// `WorkerCreated`.
    ///
    /// A transcript of more than 4 MiB takes several commits, with other operations between them. No reader sees the new
    /// worker before the last one. On disk when this returns. After an error the store has no new worker; rows that were
    /// copied by then are removed, after a crash by the next open.
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// runtime.append_reply(&worker, "Four.")?;
    /// runtime.append_reply(&worker, "Or five.")?;
    /// let fork = runtime.fork_worker(&worker, Some(1))?;
    /// assert_eq!(fork.transcript_len, 1);
    /// # Ok::<(), RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a position that the transcript does not have, if entries are pruned meanwhile, and for more
    /// than 4 MiB in a store with [`ManyWriters`](crate::Sharing::ManyWriters); `WrongRuntime`, `WorkerNotFound`; the
    /// errors of every write.
    pub fn fork_worker(
        &self,
        worker_ref: &WorkerRef,
        at: Option<u64>,
    ) -> Result<WorkerDetail, RuntimeError> {
        let operation = "fork worker";
        let id = &self.runtime_id;
        let opening = self.store.shared.opening();
        if !opening.has_one_writer {
            return self.store.write_from(id, operation, |transaction| {
                fork_whole(transaction, id, worker_ref, at)
            });
        }
        let mut begun: Option<Fork> = None;
        let forked = self.in_steps(operation, worker_ref, at, &mut begun);
        if let Some(fork) = begun {
            opening.set_forking(convert::owner_of(&fork.target), false);
            if forked.is_err() {
                // The first error is the one to report; the next open removes what this cannot.
                let _ = self
                    .store
                    .finish_deletions_of(operation, id, deletion::STEP_BYTES);
            }
        }
        forked
    }

    /// Forks a worker in as many commits as needed. `begun` is the fork if it takes more than one.
    fn in_steps(
        &self,
        operation: &'static str,
        source: &WorkerRef,
        at: Option<u64>,
        begun: &mut Option<Fork>,
    ) -> Result<WorkerDetail, RuntimeError> {
        let (id, opening) = (&self.runtime_id, self.store.shared.opening());
        let first = self.store.write(operation, |transaction| {
            let mut fork = begin(transaction, id, source, at)?;
            if fork.copy(transaction, STEP_BYTES)? {
                return fork.finish(transaction).map(Ok);
            }
            let (id, target) = convert::owner_of(&fork.target);
            deletion::list_worker(transaction, id, target)?;
            // Before the commit, so that no other operation takes it for a deletion.
            opening.set_forking((id, target), true);
            *begun = Some(fork.clone());
            Ok(Err(fork))
        })?;
        let mut fork = match first {
            Ok(detail) => return Ok(detail),
            Err(fork) => fork,
        };
        loop {
            let (step, detail) = self.store.write(operation, |transaction| {
                let mut step = fork.clone();
                if !step.copy(transaction, STEP_BYTES)? {
                    return Ok((step, None));
                }
                let (id, target) = convert::owner_of(&step.target);
                if !deletion::end_fork(transaction, id, target)? {
                    return Err(RuntimeError::RuntimeNotFound {
                        path: transaction.at().path().to_owned(),
                        runtime_id: step.source.runtime_id.clone(),
                    });
                }
                let detail = step.finish(transaction)?;
                Ok((step, Some(detail)))
            })?;
            match detail {
                Some(detail) => return Ok(detail),
                None => fork = step,
            }
        }
    }
}

impl RuntimeTransaction<'_> {
    /// Creates a running worker with a copy of another one.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` also for more than 4 MiB of entries: they take more than one commit. Otherwise as
    /// [`Runtime::fork_worker`].
    pub fn fork_worker(
        &mut self,
        worker_ref: &WorkerRef,
        at: Option<u64>,
    ) -> Result<WorkerDetail, RuntimeError> {
        self.part(|transaction, id| fork_whole(transaction, id, worker_ref, at))
    }
}
