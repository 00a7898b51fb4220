//! Runtimes that were imported in a later form of the layout, and their files.

use crate::error::RuntimeError;
use crate::ledger::stored::kept_file::{
    CHUNK_BYTES, FileChunkRow, RUNTIME_DOCUMENT, stored_path, worker_document,
};
use crate::model::catalog::{CreateWorkerRequest, WorkerStatus};
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::{TranscriptEntry, TranscriptRole, WorkerInput};
use crate::model::layout_form::{AbsentMember, DocumentOrigin, LayoutForm, Spelling};
use crate::model::management::{RuntimeLimits, RuntimeOptions, RuntimeStatus};
use crate::model::observation::{RuntimeEvent, RuntimeEventKind};
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, RuntimeFacts, Stored,
};
use crate::model::retention::{PruneOptions, Retention};
use crate::runtime::handle::Runtime;
use crate::runtime::removal;
use crate::store::handle::Store;
use std::path::Path;
use std::time::{Duration, SystemTime};

const NOW_MS: u64 = 0x0123_4567_89AB;

fn id() -> RuntimeId {
    RuntimeId::new("r").unwrap()
}

fn worker_ref(worker: &str) -> WorkerRef {
    WorkerRef::new(id(), WorkerId::new(worker).unwrap())
}

/// A runtime that was imported in `form`, without workers.
fn imported(form: LayoutForm) -> (tempfile::TempDir, Store, Runtime) {
    let files = tempfile::tempdir().unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(NOW_MS);
    let options = Store::options().clock(move || now);
    let store = options.open(files.path().join("store")).unwrap();
    let facts = RuntimeFacts {
        first_event_id: 1,
        form,
    };
    store
        .bulk_load(|load| load.put_retained_runtime(Stored::from(snapshot()), facts))
        .unwrap();
    let runtime = store.runtime(named()).unwrap();
    (files, store, runtime)
}

fn snapshot() -> PersistedRuntimeSnapshot {
    PersistedRuntimeSnapshot {
        runtime_id: id(),
        display_name: None,
        status: RuntimeStatus::Running,
        limits: RuntimeLimits::default(),
        next_worker_sequence: 1,
        next_event_id: 1,
        next_diagnostic_id: 1,
        diagnostics: Vec::new(),
    }
}

fn named() -> RuntimeOptions {
    RuntimeOptions {
        runtime_id: Some(id()),
        ..RuntimeOptions::default()
    }
}

fn create(runtime: &Runtime) -> WorkerRef {
    let request = CreateWorkerRequest::default();
    runtime.create_worker(request).unwrap().worker_ref
}

/// A snapshot of a new worker that a host has named.
fn of_host(worker: &str) -> PersistedWorkerSnapshot {
    PersistedWorkerSnapshot {
        worker_ref: worker_ref(worker),
        status: WorkerStatus::Running,
        request: CreateWorkerRequest::default(),
        next_transcript_sequence: 1,
        last_event_id: 0,
    }
}

fn put(store: &Store, path: &str, rows: &[FileChunkRow]) {
    let put = store.bulk_load(|load| {
        let mut chunks = (0..).zip(rows);
        chunks.try_for_each(|(chunk, row)| load.put_file_chunk(Some(&id()), (path, chunk), row))
    });
    put.unwrap();
}

fn origin(absent: &[&str]) -> FileChunkRow {
    FileChunkRow::Origin(DocumentOrigin {
        form: LayoutForm::C,
        absent: absent
            .iter()
            .map(|pointer| AbsentMember {
                pointer: (*pointer).to_owned(),
                json: "null".to_owned(),
            })
            .collect(),
    })
}

fn text(text: &str) -> FileChunkRow {
    FileChunkRow::Bytes(text.as_bytes().to_vec())
}

/// The paths of all rows of files.
fn paths(store: &Store) -> Vec<String> {
    let keys = store.read("test", |rows| {
        rows.file_keys("r", ("", 0), None, usize::MAX)
    });
    keys.unwrap().into_iter().map(|key| key.path).collect()
}

