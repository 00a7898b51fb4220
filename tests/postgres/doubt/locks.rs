//! Locks: of other hosts, of operators, and leases.

use crate::hosts::{Host, SHARED, assert_refused, said, say};
use postgres_tests::proxy::{Fault, Point};
use postgres_tests::psql::Session;
use redb_runtime_store::RuntimeError;
use redb_runtime_store::store::Writers;
use std::thread;
use std::time::{Duration, Instant};

/// A session of an operator in the schema of `host`.
fn operator(host: &Host) -> Session {
    let mut session = SHARED.primary().session();
    session.run(&format!("SET search_path = {}", host.schema));
    session
}

/// Waits until `host` waits for the table of events.
fn wait_for_table(host: &Host) {
    let began = Instant::now();
    let schema = &host.schema;
    let waiting = format!(
        "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = '{schema}.events'::regclass"
    );
    while SHARED.primary().ask(&waiting) != "t" {
        assert!(began.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(10));
    }
}

const LOCK: &str = "SELECT version FROM locks WHERE runtime = 'r'::bytea FOR UPDATE";

#[test]
fn locked_runtime_is_busy_after_the_limit() {
    let host = Host::new(|options| options.lock_timeout(Duration::from_millis(300)));
    let mut operator = operator(&host);
    operator.run("BEGIN");
    assert_eq!(operator.run(LOCK).len(), 1);
    assert_refused!(host.say("refused"), RuntimeError::StoreBusy { .. });
    // Readers do not wait.
    assert_eq!(host.said(), <[&str; 0]>::default());
    operator.run("ROLLBACK");
    host.say("later").unwrap();
    assert_eq!(host.said(), ["later"]);
}

/// The host has its runtime locked and waits for a table, whose owner then waits for the runtime. The server ends the
/// transaction of the host, which looks for deadlocks sooner.
fn deadlock(host: &Host, meanwhile: &str) -> Result<u64, RuntimeError> {
    let mut operator = operator(host);
    operator.run("SET deadlock_timeout = '1min'; BEGIN; LOCK TABLE events IN EXCLUSIVE MODE");
    thread::scope(|scope| {
        let sent = scope.spawn(|| host.say("through a deadlock"));
        wait_for_table(host);
        assert_eq!(operator.run(LOCK).len(), 1);
        operator.run(meanwhile);
        operator.run("COMMIT");
        sent.join().unwrap()
    })
}

/// How many deadlocks the server has ended.
fn deadlocks() -> u64 {
    let count = "SELECT sum(deadlocks) FROM pg_stat_database";
    SHARED.primary().ask(count).parse().unwrap()
}

