//! Verifying stores.

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
use redb_runtime_store::store::{BackupOptions, BulkLoad, VerifyKind, VerifyOptions, VerifyReport};
use redb_runtime_store::{RuntimeError, Severity, Store};
use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use torture::workload::import_root;
use torture::world::{World, check_rules};
use xxhash_rust::xxh3::xxh3_128;

/// The kinds of what was found, each once.
fn kinds(report: &VerifyReport) -> Vec<VerifyKind> {
    let mut kinds: Vec<VerifyKind> = report.findings.iter().map(|found| found.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

fn verify(path: &Path) -> VerifyReport {
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

/// Makes what breaks a rule, and what is to be found then.
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
        // Some of it shows in no row that is read.
        let store = Store::open(&path).unwrap();
        let world = World::of(&store).unwrap();
        assert!(!errors || check_rules(&store, &world).is_err(), "{what}");
    }
}

/// Changes a whole store, and what is to be found then.
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

/// The first value of a table is broken in a way that its page does not show.
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
fn verify_finds_damaged_pages_without_changes() {
    let (_directory, path) = scratch();
    rich(&path).close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    // The texts of the inputs are in the leaf pages of transcripts.
    let text = b"input 11";
    let at = whole
        .windows(text.len())
        .position(|bytes| bytes == text)
        .unwrap();
    let mut damaged = whole;
    damaged[at] ^= 4;
    std::fs::write(&path, &damaged).unwrap();
    let report = verify(&path);
    let kinds = kinds(&report);
    assert!(kinds.contains(&VerifyKind::Pages), "{:#?}", report.findings);
    let unread = [VerifyKind::Value, VerifyKind::Unreadable];
    assert!(unread.iter().any(|kind| kinds.contains(kind)), "{kinds:?}");
    assert!(
        report.transcript_entries >= 120,
        "the other runtime was looked at"
    );
    assert_eq!(report.events, 252, "the other tables were looked at");
}

const PAGE: usize = 4096;

/// Gives the page at `page`, which was `before`, its right checksum in the page that refers to it, and
/// so on up to the header.
fn reseal(file: &mut [u8], page: usize, before: &[u8]) {
    let sum = |bytes: &[u8]| xxh3_128(bytes).to_le_bytes();
    // Only the parts of a page tell how much of it counts: one of its beginnings has the checksum.
    let lengths: HashMap<[u8; 16], usize> = (1..=before.len())
        .map(|length| (sum(&before[..length]), length))
        .collect();
    loop {
        let stale = file.windows(16).enumerate().find_map(|(at, window)| {
            let sealed = sum(&file[page..][..*lengths.get(window)?]);
            (sealed != window).then_some((at, sealed))
        });
        let Some((at, sealed)) = stale else {
            return;
        };
        let parent = at / PAGE * PAGE;
        let parent_before = file[parent..][..PAGE].to_vec();
        file[at..][..16].copy_from_slice(&sealed);
        if parent > 0 {
            reseal(file, parent, &parent_before);
            continue;
        }
        for commit in [64, 192] {
            let sealed = sum(&file[commit..][..112]);
            file[commit + 112..][..16].copy_from_slice(&sealed);
        }
    }
}

/// Whether the page is redb's record of the free pages of a file of one region: a leaf with one key,
/// the region 0 (redb's `AllocatorStateKey`).
fn is_record_of_free_pages(page: &[u8]) -> bool {
    page.starts_with(&[1, 0, 1, 0]) && page[8..13] == [3, 0, 0, 0, 0] && page[13] == 20
}

/// Where in the record of free pages the bits of the single pages begin: after those of greater runs in
/// the tree of bits (redb's `BuddyAllocator` and `BtreeBitmap`).
fn bits_of_pages(record: &[u8]) -> usize {
    let number = |at: usize| u32::from_le_bytes(record[at..][..4].try_into().unwrap()) as usize;
    let orders = 21;
    let tree = 13 + 8 + 4 * orders;
    let levels = number(tree);
    let level_before_the_last = number(tree + 4 * (levels - 1));
    tree + level_before_the_last + 4
}

#[test]
fn verify_on_open_repairs_allocator_state() {
    let (_directory, path) = scratch();
    rich(&path).close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let pages = (PAGE..whole.len()).step_by(PAGE);
    let planted: Vec<Vec<u8>> = pages
        .filter(|page| is_record_of_free_pages(&whole[*page..][..PAGE]))
        .map(|page| {
            let record = &whole[page..][..PAGE];
            let mut file = whole.clone();
            // A page that is in use is free.
            file[page + bits_of_pages(record)] ^= 1;
            reseal(&mut file, page, record);
            file
        })
        // Older records, to which the header leads no more, stay in free pages.
        .filter(|file| file[..PAGE] != whole[..PAGE])
        .collect();
    let [file] = &planted[..] else {
        panic!("{} records of free pages", planted.len());
    };
    std::fs::write(&path, file).unwrap();

    let report = verify(&path);
    assert_eq!(kinds(&report), [VerifyKind::FreePages], "{report:?}");
    assert!(report.is_clean(), "no row is concerned: {report:?}");
    let alone = Store::verify_file(&path, &VerifyOptions::default()).unwrap();
    assert!(kinds(&alone).contains(&VerifyKind::FreePages), "{alone:?}");

    let store = Store::options().verify_on_open(true).open(&path).unwrap();
    store.close().unwrap();
    assert_eq!(kinds(&verify(&path)), []);
}

/// Damages the pages in which these texts stand for the first time; where those pages are.
fn damage(path: &Path, texts: &[String]) -> Vec<usize> {
    let mut bytes = std::fs::read(path).unwrap();
    let mut places: Vec<usize> = texts
        .iter()
        .map(|text| {
            let mut windows = bytes.windows(text.len());
            windows.position(|here| here == text.as_bytes()).unwrap()
        })
        .collect();
    for place in &mut places {
        bytes[*place] ^= 4;
        *place = *place / 4096 * 4096;
    }
    std::fs::write(path, bytes).unwrap();
    places.sort_unstable();
    places.dedup();
    places
}

/// A closed store of one worker with `entries` entries, an event for each, and more workers.
fn long_logs(path: &Path, entries: u64) {
    let store = Store::open(path).unwrap();
    bulk(&store, |load| {
        let worker = worker_ref("r", "w");
        for sequence in 1..=entries {
            let mut of = event(sequence, &format!("event {sequence} {}", "e".repeat(90)));
            of.worker_ref = Some(worker.clone());
            load.append_event(&runtime_id("r"), of.into())?;
            let said = format!("entry {sequence} {}", "t".repeat(90));
            load.append_transcript_entry(entry(&worker, sequence, &said).into())?;
        }
        load.put_worker(worker_snapshot(&worker, entries + 1).into())?;
        for number in 0..500 {
            let other = worker_ref("r", &format!("x{number:05}"));
            load.put_worker(worker_snapshot(&other, 1).into())?;
        }
        let mut runtime = runtime_snapshot("r", entries + 1);
        runtime.display_name = Some("the only one".to_owned());
        load.put_runtime(runtime.into())
    });
    store.close().unwrap();
}

/// What was found of one kind.
fn messages(report: &VerifyReport, kind: VerifyKind) -> Vec<String> {
    let found = report.findings.iter().filter(|found| found.kind == kind);
    found.map(ToString::to_string).collect()
}

#[test]
fn verify_names_damaged_pages_and_continues() {
    let (_directory, path) = scratch();
    long_logs(&path, 3000);
    // One value in an undamaged page behind the damaged ones of its table.
    let broken = ("r", 2000);
    behind_our_back(&path, |change| {
        let mut table = change.open_table(events()).unwrap();
        let mut value = table.get(broken).unwrap().unwrap().value().to_vec();
        value[9] ^= 1;
        table.insert(broken, value.as_slice()).unwrap();
    });
    let texts = [400, 900, 1500, 2900].map(|number| format!("event {number} "));
    let mut places = damage(&path, &texts);
    places.extend(damage(
        &path,
        &[700, 701, 2200].map(|number| format!("entry {number} ")),
    ));
    places.extend(damage(&path, &["x00250".to_owned()]));
    let report = verify(&path);
    let pages = messages(&report, VerifyKind::Pages);
    for place in &places {
        let named = format!("at byte {place} ");
        assert!(
            pages.iter().any(|page| page.contains(&named)),
            "{place}: {pages:#?}"
        );
    }
    assert_eq!(pages.len(), places.len());
    assert!(report.events > 2700 && report.events < 3000, "{report:?}");
    assert!(report.transcript_entries > 2700, "{report:?}");
    assert!(report.workers > 300, "{report:?}");
    let values = messages(&report, Value);
    assert_eq!(values.len(), 1, "{values:?}");
    assert!(values[0].contains("2000"), "{values:?}");
    let unread = messages(&report, VerifyKind::Unreadable);
    assert_eq!(unread.len(), places.len(), "once a page: {unread:#?}");
    // What was not read is not missing.
    let mut expected = [VerifyKind::Pages, VerifyKind::Unreadable, Value];
    expected.sort();
    assert_eq!(kinds(&report), expected, "{:#?}", report.findings);
    // Without the check of pages the rows are the same.
    let store = Store::open_read_only(&path).unwrap();
    let rows = store
        .verify_with(&VerifyOptions::new().pages(false))
        .unwrap();
    assert_eq!(messages(&rows, VerifyKind::Unreadable), unread);
    assert_eq!(rows.rows, report.rows);
}

/// The keys of a page above the rows say where to search. One that grew leads to the page before the
/// right one, and from there to keys that are less than what is searched.
#[test]
fn verify_terminates_on_cyclic_pages() {
    const PAGE: usize = 4096;
    const BRANCH: u8 = 2;
    let (_directory, path) = scratch();
    long_logs(&path, 1_000);
    let mut file = std::fs::read(&path).unwrap();
    let pages = file.chunks_exact_mut(PAGE);
    for page in pages.filter(|page| page[0] == BRANCH) {
        let last_key = page.windows(2).rposition(|text| text == b"rw");
        if let Some(at) = last_key {
            page[at + 1] = b'x';
        }
    }
    std::fs::write(&path, file).unwrap();
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        let store = Store::options().check_pages(false).open(&path).unwrap();
        let _ = done.send(store.verify().unwrap());
    });
    let report = is_done.recv_timeout(Duration::from_secs(60)).unwrap();
    let messages = messages(&report, VerifyKind::Order);
    assert!(
        messages.iter().any(|message| message.contains("a seek to")),
        "{:?}",
        report.findings
    );
}

