//! The stores that the tests report, and their reports.

use redb_runtime_store::catalog::{CreateWorkerRequest, WorkerIntent};
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptEntry, TranscriptRole};
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::store::{
    BorrowedEntry, BorrowedEvent, EventRun, PersistedRuntimeSnapshot, PersistedWorkerSnapshot,
    Stored, TranscriptRun,
};
use redb_runtime_store::{RuntimeError, Store};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Texts that break out of a careless page, run a script, load a picture, or hide what is written.
pub(crate) const HOSTILE: [&str; 10] = [
    "<script>document.title = 'ran'</script>",
    "</p></div></details></section></title></style><h1>out</h1>",
    "<img src=x onerror=\"document.title = 'ran'\"><svg onload=alert(1)>",
    "\" onmouseover=\"alert(1)\" x=\"",
    "<style>* { display: none }</style><!-- ]]> -->",
    "<a href=javascript:alert(1)>click</a> &lt;b&gt; &amp;amp;",
    "a\u{202E}reversed\u{2066}isolated\u{200B}joined\u{E0041}",
    "\u{0}\u{1B}[31mred\u{9B}0m\r\rnext\u{2028}line",
    "עברית \u{5D0}\u{5D1} العربية, 日本語, 👩‍👩‍👧",
    "  spaces\n\tand a tab\r\nand lines  ",
];

/// The number of events of the large store.
pub(crate) const LARGE_EVENTS: u64 = 1_000_000;

/// The number of workers of the large store.
pub(crate) const LARGE_WORKERS: u64 = 2_000;

/// A report of a store in a directory of its own.
pub(crate) struct Report {
    directory: TempDir,
}

impl Report {
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("report.html")
    }

    /// The report of the store that `fill` makes at a path.
    pub(crate) fn of(fill: impl FnOnce(&Path), options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, report) = (
            directory.path().join("agents.redb"),
            directory.path().join("report.html"),
        );
        fill(&store);
        let mut command = Command::new(program());
        command
            .arg("report")
            .arg(&store)
            .arg("--output")
            .arg(&report)
            .args(options);
        let output = command.output().unwrap_or_else(|error| {
            panic!(
                "{}: {error}: run tests/browser/run, which builds it",
                program().display()
            )
        });
        assert!(output.status.success(), "{output:?}");
        Self { directory }
    }
}

/// The program: it is built next to the directory of this test.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("runtime-store")
}

/// The small fixture of the suite.
pub(crate) fn small(path: &Path) {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/small");
    let import = Command::new(program())
        .arg("import")
        .arg(fixture)
        .arg(path)
        .output();
    assert!(import.expect("the program is built").status.success());
}

/// A store whose ids, names, intents, diagnostics and entries are hostile, with a line of 1 MiB.
pub(crate) fn hostile(path: &Path) {
    let long = "y".repeat(1 << 20);
    let texts: Vec<&str> = HOSTILE.into_iter().chain([long.as_str()]).collect();
    let store = Store::open(path).unwrap();
    let load = store.bulk_load(|load| -> Result<(), RuntimeError> {
        let mut rows = Rows::new("<img src=x onerror=alert(1)>\"'\u{2028}");
        for id in HOSTILE.into_iter().chain([long[..400].into()]) {
            let worker = rows.worker(id);
            rows.event(RuntimeEventKind::WorkerCreated, Some(&worker), None);
            let mut entries = TranscriptRun::new(worker.clone(), 0);
            for (text, sequence) in texts.iter().zip(1..) {
                rows.event(RuntimeEventKind::WorkerInputAccepted, Some(&worker), None);
                entries.push(&rows.entry(&worker, sequence, text, None))?;
            }
            load.append_transcript(entries)?;
            let objective = long[..5000].to_owned() + id;
            let intent = WorkerIntent::Task { objective };
            load.put_worker(rows.snapshot(&worker, texts.len() as u64, intent).into())?;
        }
        let mut runtime = rows.runtime();
        runtime.display_name = Some(HOSTILE.concat());
        runtime.diagnostics = (1..)
            .zip(&texts)
            .map(|(id, text)| diagnostic(id, text))
            .collect();
        runtime.next_diagnostic_id = texts.len() as u64 + 1;
        load.append_events(rows.events)?;
        load.put_runtime(runtime.into())
    });
    load.unwrap();
    store.close().unwrap();
}

