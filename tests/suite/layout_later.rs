//! Directories of later forms: they come back as the same bytes, and after operations with what these changed.

use super::layout_support::*;
use crate::hosts::REPOSITORY;
use crate::support::{named, say, worker_ref};
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::layout::{
    CompareOptions, ExistingDirectory, ExportOptions, FindingKind, ImportOptions, ImportOutcome,
    LayoutError, LayoutForm, check, compare, compare_with, export, import,
};
use redb_runtime_store::{Runtime, Store};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The directories, with their forms.
pub(crate) const FORMS: [(&str, LayoutForm); 9] = [
    ("a", LayoutForm::A),
    ("b", LayoutForm::B),
    ("c", LayoutForm::C),
    ("d", LayoutForm::D),
    ("e", LayoutForm::E),
    ("f", LayoutForm::F),
    ("f-late", LayoutForm::F),
    ("g", LayoutForm::G),
    ("h", LayoutForm::H),
];

/// A copy of the directory of a form.
pub(crate) fn of_form(name: &str) -> TempDir {
    if name == "a" {
        return small();
    }
    let later = Path::new(REPOSITORY).join("tests/fixtures/later");
    let dir = tempfile::tempdir().unwrap();
    copy(&later.join(name), dir.path());
    dir
}

/// The id that the import of a directory gives its runtime.
pub(crate) fn id_of(name: &str) -> &'static str {
    match name {
        "a" => "demo",
        "b" | "c" | "d" | "e" => "later-runtime",
        _ => "runtime",
    }
}

fn imported(dir: &Path) -> Store {
    let store = store();
    strict(&store, dir).unwrap();
    store
}

/// The `n`-th worker of a runtime.
fn worker(runtime: &Runtime, n: usize) -> WorkerRef {
    runtime.list_workers().unwrap()[n - 1].worker_ref.clone()
}

/// Twenty operations: inputs, a stop and a new worker.
pub(crate) fn operate(store: &Store, name: &str) {
    let runtime = store.runtime(named(id_of(name))).unwrap();
    let first = worker(&runtime, 1);
    for n in 0..17 {
        say(&runtime, &first, &format!("Eingabe {n}\n")).unwrap();
    }
    runtime.stop_worker(&first, Some("done".into())).unwrap();
    let new = runtime.create_worker(Default::default()).unwrap();
    say(&runtime, &new.worker_ref, "hello").unwrap();
}

/// The names of the members of a document's outermost object, in their order, with their texts.
fn members(text: &str) -> Vec<(String, String)> {
    let mut members = Vec::new();
    let mut rest = text.trim().strip_prefix('{').unwrap();
    while let Some(start) = rest.find('"') {
        let end = start + 1 + rest[start + 1..].find('"').unwrap();
        let name = rest[start + 1..end].to_owned();
        let value = rest[end + 1..].trim_start().strip_prefix(':').unwrap();
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<serde_json::Value>();
        values.next().unwrap().unwrap();
        let length = values.byte_offset();
        members.push((name, value[..length].trim().to_owned()));
        rest = &value[length..];
    }
    members
}

/// Asserts that a document differs only in the members that operations change. A member that was absent can be added.
fn assert_only_changed(path: &Path, before: &str, after: &str) {
    const CHANGE: [&str; 7] = [
        "status",
        "next_worker_sequence",
        "next_event_id",
        "next_diagnostic_id",
        "diagnostics",
        "next_transcript_sequence",
        "last_event_id",
    ];
    let unchanged = |text: &str| {
        let mut members = members(text);
        members.retain(|(name, _)| !CHANGE.contains(&name.as_str()));
        members
    };
    assert_eq!(unchanged(before), unchanged(after), "{}", path.display());
    let order = |text: &str| -> Vec<String> { members(text).into_iter().map(|m| m.0).collect() };
    let mut kept = order(after);
    kept.retain(|name| order(before).contains(name));
    assert_eq!(kept, order(before), "{}", path.display());
}

