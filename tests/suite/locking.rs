//! One file, several handles and processes.

use crate::support::{
    Sight, TestChild, all_events, assert_refused, assert_whole, named, say, scratch, tell,
    told_as_child, worker_ref,
};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::store::{Sharing, StoreOptions};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn runtime(store: &Store) -> Runtime {
    store.runtime(named("r")).unwrap()
}

fn create(runtime: &Runtime) {
    runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap();
}

fn events(store: &Store) -> usize {
    all_events(&runtime(store)).len()
}

#[test]
fn opens_of_one_file_share_one_store() {
    let (_directory, path) = scratch();
    let first = Store::open(&path).unwrap();
    create(&runtime(&first));
    let second = Store::open(&path).unwrap();
    assert_eq!(events(&second), 2);
    create(&runtime(&second));
    assert_eq!(events(&first), 3);
    drop(first);
    create(&runtime(&second));
    assert_eq!(events(&second), 4);
    drop(second);
    // Dropping the last handle closed the store: no repair is needed.
    assert_eq!(events(&Store::open_read_only(&path).unwrap()), 4);
}

#[test]
fn concurrent_opens_of_new_path_all_succeed() {
    let (directory, _) = scratch();
    for round in 0..40 {
        let path = directory.path().join(format!("{round}.redb"));
        let together = Barrier::new(4);
        let open = || {
            together.wait();
            Store::open(&path)
        };
        let opened: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.collect()
        });
        for store in opened {
            store.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
}

#[test]
fn read_only_handle_sees_commits_and_refuses_writes() {
    let (_directory, path) = scratch();
    let writer = Store::open(&path).unwrap();
    create(&runtime(&writer));
    let reader = Store::open_read_only(&path).unwrap();
    assert!(reader.is_read_only() && !writer.is_read_only());
    assert_eq!(events(&reader), 2);
    create(&runtime(&writer));
    assert_eq!(events(&reader), 3);
    assert_refuses_writes(&reader);
    writer.close().unwrap();
    let alone = Store::open_read_only(&path).unwrap();
    let before = Sight::of(&path);
    assert_eq!(events(&alone), 3);
    assert_refuses_writes(&alone);
    drop(alone);
    before.assert_unchanged(&path);
}

fn assert_refuses_writes(store: &Store) {
    let runtime = runtime(store);
    let worker = worker_ref("r", "worker-00000001");
    macro_rules! assert_read_only {
        ($result:expr) => {
            assert_refused!($result, RuntimeError::StoreReadOnly { .. })
        };
    }
    assert_read_only!(runtime.create_worker(CreateWorkerRequest::default()));
    assert_read_only!(say(&runtime, &worker, "a"));
    assert_read_only!(runtime.stop_worker(&worker, None));
    assert_read_only!(runtime.cancel_worker(&worker, None));
    assert_read_only!(runtime.stop_runtime());
    assert_read_only!(store.runtime(named("new")));
    assert_read_only!(store.bulk_load(|_| Ok::<(), RuntimeError>(())));
    let below = store.runtime_store(&runtime.runtime_id().unwrap()).unwrap();
    assert_read_only!(below.commit(|_| Ok(())));
}

#[test]
fn leftover_handle_never_blocks_reopening() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let (leftover, reader) = (store.clone(), Store::open_read_only(&path).unwrap());
    let leftover_runtime = runtime(&store);
    let snapshot = store.snapshot().unwrap();
    store.close().unwrap();
    let reopened = Store::open(&path).unwrap();
    create(&runtime(&reopened));
    assert_eq!(events(&reopened), 2);
    let closed = [
        leftover.runtimes().unwrap_err(),
        reader.runtimes().unwrap_err(),
        leftover_runtime.summary().unwrap_err(),
        leftover_runtime.stop_runtime().unwrap_err(),
    ];
    for error in closed {
        assert!(
            matches!(error, RuntimeError::StoreClosed { .. }),
            "{error:?}"
        );
    }
    // Rows that it read before stay right; rows that it can no longer read are an error.
    match snapshot.runtime_ids() {
        Ok(ids) => assert_eq!(ids.len(), 1),
        Err(error) => assert!(
            matches!(error, RuntimeError::StoreClosed { .. }),
            "{error:?}"
        ),
    }
    // Dropping the old handle does not close the new store.
    drop((leftover, reader, leftover_runtime, snapshot, store));
    create(&runtime(&reopened));
    assert_eq!(events(&reopened), 3);
    reopened.close().unwrap();
    assert_eq!(events(&Store::open_read_only(&path).unwrap()), 3);
}

