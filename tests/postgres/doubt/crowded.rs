//! A server that has no connection to spare, and settings of a role that end what takes long.

use crate::hosts::{Host, SHARED, assert_refused, named, options, said, say, schema};
use postgres_tests::cluster::Cluster;
use postgres_tests::proxy::{Fault, Point};
use postgres_tests::psql::Session;
use redb_runtime_store::{RuntimeError, Store};
use std::thread;
use std::time::{Duration, Instant};

/// Takes every connection that the server has.
fn fill(cluster: &Cluster) -> Vec<Session> {
    let mut sessions = Vec::new();
    while cluster.primary().try_ask("SELECT 1").is_ok() {
        let mut session = cluster.primary().session();
        if session.run("SELECT 1") == ["1"] {
            sessions.push(session);
        }
    }
    sessions
}

#[test]
fn full_server_refuses_new_handles_and_delays_settling() {
    let cluster = Cluster::with_settings(&["max_connections=10"]);
    let host = Host::of(&cluster, |options| options);
    let reader = Store::connect({
        let options = options(&cluster.url(), &host.schema);
        options.outage_timeout(Duration::from_secs(1))
    });
    let reader = reader.unwrap();
    host.proxy.plan(Point::ANSWER_LOST, Fault::Outage);
    thread::scope(|scope| {
        let sent = scope.spawn(|| host.say("settled"));
        host.proxy.wait_fired();
        let mut sessions = fill(&cluster);
        host.proxy.restore();
        let began = Instant::now();
        let refused = Store::connect(options(&cluster.url(), "other"));
        assert_refused!(refused, RuntimeError::StoreBusy { .. });
        assert!(began.elapsed() < Duration::from_secs(5), "not at once");
        // An open handle waits. It has one idle connection, which the snapshot takes.
        let _snapshot = reader.snapshot().unwrap();
        let began = Instant::now();
        assert_refused!(reader.snapshot(), RuntimeError::StoreBusy { .. });
        assert!(began.elapsed() > Duration::from_millis(800), "at once");
        assert!(!sent.is_finished());
        sessions.pop();
        sent.join().unwrap().unwrap();
    });
    assert_eq!(host.said(), ["settled"]);
}

/// What an administrator may set for a role so that no session of it takes long.
#[test]
fn limits_of_the_role_end_no_operation() {
    let schema = schema();
    let ask = |sql: &str| SHARED.primary().ask(sql);
    ask("CREATE ROLE hasty LOGIN");
    ask(&format!("CREATE SCHEMA {schema} AUTHORIZATION hasty"));
    for setting in [
        "statement_timeout = '100ms'",
        "lock_timeout = '100ms'",
        "idle_in_transaction_session_timeout = '100ms'",
    ] {
        ask(&format!("ALTER ROLE hasty SET {setting}"));
    }
    let url = SHARED.url().replace("postgres@", "hasty@");
    let store = Store::connect(options(&url, &schema)).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime.create_worker(Default::default()).unwrap();
    let worker = worker.worker_ref;
    // A commit that waits for a table is one statement. A locked runtime is asked for again and again.
    let mut operator = SHARED.primary().session();
    operator.run(&format!(
        "SET search_path = {schema}; BEGIN; LOCK TABLE events IN EXCLUSIVE MODE"
    ));
    thread::scope(|scope| {
        let sent = scope.spawn(|| say(&runtime, &worker, "patient"));
        thread::sleep(Duration::from_millis(500));
        operator.run("COMMIT");
        sent.join().unwrap().unwrap();
    });
    runtime
        .transaction(|transaction| {
            transaction.append_reply(&worker, "slow")?;
            thread::sleep(Duration::from_millis(300));
            transaction.append_reply(&worker, "reply")
        })
        .unwrap();
    assert_eq!(said(&runtime, &worker), ["patient", "slow", "reply"]);
}
