//! Exports to directories that exist, and imports into stores that exist.

use super::layout_support::*;
use crate::hosts::CUT_STEP;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::{
    ExistingDirectory, ExportOptions, ExportOutcome, FindingKind, ImportOptions, LayoutError,
    check, export, import,
};
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::observation::RuntimeEvent;
use redb_runtime_store::{Runtime, Store};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) fn demo() -> RuntimeId {
    RuntimeId::new("demo").unwrap()
}

pub(super) fn runtime(store: &Store) -> Runtime {
    let options = RuntimeOptions {
        runtime_id: Some(demo()),
        ..RuntimeOptions::default()
    };
    store.runtime(options).unwrap()
}

/// Makes every kind of operation on a runtime.
pub(super) fn go_on(store: &Store) {
    let runtime = runtime(store);
    let first = runtime.list_workers().unwrap().remove(0).worker_ref;
    for n in 0..3 {
        let input = WorkerInput::user(format!("more {n}: \u{e9}\n\u{1}"));
        runtime.send_input(&first, input).unwrap();
    }
    let new = runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap();
    runtime
        .send_input(&new.worker_ref, WorkerInput::system("begin"))
        .unwrap();
    runtime.stop_worker(&first, None).unwrap();
}

pub(super) fn imported() -> Store {
    let store = store();
    strict(&store, SMALL.as_ref()).unwrap();
    store
}

fn updating() -> ExportOptions {
    ExportOptions::new().existing(ExistingDirectory::Update)
}

fn replacing() -> ExportOptions {
    ExportOptions::new().existing(ExistingDirectory::Replace)
}

#[test]
fn root_without_layout_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = strict(&store(), dir.path()).unwrap_err();
    assert!(
        error.to_string().contains("no `runtimes` directory here"),
        "{error}"
    );
    symlink(
        Path::new(SMALL).join("runtimes"),
        dir.path().join("runtimes"),
    )
    .unwrap();
    let error = strict(&store(), dir.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("only a symbolic link of that name"),
        "{error}"
    );
    let error = strict(&store(), &dir.path().join("nowhere")).unwrap_err();
    assert!(matches!(error, LayoutError::Io { .. }), "{error}");
}

#[test]
fn empty_layout_round_trips() {
    let out = exported(&store());
    assert_eq!(tree(out.path()).len(), 1);
    assert_eq!(strict(&store(), out.path()).unwrap().runtimes, []);
}

#[test]
fn replaced_export_leaves_no_old_files() {
    let store = imported();
    let out = exported(&store);
    fs::write(runtime_dir(out.path()).join("notes"), "mine").unwrap();
    go_on(&store);
    let report = export(&store, out.path(), replacing()).unwrap();
    assert_eq!(report.runtimes[0].outcome, ExportOutcome::Replaced);
    assert_eq!(tree(out.path()), tree(exported(&store).path()));
}

#[test]
fn export_does_not_follow_links() {
    let store = imported();
    let elsewhere = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    fs::create_dir(out.path().join("runtimes")).unwrap();
    symlink(
        elsewhere.path(),
        out.path().join("runtimes").join(dir_of("demo")),
    )
    .unwrap();
    for options in [ExportOptions::new(), replacing(), updating()] {
        let error = export(&store, out.path(), &options).unwrap_err();
        assert!(matches!(error, LayoutError::InTheWay { .. }), "{error}");
    }
    let linked = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), linked.path().join("runtimes")).unwrap();
    let error = export(&store, linked.path(), ExportOptions::new()).unwrap_err();
    assert!(matches!(error, LayoutError::InTheWay { .. }), "{error}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn next_export_removes_leftovers() {
    let store = imported();
    let out = tempfile::tempdir().unwrap();
    let left = out.path().join("runtimes/.export.tmp-1-00/workers");
    fs::create_dir_all(&left).unwrap();
    symlink(SMALL, left.join("link")).unwrap();
    assert_eq!(
        strict(&store, out.path()).unwrap().findings[0].kind,
        FindingKind::TemporaryFile
    );
    export(&store, out.path(), ExportOptions::new()).unwrap();
    assert_eq!(tree(out.path()), tree(SMALL.as_ref()));
}