#[test]
fn every_form_round_trips_byte_for_byte() {
    for (name, form) in FORMS {
        let dir = of_form(name);
        let store = store();
        let report = strict(&store, dir.path()).unwrap();
        assert_eq!(report.runtimes[0].form, form, "{name}");
        assert_eq!(report.runtimes[0].runtime_id.as_str(), id_of(name));
        let count = |kind| {
            report
                .findings
                .iter()
                .filter(|one| one.kind == kind)
                .count()
        };
        let (others, lost) = (count(FindingKind::OtherFile), count(FindingKind::NoHistory));
        let is_other = matches!(name, "d" | "e" | "f" | "f-late" | "h");
        assert_eq!(others, if is_other { 2 } else { 0 }, "{name}");
        assert_eq!(lost, usize::from(form >= LayoutForm::G), "{name}");
        assert_eq!(report.findings.len(), others + lost, "{name}");
        let out = exported(&store);
        assert_eq!(tree(out.path()), tree(dir.path()), "{name}");
        for dir in [&dir, &out] {
            let comparison = compare(&store, dir.path()).unwrap();
            assert!(comparison.is_same(), "{name}: {comparison:?}");
            assert_eq!(comparison.only_bytes, 0, "{name}");
        }
        assert!(store.verify().unwrap().is_clean(), "{name}");
    }
}

#[test]
fn every_form_is_extended_as_itself() {
    for (name, _) in FORMS {
        let dir = of_form(name);
        let store = imported(dir.path());
        operate(&store, name);
        assert!(store.verify().unwrap().is_clean(), "{name}");
        let out = exported(&store);
        let after = tree(out.path());
        for (path, before) in tree(dir.path()) {
            let Some(before) = before else {
                assert_eq!(after[&path], None);
                continue;
            };
            let (before, now) = (
                String::from_utf8(before).unwrap(),
                String::from_utf8(after[&path].clone().unwrap()).unwrap(),
            );
            match path.extension().and_then(|name| name.to_str()) {
                Some("jsonl") => assert!(now.starts_with(&before), "{name}: {}", path.display()),
                _ => assert_only_changed(&path, &before, &now),
            }
        }
        // It is a directory of the same runtime again, and an update of the first one.
        let comparison = compare(&store, out.path()).unwrap();
        assert!(comparison.is_same(), "{name}: {comparison:?}");
        let again = store_of(out.path());
        assert_eq!(content(&again), content(&store), "{name}");
        assert_eq!(tree(exported(&again).path()), after, "{name}");
        let update = ExportOptions::new().existing(ExistingDirectory::Update);
        let report = export(&store, dir.path(), &update).unwrap();
        assert_eq!(report.runtimes[0].events, 20, "{name}");
        assert_eq!(tree(dir.path()), after, "{name}");
    }
}

fn store_of(dir: &Path) -> Store {
    imported(dir)
}

#[test]
fn logs_that_a_form_lacks_are_written_with_their_first_row() {
    for (name, logs) in [("d", 2), ("g", 3)] {
        let store = imported(of_form(name).path());
        operate(&store, name);
        let out = tempfile::tempdir().unwrap();
        let report = export(&store, out.path(), ExportOptions::new()).unwrap();
        assert_eq!(report.runtimes[0].new_logs, logs, "{name}");
        let logs_there = tree(out.path()).into_keys();
        let transcripts = logs_there.filter(|path| path.ends_with("transcript.jsonl"));
        assert_eq!(transcripts.count(), 2, "{name}");
    }
}

#[test]
fn export_in_form_a_is_read_as_form_a() {
    for (name, _) in FORMS {
        let store = imported(of_form(name).path());
        operate(&store, name);
        let out = tempfile::tempdir().unwrap();
        let options = ExportOptions::new().form_a(true);
        let report = export(&store, out.path(), &options).unwrap();
        let losses = &report.runtimes[0].losses;
        let is_number = ('e'..='g').contains(&name.chars().next().unwrap());
        assert_eq!(losses.number_ids, if is_number { 4 } else { 0 }, "{name}");
        assert_eq!(
            losses.absent.get("/request/intent").copied(),
            (name >= "c").then_some(3),
            "{name}"
        );
        let again = store_of(out.path());
        assert_eq!(tree(exported(&again).path()), tree(out.path()), "{name}");
        let dir = out.path().join("runtimes").join(dir_of(id_of(name)));
        let text = fs::read_to_string(dir.join("runtime.json")).unwrap();
        let names: Vec<_> = members(&text).into_iter().map(|member| member.0).collect();
        let known = [
            "schema_version",
            "runtime_id",
            "display_name",
            "backend",
            "status",
            "limits",
            "next_worker_sequence",
            "next_event_id",
            "next_diagnostic_id",
            "diagnostics",
        ];
        assert_eq!(names[..10], known, "{name}");
        // Form a has no place for kept files.
        let snapshot = store.snapshot().unwrap();
        let files = snapshot.kept_files(&RuntimeId::new(id_of(name)).unwrap());
        assert_eq!(losses.files, files.unwrap().len() as u64, "{name}");
        let comparison = compare(&store, out.path()).unwrap();
        let differences = comparison.total_differences;
        assert_eq!(differences, losses.files, "{name}: {comparison:?}");
    }
}

