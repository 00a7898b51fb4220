//! Deletions that take several commits, for the kills: complete or not begun after the next open.

use crate::child::{patient, say};
use crate::model::runtime_id;
use crate::workload::runtime;
use crate::world::{Context, Violation, World};
use redb_runtime_store::Store;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::store::{DeleteRuntimeOptions, VerifyKind};
use std::path::Path;

/// The runtime that is deleted.
const DOOMED: &str = "doomed";

/// The entries of its worker. A commit removes about 4 MiB, so their texts of 256 KiB take three.
const ENTRIES: usize = 40;
const TEXT_BYTES: usize = 256 << 10;

/// Makes a runtime with a large worker, then deletes the worker and the runtime, as the child.
pub(crate) fn delete(path: &Path) -> Result<(), Violation> {
    let store = patient().open(path).or_violation("opening")?;
    let doomed = runtime(&store, DOOMED).or_violation("creating a runtime")?;
    let worker = doomed.create_worker(CreateWorkerRequest::default());
    let worker = worker.or_violation("creating a worker")?.worker_ref;
    doomed
        .transaction(|tx| {
            let input = || WorkerInput::user("x".repeat(TEXT_BYTES));
            (0..ENTRIES).try_for_each(|_| tx.send_input(&worker, input()).map(drop))
        })
        .or_violation("sending")?;
    let stopped = doomed.stop_worker(&worker, None);
    stopped.or_violation("stopping the worker")?;
    say("filled")?;
    let deleted = doomed.delete_worker(&worker);
    deleted.or_violation("deleting the worker")?;
    say("worker")?;
    remove(&store)?;
    say("runtime")
}

fn remove(store: &Store) -> Result<(), Violation> {
    let options = DeleteRuntimeOptions::new().even_if_running(true);
    let removed = store.delete_runtime_with(&runtime_id(DOOMED), &options);
    removed.or_violation("deleting the runtime")
}

/// Checks that worker and runtime are there or gone, with all their rows, and removes the runtime.
pub(crate) fn check(store: &Store, world: &World, said: &[String]) -> Result<(), Violation> {
    let report = store.verify().or_violation("verifying")?;
    let mut kinds = report.findings.iter().map(|finding| finding.kind);
    if kinds.any(|kind| kind == VerifyKind::UnfinishedDeletion) {
        return Err(Violation(
            "the open has not finished the deletion".to_owned(),
        ));
    }
    let has_said = |word: &str| said.iter().any(|line| line == word);
    let Some(state) = world.0.get(DOOMED) else {
        return match has_said("worker") || !has_said("filled") {
            true => Ok(()),
            false => Err(Violation("the runtime is gone too early".to_owned())),
        };
    };
    if has_said("runtime") {
        return Err(Violation("the deleted runtime is there".to_owned()));
    }
    let entries = state.workers.values().map(|worker| worker.transcript.len());
    match entries.collect::<Vec<_>>().as_slice() {
        [] => {}
        [entries] if *entries == ENTRIES && !has_said("worker") => {}
        // The inputs are one transaction, which a kill before the deletion may have prevented.
        [0] if !has_said("filled") => {}
        other => {
            return Err(Violation(format!(
                "the worker was deleted in part: {other:?} entries"
            )));
        }
    }
    remove(store)
}