#[test]
fn replaced_file_is_another_store() {
    let (_directory, path) = scratch();
    let old = Store::open(&path).unwrap();
    create(&runtime(&old));
    std::fs::remove_file(&path).unwrap();
    let new = Store::open(&path).unwrap();
    assert_eq!(new.runtimes().unwrap(), []);
    assert_eq!(events(&old), 2);
    // A store that was moved is still the same store.
    let moved = path.with_extension("moved");
    create(&runtime(&new));
    std::fs::rename(&path, &moved).unwrap();
    create(&runtime(&Store::open(&moved).unwrap()));
    assert_eq!(events(&new), 3);
}

#[test]
fn concurrent_open_and_close_find_whole_store() {
    let (_directory, path) = scratch();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (path, start) = (&path, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..12 {
                    let store = Store::open(path).unwrap();
                    let made = store
                        .runtime(named("r"))
                        .and_then(|runtime| runtime.create_worker(CreateWorkerRequest::default()));
                    match made {
                        // Another thread may have closed it meanwhile.
                        Ok(_) | Err(RuntimeError::StoreClosed { .. }) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                    if (thread + round) % 5 == 0 {
                        store.close().unwrap();
                    }
                }
            });
        }
    });
    let store = Store::open(&path).unwrap();
    assert_whole(&runtime(&store));
    assert_eq!(store.runtimes().unwrap().len(), 1);
}

/// The work of a child: opens the store, works until it reads a byte, and closes it.
fn hold(path: &Path, sharing: Sharing) {
    let store = Store::options().sharing(sharing).open(path).unwrap();
    create(&runtime(&store));
    tell("open");
    let mut heard = [0];
    while std::io::stdin().read(&mut heard).unwrap() == 1 && heard[0] == b'+' {
        create(&runtime(&store));
        tell("created");
    }
    store.close().unwrap();
    tell("closed");
}

fn say_to(child: &mut TestChild, byte: u8) {
    child
        .child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(&[byte])
        .unwrap();
}

#[test]
fn second_writer_learns_who_holds_the_lock() {
    if let Some(path) = told_as_child() {
        return hold(&path, Sharing::OneWriter);
    }
    let name = "locking::second_writer_learns_who_holds_the_lock";
    let (_directory, path) = scratch();
    let mut child = TestChild::start(name, &path);
    assert_eq!(child.hear().as_deref(), Some("open"));
    let before = Sight::of(&path);
    for sharing in [Sharing::OneWriter, Sharing::Exclusive, Sharing::ManyWriters] {
        for timeout in [Duration::ZERO, Duration::from_millis(20)] {
            let options = Store::options().sharing(sharing).lock_timeout(timeout);
            match options.open(&path) {
                Err(RuntimeError::StoreLocked { path: at, holder }) => {
                    assert_eq!(at, path);
                    let pid = child.child.id();
                    assert!(
                        holder.is_none_or(|holder| holder == pid),
                        "{holder:?}, not {pid}"
                    );
                }
                other => panic!("{sharing:?}: {other:?}"),
            }
        }
    }
    before.assert_unchanged(&path);
    // A waiting open succeeds when the other process has closed the store.
    let options = Store::options().lock_timeout(Duration::MAX);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| options.open(&path).unwrap());
        say_to(&mut child, b'.');
        assert_eq!(child.hear().as_deref(), Some("closed"));
        assert_eq!(events(&waiting.join().unwrap()), 2);
    });
}

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// Opens `path` in another thread; returns once that thread has opened the file, which is locked.
fn open_and_wait(
    path: &Path,
    options: StoreOptions,
) -> std::thread::JoinHandle<Result<Store, RuntimeError>> {
    let opened = path.to_owned();
    let waiting = std::thread::spawn(move || options.open(opened));
    while !waiting.is_finished() && !is_open_here(path) {
        std::thread::yield_now();
    }
    waiting
}

