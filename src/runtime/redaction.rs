//! Redaction: the text of an entry goes, its place stays.

use crate::error::RuntimeError;
use crate::ledger::rows::{DiagnosticRow, Rows, TranscriptRow};
use crate::ledger::transaction::Transaction;
use crate::ledger::{checks, convert, table_names};
use crate::model::attributes::{ONCE, Once, REDACTED};
use crate::model::diagnostics::DiagnosticSeverity;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::layout_form::LineForm;
use crate::model::time::rfc3339;
use crate::runtime::handle::Runtime;
use crate::runtime::transaction::RuntimeTransaction;
use crate::runtime::{import_texts, operations, pages};
use serde_json::json;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The code of the diagnostic of a redaction.
const CODE: &str = "worker.redacted";

/// Replaces the texts of entries. Returns how many there are.
fn redact(
    transaction: &mut Transaction<'_>,
    runtime_id: &RuntimeId,
    worker_ref: &WorkerRef,
    (positions, replacement): (&BTreeSet<u64>, &str),
) -> Result<(), RuntimeError> {
    pages::refuse_foreign(runtime_id, worker_ref)?;
    if replacement.trim().is_empty() {
        return Err(RuntimeError::InvalidRequest(
            "the replacement of a redacted text must not be blank".to_owned(),
        ));
    }
    let mut runtime = pages::runtime_row(transaction, runtime_id)?;
    let mut worker = pages::worker_row(transaction, worker_ref)?;
    let (id, worker_id) = convert::owner_of(worker_ref);
    let held = worker.first_position..worker.transcript_len;
    if let Some(missing) = positions.iter().find(|position| !held.contains(position)) {
        return Err(RuntimeError::InvalidRequest(format!(
            "worker {worker_id} has no entry at position {missing}"
        )));
    }
    if positions.is_empty() {
        return Ok(());
    }
    worker.touch(&mut runtime, transaction.now_ms());
    let at_ms = worker.changed_at_ms.unwrap_or_default();
    for position in positions {
        let mut redacted = None;
        transaction.transcript(id, worker_id, *position, 1, &mut |found, row| {
            if found == *position {
                redacted = Some(without_text(row, replacement, at_ms));
            }
            Ok(())
        })?;
        let missing = || {
            transaction.at().corrupt(format!(
                "table transcripts: {worker_ref} has no entry at position {position}"
            ))
        };
        let row = redacted.ok_or_else(missing)?;
        transaction
            .changes()
            .rewrite_transcript(id, worker_id, *position, row)?;
    }
    // A finding of an import can quote a line of the transcript.
    import_texts::forget_workers(transaction, id, &[worker_id])?;
    let diagnostic = runtime.next_diagnostic_id;
    runtime.next_diagnostic_id = operations::after(diagnostic, "diagnostic id")?;
    let count = ("diagnostics", &mut runtime.diagnostics);
    checks::grow(transaction.at(), (table_names::RUNTIMES, &id), count, 1)?;
    let row = DiagnosticRow {
        severity: DiagnosticSeverity::Info,
        code: CODE.to_owned(),
        message: match positions.len() {
            1 => "1 transcript entry was redacted".to_owned(),
            count => format!("{count} transcript entries were redacted"),
        },
        worker_id: Some(worker_id.to_owned()),
        unknown: Vec::new(),
        recorded_at_ms: worker.changed_at_ms,
    };
    let changes = transaction.changes();
    changes.put_runtime(id, runtime)?;
    changes.put_worker(id, worker_id, worker)?;
    changes.put_diagnostic(id, diagnostic, row)
}

/// The entry with `replacement` instead of its text. What a host or an import added to it can have the text, too.
fn without_text(row: TranscriptRow<'_>, replacement: &str, at_ms: u64) -> TranscriptRow<'static> {
    let attributes = convert::parsed_attributes(row.attributes.as_deref());
    // Attributes that cannot be read have no members of the store to keep.
    let mut attributes = attributes.unwrap_or_default().of_store();
    if let Some(Once { key, .. }) = attributes.get(ONCE) {
        attributes.insert(ONCE, json!({ "key": key }));
    }
    attributes.insert(REDACTED, rfc3339(at_ms).into());
    TranscriptRow {
        sequence: row.sequence,
        role: row.role,
        event_id: row.event_id,
        content: Cow::Owned(replacement.to_owned()),
        unknown: Vec::new(),
        recorded_at_ms: row.recorded_at_ms,
        attributes: convert::stored_attributes(&attributes).map(Cow::Owned),
        form: LineForm::spelled(row.form.spelling),
    }
}

impl Runtime {
    /// Replaces the text of a transcript entry: see [`redact_entries`](Self::redact_entries).
    ///
    /// # Errors
    ///
    /// As [`redact_entries`](Self::redact_entries).
    pub fn redact_entry(
        &self,
        worker_ref: &WorkerRef,
        position: u64,
        replacement: &str,
    ) -> Result<(), RuntimeError> {
        self.redact_entries(worker_ref, [position], replacement)
    }

    /// Replaces the texts of transcript entries by `replacement`. Sequence, event id, role and time stay; attributes of the
    /// host and members that an import brought are removed, since they can have the text, too. The attribute `$redacted`
    /// says when. An `Info` diagnostic `worker.redacted` counts the entries. Logs no event, and works on a stopped runtime,
    /// too. On disk when this returns; see [`Runtime`] for failures.
    ///
    /// The old text stays in free pages of the file until [`Store::compact`](crate::Store::compact), and in backups and
    /// exports that were made before: see [deletion](crate::guide::deletion). Kept files of an import are not searched.
    ///
    /// ```
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # let runtime = Runtime::new_memory();
    /// # let worker = runtime.create_worker(Default::default())?.worker_ref;
    /// use redb_runtime_store::interaction::WorkerInput;
    ///
    /// runtime.send_input(&worker, WorkerInput::user("My key is 1234."))?;
    /// runtime.redact_entries(&worker, [0], "(removed)")?;
    /// # Ok::<(), RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a blank replacement, and for a position that the transcript does not have, with no entry
    /// changed; `WrongRuntime`, `WorkerNotFound`; the errors of every write, except `RuntimeStopped`.
    pub fn redact_entries(
        &self,
        worker_ref: &WorkerRef,
        positions: impl IntoIterator<Item = u64>,
        replacement: &str,
    ) -> Result<(), RuntimeError> {
        let positions = positions.into_iter().collect();
        self.store
            .write_to(&self.runtime_id, "redact entries", |transaction| {
                let id = &self.runtime_id;
                redact(transaction, id, worker_ref, (&positions, replacement))
            })
    }
}

impl RuntimeTransaction<'_> {
    /// Replaces the text of a transcript entry.
    ///
    /// # Errors
    ///
    /// As [`Runtime::redact_entry`].
    pub fn redact_entry(
        &mut self,
        worker_ref: &WorkerRef,
        position: u64,
        replacement: &str,
    ) -> Result<(), RuntimeError> {
        self.redact_entries(worker_ref, [position], replacement)
    }

    /// Replaces the texts of transcript entries.
    ///
    /// # Errors
    ///
    /// As [`Runtime::redact_entries`].
    pub fn redact_entries(
        &mut self,
        worker_ref: &WorkerRef,
        positions: impl IntoIterator<Item = u64>,
        replacement: &str,
    ) -> Result<(), RuntimeError> {
        let positions = positions.into_iter().collect();
        self.part(|transaction, id| redact(transaction, id, worker_ref, (&positions, replacement)))
    }
}
