//! Migrations between schemas: from schema 1, with the store that its release wrote, and to later schemas, which
//! steps of the tests simulate.

use crate::layout_support::tree;
use crate::support::{assert_refused, named, runtime_id, scratch, worker_ref};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::catalog::{CreateWorkerRequest, WorkerFilter};
use redb_runtime_store::identity::WorkerId;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::{ExportOptions, ImportOptions, compare, export, import};
use redb_runtime_store::management::RuntimeStatus;
use redb_runtime_store::store::StoreOptions;
use redb_runtime_store::{RuntimeError, Store};
use std::fs;
use std::path::{Path, PathBuf};
use torture::crash_steps::{
    cut_off_migration_of_schema_1, failing_step, first_release, later_release, second_step,
};
use torture::disk::Disk;
use torture::pages::Pages;
use torture::rng::Rng;
use torture::world::World;

/// A store that the release of schema 1 wrote; it is never generated again. It has the runtimes of the
/// directory of the same name.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schema-1.redb");
const GOLDEN_DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schema-1");
const GOLDEN_2: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schema-2.redb");
const GOLDEN_2_DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schema-2");

/// A copy of the store of schema 1, and its bytes.
fn store_of_schema_1() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let (directory, path) = scratch();
    fs::copy(GOLDEN, &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    (directory, path, bytes)
}

/// A store of this release, which is old for the later ones, and its bytes. It has the rows of the store of
/// schema 1.
fn old_store() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let (directory, path, _) = store_of_schema_1();
    let without_copy = Store::options().backup_before_migration(false);
    without_copy.open(&path).unwrap().close().unwrap();
    let bytes = fs::read(&path).unwrap();
    (directory, path, bytes)
}

/// A release must be tested with a store that an older release wrote.
#[test]
fn golden_file_is_unchanged_since_release() {
    for (path, pinned) in [
        (GOLDEN, (69_632, 0x3e24_8022)),
        (GOLDEN_2, (69_632, 0x1232_e3ec)),
    ] {
        let bytes = fs::read(path).unwrap();
        assert_eq!((bytes.len(), crc32fast::hash(&bytes)), pinned);
    }
}

fn world(path: &Path) -> World {
    World::of(&Store::open(path).unwrap()).unwrap()
}

fn copy_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.v2.bak", path.display()))
}

/// A release whose third step fails.
fn failing_release() -> StoreOptions {
    Store::options().later_steps(&[second_step, failing_step])
}

