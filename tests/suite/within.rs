//! Calls inside the closures and callbacks of a host: which are refused, and which go through.
//!
//! A hang fails its test after [`LONG`].

use crate::hosts::Shared;
use crate::layout_support::SMALL;
use crate::support::{Place, assert_refused, named, new_worker, say};
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::{ExportOptions, ImportOptions, export, import};
use redb_runtime_store::store::VerifyOptions;
use redb_runtime_store::{Pending, Runtime, RuntimeError, Store};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Runs `work` on a thread of its own.
pub(crate) fn in_time<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, is_done) = channel();
    thread::spawn(move || done.send(work()));
    let ended = is_done.recv_timeout(LONG);
    ended.unwrap_or_else(|error| panic!("{what}: no result: {error}"))
}

/// A store with one worker.
pub(crate) struct Host {
    kind: Shared,
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
    pub(crate) worker: WorkerRef,
    place: Place,
}

/// A host of a new store.
pub(crate) fn host(kind: Shared) -> Arc<Host> {
    let place = Place::new();
    let store = kind.open(&place).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    say(&runtime, &worker, "hello").unwrap();
    Arc::new(Host {
        kind,
        store,
        runtime,
        worker,
        place,
    })
}

impl Host {
    pub(crate) fn submit(&self) -> Pending<u64> {
        let worker = self.worker.clone();
        let input = WorkerInput::user("submitted");
        self.runtime
            .submit(move |tx| Ok(tx.send_input(&worker, input)?.event_id))
    }

    /// Submits an operation that wakes `waker` when it is on disk.
    pub(crate) fn submit_waking(&self, waker: &Waker) -> Pending<u64> {
        loop {
            let mut pending = self.submit();
            if poll(&mut pending, waker).is_pending() {
                return pending;
            }
        }
    }
}

pub(crate) fn poll<T>(pending: &mut Pending<T>, waker: &Waker) -> Poll<Result<T, RuntimeError>> {
    let mut context = std::task::Context::from_waker(waker);
    std::future::Future::poll(Pin::new(pending), &mut context)
}

/// What is called inside a closure or a callback, on the store of a host. The last one closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    Open,
    Write,
    Transaction,
    SubmitAndWait,
    Follow,
    Close,
}

const ACTIONS: [Action; 7] = [
    Action::Read,
    Action::Open,
    Action::Write,
    Action::Transaction,
    Action::SubmitAndWait,
    Action::Follow,
    Action::Close,
];

impl Action {
    fn run(self, host: &Host) -> Result<(), RuntimeError> {
        let runtime = &host.runtime;
        match self {
            Action::Read => runtime.worker_detail(&host.worker).map(drop),
            Action::Open => host.kind.open(&host.place).map(drop),
            Action::Write => say(runtime, &host.worker, "written").map(drop),
            Action::Transaction => runtime.transaction(|tx| tx.summary()).map(drop),
            Action::SubmitAndWait => host.submit().wait().map(drop),
            Action::Follow => {
                let now = runtime.event_cursor_now()?;
                let mut follower = runtime.follow_events(now)?;
                // Longer than a read takes: only what waits is refused.
                follower.next_batch(Duration::from_millis(300)).map(drop)
            }
            Action::Close => host.store.close(),
        }
    }
}

/// Runs an action the first time that it is called, and sends its outcome.
pub(crate) struct Call {
    pub(crate) host: Arc<Host>,
    action: Action,
    was_called: AtomicBool,
    ended: Sender<Result<(), RuntimeError>>,
}

impl Call {
    pub(crate) fn call(&self) {
        if !self.was_called.swap(true, Ordering::Relaxed) {
            let _ = self.ended.send(self.action.run(&self.host));
        }
    }

    fn waker(self: &Arc<Self>) -> Waker {
        waker(Arc::clone(self), Call::call)
    }
}

/// A waker that gives `with` to `work`.
pub(crate) fn waker<T: Send + Sync + 'static>(with: Arc<T>, work: fn(&T)) -> Waker {
    struct Works<T>(Arc<T>, fn(&T));
    impl<T: Send + Sync> Wake for Works<T> {
        fn wake(self: Arc<Self>) {
            (self.1)(&self.0);
        }
    }
    Waker::from(Arc::new(Works(with, work)))
}

/// Has the call made inside something.
pub(crate) type Inside = fn(&Arc<Call>);

