//! The chat host of `chat_threads` on tokio: two tasks await the entries of a transcript.
//!
//! `cargo run --example chat_tokio [STORE]`; without a path it uses a temporary directory. A second run
//! with the same path continues the conversation.

use redb_runtime_store::catalog::{CreateWorkerRequest, WorkerStatus};
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::{
    RecordedEntry, TranscriptQuery, TranscriptRole, WorkerInput,
};
use redb_runtime_store::{RedbRuntimeStoreOptions, Runtime, RuntimeError, TranscriptFollower};
use std::error::Error;
use std::path::PathBuf;

const QUESTIONS: [&str; 3] = ["Is there breakfast?", "From when?", "Thank you."];

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = std::env::args_os()
        .nth(1)
        .map_or_else(|| directory.path().join("agents.redb"), PathBuf::from);
    // Opening can wait for a lock or a repair: not on an executor's thread.
    let runtime = Runtime::with_redb_store(RedbRuntimeStoreOptions::new(path))?;
    let worker = concierge(&runtime)?;
    let executor = tokio::runtime::Builder::new_multi_thread().build()?;
    executor.block_on(serve(&runtime, &worker))?;
    Ok(())
}

async fn serve(runtime: &Runtime, worker: &WorkerRef) -> Result<(), Box<dyn Error>> {
    let start = catch_up(runtime, worker).await?;
    let inputs = runtime.follow_transcript(worker, start)?;
    let both_sides = runtime.follow_transcript(worker, start)?;
    let replying = tokio::spawn(reply(runtime.clone(), worker.clone(), inputs));
    let talked = talk(runtime, worker, both_sides).await;
    // Ends the follower of the worker, also if the window failed.
    let closed = runtime.store().close();
    let replied = replying.await?;
    Ok(talked.and(replied).and(closed)?)
}

/// The worker: replies to each input once it is committed, until the store is closed.
async fn reply(
    runtime: Runtime,
    worker: WorkerRef,
    mut follower: TranscriptFollower,
) -> Result<(), RuntimeError> {
    loop {
        let entry = match follower.next().await {
            Ok(recorded) => recorded.entry,
            Err(RuntimeError::StoreClosed { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if entry.role == TranscriptRole::User {
            append_reply(&runtime, &worker, ask_model(&entry.content).await).await?;
        }
    }
}

/// Appends a reply without blocking the executor: the `await` ends when it is on disk.
async fn append_reply(
    runtime: &Runtime,
    worker: &WorkerRef,
    reply: &'static str,
) -> Result<(), RuntimeError> {
    let worker = worker.clone();
    let pending = runtime.submit(move |tx| tx.append_reply(&worker, reply));
    pending.await.map(drop)
}

/// The window: prints both sides, and sends the next input after each reply.
async fn talk(
    runtime: &Runtime,
    worker: &WorkerRef,
    mut follower: TranscriptFollower,
) -> Result<(), RuntimeError> {
    for question in QUESTIONS {
        let to = worker.clone();
        let pending = runtime.submit(move |tx| tx.send_input(&to, WorkerInput::user(question)));
        pending.await?;
        loop {
            let recorded = follower.next().await?;
            show(&recorded);
            if recorded.entry.role == TranscriptRole::Assistant {
                break;
            }
        }
    }
    Ok(())
}

fn show(
    RecordedEntry {
        entry, recorded_at, ..
    }: &RecordedEntry,
) {
    let age = recorded_at.and_then(|time| time.elapsed().ok());
    let age = age.unwrap_or_default().as_millis();
    println!(
        "{}. {:?}: {} ({age} ms ago)",
        entry.sequence, entry.role, entry.content
    );
}

/// In place of a model. No transaction is open during the call, so it may take any time.
async fn ask_model(input: &str) -> &'static str {
    tokio::task::yield_now().await;
    match input {
        "Is there breakfast?" => "There is, in the hall.",
        "From when?" => "From seven to ten.",
        _ => "You are welcome.",
    }
}

/// The running worker of an earlier run, or a new one.
fn concierge(runtime: &Runtime) -> Result<WorkerRef, RuntimeError> {
    for worker in runtime.list_workers()? {
        if worker.status == WorkerStatus::Running {
            return Ok(worker.worker_ref);
        }
    }
    let created = runtime.create_worker(CreateWorkerRequest::default())?;
    Ok(created.worker_ref)
}

/// Replies to the input that a host left without a reply if it was killed between the two. Returns the
/// length of the transcript.
async fn catch_up(runtime: &Runtime, worker: &WorkerRef) -> Result<usize, RuntimeError> {
    let len = runtime.worker_detail(worker)?.transcript_len;
    let last = TranscriptQuery::new(len.saturating_sub(1), 1);
    match runtime.transcript_projection(worker, last)?.items.first() {
        Some(entry) if entry.role == TranscriptRole::User => {
            append_reply(runtime, worker, ask_model(&entry.content).await).await?;
            Ok(len + 1)
        }
        _ => Ok(len),
    }
}
