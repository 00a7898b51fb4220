//! Verbs that remove something: they show it, and ask on a terminal.

use crate::program::{Workplace, run};
use crate::support::{named, new_worker, say, worker_ref};
use crate::terminal::Typing;
use redb_runtime_store::Store;
use redb_runtime_store::management::RuntimeOptions;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// The verbs with their arguments after the store, and what they ask about the fixture.
const REMOVING: [(&str, &[&str], &str); 4] = [
    (
        "delete-worker",
        &["2"],
        "delete worker worker-00000002 of demo: 1 entry, 0 diagnostics, 0 kept files; its events stay? [y/N] ",
    ),
    (
        "delete-runtime",
        &["de", "--even-if-running"],
        "delete runtime demo: 2 workers, 8 events, 4 entries, 2 diagnostics, 0 kept files? [y/N] ",
    ),
    ("prune", &["--keep-events", "2"], "remove 6 rows, "),
    ("redact", &["Thanks"], "redact 1 entry? [y/N] "),
];

fn arguments<'a>(verb: &'a str, store: &'a Path, rest: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![verb, store.to_str().unwrap()];
    all.extend(rest);
    all
}

fn all<'a>(arguments: &'a [&'a str]) -> Vec<&'a dyn AsRef<OsStr>> {
    arguments
        .iter()
        .map(|one| one as &dyn AsRef<OsStr>)
        .collect()
}

#[test]
fn yes_on_a_terminal_removes() {
    for (verb, rest, question) in REMOVING {
        for answer in ["y\n", "YES\n"] {
            let work = Workplace::new();
            let store = work.imported();
            let before = fs::read(&store).unwrap();
            let mut typing = Typing::start(&arguments(verb, &store, rest));
            typing.answer(question, answer);
            let (status, shown) = typing.end();
            assert_eq!(status.code(), Some(0), "{verb}: {shown}");
            assert!(before != fs::read(&store).unwrap(), "{verb}");
            run(&[&"runtimes", &store, &"--no-repair"]).expect_code(0);
            let left = run(&[&"compare", &crate::program::FIXTURE, &store, &"--json"]);
            let left: Value = serde_json::from_str(&left.stdout()).unwrap();
            let differing = |kind: &str| left["differing"][kind].as_u64().unwrap_or_default();
            let removed = match verb {
                "delete-worker" => differing("worker"),
                "delete-runtime" => differing("runtime"),
                "redact" => differing("transcript_entry"),
                // The directory is an archive of what a prune has removed.
                _ => left["pruned_only_in_directory"].as_u64().unwrap() / 6,
            };
            assert_eq!(removed, 1, "{verb}: {left}");
        }
    }
}

#[test]
fn every_other_answer_changes_nothing() {
    const END_OF_INPUT: &str = "\u{4}";
    const INTERRUPT: &str = "\u{3}";
    for (verb, rest, question) in REMOVING {
        let work = Workplace::new();
        let store = work.imported();
        let before = fs::read(&store).unwrap();
        for keys in ["n\n", "\n", "yesterday\n", END_OF_INPUT, INTERRUPT] {
            let mut typing = Typing::start(&arguments(verb, &store, rest));
            typing.answer(question, keys);
            let (status, shown) = typing.end();
            match keys {
                INTERRUPT => assert_eq!(status.signal(), Some(2), "{verb}: {shown}"),
                _ => {
                    assert_eq!(status.code(), Some(1), "{verb} {keys:?}: {shown}");
                    assert!(shown.contains("nothing was changed"), "{shown}");
                }
            }
            assert!(before == fs::read(&store).unwrap(), "{verb} {keys:?}");
        }
        // Neither the question nor its end leaves a store to repair, or a lock.
        run(&[&"runtimes", &store, &"--no-repair"]).expect_code(0);
    }
}

#[test]
fn what_changed_since_it_was_shown_stays() {
    let work = Workplace::new();
    let store = work.imported();
    let host = || {
        let store = Store::open(&store).unwrap();
        (store.runtime(RuntimeOptions::default()).unwrap(), store)
    };
    let mut redacting = Typing::start(&arguments("redact", &store, &["Thanks"]));
    redacting.wait_for("redact 1 entry? [y/N] ");
    let (runtime, opened) = host();
    say(
        &runtime,
        &worker_ref("demo", "worker-00000001"),
        "Thanks again",
    )
    .unwrap();
    opened.close().unwrap();
    redacting.answer("?", "y\n");
    let (status, shown) = redacting.end();
    assert_eq!(status.code(), Some(1), "{shown}");
    assert!(shown.contains("nothing was changed"), "{shown}");
    let matches = run(&[&"search", &store, &"Thanks", &"--count", &"--role", &"user"]);
    assert_eq!(matches.stdout(), "2\n");

    let (_, _, question) = REMOVING[0];
    let mut deleting = Typing::start(&arguments("delete-worker", &store, &["2"]));
    deleting.wait_for(question);
    let (runtime, opened) = host();
    runtime
        .delete_worker(&worker_ref("demo", "worker-00000002"))
        .unwrap();
    opened.close().unwrap();
    deleting.answer(question, "y\n");
    let (status, shown) = deleting.end();
    assert_eq!(status.code(), Some(1), "{shown}");
    assert!(shown.contains("worker-00000002"), "{shown}");
}

/// Answers yes to `question` after a host has done `change`: the rows are not those that were shown.
fn yes_after(
    store: &Path,
    (verb, rest, question): (&str, &[&str], &str),
    change: impl FnOnce(&Store),
) {
    let mut asking = Typing::start(&arguments(verb, store, rest));
    asking.wait_for(question);
    let host = Store::open(store).unwrap();
    change(&host);
    host.close().unwrap();
    asking.answer(question, "y\n");
    let (status, shown) = asking.end();
    assert_eq!(status.code(), Some(1), "{verb}: {shown}");
    assert!(shown.contains("nothing was changed"), "{verb}: {shown}");
}

#[test]
fn rows_that_came_meanwhile_stay() {
    let work = Workplace::new();
    let store = work.imported();
    let [_, delete_runtime, (prune, keep_two, _), _] = REMOVING;
    let input = |host: &Store| {
        let runtime = host.runtime(RuntimeOptions::default()).unwrap();
        say(&runtime, &worker_ref("demo", "worker-00000001"), "more").unwrap();
    };
    let another = |host: &Store| {
        let runtime = host.runtime(named("another")).unwrap();
        let worker = new_worker(&runtime);
        say(&runtime, &worker, "one of three events").unwrap();
    };
    yes_after(&store, delete_runtime, input);
    // One event more to remove, and then a whole runtime more.
    yes_after(&store, (prune, keep_two, "remove 7 rows, "), input);
    yes_after(&store, (prune, keep_two, "remove 8 rows, "), another);
    let events = |runtime: &str| {
        let printed = run(&[&"events", &store, &"--runtime", &runtime]);
        printed.expect_code(0).stdout().lines().count()
    };
    assert_eq!([events("demo"), events("another")], [11, 4]);
}

#[test]
fn without_a_terminal_nothing_goes_without_yes() {
    let work = Workplace::new();
    let store = work.imported();
    let before = fs::read(&store).unwrap();
    for (verb, rest, _) in REMOVING {
        let arguments = arguments(verb, &store, rest);
        let refused = run(&all(&arguments));
        let message = refused.expect_code(2).stderr();
        assert!(
            message.contains("--yes") && message.contains("nothing was changed"),
            "{message}"
        );
        assert_eq!(refused.stdout(), "");
        let mut with_json = Typing::start(&[&arguments[..], &["--json"]].concat());
        with_json.answer("needs --yes", "");
        assert_eq!(with_json.end().0.code(), Some(2));
        let both = [&arguments[..], &["--yes", "--dry-run"]].concat();
        run(&all(&both)).expect_code(2);
    }
    assert!(before == fs::read(&store).unwrap());
}

#[test]
fn dry_run_shows_what_goes_beside_a_host() {
    let work = Workplace::new();
    let store = work.imported();
    let host = Store::open(&store).unwrap();
    for (verb, rest, question) in REMOVING {
        let plain = arguments(verb, &store, rest);
        let tried = run(&all(&[&plain[..], &["--dry-run"]].concat()));
        let shown = tried.expect_code(0).stdout();
        let subject = question.trim_end_matches("? [y/N] ");
        assert!(
            shown.contains(&format!("would {subject}")),
            "{verb}: {shown}"
        );
        let json = run(&all(&[&plain[..], &["--dry-run", "--json"]].concat()));
        let json = json.expect_code(0).stdout();
        assert_eq!(json.lines().count(), 1, "{json}");
        let json: Value = serde_json::from_str(&json).unwrap();
        assert!(json.is_object());
        run(&all(&[&plain[..], &["--yes"]].concat())).expect_code(3);
    }
    host.close().unwrap();
    run(&[&"compare", &crate::program::FIXTURE, &store]).expect_code(0);
}

#[test]
fn running_ones_are_refused_before_the_question() {
    let work = Workplace::new();
    let store = work.imported();
    for arguments in [["delete-worker", "1"], ["delete-runtime", "demo"]] {
        for option in ["--dry-run", "--yes"] {
            let refused = run(&[&arguments[0], &store, &arguments[1], &option]);
            assert!(refused.expect_code(1).stderr().contains("is running"));
        }
    }
    let nobody = run(&[&"delete-worker", &store, &"nobody", &"--dry-run"]);
    nobody.expect_code(1);
}

#[test]
fn exports_take_short_names_of_runtimes() {
    let work = Workplace::new();
    let store = work.imported();
    run(&[&"export", &store, &work.path("out"), &"--runtime", &"de"]).expect_code(0);
    run(&[&"compare", &work.path("out"), &store]).expect_code(0);
    let nobody = run(&[&"export", &store, &work.path("other"), &"--runtime", &"no"]);
    nobody.expect_code(1);
    assert!(!work.path("other").exists());
}

#[test]
fn changing_verbs_take_short_names_of_workers() {
    let work = Workplace::new();
    let store = work.imported();
    let named = |arguments: &[&str]| {
        let mut command: Vec<&dyn AsRef<OsStr>> = vec![&arguments[0], &store];
        command.extend(arguments[1..].iter().map(|one| one as &dyn AsRef<OsStr>));
        run(&command)
    };
    for (arguments, expected) in [
        (&["pin", "1"][..], "worker-00000001: pinned\n"),
        (
            &["set-attributes", "2", "{\"a\":1}"],
            "worker-00000002: {\"a\":1}\n",
        ),
        (&["stop-worker", "1"], "worker worker-00000001 is stopped\n"),
        (
            &["delete-worker", "worker-00000001", "--yes"],
            "deleted worker worker-00000001\n",
        ),
        // A beginning that only one has.
        (
            &["pin", "worker", "--off"],
            "worker-00000002: not pinned any more\n",
        ),
        (
            &["redact", "naïve", "--worker", "2", "--yes"],
            "worker-00000002, position 0\nredacted 1 entry\n",
        ),
    ] {
        let printed = named(arguments).expect_code(0).stdout();
        assert!(printed.ends_with(expected), "{arguments:?}: {printed}");
    }
    let work = Workplace::new();
    let store = work.imported();
    let several = run(&[&"stop-worker", &store, &"worker"]);
    let message = several.expect_code(2).stderr();
    assert!(message.contains("2 ids begin with worker"), "{message}");
}
