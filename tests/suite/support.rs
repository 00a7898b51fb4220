//! Helpers of the tests of runtimes and stores.

use redb_runtime_store::catalog::{CapabilityRequest, ConfigBundleRef, CreateWorkerRequest};
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::{
    TranscriptEntry, TranscriptQuery, TranscriptRole, WorkerInput,
};
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::observation::{EventCursor, RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::store::{BulkLoad, PersistedRuntimeSnapshot, PersistedWorkerSnapshot};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

pub(crate) use crate::hosts::{Host, Kept, Place, fresh, on_both, on_one_writer};

/// A temporary directory, and the path of a store in it.
pub(crate) fn scratch() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    (directory, path)
}

pub(crate) fn runtime_id(id: &str) -> RuntimeId {
    RuntimeId::new(id).unwrap()
}

pub(crate) fn worker_ref(runtime: &str, worker: &str) -> WorkerRef {
    WorkerRef::new(runtime_id(runtime), WorkerId::new(worker).unwrap())
}

pub(crate) fn cursor(runtime: &str, next_event_id: u64) -> EventCursor {
    EventCursor {
        runtime_id: runtime_id(runtime),
        next_event_id,
    }
}

/// Options for the runtime `id`, with everything else by default.
pub(crate) fn named(id: &str) -> RuntimeOptions {
    RuntimeOptions {
        runtime_id: Some(runtime_id(id)),
        ..RuntimeOptions::default()
    }
}

/// A request that causes no diagnostic.
pub(crate) fn full_request() -> CreateWorkerRequest {
    CreateWorkerRequest {
        config_bundle: Some(ConfigBundleRef {
            id: "bundle".to_owned(),
        }),
        requested_capabilities: vec![CapabilityRequest::named("read")],
        ..CreateWorkerRequest::default()
    }
}

/// All events of a runtime.
pub(crate) fn all_events(runtime: &Runtime) -> Vec<RuntimeEvent> {
    let max = runtime.summary().unwrap().limits.max_event_batch_items;
    let mut cursor = runtime.event_cursor_from_start().unwrap();
    let mut events = Vec::new();
    loop {
        let batch = runtime.read_events(&cursor, max).unwrap();
        events.extend(batch.events);
        cursor = batch.cursor;
        if !batch.has_more {
            return events;
        }
    }
}

/// A worker's whole transcript.
pub(crate) fn all_entries(runtime: &Runtime, worker: &WorkerRef) -> Vec<TranscriptEntry> {
    let limits = runtime.summary().unwrap().limits;
    let max = limits.max_transcript_projection_items;
    let mut start = 0;
    let mut entries = Vec::new();
    loop {
        let query = TranscriptQuery::new(start, max);
        let page = runtime.transcript_projection(worker, query).unwrap();
        entries.extend(page.items);
        match page.next_start {
            Some(next) => start = next,
            None => return entries,
        }
    }
}

/// Asserts that the parts of a runtime are consistent, if nothing was imported: ids from 1 without gaps
/// or repeats, counters equal to the logs, every entry with its event.
pub(crate) fn assert_whole(runtime: &Runtime) {
    let events = all_events(runtime);
    let ids: Vec<u64> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "event ids");
    let next = runtime.event_cursor_now().unwrap().next_event_id;
    assert_eq!(next, ids.len() as u64 + 1, "next_event_id");
    let workers = runtime.list_workers().unwrap();
    let mut counts = BTreeMap::new();
    let mut inputs = 0;
    for worker in &workers {
        *counts
            .entry(format!("{:?}", worker.status))
            .or_insert(0_usize) += 1;
        let entries = all_entries(runtime, &worker.worker_ref);
        assert_eq!(entries.len(), worker.transcript_len, "{worker:?}");
        for (entry, sequence) in entries.iter().zip(1..) {
            assert_eq!(entry.sequence, sequence, "{worker:?}");
            let event = &events[entry.event_id as usize - 1];
            assert_eq!(event.kind, RuntimeEventKind::WorkerInputAccepted);
            assert_eq!(event.worker_ref.as_ref(), Some(&entry.worker_ref));
        }
        inputs += entries.len();
    }
    let accepted = RuntimeEventKind::WorkerInputAccepted;
    let logged = events.iter().filter(|event| event.kind == accepted);
    assert_eq!(logged.count(), inputs, "an event for each entry");
    let summary = runtime.summary().unwrap();
    let count = |status: &str| counts.get(status).copied().unwrap_or(0);
    assert_eq!(summary.worker_count, workers.len());
    assert_eq!(summary.active_worker_count, count("Running"));
    assert_eq!(summary.stopped_worker_count, count("Stopped"));
    assert_eq!(summary.cancelled_worker_count, count("Cancelled"));
    let diagnostics = runtime.diagnostics().unwrap();
    assert_eq!(summary.diagnostic_count, diagnostics.len());
    for (diagnostic, id) in diagnostics.iter().zip(1..) {
        assert_eq!(diagnostic.id, id, "diagnostic ids");
    }
}

/// Sends `text` as input.
pub(crate) fn say(runtime: &Runtime, worker: &WorkerRef, text: &str) -> Result<u64, RuntimeError> {
    let ack = runtime.send_input(worker, WorkerInput::user(text))?;
    Ok(ack.event_id)
}

/// A runtime's snapshot to load, without workers or diagnostics.
pub(crate) fn runtime_snapshot(id: &str, next_event_id: u64) -> PersistedRuntimeSnapshot {
    let mut snapshot = PersistedRuntimeSnapshot::new(runtime_id(id));
    snapshot.next_event_id = next_event_id;
    snapshot
}

