//! The directory of JSON as the old store wrote it.
//!
//! An input rewrites `runtime.json` and the `worker.json` (temporary file, sync, rename, sync of
//! the directory each), creates the `transcript.jsonl` where it is missing and syncs it, then appends
//! to `events.jsonl` and to the transcript and syncs each: seven syncs. A lock makes it one at a
//! time. Every read of a log parses the whole log.

use crate::peer::{InputPeer, Sender};
use crate::workload::{ACCEPTED, Dataset, Inputs, Tally, worker_ref};
use anyhow::{Context, Result, ensure};
use redb_runtime_store::catalog::{CreateWorkerRequest, WorkerStatus};
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptEntry, TranscriptRole};
use redb_runtime_store::management::{RuntimeLimits, RuntimeStatus};
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::store::{PersistedRuntimeSnapshot, PersistedWorkerSnapshot};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

#[derive(Serialize, Deserialize)]
struct RuntimeDocument {
    schema_version: u32,
    runtime_id: RuntimeId,
    display_name: Option<String>,
    backend: String,
    status: RuntimeStatus,
    limits: RuntimeLimits,
    next_worker_sequence: u64,
    next_event_id: u64,
    next_diagnostic_id: u64,
    diagnostics: Vec<RuntimeDiagnostic>,
}

impl From<PersistedRuntimeSnapshot> for RuntimeDocument {
    fn from(runtime: PersistedRuntimeSnapshot) -> Self {
        Self {
            schema_version: 1,
            runtime_id: runtime.runtime_id,
            display_name: runtime.display_name,
            backend: "fs_store".to_owned(),
            status: runtime.status,
            limits: runtime.limits,
            next_worker_sequence: runtime.next_worker_sequence,
            next_event_id: runtime.next_event_id,
            next_diagnostic_id: runtime.next_diagnostic_id,
            diagnostics: runtime.diagnostics,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct WorkerDocument {
    schema_version: u32,
    worker_ref: WorkerRef,
    worker_id: WorkerId,
    status: WorkerStatus,
    request: CreateWorkerRequest,
    next_transcript_sequence: u64,
    last_event_id: u64,
}

impl From<PersistedWorkerSnapshot> for WorkerDocument {
    fn from(worker: PersistedWorkerSnapshot) -> Self {
        Self {
            schema_version: 1,
            worker_id: worker.worker_ref.worker_id.clone(),
            worker_ref: worker.worker_ref,
            status: worker.status,
            request: worker.request,
            next_transcript_sequence: worker.next_transcript_sequence,
            last_event_id: worker.last_event_id,
        }
    }
}

/// What a worker that was created with a default request leaves behind.
const DIAGNOSTICS: [(&str, &str); 2] = [
    (
        "runtime.local_default_resources",
        "worker created without ConfigBundleRef; runtime-local defaults are assumed",
    ),
    (
        "worker.tools_less",
        "worker created without requested tool capabilities",
    ),
];

fn hex_name(id: &str) -> String {
    let hex: String = id.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("id-{hex}")
}

fn runtime_dir(root: &Path) -> PathBuf {
    root.join("runtimes")
        .join(hex_name(crate::workload::RUNTIME))
}

fn worker_dir(root: &Path, worker: usize) -> PathBuf {
    let name = hex_name(worker_ref(worker).worker_id.as_str());
    runtime_dir(root).join("workers").join(name)
}

/// The event log under `root`.
pub(crate) fn events_path(root: &Path) -> PathBuf {
    runtime_dir(root).join("events.jsonl")
}

/// The transcript of `worker` under `root`.
pub(crate) fn transcript_path(root: &Path, worker: usize) -> PathBuf {
    worker_dir(root, worker).join("transcript.jsonl")
}

/// Writes a document beside its place, syncs it, renames it, and syncs the directory.
fn write_document(dir: &Path, name: &str, document: &impl Serialize) -> Result<()> {
    let temporary = dir.join(format!(".{name}.tmp-{}-0", std::process::id()));
    let mut bytes = serde_json::to_vec_pretty(document)?;
    bytes.push(b'\n');
    let mut file = File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, dir.join(name))?;
    Ok(File::open(dir)?.sync_all()?)
}

fn append_synced(path: &Path, record: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(&line)?;
    Ok(file.sync_all()?)
}

/// What the old store kept in memory.
struct State {
    runtime: RuntimeDocument,
    workers: Vec<WorkerDocument>,
}

pub(crate) struct Directory {
    root: PathBuf,
    state: Mutex<State>,
}

impl Directory {
    /// A runtime whose workers were created with default requests: each has left two diagnostics,
    /// which `runtime.json` repeats from then on.
    pub(crate) fn create(root: &Path, workers: usize) -> Result<Self> {
        let empty = Dataset { inputs: 0, workers };
        build(root, &empty, &Inputs::new())?;
        let mut runtime = RuntimeDocument::from(empty.runtime());
        for worker in 0..workers {
            for (code, message) in DIAGNOSTICS {
                runtime.diagnostics.push(RuntimeDiagnostic {
                    id: runtime.next_diagnostic_id,
                    severity: DiagnosticSeverity::Info,
                    code: code.to_owned(),
                    message: message.to_owned(),
                    worker_ref: Some(worker_ref(worker)),
                });
                runtime.next_diagnostic_id += 1;
            }
        }
        write_document(&runtime_dir(root), "runtime.json", &runtime)?;
        let workers = (0..workers).map(|worker| empty.worker(worker).into());
        Ok(Self {
            root: root.to_owned(),
            state: Mutex::new(State {
                runtime,
                workers: workers.collect(),
            }),
        })
    }
}

impl InputPeer for Directory {
    fn sender(&self) -> Result<Box<dyn Sender + '_>> {
        Ok(Box::new(self))
    }

    fn tally(&self) -> Result<Tally> {
        let workers = self.state.lock().expect("no sender panics").workers.len();
        let mut tally = Tally::default();
        for worker in 0..workers {
            let path = transcript_path(&self.root, worker);
            each_record(&path, |entry: TranscriptEntry| {
                tally.add(worker, &entry.content);
            })?;
        }
        Ok(tally)
    }
}

impl Sender for &Directory {
    fn send(&mut self, worker: usize, text: &str) -> Result<()> {
        let mut state = self.state.lock().expect("no sender panics");
        let event_id = state.runtime.next_event_id;
        state.runtime.next_event_id += 1;
        write_document(&runtime_dir(&self.root), "runtime.json", &state.runtime)?;
        let dir = worker_dir(&self.root, worker);
        let document = &mut state.workers[worker];
        let sequence = document.next_transcript_sequence;
        document.next_transcript_sequence += 1;
        document.last_event_id = event_id;
        write_document(&dir, "worker.json", document)?;
        let transcript = dir.join("transcript.jsonl");
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&transcript)?
            .sync_all()?;
        let worker_ref = document.worker_ref.clone();
        let event = RuntimeEvent {
            id: event_id,
            worker_ref: Some(worker_ref.clone()),
            kind: RuntimeEventKind::WorkerInputAccepted,
            message: ACCEPTED.to_owned(),
        };
        append_synced(&events_path(&self.root), &event)?;
        let entry = TranscriptEntry {
            sequence,
            worker_ref,
            role: TranscriptRole::User,
            content: text.to_owned(),
            event_id,
        };
        append_synced(&transcript, &entry)
    }
}

