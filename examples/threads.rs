//! A host with several workers. A thread of its own sends the inputs of each worker.
//!
//! `cargo run --example threads [STORE]`; without a path it uses a temporary directory.

use redb_runtime_store::catalog::{CreateWorkerRequest, ProfileSelector, WorkerIntent};
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
use redb_runtime_store::{RedbRuntimeStoreOptions, Runtime, RuntimeError};
use std::error::Error;
use std::path::PathBuf;
use std::thread;

const WORKERS: usize = 4;
const INPUTS: usize = 25;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = std::env::args_os()
        .nth(1)
        .map_or_else(|| directory.path().join("agents.redb"), PathBuf::from);
    let runtime = Runtime::with_redb_store(RedbRuntimeStoreOptions::new(path))?;

    let mut workers = Vec::new();
    for number in 1..=WORKERS {
        let intent = WorkerIntent::Task {
            objective: format!("count to {INPUTS}, for customer {number}"),
        };
        let request = CreateWorkerRequest::tools_less(intent, ProfileSelector::RuntimeDefault);
        workers.push(runtime.create_worker(request)?.worker_ref);
    }

    // Operations that arrive while a commit is under way share the next one. No locks are needed.
    thread::scope(|scope| {
        let feeding: Vec<_> = workers
            .iter()
            .map(|worker| scope.spawn(|| feed(&runtime, worker)))
            .collect();
        feeding
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or(Err(RuntimeError::StatePoisoned)))
    })?;

    for worker in &workers {
        let said = runtime.worker_detail(worker)?.transcript_len;
        let last = runtime.transcript_projection(worker, TranscriptQuery::new(said - 1, 1))?;
        println!(
            "{}: {said} inputs, the last: {:?}",
            worker.worker_id, last.items[0].content
        );
    }
    runtime.store().close()?;
    Ok(())
}

/// Each input is on disk when `send_input` returns.
fn feed(runtime: &Runtime, worker: &WorkerRef) -> Result<(), RuntimeError> {
    for number in 1..=INPUTS {
        runtime.send_input(worker, WorkerInput::user(format!("number {number}")))?;
    }
    Ok(())
}
