//! The end of a log, its order, and the rows that are selected.

use crate::layout_support::{edit, runtime_dir, small};
use crate::program::{Workplace, command, run};
use crate::support::named;
use redb_runtime_store::Store;
use redb_runtime_store::interaction::WorkerInput;
use std::path::{Path, PathBuf};

/// A store with 10,003 events, more than are read at a time. Each tenth entry of the only worker is a reply, and the
/// texts are `text 0`, `text 1` and so on.
fn long_store(work: &Workplace) -> PathBuf {
    let path = work.path("long.redb");
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime
        .create_worker(Default::default())
        .unwrap()
        .worker_ref;
    runtime
        .transaction(|tx| {
            for n in 0..10_000 {
                tx.send_input(&worker, WorkerInput::user(format!("text {n}")))?;
                if n % 10 == 9 {
                    tx.append_reply(&worker, format!("reply {n}"))?;
                }
            }
            Ok(())
        })
        .unwrap();
    runtime.stop_worker(&worker, Some("enough".into())).unwrap();
    store.close().unwrap();
    path
}

/// The numbers that a verb prints: ids of events, sequences of entries.
fn numbers(verb: &str, store: &Path, options: &[&str]) -> Vec<u64> {
    let mut command = command(&[&verb, &store, &"--json"]);
    if verb == "transcript" {
        command.arg("worker-00000001");
    }
    let output = command.args(options).output().unwrap();
    assert!(output.status.success(), "{options:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let number = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = value.get("id").or(value.get("sequence"));
        number.unwrap().as_u64().unwrap()
    };
    text.lines().map(number).collect()
}

#[test]
fn tail_prints_the_last_selected_rows() {
    let work = Workplace::new();
    let store = long_store(&work);
    let of = |verb: &str, options: &[&str]| numbers(verb, &store, options);
    let last = 10_003;
    assert_eq!(of("events", &["-n", "2"]), [last - 1, last]);
    assert_eq!(
        of("events", &["--tail", "1", "--kind", "worker_created"]),
        [2]
    );
    let ends = ["--kind", "worker_created", "--kind", "worker_stopped"];
    assert_eq!(of("events", &[&["-n", "5"][..], &ends].concat()), [2, last]);
    assert_eq!(of("events", &["-n", "0"]), [0; 0]);
    assert_eq!(of("events", &["-n", "20000"]).len() as u64, last);
    // More than one part of the log is read for these.
    assert_eq!(
        of("events", &["-n", "5000"]),
        ((last - 4999)..=last).collect::<Vec<_>>()
    );
    assert_eq!(of("events", &["-n", "3", "--grep", "runtime started"]), [1]);
    assert_eq!(of("transcript", &["-n", "3"]), [10_998, 10_999, 11_000]);
    assert_eq!(
        of("transcript", &["-n", "2", "--role", "assistant"]),
        [10_989, 11_000]
    );
    assert_eq!(of("transcript", &["-n", "2", "--grep", "text 1"]).len(), 2);
    assert_eq!(
        of("transcript", &["-n", "9", "--grep", "text 4321"]),
        [4754]
    );
}

#[test]
fn reverse_prints_the_last_row_first() {
    let work = Workplace::new();
    let store = long_store(&work);
    let of = |verb: &str, options: &[&str]| numbers(verb, &store, options);
    for (verb, all) in [("events", 10_003), ("transcript", 11_000)] {
        let backwards: Vec<u64> = (1..=all).rev().collect();
        assert_eq!(of(verb, &["--reverse"]), backwards, "{verb}");
        assert_eq!(
            of(verb, &["--reverse", "--limit", "5000"]),
            backwards[..5000]
        );
        assert_eq!(of(verb, &["--reverse", "-n", "3"]), backwards[..3]);
    }
    assert_eq!(
        of(
            "transcript",
            &["--reverse", "--role", "assistant", "-n", "2"]
        ),
        [11_000, 10_989]
    );
}

