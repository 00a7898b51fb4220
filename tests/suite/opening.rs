//! Opening: the file at the path decides, and a rejected file is not changed.

use crate::support::{
    Sight, all_entries, all_events, assert_refused, assert_whole, named, say, scratch,
};
use redb::{Database, ReadableDatabase, TableDefinition};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::interaction::TranscriptEntry;
use redb_runtime_store::observation::RuntimeEvent;
use redb_runtime_store::store::{Sharing, StoreOptions};
use redb_runtime_store::{RedbRuntimeStoreOptions, Runtime, RuntimeError, Store};
use std::error::Error;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Every way to open a store. None of them may change a file that it rejects.
fn ways() -> Vec<(&'static str, StoreOptions)> {
    vec![
        ("write", Store::options()),
        ("read only", Store::options().read_only(true)),
        ("without create", Store::options().create(false)),
        ("verify", Store::options().verify_on_open(true)),
        ("exclusive", Store::options().sharing(Sharing::Exclusive)),
        (
            "many writers",
            Store::options().sharing(Sharing::ManyWriters),
        ),
    ]
}

/// Asserts that every way of opening `path` is rejected with an error that `wanted` accepts, and
/// changes nothing.
#[track_caller]
fn assert_left_alone(path: &Path, wanted: impl Fn(&RuntimeError) -> bool) {
    let before = Sight::of(path);
    for (way, options) in ways() {
        match options.open(path) {
            Err(error) if wanted(&error) => {}
            other => panic!("{way}: {other:?}"),
        }
        before.assert_unchanged(path);
    }
    let by_path = Runtime::with_redb_store(RedbRuntimeStoreOptions::new(path));
    assert!(wanted(&by_path.unwrap_err()));
    before.assert_unchanged(path);
}

fn is_no_store(error: &RuntimeError) -> bool {
    matches!(error, RuntimeError::NotAStore { .. })
}

/// The content that a test writes into a store and reads back.
type Contents = (Vec<RuntimeEvent>, Vec<TranscriptEntry>);

/// Writes a little into the runtime `r` of `store`.
fn fill(store: &Store) -> Contents {
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap();
    for number in 0..20 {
        say(&runtime, &worker.worker_ref, &format!("input {number}")).unwrap();
    }
    (
        all_events(&runtime),
        all_entries(&runtime, &worker.worker_ref),
    )
}

/// A closed store at `path`.
fn closed_store(path: &Path) -> Contents {
    let store = Store::open(path).unwrap();
    let contents = fill(&store);
    store.close().unwrap();
    contents
}

/// A store at `path` as a kill leaves it: every commit is in the file, but it was never closed.
fn unclean_store(path: &Path) -> Contents {
    let live = path.with_extension("live");
    let store = Store::open(&live).unwrap();
    let contents = fill(&store);
    std::fs::copy(&live, path).unwrap();
    store.close().unwrap();
    std::fs::remove_file(live).unwrap();
    contents
}

#[test]
fn new_store_has_mode_0600() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    assert!(!store.is_read_only());
    assert_eq!(store.path(), path);
    assert_eq!(store.runtimes().unwrap(), []);
    let sight = Sight::of(&path);
    store.close().unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let names = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(names, 1, "{sight:?}");
}

#[test]
fn bare_name_creates_in_current_directory() {
    if let Some(directory) = crate::support::told_as_child() {
        std::env::set_current_dir(directory).unwrap();
        fill(&Store::open("name").unwrap());
        crate::support::tell("done");
        return;
    }
    let (directory, _) = scratch();
    let name = "opening::bare_name_creates_in_current_directory";
    let mut child = crate::support::TestChild::start(name, directory.path());
    assert_eq!(child.hear().as_deref(), Some("done"));
    child.child.wait().unwrap();
    assert!(directory.path().join("name").is_file());
}

