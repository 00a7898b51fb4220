//! Round trips: an export of an imported directory has the same bytes.

use super::layout_support::*;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::layout::{
    ExportOptions, FindingKind, ImportOutcome, LayoutError, compare, export,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[test]
fn clean_directory_round_trips_byte_for_byte() {
    let store = store();
    let report = strict(&store, SMALL.as_ref()).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.runtimes.len(), 1);
    assert_eq!(report.runtimes[0].outcome, ImportOutcome::Imported);
    assert_eq!(report.runtimes[0].workers, 2);
    assert_eq!(report.runtimes[0].events, 8);
    assert_eq!(report.runtimes[0].transcript_entries, 4);
    let out = exported(&store);
    assert_eq!(tree(out.path()), tree(SMALL.as_ref()));
    assert!(compare(&store, SMALL).unwrap().is_same());
    assert!(compare(&store, out.path()).unwrap().is_same());
}

#[test]
fn runtimes_of_any_name_round_trip() {
    let (dir, store) = (several(), store());
    let report = strict(&store, dir.path()).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.runtimes.len(), 3);
    let out = exported(&store);
    assert_eq!(tree(out.path()), tree(dir.path()));
    let comparison = compare(&store, dir.path()).unwrap();
    assert!(comparison.is_same(), "{:?}", comparison.differences);
    assert_eq!(comparison.runtimes, 3);
}

#[test]
fn archived_directories_round_trip_byte_for_byte() {
    let clean = unpack("directory-clean.tar.gz");
    let store = store();
    let report = strict(&store, clean.path()).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.runtimes.len(), 3);
    let out = exported(&store);
    assert_eq!(tree(out.path()), tree(clean.path()));
    let comparison = compare(&store, clean.path()).unwrap();
    assert!(comparison.is_same(), "{:?}", comparison.differences);
    assert_eq!(comparison.runtimes, 3);
    let counted: u64 = report.runtimes.iter().map(|r| r.transcript_entries).sum();
    assert_eq!(comparison.transcript_entries, counted);
}

/// Adds unknown members to every kind of record. Returns the paths of `runtime.json`, `worker.json`, the events and the
/// transcript.
fn add_unknown_members(root: &Path) -> [PathBuf; 4] {
    let runtime = runtime_dir(root).join("runtime.json");
    edit(
        &runtime,
        "\"max_event_batch_items\": 256\n",
        "\"max_event_batch_items\": 256,\n    \"z\": 1.50,\n    \"a\": {\n      \"b\": [ 1 ]\n    }\n",
    );
    edit(
        &runtime,
        "\"severity\"",
        "\"seen\": 1e400,\n      \"severity\"",
    );
    edit(
        &runtime,
        "  ]\n}\n",
        "  ],\n  \"config_bundles\": [],\n  \"a/b~c\": \"\\u00e9\"\n}\n",
    );
    let worker = worker_dir(root, 2).join("worker.json");
    edit(
        &worker,
        "\"reason\": \"to look words up\"",
        "\"reason\": \"to look words up\",\n        \"grade\": null",
    );
    edit(&worker, "\"objective\"", "\"due\": 7,\n      \"objective\"");
    let events = runtime_dir(root).join("events.jsonl");
    edit(
        &events,
        "{\"kind\":\"runtime_started\"}",
        "{\"by\":{},\"kind\":\"runtime_started\"}",
    );
    edit(
        &events,
        "\"message\":\"worker worker-00000001 created\"}",
        "\"message\":\"worker worker-00000001 created\",\"x\":1,\"x\":2}",
    );
    let transcript = worker_dir(root, 1).join("transcript.jsonl");
    edit(
        &transcript,
        "\"event_id\":3}",
        "\"event_id\":3,\"tokens\": [1, 2]}",
    );
    [runtime, worker, events, transcript]
}

