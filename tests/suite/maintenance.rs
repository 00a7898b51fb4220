//! Backups, compaction and censuses of stores.

use crate::support::{
    TestChild, all_events, assert_refused, assert_whole, bulk, entry, full_request, named,
    runtime_snapshot, say, scratch, seed, tell, told_as_child, worker_ref, worker_snapshot,
};
use redb::{Database, ReadableTable, TableDefinition};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::store::Census;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A store with two runtimes that have rows of every kind.
pub(crate) fn rich(path: &Path) -> Store {
    let store = Store::open(path).unwrap();
    for id in ["a", "b"] {
        let runtime = store.runtime(named(id)).unwrap();
        for worker in 0..3 {
            let request = if worker == 0 {
                CreateWorkerRequest::default()
            } else {
                full_request()
            };
            let worker_ref = runtime.create_worker(request).unwrap().worker_ref;
            for input in 0..20 * (worker + 1) {
                say(&runtime, &worker_ref, &format!("input {input}")).unwrap();
            }
        }
        let workers = runtime.list_workers().unwrap();
        runtime.stop_worker(&workers[1].worker_ref, None).unwrap();
        runtime.cancel_worker(&workers[2].worker_ref, None).unwrap();
    }
    store
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Asserts that `copy` is a snapshot of `runtime`.
fn assert_is_a_moment_of(copy: &Runtime, runtime: &Runtime) {
    assert_whole(copy);
    let (then, now) = (all_events(copy), all_events(runtime));
    assert!(!then.is_empty() && then.len() <= now.len());
    assert_eq!(then, now[..then.len()]);
    for worker in copy.list_workers().unwrap() {
        let then = crate::support::all_entries(copy, &worker.worker_ref);
        let now = crate::support::all_entries(runtime, &worker.worker_ref);
        assert_eq!(then, now[..then.len()]);
    }
}

#[test]
fn backup_during_writes_is_one_snapshot() {
    let (directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let worker = runtime.create_worker(full_request()).unwrap().worker_ref;
                while !done.load(Ordering::Relaxed) {
                    say(&runtime, &worker, "input").unwrap();
                }
            });
        }
        for copy in 0..3 {
            while all_events(&runtime).len() < 200 * (copy + 1) {}
            let path = directory.path().join(format!("copy-{copy}"));
            let report = store.backup(&path).unwrap();
            assert_eq!(report.bytes, std::fs::metadata(&path).unwrap().len());
        }
        done.store(true, Ordering::Relaxed);
    });
    for copy in 0..3 {
        let path = directory.path().join(format!("copy-{copy}"));
        let copy = Store::open(&path).unwrap();
        let report = copy.verify().unwrap();
        assert_eq!(report.findings, []);
        assert!(report.pages_checked);
        assert_is_a_moment_of(&copy.runtime(named("r")).unwrap(), &runtime);
        assert_eq!(mode(&path), 0o600);
    }
    drop(runtime);
    store.close().unwrap();
    assert_eq!(names_in(directory.path()).len(), 4, "nothing else is left");
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every row of a store, as it is in the file.
fn rows(path: &Path) -> BTreeMap<(&'static str, Vec<u8>), Vec<u8>> {
    fn table<K: redb::Key + 'static>(
        transaction: &redb::ReadTransaction,
        name: &'static str,
        all: &mut BTreeMap<(&'static str, Vec<u8>), Vec<u8>>,
    ) {
        let table = transaction
            .open_table(TableDefinition::<K, &[u8]>::new(name))
            .unwrap();
        for row in table.iter().unwrap() {
            let (key, value) = row.unwrap();
            let key = <K as redb::Value>::as_bytes(&key.value()).as_ref().to_vec();
            all.insert((name, key), value.value().to_vec());
        }
    }
    use redb::ReadableDatabase;
    let database = Database::open(path).unwrap();
    let transaction = database.begin_read().unwrap();
    let mut all = BTreeMap::new();
    table::<&str>(&transaction, "meta", &mut all);
    table::<&str>(&transaction, "runtimes", &mut all);
    table::<(&str, &str)>(&transaction, "workers", &mut all);
    table::<(&str, u64)>(&transaction, "events", &mut all);
    table::<(&str, &str, u64)>(&transaction, "transcripts", &mut all);
    table::<(&str, u64)>(&transaction, "diagnostics", &mut all);
    table::<&str>(&transaction, "imports", &mut all);
    all
}

