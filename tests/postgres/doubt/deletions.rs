//! Deletions that an outage has interrupted between two commits.

use crate::hosts::{Host, SHARED, assert_refused, named, options, say};
use postgres_tests::proxy::{Fault, Point};
use redb_runtime_store::identity::{RuntimeId, WorkerRef};
use redb_runtime_store::store::{DeleteRuntimeOptions, PersistedRuntimeSnapshot, VerifyKind};
use redb_runtime_store::{PostgresOptions, Runtime, RuntimeError, Store};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

fn brief(options: PostgresOptions) -> PostgresOptions {
    options.outage_timeout(Duration::from_millis(500))
}

/// A host whose worker has more than three commits remove, and has ended.
fn with_large_worker() -> Host {
    let host = Host::new(brief);
    for _ in 0..7 {
        host.say(&"x".repeat(2 << 20)).unwrap();
    }
    host.runtime.stop_worker(&host.worker, None).unwrap();
    host
}

/// Has the connection of `host` end before the second commit of `delete`, until the proxy is restored.
fn interrupt<T: std::fmt::Debug>(host: &Host, delete: impl FnOnce() -> Result<T, RuntimeError>) {
    let second = Point {
        nth: 2,
        ..Point::COMMIT_LOST
    };
    host.proxy.plan(second, Fault::Outage);
    let deleted = delete();
    assert!(deleted.is_err(), "{deleted:?}");
    host.proxy.restore();
}

fn entries(host: &Host) -> u64 {
    let count = format!("SELECT count(*) FROM {}.transcripts", host.schema);
    SHARED.primary().ask(&count).parse().unwrap()
}

/// A store of the same schema that finishes nothing.
fn reading(host: &Host) -> Store {
    Store::connect(options(&SHARED.url(), &host.schema).read_only(true)).unwrap()
}

fn assert_sound(store: &Store, is_unfinished: bool) {
    let report = store.verify().unwrap();
    assert!(report.is_clean() && report.warnings == 0, "{report:?}");
    let mut kinds = report.findings.iter().map(|finding| finding.kind);
    let is_reported = kinds.any(|kind| kind == VerifyKind::UnfinishedDeletion);
    assert_eq!(is_reported, is_unfinished);
}

fn delete_runtime(store: &Store) -> Result<(), RuntimeError> {
    let options = DeleteRuntimeOptions::new().even_if_running(true);
    store.delete_runtime_with(&RuntimeId::new("r").unwrap(), &options)
}

fn assert_gone(runtime: &Runtime, worker: &WorkerRef) {
    let detail = runtime.worker_detail(worker);
    assert_refused!(detail, RuntimeError::WorkerNotFound { .. });
}

#[test]
fn interrupted_deletion_is_hidden_and_can_be_repeated() {
    let host = with_large_worker();
    interrupt(&host, || host.runtime.delete_worker(&host.worker));
    assert!(entries(&host) > 0);
    let reader = reading(&host);
    assert_gone(&reader.runtime(named("r")).unwrap(), &host.worker);
    assert_sound(&reader, true);
    assert!(host.runtime.delete_worker(&host.worker).unwrap().deleted);
    let again = host.runtime.delete_worker(&host.worker);
    assert_refused!(again, RuntimeError::WorkerNotFound { .. });
    assert_eq!(entries(&host), 0);
    assert_sound(&reader, false);
}

#[test]
fn load_replaces_what_a_deletion_has_left() {
    let host = with_large_worker();
    let store = host.runtime.store();
    interrupt(&host, || delete_runtime(store));
    assert!(entries(&host) > 0);
    let id = RuntimeId::new("r").unwrap();
    store
        .bulk_load(|load| load.put_runtime(PersistedRuntimeSnapshot::new(id).into()))
        .unwrap();
    assert_eq!(entries(&host), 0);
    assert_eq!(host.runtime.list_workers().unwrap(), []);
    assert_sound(&reading(&host), false);
}

#[test]
fn writes_of_another_host_finish_a_deletion() {
    let host = with_large_worker();
    let store = Store::connect(options(&SHARED.url(), &host.schema)).unwrap();
    let other = store.runtime(named("other")).unwrap();
    let worker = other.create_worker(Default::default()).unwrap().worker_ref;
    interrupt(&host, || delete_runtime(host.runtime.store()));
    let marks = format!(
        "SELECT count(*) FROM {}.tombstones WHERE runtime = ''",
        host.schema
    );
    let began = Instant::now();
    while SHARED.primary().ask(&marks) != "0" {
        assert!(began.elapsed() < PATIENCE, "the deletion is not finished");
        say(&other, &worker, "hello").unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    assert_sound(&store, false);
    assert_eq!(store.runtimes().unwrap().len(), 1);
}

#[test]
fn next_host_finishes_a_deletion_when_it_connects() {
    let host = with_large_worker();
    interrupt(&host, || delete_runtime(host.runtime.store()));
    let store = Store::connect(options(&SHARED.url(), &host.schema)).unwrap();
    assert_eq!(entries(&host), 0);
    assert_sound(&store, false);
}