fn transaction(call: &Arc<Call>) {
    let _ = call.host.runtime.transaction(|tx| {
        call.call();
        tx.summary()
    });
}

fn submitted(call: &Arc<Call>) {
    let inner = Arc::clone(call);
    let submitted = call.host.runtime.submit(move |tx| {
        inner.call();
        tx.summary()
    });
    submitted.wait().unwrap();
}

fn commit(call: &Arc<Call>) {
    let id = call.host.runtime.runtime_id().unwrap();
    let store = call.host.store.runtime_store(&id).unwrap();
    let committed = store.commit(|_| {
        call.call();
        Ok(())
    });
    committed.unwrap();
}

fn load(call: &Arc<Call>) {
    let loaded = call.host.store.bulk_load(|_| {
        call.call();
        Ok::<_, RuntimeError>(())
    });
    loaded.unwrap();
}

fn transaction_on_another_store(call: &Arc<Call>) {
    let other = Runtime::new_memory();
    let done = other.transaction(|tx| {
        call.call();
        tx.summary()
    });
    done.unwrap();
}

fn read_inside_transaction(call: &Arc<Call>) {
    let done = call.host.runtime.transaction(|tx| {
        export_elsewhere(call);
        tx.summary()
    });
    done.unwrap();
}

/// Has the call made by the progress callback of an export, on a thread that the export started.
fn export_elsewhere(call: &Arc<Call>) {
    let caller = thread::current().id();
    while !call.was_called.load(Ordering::Relaxed) {
        let inner = Arc::clone(call);
        let options = ExportOptions::new().on_progress(move |_| {
            if thread::current().id() != caller {
                inner.call();
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let _ = export(&call.host.store, directory.path(), &options);
    }
}

fn import_progress(call: &Arc<Call>) {
    let inner = Arc::clone(call);
    let options = ImportOptions::new().replace(true);
    let options = options.on_progress(move |_| inner.call());
    import(&call.host.store, SMALL, &options).unwrap();
}

pub(crate) fn only_reads(_: Shared, action: Action) -> bool {
    matches!(action, Action::Read | Action::Open)
}

/// Inside a closure, and inside a callback that holds writers up, calls that change a store or wait
/// for one are refused; reads go through, and so do opens that need not wait.
#[test]
fn holding_closures_refuse_changes_and_waits() {
    let contexts: [(&str, Inside); 6] = [
        ("a transaction", transaction),
        ("a submission", submitted),
        ("a commit of the persistence boundary", commit),
        ("a bulk load", load),
        (
            "a transaction on another store",
            transaction_on_another_store,
        ),
        ("an export inside a transaction", read_inside_transaction),
    ];
    assert_table(&contexts, Shared::ALL, only_reads);
}

#[test]
fn holding_callbacks_refuse_changes_and_waits() {
    assert_table(&[("an import", import_progress)], Shared::ALL, only_reads);
}

fn in_waker(call: &Arc<Call>) {
    let pending = call.host.submit_waking(&call.waker());
    drop(pending);
}

fn export_in_waker(call: &Arc<Call>) {
    let waker = waker(Arc::clone(call), |call| {
        export_elsewhere(&Arc::new(call.again()))
    });
    drop(call.host.submit_waking(&waker));
}

impl Call {
    /// The same call, for a closure that has no handle of it.
    fn again(&self) -> Self {
        Self {
            host: Arc::clone(&self.host),
            action: self.action,
            was_called: AtomicBool::new(false),
            ended: self.ended.clone(),
        }
    }
}

/// Occupies the background thread with a waker until the sender that it returns is dropped.
fn occupy(host: &Host) -> Sender<()> {
    let (entered, is_entered) = channel();
    let (go, gate) = channel::<()>();
    let gate: Arc<(Sender<()>, Mutex<Receiver<()>>)> = Arc::new((entered, Mutex::new(gate)));
    let blocks = waker(gate, |(entered, gate)| {
        assert_eq!(thread::current().name(), Some("runtime-store"));
        let _ = entered.send(());
        let _ = gate.lock().unwrap().recv();
    });
    drop(host.submit_waking(&blocks));
    is_entered.recv_timeout(LONG).unwrap();
    go
}

fn in_waker_of_a_write(call: &Arc<Call>) {
    let go = occupy(&call.host);
    drop(call.host.submit_waking(&call.waker()));
    say(&call.host.runtime, &call.host.worker, "commits it").unwrap();
    assert!(call.was_called.load(Ordering::Relaxed));
    drop(go);
}

fn in_waker_of_a_load(call: &Arc<Call>) {
    let go = occupy(&call.host);
    drop(call.host.submit_waking(&call.waker()));
    let loaded = call.host.store.bulk_load(|_| Ok::<_, RuntimeError>(()));
    loaded.unwrap();
    drop(go);
}

fn no_waits_for_background(kind: Shared, action: Action) -> bool {
    match action {
        Action::Follow => false,
        Action::SubmitAndWait => Shared::BY_CALLERS.contains(&kind),
        _ => true,
    }
}

/// A waker may change stores. On a background thread it may not wait for what such a thread does.
#[test]
fn wakers_refuse_only_waits_for_background() {
    let contexts: [(&str, Inside); 2] = [
        ("a waker", in_waker),
        ("an export inside a waker", export_in_waker),
    ];
    assert_table(&contexts, Shared::ALL, no_waits_for_background);
    let kinds = Shared::BY_CALLERS;
    let contexts: [(&str, Inside); 1] = [("a waker that a load would call", in_waker_of_a_load)];
    assert_table(&contexts, kinds, no_waits_for_background);
    let contexts: [(&str, Inside); 1] = [("a waker on a writer's thread", in_waker_of_a_write)];
    assert_table(&contexts, kinds, |_, _| true);
}

fn row_progress(call: &Arc<Call>) {
    let inner = Arc::clone(call);
    let options = VerifyOptions::new().on_progress(move |_| inner.call());
    let _ = call.host.store.verify_with(&options);
}

fn dry_run_progress(call: &Arc<Call>) {
    let inner = Arc::clone(call);
    let options = ImportOptions::new().dry_run(true);
    let _ = import(
        &call.host.store,
        SMALL,
        options.on_progress(move |_| inner.call()),
    );
}

fn events(call: &Arc<Call>) {
    let id = call.host.runtime.runtime_id().unwrap();
    let snapshot = call.host.store.snapshot().unwrap();
    let _ = snapshot.each_event(&id, |_| {
        call.call();
        Ok::<_, RuntimeError>(())
    });
}

#[test]
fn callbacks_over_a_snapshot_may_write() {
    let contexts: [(&str, Inside); 4] = [
        ("rows of a verification", row_progress),
        ("an export", export_elsewhere),
        ("a dry run", dry_run_progress),
        ("events of a snapshot", events),
    ];
    assert_table(&contexts, Shared::ALL, |_, _| true);
}

/// Makes every call inside every context, on a store of each kind. `is_allowed` says which have to go
/// through; the others have to be refused.
pub(crate) fn assert_table(
    contexts: &[(&'static str, Inside)],
    kinds: &[Shared],
    is_allowed: fn(Shared, Action) -> bool,
) {
    for (name, inside) in contexts {
        for kind in kinds {
            let host = host(*kind);
            for action in ACTIONS {
                let what = format!("{action:?} inside {name}, {kind:?}");
                let outcome = outcome(&what, &host, action, *inside);
                if is_allowed(*kind, action) {
                    outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
                } else {
                    let is_refused = matches!(outcome, Err(RuntimeError::InvalidRequest(_)));
                    assert!(is_refused, "{what}: {outcome:?}");
                }
            }
            let what = format!("after {name}, {kind:?}");
            let closed = Arc::clone(&host);
            let written = in_time(&what, move || say(&closed.runtime, &closed.worker, "after"));
            match is_allowed(*kind, Action::Close) {
                true => assert_refused!(written, RuntimeError::StoreClosed { .. }),
                false => drop(written.unwrap()),
            }
        }
    }
}

fn outcome(
    what: &str,
    host: &Arc<Host>,
    action: Action,
    inside: Inside,
) -> Result<(), RuntimeError> {
    let (ended, has_ended) = channel();
    let call = Arc::new(Call {
        host: Arc::clone(host),
        action,
        was_called: AtomicBool::new(false),
        ended,
    });
    in_time(what, move || inside(&call));
    let outcome = has_ended.recv_timeout(LONG);
    outcome.unwrap_or_else(|error| panic!("{what}: the call did not return: {error}"))
}