#[test]
fn new_workers_get_ids_of_the_form() {
    for form in LayoutForm::ALL {
        let (_files, store, runtime) = imported(form);
        let boundary = store.runtime_store(&id()).unwrap();
        let taken = match form {
            LayoutForm::E | LayoutForm::F | LayoutForm::G => "2",
            LayoutForm::H => "01234567-89ab-7000-8000-000000000000",
            _ => "worker-00000002",
        };
        boundary
            .commit(|tx| tx.write_worker_snapshot(&of_host(taken)))
            .unwrap();
        let [one, two] = [(); 2].map(|()| create(&runtime).worker_id);
        let next = store.read("test", |rows| rows.runtime("r")).unwrap();
        let next = next.unwrap().next_worker_sequence;
        match form {
            LayoutForm::E | LayoutForm::F | LayoutForm::G => {
                assert_eq!((one.as_str(), two.as_str(), next), ("1", "3", 4));
            }
            LayoutForm::H => {
                for id in [&one, &two] {
                    let id = id.as_str();
                    assert!(
                        form.accepts(id) && id.starts_with("01234567-89ab-7"),
                        "{id}"
                    );
                    assert!(matches!(id.as_bytes()[19], b'8'..=b'b'), "{id}");
                }
                assert!(one != two && next == 1, "{one} {two} {next}");
            }
            _ => {
                let ids = (one.as_str(), two.as_str(), next);
                assert_eq!(ids, ("worker-00000001", "worker-00000003", 4));
            }
        }
    }
}

#[test]
fn ids_of_hosts_have_the_shape_of_the_form() {
    for (form, refused, accepted) in [
        (LayoutForm::E, "worker-00000001", "7"),
        (LayoutForm::F, "07", "0"),
        (LayoutForm::G, "-7", "18446744073709551615"),
        (LayoutForm::H, "7", "01234567-89ab-4def-8123-0123456789ab"),
        (
            LayoutForm::H,
            "01234567-89AB-4def-8123-0123456789ab",
            "00000000-0000-0000-0000-000000000000",
        ),
    ] {
        let (_files, store, _) = imported(form);
        let boundary = store.runtime_store(&id()).unwrap();
        let tried = boundary.commit(|tx| tx.write_worker_snapshot(&of_host(refused)));
        assert!(
            matches!(tried, Err(RuntimeError::InvalidRequest(_))),
            "{tried:?}"
        );
        boundary
            .commit(|tx| tx.write_worker_snapshot(&of_host(accepted)))
            .unwrap();
        // A worker that exists is written with any id.
        boundary
            .commit(|tx| tx.write_worker_snapshot(&of_host(accepted)))
            .unwrap();
    }
}

#[test]
fn appended_rows_are_spelled_in_the_form() {
    let spelled = |has_number_ids, is_without_runtime| Spelling {
        has_number_ids,
        is_without_runtime,
    };
    for (form, spelling) in [
        (LayoutForm::A, spelled(false, false)),
        (LayoutForm::E, spelled(true, false)),
        (LayoutForm::F, spelled(true, true)),
        (LayoutForm::H, spelled(false, true)),
    ] {
        let (_files, store, runtime) = imported(form);
        let worker = create(&runtime);
        runtime
            .send_input(&worker, WorkerInput::user("in"))
            .unwrap();
        runtime.append_reply(&worker, "out").unwrap();
        let boundary = store.runtime_store(&id()).unwrap();
        let event = RuntimeEvent {
            id: 9,
            worker_ref: Some(worker.clone()),
            kind: RuntimeEventKind::WorkerInputAccepted,
            message: "m".to_owned(),
        };
        let entry = TranscriptEntry {
            sequence: 9,
            worker_ref: worker.clone(),
            role: TranscriptRole::User,
            content: "in".to_owned(),
            event_id: 9,
        };
        boundary
            .commit(|tx| {
                tx.append_event(&event)?;
                tx.append_transcript_entry(&entry)
            })
            .unwrap();
        let mut seen = Vec::new();
        store
            .read("test", |rows| {
                rows.events("r", 0, usize::MAX, &mut |_, row| {
                    seen.push(row.form.spelling);
                    Ok(())
                })?;
                let worker = worker.worker_id.as_str();
                rows.transcript("r", worker, 0, usize::MAX, &mut |_, row| {
                    seen.push(row.form.spelling);
                    Ok(())
                })
            })
            .unwrap();
        assert_eq!(seen, vec![spelling; 6], "{form}");
    }
}

