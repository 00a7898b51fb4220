//! Failures and settings that are rare, and what holds in spite of them.

use crate::hosts::{Host, SHARED, assert_refused, named, options, said, say, schema};
use postgres_tests::cluster::Cluster;
use postgres_tests::proxy::{Fault, Point};
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::store::{Durability, PersistedRuntimeSnapshot, Writers};
use redb_runtime_store::{PostgresOptions, RuntimeError, Store};
use std::thread;
use std::time::Duration;

const LEASE: Duration = Duration::from_millis(600);

fn leased(options: PostgresOptions) -> PostgresOptions {
    options.writers(Writers::OnePerRuntime).lease(LEASE)
}

#[test]
fn lost_snapshot_stays_lost() {
    let host = Host::new(|options| options);
    host.say("before").unwrap();
    let snapshot = host.runtime.store().snapshot().unwrap();
    assert_eq!(snapshot.transcript_len(&host.worker).unwrap(), 1);
    host.proxy.fail(Fault::Cut);
    say(&host.other(|options| options), &host.worker, "after").unwrap();
    for _ in 0..2 {
        let read = snapshot.transcript_len(&host.worker);
        assert_refused!(read, RuntimeError::StoreIo { .. });
    }
}

/// Two commits of different sizes have the same number: one that the fail-over lost, and one after it.
#[test]
fn rows_of_lost_commits_are_not_used() {
    let mut cluster = Cluster::asynchronous();
    let schema = schema();
    let connect = |cluster: &Cluster| {
        let store = Store::connect(options(&cluster.url(), &schema)).unwrap();
        store.runtime(named("r")).unwrap()
    };
    let host = connect(&cluster);
    let worker = host.create_worker(Default::default()).unwrap().worker_ref;
    say(&host, &worker, "kept").unwrap();
    await_standby(&cluster);
    cluster.link().fail(Fault::Hold);
    host.transaction(|transaction| {
        transaction.append_reply(&worker, "lost")?;
        transaction.append_reply(&worker, "lost too")
    })
    .unwrap();
    cluster.fail_over();
    let other = connect(&cluster);
    say(&other, &worker, "of the other").unwrap();
    say(&host, &worker, "later").unwrap();
    assert_eq!(said(&other, &worker), ["kept", "of the other", "later"]);
    assert_eq!(said(&host, &worker), ["kept", "of the other", "later"]);
}

/// Waits until the standby has all that the primary committed.
fn await_standby(cluster: &Cluster) {
    let behind = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn < pg_current_wal_lsn()";
    while cluster.primary().ask(behind) != "0" {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn commit_notices_that_its_standby_was_taken_away() {
    let cluster = Cluster::replicated();
    let host = Host::of(&cluster, |options| {
        let options = options.durability(Durability::Replicated);
        options.outage_timeout(Duration::from_secs(2))
    });
    host.say("replicated").unwrap();
    cluster.set_synchronous(false);
    assert_refused!(
        host.say("in one place"),
        RuntimeError::CommitUncertain { .. }
    );
    cluster.set_synchronous(true);
    host.say("replicated again").unwrap();
    let expected = ["replicated", "in one place", "replicated again"];
    assert_eq!(host.said(), expected);
}

/// The server crashes while it writes a commit to its log, and starts again by itself.
#[test]
fn server_that_fails_within_a_commit_is_asked_again() {
    let mut cluster = Cluster::single();
    let host = Host::of(&cluster, |options| options);
    let data = cluster.primary().ask("SHOW data_directory");
    let log = format!("{data}/pg_wal");
    let permit = |mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&log, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    permit(0o500);
    let text = incompressible(1 << 20);
    thread::scope(|scope| {
        // Until the log needs a file that the server cannot make.
        let sent = scope.spawn(|| {
            let send = |number: usize| host.say(&format!("{number} {text}"));
            (0..24).map(send).collect::<Vec<_>>()
        });
        thread::sleep(Duration::from_secs(2));
        permit(0o700);
        if cluster.primary().try_ask("SELECT 1").is_err() {
            cluster.primary_mut().kill();
            cluster.primary_mut().start();
        }
        for answer in sent.join().unwrap() {
            answer.unwrap();
        }
    });
    let said_by_server = std::fs::read_to_string(format!("{data}/../log")).unwrap();
    assert!(said_by_server.contains("PANIC"), "{said_by_server}");
    let numbers = host.said().into_iter();
    let numbers = numbers.map(|text| text.split(' ').next().unwrap().to_owned());
    let expected: Vec<_> = (0..24).map(|number: usize| number.to_string()).collect();
    assert_eq!(numbers.collect::<Vec<_>>(), expected);
}

fn incompressible(length: usize) -> String {
    let mut state = 0x9e37_79b9_u32;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + (state >> 24) as u8 % 90)
    });
    letters.take(length).collect()
}

