//! The texts of import records about removed workers and runtimes.

use crate::layout_support::{edit, exported, salvage};
use crate::support::{Place, fresh, full_request, named, runtime_id, say};
use redb_runtime_store::catalog::WorkerStatus;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::layout::{ImportOptions, import};
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::store::PersistedWorkerSnapshot;
use redb_runtime_store::{Runtime, Store};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

fn stopped_worker(runtime: &Runtime) -> WorkerRef {
    let worker = runtime.create_worker(full_request()).unwrap().worker_ref;
    say(runtime, &worker, "said").unwrap();
    runtime.stop_worker(&worker, None).unwrap();
    worker
}

/// A directory of the runtime `r` with two stopped workers.
fn directory() -> (TempDir, [WorkerRef; 2]) {
    let from = fresh();
    let runtime = from.runtime(named("r")).unwrap();
    let workers = [(); 2].map(|()| stopped_worker(&runtime));
    (exported(&from), workers)
}

fn log_of(root: &Path, number: u64) -> PathBuf {
    crate::layout_support::worker_dir(root, number).join("transcript.jsonl")
}

fn append(log: &Path, line: &str) {
    let mut lines = fs::read_to_string(log).unwrap();
    lines.push_str(line);
    fs::write(log, lines).unwrap();
}

/// Whether an import record of the store, of the runtime `r` or of no runtime, has `text`.
fn is_recorded(store: &Store, text: &str) -> bool {
    let snapshot = store.snapshot().unwrap();
    let records = [
        snapshot.import_record(&runtime_id("r")).unwrap(),
        snapshot.import_record_without_runtime().unwrap(),
    ];
    let mut findings = records.into_iter().flatten().flat_map(|one| one.findings);
    findings.any(|finding| finding.contains(text))
}

/// Whether a backup of the store has `mark`.
fn has_bytes(store: &Store, mark: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy.redb");
    store.backup(&copy).unwrap();
    memchr::memmem::find(&fs::read(&copy).unwrap(), mark.as_bytes()).is_some()
}

fn assert_sound(store: &Store) {
    let report = store.verify().unwrap();
    let counts = (report.errors, report.warnings);
    assert_eq!(counts, (0, 0), "{:?}", report.findings);
}

#[test]
fn retention_forgets_import_texts_of_dropped_workers() {
    let (directory, _) = directory();
    for (number, text) in [(1, "first-quote"), (2, "second-quote")] {
        append(
            &log_of(directory.path(), number),
            &format!("no entry: {text}\n"),
        );
    }
    let place = Place::new();
    let store = place.open();
    salvage(&store, directory.path());
    let runtime = store.runtime(named("r")).unwrap();
    // An imported end has no time. A stop that is written anew has.
    let boundary = store.runtime_store(&runtime_id("r")).unwrap();
    let state = boundary.load_runtime_state().unwrap();
    for status in [
        redb_runtime_store::catalog::WorkerStatus::Running,
        redb_runtime_store::catalog::WorkerStatus::Stopped,
    ] {
        let mut worker = state.workers[0].clone();
        worker.status = status;
        boundary
            .commit(|tx| tx.write_worker_snapshot(&worker))
            .unwrap();
    }
    let policy = Retention::new().ended_before(Duration::ZERO);
    let report = runtime.prune(&policy, PruneOptions::new()).unwrap();
    assert_eq!(report.runtimes[0].workers, 1);
    assert!(!is_recorded(&store, "first-quote") && !place.has_text(&store, "first-quote"));
    assert!(is_recorded(&store, "second-quote") && place.has_text(&store, "second-quote"));
    assert_sound(&store);
}

#[test]
fn redaction_forgets_conflicts_about_the_worker() {
    conflict_is_forgotten_with_its_worker(|runtime, worker| {
        runtime.redact_entry(worker, 0, "gone").unwrap();
    });
}

