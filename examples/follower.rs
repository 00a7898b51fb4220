//! A host that writes, and a follower in another process that receives each event once.
//!
//! `cargo run --example follower` starts both in a temporary directory; `follower STORE` follows a
//! store that your host writes, until its runtime is stopped.

use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::observation::RuntimeEventKind;
use redb_runtime_store::{RedbRuntimeStoreOptions, Runtime, Store};
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(path) = std::env::args_os().nth(1) {
        return follow(path.as_ref());
    }
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("agents.redb");
    let runtime = Runtime::with_redb_store(RedbRuntimeStoreOptions::new(&path))?;
    let mut follower = Command::new(std::env::current_exe()?).arg(&path).spawn()?;
    host(&runtime)?;
    let ended = follower.wait()?;
    runtime.store().close()?;
    if ended.success() {
        Ok(())
    } else {
        Err(format!("the follower ended with {ended}").into())
    }
}

fn host(runtime: &Runtime) -> Result<(), Box<dyn Error>> {
    let worker = runtime.create_worker(CreateWorkerRequest::default())?;
    for number in 1..=5 {
        runtime.send_input(&worker.worker_ref, WorkerInput::user(format!("{number}")))?;
        std::thread::sleep(Duration::from_millis(50));
    }
    runtime.stop_runtime()?;
    Ok(())
}

/// Follows the events while the host writes. A follower that must continue after a restart stores its
/// cursor together with the results of handling the events.
fn follow(path: &Path) -> Result<(), Box<dyn Error>> {
    let store = Store::open_read_only(path)?;
    let runtime = store.runtime(RuntimeOptions::default())?;
    let mut follower = runtime.follow_events(runtime.event_cursor_from_start()?)?;
    loop {
        let Some(batch) = follower.next_batch(Duration::from_secs(10))? else {
            println!("no news for ten seconds");
            continue;
        };
        for event in batch.events {
            println!("event {}: {}", event.id, event.message);
            if event.kind == RuntimeEventKind::RuntimeStopped {
                return Ok(());
            }
        }
    }
}