/// A running worker's snapshot to load.
pub(crate) fn worker_snapshot(worker: &WorkerRef, next_sequence: u64) -> PersistedWorkerSnapshot {
    let request = CreateWorkerRequest::default();
    let mut snapshot = PersistedWorkerSnapshot::new(worker.clone(), request, 0);
    snapshot.next_transcript_sequence = next_sequence;
    snapshot
}

/// An event about a runtime itself.
pub(crate) fn event(id: u64, message: &str) -> RuntimeEvent {
    RuntimeEvent {
        id,
        worker_ref: None,
        kind: RuntimeEventKind::RuntimeStarted,
        message: message.to_owned(),
    }
}

/// A transcript entry.
pub(crate) fn entry(worker: &WorkerRef, sequence: u64, content: &str) -> TranscriptEntry {
    TranscriptEntry {
        sequence,
        worker_ref: worker.clone(),
        role: TranscriptRole::Assistant,
        content: content.to_owned(),
        event_id: sequence,
    }
}

/// Runs a bulk load on `store`.
pub(crate) fn bulk(
    store: &Store,
    load: impl FnOnce(&mut BulkLoad<'_>) -> Result<(), RuntimeError>,
) {
    store.bulk_load(load).unwrap();
}

/// The visible state of a file and its directory, without opening the store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    names: Vec<String>,
    mode: u32,
    modified: SystemTime,
    bytes: Option<Vec<u8>>,
}

impl Sight {
    pub(crate) fn of(path: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let metadata = std::fs::symlink_metadata(path).unwrap();
        let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        Self {
            names,
            mode: metadata.permissions().mode(),
            modified: metadata.modified().unwrap(),
            bytes: is_file.then(|| std::fs::read(path).unwrap()),
        }
    }

    /// Asserts that the file and its directory are as they were.
    pub(crate) fn assert_unchanged(&self, path: &Path) {
        let now = Self::of(path);
        assert_eq!(self.names, now.names, "other files than before");
        assert!(self.bytes == now.bytes, "the file's bytes changed");
        assert_eq!(self.modified, now.modified, "the file was written to");
        assert_eq!(self.mode, now.mode, "the file's mode changed");
    }
}

/// The variable that names the data of a child process.
const CHILD: &str = "SUITE_CHILD";

/// The data of this process, if it is the child of a test.
pub(crate) fn told_as_child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Prints one line for the parent, and returns when it is in the pipe.
pub(crate) fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // One write: a kill leaves the whole line or nothing. The first newline ends what the test
    // harness may have printed.
    out.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// A child process that runs one test; killed when dropped.
pub(crate) struct TestChild {
    pub(crate) child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl TestChild {
    /// Runs the test `name` (with its module) in a child process with the data `told`.
    pub(crate) fn start(name: &str, told: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line of the child; `None` after its end.
    pub(crate) fn hear(&mut self) -> Option<String> {
        loop {
            let line = self.lines.next()?.unwrap();
            if let Some(told) = line.strip_prefix('@') {
                return Some(told.to_owned());
            }
        }
    }

    /// Kills the child, and returns when it has ended.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for TestChild {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A child of the test `name` (with its module) that plays `role` on the store at `path`.
pub(crate) fn child(name: &str, role: &str, path: &Path) -> TestChild {
    TestChild::start(name, &PathBuf::from(format!("{role}|{}", path.display())))
}

/// The role and the store of this process, if it is a child.
pub(crate) fn as_child() -> Option<(String, PathBuf)> {
    let told = told_as_child()?;
    let (role, path) = told.to_str().unwrap().split_once('|').unwrap();
    Some((role.to_owned(), PathBuf::from(path)))
}

/// Waits until the parent ends this process.
pub(crate) fn wait_to_be_killed() -> ! {
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0)
}

/// The first worker of a runtime, created if there is none.
pub(crate) fn first_worker(runtime: &Runtime) -> WorkerRef {
    match runtime.list_workers().unwrap().first() {
        Some(worker) => worker.worker_ref.clone(),
        None => runtime.create_worker(full_request()).unwrap().worker_ref,
    }
}

/// The seed of a random test, printed so that a failure can be replayed.
pub(crate) fn seed() -> u64 {
    let random = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let given = std::env::var("SUITE_SEED").ok();
    let seed = given.map_or_else(random, |seed| seed.parse().unwrap());
    println!("SUITE_SEED={seed}");
    seed
}

/// A proptest configuration with a printed seed.
pub(crate) fn seeded(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: crate::hosts::cases(cases),
        rng_seed: proptest::test_runner::RngSeed::Fixed(seed()),
        failure_persistence: None,
        ..Default::default()
    }
}

/// Asserts that a result is an error of one kind.
macro_rules! assert_refused {
    ($result:expr, $pattern:pat $(if $guard:expr)? $(,)?) => {
        match $result {
            Err($pattern) $(if $guard)? => {}
            other => panic!("wanted {}, got {other:?}", stringify!($pattern $(if $guard)?)),
        }
    };
}
pub(crate) use assert_refused;

/// A new worker of `runtime`.
pub(crate) fn new_worker(runtime: &Runtime) -> WorkerRef {
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    worker.unwrap().worker_ref
}

/// Sends `count` inputs of 100 bytes to `worker`, many in a commit.
pub(crate) fn send_many(runtime: &Runtime, worker: &WorkerRef, count: usize) {
    let text = "x".repeat(100);
    let pending: Vec<_> = (0..count)
        .map(|_| {
            let (worker, input) = (worker.clone(), WorkerInput::user(text.clone()));
            runtime.submit(move |tx| tx.send_input(&worker, input))
        })
        .collect();
    for sent in pending {
        sent.wait().unwrap();
    }
}