#[test]
fn backup_has_every_row_and_replaces_nothing() {
    let (directory, path) = scratch();
    let copy = directory.path().join("copy");
    let store = rich(&path);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let options = redb_runtime_store::store::BackupOptions::new()
        .on_progress(move |progress| tell.lock().unwrap().push(progress));
    let report = store.backup_with(&copy, &options).unwrap();
    let first = told.lock().unwrap()[0];
    assert_eq!((first.done, first.total), (0, 2 * report.rows));
    let before = std::fs::read(&copy).unwrap();
    let refused = store.backup(&copy);
    assert_refused!(
        refused,
        RuntimeError::StoreIo { source, .. }
            if source.kind() == std::io::ErrorKind::AlreadyExists
                && source.to_string().contains("choose another path")
    );
    assert!(before == std::fs::read(&copy).unwrap());
    // A read-only store and a store in memory can be backed up too.
    let read_only = Store::open_read_only(&path).unwrap();
    read_only.backup(directory.path().join("second")).unwrap();
    let memory = Store::in_memory().unwrap();
    memory.backup(directory.path().join("third")).unwrap();
    store.close().unwrap();
    let all = rows(&path);
    assert_eq!(all.len() as u64, report.rows);
    assert_eq!(all, rows(&copy));
    assert_eq!(all, rows(&directory.path().join("second")));
    assert_eq!(names_in(directory.path()).len(), 4);
}

#[test]
fn backup_refuses_a_damaged_row() {
    let (directory, path) = scratch();
    rich(&path).close().unwrap();
    break_value(&path, ("b", 7));
    let store = Store::open(&path).unwrap();
    let refused = store.backup(directory.path().join("copy"));
    assert_refused!(
        refused,
        RuntimeError::StoreCorrupt { message, .. } if message.contains("table events, key (\"b\", 7)")
    );
    assert_eq!(names_in(directory.path()), ["store.redb"]);
}

#[test]
fn killed_backup_leaves_nothing_at_its_path() {
    let name = "maintenance::killed_backup_leaves_nothing_at_its_path";
    if let Some(path) = told_as_child() {
        let store = Store::open_read_only(&path).unwrap();
        tell("begins");
        store.backup(path.with_extension("copy")).unwrap();
        tell("done");
        return;
    }
    let (directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let worker = worker_ref("r", "w");
    bulk(&store, |load| {
        load.put_worker(worker_snapshot(&worker, 5001).into())?;
        for sequence in 1..=5000 {
            load.append_transcript_entry(entry(&worker, sequence, "some text").into())?;
        }
        load.put_runtime(runtime_snapshot("r", 5001).into())
    });
    store.close().unwrap();
    let copy = path.with_extension("copy");
    let mut random = seed();
    let (mut killed, mut whole) = (0, 0);
    for _ in 0..12 {
        let mut child = TestChild::start(name, &path);
        assert_eq!(child.hear().as_deref(), Some("begins"));
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(std::time::Duration::from_micros((random >> 33) % 150_000));
        child.kill();
        if copy.exists() {
            let copied = Store::open(&copy).unwrap();
            assert_eq!(copied.verify().unwrap().transcript_entries, 5000);
            copied.close().unwrap();
            std::fs::remove_file(&copy).unwrap();
            whole += 1;
        } else {
            killed += 1;
        }
    }
    println!("{killed} killed before their end, {whole} after");
    let store = Store::open(&path).unwrap();
    // The directory of another run that still writes stays.
    let running = directory.path().join(".store.copy.partial-Live01");
    std::fs::create_dir(&running).unwrap();
    let locked = std::fs::File::open(&running).unwrap();
    locked.lock().unwrap();
    store.backup(&copy).unwrap();
    let names = [".store.copy.partial-Live01", "store.copy", "store.redb"];
    assert_eq!(names_in(directory.path()), names);
}

/// A row of the `events` table.
pub(crate) fn events() -> TableDefinition<'static, (&'static str, u64), &'static [u8]> {
    TableDefinition::new("events")
}