#[test]
fn unknown_kinds_and_roles_are_named_with_the_known_ones() {
    let work = Workplace::new();
    let store = work.imported();
    let refused = run(&[&"events", &store, &"--kind", &"created"]);
    let message = refused.expect_code(2).stderr();
    assert!(
        message.contains("created") && message.contains("worker_created"),
        "{message}"
    );
    let refused = run(&[&"transcript", &store, &"worker-00000001", &"--role", &"bot"]);
    assert!(refused.expect_code(2).stderr().contains("assistant"));
    for options in [["--from", "1"], ["--limit", "1"]] {
        run(&[&"events", &store, &"-n", &"1", &options[0], &options[1]]).expect_code(2);
    }
    run(&[&"events", &store, &"--reverse", &"--follow"]).expect_code(2);
}

#[test]
fn workers_and_runtimes_are_found_by_the_beginning_of_their_ids() {
    let work = Workplace::new();
    let store = work.imported();
    let by = |text: &str| {
        let shown = run(&[&"transcript", &store, &text, &"--json"]);
        shown.expect_code(0).stdout().lines().count()
    };
    for text in ["worker-00000002", "2", "00000002"] {
        assert_eq!(by(text), 1, "{text}");
    }
    for text in ["1", "worker-00000001"] {
        assert_eq!(by(text), 3, "{text}");
    }
    let several = run(&[&"transcript", &store, &"wor"])
        .expect_code(2)
        .stderr();
    assert!(
        several.contains("2 ids begin with wor: worker-00000001, worker-00000002"),
        "{several}"
    );
    run(&[&"transcript", &store, &"orker"]).expect_code(1);
    let about = run(&[
        &"events",
        &store,
        &"--worker",
        &"2",
        &"--runtime",
        &"de",
        &"--json",
    ]);
    assert_eq!(about.expect_code(0).stdout().lines().count(), 3);
    let found = run(&[&"search", &store, &"Thanks", &"--worker", &"1", &"--count"]);
    assert_eq!(found.expect_code(0).stdout(), "1\n");
}

#[test]
fn diagnostics_are_selected_by_what_they_say() {
    let work = Workplace::new();
    let store = work.imported();
    let of = |options: &[&str]| -> Vec<u64> {
        let mut command = command(&[&"diagnostics", &store, &"--json"]);
        let output = command.args(options).output().unwrap();
        assert!(output.status.success(), "{options:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let id = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["id"].as_u64().unwrap()
        };
        text.lines().map(id).collect()
    };
    let all = of(&[]);
    let of_severities: usize = ["info", "warning", "error"]
        .map(|severity| of(&["--severity", severity]).len())
        .iter()
        .sum();
    assert_eq!(of_severities, all.len());
    assert_eq!(all, [1, 2]);
    assert_eq!(of(&["--code", "worker"]), [2]);
    assert_eq!(of(&["--code", "worker.tools_less"]), [2]);
    assert_eq!(of(&["--code", "work"]), [0; 0]);
    assert_eq!(of(&["--grep", "no such text"]), [0; 0]);
    let of_workers = of(&["--worker", "1"]).len() + of(&["--worker", "2"]).len();
    assert_eq!(of_workers, all.len());
}

#[test]
fn worker_is_shown_with_its_whole_request() {
    let work = Workplace::new();
    let store = work.imported();
    let shown = run(&[&"worker", &store, &"1"]).expect_code(0).stdout();
    for line in [
        "worker-00000001 of demo",
        "  status        running",
        "  intent        assistant: answers questions",
        "  entries       3: user 2, assistant 0, system 1",
        "  last event    7",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}:\n{shown}");
    }
    let json = run(&[&"worker", &store, &"1", &"--json"])
        .expect_code(0)
        .stdout();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["user_entries"], 2);
    assert_eq!(value["transcript_len"], 3);
    assert_eq!(value["diagnostics"].as_array().unwrap().len(), 2);
    assert_eq!(value.get("attributes"), None);
    run(&[&"worker", &store, &"nobody"]).expect_code(1);
    let title = "{\"title\":\"Front desk\"}";
    run(&[&"set-attributes", &store, &"worker-00000001", &title]).expect_code(0);
    let shown = run(&[&"worker", &store, &"1"]).expect_code(0).stdout();
    assert!(
        shown.contains("  attribute     title = \"Front desk\"\n"),
        "{shown}"
    );
}

