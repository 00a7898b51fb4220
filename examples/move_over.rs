//! A host that moves from a directory of JSON to a store when it starts, safely and once.
//!
//! `cargo run --example move_over [DIRECTORY STORE]`; without paths it exports a small runtime into
//! a temporary directory first, and starts twice.

use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::{self, ExportOptions, ImportOptions, ImportOutcome};
use redb_runtime_store::{Runtime, Store};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if let [directory, path] = &arguments[..] {
        return start(directory, path);
    }
    let temporary = tempfile::tempdir()?;
    let directory = temporary.path().join("agents");
    let path = temporary.path().join("agents.redb");
    write_directory(&directory)?;
    start(&directory, &path)?;
    start(&directory, &path)
}

/// The start of a host.
fn start(directory: &Path, path: &Path) -> Result<(), Box<dyn Error>> {
    move_over(directory, path)?;
    let store = Store::open(path)?;
    for runtime in store.runtimes()? {
        println!("{}: {} worker(s)", runtime.runtime_id, runtime.worker_count);
    }
    store.close()?;
    Ok(())
}

/// Imports `directory` into the store at `path`, compares the two, and renames the directory.
///
/// A killed run can be repeated: the store appears atomically, a repeated import of the same directory
/// changes nothing, and the directory is renamed only after the comparison.
fn move_over(directory: &Path, path: &Path) -> Result<(), Box<dyn Error>> {
    if !directory.exists() {
        println!("nothing to move");
        return Ok(());
    }
    let report = layout::import_to_path(directory, path, &Store::options(), ImportOptions::new())?;
    for finding in &report.findings {
        eprintln!("{}: {finding}", finding.severity());
    }
    // Where the host ran already after an import, the store may say more than the directory.
    let is_new = report.count(ImportOutcome::AlreadyImported) == 0;
    if is_new {
        let store = Store::open_read_only(path)?;
        let comparison = layout::compare(&store, directory)?;
        store.close()?;
        if !comparison.is_same() {
            let first = comparison.differences.first().map(ToString::to_string);
            return Err(first.unwrap_or_default().into());
        }
        println!("moved {} events, and compared them", comparison.events);
    }
    // Kept, under a name where an old host that is started by mistake does not find it.
    fs::rename(directory, directory.with_extension("imported"))?;
    Ok(())
}

/// Writes a small directory in place of one that the directory store wrote.
fn write_directory(directory: &Path) -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::new_memory();
    let worker = runtime.create_worker(CreateWorkerRequest::default())?;
    runtime.send_input(&worker.worker_ref, WorkerInput::user("Remember this."))?;
    layout::export(runtime.store(), directory, ExportOptions::new())?;
    Ok(())
}