#[test]
fn readers_leave_a_connection_for_settling() {
    let host = Host::new(|options| {
        let options = options.max_connections(2);
        options.outage_timeout(Duration::from_secs(2))
    });
    let store = host.runtime.store();
    host.proxy.plan(Point::ANSWER_LOST, Fault::Outage);
    thread::scope(|scope| {
        let sent = scope.spawn(|| host.say("settled"));
        host.proxy.wait_fired();
        // Each takes the place of a connection that is lost, and holds it.
        for _ in 0..8 {
            scope.spawn(|| {
                let _snapshot = store.snapshot();
                thread::sleep(Duration::from_secs(3));
            });
        }
        thread::sleep(Duration::from_millis(300));
        host.proxy.restore();
        sent.join().unwrap().unwrap();
    });
    assert_eq!(host.said(), ["settled"]);
}

#[test]
fn full_server_delays_settling() {
    let schema = schema();
    let ask = |sql: &str| SHARED.primary().ask(sql);
    ask("CREATE ROLE crowded LOGIN");
    ask(&format!("CREATE SCHEMA {schema} AUTHORIZATION crowded"));
    let (proxy, url) = SHARED.proxied();
    // The role owns the schema, and need not be allowed to create one.
    let url = url.replace("postgres@", "crowded@");
    let store = Store::connect(options(&url, &schema)).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime.create_worker(Default::default()).unwrap();
    let worker = worker.worker_ref;
    ask("ALTER ROLE crowded CONNECTION LIMIT 0");
    proxy.plan(Point::ANSWER_LOST, Fault::Cut);
    thread::scope(|scope| {
        let sent = scope.spawn(|| say(&runtime, &worker, "settled"));
        proxy.wait_fired();
        thread::sleep(Duration::from_millis(500));
        ask("ALTER ROLE crowded CONNECTION LIMIT -1");
        sent.join().unwrap().unwrap();
    });
    assert_eq!(said(&runtime, &worker), ["settled"]);
}

#[test]
fn number_above_the_column_fails_its_own_operation() {
    let store = Store::connect(options(&SHARED.url(), &schema())).unwrap();
    let id = RuntimeId::new("full").unwrap();
    store
        .bulk_load(|load| {
            let mut snapshot = PersistedRuntimeSnapshot::new(id.clone());
            snapshot.next_event_id = 1 << 63;
            load.put_runtime(snapshot.into())
        })
        .unwrap();
    let full = store.runtime(named("full")).unwrap();
    let other = store.runtime(named("r")).unwrap();
    let worker = other.create_worker(Default::default()).unwrap().worker_ref;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let refused = full.create_worker(Default::default());
                    assert_refused!(refused, RuntimeError::InvalidRequest(_));
                }
            });
            scope.spawn(|| {
                for _ in 0..20 {
                    say(&other, &worker, "hello").unwrap();
                }
            });
        }
    });
    assert_eq!(said(&other, &worker).len(), 80);
}

#[test]
fn host_whose_lease_ended_notices_every_writer() {
    let host = Host::new(leased);
    host.say("first").unwrap();
    // No renewal arrives.
    host.proxy.fail(Fault::Outage);
    thread::sleep(2 * LEASE);
    let other = host.other(|options| options.writers(Writers::Many));
    say(&other, &host.worker, "of the other").unwrap();
    host.proxy.restore();
    assert_refused!(host.say("later"), RuntimeError::StoreLocked { .. });
    assert_eq!(said(&other, &host.worker), ["first", "of the other"]);
}

#[test]
fn locked_runtime_costs_no_other_lease() {
    // Long enough for a machine that does much else.
    let lease = Duration::from_secs(2);
    let leased = |options| leased(options).lease(lease);
    let host = Host::new(leased);
    let store = host.runtime.store();
    let second = store.runtime(named("second")).unwrap();
    let worker = second.create_worker(Default::default()).unwrap().worker_ref;
    host.say("hello").unwrap();
    let mut operator = SHARED.primary().session();
    operator.run(&format!("SET search_path = {}; BEGIN", host.schema));
    let lock = "SELECT version FROM locks WHERE runtime = 'r'::bytea FOR UPDATE";
    assert_eq!(operator.run(lock).len(), 1);
    thread::sleep(2 * lease);
    let another = Store::connect(leased(options(&SHARED.url(), &host.schema))).unwrap();
    let another = another.runtime(named("second")).unwrap();
    assert_refused!(
        say(&another, &worker, "of another"),
        RuntimeError::StoreLocked { .. }
    );
    operator.run("ROLLBACK");
    say(&second, &worker, "still ours").unwrap();
}

#[test]
fn longest_and_shortest_leases_are_limited() {
    for lease in [Duration::MAX, Duration::ZERO] {
        let host = Host::new(|options| leased(options).lease(lease));
        host.say("hello").unwrap();
        thread::sleep(Duration::from_millis(200));
        host.say("again").unwrap();
    }
}

/// Each locks the list of all runtimes before the runtime that it creates.
#[test]
fn hosts_that_open_an_empty_store_share_one_runtime() {
    for _ in 0..4 {
        let schema = schema();
        let open = || {
            let store = Store::connect(options(&SHARED.url(), &schema)).unwrap();
            let opened = store.runtime(Default::default()).unwrap();
            opened.runtime_id().unwrap()
        };
        let ids = thread::scope(|scope| {
            let hosts = [(); 4].map(|()| scope.spawn(open));
            hosts.map(|host| host.join().unwrap())
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}