#[test]
fn concurrent_exports_do_not_mix() {
    let store = imported();
    let out = exported(&store);
    let runtimes = fs::File::open(out.path().join("runtimes")).unwrap();
    runtimes.lock().unwrap();
    let error = export(&store, out.path(), replacing()).unwrap_err();
    assert!(matches!(error, LayoutError::Busy { .. }), "{error}");
    drop(runtimes);
    export(&store, out.path(), replacing()).unwrap();
}

#[test]
fn update_appends_only_new_rows() {
    let store = imported();
    let out = exported(&store);
    let report = export(&store, out.path(), updating()).unwrap();
    assert_eq!(report.runtimes[0].bytes, 0);
    go_on(&store);
    let report = export(&store, out.path(), updating()).unwrap();
    let runtime = &report.runtimes[0];
    assert_eq!(runtime.outcome, ExportOutcome::Updated);
    assert_eq!(
        (runtime.workers, runtime.events, runtime.transcript_entries),
        (2, 6, 4)
    );
    assert_eq!(tree(out.path()), tree(exported(&store).path()));
    let fresh = tempfile::tempdir().unwrap();
    let report = export(&store, fresh.path(), updating()).unwrap();
    assert_eq!(report.runtimes[0].outcome, ExportOutcome::Written);
}

#[test]
fn directory_store_output_can_be_updated() {
    let dir = small();
    let events = runtime_dir(dir.path()).join("events.jsonl");
    let text = fs::read_to_string(&events).unwrap();
    fs::write(&events, text.trim_end()).unwrap();
    let store = imported();
    go_on(&store);
    export(&store, dir.path(), updating()).unwrap();
    assert_eq!(tree(dir.path()), tree(exported(&store).path()));
}

/// Builds every state that an update leaves when it is killed: the documents of the later export, and
/// logs that end at any byte between the earlier and the later export.
#[test]
fn next_update_completes_a_killed_one() {
    let store = imported();
    let old = exported(&store);
    go_on(&store);
    let new = exported(&store);
    let logs = |root: &Path| {
        let transcript = worker_dir(root, 1).join("transcript.jsonl");
        [transcript, runtime_dir(root).join("events.jsonl")]
    };
    let from = logs(old.path()).map(|log| fs::read(log).unwrap().len());
    let whole = logs(new.path()).map(|log| fs::read(log).unwrap());
    // An update completes the directory, so that the next cut begins with a complete one again.
    let dir = tempfile::tempdir().unwrap();
    copy(new.path(), dir.path());
    let paths = logs(dir.path());
    let mut cuts = 0;
    for (log, from) in from.into_iter().enumerate() {
        for cut in (from..=whole[log].len()).step_by(CUT_STEP) {
            fs::write(&paths[log], &whole[log][..cut]).unwrap();
            if log == 0 {
                fs::copy(&logs(old.path())[1], &paths[1]).unwrap();
            }
            fs::write(runtime_dir(dir.path()).join(".export.tmp-1-1"), "{").unwrap();
            export(&store, dir.path(), updating()).unwrap();
            assert_eq!(tree(dir.path()), tree(new.path()), "log {log} cut at {cut}");
            cuts += 1;
        }
    }
    assert!(cuts > 500 / CUT_STEP, "{cuts}");
}

