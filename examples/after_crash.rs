//! A host that is killed while a call of a tool is open, and comes back.
//!
//! `cargo run --example after_crash` starts the host, kills it in the middle of a call, and starts it again. The second
//! run sends the question again, which changes nothing, finds the open call, and answers it once.

use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerId;
use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
use redb_runtime_store::store::UnfinishedWork;
use redb_runtime_store::{RedbRuntimeStoreOptions, Runtime};
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// The name of the call in the store.
const CALL: &str = "call-1";

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(path) = std::env::args_os().nth(1) {
        return host(path.as_ref());
    }
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("agents.redb");
    let host = || {
        let mut host = Command::new(std::env::current_exe()?);
        host.arg(&path).stdout(Stdio::piped()).spawn()
    };
    let mut first = host()?;
    for line in BufReader::new(first.stdout.take().ok_or("no output")?).lines() {
        let line = line?;
        println!("first host: {line}");
        if line.starts_with("calling") {
            first.kill()?;
            println!("            killed");
        }
    }
    first.wait()?;
    let second = host()?.wait_with_output()?;
    for line in String::from_utf8(second.stdout)?.lines() {
        println!("second host: {line}");
    }
    let runtime = Runtime::with_redb_store(RedbRuntimeStoreOptions::new(&path))?;
    let worker = runtime.list_workers()?.remove(0).worker_ref;
    let page = runtime.transcript_projection(&worker, TranscriptQuery::new(0, 10))?;
    println!("the transcript:");
    for entry in page.items {
        println!("  {:?}: {}", entry.role, entry.content);
    }
    Ok(())
}

/// One run of the host. It does the same steps each time, and each of them can be repeated.
fn host(path: &Path) -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::with_redb_store(RedbRuntimeStoreOptions::new(path))?;
    let request = CreateWorkerRequest::default();
    let worker = runtime.create_worker_as(WorkerId::new("clerk").ok_or("blank")?, request)?;
    let worker = worker.worker_ref;
    let question = WorkerInput::user("How many are left?");
    let sent = runtime.send_input_once(&worker, "question-1", question)?;
    println!("sent the question as entry {}", sent.transcript_sequence);

    let left = runtime.store().unfinished()?;
    match left.first() {
        Some(UnfinishedWork { name, note, .. }) => println!("found {name}, left open: {note}"),
        None => runtime.open_work(&worker, CALL, "count the boxes")?,
    }
    println!("calling the tool");
    let count = count_boxes(left.is_empty());
    // The answer and the end of the call are one commit: no crash can repeat one without the other.
    runtime.transaction(|transaction| {
        transaction.append_reply(&worker, format!("There are {count} left."))?;
        transaction.close_work(&worker, CALL)
    })?;
    println!("answered");
    Ok(())
}

/// The tool. Its first call never ends, so that the host can be killed in the middle of it.
fn count_boxes(is_first: bool) -> u32 {
    if is_first {
        loop {
            std::thread::park();
        }
    }
    17
}
