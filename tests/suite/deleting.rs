//! Deletion of workers and runtimes.

use crate::layout_support::{content, exported, strict, tree};
use crate::support::{
    Host, Place, all_entries, all_events, fresh, full_request, named, new_worker, on_both,
    runtime_id, say, worker_ref, worker_snapshot,
};
use redb_runtime_store::catalog::{CreateWorkerRequest, WorkerStatus};
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::FindingKind;
use redb_runtime_store::management::{RuntimeLimits, RuntimeStatus};
use redb_runtime_store::observation::RuntimeEventKind;
use redb_runtime_store::store::{VerifyKind, VerifyReport};
use redb_runtime_store::{Runtime, RuntimeError, Severity, Store};
use std::fs;
use std::path::Path;

/// A worker that said `texts`, and was stopped.
pub(crate) fn stopped_worker(runtime: &Runtime, texts: &[&str]) -> WorkerRef {
    let worker = new_worker(runtime);
    for text in texts {
        say(runtime, &worker, text).unwrap();
    }
    runtime.stop_worker(&worker, None).unwrap();
    worker
}

/// Asserts that a verification finds nothing, also no warning.
pub(crate) fn assert_sound(store: &Store) -> VerifyReport {
    let report = store.verify().unwrap();
    let found = report.findings.iter();
    let wrong: Vec<_> = found
        .filter(|finding| finding.kind != VerifyKind::PagesNotChecked)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    report
}

pub(crate) fn assert_invalid<T: std::fmt::Debug>(result: Result<T, RuntimeError>, part: &str) {
    match result {
        Err(RuntimeError::InvalidRequest(message)) if message.contains(part) => {}
        other => panic!("{other:?} does not say {part:?}"),
    }
}

pub(crate) fn assert_no_worker<T: std::fmt::Debug>(result: Result<T, RuntimeError>) {
    assert!(
        matches!(result, Err(RuntimeError::WorkerNotFound { .. })),
        "{result:?}"
    );
}

pub(crate) fn assert_no_runtime<T: std::fmt::Debug>(result: Result<T, RuntimeError>) {
    assert!(
        matches!(result, Err(RuntimeError::RuntimeNotFound { .. })),
        "{result:?}"
    );
}

/// The number of rows of a table.
pub(crate) fn rows_of(store: &Store, table: &str) -> u64 {
    let census = store.census().unwrap();
    let table = census.tables.iter().find(|census| census.table == table);
    table.unwrap().rows
}

#[test]
fn deleted_worker_leaves_its_events_and_counts() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = new_worker(&runtime);
        let other = new_worker(&runtime);
        say(&runtime, &worker, "a secret").unwrap();
        say(&runtime, &other, "kept").unwrap();
        assert_invalid(runtime.delete_worker(&worker), "is running");
        runtime
            .cancel_worker(&worker, Some("enough".to_owned()))
            .unwrap();
        let before = all_events(&runtime);
        let deleted = runtime.delete_worker(&worker).unwrap();
        assert_eq!(
            (&deleted.runtime_id, &deleted.worker_id, deleted.deleted),
            (&worker.runtime_id, &worker.worker_id, true)
        );
        for _ in 0..2 {
            let runtime = host.runtime.clone();
            let events = all_events(&runtime);
            assert_eq!(events[..before.len()], before);
            let last = &events[before.len()..];
            assert_eq!(last.len(), 1);
            assert_eq!(last[0].kind, RuntimeEventKind::WorkerDeleted);
            assert_eq!(last[0].message, "worker deleted");
            assert_eq!(last[0].worker_ref.as_ref(), Some(&worker));
            assert_no_worker(runtime.worker_detail(&worker));
            assert_no_worker(runtime.delete_worker(&worker));
            assert_no_worker(say(&runtime, &worker, "x"));
            assert_no_worker(runtime.stop_worker(&worker, None));
            let listed = runtime.list_workers().unwrap();
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0].worker_ref, other);
            assert_eq!(all_entries(&runtime, &other).len(), 1);
            let summary = runtime.summary().unwrap();
            assert_eq!(
                (summary.worker_count, summary.cancelled_worker_count),
                (1, 0)
            );
            let diagnostics = runtime.diagnostics().unwrap();
            assert_eq!(diagnostics.len(), summary.diagnostic_count);
            let named = |diagnostic: &redb_runtime_store::diagnostics::RuntimeDiagnostic| {
                diagnostic.worker_ref == Some(other.clone())
            };
            assert!(diagnostics.iter().all(named), "{diagnostics:?}");
            assert_eq!(diagnostics.len(), 2);
            assert_sound(runtime.store());
            host.reopen();
        }
    });
}

