//! Hosts that send inputs, one after the other, and note the answers.

use crate::bug::Bug;
use crate::history::{Answer, Input};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::{RuntimeId, WorkerRef};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::{PostgresOptions, Runtime, RuntimeError, Store};
use std::sync::atomic::{AtomicBool, Ordering};

/// The options of a host of the store of the round `seed` at `url`.
pub(crate) fn options(url: &str, seed: u64, plant: Option<Bug>) -> PostgresOptions {
    let options = PostgresOptions::new(url)
        .schema(format!("round_{seed}"))
        .max_connections(8);
    match plant {
        Some(bug) => options.plant(bug.planted()),
        None => options,
    }
}

/// The runtime of a round, on a handle of its own.
pub(crate) fn runtime(options: PostgresOptions) -> Result<Runtime, RuntimeError> {
    Store::connect(options)?.runtime(RuntimeOptions {
        runtime_id: RuntimeId::new("r"),
        ..RuntimeOptions::default()
    })
}

/// The runtime of a round with its only worker. Nothing disturbs the servers yet: an error is one of the campaign.
pub(crate) fn set_up(options: PostgresOptions) -> Result<(Runtime, WorkerRef), String> {
    let set_up = || {
        let runtime = runtime(options)?;
        let worker = runtime.create_worker(CreateWorkerRequest::default())?;
        Ok((runtime, worker.worker_ref))
    };
    set_up().map_err(|error: RuntimeError| format!("the round could not begin: {error}"))
}

/// Sends `text` and notes the answer.
pub(crate) fn send(runtime: &Runtime, worker: &WorkerRef, text: String) -> Input {
    let answer = match runtime.send_input(worker, WorkerInput::user(text.clone())) {
        Ok(acknowledged) => Answer::Acknowledged(acknowledged.event_id),
        Err(RuntimeError::CommitUncertain { .. }) => Answer::Uncertain,
        Err(error) => Answer::Refused(error.to_string()),
    };
    Input { text, answer }
}

/// Sends inputs until `is_over`. `name` is in each, so that no other sender has the same.
pub(crate) fn send_until(
    runtime: &Runtime,
    worker: &WorkerRef,
    name: &str,
    is_over: &AtomicBool,
) -> Vec<Input> {
    let mut sent = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        sent.push(send(runtime, worker, format!("{name} {}", sent.len())));
    }
    sent
}
