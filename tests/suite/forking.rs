//! A store belongs to the process that opened it: a fork can neither use nor unlock it.

use crate::support::{
    TestChild, all_events, assert_whole, cursor, named, runtime_id, say, scratch, tell,
    told_as_child, worker_ref,
};
use fork::Fork;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::{self, ExportOptions};
use redb_runtime_store::store::{Pending, Sharing, Snapshot, StoreOptions};
use redb_runtime_store::{EventFollower, Runtime, RuntimeError, Store};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longer than a fork needs, also on a busy machine. A fork that takes longer waits for a lock.
const LONG: Duration = Duration::from_secs(60);

const MODES: [&str; 5] = ["one", "many", "exclusive", "reader", "memory"];

fn open(mode: &str, path: &Path) -> Store {
    let options = |sharing| Store::options().sharing(sharing).open(path).unwrap();
    match mode {
        "one" => options(Sharing::OneWriter),
        "many" => options(Sharing::ManyWriters),
        "exclusive" => options(Sharing::Exclusive),
        "reader" => Store::open_read_only(path).unwrap(),
        "memory" => Store::in_memory().unwrap(),
        other => panic!("{other}"),
    }
}

/// Everything that a host can hold of a store.
struct Held {
    store: Store,
    runtime: Runtime,
    snapshot: Snapshot,
    follower: EventFollower,
    pending: Vec<Pending<u64>>,
}

impl Held {
    fn of(store: Store) -> Self {
        let runtime = store.runtime(named("r")).unwrap();
        let send = || {
            let worker = worker_ref("r", "worker-00000001");
            runtime.submit(move |tx| {
                Ok(tx
                    .send_input(&worker, WorkerInput::user("submitted"))?
                    .event_id)
            })
        };
        let pending = match store.is_read_only() {
            true => Vec::new(),
            false => (0..4).map(|_| send()).collect(),
        };
        Self {
            snapshot: store.snapshot().unwrap(),
            follower: runtime.follow_events(cursor("r", 1)).unwrap(),
            runtime,
            store,
            pending,
        }
    }

    /// Makes every call in a fork, and returns those that are not refused.
    fn call_all(mut self, directory: &Path) -> Vec<String> {
        let worker = worker_ref("r", "worker-00000001");
        let (store, runtime) = (&self.store, &self.runtime);
        let mut wrong = Vec::new();
        macro_rules! forked {
            ($($call:expr),* $(,)?) => {
                $(match $call.map(|_| ()) {
                    Err(RuntimeError::StoreForked { .. }) => {}
                    other => wrong.push(format!("{}: {other:?}", stringify!($call))),
                })*
            };
        }
        forked!(
            store.runtimes(),
            store.snapshot(),
            store.census(),
            store.verify(),
            store.backup(directory.join("backup")),
            runtime.runtime_id(),
            store.runtime_store(&runtime_id("r")),
            store.close(),
            runtime.summary(),
            runtime.list_workers(),
            runtime.worker_detail(&worker),
            runtime.event_cursor_now(),
            runtime.read_events(&cursor("r", 1), 1),
            self.snapshot.runtime_ids(),
            self.snapshot.worker(&worker),
            self.follower.next_batch(Duration::MAX),
        );
        if !store.is_read_only() {
            forked!(
                store.runtime(named("other")),
                store.compact(),
                store.bulk_load(|_| Ok::<(), RuntimeError>(())),
                runtime.create_worker(Default::default()),
                say(runtime, &worker, "in a fork"),
                runtime.stop_runtime(),
                runtime.transaction(|tx| tx.summary()),
                runtime.submit(|tx| tx.summary()).wait(),
                pollster::block_on(runtime.submit(|tx| tx.summary())),
            );
        }
        let exported = layout::export(store, directory.join("export"), ExportOptions::new());
        if exported.is_ok() {
            wrong.push("an export succeeded".to_owned());
        }
        for (index, pending) in self.pending.drain(..).enumerate() {
            // A submission whose result was known before the fork has it still.
            match if index % 2 == 0 {
                pending.wait()
            } else {
                pollster::block_on(pending)
            } {
                Err(RuntimeError::StoreForked { .. }) | Ok(_) => {}
                other => wrong.push(format!("pending: {other:?}")),
            }
        }
        drop(self);
        wrong
    }
}

/// Runs `child` in a fork, and returns its exit status, or `None` if it takes too long.
fn in_fork(child: impl FnOnce() -> i32) -> Option<i32> {
    match fork::fork().unwrap() {
        Fork::Child => {
            // The panic of a fork must not run the destructors of its parent's frames.
            let status = catch_unwind(AssertUnwindSafe(child));
            std::process::exit(status.unwrap_or(101));
        }
        Fork::Parent(pid) => wait_for(pid),
    }
}

