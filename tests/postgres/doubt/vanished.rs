//! Hosts whose machine is gone: it neither acknowledges a packet nor closes a connection.

use crate::hosts::{Host, SHARED, named, options, say};
use postgres_tests::proxy::{Fault, Point, Side, When, Which};
use redb_runtime_store::interaction::TranscriptQuery;
use redb_runtime_store::{PostgresOptions, Store};
use std::thread;
use std::time::{Duration, Instant};

/// The server finds out by itself within eleven seconds. The rest is for a busy machine.
const LONGEST: Duration = Duration::from_secs(18);

/// Options with which nothing but the loss of the connection ends the transaction of a host.
fn unlimited(options: PostgresOptions) -> PostgresOptions {
    let options = options.idle_timeout(Duration::from_secs(300));
    options.outage_timeout(Duration::from_secs(3))
}

/// What the session of `host` that has its runtime locked does.
fn state(host: &Host) -> String {
    SHARED.primary().ask(&format!(
        "SELECT DISTINCT state, wait_event FROM pg_stat_activity JOIN pg_locks USING (pid)
         WHERE relation = '{}.locks'::regclass AND mode = 'RowShareLock'",
        host.schema
    ))
}

/// Another host writes when the server has given the locks of `host` up.
fn assert_given_up(host: &Host) {
    let began = Instant::now();
    let options = options(&SHARED.url(), &host.schema);
    let store = Store::connect(options.lock_timeout(2 * LONGEST)).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    say(&runtime, &host.worker, "of another").unwrap();
    let waited = began.elapsed();
    assert!(waited > Duration::from_secs(1), "it had no locks");
    assert!(waited < LONGEST, "{waited:?}");
}

/// Has `host` vanish at `point` of an operation. Returns whether its session is in the state `expected` then: a busy machine
/// can come too late. If it is, the server gives the locks up.
fn vanishes(host: &Host, point: Point, operation: impl FnOnce() + Send, expected: &str) -> bool {
    host.proxy.plan(point, Fault::Vanish);
    thread::scope(|scope| {
        scope.spawn(operation);
        host.proxy.wait_fired();
        thread::sleep(Duration::from_millis(300));
        let found = state(host);
        if found != expected {
            println!("the session is {found}, not {expected}");
            return false;
        }
        assert_given_up(host);
        true
    })
}

/// Tries a few hosts, until one vanishes in the state that the test is about.
fn assert_one_vanishes(vanishes: impl Fn() -> bool) {
    assert!((0..4).any(|_| vanishes()), "no host vanished in time");
}

fn say_in_vain(host: &Host) {
    host.say("in vain").unwrap_err();
}

#[test]
fn host_that_vanished_before_its_commit_holds_no_lock_for_long() {
    assert_one_vanishes(|| {
        let host = Host::new(unlimited);
        let expected = "idle in transaction|ClientRead";
        let vanishes = vanishes(&host, Point::COMMIT_LOST, || say_in_vain(&host), expected);
        assert_eq!(host.proxy.cancels(), 0);
        vanishes
    });
}

/// The server waits for the rest of a request. No time-out of its own ends that wait.
#[test]
fn host_that_vanished_within_a_request_holds_no_lock_for_long() {
    assert_one_vanishes(|| {
        let host = Host::new(unlimited);
        host.say("to count").unwrap();
        let never = Point::message(Side::Host, usize::MAX, When::After);
        host.proxy.plan(never, Fault::Cut);
        host.say("counted").unwrap();
        let [messages, _] = host.proxy.messages();
        // The last ones are Bind, Execute and Sync of a statement, and COMMIT.
        let point = Point {
            which: Which::Any,
            ..Point::message(Side::Host, messages - 3, When::After)
        };
        vanishes(&host, point, || say_in_vain(&host), "active|ClientRead")
    });
}

/// The server cannot send the rest of an answer. The system does not ask whether the peer is there while packets are under
/// way.
#[test]
fn host_that_vanished_within_an_answer_holds_no_lock_for_long() {
    assert_one_vanishes(|| {
        let host = Host::new(unlimited);
        for _ in 0..24 {
            host.say(&"x".repeat(1 << 20)).unwrap();
        }
        let read = || {
            let query = TranscriptQuery::new(0, 256);
            let (runtime, worker) = (&host.runtime, &host.worker);
            runtime.transaction(|transaction| transaction.transcript_projection(worker, query))
        };
        // Prepares the statements.
        read().unwrap();
        thread::sleep(Duration::from_millis(200));
        let never = Point::message(Side::Server, usize::MAX, When::After);
        host.proxy.plan(never, Fault::Cut);
        assert_eq!(read().unwrap().items.len(), 24);
        // The answer to ROLLBACK: the store does not wait for it.
        thread::sleep(Duration::from_millis(200));
        let [_, messages] = host.proxy.messages();
        // More bytes come after it than the system sends ahead.
        let point = Point::message(Side::Server, messages - 20, When::After);
        let read = || drop(read());
        vanishes(&host, point, read, "active|ClientWrite")
    });
}
