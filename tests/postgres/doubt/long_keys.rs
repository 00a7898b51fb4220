//! Ids that are longer than an entry of an index: the table of their texts, and stores of the version before it.

use crate::hosts::{SHARED, assert_refused, named, options, said, say, schema};
use postgres_tests::proxy::{Fault, Point};
use redb_runtime_store::identity::{MAX_ID_BYTES, RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::search::Search;
use redb_runtime_store::store::{
    CopyOptions, DeleteRuntimeOptions, PersistedRuntimeSnapshot, PersistedWorkerSnapshot,
};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::time::Duration;
use torture::rng::Rng;

/// The schema version 1 as a row of `meta` has it.
const VERSION_1: &str = "010001d9545cbd";

/// An id that no compression makes shorter.
fn noise(seed: u64, length: usize) -> String {
    Rng::new(seed).text(length)
}

/// A running worker with this id.
fn worker(runtime: &Runtime, id: &str) -> WorkerRef {
    let worker = WorkerRef::new(runtime.runtime_id().unwrap(), WorkerId::new(id).unwrap());
    let snapshot = PersistedWorkerSnapshot::new(worker.clone(), Default::default(), 0);
    let boundary = runtime.store().runtime_store(&worker.runtime_id).unwrap();
    boundary
        .commit(|transaction| transaction.write_worker_snapshot(&snapshot))
        .unwrap();
    worker
}

fn texts(schema: &str) -> String {
    let count = format!("SELECT count(*) FROM {schema}.long_keys");
    SHARED.primary().ask(&count)
}

#[test]
fn texts_of_ids_go_with_their_last_row() {
    let schema = schema();
    let store = Store::connect(options(&SHARED.url(), &schema)).unwrap();
    let id = noise(1, MAX_ID_BYTES);
    let runtime = store.runtime(named(&id)).unwrap();
    let gone = worker(&runtime, &noise(2, MAX_ID_BYTES));
    worker(&runtime, &noise(3, 5_000));
    assert_eq!(texts(&schema), "3");
    say(&runtime, &gone, "hello").unwrap();
    runtime.stop_worker(&gone, None).unwrap();
    runtime.delete_worker(&gone).unwrap();
    assert_eq!(texts(&schema), "3", "the id is never given again");
    let options = DeleteRuntimeOptions::new().even_if_running(true);
    store
        .delete_runtime_with(&RuntimeId::new(&id).unwrap(), &options)
        .unwrap();
    assert_eq!(texts(&schema), "0");
}

/// Its rows are more than one commit removes.
#[test]
fn long_deletion_of_a_long_id_leaves_no_text() {
    let schema = schema();
    let store = Store::connect(options(&SHARED.url(), &schema)).unwrap();
    let id = noise(1, 3_000);
    let runtime = store.runtime(named(&id)).unwrap();
    for seed in 2..8 {
        let worker = worker(&runtime, &noise(seed, 3_000));
        say(&runtime, &worker, &"x".repeat(2 << 20)).unwrap();
    }
    let commits = store.metrics().commits;
    let options = DeleteRuntimeOptions::new().even_if_running(true);
    store
        .delete_runtime_with(&RuntimeId::new(&id).unwrap(), &options)
        .unwrap();
    assert!(store.metrics().commits > commits + 2);
    assert_eq!(texts(&schema), "0");
}

/// The next host finds the mark of the deletion, which has the id of the runtime in another place.
#[test]
fn broken_off_deletion_of_a_long_id_goes_on() {
    let (proxy, url) = SHARED.proxied();
    let schema = schema();
    let id = noise(1, 3_000);
    let through = options(&url, &schema).outage_timeout(Duration::from_millis(500));
    let store = Store::connect(through).unwrap();
    let runtime = store.runtime(named(&id)).unwrap();
    for seed in 2..8 {
        let worker = worker(&runtime, &noise(seed, 3_000));
        say(&runtime, &worker, &"x".repeat(2 << 20)).unwrap();
    }
    // The mark, one part, and no more.
    proxy.plan(
        Point {
            nth: 3,
            ..Point::COMMIT_LOST
        },
        Fault::Outage,
    );
    let options_of = DeleteRuntimeOptions::new().even_if_running(true);
    let deleted = store.delete_runtime_with(&RuntimeId::new(&id).unwrap(), &options_of);
    assert!(deleted.is_err(), "{deleted:?}");
    let marks = format!("SELECT count(*) FROM {schema}.tombstones WHERE runtime = ''");
    assert_eq!(SHARED.primary().ask(&marks), "1");
    let reading = Store::connect(options(&SHARED.url(), &schema).read_only(true)).unwrap();
    let report = reading.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
    let store = Store::connect(options(&SHARED.url(), &schema)).unwrap();
    assert_eq!(store.runtimes().unwrap(), []);
    assert_eq!(SHARED.primary().ask(&marks), "0");
    assert_eq!(texts(&schema), "0");
}

#[test]
fn load_puts_texts_again_after_a_removal() {
    let schema = schema();
    let store = Store::connect(options(&SHARED.url(), &schema)).unwrap();
    let id = RuntimeId::new(noise(1, 3_000)).unwrap();
    let snapshot = || PersistedRuntimeSnapshot::new(id.clone()).into();
    store
        .bulk_load(|load| {
            load.put_runtime(snapshot())?;
            load.remove_runtime(&id)?;
            load.put_runtime(snapshot())
        })
        .unwrap();
    assert_eq!(store.runtimes().unwrap().len(), 1);
    store.bulk_load(|load| load.remove_runtime(&id)).unwrap();
    assert_eq!(texts(&schema), "0");
}

#[test]
fn missing_text_of_a_key_is_damage() {
    let schema = schema();
    let store = Store::connect(options(&SHARED.url(), &schema)).unwrap();
    store.runtime(named("r")).unwrap();
    store.runtime(named(&noise(1, 2_000))).unwrap();
    assert_eq!(store.runtimes().unwrap().len(), 2);
    let primary = SHARED.primary();
    primary.ask(&format!("UPDATE {schema}.long_keys SET text = 'other'"));
    assert_refused!(store.runtimes(), RuntimeError::StoreCorrupt { .. });
    assert!(!store.verify().unwrap().is_clean());
    primary.ask(&format!("DELETE FROM {schema}.long_keys"));
    assert_refused!(store.runtimes(), RuntimeError::StoreCorrupt { message, .. }
        if message.contains("long_keys") || message.contains("long key"));
    assert!(!store.verify().unwrap().is_clean());
    let directory = tempfile::tempdir().unwrap();
    let backup = store.backup(directory.path().join("copy.redb"));
    assert_refused!(backup, RuntimeError::StoreCorrupt { .. });
}

/// No version of the engine makes it: its list would never end.
#[test]
fn key_of_another_form_is_damage() {
    let schema = schema();
    let store = Store::connect(options(&SHARED.url(), &schema)).unwrap();
    store.runtime(named("r")).unwrap();
    let raw =
        "INSERT INTO {}.runtimes SELECT decode(repeat('61', 1100), 'hex'), record FROM {}.runtimes";
    SHARED.primary().ask(&raw.replace("{}", &schema));
    assert_refused!(store.runtimes(), RuntimeError::StoreCorrupt { .. });
    let found = store.snapshot().unwrap();
    let found = found
        .search(&Search::literal("").newest_first(true))
        .unwrap();
    assert!(found.take(3).any(|found| found.is_err()));
    assert!(!store.verify().unwrap().is_clean());
}

/// In a list each of them is a family of its own.
#[test]
fn long_workers_are_listed_and_counted_as_in_a_file() {
    let from = Store::in_memory().unwrap();
    let runtime = from.runtime(named("r")).unwrap();
    for seed in 1..40 {
        worker(&runtime, &noise(seed, 1_100));
    }
    let directory = tempfile::tempdir().unwrap();
    let store = Store::connect(options(&SHARED.url(), &schema())).unwrap();
    from.copy_to(&store, &CopyOptions::new()).unwrap();
    assert_eq!(
        store.runtime(named("r")).unwrap().list_workers().unwrap(),
        runtime.list_workers().unwrap()
    );
    let path = directory.path().join("copy.redb");
    store.backup(&path).unwrap();
    let [there, here] = [store, Store::open(&path).unwrap()]
        .map(|store| store.census().unwrap().runtimes.swap_remove(0));
    assert_eq!(there.files, here.files);
    assert_eq!(there.workers.items, here.workers.items);
}

/// Version 1 had each id as its own key, up to what an entry of an index has.
#[test]
fn long_ids_of_version_1_are_migrated() {
    let schema = schema();
    let options = options(&SHARED.url(), &schema);
    let store = Store::connect(options.clone()).unwrap();
    let (long, longer) = (noise(1, 1_100), noise(2, 1_300));
    for id in ["r", &long] {
        let runtime = store.runtime(named(id)).unwrap();
        for id in ["w", &longer] {
            let worker = worker(&runtime, id);
            say(&runtime, &worker, "before").unwrap();
        }
    }
    store.close().unwrap();
    back_to_version_1(&schema);
    assert_refused!(
        Store::connect(options.clone()),
        RuntimeError::StoreSchemaTooOld {
            found: 1,
            supported: 2,
            ..
        }
    );
    assert_eq!(options.migrate().unwrap(), 1);
    let store = Store::connect(options).unwrap();
    assert_eq!(texts(&schema), "3");
    // A host of that version that is still running.
    let of_version_1 = format!("INSERT INTO {schema}.tokens VALUES ('token', now())");
    SHARED.primary().try_ask(&of_version_1).unwrap_err();
    for id in ["r", &long] {
        let runtime = store.runtime(named(id)).unwrap();
        let workers = runtime.list_workers().unwrap();
        assert_eq!(workers.len(), 2);
        for worker in workers {
            say(&runtime, &worker.worker_ref, "after").unwrap();
            assert_eq!(said(&runtime, &worker.worker_ref), ["before", "after"]);
        }
    }
    let report = store.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// Gives the store the tables of version 1.
fn back_to_version_1(schema: &str) {
    let mut statements = format!("SET search_path TO {schema}");
    let text = |column: &str, keeper: &str| {
        format!(
            "{column} = coalesce((SELECT text FROM long_keys AS l
                WHERE l.runtime = {keeper} AND l.key = t.{column}), t.{column})"
        )
    };
    let own = text("runtime", "t.runtime");
    for table in ["runtimes", "events", "diagnostics", "imports", "locks"] {
        statements += &format!("; UPDATE {table} AS t SET {own}");
    }
    for (table, part) in [
        ("workers", "worker"),
        ("transcripts", "worker"),
        ("tombstones", "worker"),
        ("files", "path"),
    ] {
        let part = text(part, "t.runtime");
        statements += &format!("; UPDATE {table} AS t SET {own}, {part}");
    }
    statements += &format!(
        "; DROP TABLE long_keys; ALTER TABLE commits RENAME TO tokens; UPDATE meta SET record = '\\x{VERSION_1}' WHERE property = 'schema_version'"
    );
    SHARED.primary().ask(&statements);
}