/// The fixture, with an unknown member `content` in the event of the last input.
fn with_content_member(work: &Workplace) -> PathBuf {
    let directory = small();
    let log = runtime_dir(directory.path()).join("events.jsonl");
    edit(
        &log,
        "{\"id\":7,",
        "{\"content\":\"of the import\",\"id\":7,",
    );
    let store = work.path("content.redb");
    run(&[&"import", &directory.path(), &store]).expect_code(0);
    store
}

#[test]
fn content_is_the_text_of_each_input() {
    let work = Workplace::new();
    let store = with_content_member(&work);
    let shown = run(&[&"events", &store, &"--content"])
        .expect_code(0)
        .stdout();
    assert!(shown.contains("You help whoever writes to you."), "{shown}");
    assert!(!shown.contains("worker input accepted"), "{shown}");
    assert!(shown.contains("done for today"), "{shown}");
    let json = run(&[&"events", &store, &"--content", &"--json"])
        .expect_code(0)
        .stdout();
    let of_7 = json.lines().nth(6).unwrap();
    assert_eq!(of_7.matches("\"content\":").count(), 1, "{of_7}");
    assert!(of_7.contains("\"content\":\"Thanks.\""), "{of_7}");
    let plain = run(&[&"events", &store, &"--json"]).expect_code(0).stdout();
    assert!(plain.contains("of the import"), "{plain}");
}

#[test]
fn grep_searches_the_text_that_is_shown() {
    let work = Workplace::new();
    let store = work.imported();
    for order in ["--json", "--reverse"] {
        let found = run(&[
            &"events",
            &store,
            &"--content",
            &"--grep",
            &"Thanks",
            &order,
        ]);
        let found = found.expect_code(0).stdout();
        assert!(found.contains("Thanks."), "{order}: {found}");
        assert!(!found.contains("done for today"), "{order}: {found}");
        let message = run(&[
            &"events",
            &store,
            &"--content",
            &"--grep",
            &"accepted",
            &order,
        ]);
        assert_eq!(message.expect_code(0).stdout(), "", "{order}");
    }
}

#[test]
fn last_rows_with_long_texts_come_in_parts() {
    let work = Workplace::new();
    let path = work.path("long-texts");
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime
        .create_worker(Default::default())
        .unwrap()
        .worker_ref;
    // Together more than is held of one part.
    for n in 0..40 {
        let text = format!("{n:02}{}", "x".repeat(1 << 20));
        runtime
            .send_input(&worker, WorkerInput::user(text))
            .unwrap();
    }
    store.close().unwrap();
    let begin = |verb: &str, options: &[&str]| {
        let mut command = command(&[&verb, &path]);
        command.args(options).args(["--reverse", "--json"]);
        let output = command.output().unwrap();
        assert!(output.status.success());
        let lines = String::from_utf8(output.stdout).unwrap();
        let texts = lines
            .lines()
            .filter_map(|line| line.split_once("\"content\":\""));
        texts
            .map(|(_, text)| text[..2].parse::<usize>().unwrap())
            .collect::<Vec<_>>()
    };
    let all: Vec<usize> = (0..40).rev().collect();
    assert_eq!(begin("events", &["--content"]), all);
    assert_eq!(begin("transcript", &["worker-00000001"]), all);
    assert_eq!(
        begin("transcript", &["worker-00000001", "-n", "3"]),
        all[..3]
    );
}