/// Builds a directory that holds `dataset`.
pub(crate) fn build(root: &Path, dataset: &Dataset, inputs: &Inputs) -> Result<()> {
    for worker in 0..dataset.workers {
        let dir = worker_dir(root, worker);
        fs::create_dir_all(&dir)?;
        let document = WorkerDocument::from(dataset.worker(worker));
        write_document(&dir, "worker.json", &document)?;
        let entries = 0..dataset.entries(worker);
        let entries = entries.map(|position| dataset.entry(inputs, worker, position));
        write_log(&transcript_path(root, worker), entries)?;
    }
    let events = (1..=dataset.events()).map(|id| dataset.event(id));
    write_log(&events_path(root), events)?;
    let document = RuntimeDocument::from(dataset.runtime());
    write_document(&runtime_dir(root), "runtime.json", &document)
}

fn write_log<T: Serialize>(path: &Path, records: impl Iterator<Item = T>) -> Result<()> {
    let mut log = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for record in records {
        serde_json::to_writer(&mut log, &record)?;
        log.write_all(b"\n")?;
    }
    Ok(log.into_inner()?.sync_all()?)
}

/// Parses every line of a log.
pub(crate) fn each_record<T: DeserializeOwned>(path: &Path, mut take: impl FnMut(T)) -> Result<()> {
    let mut log = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut line = Vec::new();
    while log.read_until(b'\n', &mut line)? > 0 {
        take(serde_json::from_slice(&line)?);
        line.clear();
    }
    Ok(())
}

/// The last `limit` events: parses the log, and keeps its end.
pub(crate) fn last_events(root: &Path, limit: usize) -> Result<Vec<RuntimeEvent>> {
    let mut events: Vec<RuntimeEvent> = Vec::new();
    each_record(&events_path(root), |event| events.push(event))?;
    Ok(events.split_off(events.len().saturating_sub(limit)))
}

/// A page of a transcript: parses all of it, and keeps the page.
pub(crate) fn transcript_page(
    root: &Path,
    worker: usize,
    start: usize,
    limit: usize,
) -> Result<Vec<TranscriptEntry>> {
    let mut entries: Vec<TranscriptEntry> = Vec::new();
    each_record(&transcript_path(root, worker), |entry| entries.push(entry))?;
    Ok(entries.into_iter().skip(start).take(limit).collect())
}

/// Opens a directory as the old store did: reads the snapshots, and parses every log to the end.
/// Returns the records that it has.
pub(crate) fn open(root: &Path, workers: usize) -> Result<u64> {
    let document = fs::read(runtime_dir(root).join("runtime.json"))?;
    let runtime: RuntimeDocument = serde_json::from_slice(&document)?;
    let (mut records, mut last) = (0, 0);
    each_record(&events_path(root), |event: RuntimeEvent| {
        records += 1;
        last = event.id;
    })?;
    ensure!(last < runtime.next_event_id, "the event counter is behind");
    for worker in 0..workers {
        let document = fs::read(worker_dir(root, worker).join("worker.json"))?;
        let document: WorkerDocument = serde_json::from_slice(&document)?;
        let mut last = 0;
        each_record(&transcript_path(root, worker), |entry: TranscriptEntry| {
            records += 1;
            last = entry.sequence;
        })?;
        let next = document.next_transcript_sequence;
        ensure!(last < next, "the transcript counter is behind");
    }
    Ok(records)
}

/// The bytes of all files below `path`.
pub(crate) fn bytes(path: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(path).context("reading a directory")? {
        let entry = entry?;
        total += match entry.file_type()?.is_dir() {
            true => bytes(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(total)
}
