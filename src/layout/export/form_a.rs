//! Losses of an export in form a: members, ids and files of a later form that form a has no place for.

use crate::layout::compare::documents::StoredDocument;
use crate::layout::error::LayoutError;
use crate::layout::format::document::{RuntimeDocument, WorkerDocument};
use crate::layout::report::FormALosses;
use crate::model::identity::RuntimeId;
use crate::model::layout_form::{AbsentMember, DocumentOrigin};
use crate::store::snapshot::Snapshot;

/// Counts the losses of a runtime.
pub(crate) fn losses(snapshot: &Snapshot, id: &RuntimeId) -> Result<FormALosses, LayoutError> {
    let mut losses = FormALosses::default();
    let mut note = |origin: Option<(DocumentOrigin, Vec<u8>)>| {
        for member in origin.into_iter().flat_map(|(origin, _)| origin.absent) {
            if !AbsentMember::is_log(&member) {
                *losses.absent.entry(member.pointer).or_default() += 1;
            }
        }
    };
    note(snapshot.document_text(id, &RuntimeDocument::stored_path(id))?);
    let mut workers = 0;
    for worker in snapshot.workers(id)? {
        let worker = worker?.value.worker_ref;
        note(snapshot.document_text(id, &WorkerDocument::stored_path(&worker))?);
        workers += 1;
    }
    if snapshot.layout_form(id)?.has_number_ids() {
        losses.number_ids = workers;
    }
    let mut next = snapshot.next_file(Some(id), "", false)?;
    while let Some(path) = next {
        losses.files += u64::from(snapshot.is_kept(Some(id), &path)?);
        next = snapshot.next_file(Some(id), &path, true)?;
    }
    Ok(losses)
}
