//! Random changes, with removals: read through layers, and written as one batch, they give the rows that they give
//! when each is committed on its own.

use super::*;
use crate::engine::redb::schema::version::Schema;
use crate::engine::redb::tables::view::View;
use crate::error::Place;
use crate::ledger::removals::Removals;
use crate::ledger::rows::{DiagnosticRow, EventRow, Rows, TranscriptRow};
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::ledger::transaction::Transaction;
use crate::model::catalog::{CreateWorkerRequest, WorkerStatus};
use crate::model::diagnostics::DiagnosticSeverity;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::TranscriptRole;
use crate::model::layout_form::LineForm;
use crate::model::management::{RuntimeLimits, RuntimeStatus};
use crate::model::observation::RuntimeEventKind;
use crate::model::persisted::{ImportRecord, PersistedRuntimeSnapshot, PersistedWorkerSnapshot};
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase};
use std::collections::BTreeMap;

const RUNTIMES_OF_TEST: [&str; 2] = ["r", "s"];
const WORKERS_OF_TEST: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A small xorshift generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// One change of a row, or one removal.
#[derive(Clone, Debug)]
enum Change {
    PutRuntime(&'static str, u64),
    RemoveRuntime(&'static str),
    PutImport(&'static str, u64),
    PutWorker(&'static str, &'static str, u64),
    RemoveWorker(&'static str, &'static str),
    PutEvent(&'static str, u64),
    RemoveEvents(&'static str, u64),
    PutEntry(&'static str, &'static str, u64),
    RemoveEntries(&'static str, &'static str, u64),
    RemoveAllEntries(&'static str),
    PutDiagnostic(&'static str, u64),
    RemoveDiagnostic(&'static str, u64),
    PutTombstone(&'static str, &'static str),
    RemoveTombstone(&'static str, &'static str),
}

/// The next numbers of the logs.
#[derive(Clone, Default)]
struct Logs(BTreeMap<(&'static str, &'static str), u64>);

impl Logs {
    fn next(&mut self, runtime: &'static str, worker: &'static str, first: u64) -> u64 {
        let next = self.0.entry((runtime, worker)).or_insert(first);
        *next += 1;
        *next - 1
    }

    /// A floor up to the end of the log, or that of a log that begins again.
    fn floor(&mut self, runtime: &'static str, worker: &'static str, random: &mut Random) -> u64 {
        if random.below(4) == 0 {
            self.0.remove(&(runtime, worker));
            return ALL;
        }
        let next = self.0.get(&(runtime, worker)).copied().unwrap_or(0);
        random.below(next + 1)
    }
}

impl Change {
    fn random(random: &mut Random, logs: &mut Logs) -> Self {
        let runtime = random.one(&RUNTIMES_OF_TEST);
        let worker = random.one(&WORKERS_OF_TEST);
        match random.below(16) {
            0 => Self::PutRuntime(runtime, random.below(100)),
            1 => Self::RemoveRuntime(runtime),
            2 => Self::PutImport(runtime, random.below(100)),
            3 => Self::PutWorker(runtime, worker, random.below(100)),
            4 => Self::RemoveWorker(runtime, worker),
            5..=7 => Self::PutEvent(runtime, logs.next(runtime, "", 1)),
            8 => Self::RemoveEvents(runtime, logs.floor(runtime, "", random)),
            9..=11 => Self::PutEntry(runtime, worker, logs.next(runtime, worker, 0)),
            12 if random.below(8) == 0 => {
                for worker in WORKERS_OF_TEST {
                    logs.0.remove(&(runtime, worker));
                }
                Self::RemoveAllEntries(runtime)
            }
            12 => Self::RemoveEntries(runtime, worker, logs.floor(runtime, worker, random)),
            13 if random.below(2) == 0 => Self::PutDiagnostic(runtime, random.below(6)),
            13 => Self::RemoveDiagnostic(runtime, random.below(6)),
            14 => Self::PutTombstone(runtime, worker),
            _ => Self::RemoveTombstone(runtime, worker),
        }
    }

    fn apply(&self, changes: &mut ChangeSet) -> Result<(), RuntimeError> {
        let mut removed = Removals::default();
        let runtime = match *self {
            Self::PutRuntime(runtime, next) => {
                return changes.put_runtime(runtime, runtime_row(runtime, next));
            }
            Self::PutImport(runtime, bytes) => {
                return changes.put_import(runtime, import_row(bytes));
            }
            Self::PutWorker(runtime, worker, len) => {
                let row = worker_row(runtime, worker, len);
                return changes.put_worker(runtime, worker, row);
            }
            Self::PutEvent(runtime, id) => return changes.put_event(runtime, id, event_row(id)),
            Self::PutEntry(runtime, worker, position) => {
                return changes.put_transcript(runtime, worker, position, entry_row(position));
            }
            Self::PutDiagnostic(runtime, id) => {
                return changes.put_diagnostic(runtime, id, diagnostic_row(id));
            }
            Self::PutTombstone(runtime, worker) => {
                let row = TombstoneRow::Deleted { at_ms: Some(1) };
                return changes.put_tombstone(runtime, worker, row);
            }
            Self::RemoveRuntime(runtime) => {
                removed.runtime = true;
                runtime
            }
            Self::RemoveWorker(runtime, worker) => {
                removed.workers.insert(worker.to_owned());
                runtime
            }
            Self::RemoveEvents(runtime, floor) => {
                removed.events_below = floor;
                runtime
            }
            Self::RemoveEntries(runtime, worker, floor) => {
                removed.raise_entries(worker.to_owned(), floor);
                runtime
            }
            Self::RemoveAllEntries(runtime) => {
                removed.all_entries = true;
                runtime
            }
            Self::RemoveDiagnostic(runtime, id) => {
                removed.diagnostics.insert(id);
                runtime
            }
            Self::RemoveTombstone(runtime, worker) => {
                removed.tombstones.insert(worker.to_owned());
                runtime
            }
        };
        changes.remove(runtime, removed, 0);
        Ok(())
    }
}

fn runtime_row(runtime: &str, next_event_id: u64) -> crate::ledger::rows::RuntimeRow {
    let snapshot = PersistedRuntimeSnapshot {
        runtime_id: RuntimeId::new(runtime).unwrap(),
        display_name: None,
        status: RuntimeStatus::Running,
        limits: RuntimeLimits::default(),
        next_worker_sequence: 1,
        next_event_id,
        next_diagnostic_id: 1,
        diagnostics: Vec::new(),
    };
    crate::ledger::convert::runtime_rows(snapshot.into()).0
}

fn worker_row(runtime: &str, worker: &str, len: u64) -> crate::ledger::rows::WorkerRow {
    let runtime = RuntimeId::new(runtime).unwrap();
    let snapshot = PersistedWorkerSnapshot {
        worker_ref: WorkerRef::new(runtime, WorkerId::new(worker).unwrap()),
        status: WorkerStatus::Running,
        request: CreateWorkerRequest::default(),
        next_transcript_sequence: 1,
        last_event_id: 0,
    };
    crate::ledger::convert::worker_row(snapshot.into(), len)
}

fn import_row(bytes: u64) -> ImportRecord {
    ImportRecord {
        source: "/dir".to_owned(),
        fingerprint: 0,
        imported_at_s: 0,
        workers: 0,
        events: 0,
        transcript_entries: 0,
        bytes,
        salvaged: false,
        findings: Vec::new(),
    }
}

fn event_row(id: u64) -> EventRow<'static> {
    EventRow {
        worker_id: None,
        kind: RuntimeEventKind::RuntimeStarted,
        message: Some(format!("event {id}").into()),
        unknown: Vec::new(),
        recorded_at_ms: None,
        form: LineForm::default(),
    }
}

fn entry_row(position: u64) -> TranscriptRow<'static> {
    TranscriptRow {
        sequence: position + 1,
        role: TranscriptRole::User,
        event_id: 1,
        content: "said".into(),
        unknown: Vec::new(),
        recorded_at_ms: None,
        form: LineForm::default(),
        attributes: None,
    }
}

fn diagnostic_row(id: u64) -> DiagnosticRow {
    DiagnosticRow {
        severity: DiagnosticSeverity::Info,
        code: format!("code {id}"),
        message: String::new(),
        worker_id: None,
        unknown: Vec::new(),
        recorded_at_ms: None,
    }
}

/// A store in memory, without a queue.
struct Tables {
    database: Database,
    place: Place,
}

impl Tables {
    fn new() -> Self {
        let database = Builder::new()
            .create_with_backend(InMemoryBackend::new())
            .unwrap();
        let place = Place::named("(test)");
        let transaction = database.begin_write().unwrap();
        let at = RedbContext::new("create", &place);
        let schema = Schema::default();
        schema.create(&transaction, "id".to_owned(), at).unwrap();
        transaction.commit().unwrap();
        Self { database, place }
    }

    fn write(&self, changes: &ChangeSet) {
        let transaction = self.database.begin_write().unwrap();
        let at = RedbContext::new("write", &self.place);
        changes.write(&transaction, at).unwrap();
        transaction.commit().unwrap();
    }

    fn read<T>(&self, read: impl FnOnce(&View<'_, ReadTransaction>) -> T) -> T {
        let transaction = self.database.begin_read().unwrap();
        let at = RedbContext::new("read", &self.place);
        read(&View {
            tables: &transaction,
            at,
        })
    }
}

/// All that `rows` has, read in pages of `limit` rows.
fn all(rows: &dyn Rows, limit: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut last: Option<String> = None;
    while let Some((id, row)) = {
        let page = rows.runtimes(last.as_deref(), limit).unwrap();
        all.extend(page.iter().map(|row| format!("{row:?}")));
        page.into_iter().next_back()
    } {
        assert_eq!(rows.runtime(&id).unwrap(), Some(row));
        last = Some(id);
    }
    for runtime in RUNTIMES_OF_TEST {
        all.push(format!("{:?}", rows.runtime(runtime).unwrap()));
        all.push(format!("{:?}", rows.import(runtime).unwrap()));
        all.push(format!("{:?}", rows.last_event_id(runtime).unwrap()));
        of_runtime(rows, runtime, limit, &mut all);
    }
    all
}

fn of_runtime(rows: &dyn Rows, runtime: &str, limit: usize, all: &mut Vec<String>) {
    let mut last: Option<String> = None;
    loop {
        let page = rows.workers(runtime, last.as_deref(), limit).unwrap();
        all.extend(page.iter().map(|row| format!("{row:?}")));
        let Some((worker, _)) = page.into_iter().next_back() else {
            break;
        };
        last = Some(worker);
    }
    last = None;
    loop {
        let page = rows.tombstones(runtime, last.as_deref(), limit).unwrap();
        all.extend(page.iter().map(|row| format!("{row:?}")));
        let Some((worker, _)) = page.into_iter().next_back() else {
            break;
        };
        last = Some(worker);
    }
    let mut from = 0;
    while let Some((id, _)) = {
        let page = rows.diagnostics(runtime, from, limit).unwrap();
        all.extend(page.iter().map(|row| format!("{row:?}")));
        page.into_iter().next_back()
    } {
        from = id + 1;
    }
    let mut each = |id: u64, row: EventRow<'_>| {
        all.push(format!("{id} {row:?}"));
        Ok(())
    };
    rows.events(runtime, 0, usize::MAX, &mut each).unwrap();
    rows.events(runtime, 3, 2, &mut each).unwrap();
    for worker in WORKERS_OF_TEST {
        all.push(format!("{:?}", rows.worker(runtime, worker).unwrap()));
        all.push(format!("{:?}", rows.tombstone(runtime, worker).unwrap()));
        let mut each = |position: u64, row: TranscriptRow<'_>| {
            all.push(format!("{worker} {position} {row:?}"));
            Ok(())
        };
        let rest = (2, usize::MAX);
        rows.transcript(runtime, worker, 0, 2, &mut each).unwrap();
        rows.transcript(runtime, worker, rest.0, rest.1, &mut each)
            .unwrap();
    }
}

/// Makes random operations, and gives each to the layers in turn: committed, sealed, open, staged.
fn check(seed: u64) {
    let mut random = Random(seed | 1);
    let mut logs = Logs::default();
    let (layered, alone) = (Tables::new(), Tables::new());
    for _ in 0..40 {
        let mut layers: [ChangeSet; 3] = Default::default();
        for layer in &mut layers {
            for _ in 0..random.below(8) {
                let mut operation = ChangeSet::default();
                for _ in 0..=random.below(4) {
                    Change::random(&mut random, &mut logs)
                        .apply(&mut operation)
                        .unwrap();
                }
                alone.write(&operation);
                layer.merge(operation);
            }
        }
        let [sealed, open, staged] = layers;
        let limit = random.below(3) as usize + 1;
        let expected = alone.read(|rows| all(rows, limit));
        let mut batch = ChangeSet::default();
        layered.read(|base| {
            let mut transaction = Transaction::new(base, vec![&sealed, &open]);
            transaction.changes().merge(staged);
            assert_eq!(all(&transaction, limit), expected, "seed {seed}");
            batch = transaction.into_staged();
        });
        let mut whole = sealed;
        whole.merge(open);
        whole.merge(batch);
        layered.write(&whole);
        assert_eq!(layered.read(|rows| all(rows, limit)), expected);
    }
}

#[test]
fn layered_removals_equal_single_commits() {
    let given = std::env::var("SUITE_SEED").ok();
    let seed = given.map_or_else(
        || u64::from(std::process::id()) << 20 | 7,
        |seed| seed.parse().unwrap(),
    );
    println!("SUITE_SEED={seed}");
    for round in 0..20 {
        check(seed.wrapping_add(round).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
}

#[test]
fn removals_reach_no_neighbouring_rows() {
    let tables = Tables::new();
    let mut changes = ChangeSet::default();
    for id in 1..=4 {
        changes.put_event("r", id, event_row(id)).unwrap();
        changes.put_event("s", id, event_row(id)).unwrap();
        changes.put_transcript("r", "a", id, entry_row(id)).unwrap();
        changes.put_transcript("r", "b", id, entry_row(id)).unwrap();
    }
    tables.write(&changes);
    let mut changes = ChangeSet::default();
    let mut removed = Removals {
        events_below: 3,
        ..Removals::default()
    };
    removed.raise_entries("a".to_owned(), ALL);
    changes.remove("r", removed, 0);
    tables.write(&changes);
    let mut left = Vec::new();
    tables.read(|rows| {
        for runtime in RUNTIMES_OF_TEST {
            let mut each = |id: u64, _: EventRow<'_>| {
                left.push(format!("{runtime}{id}"));
                Ok(())
            };
            rows.events(runtime, 0, usize::MAX, &mut each).unwrap();
        }
        for worker in ["a", "b"] {
            let mut each = |position: u64, _: TranscriptRow<'_>| {
                left.push(format!("{worker}{position}"));
                Ok(())
            };
            rows.transcript("r", worker, 0, usize::MAX, &mut each)
                .unwrap();
        }
    });
    let expected = "r3 r4 s1 s2 s3 s4 b1 b2 b3 b4";
    assert_eq!(left.join(" "), expected);
}
