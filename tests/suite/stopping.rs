//! A process that is stopped within a lock on the file: others wait for it up to a limit.
//!
//! The children stop themselves, right after a lock was granted, as a debugger or a freezer may stop them.

use crate::support::{
    TestChild, all_events, assert_refused, assert_whole, named, say, scratch, tell, told_as_child,
    worker_ref,
};
#[cfg(feature = "tracing")]
use crate::telemetry::{Fields, listen, lock_waits};
use redb_runtime_store::store::{FileAccess, Sharing, StoreOptions};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use rustix::process::{Pid, Signal, getpid, kill_process};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Longer than the operations here take together, also on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// How long commits here wait for a lock.
const LIMIT: Duration = Duration::from_millis(150);

/// More locks than a child takes to open the store and to read or write once.
const MANY_LOCKS: usize = 100;

fn sharing_named(name: &str) -> Sharing {
    match name {
        "one" => Sharing::OneWriter,
        "many" => Sharing::ManyWriters,
        other => panic!("{other}"),
    }
}

/// Runs `operation`, and panics if it takes longer than [`LONG`].
fn watched<T: Send>(operation: impl FnOnce() -> T + Send) -> T {
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("an operation waits without end");
                std::process::abort();
            }
        });
        let result = operation();
        drop(done);
        result
    })
}

fn pid(child: &TestChild) -> Pid {
    Pid::from_raw(i32::try_from(child.child.id()).unwrap()).unwrap()
}