#[test]
fn open_without_create_makes_nothing() {
    let (directory, path) = scratch();
    let ways = [
        Store::options().create(false),
        Store::options().read_only(true),
        Store::options().read_only(true).create(true),
    ];
    for options in ways {
        assert_refused!(
            options.open(&path),
            RuntimeError::StoreMissing { path: missing, .. } if missing == path
        );
    }
    assert_refused!(
        Store::open_read_only(&path),
        RuntimeError::StoreMissing { .. }
    );
    let beneath = path.join("beneath");
    assert_refused!(Store::open(&beneath), RuntimeError::StoreIo { .. });
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn foreign_file_is_not_touched() {
    let (_directory, path) = scratch();
    let others: [&[u8]; 6] = [
        b"",
        b"r",
        b"redb",
        b"SQLite format 3\0 and more",
        &[0; 8192],
        b"{\"schema_version\": 1}",
    ];
    for other in others {
        std::fs::write(&path, other).unwrap();
        assert_left_alone(&path, is_no_store);
    }
}

#[test]
fn directories_and_special_files_are_not_touched() {
    let (directory, path) = scratch();
    let inner = directory.path().join("directory");
    std::fs::create_dir(&inner).unwrap();
    assert_left_alone(&inner, is_no_store);
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    // Opening a fifo would block until its other end is opened.
    assert_left_alone(&path, is_no_store);
    assert_refused!(Store::open("/dev/null"), RuntimeError::NotAStore { .. });
}

#[test]
fn dangling_link_stays_dangling() {
    let (directory, path) = scratch();
    let target = directory.path().join("target");
    symlink(&target, &path).unwrap();
    assert_left_alone(&path, |error| {
        // Not a bare "no such file": a listing shows the name.
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        cause.contains(&format!("a symbolic link to {}", target.display()))
            && matches!(error, RuntimeError::StoreIo { .. })
    });
    assert!(!target.exists());
}

#[test]
fn link_to_store_opens_that_store() {
    let (directory, path) = scratch();
    let target = directory.path().join("target");
    let contents = closed_store(&target);
    symlink(&target, &path).unwrap();
    let by_link = Store::open(&path).unwrap();
    let direct = Store::open(&target).unwrap();
    assert_contents(&by_link, &contents);
    let direct = direct.runtime(named("new")).unwrap();
    assert_eq!(
        by_link.runtimes().unwrap().len(),
        2,
        "one store by two paths"
    );
    assert!(std::fs::symlink_metadata(&path).unwrap().is_symlink());
    drop(direct);
}

/// The runtime `r` of `store` holds `contents`.
fn assert_contents(store: &Store, contents: &Contents) {
    let runtime = store.runtime(named("r")).unwrap();
    assert_eq!(all_events(&runtime), contents.0);
    let workers = runtime.list_workers().unwrap();
    let entries = all_entries(&runtime, &workers[0].worker_ref);
    assert_eq!(entries, contents.1);
    assert_whole(&runtime);
}

/// Makes a redb file of another program; `name` is a table in it.
fn foreign_redb(path: &Path, name: &str, unclean: bool) {
    let live = path.with_extension("live");
    let _ = std::fs::remove_file(path);
    let database = Database::create(&live).unwrap();
    for round in 0..3 {
        let transaction = database.begin_write().unwrap();
        let definition: TableDefinition<'_, u64, &str> = TableDefinition::new(name);
        transaction
            .open_table(definition)
            .unwrap()
            .insert(round, "theirs")
            .unwrap();
        transaction.commit().unwrap();
    }
    if unclean {
        std::fs::copy(&live, path).unwrap();
        drop(database);
        std::fs::remove_file(live).unwrap();
    } else {
        drop(database);
        std::fs::rename(live, path).unwrap();
    }
}

#[test]
fn redb_file_of_another_program_is_untouched() {
    let (_directory, path) = scratch();
    for name in ["theirs", "meta", "events"] {
        foreign_redb(&path, name, false);
        assert_left_alone(&path, is_no_store);
    }
    let _ = std::fs::remove_file(&path);
    drop(Database::create(&path).unwrap());
    assert_left_alone(&path, is_no_store);
}

#[test]
fn unclean_foreign_redb_file_is_not_repaired() {
    let (_directory, path) = scratch();
    for name in ["theirs", "meta"] {
        foreign_redb(&path, name, true);
        assert_left_alone(&path, |error| {
            // A read-only open cannot read a file that was not closed.
            is_no_store(error) || matches!(error, RuntimeError::NeedsRepair { .. })
        });
        assert_refused!(Store::open(&path), RuntimeError::NotAStore { .. });
        // Its owner can still repair and use it.
        let database = Database::open(&path).unwrap();
        let definition: TableDefinition<'_, u64, &str> = TableDefinition::new(name);
        let table = database
            .begin_read()
            .unwrap()
            .open_table(definition)
            .unwrap();
        assert_eq!(table.get(2).unwrap().unwrap().value(), "theirs");
    }
}

/// Puts a row into the `meta` table of the store at `path`, as another version might.
fn put_meta(path: &Path, key: &str, body: &[u8]) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(b"meta\0");
    crc.update(key.as_bytes());
    crc.update(&[0xFF]);
    crc.update(body);
    let value = [body, &crc.finalize().to_le_bytes()].concat();
    let definition: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(definition)
        .unwrap()
        .insert(key, value.as_slice())
        .unwrap();
    transaction.commit().unwrap();
}

#[test]
fn store_of_newer_schema_is_untouched() {
    let (_directory, path) = scratch();
    closed_store(&path);
    // Value version 1, variant 0 (a number), 3.
    put_meta(&path, "schema_version", &[1, 0, 3]);
    let is_too_new = |error: &RuntimeError| {
        matches!(
            error,
            RuntimeError::StoreSchemaTooNew { found: 3, supported: 2, path: at } if *at == path
        )
    };
    assert_left_alone(&path, is_too_new);
}

