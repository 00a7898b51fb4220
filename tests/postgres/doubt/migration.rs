//! Stores that an earlier version made.

use crate::hosts::{SHARED, assert_refused, options, schema};
use postgres_tests::proxy::{Fault, Point, Side, When};
use postgres_tests::psql::Session;
use redb_runtime_store::store::{CopyOptions, CopyOutcome};
use redb_runtime_store::{PostgresOptions, RuntimeError, Store};
use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::Duration;

/// A store in version 1.
const FIRST: &str = include_str!("../fixtures/schema-1.sql");

/// A store in a file that has the same rows.
const SAME_ROWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/schema-2.redb");

/// An operator, who asks much more often than a new session each time would be quick enough for.
static OPERATOR: LazyLock<Mutex<Session>> =
    LazyLock::new(|| Mutex::new(SHARED.primary().session()));

fn ask(sql: &str) -> String {
    OPERATOR.lock().unwrap().run(sql).join("\n")
}

/// Makes a store in version 1. Returns its schema.
fn first_version() -> String {
    let schema = schema();
    ask(&format!(
        "CREATE SCHEMA {schema}; SET search_path = {schema}; {FIRST}; RESET search_path"
    ));
    schema
}

fn direct(schema: &str) -> PostgresOptions {
    options(&SHARED.url(), schema)
}

/// The version that the store has, and its tables.
fn state(schema: &str) -> (u32, String) {
    let tables = format!(
        "SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM information_schema.tables
         WHERE table_schema = '{schema}'"
    );
    let plan = direct(schema).migration_plan().unwrap();
    (plan.found, ask(&tables))
}

/// The version that this crate uses.
fn newest() -> u32 {
    let plan = direct(&first_version()).migration_plan().unwrap();
    assert_eq!(plan.found, 1);
    assert!(plan.supported > 1, "there is one version: nothing migrates");
    plan.supported
}

/// Asserts that the store has the rows of the first version, and takes writes.
fn assert_whole(schema: &str) {
    let there = Store::connect(direct(schema)).unwrap();
    let source = Store::open_read_only(SAME_ROWS).unwrap();
    let report = source.check_copy(Some(&there), &CopyOptions::new());
    let report = report.unwrap();
    assert_eq!(report.count(CopyOutcome::Same), report.runtimes.len());
    assert!(there.verify().unwrap().is_clean());
    there.runtime(crate::hosts::named("new")).unwrap();
}

#[test]
fn older_store_is_migrated_only_when_asked() {
    let newest = newest();
    let schema = first_version();
    let before = state(&schema);
    for options in [direct(&schema), direct(&schema).read_only(true)] {
        assert_refused!(
            Store::connect(options),
            RuntimeError::StoreSchemaTooOld { found: 1, supported, .. } if supported == newest
        );
    }
    assert_eq!(state(&schema), before);
    assert_eq!(direct(&schema).migrate().unwrap(), 1);
    assert_whole(&schema);
    // A new store has the same tables.
    let new = crate::hosts::schema();
    Store::connect(direct(&new)).unwrap();
    assert_eq!(state(&schema), state(&new));
    assert_eq!(direct(&schema).migrate().unwrap(), newest);
}

#[test]
fn two_hosts_migrate_at_the_same_time() {
    let newest = newest();
    let schema = first_version();
    let (proxy, url) = SHARED.proxied();
    let slow = options(&url, &schema);
    proxy.plan(Point::COMMIT_LOST, Fault::Hold);
    thread::scope(|scope| {
        let first = scope.spawn(|| slow.migrate());
        proxy.wait_fired();
        let second = scope.spawn(|| direct(&schema).migrate());
        thread::sleep(Duration::from_millis(300));
        assert!(!second.is_finished(), "it did not wait");
        proxy.restore();
        assert_eq!(first.join().unwrap().unwrap(), 1);
        assert_eq!(second.join().unwrap().unwrap(), newest);
    });
    assert_whole(&schema);
}

/// Cuts the migration at each of its messages, in both directions.
#[test]
fn interrupted_migration_changes_nothing_or_all() {
    let newest = newest();
    let old = state(&first_version());
    let done = {
        let schema = first_version();
        direct(&schema).migrate().unwrap();
        state(&schema)
    };
    let (proxy, url) = SHARED.proxied();
    let mut left = BTreeSet::new();
    let mut cut = |point: Point| {
        let schema = first_version();
        proxy.plan(point, Fault::Cut);
        let answer = options(&url, &schema).migrate();
        await_sessions(&schema);
        let found = state(&schema);
        assert!([&old, &done].contains(&&found), "{point:?}: {found:?}");
        match answer {
            Ok(before) => assert_eq!((before, &found), (1, &done)),
            Err(error) => assert_refused!(Err::<(), _>(error), RuntimeError::StoreIo { .. }),
        }
        assert_eq!(direct(&schema).migrate().unwrap(), found.0);
        assert_eq!(state(&schema), done);
        if left.insert(found.0) {
            assert_whole(&schema);
        }
        proxy.has_fired()
    };
    assert!(cut(Point::COMMIT_LOST) && cut(Point::ANSWER_LOST));
    // A server sends several messages for one of a host.
    for (side, when, step) in [
        (Side::Host, When::After, 1),
        (Side::Server, When::Before, 4),
    ] {
        let mut points = (1..)
            .step_by(step)
            .map(|nth| Point::message(side, nth, when));
        let met = points.by_ref().take_while(|point| cut(*point)).count();
        assert!(met > 8, "{side:?}: {met} messages");
    }
    assert_eq!(left, BTreeSet::from([1, newest]));
}

/// Waits until no session of a host has a lock in `schema`.
fn await_sessions(schema: &str) {
    let locked = format!(
        "SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation
         WHERE relnamespace = '{schema}'::regnamespace"
    );
    while ask(&locked) != "0" {
        thread::sleep(Duration::from_millis(10));
    }
}

/// A role that has rights on the tables of the store has them on its new tables, too.
#[test]
fn migration_gives_roles_the_same_rights() {
    let schema = first_version();
    ask(&format!(
        "CREATE ROLE {schema}_app LOGIN; GRANT USAGE ON SCHEMA {schema} TO {schema}_app;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {schema}_app"
    ));
    direct(&schema).migrate().unwrap();
    let url = SHARED.url().replace("postgres@", &format!("{schema}_app@"));
    let store = Store::connect(options(&url, &schema)).unwrap();
    let long = "x".repeat(2_000);
    let runtime = store.runtime(crate::hosts::named(&long)).unwrap();
    let worker = runtime
        .create_worker(Default::default())
        .unwrap()
        .worker_ref;
    runtime.stop_worker(&worker, None).unwrap();
    assert!(runtime.delete_worker(&worker).unwrap().deleted);
    let tables =
        "SELECT count(*) FILTER (WHERE NOT has_table_privilege($1, oid, 'INSERT')) FROM pg_class
        WHERE relkind = 'r' AND relnamespace = $2::regnamespace";
    let tables = tables.replace("$1", &format!("'{schema}_app'"));
    assert_eq!(ask(&tables.replace("$2", &format!("'{schema}'"))), "0");
}