#[test]
fn worker_origin_names_absent_members() {
    let (_files, store, runtime) = imported(LayoutForm::C);
    let (imported, new) = (create(&runtime), create(&runtime));
    let rows = [origin(&["/request/intent"]), text("{}")];
    put(&store, &worker_document(imported.worker_id.as_str()), &rows);
    let origin = runtime.worker_origin(&imported).unwrap();
    assert_eq!(
        (origin.form, &*origin.absent[0]),
        (LayoutForm::C, "/request/intent")
    );
    let origin = runtime.worker_origin(&new).unwrap();
    assert_eq!((origin.form, origin.absent), (LayoutForm::A, Vec::new()));
    let unknown = runtime.worker_origin(&worker_ref("unknown"));
    assert!(
        matches!(unknown, Err(RuntimeError::WorkerNotFound { .. })),
        "{unknown:?}"
    );
}

fn stop(runtime: &Runtime, worker: &WorkerRef) {
    runtime.stop_worker(worker, None).unwrap();
}

/// A new worker without diagnostics.
fn without_diagnostics(store: &Store, worker: &str) -> WorkerRef {
    let boundary = store.runtime_store(&id()).unwrap();
    boundary
        .commit(|tx| tx.write_worker_snapshot(&of_host(worker)))
        .unwrap();
    worker_ref(worker)
}

#[test]
fn own_text_of_the_runtime_goes_with_diagnostics() {
    for prunes in [false, true] {
        let (_files, store, runtime) = imported(LayoutForm::C);
        let with = create(&runtime);
        let without = without_diagnostics(&store, "without");
        put(
            &store,
            RUNTIME_DOCUMENT,
            &[origin(&[]), text("a"), text("b")],
        );
        for worker in [&with, &without] {
            let path = worker_document(worker.worker_id.as_str());
            put(&store, &path, &[origin(&[]), text("{}")]);
        }
        let remove = |worker: &WorkerRef| {
            stop(&runtime, worker);
            match prunes {
                true => {
                    let policy = Retention::new().ended_before(Duration::ZERO);
                    runtime.prune(&policy, PruneOptions::new()).map(|_| ())
                }
                false => runtime.delete_worker(worker).map(|_| ()),
            }
            .unwrap();
        };
        remove(&without);
        let of_with = worker_document(with.worker_id.as_str());
        let expected = [
            RUNTIME_DOCUMENT,
            RUNTIME_DOCUMENT,
            RUNTIME_DOCUMENT,
            &of_with,
            &of_with,
        ];
        assert_eq!(paths(&store), expected);
        remove(&with);
        assert_eq!(paths(&store), Vec::<String>::new());
    }
}

/// A worker with a file of `chunks` chunks.
fn with_file(store: &Store, runtime: &Runtime, chunks: usize) -> WorkerRef {
    let worker = create(runtime);
    let rows = vec![FileChunkRow::Bytes(vec![7; CHUNK_BYTES]); chunks];
    let path = stored_path(Some(worker.worker_id.as_str()), Path::new("large"));
    put(store, &path, &rows);
    stop(runtime, &worker);
    worker
}

#[test]
fn files_of_deleted_workers_go_in_bounded_steps() {
    let (files, store, runtime) = imported(LayoutForm::A);
    let worker = with_file(&store, &runtime, 9);
    let other = with_file(&store, &runtime, 1);
    let refused = runtime.transaction(|tx| tx.delete_worker(&worker));
    assert!(
        matches!(refused, Err(RuntimeError::InvalidRequest(_))),
        "{refused:?}"
    );
    assert_eq!(paths(&store).len(), 10);
    let is_done = store.write("test", |transaction| {
        let known = removal::known_diagnostics(transaction, &id(), &worker)?;
        removal::delete_worker(transaction, &id(), &worker, known)
    });
    assert!(!is_done.unwrap());
    // The first commit has removed some rows. Readers no longer see the others.
    let left = paths(&store).len();
    assert!((5..10).contains(&left), "{left}");
    let kept = |store: &Store| store.snapshot().unwrap().kept_files(&id()).unwrap();
    assert_eq!(kept(&store).len(), 1);
    let copy = files.path().join("copy");
    store.backup(&copy).unwrap();
    let copy = Store::open(&copy).unwrap();
    assert_eq!((paths(&copy).len(), kept(&copy).len()), (1, 1));
    let report = store.verify().unwrap();
    assert_eq!(
        (report.errors, report.warnings),
        (0, 0),
        "{:?}",
        report.findings
    );
    runtime.delete_worker(&worker).unwrap();
    assert_eq!(paths(&store).len(), 1);
    runtime.stop_runtime().unwrap();
    store.delete_runtime(&id()).unwrap();
    assert_eq!(paths(&store), Vec::<String>::new());
    let _ = other;
}

