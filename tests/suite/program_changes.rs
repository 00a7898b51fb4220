//! The verbs of `runtime-store` that change runtimes and workers.

use crate::program::{Workplace, run};
use redb_runtime_store::Store;
use redb_runtime_store::management::{RuntimeOptions, RuntimeStatus};
use serde_json::Value;
use std::ffi::OsStr;

fn json(arguments: &[&dyn AsRef<OsStr>]) -> Value {
    let printed = run(arguments).expect_code(0).stdout();
    serde_json::from_str(&printed).expect("JSON")
}

#[test]
fn workers_and_runtimes_are_stopped_and_deleted() {
    let work = Workplace::new();
    let store = work.imported();
    let worker: &dyn AsRef<OsStr> = &"worker-00000001";
    let refused = run(&[&"delete-worker", &store, worker, &"--yes"]);
    assert!(refused.expect_code(1).stderr().contains("is running"));
    let reason: [&dyn AsRef<OsStr>; 2] = [&"--reason", &"out of budget"];
    let stopped = run(&[&"stop-worker", &store, worker, reason[0], reason[1]]);
    assert_eq!(
        stopped.expect_code(0).stdout(),
        "worker worker-00000001 is stopped\n"
    );
    let deleted = json(&[&"delete-worker", &store, worker, &"--yes", &"--json"]);
    assert_eq!(deleted["worker_id"], "worker-00000001");
    assert_eq!(deleted["deleted"], true);
    let unknown = run(&[&"delete-worker", &store, worker, &"--yes"]);
    assert!(unknown.expect_code(1).stderr().contains("worker-00000001"));
    let events = run(&[&"events", &store, &"--json"]).expect_code(0).stdout();
    assert!(
        events.contains("out of budget") && events.contains("worker_deleted"),
        "{events}"
    );

    let refused = run(&[&"delete-runtime", &store, &"demo", &"--yes"]);
    assert!(refused.expect_code(1).stderr().contains("is running"));
    let stopped = json(&[&"stop-runtime", &store, &"--json"]);
    assert_eq!(stopped["runtime_id"], "demo");
    let deleted = run(&[&"delete-runtime", &store, &"demo", &"--yes"]);
    assert_eq!(deleted.expect_code(0).stdout(), "deleted runtime demo\n");
    assert_eq!(
        run(&[&"runtimes", &store, &"--json"])
            .expect_code(0)
            .stdout(),
        ""
    );
    run(&[&"delete-runtime", &store, &"demo", &"--yes"]).expect_code(1);
    run(&[&"verify", &store]).expect_code(0);
}

#[test]
fn running_runtime_is_deleted_on_request() {
    let work = Workplace::new();
    let store = work.imported();
    run(&[
        &"delete-runtime",
        &store,
        &"demo",
        &"--even-if-running",
        &"--yes",
    ])
    .expect_code(0);
    assert!(Store::open(&store).unwrap().runtimes().unwrap().is_empty());
}

#[test]
fn names_and_limits_change_also_when_stopped() {
    let work = Workplace::new();
    let store = work.imported();
    run(&[&"stop-runtime", &store]).expect_code(0);
    run(&[&"rename", &store, &"old\u{1b} one"]).expect_code(0);
    let limits: [&dyn AsRef<OsStr>; 6] = [
        &"set-limits",
        &store,
        &"--transcript",
        &"9",
        &"--events",
        &"7",
    ];
    run(&limits).expect_code(0);
    let one: [&dyn AsRef<OsStr>; 4] = [&"set-limits", &store, &"--events", &"8"];
    let printed = run(&one).expect_code(0).stdout();
    assert_eq!(
        printed,
        "runtime demo: 9 entries and 8 events for one read\n"
    );
    run(&[&"set-limits", &store]).expect_code(2);
    let opened = Store::open(&store).unwrap();
    let summary = opened
        .runtime(RuntimeOptions::default())
        .unwrap()
        .summary()
        .unwrap();
    assert_eq!(summary.status, RuntimeStatus::Stopped);
    assert_eq!(summary.display_name.as_deref(), Some("old\u{1b} one"));
    let limits = summary.limits;
    assert_eq!(limits.max_transcript_projection_items, 9);
    assert_eq!(limits.max_event_batch_items, 8);
    opened.close().unwrap();
    let renamed = json(&[&"rename", &store, &"", &"--json"]);
    assert_eq!(renamed["display_name"], Value::Null);
}