#[test]
fn invalid_schema_stamp_is_damage() {
    let (_directory, path) = scratch();
    closed_store(&path);
    let is_damaged = |error: &RuntimeError| matches!(error, RuntimeError::StoreCorrupt { .. });
    let bodies: [&[u8]; 4] = [&[1, 0, 0], &[1, 1, 1, b'1'], &[1, 2, 1], &[2, 0, 1]];
    for body in bodies {
        put_meta(&path, "schema_version", body);
        assert_left_alone(&path, is_damaged);
    }
    put_meta(&path, "schema_version", &[1, 0, 2]);
    Store::open(&path).unwrap();
}

#[test]
fn only_writing_open_repairs_unclean_store() {
    let (_directory, path) = scratch();
    let contents = unclean_store(&path);
    let before = Sight::of(&path);
    assert_refused!(
        Store::open_read_only(&path),
        RuntimeError::NeedsRepair { path: at } if at == path
    );
    before.assert_unchanged(&path);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let options = Store::options().on_repair(move |progress| {
        assert!((0.0..=1.0).contains(&progress), "{progress}");
        counted.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    let store = options.open(&path).unwrap();
    assert!(calls.load(Ordering::Relaxed) > 0, "progress was reported");
    assert_contents(&store, &contents);
    store.close().unwrap();
    assert_contents(&Store::open_read_only(&path).unwrap(), &contents);
}

#[test]
fn aborted_repair_leaves_file_unchanged() {
    let (_directory, path) = scratch();
    let contents = unclean_store(&path);
    let before = Sight::of(&path);
    for stop_at in 0..4 {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let options =
            Store::options().on_repair(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
                call if call == stop_at => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            });
        match options.open(&path) {
            Err(RuntimeError::NeedsRepair { path: at }) if at == path => {}
            Ok(_) if calls.load(Ordering::Relaxed) <= stop_at && stop_at > 0 => break,
            other => panic!("stopped at {stop_at}: {other:?}"),
        }
        before.assert_unchanged(&path);
    }
    assert_contents(&Store::open(&path).unwrap(), &contents);
}

#[test]
fn open_inside_its_repair_is_refused() {
    let (_directory, path) = scratch();
    let contents = unclean_store(&path);
    let (opens, came) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (inner, within) = (Arc::new(std::sync::Mutex::new(Vec::new())), path.clone());
        let refused = Arc::clone(&inner);
        let repairing = Store::options().on_repair(move |_| {
            for read_only in [false, true] {
                let opened = Store::options().read_only(read_only).open(&within);
                refused.lock().unwrap().push(opened.map(drop));
            }
            ControlFlow::Continue(())
        });
        let outer = repairing.open(&path);
        let inner = std::mem::take(&mut *inner.lock().unwrap());
        opens.send((outer, inner)).unwrap();
    });
    let (outer, inner) = came
        .recv_timeout(std::time::Duration::from_secs(60))
        .expect("it waits for itself");
    assert_contents(&outer.unwrap(), &contents);
    assert!(!inner.is_empty());
    for opened in inner {
        assert_refused!(opened, RuntimeError::InvalidRequest(_));
    }
}

#[test]
fn verify_on_open_checks_shared_store() {
    let (_directory, path) = scratch();
    let contents = closed_store(&path);
    let verifying = Store::options().verify_on_open(true);
    let first = Store::open(&path).unwrap();
    assert_contents(&verifying.open(&path).unwrap(), &contents);
    // The file is damaged while it is open.
    let mut bytes = std::fs::read(&path).unwrap();
    let text = b"input 7";
    // In old pages, too.
    for at in 0..bytes.len() - text.len() {
        if bytes[at..].starts_with(text) {
            bytes[at] ^= 1;
        }
    }
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    assert_refused!(verifying.open(&path), RuntimeError::StoreCorrupt { .. });
    assert_eq!(Store::open(&path).unwrap().runtimes().unwrap().len(), 1);
    first.close().unwrap();
    assert_refused!(verifying.open(&path), RuntimeError::StoreCorrupt { .. });
}

#[test]
fn path_without_file_name_is_refused() {
    let (directory, path) = scratch();
    let source = directory.path().join("source");
    drop(Store::open(&source).unwrap());
    for end in ["/", "//", "/."] {
        let mut named = path.clone().into_os_string();
        named.push(end);
        assert_refused!(Store::open(&named), RuntimeError::StoreIo { .. });
        let store = Store::open(&source).unwrap();
        assert_refused!(store.backup(&named), RuntimeError::StoreIo { .. });
        assert!(!path.exists(), "{named:?}");
    }
    assert_eq!(directory.path().read_dir().unwrap().count(), 1);
}