/// In one test: both ask the same server whose transactions wait.
#[test]
fn deadlock_is_written_again_unless_the_runtime_changed() {
    let before = deadlocks();
    let host = Host::new(|options| options);
    deadlock(&host, "SELECT 1").unwrap();
    assert_eq!(host.said(), ["through a deadlock"]);

    let host = Host::new(|options| options);
    let changed = "UPDATE locks SET version = version + 1 WHERE runtime = 'r'::bytea";
    assert_refused!(deadlock(&host, changed), RuntimeError::StoreConflict { .. });
    host.say("later").unwrap();
    assert_eq!(host.said(), ["later"]);
    // Statistics are written with a delay.
    let began = Instant::now();
    while deadlocks() < before + 2 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "no deadlock was met"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn two_hosts_write_one_runtime_densely() {
    let host = Host::new(|options| options);
    let other = host.other(|options| options);
    thread::scope(|scope| {
        for (name, runtime) in [("a", &host.runtime), ("b", &other), ("c", &other)] {
            let worker = &host.worker;
            scope.spawn(move || {
                for number in 0..40 {
                    say(runtime, worker, &format!("{name} {number}")).unwrap();
                }
            });
        }
    });
    let said = host.said();
    assert_eq!(said.len(), 120);
    for name in ["a", "b", "c"] {
        let own: Vec<_> = said.iter().filter(|text| text.starts_with(name)).collect();
        let expected: Vec<_> = (0..40).map(|number| format!("{name} {number}")).collect();
        assert_eq!(own, expected.iter().collect::<Vec<_>>());
    }
    assert_eq!(host.runtime.event_cursor_now().unwrap().next_event_id, 123);
}

const LEASE: Duration = Duration::from_millis(600);

#[test]
fn second_host_waits_for_the_lease() {
    let leased = |options: redb_runtime_store::PostgresOptions| {
        options.writers(Writers::OnePerRuntime).lease(LEASE)
    };
    let host = Host::new(leased);
    host.say("first").unwrap();
    let refused = redb_runtime_store::Store::connect(leased(crate::hosts::options(
        &SHARED.url(),
        &host.schema,
    )))
    .and_then(|store| store.runtime(crate::hosts::named("r")))
    .and_then(|runtime| say(&runtime, &host.worker, "second"));
    assert_refused!(refused, RuntimeError::StoreLocked { .. });
    // The lease is renewed without a commit.
    thread::sleep(2 * LEASE);
    host.say("third").unwrap();
    host.runtime.store().close().unwrap();
    let other = host.other(leased);
    say(&other, &host.worker, "fourth").unwrap();
    assert_eq!(said(&other, &host.worker), ["first", "third", "fourth"]);
}

/// The host is paused with its COMMIT under way. The server ends its transaction, another host takes the lease and writes,
/// and the COMMIT arrives afterwards.
#[test]
fn paused_host_that_lost_its_lease_writes_nothing() {
    let leased = |options: redb_runtime_store::PostgresOptions| {
        let options = options.writers(Writers::OnePerRuntime).lease(LEASE);
        options
            .idle_timeout(LEASE)
            .outage_timeout(Duration::from_secs(20))
    };
    let host = Host::new(leased);
    host.say("before").unwrap();
    host.proxy.plan(Point::COMMIT_LOST, Fault::Hold);
    let answer = thread::scope(|scope| {
        let sent = scope.spawn(|| host.say("paused"));
        host.proxy.wait_fired();
        thread::sleep(2 * LEASE);
        let other = host.other(leased);
        say(&other, &host.worker, "of the other").unwrap();
        // The lease of the other ends: the first host must not take it for its own again.
        other.store().close().unwrap();
        host.proxy.restore();
        sent.join().unwrap()
    });
    assert_refused!(answer, RuntimeError::StoreLocked { .. });
    // Nor does it write later, although no host has the lease now.
    assert_refused!(host.say("later"), RuntimeError::StoreLocked { .. });
    let fresh = host.other(leased);
    assert_eq!(said(&fresh, &host.worker), ["before", "of the other"]);
    say(&fresh, &host.worker, "of a new one").unwrap();
}

/// As above where any host may write: a COMMIT that arrives late finds the runtime changed.
#[test]
fn paused_host_without_a_lease_gets_a_conflict() {
    let idle = |options: redb_runtime_store::PostgresOptions| options.idle_timeout(LEASE);
    let host = Host::new(idle);
    host.proxy.plan(Point::COMMIT_LOST, Fault::Hold);
    let answer = thread::scope(|scope| {
        let sent = scope.spawn(|| host.say("paused"));
        host.proxy.wait_fired();
        thread::sleep(2 * LEASE);
        say(&host.other(idle), &host.worker, "of the other").unwrap();
        host.proxy.restore();
        sent.join().unwrap()
    });
    assert_refused!(answer, RuntimeError::StoreConflict { .. });
    host.say("later").unwrap();
    assert_eq!(host.said(), ["of the other", "later"]);
}

/// The lease of a runtime says whether the host lives whose work is open in it.
#[test]
fn open_work_of_a_living_host_is_not_unfinished() {
    let leased = |options: redb_runtime_store::PostgresOptions| {
        options.writers(Writers::OnePerRuntime).lease(LEASE)
    };
    let host = Host::new(leased);
    host.runtime.open_work(&host.worker, "call", "").unwrap();
    let options = leased(crate::hosts::options(&SHARED.url(), &host.schema));
    let other = redb_runtime_store::Store::connect(options).unwrap();
    let unfinished = || {
        let work = other.unfinished().unwrap().into_iter();
        work.map(|work| work.name).collect::<Vec<_>>()
    };
    thread::sleep(2 * LEASE);
    assert_eq!(unfinished(), <[&str; 0]>::default());
    // From here on nothing renews the lease.
    host.proxy.fail(Fault::Hold);
    let began = Instant::now();
    while unfinished() != ["call"] {
        assert!(began.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(50));
    }
    host.proxy.restore();
}