/// Whether this process has the file at `path` open.
fn is_open_here(path: &Path) -> bool {
    let identity = |file: std::fs::Metadata| (file.dev(), file.ino());
    let wanted = std::fs::metadata(path).map(identity).unwrap();
    // A descriptor can close while the list is read.
    let descriptors = std::fs::read_dir("/dev/fd").unwrap().flatten();
    let mut files = descriptors.filter_map(|one| std::fs::metadata(one.path()).ok());
    files.any(|file| identity(file) == wanted)
}

#[test]
fn replaced_file_ends_the_lock_wait() {
    if let Some(path) = told_as_child() {
        return hold(&path, Sharing::OneWriter);
    }
    let name = "locking::replaced_file_ends_the_lock_wait";
    let (_directory, path) = scratch();
    let (new, old) = (path.with_extension("new"), path.with_extension("old"));
    for sharing in [Sharing::OneWriter, Sharing::ManyWriters] {
        let store = Store::open(&new).unwrap();
        store.runtime(named("new")).unwrap();
        store.close().unwrap();
        let mut child = TestChild::start(name, &path);
        assert_eq!(child.hear().as_deref(), Some("open"));
        let options = Store::options().lock_timeout(LONG).sharing(sharing);
        let waiting = open_and_wait(&path, options);
        // In one step: an open that looks between two renames would find nothing at the path.
        std::fs::hard_link(&path, &old).unwrap();
        std::fs::rename(&new, &path).unwrap();
        let store = waiting.join().unwrap().unwrap();
        assert_eq!(ids(&store), ["new"]);
        say_to(&mut child, b'.');
        assert_eq!(child.hear().as_deref(), Some("closed"));
        assert_eq!(ids(&Store::open(&old).unwrap()), ["r"]);
        assert_eq!(ids(&Store::open(&path).unwrap()), ["new"]);
        store.close().unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(&old).unwrap();
    }
}

/// The ids of the runtimes of `store`.
fn ids(store: &Store) -> Vec<String> {
    let runtimes = store.runtimes().unwrap().into_iter();
    runtimes
        .map(|runtime| runtime.runtime_id.to_string())
        .collect()
}

#[test]
fn waiting_open_blocks_no_other_open() {
    if let Some(path) = told_as_child() {
        return hold(&path, Sharing::OneWriter);
    }
    let name = "locking::waiting_open_blocks_no_other_open";
    let (_directory, path) = scratch();
    let mut child = TestChild::start(name, &path);
    assert_eq!(child.hear().as_deref(), Some("open"));
    let waiting = open_and_wait(&path, Store::options().lock_timeout(Duration::MAX));
    let (others, came) = std::sync::mpsc::channel();
    std::thread::spawn({
        let path = path.clone();
        move || {
            let refused = Store::open(&path);
            let reader = Store::open_read_only(&path).map(|reader| events(&reader));
            others.send((refused, reader)).unwrap();
        }
    });
    let (refused, reader) = came.recv_timeout(LONG).expect("both were held up");
    assert_refused!(refused, RuntimeError::StoreLocked { .. });
    assert_eq!(reader.unwrap(), 2);
    say_to(&mut child, b'.');
    assert_eq!(child.hear().as_deref(), Some("closed"));
    assert_eq!(events(&waiting.join().unwrap().unwrap()), 2);
}

