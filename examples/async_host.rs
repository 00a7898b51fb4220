//! The host of `threads` on tokio: tasks submit operations, and await their commits.
//!
//! `cargo run --example async_host [STORE]`; without a path it uses a temporary directory.

use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::{RedbRuntimeStoreOptions, Runtime, RuntimeError};
use std::error::Error;
use std::path::PathBuf;

const WORKERS: usize = 4;
const INPUTS: usize = 25;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = std::env::args_os()
        .nth(1)
        .map_or_else(|| directory.path().join("agents.redb"), PathBuf::from);
    // Opening can wait for a lock or a repair: not on an executor's thread.
    let runtime = Runtime::with_redb_store(RedbRuntimeStoreOptions::new(path))?;
    let executor = tokio::runtime::Builder::new_multi_thread().build()?;
    executor.block_on(serve(&runtime))?;
    runtime.store().close()?;
    Ok(())
}

async fn serve(runtime: &Runtime) -> Result<(), Box<dyn Error>> {
    let mut tasks = Vec::new();
    for _ in 0..WORKERS {
        // A transaction of several operations; the `await` ends when it is on disk.
        let worker = runtime
            .submit(|tx| {
                let worker = tx.create_worker(CreateWorkerRequest::default())?;
                tx.send_input(&worker.worker_ref, WorkerInput::system("You count."))?;
                Ok(worker.worker_ref)
            })
            .await?;
        tasks.push(tokio::spawn(feed(runtime.clone(), worker)));
    }
    for task in tasks {
        let last_event = task.await??;
        println!("a worker was fed up to event {last_event}");
    }
    let summary = runtime.summary()?;
    println!(
        "{} workers in {}",
        summary.worker_count,
        runtime.store().path().display()
    );
    Ok(())
}

/// Submits all inputs, then awaits them, so that a commit contains many inputs. The inputs of one task
/// are committed in the order of their submission.
async fn feed(runtime: Runtime, worker: WorkerRef) -> Result<u64, RuntimeError> {
    let submitted: Vec<_> = (1..=INPUTS)
        .map(|number| {
            let worker = worker.clone();
            let input = WorkerInput::user(format!("number {number}"));
            runtime.submit(move |tx| tx.send_input(&worker, input))
        })
        .collect();
    let mut last_event = 0;
    for pending in submitted {
        last_event = pending.await?.event_id;
    }
    Ok(last_event)
}
