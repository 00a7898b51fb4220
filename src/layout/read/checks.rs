//! Checks that ids and numbers of records belong to the directory that has them.

use crate::layout::findings::finding::FindingKind;
use crate::layout::format::document::WorkerDocument;
use crate::model::borrowed::BorrowedEvent;
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{MAX_ID_BYTES, RuntimeId, WorkerRef};

/// Checks that a diagnostic can follow the diagnostic `last` of the runtime `id`.
pub(crate) fn belongs(
    diagnostic: &RuntimeDiagnostic,
    id: &RuntimeId,
    last: u64,
) -> Result<(), (FindingKind, String)> {
    let worker = diagnostic.worker_ref.as_ref();
    if let Some(worker) = worker.filter(|worker| worker.runtime_id != *id) {
        let message = wrong_runtime(worker.runtime_id.as_str(), id);
        return Err((FindingKind::Mismatch, message));
    }
    worker.map_or(Ok(()), |worker| expect_short(worker.worker_id.as_str()))?;
    if diagnostic.id == u64::MAX {
        return Err((FindingKind::Mismatch, no_next("the diagnostic's id")));
    }
    if diagnostic.id <= last {
        let message = format!("diagnostic {} after {last}", diagnostic.id);
        return Err((FindingKind::NotIncreasing, message));
    }
    Ok(())
}

/// Checks that an event belongs to the runtime `id`.
pub(crate) fn event_belongs(
    event: &BorrowedEvent<'_>,
    id: &RuntimeId,
) -> Result<(), (FindingKind, String)> {
    match &event.worker_ref {
        Some(worker) if worker.runtime_id != id.as_str() => {
            let message = wrong_runtime(&worker.runtime_id, id);
            Err((FindingKind::Mismatch, message))
        }
        Some(worker) => expect_short(&worker.worker_id),
        None => Ok(()),
    }
}

/// Checks that the id of a worker is not too long for the store.
pub(crate) fn expect_short(id: &str) -> Result<(), (FindingKind, String)> {
    match id.len() {
        0..=MAX_ID_BYTES => Ok(()),
        bytes => Err((
            FindingKind::IdTooLong,
            format!("worker_id has {bytes} bytes, the limit is {MAX_ID_BYTES}"),
        )),
    }
}

/// The message for the greatest 64-bit number, after which no id can be assigned.
pub(crate) fn no_next(what: &str) -> String {
    format!(
        "{what} {} is the greatest possible number: no next one exists",
        u64::MAX
    )
}

/// The member of a worker document that contradicts its directory, and the message.
pub(crate) fn mismatch(
    document: &WorkerDocument,
    expected: &WorkerRef,
) -> Option<(&'static str, String)> {
    let (found, id) = (&document.worker_ref, &document.worker_id);
    if found != expected {
        let (runtime, worker) = (found.runtime_id.as_str(), found.worker_id.as_str());
        return Some(("worker_ref", wrong_worker(runtime, worker, expected)));
    }
    if *id != expected.worker_id {
        let named = &expected.worker_id;
        let message = format!("worker_id is \"{id}\", worker_ref names \"{named}\"");
        return Some(("worker_id", message));
    }
    if document.last_event_id == u64::MAX {
        return Some(("last_event_id", no_next("last_event_id")));
    }
    None
}

pub(crate) fn wrong_worker(runtime_id: &str, worker_id: &str, expected: &WorkerRef) -> String {
    match runtime_id == expected.runtime_id.as_str() {
        true => format!(
            "worker_ref names worker \"{worker_id}\", the directory is for \"{}\"",
            expected.worker_id
        ),
        false => wrong_runtime(runtime_id, &expected.runtime_id),
    }
}

pub(crate) fn wrong_runtime(found: &str, expected: &RuntimeId) -> String {
    format!("worker_ref names runtime \"{found}\", the directory is for \"{expected}\"")
}