#[test]
fn runtime_in_the_root_gets_an_id_that_is_free() {
    let dir = of_form("f");
    let store = store();
    let id = |dir: &Path, options: ImportOptions| {
        let report = import(&store, dir, options).unwrap();
        let runtime = &report.runtimes[0];
        (runtime.runtime_id.to_string(), runtime.outcome)
    };
    let imported = |id: &str| (id.to_owned(), ImportOutcome::Imported);
    assert_eq!(id(dir.path(), ImportOptions::new()), imported("runtime"));
    let known = ("runtime".to_owned(), ImportOutcome::AlreadyImported);
    assert_eq!(id(dir.path(), ImportOptions::new()), known);
    let other = of_form("g");
    assert_eq!(
        id(other.path(), ImportOptions::new()),
        imported("runtime-2")
    );
    let mine = [RuntimeId::new("mine").unwrap()];
    let options = ImportOptions::new().runtimes(mine.clone());
    assert_eq!(id(dir.path(), options), imported("mine"));
    // A comparison finds the runtime of the same bytes.
    let comparison = compare_with(&store, other.path(), CompareOptions::new()).unwrap();
    assert_eq!((comparison.runtimes, comparison.total_differences), (1, 2));
    let options = CompareOptions::new().runtimes(mine);
    assert!(compare_with(&store, dir.path(), options).unwrap().is_same());
}