#[test]
fn update_refuses_directory_that_is_no_prefix() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 8] = [
        ("line 8: message is", |root| {
            edit(
                &runtime_dir(root).join("events.jsonl"),
                "done for today",
                "done",
            );
        }),
        ("id is 9999 in the directory and 9 in the store", |root| {
            let event = "{\"id\":9999,\"kind\":{\"kind\":\"runtime_stopped\"},\"message\":\"\"}\n";
            append(&runtime_dir(root).join("events.jsonl"), event.as_bytes());
            edit(
                &runtime_dir(root).join("runtime.json"),
                "event_id\": 9",
                "event_id\": 10000",
            );
        }),
        ("next_event_id is 10000 in the directory", |root| {
            edit(
                &runtime_dir(root).join("runtime.json"),
                "event_id\": 9",
                "event_id\": 10000",
            );
        }),
        ("next_worker_sequence is", |root| {
            edit(
                &runtime_dir(root).join("runtime.json"),
                "next_worker_sequence\": 3",
                "next_worker_sequence\": 1000",
            );
        }),
        ("status is \"cancelled\"", |root| {
            edit(
                &worker_dir(root, 2).join("worker.json"),
                "stopped",
                "cancelled",
            );
        }),
        ("does not have the member \"x\"", |root| {
            edit(
                &worker_dir(root, 1).join("worker.json"),
                "{\n",
                "{\n\"x\": 1,\n",
            );
        }),
        ("cut off", |root| {
            append(&runtime_dir(root).join("events.jsonl"), b"{\"id\":8")
        }),
        ("missing", |root| {
            fs::remove_file(worker_dir(root, 1).join("transcript.jsonl")).unwrap()
        }),
    ];
    let store = imported();
    let old = exported(&store);
    go_on(&store);
    for (what, damage) in cases {
        let dir = tempfile::tempdir().unwrap();
        copy(old.path(), dir.path());
        damage(dir.path());
        let before = tree(dir.path());
        let error = export(&store, dir.path(), updating()).unwrap_err();
        assert!(
            matches!(error, LayoutError::NotAPrefix { .. }),
            "{what}: {error}"
        );
        assert!(error.to_string().contains(what), "{what}: {error}");
        assert_eq!(tree(dir.path()), before, "{what}");
    }
}

/// A tailing reader takes bytes up to the last newline, because the system shows long writes page by
/// page. These bytes never change, and every line is a record.
#[test]
fn tailing_reader_sees_whole_lines() {
    let store = imported();
    let out = exported(&store);
    let log = runtime_dir(out.path()).join("events.jsonl");
    let stop = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen: Vec<u8> = Vec::new();
            let mut is_last = false;
            while !is_last {
                is_last = stop.load(Ordering::Relaxed);
                let mut bytes = fs::read(&log).unwrap();
                bytes.truncate(bytes.iter().rposition(|b| *b == b'\n').unwrap() + 1);
                assert!(bytes.starts_with(&seen));
                for line in bytes[seen.len()..].split_inclusive(|b| *b == b'\n') {
                    serde_json::from_slice::<RuntimeEvent>(line).unwrap();
                }
                seen = bytes;
            }
            seen
        });
        let runtime = runtime(&store);
        let worker = runtime.list_workers().unwrap().remove(0).worker_ref;
        for _ in 0..20 {
            for _ in 0..50 {
                runtime
                    .send_input(&worker, WorkerInput::user("more"))
                    .unwrap();
            }
            export(&store, out.path(), updating()).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert_eq!(seen, fs::read(&log).unwrap());
}

#[test]
fn options_work_by_value_and_reference() {
    let (from, to) = (small(), tempfile::tempdir().unwrap());
    check(from.path(), ImportOptions::new()).unwrap();
    let imported = store();
    import(&imported, from.path(), ImportOptions::new()).unwrap();
    export(&imported, to.path().join("one"), ExportOptions::new()).unwrap();

    let (in_by, out_by) = (ImportOptions::new(), ExportOptions::new());
    check(from.path(), &in_by).unwrap();
    import(&imported, from.path(), &in_by).unwrap();
    export(&imported, to.path().join("two"), &out_by).unwrap();
}