/// Returns once the child is stopped.
fn wait_until_stopped(child: &TestChild) {
    let state = format!("/proc/{}/stat", child.child.id());
    watched(|| {
        loop {
            let stat = std::fs::read_to_string(&state).unwrap();
            let after_name = stat.rsplit(')').next().unwrap().trim_start();
            match after_name.as_bytes()[0] {
                b'T' => return,
                b'Z' => panic!("the child has ended"),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    });
}

/// Stops this process until [`go_on`]. The signal may reach another thread first, and this one runs on for
/// a moment; so it also waits for a byte.
fn stop_this_process() {
    kill_process(getpid(), Signal::STOP).unwrap();
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

fn send_byte(child: &mut TestChild) {
    child.child.stdin.as_mut().unwrap().write_all(b"+").unwrap();
}

/// Continues a child that stopped itself.
fn go_on(child: &mut TestChild) {
    kill_process(pid(child), Signal::CONT).unwrap();
    send_byte(child);
}

/// Options that stop the process at its lock number `at`.
fn stopping_at(options: StoreOptions, at: usize) -> StoreOptions {
    let locks = AtomicUsize::new(0);
    options.on_access(move |access| {
        if access == FileAccess::Locked && locks.fetch_add(1, Ordering::Relaxed) + 1 == at {
            stop_this_process();
        }
        Ok(())
    })
}

/// The path that a child gets. It names the store, the mode and the lock: `store.MODE.LOCK`.
fn told_of_child(store: &Path, mode: &str, lock: usize) -> PathBuf {
    let mut told = store.as_os_str().to_owned();
    told.push(format!(".{mode}.{lock}"));
    told.into()
}

/// Reads or writes once and is stopped at a lock; then marks that it reached its end, and stops again.
fn be_stopped_at_lock(told: &Path) {
    let lock = told.extension().unwrap().to_str().unwrap().parse().unwrap();
    let mode = told.with_extension("");
    let store = mode.with_extension("");
    let mode = mode.extension().unwrap().to_str().unwrap().to_owned();
    let options = match mode.as_str() {
        "read" => Store::options().read_only(true),
        sharing => Store::options().sharing(sharing_named(sharing)),
    };
    let opened = stopping_at(options.lock_timeout(LONG), lock)
        .open(store)
        .unwrap();
    let runtime = opened.runtime(named("r")).unwrap();
    for (event, id) in all_events(&runtime).iter().zip(1..) {
        assert_eq!(event.id, id, "an event is missing");
    }
    if mode != "read" {
        say(
            &runtime,
            &worker_ref("r", "worker-00000001"),
            "of the child",
        )
        .unwrap();
    }
    drop(runtime);
    opened.close().unwrap();
    std::fs::write(told, "ended").unwrap();
    stop_this_process();
    tell("ended");
}

fn open(path: &Path, sharing: Sharing) -> (Store, Runtime) {
    let options = Store::options().sharing(sharing).lock_timeout(LONG);
    let store = options.commit_lock_timeout(LIMIT).open(path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    if runtime.list_workers().unwrap().is_empty() {
        runtime.create_worker(Default::default()).unwrap();
    }
    (store, runtime)
}

/// Stops a child in `mode` at each of its locks in turn, and writes meanwhile. Returns how many of the
/// writes reached the limit.
fn stop_at_each_lock(test: &str, mode: &str, sharing: Sharing) -> usize {
    let (_directory, path) = scratch();
    let (mut store, mut runtime) = open(&path, sharing);
    let worker = worker_ref("r", "worker-00000001");
    let (mut acknowledged, mut limited, mut of_children) = (0, 0, 0);
    for lock in 1..MANY_LOCKS {
        let told = told_of_child(&path, mode, lock);
        let mut child = TestChild::start(test, &told);
        wait_until_stopped(&child);
        let is_last = told.exists();
        match watched(|| say(&runtime, &worker, "of the parent")) {
            Ok(_) => acknowledged += 1,
            Err(RuntimeError::StoreLocked { holder, .. }) => {
                limited += 1;
                assert!(holder.is_none_or(|holder| holder == child.child.id()));
            }
            Err(other) => panic!("{mode}, lock {lock}: {other:?}"),
        }
        go_on(&mut child);
        if !is_last {
            wait_until_stopped(&child);
            go_on(&mut child);
        }
        assert_eq!(
            child.hear().as_deref(),
            Some("ended"),
            "{mode}, lock {lock}"
        );
        of_children += usize::from(mode != "read");
        // A commit that had begun ends the store. With several writers only the turn was refused, or the
        // same.
        match watched(|| say(&runtime, &worker, "of the parent")) {
            Ok(_) => acknowledged += 1,
            Err(RuntimeError::StoreFailed { .. }) => {
                drop(runtime);
                (store, runtime) = open(&path, sharing);
            }
            Err(other) => panic!("{mode}, after lock {lock}: {other:?}"),
        }
        // The runtime, its worker, and the inputs.
        assert_eq!(all_events(&runtime).len(), 2 + acknowledged + of_children);
        if is_last {
            assert_whole(&runtime);
            assert!(store.verify().unwrap().findings.is_empty());
            return limited;
        }
    }
    panic!("the child takes more than {MANY_LOCKS} locks");
}

#[test]
fn stopped_reader_holds_commits_up_to_the_limit() {
    if let Some(told) = told_as_child() {
        return be_stopped_at_lock(&told);
    }
    let name = "stopping::stopped_reader_holds_commits_up_to_the_limit";
    assert!(stop_at_each_lock(name, "read", Sharing::OneWriter) > 0);
}

#[test]
fn stopped_writer_holds_others_up_to_the_limit() {
    if let Some(told) = told_as_child() {
        return be_stopped_at_lock(&told);
    }
    let name = "stopping::stopped_writer_holds_others_up_to_the_limit";
    assert!(stop_at_each_lock(name, "many", Sharing::ManyWriters) > 0);
}

/// A reader that is stopped at its first lock after it heard something.
fn be_stopped_when_told(path: &Path) {
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&is_armed);
    let options = Store::options().read_only(true).on_access(move |access| {
        if access == FileAccess::Locked && armed.swap(false, Ordering::Relaxed) {
            stop_this_process();
        }
        Ok(())
    });
    let store = options.open(path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    tell("open");
    std::io::stdin().read_exact(&mut [0]).unwrap();
    is_armed.store(true, Ordering::Relaxed);
    // The commit is served that was the last one whose mark was cleared.
    let seen = all_events(&runtime).len();
    tell(&format!("read {seen}"));
    std::io::stdin().read_exact(&mut [0]).unwrap();
    let seen = all_events(&runtime).len();
    tell(&format!("read {seen}"));
}

/// A writer whose next commit has a stopped reader within its last sync: the mark of the commit cannot be
/// cleared.
fn with_stopped_reader(
    test: &str,
    sharing: Sharing,
    then: impl FnOnce(&Path, Store, Runtime, TestChild),
) {
    let (_directory, path) = scratch();
    drop(open(&path, sharing));
    let (reader_in, reader_stopped) = (mpsc::channel(), mpsc::channel());
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    let (tell_reader, is_stopped) = (reader_in.0, std::sync::Mutex::new(reader_stopped.1));
    let options = Store::options().sharing(sharing).on_access(move |access| {
        // Counted down: the last sync of a commit is the one of the header.
        let is_last = access == FileAccess::Sync
            && counted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            }) == Ok(1);
        if is_last {
            tell_reader.send(()).unwrap();
            is_stopped.lock().unwrap().recv().unwrap();
        }
        Ok(())
    });
    let store = options.commit_lock_timeout(LIMIT).open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let mut child = TestChild::start(test, &path);
    assert_eq!(child.hear().as_deref(), Some("open"));
    let of_commit = match sharing {
        Sharing::ManyWriters => 2,
        _ => 1,
    };
    syncs.store(of_commit, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| {
            watched(|| {
                say(
                    &runtime,
                    &worker_ref("r", "worker-00000001"),
                    "acknowledged",
                )
            })
        });
        reader_in.1.recv_timeout(LONG).unwrap();
        send_byte(&mut child);
        wait_until_stopped(&child);
        reader_stopped.0.send(()).unwrap();
        sent.join().unwrap().unwrap();
    });
    then(&path, store, runtime, child);
}