#[test]
fn maintenance_works_on_a_stopped_runtime() {
    on_both(|host: &mut Host| {
        let worker = new_worker(&host.runtime);
        host.runtime.stop_runtime().unwrap();
        host.runtime.delete_worker(&worker).unwrap();
        host.runtime
            .set_display_name(Some("archived".to_owned()))
            .unwrap();
        let limits = RuntimeLimits {
            max_transcript_projection_items: 3,
            max_event_batch_items: 300,
        };
        host.runtime.set_limits(limits).unwrap();
        host.reopen();
        let summary = host.runtime.summary().unwrap();
        assert_eq!(summary.status, RuntimeStatus::Stopped);
        assert_eq!(summary.display_name.as_deref(), Some("archived"));
        assert_eq!((summary.limits, summary.worker_count), (limits, 0));
        assert_sound(host.runtime.store());
    });
}

#[test]
fn deleted_id_is_never_given_again() {
    on_both(|host: &mut Host| {
        let store = host.runtime.store().clone();
        let ahead = worker_ref("r", "worker-00000002");
        store
            .runtime_store(&runtime_id("r"))
            .unwrap()
            .commit(|tx| {
                let mut snapshot = worker_snapshot(&ahead, 1);
                snapshot.status = WorkerStatus::Stopped;
                tx.write_worker_snapshot(&snapshot)
            })
            .unwrap();
        host.runtime.delete_worker(&ahead).unwrap();
        host.reopen();
        let next = || new_worker(&host.runtime).worker_id;
        assert_eq!(next().as_str(), "worker-00000001");
        assert_eq!(next().as_str(), "worker-00000003");
        let store = host.runtime.store().clone();
        let own = store.runtime_store(&runtime_id("r")).unwrap();
        let written = own.commit(|tx| tx.write_worker_snapshot(&worker_snapshot(&ahead, 1)));
        assert_invalid(written, "was deleted");
        let loaded = store.bulk_load(|load| load.put_worker(worker_snapshot(&ahead, 1).into()));
        assert_invalid(loaded, "was deleted");
        assert_sound(&store);
    });
}

#[test]
fn transaction_deletes_with_its_other_changes() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = stopped_worker(&runtime, &["one", "two"]);
        let before = content(runtime.store());
        let undone: Result<(), _> = runtime.transaction(|tx| {
            tx.delete_worker(&worker)?;
            assert_no_worker(tx.worker_detail(&worker));
            assert!(tx.diagnostics()?.is_empty());
            Err(RuntimeError::StatePoisoned)
        });
        undone.unwrap_err();
        assert_eq!(content(runtime.store()), before);
        let next = runtime
            .transaction(|tx| {
                let running = tx.create_worker(full_request())?.worker_ref;
                assert_invalid(tx.delete_worker(&running), "is running");
                tx.delete_worker(&worker)?;
                tx.send_input(&running, WorkerInput::user("after"))?;
                assert_eq!(tx.summary()?.worker_count, 1);
                tx.stop_worker(&running, None)?;
                tx.delete_worker(&running)?;
                Ok(running)
            })
            .unwrap();
        let given = worker.clone();
        assert_no_worker(runtime.submit(move |tx| tx.delete_worker(&given)).wait());
        host.reopen();
        let runtime = &host.runtime;
        assert!(runtime.list_workers().unwrap().is_empty());
        assert_no_worker(runtime.worker_detail(&next));
        assert_eq!(rows_of(runtime.store(), "transcripts"), 0);
        assert_eq!(rows_of(runtime.store(), "tombstones"), 2);
        assert_sound(runtime.store());
    });
}
/// About 200 KiB, which begins with `mark`.
pub(crate) fn long_text(mark: &str) -> String {
    mark.repeat(200_000 / mark.len())
}

pub(crate) fn has_bytes(path: &Path, mark: &str) -> bool {
    let bytes = fs::read(path).unwrap();
    bytes
        .windows(mark.len())
        .any(|window| window == mark.as_bytes())
}