/// Asserts that `change` of a worker forgets the conflicts about it, and those about no other.
fn conflict_is_forgotten_with_its_worker(change: impl Fn(&Runtime, &WorkerRef)) {
    let (place, store, [differs, other]) = with_conflict("secret-difference");
    let runtime = store.runtime(named("r")).unwrap();
    change(&runtime, &other);
    assert!(is_recorded(&store, "secret-difference"));
    change(&runtime, &differs);
    assert!(!is_recorded(&store, "secret-difference"));
    assert!(!has_bytes(&store, "secret-difference"));
    assert!(!place.has_text(&store, "secret-difference"));
    assert_sound(&store);
}

/// A line that an export would spell otherwise is stored with its own text, with all its members.
#[test]
fn redaction_forgets_the_own_text_of_a_line() {
    let (directory, [worker, _]) = directory();
    let log = log_of(directory.path(), 1);
    let line = "\"content\" : \"secret-text\", \"x\":\"secret-member\", \"attributes\":{\"n\":\"secret-note\"}";
    edit(&log, "\"content\":\"said\"", line);
    let place = Place::new();
    let store = place.open();
    import(&store, directory.path(), ImportOptions::new()).unwrap();
    let marks = ["secret-text", "secret-member", "secret-note"];
    for mark in marks {
        assert!(has_bytes(&store, mark), "{mark}");
    }
    let runtime = store.runtime(named("r")).unwrap();
    runtime.redact_entry(&worker, 0, "gone").unwrap();
    for mark in marks {
        assert!(!has_bytes(&store, mark), "{mark}");
    }
    for mark in marks {
        assert!(!place.has_text(&store, mark), "{mark}");
    }
    let exported = exported(&store);
    let text = fs::read_to_string(log_of(exported.path(), 1)).unwrap();
    assert!(text.contains("gone") && !text.contains("secret"), "{text}");
    assert_sound(&store);
}

/// A store with the runtime `r`, and a conflict with a directory that differs in `differing` of worker 1.
fn with_conflict(differing: &str) -> (Place, Store, [WorkerRef; 2]) {
    let (directory, workers) = directory();
    let place = Place::new();
    let store = place.open();
    salvage(&store, directory.path());
    edit(
        &log_of(directory.path(), 1),
        "\"content\":\"said\"",
        &format!("\"content\":\"{differing}\""),
    );
    salvage(&store, directory.path());
    // The conflict quotes it.
    assert!(is_recorded(&store, differing) && has_bytes(&store, differing));
    (place, store, workers)
}

#[test]
fn deletion_of_a_worker_forgets_conflicts_about_it() {
    conflict_is_forgotten_with_its_worker(|runtime, worker| {
        runtime.delete_worker(worker).unwrap();
    });
}

#[test]
fn deletion_of_a_runtime_forgets_conflicts_about_it() {
    let (place, store, _) = with_conflict("secret-difference");
    let other = store.runtime(named("r2")).unwrap();
    other.stop_runtime().unwrap();
    store.delete_runtime(&runtime_id("r2")).unwrap();
    assert!(is_recorded(&store, "secret-difference"));
    let runtime = store.runtime(named("r")).unwrap();
    runtime.stop_runtime().unwrap();
    store.delete_runtime(&runtime_id("r")).unwrap();
    assert!(!is_recorded(&store, "secret-difference"));
    assert!(!has_bytes(&store, "secret-difference"));
    assert!(!place.has_text(&store, "secret-difference"));
    assert_sound(&store);
}

#[test]
fn deletion_forgets_left_out_diagnostics_of_the_worker() {
    let (directory, workers) = directory();
    let diagnostic = |worker: &WorkerRef, text: &str| {
        format!(
            "{{\"id\": 1, \"severity\": \"info\", \"code\": \"c\", \"message\": \"{text}\", \"worker_ref\": \
             {{\"runtime_id\": \"r\", \"worker_id\": \"{}\"}}}}",
            worker.worker_id
        )
    };
    // The ids do not increase, so that salvage leaves all but the first one out.
    let [first, second] = &workers;
    let diagnostics = [
        diagnostic(second, "imported"),
        diagnostic(first, "first-quote"),
        diagnostic(second, "second-quote"),
    ];
    let json = directory.path().join("runtimes/id-72/runtime.json");
    let document = fs::read_to_string(&json).unwrap();
    let (head, tail) = document.split_once("\"diagnostics\": [").unwrap();
    let (_, tail) = tail.split_once(']').unwrap();
    let all = diagnostics.join(", ");
    fs::write(&json, format!("{head}\"diagnostics\": [{all}]{tail}")).unwrap();
    let store = fresh();
    salvage(&store, directory.path());
    assert!(is_recorded(&store, "first-quote") && is_recorded(&store, "second-quote"));
    let runtime = store.runtime(named("r")).unwrap();
    runtime.delete_worker(first).unwrap();
    assert!(!is_recorded(&store, "first-quote") && is_recorded(&store, "second-quote"));
    assert_sound(&store);
}

