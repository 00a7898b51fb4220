//! Runtimes and workers whose documents are damaged or missing, rebuilt by a salvage.

use super::layout_later::{FORMS, of_form};
use super::layout_salvage::{kinds, salvaged};
use super::layout_states::{events, runtime_json, transcript, worker_json};
use super::layout_support::*;
use redb_runtime_store::Store;
use redb_runtime_store::catalog::WorkerStatus;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::layout::{
    FindingKind, ImportOptions, ImportReport, LayoutError, LayoutForm, import,
};
use redb_runtime_store::management::RuntimeStatus;
use redb_runtime_store::store::{PersistedRuntimeSnapshot, PersistedWorkerSnapshot};
use std::fs;
use std::path::Path;

fn demo() -> RuntimeId {
    RuntimeId::new("demo").unwrap()
}

fn runtime_of(store: &Store) -> PersistedRuntimeSnapshot {
    let snapshot = store.snapshot().unwrap();
    snapshot.runtime(&demo()).unwrap().unwrap().value
}

fn worker_of(store: &Store, n: u64) -> PersistedWorkerSnapshot {
    let id = WorkerId::new(format!("worker-{n:08x}")).unwrap();
    let snapshot = store.snapshot().unwrap();
    let worker = snapshot.worker(&WorkerRef::new(demo(), id)).unwrap();
    worker.unwrap().value
}

/// The runtime and the workers of the small directory as they were.
fn whole() -> (PersistedRuntimeSnapshot, [PersistedWorkerSnapshot; 2]) {
    let store = store();
    strict(&store, Path::new(SMALL)).unwrap();
    (
        runtime_of(&store),
        [worker_of(&store, 1), worker_of(&store, 2)],
    )
}

fn rebuilt(damage: impl FnOnce(&Path)) -> (Store, ImportReport) {
    let dir = small();
    damage(dir.path());
    let (store, report) = salvaged(dir.path());
    let of_kind = |finding: &&_| finding_kind(finding) == FindingKind::Rebuilt;
    assert!(
        report.findings.iter().any(|finding| of_kind(&finding)),
        "{}",
        kinds(&report.findings)
    );
    let all = &report.runtimes[0];
    assert_eq!((all.workers, all.events, all.transcript_entries), (2, 8, 4));
    (store, report)
}

fn finding_kind(finding: &redb_runtime_store::layout::Finding) -> FindingKind {
    finding.kind
}

#[test]
fn runtime_without_readable_document_is_rebuilt() {
    let (before, workers) = whole();
    for damage in [
        b"".as_slice(),
        &[0; 885],
        b"{\"schema_version\"",
        b"[]",
        b"not JSON",
    ] {
        let (store, report) = rebuilt(|root| fs::write(runtime_json(root), damage).unwrap());
        let runtime = runtime_of(&store);
        assert_eq!(runtime.next_event_id, before.next_event_id);
        assert_eq!(runtime.next_worker_sequence, before.next_worker_sequence);
        assert_eq!(runtime.status, before.status);
        assert_eq!((runtime.display_name, runtime.diagnostics.len()), (None, 0));
        assert_eq!([worker_of(&store, 1), worker_of(&store, 2)], workers);
        let text = report.findings[0].text.as_ref().unwrap();
        assert_eq!(text.as_bytes(), damage);
    }
    let (_, report) = rebuilt(|root| fs::remove_file(runtime_json(root)).unwrap());
    assert_eq!(
        kinds(&report.findings),
        "never initialised: runtime.json\nrebuilt: runtime.json\n"
    );
}

#[test]
fn readable_members_of_damaged_documents_stay() {
    let (before, _) = whole();
    let (store, report) =
        rebuilt(|root| edit(&runtime_json(root), "A small demo", "A small \\ud83d demo"));
    let mut unnamed = before.clone();
    unnamed.display_name = None;
    assert_eq!(runtime_of(&store), unnamed);
    let said = &report.findings[1].message;
    assert!(
        said.contains("diagnostics") && !said.contains("display_name"),
        "{said}"
    );
    // Cut off within the diagnostics, which come last.
    let (store, _) = rebuilt(|root| {
        let text = fs::read_to_string(runtime_json(root)).unwrap();
        fs::write(runtime_json(root), &text[..500]).unwrap();
    });
    let mut expected = before.clone();
    expected.diagnostics.clear();
    assert_eq!(runtime_of(&store), expected);
    // A number that is cut off says nothing.
    let (store, _) = rebuilt(|root| {
        let text = fs::read_to_string(runtime_json(root)).unwrap();
        let at = text.find("\"next_worker_sequence\": ").unwrap() + 25;
        fs::write(runtime_json(root), format!("{}7", &text[..at - 1])).unwrap();
    });
    assert_eq!(
        runtime_of(&store).next_worker_sequence,
        before.next_worker_sequence
    );
    let (store, _) = rebuilt(|root| {
        edit(
            &runtime_json(root),
            "\"severity\": \"info\"",
            "\"severity\": \"?\"",
        )
    });
    assert_eq!(
        runtime_of(&store).diagnostics.len(),
        before.diagnostics.len() - 1
    );
}