#[test]
fn backup_and_compacted_store_have_no_deleted_bytes() {
    let (place, directory) = (Place::new(), tempfile::tempdir().unwrap());
    let store = place.open();
    let runtime = store.runtime(named("r")).unwrap();
    let deleted = runtime
        .create_worker(CreateWorkerRequest {
            intent: redb_runtime_store::catalog::WorkerIntent::Task {
                objective: "forget-the-objective".to_owned(),
            },
            ..full_request()
        })
        .unwrap()
        .worker_ref;
    for number in 0..2_000 {
        say(&runtime, &deleted, &format!("forget-the-text {number}")).unwrap();
    }
    say(&runtime, &deleted, &long_text("forget-the-long-text ")).unwrap();
    runtime.stop_worker(&deleted, None).unwrap();
    let kept = stopped_worker(&runtime, &["keep-this"]);
    let second = store.runtime(named("secret-runtime")).unwrap();
    stopped_worker(&second, &["forget-the-runtime"]);
    second.stop_runtime().unwrap();
    runtime.delete_worker(&deleted).unwrap();
    store.delete_runtime(&runtime_id("secret-runtime")).unwrap();
    drop(second);
    let marks = [
        "forget-the-objective",
        "forget-the-text",
        "forget-the-long-text",
        "forget-the-runtime",
        "secret-runtime",
    ];
    let copy = directory.path().join("copy.redb");
    store.backup(&copy).unwrap();
    for mark in marks {
        assert!(!has_bytes(&copy, mark), "{mark}");
        assert!(!place.has_text(&store, mark), "{mark}");
    }
    assert!(has_bytes(&copy, "keep-this") && place.has_text(&store, "keep-this"));
    assert_eq!(all_entries(&runtime, &kept).len(), 1);
    assert_sound(&store);
}

#[test]
fn import_record_forgets_the_texts_of_a_deleted_worker() {
    let from = fresh();
    let runtime = from.runtime(named("r")).unwrap();
    let workers = [(); 2].map(|()| stopped_worker(&runtime, &["said"]));
    let directory = exported(&from);
    let dir = directory.path().join("runtimes/id-72/workers");
    for (name, text) in [
        "id-776f726b65722d3030303030303031",
        "id-776f726b65722d3030303030303032",
    ]
    .into_iter()
    .zip(["first quote", "second quote"])
    {
        let log = dir.join(name).join("transcript.jsonl");
        let mut lines = fs::read_to_string(&log).unwrap();
        lines.push_str(&format!("no entry: {text}\n"));
        fs::write(&log, lines).unwrap();
    }
    let store = fresh();
    crate::layout_support::salvage(&store, directory.path());
    let findings = || {
        let record = store.snapshot().unwrap().import_record(&runtime_id("r"));
        record.unwrap().unwrap().findings
    };
    let quotes = |text: &str| findings().iter().any(|finding| finding.contains(text));
    assert!(
        quotes("first quote") && quotes("second quote"),
        "{:?}",
        findings()
    );
    let imported = store.runtime(named("r")).unwrap();
    imported.delete_worker(&workers[0]).unwrap();
    assert!(
        !quotes("first quote") && quotes("second quote"),
        "{:?}",
        findings()
    );
    assert_sound(&store);
}

#[test]
fn export_without_deleted_workers_imports_equal() {
    let store = fresh();
    let runtime = store.runtime(named("r")).unwrap();
    let deleted = stopped_worker(&runtime, &["a"]);
    stopped_worker(&runtime, &["b"]);
    runtime.delete_worker(&deleted).unwrap();
    let directory = exported(&store);
    let fresh = fresh();
    let report = strict(&fresh, directory.path()).unwrap();
    // The ids of the diagnostics that went with the worker; nothing of the worker's events.
    let kinds: Vec<_> = report.findings.iter().map(|found| found.kind).collect();
    assert_eq!(kinds, [FindingKind::Gap], "{:?}", report.findings);
    assert_eq!(content(&fresh), content(&store));
    assert_eq!(tree(exported(&fresh).path()), tree(directory.path()));
    // The id stays taken.
    let own = fresh.runtime_store(&runtime_id("r")).unwrap();
    let written = own.commit(|tx| tx.write_worker_snapshot(&worker_snapshot(&deleted, 1)));
    assert_invalid(written, "was deleted");
    let report = assert_sound(&fresh);
    assert_eq!(report.warnings, 0);
    assert_eq!(VerifyKind::UnfinishedDeletion.severity(), Severity::Info);
}

#[test]
fn verification_finds_a_worker_that_was_deleted() {
    let store = fresh();
    let runtime = store.runtime(named("r")).unwrap();
    let deleted = stopped_worker(&runtime, &["a"]);
    runtime.delete_worker(&deleted).unwrap();
    let loaded: Result<(), RuntimeError> = store.bulk_load(|load| {
        load.without_checks();
        load.put_worker(worker_snapshot(&deleted, 1).into())
    });
    loaded.unwrap();
    let report = store.verify().unwrap();
    let mut found = report.findings.iter();
    let found = found.find(|finding| finding.kind == VerifyKind::Tombstone);
    let found = found.expect("a finding");
    assert_eq!(
        (found.table, found.severity),
        (Some("tombstones"), Severity::Error)
    );
    assert_eq!(found.key.as_deref(), Some("(\"r\", \"worker-00000001\")"));
    assert_eq!(found.message, "the worker was deleted, but exists");
}