#[test]
fn synced_commit_is_acknowledged_despite_stopped_reader() {
    if let Some(path) = told_as_child() {
        return be_stopped_when_told(&path);
    }
    let name = "stopping::synced_commit_is_acknowledged_despite_stopped_reader";
    let worker = worker_ref("r", "worker-00000001");
    for sharing in [Sharing::OneWriter, Sharing::ManyWriters] {
        // The reader continues: the next commit clears the mark of the one before.
        with_stopped_reader(name, sharing, |path, store, runtime, mut child| {
            go_on(&mut child);
            assert_eq!(child.hear().as_deref(), Some("read 2"), "{sharing:?}");
            say(&runtime, &worker, "next").unwrap();
            send_byte(&mut child);
            assert_eq!(child.hear().as_deref(), Some("read 4"), "{sharing:?}");
            assert!(store.verify().unwrap().findings.is_empty());
            store.close().unwrap();
            let store = Store::open_read_only(path).unwrap();
            assert_eq!(all_events(&store.runtime(named("r")).unwrap()).len(), 4);
        });
        // The reader stays stopped: the next commit reaches its limit and is not there.
        with_stopped_reader(name, sharing, |path, store, runtime, mut child| {
            match sharing {
                // redb reads the header of the file for every read, and would find the commit before.
                Sharing::ManyWriters => assert_refused!(
                    watched(|| runtime.summary()),
                    RuntimeError::StoreLocked { .. }
                ),
                _ => assert_eq!(all_events(&runtime).len(), 3),
            }
            assert_refused!(
                watched(|| say(&runtime, &worker, "refused")),
                RuntimeError::StoreLocked { .. }
            );
            child.kill();
            drop((store, runtime));
            let (store, runtime) = open(path, sharing);
            assert_eq!(all_events(&runtime).len(), 3, "{sharing:?}");
            assert_whole(&runtime);
            assert!(store.verify().unwrap().findings.is_empty());
        });
        // The host is killed while the mark is there: a repair keeps the commit.
        with_stopped_reader(name, sharing, |path, store, runtime, mut child| {
            let copy = path.with_extension("copy");
            std::fs::copy(path, &copy).unwrap();
            child.kill();
            drop((store, runtime));
            let (_store, runtime) = open(&copy, sharing);
            assert_eq!(all_events(&runtime).len(), 3, "{sharing:?}");
            assert_whole(&runtime);
        });
    }
}

/// After a second the holder of the lock is reported, and after the limit it is named in the error.
#[cfg(feature = "tracing")]
#[test]
fn holder_of_a_lock_is_traced_and_named() {
    if let Some(told) = told_as_child() {
        return be_stopped_at_lock(&told);
    }
    let name = "stopping::holder_of_a_lock_is_traced_and_named";
    let (_directory, path) = scratch();
    drop(open(&path, Sharing::OneWriter));
    let options = Store::options().commit_lock_timeout(Duration::from_millis(1200));
    let store = options.open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    for lock in 1..MANY_LOCKS {
        let mut child = TestChild::start(name, &told_of_child(&path, "read", lock));
        wait_until_stopped(&child);
        let worker = worker_ref("r", "worker-00000001");
        let (sent, _) = listen(|| watched(|| say(&runtime, &worker, "x")));
        let Err(error) = sent else {
            // No commit waits for this lock.
            child.kill();
            continue;
        };
        let pid = child.child.id();
        assert!(
            matches!(error, RuntimeError::StoreLocked { holder: Some(holder), .. } if holder == pid),
            "{error:?}"
        );
        let reported = |fields: &Fields| {
            fields["level"] == "WARN" && fields.get("holder") == Some(&pid.to_string())
        };
        watched(|| {
            while !lock_waits().iter().any(reported) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        child.kill();
        return;
    }
    panic!("no lock of a reader held up a commit");
}

/// A compaction takes its locks before it changes anything: the limit ends it, and not the store.
#[test]
fn compaction_beyond_the_limit_keeps_the_store() {
    if let Some(told) = told_as_child() {
        return be_stopped_at_lock(&told);
    }
    let name = "stopping::compaction_beyond_the_limit_keeps_the_store";
    let (_directory, path) = scratch();
    let (store, runtime) = open(&path, Sharing::OneWriter);
    for lock in 1..MANY_LOCKS {
        let mut child = TestChild::start(name, &told_of_child(&path, "read", lock));
        wait_until_stopped(&child);
        let compacted = watched(|| store.compact());
        child.kill();
        match compacted {
            Err(RuntimeError::StoreLocked { .. }) => {
                say(&runtime, &worker_ref("r", "worker-00000001"), "x").unwrap();
                store.compact().unwrap();
                assert!(store.verify().unwrap().findings.is_empty());
                return;
            }
            // The child holds another lock, or one of a snapshot.
            Ok(_) | Err(RuntimeError::StoreBusy { .. }) => {}
            Err(other) => panic!("lock {lock}: {other:?}"),
        }
    }
    panic!("no lock of a reader held up a compaction");
}
