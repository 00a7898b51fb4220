//! Times as the program shows them.

use crate::program::{Workplace, command, run};
use redb_runtime_store::Store;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::interaction::WorkerInput;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A store with an input every day from 2026-11-20 12:00 UTC on, five in all.
pub(crate) fn five_days(work: &Workplace) -> PathBuf {
    let path = work.path("dated.redb");
    let now = Arc::new(AtomicU64::new(1_795_176_000));
    let clock = Arc::clone(&now);
    let clock = move || SystemTime::UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::Relaxed));
    let store = Store::options().clock(clock).open(&path).unwrap();
    let runtime = store.runtime(crate::support::named("r")).unwrap();
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let worker = worker.unwrap().worker_ref;
    for day in 0..5 {
        runtime
            .send_input(&worker, WorkerInput::user(format!("day {day}")))
            .unwrap();
        now.fetch_add(86_400, Ordering::Relaxed);
    }
    store.close().unwrap();
    path
}

/// What the program prints in the zone `zone`.
fn printed(zone: &str, verb: &str, store: &Path, options: &[&str]) -> String {
    let mut command = command(&[&verb, &store]);
    if verb == "transcript" {
        command.arg("worker-00000001");
    }
    let output = command.args(options).env("TZ", zone).output().unwrap();
    assert!(output.status.success(), "{options:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn times_are_local_unless_utc_is_asked_for() {
    let work = Workplace::new();
    let store = five_days(&work);
    // An offset without a database of zones: 5 hours and 30 minutes ahead of UTC.
    let local = printed("IST-5:30", "events", &store, &["--from", "7"]);
    assert!(
        local.contains("7  2026-11-24 17:30:00  input accepted"),
        "{local}"
    );
    let utc = printed("IST-5:30", "events", &store, &["--from", "7", "--utc"]);
    assert!(
        utc.contains("7  2026-11-24 12:00:00  input accepted"),
        "{utc}"
    );
    let without = printed("UTC0", "events", &store, &["--from", "7", "--no-time"]);
    assert!(without.contains("7  input accepted"), "{without}");

    let local = printed("IST-5:30", "transcript", &store, &["--start", "3"]);
    let expected = "        2026-11-23\n      4 17:30:00 user       day 3\n        \
                    2026-11-24\n      5 17:30:00 user       day 4\n";
    assert_eq!(local, expected);
    let utc = printed("IST-5:30", "transcript", &store, &["--start", "4", "--utc"]);
    assert_eq!(
        utc,
        "        2026-11-24 UTC\n      5 12:00:00 user       day 4\n"
    );
    let without = printed("UTC0", "transcript", &store, &["--start", "4", "--no-time"]);
    assert_eq!(without, "      5 user       day 4\n");
}

#[test]
fn json_has_the_time_last_unless_refused() {
    let work = Workplace::new();
    let store = five_days(&work);
    for verb in ["events", "transcript"] {
        let dated = printed("IST-5:30", verb, &store, &["--json"]);
        let last = dated.lines().last().unwrap();
        let end = ",\"recorded_at\":\"2026-11-24T12:00:00.000Z\"}";
        assert!(last.ends_with(end), "{last}");
        let undated = printed("UTC0", verb, &store, &["--json", "--no-time"]);
        let last_undated = undated.lines().last().unwrap();
        assert_eq!(
            format!("{}{end}", last_undated.strip_suffix('}').unwrap()),
            last
        );
    }
}

#[test]
fn since_and_until_select_rows_by_time() {
    let work = Workplace::new();
    let store = five_days(&work);
    let days = |options: &[&str]| {
        let text = printed("IST-5:30", "transcript", &store, options);
        let words = text.lines().filter_map(|line| line.rsplit_once("day "));
        words.map(|(_, day)| day.to_owned()).collect::<String>()
    };
    assert_eq!(days(&["--since", "2026-11-22"]), "234");
    assert_eq!(days(&["--until", "2026-11-22"]), "01");
    assert_eq!(days(&["--since", "2026-11-22T12:00:00Z"]), "234");
    assert_eq!(days(&["--since", "2026-11-22T12:00:00.001Z"]), "34");
    assert_eq!(days(&["--until", "2026-11-22T12:00:00Z"]), "01");
    // 12:00 UTC is 17:30 in the zone of the test.
    assert_eq!(
        days(&["--since", "2026-11-22T17:30:00+05:30", "--limit", "2"]),
        "23"
    );
    assert_eq!(
        days(&["--since", "52w"]).len() + days(&["--until", "52w"]).len(),
        5
    );
    let events = printed(
        "UTC0",
        "events",
        &store,
        &["--since", "2026-11-23", "--json"],
    );
    assert_eq!(events.lines().count(), 2, "{events}");
    for refused in ["yesterday", "2h30", ""] {
        run(&[&"events", &store, &"--since", &refused]).expect_code(2);
    }
    // Rows without a time are in no range.
    let undated = work.imported();
    let none = printed(
        "UTC0",
        "events",
        &undated,
        &["--until", "2999-01-01", "--json"],
    );
    assert_eq!(none, "");
}

#[test]
fn exports_with_times_are_said_to_be_the_same() {
    let work = Workplace::new();
    let store = five_days(&work);
    let root = work.path("root");
    run(&[&"export", &store, &root, &"--times"]).expect_code(0);
    run(&[&"compare", &root, &store]).expect_code(0);
    let undated = work.path("undated");
    run(&[&"export", &store, &undated]).expect_code(0);
    let compared = run(&[&"compare", &undated, &store]);
    let said = compared.expect_code(0).stdout();
    assert!(
        said.contains("12 events and entries have a time only in the store"),
        "{said}"
    );
}

#[test]
fn migration_says_what_it_would_do() {
    let work = Workplace::new();
    let path = work.path("old.redb");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schema-1.redb");
    std::fs::copy(golden, &path).unwrap();
    let before = std::fs::read(&path).unwrap();
    let planned = run(&[&"migrate", &path, &"--dry-run"]);
    let said = planned.expect_code(0).stdout();
    assert!(
        said.starts_with("would migrate from schema version 1 to 2\n"),
        "{said}"
    );
    assert!(said.contains("version 2: adds tables"), "{said}");
    assert!(said.contains("copy of version 1: "), "{said}");
    assert!(std::fs::read(&path).unwrap() == before, "touched");
    let json = run(&[&"migrate", &path, &"--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.expect_code(0).stdout()).unwrap();
    assert_eq!(json["steps"][0]["version"], 2);
    assert_eq!(json["migrated"], true);
    let again = run(&[&"migrate", &path]).expect_code(0).stdout();
    assert_eq!(
        again,
        "schema version 2 is the newest; nothing to migrate\n"
    );
}