fn names_beside(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

#[test]
fn golden_file_of_schema_1_equals_its_directory() {
    let (_directory, path, _) = store_of_schema_1();
    let store = Store::open(&path).unwrap();
    let compared = compare(&store, GOLDEN_DIRECTORY).unwrap();
    assert!(compared.is_same(), "{compared:?}");
    assert!(store.verify().unwrap().is_clean());

    let again = Store::in_memory().unwrap();
    import(&again, GOLDEN_DIRECTORY, ImportOptions::new()).unwrap();
    // Its import record has a path of the machine that wrote it.
    let [golden, imported] =
        [&store, &again].map(|store| World::of(store).unwrap().without_imports());
    assert_eq!(golden.difference(&imported), None);
}

/// A copy of the store of schema 2, open. It has rows of every kind: imported ones with their own texts, a kept file,
/// times, floors, a pin, a deleted worker, attributes, a key, open work, a fork and a redacted entry.
fn store_of_schema_2() -> (tempfile::TempDir, Store) {
    let (directory, path) = scratch();
    fs::copy(GOLDEN_2, &path).unwrap();
    let store = Store::open(&path).unwrap();
    (directory, store)
}

#[test]
fn golden_file_of_schema_2_equals_its_directory() {
    let (directory, store) = store_of_schema_2();
    assert!(store.verify().unwrap().is_clean());
    let out = directory.path().join("out");
    export(&store, &out, ExportOptions::new().times(true)).unwrap();
    let golden = Path::new(GOLDEN_2_DIRECTORY);
    assert_eq!(tree(&out), tree(golden));
    let compared = compare(&store, golden).unwrap();
    assert!(compared.is_same(), "{compared:?}");
    let again = Store::in_memory().unwrap();
    import(&again, golden, ImportOptions::new()).unwrap();
    let out = directory.path().join("again");
    export(&again, &out, ExportOptions::new().times(true)).unwrap();
    assert_eq!(tree(&out), tree(golden));
}

#[test]
fn golden_file_of_schema_2_has_what_its_host_stored() {
    let (_directory, store) = store_of_schema_2();
    let demo = store.runtime(named("demo")).unwrap();
    let clerk = worker_ref("demo", "worker-00000003");
    let unfinished = store.unfinished().unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!(
        (&*unfinished[0].name, &*unfinished[0].note),
        ("call-1", "stock of shelf 4")
    );
    assert_eq!(unfinished[0].worker_ref, clerk);

    let waiting = Attributes::new().with("state", "waiting").unwrap();
    let page = demo
        .workers(&WorkerFilter::new().attributes(waiting))
        .unwrap();
    let found: Vec<_> = page
        .workers
        .iter()
        .map(|one| one.summary.worker_id.as_str())
        .collect();
    // The fork copied the attributes that the worker had then.
    assert_eq!(found, ["worker-00000003", "worker-00000004"]);
    let before = demo.worker_detail(&clerk).unwrap().transcript_len;
    let order = || WorkerInput::user("How many are left?");
    let ack = demo.send_input_once(&clerk, "order-1", order()).unwrap();
    assert_eq!((ack.transcript_sequence, ack.event_id), (1, 10));
    assert_eq!(demo.worker_detail(&clerk).unwrap().transcript_len, before);

    let deleted = WorkerId::new("worker-00000005").unwrap();
    let error = demo
        .create_worker_as(deleted, Default::default())
        .unwrap_err();
    assert!(matches!(error, RuntimeError::InvalidRequest(_)), "{error}");
    let snapshot = store.snapshot().unwrap();
    let id = runtime_id("demo");
    assert_eq!(snapshot.first_event_id(&id).unwrap(), 7);
    assert!(snapshot.is_pinned(&clerk).unwrap());
    assert_eq!(snapshot.first_position(&clerk).unwrap(), 0);
    assert_eq!(snapshot.kept_files(&id).unwrap().len(), 1);
}

#[test]
fn older_store_is_copied_then_migrated() {
    let (_directory, path, _) = old_store();
    let before = world(&path);
    let bytes = fs::read(&path).unwrap();

    let migrated = later_release().open(&path).unwrap();
    assert_eq!(World::of(&migrated).unwrap(), before);
    drop(migrated);

    let copy = copy_of(&path);
    assert_eq!(names_beside(&path).len(), 2, "{:?}", names_beside(&path));
    assert!(fs::read(&copy).unwrap() == bytes, "not a copy");
    assert_eq!(world(&copy), before);
    assert_refused!(
        Store::open(&path),
        RuntimeError::StoreSchemaTooNew {
            found: 3,
            supported: 2,
            ..
        },
    );
}

#[test]
fn copy_is_made_only_when_migrating() {
    let (_directory, path, _) = old_store();
    drop(Store::open(&path).unwrap());
    assert!(!copy_of(&path).exists());
    let options = later_release().backup_before_migration(false);
    drop(options.open(&path).unwrap());
    assert!(!copy_of(&path).exists());
    drop(later_release().open(&path).unwrap());
    assert_eq!(names_beside(&path).len(), 1);
}

#[test]
fn refused_migration_leaves_store_untouched() {
    let (_directory, path, _) = old_store();
    let left = path.with_extension("left");
    // The bytes of an open file are those that a kill leaves.
    let store = Store::open(&path).unwrap();
    fs::copy(&path, &left).unwrap();
    store.close().unwrap();
    for path in [path, left] {
        let bytes = fs::read(&path).unwrap();
        assert_refused!(
            later_release().migrate(false).open(&path),
            RuntimeError::StoreSchemaTooOld {
                found: 2,
                supported: 3,
                ..
            },
        );
        assert!(bytes == fs::read(&path).unwrap(), "touched");
    }
    let (_directory, path) = scratch();
    drop(Store::options().migrate(false).open(path).unwrap());
}

#[cfg(unix)]
#[test]
fn migration_copy_is_readable_by_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, path, _) = old_store();
    drop(later_release().open(&path).unwrap());
    let mode = fs::metadata(copy_of(&path)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn failed_migration_stays_readable_by_older_release() {
    let (_directory, path, _) = old_store();
    let before = world(&path);
    assert_refused!(
        failing_release().open(&path),
        RuntimeError::StoreCorrupt { .. }
    );

    // The second step, which succeeded, is undone together with the third.
    assert_eq!(world(&path), before);
    assert_eq!(world(&copy_of(&path)), before);
    // The next release, whose steps succeed, starts again: the copy does not stop it.
    let migrated = later_release().open(&path).unwrap();
    assert_eq!(World::of(&migrated).unwrap(), before);
}

#[test]
fn failed_copy_leaves_store_unmigrated() {
    let (_directory, path, bytes) = old_store();
    // A rename cannot replace a directory that is not empty.
    fs::create_dir_all(copy_of(&path).join("in the way")).unwrap();
    assert_refused!(later_release().open(&path), RuntimeError::StoreIo { .. });
    assert!(fs::read(&path).unwrap() == bytes, "the store was touched");
    assert_eq!(names_beside(&path).len(), 2, "{:?}", names_beside(&path));
}

#[test]
fn read_only_open_migrates_nothing() {
    let (_directory, path, bytes) = old_store();
    assert_refused!(
        later_release().read_only(true).open(&path),
        RuntimeError::StoreSchemaTooOld {
            found: 2,
            supported: 3,
            ..
        },
    );
    assert!(fs::read(&path).unwrap() == bytes, "the store was touched");
    assert_eq!(names_beside(&path).len(), 1);
}

#[test]
fn migration_plan_changes_nothing() {
    let (_directory, path, bytes) = old_store();
    let now = Store::options().migration_plan(&path).unwrap();
    assert_eq!((now.found, now.supported, now.backup.clone()), (2, 2, None));
    assert!(!now.is_needed() && now.steps.is_empty());

    let later = later_release().migration_plan(&path).unwrap();
    assert!(later.is_needed());
    assert_eq!((later.found, later.supported), (2, 3));
    assert_eq!(later.backup, Some(copy_of(&path)));
    assert_eq!(later.steps.len(), 1);
    let without = later_release().backup_before_migration(false);
    assert_eq!(without.migration_plan(&path).unwrap().backup, None);

    assert!(fs::read(&path).unwrap() == bytes, "the store was touched");
    assert_eq!(names_beside(&path).len(), 1);
    let missing = path.with_extension("missing");
    assert_refused!(
        later_release().migration_plan(missing),
        RuntimeError::StoreMissing { .. }
    );
}

#[test]
fn unclean_store_is_planned_and_migrated() {
    let (_directory, path, _) = old_store();
    let open = Store::open(&path).unwrap();
    let unclean = path.with_extension("unclean");
    fs::copy(&path, &unclean).unwrap();
    drop(open);
    let bytes = fs::read(&unclean).unwrap();

    let plan = later_release().migration_plan(&unclean).unwrap();
    assert_eq!((plan.found, plan.supported), (2, 3));
    assert!(
        fs::read(&unclean).unwrap() == bytes,
        "the store was touched"
    );
    let migrated = later_release().open(&unclean).unwrap();
    assert_eq!(World::of(&migrated).unwrap(), world(&path));
    assert!(fs::read(copy_of(&unclean)).unwrap() == bytes, "not a copy");
}

#[test]
fn new_store_has_the_newest_schema() {
    let (_directory, path) = scratch();
    drop(later_release().open(&path).unwrap());
    assert_refused!(
        Store::open(&path),
        RuntimeError::StoreSchemaTooNew { found: 3, .. }
    );
    assert_eq!(names_beside(&path).len(), 1);
}

#[test]
fn one_of_many_writers_migrates() {
    let (_directory, path, _) = old_store();
    let before = world(&path);
    let options = later_release().sharing(redb_runtime_store::store::Sharing::ManyWriters);
    let store = options.open(&path).unwrap();
    assert_eq!(World::of(&store).unwrap(), before);
    assert_eq!(world(&copy_of(&path)), before);
}

/// Every row of the store at `path`, as it is stored, without the schema version.
fn stored_rows(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let database = Database::open(path).unwrap();
    let read = database.begin_read().unwrap();
    macro_rules! rows_of {
        ($name:literal, $key:ty) => {
            let table = TableDefinition::<$key, &[u8]>::new($name);
            for row in read.open_table(table).unwrap().iter().unwrap() {
                let (key, value) = row.unwrap();
                let key = format!("{} {:?}", $name, key.value());
                all.push((key, value.value().to_vec()));
            }
        };
    }
    rows_of!("meta", &str);
    rows_of!("runtimes", &str);
    rows_of!("workers", (&str, &str));
    rows_of!("events", (&str, u64));
    rows_of!("transcripts", (&str, &str, u64));
    rows_of!("diagnostics", (&str, u64));
    rows_of!("imports", &str);
    all.retain(|(key, _)| key != "meta \"schema_version\"");
    all
}

#[test]
fn migration_of_schema_1_rewrites_no_row() {
    let (_directory, path, _) = store_of_schema_1();
    let before = stored_rows(&path);
    Store::open(&path).unwrap().close().unwrap();
    assert!(before.len() > 30, "{} rows", before.len());
    assert_eq!(stored_rows(&path), before);
    assert!(before.iter().all(|(_, value)| value[0] == 1));
}

#[test]
fn only_changed_rows_get_version_2() {
    let (_directory, path, _) = store_of_schema_1();
    let before = stored_rows(&path);
    let store = Store::open(&path).unwrap();
    let id = store.snapshot().unwrap().runtime_ids().unwrap();
    let mut changed = None;
    for id in id {
        let runtime = store.runtime(crate::support::named(id.as_str())).unwrap();
        let active = runtime.list_workers().unwrap();
        let active = active.iter().find(|worker| worker.status.is_active());
        if let (Some(worker), Ok(RuntimeStatus::Running)) = (active, runtime.status()) {
            let input = WorkerInput::user("more");
            runtime.send_input(&worker.worker_ref, input).unwrap();
            changed = Some(());
            break;
        }
    }
    changed.unwrap();
    store.close().unwrap();
    let mut new = Vec::new();
    for (key, value) in stored_rows(&path) {
        if before.iter().any(|(_, old)| *old == value) {
            continue;
        }
        let table = key.split(' ').next().unwrap().to_owned();
        new.push((table, value[0]));
    }
    let expected = ["runtimes", "workers", "events", "transcripts"];
    assert_eq!(new, expected.map(|table| (table.to_owned(), 2)));
}

#[test]
fn first_release_leaves_schema_2_untouched() {
    let (_directory, path, bytes) = store_of_schema_1();
    Store::open(&path).unwrap().close().unwrap();
    let copy = PathBuf::from(format!("{}.v1.bak", path.display()));
    assert!(fs::read(copy).unwrap() == bytes, "not a copy");
    let bytes = fs::read(&path).unwrap();
    for options in [
        first_release(),
        first_release().read_only(true),
        first_release().sharing(redb_runtime_store::store::Sharing::ManyWriters),
    ] {
        assert_refused!(
            options.open(&path),
            RuntimeError::StoreSchemaTooNew {
                found: 2,
                supported: 1,
                ..
            },
        );
        assert!(fs::read(&path).unwrap() == bytes, "touched");
    }
}

#[test]
fn schema_1_survives_power_loss_during_migration() {
    let seed = crate::support::seed();
    let steps = cut_off_migration_of_schema_1(&mut Rng::new(seed)).unwrap();
    assert!(steps > 10, "{steps} changes");
}

#[test]
fn migration_costs_the_same_at_any_size() {
    let written = |store: Pages| {
        let disk = Disk::with(store);
        let before = disk.position();
        drop(Store::options().open_backend(disk.clone()).unwrap());
        disk.position() - before
    };
    let golden = Pages::from_bytes(&fs::read(GOLDEN).unwrap());
    let small = written(golden.clone());

    let disk = Disk::with(golden);
    let store = first_release().open_backend(disk.clone()).unwrap();
    let runtime = store.runtime(crate::support::named("large")).unwrap();
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let worker = worker.unwrap().worker_ref;
    for _ in 0..40 {
        let sent = runtime.transaction(|transaction| {
            for _ in 0..500 {
                transaction.send_input(&worker, WorkerInput::user("x".repeat(200)))?;
            }
            Ok(())
        });
        sent.unwrap();
    }
    store.close().unwrap();
    let (large, bytes) = (disk.content(), disk.content().len());
    assert!(bytes > 50 * 69_632, "{bytes} bytes");
    let large = written(large);
    // A little more: the paths through the trees are longer.
    assert!(large < small + 20, "{small} and {large} changes");
}
