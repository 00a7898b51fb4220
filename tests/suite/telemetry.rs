//! What a host's `tracing` subscriber sees.

use crate::support::{named, say};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::{RuntimeError, Store};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The fields of one span or event, as text; an event's message under `message`.
type Fields = BTreeMap<String, String>;

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Listener {
    spans: Arc<Mutex<Vec<(&'static str, Fields)>>>,
    events: Arc<Mutex<Vec<Fields>>>,
    next_id: Arc<AtomicU64>,
}

struct Visitor<'a>(&'a mut Fields);

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "redb_runtime_store"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        span.record(&mut Visitor(&mut fields));
        let name = span.metadata().name();
        self.spans.lock().unwrap().push((name, fields));
        Id::from_u64(self.next_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Visitor(&mut fields));
        self.events.lock().unwrap().push(fields);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What is told while `work` runs.
fn listen<T>(work: impl FnOnce() -> T) -> (T, Listener) {
    let listener = Listener::default();
    let done = tracing::subscriber::with_default(listener.clone(), work);
    (done, listener)
}

impl Listener {
    fn events(&self) -> Vec<Fields> {
        self.events.lock().unwrap().clone()
    }

    fn operations(&self) -> Vec<String> {
        let spans = self.spans.lock().unwrap();
        let writes = spans.iter().filter(|(name, _)| *name == "write");
        writes
            .map(|(_, fields)| fields["operation"].clone())
            .collect()
    }
}

fn number(fields: &Fields, name: &str) -> u64 {
    fields[name].parse().unwrap()
}

#[test]
fn each_operation_is_a_span_and_each_commit_an_event_with_its_size_and_time() {
    let runtime = Store::in_memory().unwrap().runtime(named("r")).unwrap();
    let ((), listener) = listen(|| {
        let worker = runtime
            .create_worker(CreateWorkerRequest::default())
            .unwrap();
        say(&runtime, &worker.worker_ref, &"x".repeat(1000)).unwrap();
    });
    assert_eq!(
        listener.operations(),
        ["\"create worker\"", "\"send input\""]
    );
    let commits = listener.events();
    assert_eq!(commits.len(), 2, "{commits:?}");
    for commit in &commits {
        assert_eq!(commit["message"], "committed");
        assert_eq!(number(commit, "operations"), 1);
        number(commit, "micros");
        assert!(commit.contains_key("path"));
    }
    assert!(number(&commits[1], "bytes") >= 1000);
    assert!(number(&commits[0], "bytes") < 1000 + number(&commits[1], "bytes"));
}

#[test]
fn a_transaction_is_one_operation_and_a_refused_one_no_commit() {
    let runtime = Store::in_memory().unwrap().runtime(named("r")).unwrap();
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
    assert_eq!(listener.events().len(), 1);
    let (refused, listener) = listen(|| say(&runtime, &worker, " "));
    assert!(matches!(refused, Err(RuntimeError::InvalidRequest(_))));
    assert_eq!(listener.operations(), ["\"send input\""]);
    assert_eq!(listener.events(), Vec::<Fields>::new());
}

#[test]
fn a_load_is_a_commit_whose_bytes_are_not_known() {
    let store = Store::in_memory().unwrap();
    let ((), listener) = listen(|| store.bulk_load(|_| Ok::<_, RuntimeError>(())).unwrap());
    let commits = listener.events();
    assert_eq!(commits.len(), 1);
    assert_eq!(number(&commits[0], "operations"), 1);
    assert!(!commits[0].contains_key("bytes"));
}
