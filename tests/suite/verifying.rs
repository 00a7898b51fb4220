//! Verification of the rules across rows, and of values.

use crate::maintenance::{behind_our_back, break_value, events, rich};
use crate::support::{
    TestChild, assert_refused, bulk, entry, event, named, runtime_id, runtime_snapshot, say,
    scratch, tell, told_as_child, worker_ref, worker_snapshot,
};
use redb::{ReadableTable, TableDefinition};
use redb_runtime_store::layout::{ImportOptions, import};
use redb_runtime_store::management::RuntimeStatus;
use redb_runtime_store::store::VerifyKind::{
    Count, Counter, Gap, LastEvent, Orphan, Position, Sequence, Status, UnknownEvent,
    UnknownWorker, Value,
};
use redb_runtime_store::store::{BulkLoad, VerifyKind, VerifyOptions, VerifyReport};
use redb_runtime_store::{RuntimeError, Severity, Store};
use std::path::Path;
use torture::workload::import_root;
use torture::world::{World, check_rules};

/// The kinds of the findings, each once.
pub(crate) fn kinds(report: &VerifyReport) -> Vec<VerifyKind> {
    let mut kinds: Vec<VerifyKind> = report.findings.iter().map(|found| found.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

pub(crate) fn verify(path: &Path) -> VerifyReport {
    let before = std::fs::read(path).unwrap();
    let store = Store::open_read_only(path).unwrap();
    let report = store.verify().unwrap();
    store.close().unwrap();
    assert!(
        before == std::fs::read(path).unwrap(),
        "verify changed the file"
    );
    report
}

#[test]
fn sound_store_verifies_without_findings() {
    let (_directory, path) = scratch();
    let store = rich(&path);
    let report = store.verify().unwrap();
    assert_eq!(report.findings, []);
    assert!(report.is_clean() && report.pages_checked);
    assert_eq!((report.runtimes, report.workers), (2, 6));
    assert_eq!((report.events, report.transcript_entries), (252, 240));
    assert_eq!(report.rows, 3 + 2 + 6 + 252 + 240 + report.diagnostics);
    let runtime = store.runtime(named("a")).unwrap();
    let worker = worker_ref("a", "worker-00000001");
    say(&runtime, &worker, "it can be written to afterwards").unwrap();
    let left_out = VerifyOptions::new().pages(false);
    let left_out = store.verify_with(&left_out).unwrap();
    assert!(!left_out.pages_checked && left_out.is_clean());
    store.close().unwrap();
    assert_eq!(verify(&path).findings, []);
    let memory = Store::in_memory().unwrap();
    memory.runtime(named("a")).unwrap();
    let report = memory.verify().unwrap();
    assert_eq!(kinds(&report), [VerifyKind::PagesNotChecked]);
    assert!(report.is_clean());
}

/// A load that breaks a rule.
type Load = fn(&mut BulkLoad<'_>) -> Result<(), RuntimeError>;

const BROKEN_RULES: [(&str, Load, &[VerifyKind]); 7] = [
    (
        "an event past the counter",
        |load| {
            let id = runtime_id("r");
            load.append_event(&id, event(5, "five").into())?;
            load.put_runtime(runtime_snapshot("r", 3).into())
        },
        &[Counter, Gap],
    ),
    (
        "ids that are missing",
        |load| {
            let id = runtime_id("r");
            load.append_event(&id, event(5, "five").into())?;
            load.put_runtime(runtime_snapshot("r", 9).into())
        },
        &[Gap],
    ),
    (
        "sequences that repeat, and a counter behind them",
        |load| {
            let worker = worker_ref("r", "w");
            load.put_worker(worker_snapshot(&worker, 2).into())?;
            for sequence in [2, 2] {
                load.append_transcript_entry(entry(&worker, sequence, "said").into())?;
            }
            load.put_runtime(runtime_snapshot("r", 1).into())
        },
        &[Counter, Sequence, UnknownEvent],
    ),
    (
        "an event about nobody",
        |load| {
            let mut about = event(1, "who?");
            about.worker_ref = Some(worker_ref("r", "nobody"));
            load.append_event(&runtime_id("r"), about.into())?;
            load.put_runtime(runtime_snapshot("r", 2).into())
        },
        &[UnknownWorker],
    ),
    (
        "a running worker in a stopped runtime",
        |load| {
            load.put_worker(worker_snapshot(&worker_ref("r", "w"), 1).into())?;
            let mut runtime = runtime_snapshot("r", 1);
            runtime.status = RuntimeStatus::Stopped;
            load.put_runtime(runtime.into())
        },
        &[Status],
    ),
    (
        "a last event that never was",
        |load| {
            let mut worker = worker_snapshot(&worker_ref("r", "w"), 1);
            worker.last_event_id = 7;
            load.put_worker(worker.into())?;
            load.put_runtime(runtime_snapshot("r", 7).into())
        },
        &[LastEvent, Gap],
    ),
    (
        "rows of a runtime that does not exist",
        |load| {
            load.append_event(&runtime_id("r"), event(1, "one").into())?;
            load.append_transcript_entry(entry(&worker_ref("r", "w"), 1, "said").into())?;
            load.put_worker(worker_snapshot(&worker_ref("s", "w"), 1).into())
        },
        &[Orphan],
    ),
];

#[test]
fn verify_finds_every_broken_rule() {
    for (what, load, expected) in BROKEN_RULES {
        let (_directory, path) = scratch();
        let store = Store::open(&path).unwrap();
        bulk(&store, |broken| {
            broken.without_checks();
            load(broken)
        });
        store.close().unwrap();
        let report = verify(&path);
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(kinds(&report), expected, "{what}: {:#?}", report.findings);
        let errors = expected
            .iter()
            .any(|kind| kind.severity() == Severity::Error);
        assert_eq!(report.is_clean(), !errors, "{what}");
        // Some broken rules show in no row that reads return.
        let store = Store::open(&path).unwrap();
        let world = World::of(&store).unwrap();
        assert!(!errors || check_rules(&store, &world).is_err(), "{what}");
    }
}

/// A change of an undamaged store.
type Change = fn(&redb::WriteTransaction);

const WORKERS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("workers");
const TRANSCRIPTS: TableDefinition<(&str, &str, u64), &[u8]> = TableDefinition::new("transcripts");

const CHANGED_ROWS: [(&str, Change, &[VerifyKind]); 6] = [
    (
        "an event is gone",
        |change| {
            change
                .open_table(events())
                .unwrap()
                .remove(("a", 3))
                .unwrap();
        },
        &[Gap, UnknownEvent],
    ),
    (
        "an entry is gone",
        |change| {
            let mut table = change.open_table(TRANSCRIPTS).unwrap();
            table.remove(("a", "worker-00000002", 4)).unwrap();
        },
        &[Position, Count],
    ),
    (
        "a worker is gone",
        |change| {
            let mut table = change.open_table(WORKERS).unwrap();
            table.remove(("a", "worker-00000001")).unwrap();
        },
        &[Count, Orphan, UnknownWorker],
    ),
    (
        "a runtime is gone",
        |change| {
            const RUNTIMES: TableDefinition<&str, &[u8]> = TableDefinition::new("runtimes");
            change.open_table(RUNTIMES).unwrap().remove("b").unwrap();
        },
        &[Orphan],
    ),
    (
        "a diagnostic is gone",
        |change| {
            const DIAGNOSTICS: TableDefinition<(&str, u64), &[u8]> =
                TableDefinition::new("diagnostics");
            change
                .open_table(DIAGNOSTICS)
                .unwrap()
                .remove(("b", 1))
                .unwrap();
        },
        &[Count],
    ),
    (
        "two values were exchanged",
        |change| {
            let mut table = change.open_table(events()).unwrap();
            let [one, two] =
                [2, 4].map(|id| table.get(("b", id)).unwrap().unwrap().value().to_vec());
            table.insert(("b", 2), two.as_slice()).unwrap();
            table.insert(("b", 4), one.as_slice()).unwrap();
        },
        &[Value],
    ),
];

#[test]
fn verify_finds_every_changed_row() {
    for (what, change, expected) in CHANGED_ROWS {
        let (_directory, path) = scratch();
        rich(&path).close().unwrap();
        behind_our_back(&path, change);
        let report = verify(&path);
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(kinds(&report), expected, "{what}: {:#?}", report.findings);
        if what.starts_with("two") {
            assert_eq!(report.errors, 2, "both are listed");
        }
    }
}

/// Breaks the first value of a table without breaking the checksum of its page.
fn break_first<K: redb::Key + 'static>(change: &redb::WriteTransaction, name: &str) {
    let definition: TableDefinition<'_, K, &[u8]> = TableDefinition::new(name);
    let mut table = change.open_table(definition).unwrap();
    let row = table.pop_first().unwrap().unwrap();
    let key = K::as_bytes(&row.0.value()).as_ref().to_vec();
    let mut value = row.1.value().to_vec();
    drop(row);
    let last = value.len() - 1;
    value[last] ^= 1;
    table.insert(K::from_bytes(&key), value.as_slice()).unwrap();
}

#[test]
fn verify_finds_broken_values_in_each_table() {
    let tables: [(&str, Change); 7] = [
        ("meta", |change| break_first::<&str>(change, "meta")),
        ("runtimes", |change| break_first::<&str>(change, "runtimes")),
        ("workers", |change| {
            break_first::<(&str, &str)>(change, "workers")
        }),
        ("events", |change| {
            break_first::<(&str, u64)>(change, "events")
        }),
        ("transcripts", |change| {
            break_first::<(&str, &str, u64)>(change, "transcripts");
        }),
        ("diagnostics", |change| {
            break_first::<(&str, u64)>(change, "diagnostics");
        }),
        ("imports", |change| break_first::<&str>(change, "imports")),
    ];
    for (name, change) in tables {
        let (_directory, path) = scratch();
        let store = rich(&path);
        import(&store, import_root(), ImportOptions::new()).unwrap();
        store.close().unwrap();
        behind_our_back(&path, change);
        let report = verify(&path);
        let mut broken = report.findings.iter().filter(|found| found.kind == Value);
        assert!(
            broken.any(|found| found.table == Some(name)),
            "{name}: {:#?}",
            report.findings
        );
        assert!(!report.is_clean(), "{name}");
    }
}

#[test]
fn closing_during_verify_reports_no_damage() {
    let (_directory, path) = scratch();
    let store = rich(&path);
    let closed = store.clone();
    // The first call comes after the snapshot to verify was taken.
    let options = VerifyOptions::new().on_progress(move |_| closed.close().unwrap());
    assert_refused!(
        store.verify_with(&options),
        RuntimeError::StoreClosed { .. }
    );
}

#[test]
fn verify_counts_findings_past_its_limit() {
    let (_directory, path) = scratch();
    rich(&path).close().unwrap();
    for id in 2..20 {
        break_value(&path, ("a", id));
    }
    let store = Store::open(&path).unwrap();
    let options = VerifyOptions::new().max_findings(5);
    let report = store.verify_with(&options).unwrap();
    assert_eq!((report.findings.len(), report.errors), (5, 18));
}

#[test]
fn verify_during_writes_reports_no_damage() {
    let name = "verifying::verify_during_writes_reports_no_damage";
    if let Some(path) = told_as_child() {
        let store = Store::open(path).unwrap();
        let worker = worker_ref("r", "w");
        bulk(&store, |load| {
            load.put_worker(worker_snapshot(&worker, 30_001).into())?;
            for sequence in 1..=30_000 {
                load.append_transcript_entry(entry(&worker, sequence, "some text").into())?;
            }
            load.put_runtime(runtime_snapshot("r", 1).into())
        });
        tell("ready");
        let runtime = store.runtime(named("r")).unwrap();
        loop {
            say(&runtime, &worker, "input").unwrap();
        }
    }
    let (_directory, path) = scratch();
    let mut writer = TestChild::start(name, &path);
    assert_eq!(writer.hear().as_deref(), Some("ready"));
    let store = Store::open_read_only(&path).unwrap();
    for _ in 0..5 {
        let report = store.verify().unwrap();
        assert!(report.is_clean(), "{:#?}", report.findings);
    }
    writer.kill();
    // The file is checked as the kill left it: opening it for writing would repair it.
    let report = store.verify().unwrap();
    assert!(
        report.is_clean() && report.pages_checked,
        "{:#?}",
        report.findings
    );
}