#[test]
fn worker_without_readable_document_is_rebuilt() {
    let (_, [before, _]) = whole();
    for damage in [b"".as_slice(), &[0; 370], b"{\n  \"schema_version\": 1,\n"] {
        let (store, report) = rebuilt(|root| fs::write(worker_json(root), damage).unwrap());
        let worker = worker_of(&store, 1);
        let mut expected = before.clone();
        expected.request = worker.request.clone();
        assert_eq!(worker, expected);
        assert_eq!(worker.request, Default::default());
        assert_eq!(kinds(&report.findings[1..]), "rebuilt: worker.json\n");
        assert_eq!(report.findings[0].text.as_ref().unwrap().as_bytes(), damage);
    }
    let (_, report) = rebuilt(|root| fs::remove_file(worker_json(root)).unwrap());
    assert_eq!(
        kinds(&report.findings),
        "missing: worker.json\nrebuilt: worker.json\n"
    );
}

#[test]
fn status_of_rebuilt_documents_is_that_of_the_last_stop() {
    let stop = |kind: &str, id, worker: Option<&str>| {
        let of = worker.map_or(String::new(), |worker| {
            format!("\"worker_ref\":{{\"runtime_id\":\"demo\",\"worker_id\":\"{worker}\"}},")
        });
        format!("{{\"id\":{id},{of}\"kind\":{{\"kind\":\"{kind}\"}},\"message\":\"m\"}}\n")
    };
    let dir = small();
    let worker = Some("worker-00000001");
    append(
        &events(dir.path()),
        stop("worker_cancelled", 9, worker).as_bytes(),
    );
    append(
        &events(dir.path()),
        stop("runtime_stopped", 10, None).as_bytes(),
    );
    fs::write(runtime_json(dir.path()), "").unwrap();
    fs::write(worker_json(dir.path()), "").unwrap();
    let (store, _) = salvaged(dir.path());
    assert_eq!(runtime_of(&store).status, RuntimeStatus::Stopped);
    assert_eq!(runtime_of(&store).next_event_id, 11);
    let worker = worker_of(&store, 1);
    assert_eq!(
        (worker.status, worker.last_event_id),
        (WorkerStatus::Cancelled, 9)
    );
}

#[test]
fn wrong_ids_do_not_reach_rebuilt_counters() {
    // The event with the wrong id is left out, so neither the counter nor the worker's last event follows it.
    let dir = small();
    edit(&events(dir.path()), "{\"id\":3,", "{\"id\":900,");
    fs::write(runtime_json(dir.path()), "").unwrap();
    fs::write(worker_json(dir.path()), "").unwrap();
    let (store, report) = salvaged(dir.path());
    assert_eq!(report.runtimes[0].events, 7);
    assert_eq!(runtime_of(&store).next_event_id, 9);
    assert!(worker_of(&store, 1).last_event_id < 9);
}

#[test]
fn ids_of_deleted_workers_are_not_used_again() {
    let dir = small();
    let of = "{\"runtime_id\":\"demo\",\"worker_id\":\"worker-00000007\"}";
    let event = |id, kind| {
        format!(
            "{{\"id\":{id},\"worker_ref\":{of},\"kind\":{{\"kind\":\"{kind}\"}},\"message\":\"m\"}}\n"
        )
    };
    append(&events(dir.path()), event(9, "worker_created").as_bytes());
    append(&events(dir.path()), event(10, "worker_deleted").as_bytes());
    fs::write(runtime_json(dir.path()), "").unwrap();
    let (store, _) = salvaged(dir.path());
    assert_eq!(runtime_of(&store).next_worker_sequence, 8);
}

#[test]
fn event_alone_shows_a_runtime_and_its_worker() {
    let dir = small();
    let transcript = worker_dir(dir.path(), 2).join("transcript.jsonl");
    fs::remove_file(worker_dir(dir.path(), 2).join("worker.json")).unwrap();
    fs::write(&transcript, "").unwrap();
    let (_, report) = salvaged(dir.path());
    assert_eq!(report.runtimes[0].workers, 2);
    // Without the other worker, too.
    fs::remove_file(runtime_json(dir.path())).unwrap();
    fs::remove_dir_all(worker_dir(dir.path(), 1)).unwrap();
    let (_, report) = salvaged(dir.path());
    let all = &report.runtimes[0];
    assert_eq!((all.workers, all.events, all.transcript_entries), (1, 8, 0));
    // The log alone, without any worker.
    fs::remove_dir_all(worker_dir(dir.path(), 2)).unwrap();
    let (_, report) = salvaged(dir.path());
    let all = &report.runtimes[0];
    assert_eq!((all.workers, all.events), (0, 8));
}

