//! A chat host on threads: a worker replies to each input, and a window prints both sides of the
//! conversation and sends the next input after each reply. Both follow the transcript.
//!
//! `cargo run --example chat_threads [STORE]`; without a path it uses a temporary directory. A second run
//! with the same path continues the conversation.

use redb_runtime_store::catalog::{CreateWorkerRequest, WorkerStatus};
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::{
    RecordedEntry, TranscriptQuery, TranscriptRole, WorkerInput,
};
use redb_runtime_store::{RedbRuntimeStoreOptions, Runtime, RuntimeError, TranscriptFollower};
use std::error::Error;
use std::path::PathBuf;
use std::thread;

const QUESTIONS: [&str; 3] = ["Is there breakfast?", "From when?", "Thank you."];

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = std::env::args_os()
        .nth(1)
        .map_or_else(|| directory.path().join("agents.redb"), PathBuf::from);
    let runtime = Runtime::with_redb_store(RedbRuntimeStoreOptions::new(path))?;
    let worker = concierge(&runtime)?;
    let start = catch_up(&runtime, &worker)?;
    let inputs = runtime.follow_transcript(&worker, start)?;
    let both_sides = runtime.follow_transcript(&worker, start)?;

    thread::scope(|scope| {
        let replying = scope.spawn(|| reply(&runtime, &worker, inputs));
        let talked = talk(&runtime, &worker, both_sides);
        // Ends the follower of the worker, also if the window failed.
        let closed = runtime.store().close();
        let replied = replying.join().unwrap_or(Err(RuntimeError::StatePoisoned));
        talked.and(replied).and(closed)
    })?;
    Ok(())
}

/// The worker: replies to each input once it is committed, until the store is closed.
fn reply(
    runtime: &Runtime,
    worker: &WorkerRef,
    follower: TranscriptFollower,
) -> Result<(), RuntimeError> {
    // The iterator blocks for each entry, and ends after its first error.
    for recorded in follower {
        let entry = match recorded {
            Ok(recorded) => recorded.entry,
            Err(RuntimeError::StoreClosed { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if entry.role == TranscriptRole::User {
            runtime.append_reply(worker, ask_model(&entry.content))?;
        }
    }
    Ok(())
}

/// The window: prints both sides, and sends the next input after each reply.
fn talk(
    runtime: &Runtime,
    worker: &WorkerRef,
    mut follower: TranscriptFollower,
) -> Result<(), RuntimeError> {
    for question in QUESTIONS {
        runtime.send_input(worker, WorkerInput::user(question))?;
        for recorded in follower.by_ref() {
            let recorded = recorded?;
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
fn ask_model(input: &str) -> &'static str {
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
fn catch_up(runtime: &Runtime, worker: &WorkerRef) -> Result<usize, RuntimeError> {
    let len = runtime.worker_detail(worker)?.transcript_len;
    let last = TranscriptQuery::new(len.saturating_sub(1), 1);
    match runtime.transcript_projection(worker, last)?.items.first() {
        Some(entry) if entry.role == TranscriptRole::User => {
            runtime.append_reply(worker, ask_model(&entry.content))?;
            Ok(len + 1)
        }
        _ => Ok(len),
    }
}