#[test]
fn unknown_members_survive_at_every_depth() {
    let dir = small();
    let root = dir.path();
    let [runtime, worker, events, transcript] = add_unknown_members(root);
    let store = store();
    assert_eq!(strict(&store, root).unwrap().findings, []);
    let out = exported(&store);
    let text = |path: &std::path::Path| {
        fs::read_to_string(out.path().join(path.strip_prefix(root).unwrap())).unwrap()
    };
    assert!(text(&runtime).contains("\"z\": 1.50,\n    \"a\": {\n      \"b\": [ 1 ]\n    }\n  }"));
    assert!(
        text(&runtime).ends_with("  ],\n  \"config_bundles\": [],\n  \"a/b~c\": \"\\u00e9\"\n}\n")
    );
    assert!(text(&worker).contains("\"reason\": \"to look words up\",\n        \"grade\": null\n"));
    assert!(text(&events).contains("created\",\"x\":1,\"x\":2}\n"));
    assert_eq!(tree(out.path()), tree(root), "also their order and spacing");

    // Form a has them after the known members.
    let form_a = tempfile::tempdir().unwrap();
    export(&store, form_a.path(), ExportOptions::new().form_a(true)).unwrap();
    let text = |path: &std::path::Path| {
        fs::read_to_string(form_a.path().join(path.strip_prefix(root).unwrap())).unwrap()
    };
    assert!(text(&runtime).contains("},\n      \"seen\": 1e400\n    },"));
    assert!(
        text(&worker)
            .contains("\"objective\": \"translate what it is given\",\n      \"due\": 7\n")
    );
    assert!(text(&events).contains("{\"kind\":\"runtime_started\",\"by\":{}}"));
    assert!(text(&transcript).contains("\"event_id\":3,\"tokens\":[1, 2]}\n"));

    assert!(compare(&store, root).unwrap().is_same());
    let again = super::layout_support::store();
    strict(&again, out.path()).unwrap();
    assert_eq!(content(&again), content(&store));
    assert_eq!(tree(exported(&again).path()), tree(out.path()));
}

#[test]
fn compare_names_every_difference() {
    let dir = small();
    let root = dir.path();
    let store = store();
    strict(&store, root).unwrap();
    edit(
        &runtime_dir(root).join("events.jsonl"),
        "done for today",
        "done",
    );
    edit(
        &runtime_dir(root).join("runtime.json"),
        "A small demo",
        "Another",
    );
    let transcript = worker_dir(root, 1).join("transcript.jsonl");
    let text = fs::read_to_string(&transcript).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&transcript, format!("{}\n{}\n", lines[0], lines[2])).unwrap();
    edit(
        &worker_dir(root, 2).join("worker.json"),
        "stopped",
        "cancelled",
    );
    fs::create_dir(root.join("runtimes").join(dir_of("other"))).unwrap();

    let comparison = compare(&store, root).unwrap();
    let all: Vec<String> = comparison
        .differences
        .iter()
        .map(ToString::to_string)
        .collect();
    let all = all.join("\n");
    assert_eq!(comparison.total_differences, 5, "{all}");
    for what in [
        "events.jsonl, line 8: message is \"done\" in the directory and \"done for today\" in the store",
        "display_name is \"Another\" in the directory and \"A small demo\" in the store",
        "transcript.jsonl: the directory does not have sequence 2 of the store",
        "status is \"cancelled\" in the directory and \"stopped\" in the store",
        "id-6f74686572: the store does not have this runtime",
    ] {
        assert!(all.contains(what), "{what:?} is not in\n{all}");
    }
    let empty = crate::hosts::fresh();
    assert_eq!(compare(&empty, SMALL).unwrap().total_differences, 1);
    let nothing = tempfile::tempdir().unwrap();
    fs::create_dir(nothing.path().join("runtimes")).unwrap();
    assert_eq!(
        compare(&store, nothing.path()).unwrap().total_differences,
        1
    );
}

