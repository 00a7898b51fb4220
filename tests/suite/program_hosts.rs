//! The verbs of `runtime-store` for hosts that come back: attributes, open work and redactions.

use crate::program::{Workplace, command, run};
use crate::support::{all_entries, new_worker, say};
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

fn json_lines(arguments: &[&dyn AsRef<OsStr>]) -> Vec<Value> {
    let printed = run(arguments).expect_code(0).stdout();
    let lines = printed.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON")
}

#[test]
fn attributes_are_set_and_select_workers() {
    let work = Workplace::new();
    let store = work.imported();
    let (first, second): (&dyn AsRef<OsStr>, &dyn AsRef<OsStr>) =
        (&"worker-00000001", &"worker-00000002");
    let set = |worker, patch: &str| run(&[&"set-attributes", &store, worker, &patch]);
    let patch = r#"{"title":"Report","n":5,"meta":{"a":1,"b":2}}"#;
    let printed = set(first, patch).expect_code(0).stdout();
    let expected = r#"worker-00000001: {"meta":{"a":1,"b":2},"n":5,"title":"Report"}"#;
    assert_eq!(printed.trim_end(), expected);
    set(second, r#"{"title":"Report","n":"5"}"#).expect_code(0);
    let removed = run(&[
        &"set-attributes",
        &store,
        second,
        &r#"{"x":null}"#,
        &"--json",
    ]);
    let removed: Value = serde_json::from_str(&removed.expect_code(0).stdout()).unwrap();
    assert_eq!(removed["worker_ref"]["worker_id"], "worker-00000002");
    assert_eq!(removed["attributes"]["n"], "5");

    let found = |conditions: &[&str]| -> Vec<String> {
        let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"workers", &store, &"--json"];
        for condition in conditions {
            arguments.push(&"--where");
            arguments.push(condition);
        }
        let workers = json_lines(&arguments);
        let id = |worker: &Value| worker["worker_id"].as_str().unwrap().to_owned();
        workers.iter().map(id).collect()
    };
    let (one, two) = ("worker-00000001", "worker-00000002");
    assert_eq!(found(&["title=Report"]), [one, two]);
    assert_eq!(found(&["title=Report", "n=5"]), [one]);
    assert_eq!(found(&[r#"n="5""#]), [two]);
    assert_eq!(found(&[r#"meta={"b":2}"#]), [one]);
    assert_eq!(found(&["title=report"]), [""; 0]);
    let none = run(&[&"workers", &store, &"--where", &"title=x"]);
    assert_eq!(
        none.expect_code(0).stdout(),
        "no worker has these attributes\n"
    );
    let shown = json_lines(&[&"workers", &store, &"--json"]);
    assert_eq!(shown[0]["attributes"]["title"], "Report");

    set(first, "[1]").expect_code(2);
    set(first, r#"{"$open_work":1}"#).expect_code(1);
    run(&[&"workers", &store, &"--where", &"title"]).expect_code(2);
    let unknown: &dyn AsRef<OsStr> = &"nobody";
    set(unknown, "{}").expect_code(1);
}

#[test]
fn unfinished_says_whether_a_host_has_the_store() {
    let work = Workplace::new();
    let runtime = work.runtime("store");
    let worker = new_worker(&runtime);
    runtime.open_work(&worker, "call-1", "count boxes").unwrap();
    let store = work.path("store");
    let printed = run(&[&"unfinished", &store]).expect_code(0).stdout();
    assert!(
        printed.contains("call-1") && printed.contains("count boxes"),
        "{printed}"
    );
    assert!(printed.contains("a host has the store open"), "{printed}");
    let work_of = |printed: &[Value]| (printed.len(), printed[0]["host_has_store"].clone());
    let listed = json_lines(&[&"unfinished", &store, &"--json"]);
    assert_eq!(work_of(&listed), (1, Value::Bool(true)));
    assert_eq!(listed[0]["name"], "call-1");

    runtime.store().close().unwrap();
    let listed = json_lines(&[&"unfinished", &store, &"--json"]);
    assert_eq!(work_of(&listed), (1, Value::Bool(false)));
    let runtime = work.runtime("store");
    assert!(runtime.close_work(&worker, "call-1").unwrap());
    runtime.store().close().unwrap();
    let printed = run(&[&"unfinished", &store]).expect_code(0).stdout();
    assert_eq!(printed, "no open work\n");
}

#[test]
fn unfinished_shows_local_times() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schema-2.redb");
    let work = Workplace::new();
    let store = work.path("store");
    fs::copy(golden, &store).unwrap();
    for (option, expected) in [
        (&[][..], "2026-11-29 21:00:02"),
        (&["--utc"], "2026-11-29 12:00:02"),
    ] {
        let mut shown = command(&[&"unfinished", &store]);
        let shown = shown.args(option).env("TZ", "JST-9").output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains(expected), "{shown}");
    }
}

/// A store with a runtime whose entries, event and kept file have secrets, and the directory that it was imported from.
fn with_secrets(work: &Workplace) -> (PathBuf, PathBuf, WorkerRef) {
    let store = work.path("store");
    let root = work.path("root");
    let runtime = work.runtime("before");
    let worker = new_worker(&runtime);
    for text in ["my key is sk-12345", "nothing here", "sk-99999 again"] {
        say(&runtime, &worker, text).unwrap();
    }
    let note = Attributes::new().with("note", "sk-12345").unwrap();
    let input = WorkerInput::user("also sk-12345");
    runtime.send_input_with(&worker, input, note).unwrap();
    runtime
        .stop_worker(&worker, Some("leaked sk-12345".into()))
        .unwrap();
    runtime.store().close().unwrap();
    run(&[&"export", &work.path("before"), &root]).expect_code(0);
    let dir = root.join("runtimes/id-6c697665/workers");
    let dir = fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    fs::write(dir.join("notes.txt"), "about sk-12345").unwrap();
    fs::write(dir.join("other.txt"), "nothing").unwrap();
    run(&[&"import", &root, &store]).expect_code(0);
    (store, root, worker)
}

#[test]
fn redact_lists_first_and_then_replaces() {
    let work = Workplace::new();
    let (store, _, worker) = with_secrets(&work);
    let pattern: [&dyn AsRef<OsStr>; 2] = [&"sk-[0-9]{5}", &"--regex"];
    let unanswered = run(&[&"redact", &store, pattern[0], pattern[1]]);
    assert!(unanswered.expect_code(2).stderr().contains("--yes"));
    let tried = run(&[&"redact", &store, pattern[0], pattern[1], &"--dry-run"]);
    let printed = tried.expect_code(0).stdout();
    let expected = [
        "event 7, worker stopped: stays",
        "worker-00000001, position 0",
        "worker-00000001, position 2",
        "worker-00000001, position 3",
        "worker-00000001, kept file notes.txt: stays",
        "would redact 3 entries; 1 event and 1 kept file that match stay",
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
    let count = run(&[
        &"search", &store, pattern[0], pattern[1], &"--role", &"user", &"--count",
    ]);
    assert_eq!(count.stdout(), "3\n");

    let lines = json_lines(&[
        &"redact", &store, pattern[0], pattern[1], &"--yes", &"--json",
    ]);
    let entries: Vec<_> = lines.iter().filter_map(|line| line.get("entry")).collect();
    assert_eq!(entries.len(), 3);
    assert!(entries.iter().all(|entry| entry["redacted"] == true));
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.get("kept_file").is_some())
            .count(),
        1
    );
    run(&[&"search", &store, &"sk-", &"--role", &"user"]).expect_code(1);
    run(&[&"verify", &store]).expect_code(0);
    let again = run(&[&"redact", &store, &"sk-", &"--yes"])
        .expect_code(0)
        .stdout();
    assert!(
        again.ends_with("no entry matches; 1 event and 1 kept file that match stay\n"),
        "{again}"
    );
    let runtime = work.runtime("store");
    let contents: Vec<_> = all_entries(&runtime, &worker);
    assert_eq!(contents[0].content, "[redacted]");
    assert_eq!(contents[1].content, "nothing here");
    runtime.store().close().unwrap();
    run(&[&"redact", &store, &"(", &"--regex", &"--yes"]).expect_code(2);
    let yes: &dyn AsRef<OsStr> = &"--yes";
    run(&[&"redact", &store, &"x", &"--worker", &"nobody", yes]).expect_code(1);
    // As `search`: nothing matches.
    for option in ["--yes", "--dry-run"] {
        let nothing = run(&[&"redact", &store, &"absent", &option]);
        assert_eq!(nothing.expect_code(1).stdout(), "nothing matches\n");
        let nothing = run(&[&"redact", &store, &"absent", &option, &"--json"]);
        assert_eq!(nothing.expect_code(1).stdout(), "");
    }
}

#[test]
fn update_catches_up_with_redactions() {
    let work = Workplace::new();
    let (store, root, _) = with_secrets(&work);
    run(&[&"redact", &store, &"sk-", &"--yes"]).expect_code(0);
    run(&[&"compare", &root, &store]).expect_code(4);
    run(&[&"export", &store, &root, &"--update"]).expect_code(0);
    run(&[&"compare", &root, &store]).expect_code(0);
    let workers = fs::read_dir(root.join("runtimes/id-6c697665/workers")).unwrap();
    for worker in workers {
        let log = worker.unwrap().path().join("transcript.jsonl");
        assert!(!fs::read_to_string(log).unwrap().contains("sk-"));
    }
}

#[test]
fn compare_exits_with_4_for_other_attributes() {
    let work = Workplace::new();
    let store = work.imported();
    let exported = work.path("exported");
    run(&[&"export", &store, &exported]).expect_code(0);
    run(&[&"compare", &exported, &store]).expect_code(0);
    run(&[&"set-attributes", &store, &"worker-00000001", &r#"{"a":1}"#]).expect_code(0);
    let differs = run(&[&"compare", &exported, &store]);
    assert!(
        differs.expect_code(4).stdout().contains("attributes"),
        "{}",
        differs.stdout()
    );
    // Attributes are caught up by an update.
    run(&[&"export", &store, &exported, &"--update"]).expect_code(0);
    run(&[&"compare", &exported, &store]).expect_code(0);
}