/// Changes a closed store through redb alone, so that its page checksums are right.
pub(crate) fn behind_our_back(path: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

/// Flips a bit in the value of an event.
pub(crate) fn break_value(path: &Path, key: (&str, u64)) {
    behind_our_back(path, |transaction| {
        let mut table = transaction.open_table(events()).unwrap();
        let mut value = table.get(key).unwrap().unwrap().value().to_vec();
        value[2] ^= 1;
        table.insert(key, value.as_slice()).unwrap();
    });
}

#[test]
fn compaction_frees_what_census_predicts() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = worker_ref("big", "w");
    let text = "x".repeat(1000);
    bulk(&store, |load| {
        load.put_worker(worker_snapshot(&worker, 8001).into())?;
        for sequence in 1..=8000 {
            load.append_transcript_entry(entry(&worker, sequence, &text).into())?;
        }
        load.put_runtime(runtime_snapshot("big", 8001).into())
    });
    let kept = runtime.create_worker(full_request()).unwrap().worker_ref;
    say(&runtime, &kept, "this stays").unwrap();
    let full = store.census().unwrap();
    assert_eq!(full.largest_workers[0].worker_ref, worker);
    assert_eq!(full.largest_workers[0].transcript_entries, 8000);
    assert!(full.largest_workers[0].bytes > 8_000_000);
    bulk(&store, |load| load.remove_runtime(&worker.runtime_id));
    let census = store.census().unwrap();
    assert_census_adds_up(&census);
    assert_eq!(census.runtimes.len(), 1);

    let snapshot = store.snapshot().unwrap();
    assert_refused!(store.compact(), RuntimeError::StoreBusy { reason, .. } if !reason.is_empty());
    drop(snapshot);
    let report = store.compact().unwrap();
    assert_eq!(Some(report.bytes_before), census.file_bytes);
    assert_eq!(report.bytes_after, std::fs::metadata(&path).unwrap().len());
    let freed = report.bytes_before - report.bytes_after;
    let said = census.compacting_frees_bytes.unwrap();
    assert!(freed > 8_000_000, "{report:?}");
    assert!(said.abs_diff(freed) < 200_000, "said {said}, freed {freed}");
    say(&runtime, &kept, "and so does this").unwrap();
    assert_whole(&runtime);
    assert_eq!(store.verify().unwrap().findings, []);
    let read_only = Store::open_read_only(&path).unwrap();
    assert_refused!(read_only.compact(), RuntimeError::StoreReadOnly { .. });
}

#[test]
fn store_in_renamed_directory_is_maintained() {
    let (directory, _) = scratch();
    let [before, after] = ["before", "after"].map(|name| directory.path().join(name));
    std::fs::create_dir(&before).unwrap();
    let store = rich(&before.join("store"));
    let runtime = store.runtime(named("a")).unwrap();
    std::fs::rename(&before, &after).unwrap();
    // Maintenance works on the open file, whether its path leads to another file now or not.
    for other in [false, true] {
        if other {
            std::fs::create_dir(&before).unwrap();
            Store::open(before.join("store")).unwrap();
        }
        let reader = Store::open_read_only(after.join("store")).unwrap();
        for store in [&store, &reader] {
            let census = store.census().unwrap();
            let bytes = std::fs::metadata(after.join("store")).unwrap().len();
            assert_eq!(census.file_bytes, Some(bytes));
            assert!(census.disk_bytes.is_some());
            let verified = store.verify().unwrap();
            assert!(verified.pages_checked, "{verified:?}");
            assert_eq!(verified.findings, []);
        }
        let compacted = store.compact().unwrap();
        let bytes = std::fs::metadata(after.join("store")).unwrap().len();
        assert!(compacted.bytes_before > 0);
        assert_eq!(compacted.bytes_after, bytes);
        assert_whole(&runtime);
    }
}

#[test]
fn small_compaction_frees_what_census_predicts() {
    for inputs in [0, 10, 1000] {
        let (_directory, path) = scratch();
        let store = Store::open(&path).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let worker = runtime.create_worker(full_request()).unwrap().worker_ref;
        for input in 0..inputs {
            say(&runtime, &worker, &format!("input {input}")).unwrap();
        }
        store.close().unwrap();
        let store = Store::open(&path).unwrap();
        let said = store.census().unwrap().compacting_frees_bytes.unwrap();
        let before = std::fs::metadata(&path).unwrap().len();
        store.compact().unwrap();
        store.close().unwrap();
        let freed = before - std::fs::metadata(&path).unwrap().len();
        assert!(said.abs_diff(freed) <= 4096, "said {said}, freed {freed}");
    }
}

fn assert_census_adds_up(census: &Census) {
    let used: u64 = census.tables.iter().map(|table| table.bytes()).sum();
    assert_eq!(
        census.file_bytes.unwrap(),
        used + census.unused_bytes.unwrap()
    );
    let rows = |name| {
        census
            .tables
            .iter()
            .find(|table| table.table == name)
            .unwrap()
    };
    let events: u64 = census
        .runtimes
        .iter()
        .map(|runtime| runtime.events.items)
        .sum();
    let event_bytes: u64 = census
        .runtimes
        .iter()
        .map(|runtime| runtime.events.bytes)
        .sum();
    assert_eq!(rows("events").rows, events);
    assert_eq!(rows("events").stored_bytes, event_bytes);
}