#[test]
fn directory_without_a_line_or_a_worker_stays_uninitialised() {
    let dir = small();
    fs::remove_file(runtime_json(dir.path())).unwrap();
    fs::write(events(dir.path()), "").unwrap();
    for n in [1, 2] {
        fs::remove_file(worker_dir(dir.path(), n).join("worker.json")).unwrap();
        fs::write(worker_dir(dir.path(), n).join("transcript.jsonl"), "").unwrap();
    }
    let report = salvage(&store(), dir.path());
    assert_eq!(report.findings[0].kind, FindingKind::NeverInitialised);
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.kind != FindingKind::Rebuilt)
    );
    fs::write(transcript(dir.path()), "x\n").unwrap();
    let (store, report) = salvaged(dir.path());
    assert_eq!(report.runtimes[0].workers, 1);
    assert_eq!(worker_of(&store, 1).next_transcript_sequence, 1);
}

#[test]
fn documents_behind_a_byte_order_mark_are_whole() {
    for path in [runtime_json, worker_json] {
        let dir = small();
        let text = fs::read(path(dir.path())).unwrap();
        fs::write(
            path(dir.path()),
            [b"\xEF\xBB\xBF".as_slice(), &text].concat(),
        )
        .unwrap();
        assert!(strict(&store(), dir.path()).is_err());
        let (store, report) = salvaged(dir.path());
        assert_eq!(report.findings.len(), 1, "{}", kinds(&report.findings));
        let finding = &report.findings[0];
        assert_eq!(
            (finding.line, finding.byte, finding.length),
            (Some(1), Some(0), Some(3))
        );
        let all = super::layout_support::store();
        strict(&all, Path::new(SMALL)).unwrap();
        assert_eq!(content(&store), content(&all));
        assert_eq!(tree(exported(&store).path()), tree(Path::new(SMALL)));
    }
}

#[test]
fn runtime_in_the_root_is_rebuilt_without_its_document() {
    for (name, form) in FORMS {
        let dir = of_form(name);
        if form < LayoutForm::F {
            continue;
        }
        let before = salvage(&store(), dir.path());
        fs::remove_file(dir.path().join("runtime.json")).unwrap();
        let error = strict(&store(), dir.path()).unwrap_err();
        assert!(matches!(error, LayoutError::Refused { .. }), "{error}");
        let (store, report) = salvaged(dir.path());
        let rows = |report: &ImportReport| {
            let one = &report.runtimes[0];
            (
                one.runtime_id.to_string(),
                one.workers,
                one.events,
                one.form >= LayoutForm::F,
            )
        };
        assert_eq!(rows(&report), rows(&before), "{name}");
        let rebuilt = |finding: &&_| finding_kind(finding) == FindingKind::Rebuilt;
        assert_eq!(report.findings.iter().filter(rebuilt).count(), 1, "{name}");
        // Its workers are where they were.
        let out = exported(&store);
        assert!(out.path().join("runtime.json").is_file());
        let workers = |root: &Path| tree(&root.join("workers"));
        assert_eq!(workers(out.path()), workers(dir.path()), "{name}");
        // The log alone shows it, too.
        fs::remove_dir_all(dir.path().join("workers")).unwrap();
        if dir.path().join("events.jsonl").exists() {
            let (_, report) = salvaged(dir.path());
            let all = &report.runtimes[0];
            assert_eq!((all.workers, all.events), (0, 8), "{name}");
        }
    }
}

#[test]
fn deleted_worker_is_rebuilt_as_stopped() {
    // A kill between the event and the removal of the directory.
    let dir = small();
    let of = "{\"runtime_id\":\"demo\",\"worker_id\":\"worker-00000001\"}";
    let kind = "{\"kind\":\"worker_deleted\"}";
    let event = format!("{{\"id\":9,\"worker_ref\":{of},\"kind\":{kind},\"message\":\"m\"}}\n");
    append(&events(dir.path()), event.as_bytes());
    fs::write(worker_json(dir.path()), "").unwrap();
    let (store, _) = salvaged(dir.path());
    let worker = worker_of(&store, 1);
    assert_eq!(
        (worker.status, worker.last_event_id),
        (WorkerStatus::Stopped, 9)
    );
}

#[test]
fn directory_named_workers_is_no_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("workers/pool");
    fs::create_dir_all(&module).unwrap();
    fs::write(module.join("transcript.jsonl"), "{}\n").unwrap();
    fs::write(dir.path().join("workers/notes"), "{}").unwrap();
    for is_salvage in [false, true] {
        let options = ImportOptions::new().salvage(is_salvage);
        let error = import(&store(), dir.path(), options).unwrap_err();
        assert!(matches!(error, LayoutError::NoLayout { .. }), "{error}");
    }
}