#[test]
fn files_go_with_deleted_runtimes_and_pruned_workers() {
    let (_files, store, runtime) = imported(LayoutForm::A);
    with_file(&store, &runtime, 6);
    let plan = PruneOptions::new().dry_run(true);
    let policy = Retention::new().ended_before(Duration::ZERO);
    let planned = runtime.prune(&policy, plan).unwrap();
    let done = runtime.prune(&policy, PruneOptions::new()).unwrap();
    assert_eq!(planned.runtimes[0].bytes, done.runtimes[0].bytes);
    assert!(done.runtimes[0].bytes > 6 * CHUNK_BYTES as u64);
    assert_eq!(paths(&store), Vec::<String>::new());

    with_file(&store, &runtime, 6);
    let path = stored_path(None, Path::new("of the runtime"));
    put(
        &store,
        &path,
        &[FileChunkRow::Bytes(vec![1; CHUNK_BYTES]), text("x")],
    );
    runtime.stop_runtime().unwrap();
    store.delete_runtime(&id()).unwrap();
    assert_eq!(paths(&store), Vec::<String>::new());
    let report = store.verify().unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn import_over_an_unfinished_deletion_has_its_own_files() {
    let (_files, store, runtime) = imported(LayoutForm::A);
    with_file(&store, &runtime, 9);
    let is_done = store.write("test", |transaction| {
        removal::delete_runtime(transaction, &id(), true)
    });
    assert!(!is_done.unwrap());
    // Files come before the row of the runtime.
    let facts = RuntimeFacts {
        first_event_id: 1,
        form: LayoutForm::A,
    };
    store
        .bulk_load(|load| {
            load.put_file_chunk(Some(&id()), ("r/new", 0), &text("new"))?;
            load.put_retained_runtime(Stored::from(snapshot()), facts)
        })
        .unwrap();
    assert_eq!(paths(&store), ["r/new"]);
}

#[test]
fn verify_reports_damaged_and_orphaned_files() {
    let (_files, store, runtime) = imported(LayoutForm::A);
    let worker = create(&runtime).worker_id;
    let right = stored_path(Some(worker.as_str()), Path::new("right"));
    put(&store, &right, &[text("a"), text("b")]);
    let report = store.verify().unwrap();
    assert_eq!(
        (report.errors, report.warnings),
        (0, 0),
        "{:?}",
        report.findings
    );
    store
        .bulk_load(|load| {
            load.put_file_chunk(Some(&id()), ("r/hole", 0), &text("a"))?;
            load.put_file_chunk(Some(&id()), ("r/hole", 2), &text("a"))?;
            load.put_file_chunk(Some(&id()), ("r/../out", 0), &text("a"))?;
            load.put_file_chunk(Some(&id()), ("w/ff/x", 0), &text("a"))?;
            load.put_file_chunk(Some(&id()), ("w/6e6f6e65/x", 0), &text("a"))?;
            let other = RuntimeId::new("none").unwrap();
            load.put_file_chunk(Some(&other), ("r/x", 0), &text("a"))?;
            load.put_file_chunk(Some(&other), ("r/y", 0), &text("a"))
        })
        .unwrap();
    let report = store.verify().unwrap();
    let mut messages: Vec<_> = report
        .findings
        .iter()
        .map(|one| one.message.as_str())
        .collect();
    messages.sort_unstable();
    let expected = [
        "chunk 2 of a file, where chunk 1 should be",
        "files of a runtime that does not exist",
        "files of a worker that does not exist",
        "the path is none of a file",
        "the path is none of a file",
    ];
    assert_eq!(messages, expected);
}