#[test]
fn compare_shows_counters_as_in_file() {
    let dir = small();
    let next = |id: u64| format!("\"next_event_id\": {id}");
    let document = runtime_dir(dir.path()).join("runtime.json");
    edit(&document, &next(9), &next(7));
    let store = store();
    salvage(&store, dir.path());
    let comparison = compare(&store, dir.path()).unwrap();
    let all: Vec<_> = comparison.differences.iter().map(|d| &*d.what).collect();
    let expected = [
        "next_event_id is 7 in the directory and 9 in the store",
        "counter behind: next_event_id is 7, but event id 8 exists",
    ];
    assert_eq!(all, expected);
}

#[test]
fn formatting_and_blank_lines_are_no_difference() {
    let dir = small();
    let events = runtime_dir(dir.path()).join("events.jsonl");
    let text = fs::read_to_string(&events).unwrap();
    fs::write(
        &events,
        format!("\n{}\n \t\n", text.replace('\n', "\r\n\n")),
    )
    .unwrap();
    let store = store();
    let report = strict(&store, dir.path()).unwrap();
    let kinds: Vec<FindingKind> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::LineEnding]);
    assert!(compare(&store, dir.path()).unwrap().is_same());
    assert_eq!(tree(exported(&store).path()), tree(dir.path()));
}

#[test]
fn export_does_not_touch_existing_files() {
    let store = store();
    strict(&store, SMALL.as_ref()).unwrap();
    let out = exported(&store);
    let before = tree(out.path());
    let error = export(&store, out.path(), ExportOptions::new()).unwrap_err();
    assert!(matches!(error, LayoutError::Exists { .. }), "{error}");
    assert_eq!(tree(out.path()), before);
}

#[test]
fn export_is_readable_by_owner_only() {
    let store = store();
    strict(&store, SMALL.as_ref()).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("a/b");
    export(&store, &root, ExportOptions::new()).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&runtime_dir(&root)), 0o700);
    assert_eq!(mode(&runtime_dir(&root).join("runtime.json")), 0o600);
    assert_eq!(mode(&worker_dir(&root, 1).join("transcript.jsonl")), 0o600);
}

#[test]
fn overlong_id_is_refused_before_export_writes() {
    let store = store();
    strict(&store, SMALL.as_ref()).unwrap();
    let long = "x".repeat(127);
    let snapshot = store.snapshot().unwrap();
    let demo = RuntimeId::new("demo").unwrap();
    let mut runtime = snapshot.runtime(&demo).unwrap().unwrap();
    let mut worker = snapshot.workers(&demo).unwrap().next().unwrap().unwrap();
    let other = RuntimeId::new("other").unwrap();
    runtime.value.runtime_id = other.clone();
    runtime.value.diagnostics.clear();
    worker.value.worker_ref = WorkerRef::new(other, WorkerId::new(long).unwrap());
    store
        .bulk_load(|load| {
            load.put_worker(worker)?;
            load.put_runtime(runtime)
        })
        .unwrap();
    let out = tempfile::tempdir().unwrap();
    let root = out.path().join("root");
    let error = export(&store, &root, ExportOptions::new()).unwrap_err();
    assert!(
        matches!(error, LayoutError::NameTooLong { bytes: 257, .. }),
        "{error}"
    );
    assert!(!root.exists());
    let only_demo = ExportOptions::new().runtimes([demo]);
    export(&store, &root, &only_demo).unwrap();
}

#[test]
fn strict_import_is_all_or_nothing() {
    let clean = several();
    let root = clean.path();
    let store = store();
    let alpha = root.join("runtimes").join(dir_of("runtime-alpha"));
    append(&alpha.join("events.jsonl"), b"{}\n");
    let r = root.join("runtimes").join(dir_of("r"));
    fs::remove_file(r.join("events.jsonl")).unwrap();
    let error = strict(&store, root).unwrap_err();
    let LayoutError::Refused { findings, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(findings.len(), 2, "{error}");
    let text = error.to_string();
    let line = format!("{}, line 9, byte ", alpha.join("events.jsonl").display());
    assert!(text.contains(&line), "{text}");
    assert!(
        text.contains(&format!("{}: missing", r.join("events.jsonl").display())),
        "{text}"
    );
    assert!(text.contains("a salvage import"), "{text}");
    assert_eq!(content(&store), Vec::<String>::new());
}
