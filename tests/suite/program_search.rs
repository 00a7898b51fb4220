//! `runtime-store search`.

use crate::program::{Workplace, check_shown, command, run};
use crate::support::{named, scratch};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::{RuntimeError, Store};
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The places of the matches: event ids, and positions with their workers.
fn places(store: &Path, arguments: &[&dyn AsRef<OsStr>]) -> Vec<String> {
    let mut all: Vec<&dyn AsRef<OsStr>> = vec![&"search", &store, &"--json"];
    all.extend(arguments);
    let printed = run(&all).expect_code(0).stdout();
    let place = |line: &str| {
        let found: Value = serde_json::from_str(line).expect("JSON");
        let (row, text) = match &found["entry"] {
            Value::Null => (&found["event"], "message"),
            entry => (entry, "content"),
        };
        for range in found["matches"].as_array().expect("ranges") {
            let at = |end: usize| usize::try_from(range[end].as_u64().unwrap()).unwrap();
            let text = row[text].as_str().expect("text");
            assert!(text.get(at(0)..at(1)).is_some(), "{range} of {text:?}");
        }
        match found["position"].as_u64() {
            None => row["id"].to_string(),
            Some(position) => {
                let worker = row["worker_ref"]["worker_id"].as_str().expect("worker");
                format!("{}:{position}", &worker[worker.len() - 1..])
            }
        }
    };
    printed.lines().map(place).collect()
}

#[test]
fn search_is_limited_ordered_and_cut() {
    let work = Workplace::new();
    let store = work.imported();
    let all = places(&store, &[&""]);
    assert_eq!(all.len(), 8 + 4);
    let mut reversed = places(&store, &[&"", &"--newest-first"]);
    reversed.reverse();
    assert_eq!(reversed, all);
    assert_eq!(places(&store, &[&"", &"--limit", &"3"]), all[..3]);
    assert_eq!(places(&store, &[&"created"]), ["2", "5"]);
}

#[test]
fn search_limits_select_rows() {
    let work = Workplace::new();
    let store = work.imported();
    assert_eq!(places(&store, &[&"Thanks"]), ["1:2"]);
    assert_eq!(places(&store, &[&"tHANKS", &"-i"]), ["1:2"]);
    assert_eq!(places(&store, &[&"^Th.nks", &"--regex"]), ["1:2"]);
    assert_eq!(places(&store, &[&"", &"--role", &"system"]), ["1:0"]);
    let kinds = [&"" as &dyn AsRef<OsStr>, &"--kind", &"worker_created"];
    assert_eq!(places(&store, &kinds), ["2", "5"]);
    let worker = [&"" as &dyn AsRef<OsStr>, &"--worker", &"worker-00000002"];
    assert_eq!(places(&store, &worker), ["5", "6", "8", "2:0"]);
}

#[test]
fn search_exit_codes_are_those_of_grep() {
    let work = Workplace::new();
    let store = work.imported();
    run(&[&"search", &store, &"Thanks"]).expect_code(0);
    let nothing = run(&[&"search", &store, &"absent"]);
    assert_eq!(nothing.expect_code(1).stdout() + &nothing.stderr(), "");
    let invalid = run(&[&"search", &store, &"a(b", &"--regex"]);
    assert!(invalid.expect_code(2).stderr().contains("unclosed group"));
    let unknown = run(&[&"search", &store, &"a", &"--worker", &"unknown"]);
    assert!(
        unknown
            .expect_code(1)
            .stderr()
            .contains("no worker unknown")
    );
    run(&[&"search", &store, &"a", &"--kind", &"unknown"]).expect_code(2);
}

#[test]
fn matches_are_marked_on_terminals_only() {
    let (_directory, path) = scratch();
    let runtime = Store::open(&path).unwrap().runtime(named("r")).unwrap();
    let worker = runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap();
    let long = format!("{}needle{}", "x".repeat(1000), "y".repeat(1000));
    let text = format!("first\nneedle, needle \u{202e}\tand more\n{long}\nnee\ndle");
    runtime
        .send_input(&worker.worker_ref, WorkerInput::user(text))
        .unwrap();
    runtime.store().close().unwrap();
    let plain = run(&[&"search", &path, &"needle"]).expect_code(0).stdout();
    let heading = "worker-00000001, position 0, user\n";
    let cut = format!("  …{}needle{}…\n", "x".repeat(100), "y".repeat(294));
    let expected = format!("{heading}  needle, needle \\u{{202e}}    and more\n{cut}");
    assert_eq!(plain, expected);
    let shown = |arguments: &[&dyn AsRef<OsStr>]| {
        let mut command = command(arguments);
        let output = command.env("CLICOLOR_FORCE", "1").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let marked = shown(&[&"search", &path, &"needle"]);
    assert_eq!(marked.matches("needle\u{1b}[0m").count(), 3, "{marked:?}");
    // A match in two lines is marked in both.
    let marked = shown(&[&"search", &path, &"nee\ndle"]);
    assert!(marked.contains("nee\u{1b}[0m\n"), "{marked:?}");
    assert!(marked.contains("dle\u{1b}[0m\n"), "{marked:?}");
    // Matches of no bytes show their lines.
    let empty = run(&[&"search", &path, &"", &"--role", &"user"]);
    assert_eq!(empty.expect_code(0).stdout().lines().count(), 1 + 5);
    check_shown(
        &run(&[&"search", &path, &"and more"])
            .expect_code(0)
            .stdout(),
    );
}

/// As for the other verbs that print logs: a reader of standard output that is stopped holds no snapshot.
#[test]
fn blocked_search_holds_no_snapshot() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap()
        .worker_ref;
    // More than a pipe takes, and more than one part.
    let text = "x".repeat(100);
    let pending: Vec<_> = (0..9000)
        .map(|_| {
            let (worker, input) = (worker.clone(), WorkerInput::user(text.clone()));
            runtime.submit(move |tx| tx.send_input(&worker, input))
        })
        .collect();
    for sent in pending {
        sent.wait().unwrap();
    }
    let mut child = command(&[&"search", &path, &"xx", &"--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    // Only an attempt that comes before the program blocks may find a snapshot.
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = store.compact() {
        assert!(matches!(error, RuntimeError::StoreBusy { .. }), "{error:?}");
        assert!(Instant::now() < deadline, "a snapshot is held");
    }
    assert_eq!(1 + stdout.lines().map(Result::unwrap).count(), 9000);
    assert!(child.wait().unwrap().success());
}