/// A directory of the runtime `r` with a kept file in the directory of each worker and in that of the runtime.
fn with_files() -> (TempDir, [WorkerRef; 2]) {
    let (directory, workers) = directory();
    for (number, text) in [(1, "first-file"), (2, "second-file")] {
        let worker = crate::layout_support::worker_dir(directory.path(), number);
        fs::create_dir(worker.join("session")).unwrap();
        fs::write(worker.join("session/notes"), text).unwrap();
        fs::write(worker.join(format!("{text}-name")), "").unwrap();
    }
    let runtime = directory.path().join("runtimes/id-72");
    fs::write(runtime.join("notes"), "runtime-file").unwrap();
    (directory, workers)
}

/// The marks that a store with that directory has after `change`.
fn marks_after(change: impl FnOnce(&Store, &Runtime, &WorkerRef)) -> Vec<&'static str> {
    let (directory, [worker, _]) = with_files();
    let place = Place::new();
    let store = place.open();
    salvage(&store, directory.path());
    assert!(has_bytes(&store, "first-file") && has_bytes(&store, "first-file-name"));
    let runtime = store.runtime(named("r")).unwrap();
    assert_eq!(marks(&place, &store), MARKS);
    change(&store, &runtime, &worker);
    assert_sound(&store);
    marks(&place, &store)
}

/// What the kept files have, and one of their names.
const MARKS: [&str; 3] = ["first-file", "second-file", "runtime-file"];

fn marks(place: &Place, store: &Store) -> Vec<&'static str> {
    let is_there = |mark: &&str| place.has_text(store, mark);
    MARKS.into_iter().filter(is_there).collect()
}

#[test]
fn deletion_of_a_worker_forgets_its_files() {
    let marks = marks_after(|_, runtime, worker| {
        runtime.delete_worker(worker).unwrap();
    });
    assert_eq!(marks, MARKS[1..], "its content and its name are gone");
}

#[test]
fn retention_forgets_files_of_dropped_workers() {
    let marks = marks_after(|store, runtime, worker| {
        let boundary = store.runtime_store(&runtime_id("r")).unwrap();
        let state = boundary.load_runtime_state().unwrap();
        let is_first = |one: &&PersistedWorkerSnapshot| one.worker_ref == *worker;
        let mut worker = state.workers.iter().find(is_first).unwrap().clone();
        for status in [WorkerStatus::Running, WorkerStatus::Stopped] {
            worker.status = status;
            boundary
                .commit(|tx| tx.write_worker_snapshot(&worker))
                .unwrap();
        }
        let policy = Retention::new().ended_before(Duration::ZERO);
        let report = runtime.prune(&policy, PruneOptions::new()).unwrap();
        assert_eq!(report.runtimes[0].workers, 1);
    });
    assert_eq!(marks, MARKS[1..]);
}

#[test]
fn deletion_and_replacement_of_a_runtime_forget_its_files() {
    let marks = marks_after(|store, runtime, _| {
        runtime.stop_runtime().unwrap();
        store.delete_runtime(&runtime_id("r")).unwrap();
    });
    assert_eq!(marks, [""; 0]);
    let marks = marks_after(|store, _, _| {
        let (without, _) = directory();
        let replace = ImportOptions::new().replace(true);
        import(store, without.path(), &replace).unwrap();
    });
    assert_eq!(marks, [""; 0]);
}
