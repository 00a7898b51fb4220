//! `runtime-store compare`.

use crate::program::{FIXTURE, Workplace, run};
use crate::support::{new_worker, say};
use redb_runtime_store::Store;
use redb_runtime_store::management::RuntimeOptions;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Two stores whose worker has said a long text with `one` and `other` in its middle.
fn two_stores(work: &Workplace) -> [PathBuf; 2] {
    ["one", "other"].map(|word| {
        let runtime = work.runtime(&format!("{word}.redb"));
        let worker = new_worker(&runtime);
        let text = format!(
            "{}\u{202e}{word} {}",
            "a".repeat(1 << 20),
            "b".repeat(1 << 20)
        );
        say(&runtime, &worker, &text).unwrap();
        runtime.store().close().unwrap();
        work.path(&format!("{word}.redb"))
    })
}

#[test]
fn stores_and_directories_compare_in_any_order() {
    let work = Workplace::new();
    let store = work.imported();
    let copy = work.path("copy");
    run(&[&"backup", &store, &copy]).expect_code(0);
    for sides in [
        [Path::new(FIXTURE), &store],
        [&store, Path::new(FIXTURE)],
        [&store, &copy],
        [&store, &store],
    ] {
        let compared = run(&[&"compare", &sides[0], &sides[1]]);
        assert_eq!(
            compared.expect_code(0).stdout(),
            "the same on both sides: 1 runtime, 2 workers, 8 events, 4 entries\n"
        );
        let quiet = run(&[&"compare", &sides[0], &sides[1], &"--quiet"]);
        assert_eq!(quiet.expect_code(0).stdout(), "");
    }
    let both = run(&[&"compare", &FIXTURE, &FIXTURE]);
    let message = both.expect_code(2).stderr();
    assert!(message.contains("one side must be a store"), "{message}");
    let nothing = work.path("nothing");
    run(&[&"compare", &nothing, &store]).expect_code(1);
    run(&[&"compare", &store, &nothing]).expect_code(1);
    assert!(!nothing.exists());
}

#[test]
fn differing_stores_are_exit_code_4_with_short_lines() {
    let work = Workplace::new();
    let [one, other] = two_stores(&work);
    let compared = run(&[&"compare", &one, &other]);
    let shown = compared.expect_code(4).stdout();
    assert!(shown.lines().all(|line| line.len() < 400), "{shown}");
    let lines: Vec<&str> = shown.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains("entry 1: content differs from byte "));
    let at = at.unwrap_or_else(|| panic!("{shown}"));
    let offset = format!("from byte {} on", (1 << 20) + "\"\u{202e}o".len());
    assert!(lines[at].ends_with(&offset), "{}", lines[at]);
    let (one, other) = (one.display().to_string(), other.display().to_string());
    let side = |line: &str, path: &str, word: &str| {
        let start = format!("    {path}:");
        assert!(line.starts_with(&start), "{line}");
        // Nothing that the terminal would act on.
        assert!(line.contains(&format!("\\u{{202e}}{word} bbb")), "{line}");
        assert!(line.contains("…aaa") && line.ends_with("bbb…"), "{line}");
    };
    side(lines[at + 1], &one, "one");
    side(lines[at + 2], &other, "other");
    let last = lines.last().unwrap();
    assert!(last.contains("1 entry"), "{last}");
    // The times of both stores differ, too.
    assert!(
        last.contains("differ; the same on both sides: 0 runtimes, "),
        "{last}"
    );
    let json = run(&[&"compare", &one, &other, &"--json"]);
    let json: Value = serde_json::from_str(&json.expect_code(4).stdout()).unwrap();
    assert_eq!(json["differing"]["transcript_entry"], 1);
    let mut entries = json["differences"].as_array().unwrap().iter();
    let entry = entries
        .find(|one| one["kind"] == "transcript_entry")
        .unwrap();
    assert_eq!(entry["window"]["offset"], (1 << 20) + 5);
    assert_eq!(entry["number"], 1);
    assert_eq!(entry["runtime_id"], "live");
}

#[test]
fn long_lines_of_directories_are_shown_around_differences() {
    let work = Workplace::new();
    let [one, other] = two_stores(&work);
    let root = work.path("root");
    run(&[&"export", &one, &root]).expect_code(0);
    let shown = run(&[&"compare", &root, &other]).expect_code(4).stdout();
    assert!(shown.lines().all(|line| line.len() < 400), "{shown}");
    let lines: Vec<&str> = shown.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains("transcript.jsonl, line 1: content differs"));
    let at = at.unwrap_or_else(|| panic!("{shown}"));
    assert!(lines[at + 1].starts_with("    directory: …aaa"), "{shown}");
    assert!(lines[at + 2].starts_with("    store:     …aaa"), "{shown}");
    // A refused update has one line, with both texts.
    let update = run(&[&"export", &other, &root, &"--update"]);
    let message = update.expect_code(4).stderr();
    assert!(message.len() < 2000, "{message}");
    assert!(
        message.contains("one bbb") && message.contains("other bbb"),
        "{message}"
    );
}

#[test]
fn last_line_counts_what_differs_and_what_is_the_same() {
    let work = Workplace::new();
    let store = work.imported();
    let copy = work.path("copy");
    run(&[&"backup", &store, &copy]).expect_code(0);
    let opened = Store::open(&copy).unwrap();
    let runtime = opened.runtime(RuntimeOptions::default()).unwrap();
    let worker = crate::support::worker_ref("demo", "worker-00000001");
    say(&runtime, &worker, "one").unwrap();
    say(&runtime, &worker, "two").unwrap();
    opened.close().unwrap();
    let last = |shown: String| shown.lines().last().unwrap().to_owned();
    let shown = run(&[&"compare", &store, &copy]).expect_code(4).stdout();
    assert_eq!(
        last(shown),
        "1 runtime, 1 worker, 2 events, 2 entries differ; \
         the same on both sides: 0 runtimes, 1 worker, 8 events, 4 entries"
    );
    let shown = run(&[&"compare", &FIXTURE, &copy]).expect_code(4).stdout();
    assert_eq!(
        last(shown),
        "1 runtime, 1 worker, 2 events, 2 entries differ; \
         the same on both sides: 0 runtimes, 1 worker, 8 events, 4 entries"
    );
}