/// The exit status of the fork `pid`; `None` if it takes too long.
fn wait_for(pid: i32) -> Option<i32> {
    let deadline = Instant::now() + LONG;
    while Instant::now() < deadline {
        if let Some(status) = fork::waitpid_nohang(pid).unwrap() {
            return Some(fork::WEXITSTATUS(status));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    None
}

/// The parent of the forks: another thread of it works all the while, so that its locks are often held.
fn be_parent(mode: &str, path: &Path) {
    let store = open(mode, path);
    let stopped = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let runtime = store.runtime(named("r")).unwrap();
        if !store.is_read_only() {
            runtime.create_worker(Default::default()).unwrap();
        }
        let worker = worker_ref("r", "worker-00000001");
        let stopped = &stopped;
        scope.spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match store_is_read_only(&runtime) {
                    true => drop(runtime.summary().unwrap()),
                    false => drop(say(&runtime, &worker, "in the parent").unwrap()),
                }
            }
        });
        for round in 0..8 {
            let held = Held::of(store.clone());
            let directory = path.with_extension(format!("fork-{round}"));
            std::fs::create_dir(&directory).unwrap();
            let status = in_fork(|| {
                let wrong = held.call_all(&directory);
                for call in &wrong {
                    tell(&format!("not refused in round {round}: {call}"));
                }
                i32::from(!wrong.is_empty())
            });
            if status != Some(0) {
                tell(&format!("round {round}: the fork ended with {status:?}"));
            }
        }
        stopped.store(true, Ordering::Relaxed);
    });
    tell("forked");
    let mut heard = [0];
    std::io::Read::read_exact(&mut std::io::stdin(), &mut heard).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    if !store.is_read_only() {
        // After this no submission of a round is under way.
        runtime.submit(|tx| tx.summary()).wait().unwrap();
    }
    assert_whole(&runtime);
    store.close().unwrap();
    tell("closed");
}

fn store_is_read_only(runtime: &Runtime) -> bool {
    matches!(
        runtime.create_worker(Default::default()),
        Err(RuntimeError::StoreReadOnly { .. })
    )
}

#[test]
fn fork_changes_neither_store_nor_locks() {
    let name = "forking::fork_changes_neither_store_nor_locks";
    if let Some(told) = told_as_child() {
        let mode = told.extension().unwrap().to_str().unwrap().to_owned();
        return be_parent(&mode, &told);
    }
    for mode in MODES {
        let (directory, _) = scratch();
        let path = directory.path().join(format!("store.{mode}"));
        let store = Store::open(&path).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        runtime.create_worker(Default::default()).unwrap();
        drop(runtime);
        store.close().unwrap();
        let mut parent = TestChild::start(name, &path);
        assert_eq!(parent.hear().as_deref(), Some("forked"), "{mode}");
        // The locks of the parent are there after all its forks dropped their handles.
        let opened = Store::options().sharing(Sharing::Exclusive).open(&path);
        match (mode, opened) {
            ("memory", Ok(_)) => {}
            (_, Err(RuntimeError::StoreLocked { .. })) => {}
            (_, other) => panic!("{mode}: {other:?}"),
        }
        let stdin = parent.child.stdin.as_mut().unwrap();
        std::io::Write::write_all(stdin, b".").unwrap();
        assert_eq!(parent.hear().as_deref(), Some("closed"), "{mode}");
        let store = StoreOptions::default()
            .verify_on_open(true)
            .open(&path)
            .unwrap();
        assert!(store.verify().unwrap().findings.is_empty(), "{mode}");
        assert!(!all_events(&store.runtime(named("r")).unwrap()).is_empty());
    }
}

/// A fork opens the store for itself, once its parent closed it.
#[test]
fn fork_opens_store_of_its_own() {
    let name = "forking::fork_opens_store_of_its_own";
    if let Some(path) = told_as_child() {
        let store = Store::open(&path).unwrap();
        let while_open = in_fork(|| match Store::open(&path) {
            Err(RuntimeError::StoreLocked { .. }) => 0,
            _ => 1,
        });
        tell(&format!("while open: {while_open:?}"));
        store.close().unwrap();
        let after = in_fork(|| {
            let opened = Store::open(&path).and_then(|own| {
                let runtime = own.runtime(named("r"))?;
                let worker = runtime.create_worker(Default::default())?.worker_ref;
                say(&runtime, &worker, "in a fork")?;
                // The handle of the parent stays the parent's.
                match store.runtimes() {
                    Err(RuntimeError::StoreForked { .. }) => own.close(),
                    _ => Err(RuntimeError::StatePoisoned),
                }
            });
            i32::from(opened.is_err())
        });
        tell(&format!("after: {after:?}"));
        return;
    }
    let (_directory, path) = scratch();
    let mut parent = TestChild::start(name, &path);
    assert_eq!(parent.hear().as_deref(), Some("while open: Some(0)"));
    assert_eq!(parent.hear().as_deref(), Some("after: Some(0)"));
    let store = Store::open(&path).unwrap();
    assert_eq!(all_events(&store.runtime(named("r")).unwrap()).len(), 3);
}

/// A fork returns from the closure of a transaction that it was made in.
#[test]
fn fork_inside_a_transaction_returns() {
    let name = "forking::fork_inside_a_transaction_returns";
    if let Some(path) = told_as_child() {
        let store = Store::open(&path).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let worker = runtime
            .create_worker(Default::default())
            .unwrap()
            .worker_ref;
        let stopped = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Its commits are under way at most forks: they are slow against a fork.
            scope.spawn(|| {
                while !stopped.load(Ordering::Relaxed) {
                    say(&runtime, &worker, "in the parent").unwrap();
                }
            });
            for _ in 0..16 {
                let mut status = None;
                let parent = std::process::id();
                let written = runtime.transaction(|tx| {
                    match fork::fork().unwrap() {
                        Fork::Child => {}
                        Fork::Parent(pid) => status = Some(pid),
                    }
                    tx.send_input(&worker, WorkerInput::user("x")).map(|_| ())
                });
                if std::process::id() != parent {
                    let is_refused = matches!(written, Err(RuntimeError::StoreForked { .. }));
                    std::process::exit(i32::from(!is_refused));
                }
                written.unwrap();
                let ended = status.map(wait_for);
                if ended != Some(Some(0)) {
                    tell(&format!("the fork ended with {ended:?}"));
                }
            }
            stopped.store(true, Ordering::Relaxed);
        });
        return tell("done");
    }
    let (_directory, path) = scratch();
    let mut parent = TestChild::start(name, &path);
    assert_eq!(parent.hear().as_deref(), Some("done"));
}