#[test]
fn verify_checks_rows_of_unreadable_owners() {
    let (_directory, path) = scratch();
    long_logs(&path, 300);
    let bytes = std::fs::read(&path).unwrap();
    // The worker with the entries is the first one; nothing else has the runtime's name.
    for (table, text) in [("workers", "x00000"), ("runtimes", "the only one")] {
        std::fs::write(&path, &bytes).unwrap();
        damage(&path, &[text.to_owned()]);
        let report = verify(&path);
        assert_eq!(
            (report.events, report.transcript_entries),
            (300, 300),
            "{table}"
        );
        let found = kinds(&report);
        let mut expected = [VerifyKind::Pages, VerifyKind::Unreadable];
        expected.sort();
        assert_eq!(found, expected, "{table}: {:#?}", report.findings);
    }
}

#[test]
fn closing_during_verify_reports_no_damage() {
    let (_directory, path) = scratch();
    let store = rich(&path);
    let closed = store.clone();
    // Told for the first time when the moment that is verified is chosen.
    let options = VerifyOptions::new().on_progress(move |_| closed.close().unwrap());
    assert_refused!(
        store.verify_with(&options),
        RuntimeError::StoreClosed { .. }
    );
}

#[test]
fn verify_reports_page_progress_before_rows() {
    let (_directory, path) = scratch();
    long_logs(&path, 60_000);
    let store = Store::open(&path).unwrap();
    for is_backup in [false, true] {
        let told = Arc::new(Mutex::new((Vec::new(), 0)));
        let (of_pages, of_rows) = (Arc::clone(&told), Arc::clone(&told));
        let on_part = move |part| of_pages.lock().unwrap().0.push(part);
        let on_rows = move |_| {
            let mut told = of_rows.lock().unwrap();
            told.1 += told.0.len();
        };
        if is_backup {
            let options = BackupOptions::new().on_page_progress(on_part);
            let options = options.on_progress(on_rows);
            store
                .backup_with(path.with_extension("copy"), &options)
                .unwrap();
        } else {
            let options = VerifyOptions::new().on_page_progress(on_part);
            store.verify_with(&options.on_progress(on_rows)).unwrap();
        }
        let (parts, rows_after_pages) = &*told.lock().unwrap();
        assert!(parts.len() > 4, "{parts:?}");
        assert_eq!((parts[0], parts.last()), (0.0, Some(&1.0)), "{parts:?}");
        assert!(parts.is_sorted(), "{parts:?}");
        assert!(*rows_after_pages > 0, "the rows come after the pages");
    }
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
    // What the kill left is checked as it is: opening it would repair it.
    let report = store.verify().unwrap();
    assert!(
        report.is_clean() && report.pages_checked,
        "{:#?}",
        report.findings
    );
}