#[test]
fn reader_follows_commits_of_another_process() {
    if let Some(path) = told_as_child() {
        return hold(&path, Sharing::OneWriter);
    }
    let name = "locking::reader_follows_commits_of_another_process";
    let (_directory, path) = scratch();
    let mut child = TestChild::start(name, &path);
    assert_eq!(child.hear().as_deref(), Some("open"));
    let reader = Store::open_read_only(&path).unwrap();
    let snapshot = reader.snapshot().unwrap();
    for count in 3..10 {
        say_to(&mut child, b'+');
        assert_eq!(child.hear().as_deref(), Some("created"));
        assert_eq!(events(&reader), count);
        assert_whole(&runtime(&reader));
    }
    assert_eq!(
        snapshot
            .last_event_id(&runtime(&reader).runtime_id().unwrap())
            .unwrap(),
        Some(2)
    );
    assert_refuses_writes(&reader);
    // The writer is killed while it is idle: the reader still reads, and a new writer repairs.
    child.kill();
    assert_eq!(events(&reader), 9);
    drop((snapshot, reader));
    assert_refused!(
        Store::open_read_only(&path),
        RuntimeError::NeedsRepair { .. }
    );
    assert_eq!(events(&Store::open(&path).unwrap()), 9);
}

#[test]
fn exclusive_store_refuses_other_readers() {
    if let Some(path) = told_as_child() {
        return hold(&path, Sharing::Exclusive);
    }
    let name = "locking::exclusive_store_refuses_other_readers";
    let (_directory, path) = scratch();
    let mut child = TestChild::start(name, &path);
    assert_eq!(child.hear().as_deref(), Some("open"));
    let exclusive = Store::options().sharing(Sharing::Exclusive);
    assert_refused!(
        exclusive.clone().read_only(true).open(&path),
        RuntimeError::StoreLocked { .. }
    );
    assert_refused!(exclusive.open(&path), RuntimeError::StoreLocked { .. });
    say_to(&mut child, b'.');
    assert_eq!(child.hear().as_deref(), Some("closed"));
    let reader = exclusive.clone().read_only(true).open(&path).unwrap();
    assert_eq!(events(&reader), 2);
}

#[test]
fn killed_process_leaves_no_lock() {
    if let Some(path) = told_as_child() {
        return hold(&path, Sharing::OneWriter);
    }
    let name = "locking::killed_process_leaves_no_lock";
    let (_directory, path) = scratch();
    let mut child = TestChild::start(name, &path);
    assert_eq!(child.hear().as_deref(), Some("open"));
    child.kill();
    let store = Store::open(&path).unwrap();
    assert_eq!(events(&store), 2);
    assert_whole(&runtime(&store));
}

#[test]
fn failed_store_reopens_despite_leftover_handles() {
    for write in [false, true] {
        let (_directory, path) = scratch();
        let store = Store::options().cache_bytes(0).open(&path).unwrap();
        create(&runtime(&store));
        let leftover = runtime(&store);
        // The disk fails temporarily.
        let bytes = std::fs::read(&path).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path);
        file.unwrap().set_len(4096).unwrap();
        leftover.list_workers().unwrap_err();
        std::fs::write(&path, bytes).unwrap();
        assert_refused!(leftover.list_workers(), RuntimeError::StoreFailed { .. });
        if write {
            let request = CreateWorkerRequest::default();
            assert_refused!(
                leftover.create_worker(request),
                RuntimeError::StoreFailed { .. }
            );
        }
        let again = Store::open(&path).unwrap();
        assert_eq!(events(&again), 2);
        create(&runtime(&again));
        assert_whole(&runtime(&again));
        assert_refused!(leftover.list_workers(), RuntimeError::StoreClosed { .. });
    }
}

/// Between fork and exec a child has all open files of its parent, with their locks.
#[test]
fn forked_processes_hold_no_released_lock() {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let child = Command::new("true").stdin(Stdio::null()).spawn();
                child.unwrap().wait().unwrap();
            }
        });
        let rounds = std::panic::catch_unwind(|| {
            for round in 0..100 {
                let (_directory, path) = scratch();
                let store = Store::open(&path).unwrap_or_else(|error| panic!("{round}: {error}"));
                store.close().unwrap();
                Store::open(&path).unwrap_or_else(|error| panic!("{round}, again: {error}"));
                let to = path.with_extension("copy");
                Store::open(&path).unwrap().backup(&to).unwrap();
                Store::open(&to).unwrap_or_else(|error| panic!("{round}, copy: {error}"));
            }
        });
        over.store(true, Ordering::Relaxed);
        rounds.unwrap();
    });
}