#[test]
fn runtime_in_the_root_is_exported_alone() {
    let store = imported(of_form("f").path());
    strict(&store, of_form("e").path()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let error = export(&store, out.path(), ExportOptions::new()).unwrap_err();
    assert!(matches!(error, LayoutError::OnlyAlone { .. }), "{error}");
    assert_eq!(tree(out.path()), Default::default());
    let one = |id: &str| ExportOptions::new().runtimes(RuntimeId::new(id));
    export(&store, out.path(), one("runtime")).unwrap();
    assert_eq!(tree(out.path()), tree(of_form("f").path()));
    // The two layouts are never mixed.
    let error = export(&store, out.path(), one("later-runtime")).unwrap_err();
    assert!(matches!(error, LayoutError::InTheWay { .. }), "{error}");
    let error = export(&store, of_form("e").path(), one("runtime")).unwrap_err();
    assert!(matches!(error, LayoutError::InTheWay { .. }), "{error}");
    let out = tempfile::tempdir().unwrap();
    export(&store, out.path(), ExportOptions::new().form_a(true)).unwrap();
    assert_eq!(
        fs::read_dir(out.path().join("runtimes")).unwrap().count(),
        2
    );
}

#[test]
fn replacement_in_the_root_leaves_other_files() {
    let dir = of_form("f");
    let store = imported(dir.path());
    operate(&store, "f");
    let out = of_form("f");
    fs::write(out.path().join("notes.txt"), "mine").unwrap();
    fs::create_dir(out.path().join("src")).unwrap();
    let error = export(&store, out.path(), ExportOptions::new()).unwrap_err();
    assert!(matches!(error, LayoutError::Exists { .. }), "{error}");
    let replace = ExportOptions::new().existing(ExistingDirectory::Replace);
    export(&store, out.path(), &replace).unwrap();
    assert_eq!(fs::read(out.path().join("notes.txt")).unwrap(), b"mine");
    let mut expected = tree(exported(&store).path());
    expected.insert("notes.txt".into(), Some(b"mine".to_vec()));
    expected.insert("src".into(), None);
    assert_eq!(tree(out.path()), expected);
}

#[test]
fn two_layouts_in_one_root_are_refused() {
    let dir = of_form("f");
    fs::create_dir(dir.path().join("runtimes")).unwrap();
    let error = strict(&store(), dir.path()).unwrap_err();
    assert!(matches!(error, LayoutError::TwoLayouts { .. }), "{error}");
}

#[test]
fn paths_below_the_root_name_it() {
    let dir = of_form("c");
    let root = dir.path().canonicalize().unwrap();
    let runtimes = dir.path().join("runtimes");
    for below in [runtimes.clone(), runtime_dir(dir.path())] {
        let error = strict(&store(), &below).unwrap_err();
        let named: &PathBuf = match &error {
            LayoutError::BelowRoot { root, .. } => root,
            _ => panic!("{error}"),
        };
        assert_eq!(*named, root);
        assert!(
            error
                .to_string()
                .contains(&format!("give {}", root.display()))
        );
    }
    fs::rename(&runtimes, dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &runtimes).unwrap();
    let error = strict(&store(), dir.path()).unwrap_err().to_string();
    assert!(error.contains("a symbolic link"), "{error}");
}

#[test]
fn newer_schema_version_is_named_without_advice_to_salvage() {
    let dir = of_form("h");
    edit(
        &dir.path().join("runtime.json"),
        "version\":3",
        "version\":4",
    );
    let error = strict(&store(), dir.path()).unwrap_err().to_string();
    assert!(error.contains("schema_version is 4"), "{error}");
    assert!(!error.contains("salvage"), "{error}");
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn absent_status_comes_from_the_event_log() {
    use redb_runtime_store::catalog::WorkerStatus::{Cancelled, Running, Stopped};
    let store = imported(of_form("f-late").path());
    let runtime = store.runtime(named("runtime")).unwrap();
    let workers = runtime.list_workers().unwrap();
    let found: Vec<_> = workers
        .iter()
        .map(|one| (one.status, one.last_event_id))
        .collect();
    assert_eq!(found, [(Running, 5), (Stopped, 7), (Cancelled, 8)]);
    // Without the log nothing says so.
    let store = imported(of_form("g").path());
    let runtime = store.runtime(named("runtime")).unwrap();
    let workers = runtime.list_workers().unwrap();
    assert!(
        workers
            .iter()
            .all(|one| (one.status, one.last_event_id) == (Running, 0))
    );
    assert_eq!(runtime.event_cursor_now().unwrap().next_event_id, 1);
}

#[test]
fn forms_are_mixed_in_one_runtime() {
    // A worker of form a in a runtime of form c, one without a transcript, and a line of form f.
    let dir = of_form("c");
    let root = dir.path();
    let first = worker_dir(root, 1).join("worker.json");
    fs::copy(worker_dir(small().path(), 1).join("worker.json"), &first).unwrap();
    edit(&first, "\"demo\"", "\"later-runtime\"");
    edit(&first, "sequence\": 4", "sequence\": 2");
    // The default, which a new worker of form c is written without.
    edit(&first, ",\n      \"purpose\": \"answers questions\"", "");
    let second = worker_dir(root, 2);
    fs::remove_file(second.join("transcript.jsonl")).unwrap();
    edit(
        &second.join("worker.json"),
        "  \"next_transcript_sequence\": 2,\n",
        "",
    );
    let events = runtime_dir(root).join("events.jsonl");
    edit(
        &events,
        "\"worker_ref\":{\"runtime_id\":\"later-runtime\",",
        "\"worker_ref\":{",
    );
    let store = imported(root);
    assert_eq!(tree(exported(&store).path()), tree(root));
    let runtime = store.runtime(named("later-runtime")).unwrap();
    let second = worker_ref("later-runtime", "worker-00000002");
    assert_eq!(runtime.worker_detail(&second).unwrap().transcript_len, 0);
}

#[test]
fn member_that_every_form_has_is_required() {
    for (name, member) in [
        ("c", "  \"backend\": \"fs_store\",\n"),
        ("f", "  \"next_diagnostic_id\": 2,\n"),
    ] {
        let dir = of_form(name);
        let path = match name {
            "f" => dir.path().join("runtime.json"),
            _ => runtime_dir(dir.path()).join("runtime.json"),
        };
        edit(&path, member, "");
        let error = check(dir.path(), ImportOptions::new()).unwrap_err();
        assert!(matches!(error, LayoutError::Refused { .. }), "{error}");
    }
    // Form a says that a worker has a transcript.
    let dir = of_form("c");
    fs::remove_file(worker_dir(dir.path(), 1).join("transcript.jsonl")).unwrap();
    let error = check(dir.path(), ImportOptions::new()).unwrap_err();
    assert!(matches!(error, LayoutError::Refused { .. }), "{error}");
}

#[test]
fn worker_ids_that_are_numbers_are_text_in_the_model() {
    let store = imported(of_form("e").path());
    let runtime = store.runtime(named("later-runtime")).unwrap();
    let id = WorkerId::new("2").unwrap();
    let of = WorkerRef::new(runtime.runtime_id().unwrap(), id);
    assert_eq!(runtime.worker_detail(&of).unwrap().last_event_id, 7);
    let diagnostics = runtime.diagnostics().unwrap();
    assert_eq!(diagnostics[0].worker_ref, Some(of));
}
