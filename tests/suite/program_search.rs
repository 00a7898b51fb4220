//! `runtime-store search`.

use crate::program::{Workplace, check_shown, command, run};
use crate::program_times::five_days;
use crate::support::{named, new_worker, scratch, send_many};
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
    let plain = run(&[&"search", &path, &"needle", &"--no-time"]);
    let plain = plain.expect_code(0).stdout();
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

#[test]
fn search_times_select_rows_and_are_shown() {
    let work = Workplace::new();
    let store = five_days(&work);
    let only = |options: &[&str]| {
        let (role, json) = (["--role", "user"], ["--json"]);
        let options = [options, &role, &json].concat();
        let mut command = command(&[&"search", &store, &"day"]);
        let output = command.args(options).env("TZ", "IST-5:30").output();
        let output = String::from_utf8(output.unwrap().stdout).unwrap();
        let days = output.lines().map(|line| {
            let found: Value = serde_json::from_str(line).unwrap();
            let content = found["entry"]["content"].as_str().unwrap();
            content.strip_prefix("day ").unwrap().to_owned()
        });
        days.collect::<String>()
    };
    assert_eq!(only(&[]), "01234");
    assert_eq!(only(&["--since", "2026-11-22T12:00:00Z"]), "234");
    assert_eq!(only(&["--since", "2026-11-22T12:00:00.001Z"]), "34");
    assert_eq!(only(&["--until", "2026-11-22T12:00:00Z"]), "01");
    // The first limit is in the zone of the test: midnight there is 18:30 UTC of the day before.
    let range = [
        "--since",
        "2026-11-22",
        "--until",
        "2026-11-23",
        "--newest-first",
    ];
    assert_eq!(only(&range), "2");
    assert_eq!(
        only(&["--since", "2026-11-24", "--until", "2026-11-23"]),
        ""
    );
    let shown = |options: &[&str]| {
        let mut command = command(&[&"search", &store, &"day 3"]);
        let output = command.args(options).env("TZ", "IST-5:30").output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let place = "worker-00000001, position 3, user";
    assert_eq!(
        shown(&[]),
        format!("{place}, 2026-11-23 17:30:00\n  day 3\n")
    );
    assert_eq!(
        shown(&["--utc"]),
        format!("{place}, 2026-11-23 12:00:00\n  day 3\n")
    );
    assert_eq!(shown(&["--no-time"]), format!("{place}\n  day 3\n"));
    let json = shown(&["--json"]);
    let end = ",\"recorded_at\":\"2026-11-23T12:00:00.000Z\",\"matches\":[[0,5]]}\n";
    assert!(json.ends_with(end), "{json}");
    let undated = shown(&["--json", "--no-time"]);
    assert!(!undated.contains("recorded_at"), "{undated}");
    // Rows without a time are in no range.
    let undated = work.imported();
    run(&[&"search", &undated, &"", &"--until", &"2999-01-01"]).expect_code(1);
    run(&[&"search", &undated, &"", &"--since", &"yesterday"]).expect_code(2);
}

#[test]
fn context_shows_lines_around_each_match() {
    let (_directory, path) = scratch();
    let runtime = Store::open(&path).unwrap().runtime(named("r")).unwrap();
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let text = "0 x\n1\n2\n3\n4\n5\n6 x\n7\n8 x\n9\n10\n11";
    runtime
        .send_input(&worker.unwrap().worker_ref, WorkerInput::user(text))
        .unwrap();
    runtime.store().close().unwrap();
    let lines = |options: &[&str]| {
        let mut command = command(&[&"search", &path, &"x", &"--role", &"user"]);
        let output = command.args(options).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).map(str::trim_start).collect();
        lines.join(",")
    };
    assert_eq!(lines(&[]), "0 x,6 x,8 x");
    assert_eq!(lines(&["-C", "0"]), "0 x,6 x,8 x");
    assert_eq!(lines(&["-C", "1"]), "0 x,1,--,5,6 x,7,8 x,9");
    assert_eq!(lines(&["--context", "2"]), "0 x,1,2,--,4,5,6 x,7,8 x,9,10");
    // No line is left out between the matches.
    assert_eq!(lines(&["-C3"]), "0 x,1,2,3,4,5,6 x,7,8 x,9,10,11");
}

#[test]
fn count_prints_only_the_number_of_matches() {
    let work = Workplace::new();
    let store = work.imported();
    let counted = |options: &[&dyn AsRef<OsStr>], code: i32| {
        let mut all: Vec<&dyn AsRef<OsStr>> = vec![&"search", &store, &"--count"];
        all.extend(options);
        run(&all).expect_code(code).stdout()
    };
    assert_eq!(counted(&[&""], 0), "12\n");
    assert_eq!(counted(&[&"created"], 0), "2\n");
    assert_eq!(counted(&[&"", &"--limit", &"5"], 0), "5\n");
    assert_eq!(counted(&[&"created", &"--json"], 0), "{\"count\":2}\n");
    assert_eq!(counted(&[&"absent"], 1), "0\n");
    counted(&[&"a(b", &"--regex"], 2);
}

/// As for the other verbs that print logs: a reader of standard output that is stopped holds no snapshot.
#[test]
fn blocked_search_holds_no_snapshot() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    // More than a pipe takes, and more than one part.
    send_many(&runtime, &worker, 9000);
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