fn diagnostic(id: u64, text: &str) -> RuntimeDiagnostic {
    RuntimeDiagnostic {
        id,
        severity: DiagnosticSeverity::Error,
        code: text.chars().take(100).collect(),
        message: text.to_owned(),
        worker_ref: None,
    }
}

/// A store with [`LARGE_EVENTS`] events of [`LARGE_WORKERS`] workers over some weeks, and an entry for each tenth event.
pub(crate) fn large(path: &Path) {
    let store = Store::open(path).unwrap();
    let load = store.bulk_load(|load| -> Result<(), RuntimeError> {
        let mut rows = Rows::new("large");
        let workers: Vec<WorkerRef> = (0..LARGE_WORKERS)
            .map(|n| rows.worker(&format!("worker-{n:08x}")))
            .collect();
        for id in 0..LARGE_EVENTS {
            let kind = match id < LARGE_WORKERS {
                true => RuntimeEventKind::WorkerCreated,
                false => RuntimeEventKind::WorkerInputAccepted,
            };
            let worker = &workers[(id * 31 % LARGE_WORKERS) as usize];
            rows.event(kind, Some(worker), Some(time(id)));
            if rows.events.is_full() {
                load.append_events(rows.events.take())?;
            }
        }
        let each = LARGE_EVENTS / 10 / LARGE_WORKERS;
        for (worker, number) in workers.iter().zip(0..) {
            let mut entries = TranscriptRun::new(worker.clone(), 0);
            for sequence in 1..=each {
                let at = time((sequence - 1) * LARGE_EVENTS / each + number);
                entries.push(&rows.entry(
                    worker,
                    sequence,
                    "An answer of about sixty bytes, as most of them are.",
                    Some(at),
                ))?;
            }
            load.append_transcript(entries)?;
            load.put_worker(rows.snapshot(worker, each, WorkerIntent::default()).into())?;
        }
        load.append_events(rows.events.take())?;
        load.put_runtime(rows.runtime().into())
    });
    load.unwrap();
    store.close().unwrap();
}

/// A time for the row with this number, from 2026-09-21 on.
fn time(number: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000) + Duration::from_millis(number * 2500)
}

/// The rows of a runtime under way.
struct Rows {
    id: RuntimeId,
    last_event_id: u64,
    events: EventRun,
}

impl Rows {
    fn new(id: &str) -> Self {
        let id = RuntimeId::new(id).unwrap();
        Self {
            events: EventRun::new(id.clone()),
            last_event_id: 0,
            id,
        }
    }

    fn worker(&self, id: &str) -> WorkerRef {
        WorkerRef::new(self.id.clone(), WorkerId::new(id).unwrap())
    }

    fn event(
        &mut self,
        kind: RuntimeEventKind,
        worker: Option<&WorkerRef>,
        at: Option<SystemTime>,
    ) {
        self.last_event_id += 1;
        let event = RuntimeEvent {
            id: self.last_event_id,
            worker_ref: worker.cloned(),
            kind,
            message: kind.to_string(),
        };
        let mut event = BorrowedEvent::from(Stored::from(event));
        event.recorded_at = at;
        self.events.push(&event).unwrap();
    }

    fn entry(
        &self,
        worker: &WorkerRef,
        sequence: u64,
        text: &str,
        at: Option<SystemTime>,
    ) -> BorrowedEntry<'static> {
        let roles = TranscriptRole::ALL;
        let entry = TranscriptEntry {
            sequence,
            worker_ref: worker.clone(),
            role: roles[sequence as usize % roles.len()],
            content: text.to_owned(),
            event_id: self.last_event_id,
        };
        let mut entry = BorrowedEntry::from(Stored::from(entry));
        entry.recorded_at = at;
        entry
    }

    fn snapshot(
        &self,
        worker: &WorkerRef,
        entries: u64,
        intent: WorkerIntent,
    ) -> PersistedWorkerSnapshot {
        let request = CreateWorkerRequest {
            intent,
            ..CreateWorkerRequest::default()
        };
        let mut snapshot =
            PersistedWorkerSnapshot::new(worker.clone(), request, self.last_event_id);
        snapshot.next_transcript_sequence = entries + 1;
        snapshot
    }

    fn runtime(&self) -> PersistedRuntimeSnapshot {
        let mut snapshot = PersistedRuntimeSnapshot::new(self.id.clone());
        snapshot.next_event_id = self.last_event_id + 1;
        snapshot
    }
}
