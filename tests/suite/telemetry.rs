//! Spans and events for a host's `tracing` subscriber.
//!
//! `tracing` caches for the whole process whether a subscriber wants a span or event, and other tests
//! run at the same time in threads without one. So one subscriber serves all threads, and passes spans
//! and events to the listener of the current thread.

use crate::support::{fresh, named, on_both, say};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::{Runtime, RuntimeError};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, Once};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The fields of one span or event, as text; an event's message under `message`, its level under
/// `level`.
pub(crate) type Fields = BTreeMap<String, String>;

/// The spans and events of one thread.
#[derive(Default)]
pub(crate) struct Listener {
    spans: Vec<(&'static str, Fields)>,
    pub(crate) events: Vec<Fields>,
    /// Called after the next event.
    then: Option<Box<dyn FnOnce()>>,
}

thread_local! {
    /// The listener of this thread.
    static LISTENER: RefCell<Option<Listener>> = const { RefCell::new(None) };
}

/// The subscriber: passes everything to the listener of the thread.
struct Switchboard;

/// Runs `tell` with the listener of this thread, if it has one.
fn tell(tell: impl FnOnce(&mut Listener)) {
    LISTENER.with_borrow_mut(|listener| {
        if let Some(listener) = listener {
            tell(listener);
        }
    });
}

/// The reports of waits for locks, of all threads.
static LOCK_WAITS: Mutex<Vec<Fields>> = Mutex::new(Vec::new());

pub(crate) fn lock_waits() -> MutexGuard<'static, Vec<Fields>> {
    LOCK_WAITS.lock().unwrap()
}

struct Visitor<'a>(&'a mut Fields);

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl Subscriber for Switchboard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "redb_runtime_store"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        tell(|listener| {
            let mut fields = Fields::new();
            span.record(&mut Visitor(&mut fields));
            listener.spans.push((span.metadata().name(), fields));
        });
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Visitor(&mut fields));
        let level = event.metadata().level().to_string();
        fields.insert("level".to_owned(), level);
        if fields["message"] == "waiting for a lock" {
            // It comes from a thread of its own, to which no listener belongs.
            lock_waits().push(fields);
            return;
        }
        tell(|listener| listener.events.push(fields));
        let then = LISTENER.with_borrow_mut(|listener| listener.as_mut()?.then.take());
        if let Some(then) = then {
            then();
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The spans and events of this thread while `work` runs.
pub(crate) fn listen<T>(work: impl FnOnce() -> T) -> (T, Listener) {
    listen_then(None, work)
}

/// The spans and events of this thread while `work` runs. `then` runs after the first event.
fn listen_then<T>(then: Option<Box<dyn FnOnce()>>, work: impl FnOnce() -> T) -> (T, Listener) {
    static SWITCHBOARD: Once = Once::new();
    SWITCHBOARD.call_once(|| tracing::subscriber::set_global_default(Switchboard).unwrap());
    LISTENER.set(Some(Listener {
        then,
        ..Listener::default()
    }));
    let done = work();
    (done, LISTENER.take().unwrap())
}

impl Listener {
    fn operations(&self) -> Vec<String> {
        let writes = self.spans.iter().filter(|(name, _)| *name == "write");
        writes
            .map(|(_, fields)| fields["operation"].clone())
            .collect()
    }
}

pub(crate) fn number(fields: &Fields, name: &str) -> u64 {
    fields[name].parse().unwrap()
}

#[test]
fn operations_are_spans_and_commits_events() {
    on_both(|host| assert_traces(&host.runtime));
}

fn assert_traces(runtime: &Runtime) {
    let ((), listener) = listen(|| {
        let worker = runtime
            .create_worker(CreateWorkerRequest::default())
            .unwrap();
        say(runtime, &worker.worker_ref, &"x".repeat(1000)).unwrap();
    });
    assert_eq!(
        listener.operations(),
        ["\"create worker\"", "\"send input\""]
    );
    let commits = listener.events;
    assert_eq!(commits.len(), 2, "{commits:?}");
    for commit in &commits {
        assert_eq!(commit["message"], "committed");
        assert_eq!(commit["level"], "DEBUG");
        assert_eq!(number(commit, "operations"), 1);
        number(commit, "micros");
        assert!(commit.contains_key("path"));
    }
    assert!(number(&commits[1], "bytes") >= 1000);
    assert!(number(&commits[0], "bytes") < 1000 + number(&commits[1], "bytes"));
}

#[test]
fn transaction_traces_as_one_operation() {
    on_both(|host| assert_one_operation(&host.runtime));
}

fn assert_one_operation(runtime: &Runtime) {
    let (worker, listener) = listen(|| {
        runtime
            .transaction(|tx| {
                let worker = tx.create_worker(CreateWorkerRequest::default())?;
                tx.create_worker(CreateWorkerRequest::default())?;
                Ok(worker.worker_ref)
            })
            .unwrap()
    });
    assert_eq!(listener.operations(), ["\"transaction\""]);
    assert_eq!(listener.events.len(), 1);
    let (refused, listener) = listen(|| say(runtime, &worker, " "));
    assert!(matches!(refused, Err(RuntimeError::InvalidRequest(_))));
    assert_eq!(listener.operations(), ["\"send input\""]);
    assert_eq!(listener.events, Vec::<Fields>::new());
}

#[test]
fn bulk_load_traces_without_bytes() {
    let store = fresh();
    let ((), listener) = listen(|| store.bulk_load(|_| Ok::<_, RuntimeError>(())).unwrap());
    let commits = listener.events;
    assert_eq!(commits.len(), 1);
    assert_eq!(number(&commits[0], "operations"), 1);
    assert!(!commits[0].contains_key("bytes"));
}

/// The turn of a load is over when the load is reported.
#[test]
fn subscriber_may_write_after_a_load() {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let store = fresh();
        let runtime = store.runtime(named("r")).unwrap();
        let request = CreateWorkerRequest::default();
        let worker = runtime.create_worker(request).unwrap().worker_ref;
        let then = Box::new(move || done.send(say(&runtime, &worker, "reported")).unwrap());
        let load = || store.bulk_load(|_| Ok::<_, RuntimeError>(()));
        listen_then(Some(then), load).0.unwrap();
    });
    let written = is_done.recv_timeout(std::time::Duration::from_secs(60));
    written.expect("it waits for the load").unwrap();
}