#[test]
fn census_counts_runtimes_and_largest_workers() {
    let (_directory, path) = scratch();
    let store = rich(&path);
    let census = store.census().unwrap();
    assert_census_adds_up(&census);
    let counts: Vec<_> = census
        .runtimes
        .iter()
        .map(|runtime| {
            let id = runtime.runtime_id.as_str();
            (
                id,
                runtime.workers.items,
                runtime.events.items,
                runtime.transcripts.items,
            )
        })
        .collect();
    assert_eq!(counts, [("a", 3, 126, 120), ("b", 3, 126, 120)]);
    let entries: Vec<u64> = census
        .largest_workers
        .iter()
        .map(|worker| worker.transcript_entries)
        .collect();
    assert_eq!(entries, [60, 60, 40, 40, 20, 20]);
    let options = redb_runtime_store::store::CensusOptions::new().largest_workers(1);
    let one = store.census_with(&options).unwrap();
    assert_eq!(one.largest_workers, census.largest_workers[..1]);
    assert_eq!(
        Store::in_memory().unwrap().census().unwrap().file_bytes,
        None
    );
}

#[test]
fn compaction_during_work_loses_nothing() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let worker = runtime.create_worker(full_request()).unwrap().worker_ref;
                for input in 0..60 {
                    say(&runtime, &worker, &format!("input {input}")).unwrap();
                    runtime.list_workers().unwrap();
                }
            });
        }
        for _ in 0..10 {
            match store.compact() {
                Ok(_) | Err(RuntimeError::StoreBusy { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    store.compact().unwrap();
    store.close().unwrap();
    let runtime = Store::open(&path).unwrap().runtime(named("r")).unwrap();
    assert_whole(&runtime);
    assert_eq!(all_events(&runtime).len(), 1 + 3 * 61);
}

#[cfg(feature = "program")]
mod program {
    use super::{break_value, rich, scratch};
    use serde_json::Value;
    use std::path::Path;
    use std::process::{Command, Output};

    fn run(arguments: &[&str], store: &Path) -> Output {
        Command::new(env!("CARGO_BIN_EXE_runtime-store"))
            .arg(arguments[0])
            .arg(store)
            .args(&arguments[1..])
            .output()
            .unwrap()
    }

    #[track_caller]
    fn json(arguments: &[&str], store: &Path, code: i32) -> Value {
        let output = run(arguments, store);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    fn maintenance_prints_one_json_object() {
        let (directory, path) = scratch();
        rich(&path).close().unwrap();
        let stats = json(&["stats", "--json", "--workers", "2"], &path, 0);
        assert_eq!(stats["largest_workers"].as_array().unwrap().len(), 2);
        assert_eq!(stats["runtimes"][0]["events"]["items"], 126);
        let verified = json(&["verify", "--json"], &path, 0);
        assert_eq!(verified["is_clean"], true);
        assert_eq!(verified["pages_checked"], true);
        let copy = directory.path().join("copy");
        let arguments = ["backup", copy.to_str().unwrap(), "--json"];
        let copied = json(&arguments, &path, 0);
        assert_eq!(copied["bytes"], std::fs::metadata(&copy).unwrap().len());
        assert_eq!(run(&arguments, &path).status.code(), Some(1));
        let compacted = json(&["compact", "--json"], &path, 0);
        let after = std::fs::metadata(&path).unwrap().len();
        assert!(after <= compacted["bytes_before"].as_u64().unwrap());
        let migrated = json(&["migrate", "--dry-run", "--json"], &path, 0);
        assert_eq!(migrated["found"], 2);
        assert_eq!(migrated["migrated"], false);
        break_value(&path, ("a", 5));
        break_value(&path, ("b", 5));
        let damaged = json(&["verify", "--json"], &path, 4);
        assert_eq!(damaged["errors"], 2);
        assert_eq!(damaged["findings"][1]["key"], "(\"b\", 5)");
    }

    #[test]
    fn maintenance_text_fits_80_columns() {
        use unicode_width::UnicodeWidthStr;
        let (directory, path) = scratch();
        let store = rich(&path);
        let copy = directory.path().join("copy");
        for arguments in [
            &["stats"] as &[&str],
            &["verify"],
            &["backup", copy.to_str().unwrap()],
            &["migrate"],
        ] {
            // While a host has the store open.
            let output = run(arguments, &path);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let printed = String::from_utf8(output.stdout).unwrap();
            println!("{printed}");
            assert!(printed.lines().all(|line| line.width() <= 80), "{printed}");
        }
        assert_eq!(run(&["compact"], &path).status.code(), Some(3));
        store.close().unwrap();
        let compacted = run(&["compact"], &path);
        assert_eq!(compacted.status.code(), Some(0), "{compacted:?}");
        println!("{}", String::from_utf8(compacted.stdout).unwrap());
    }
}
