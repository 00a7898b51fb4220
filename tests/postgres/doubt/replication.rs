//! A primary with its synchronous standby.

use crate::hosts::{Host, assert_refused, named, options, said, say};
use postgres_tests::cluster::Cluster;
use postgres_tests::proxy::{Fault, Point, When};
use redb_runtime_store::store::Durability;
use redb_runtime_store::{RuntimeError, Store};
use std::thread;
use std::time::{Duration, Instant};

/// Waits until a commit waits for the standby.
fn wait_for_commit(cluster: &Cluster) {
    let began = Instant::now();
    let waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    while cluster.primary().ask(waiting) != "t" {
        assert!(began.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(10));
    }
}

/// One cluster for what can follow each other: a standby takes seconds.
#[test]
fn acknowledged_means_replicated() {
    let mut cluster = Cluster::replicated();
    let host = Host::of(&cluster, |options| {
        let options = options.durability(Durability::Replicated);
        options.outage_timeout(Duration::from_secs(4))
    });

    // A standby that is cut off: the commit waits, and is uncertain in the end.
    cluster.link().fail(Fault::Hold);
    assert_refused!(host.say("uncertain"), RuntimeError::CommitUncertain { .. });
    assert_eq!(host.proxy.cancels(), 0);
    cluster.link().restore();
    host.say("later").unwrap();
    assert_eq!(host.said(), ["uncertain", "later"]);

    // An operator ends the wait, or the session that waits. The server answers the first with success and a warning, and the
    // commit is on its disk in both cases. The host finds it there, and waits as well.
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        cluster.link().fail(Fault::Hold);
        thread::scope(|scope| {
            let sent = scope.spawn(|| host.say(end));
            for _ in 0..2 {
                wait_for_commit(&cluster);
                cluster.primary().ask(&format!(
                    "SELECT {end}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                ));
                thread::sleep(Duration::from_millis(100));
                assert!(!sent.is_finished(), "acknowledged without the standby");
            }
            cluster.link().restore();
            sent.join().unwrap().unwrap();
        });
    }
    let ended = [
        "uncertain",
        "later",
        "pg_cancel_backend",
        "pg_terminate_backend",
    ];
    assert_eq!(host.said(), ended);

    // Readers take a standby too.
    let port = cluster.standby().port();
    let reader = options(&postgres_tests::cluster::url(&[port]), &host.schema).read_only(true);
    let reader = Store::connect(reader).unwrap().runtime(named("r")).unwrap();
    assert_eq!(said(&reader, &host.worker), ended);
    assert_refused!(
        say(&reader, &host.worker, "no"),
        RuntimeError::StoreReadOnly { .. }
    );

    // A host that knows both servers goes on with the new primary.
    let both = options(&cluster.url(), &host.schema).durability(Durability::Replicated);
    let runtime = Store::connect(both).unwrap().runtime(named("r")).unwrap();
    say(&runtime, &host.worker, "before").unwrap();
    thread::scope(|scope| {
        let sent = scope.spawn(|| {
            (0..200)
                .map(|number| say(&runtime, &host.worker, &number.to_string()))
                .collect::<Vec<_>>()
        });
        thread::sleep(Duration::from_millis(100));
        cluster.fail_over();
        cluster.rejoin();
        for answer in sent.join().unwrap() {
            answer.unwrap();
        }
    });
    let expected = ended.into_iter().chain(["before"]).map(str::to_owned);
    let expected: Vec<_> = expected
        .chain((0..200).map(|number: u32| number.to_string()))
        .collect();
    assert_eq!(said(&runtime, &host.worker), expected);
}

/// A commit whose answer was lost waits for the standby with its locks. Settling it waits for these, and must not take a lock
/// that it did not get in time for an answer.
#[test]
fn commit_that_cannot_be_settled_is_uncertain() {
    let cluster = Cluster::replicated();
    let host = Host::of(&cluster, |options| {
        let options = options.durability(Durability::Replicated);
        let options = options.lock_timeout(Duration::from_millis(300));
        options.outage_timeout(Duration::from_secs(2))
    });
    let commit = Point {
        when: When::After,
        ..Point::COMMIT_LOST
    };
    cluster.link().fail(Fault::Hold);
    host.proxy.plan(commit, Fault::Cut);
    assert_refused!(host.say("in doubt"), RuntimeError::CommitUncertain { .. });
    // Others only wait for the runtime.
    assert_refused!(host.say("refused"), RuntimeError::StoreBusy { .. });
    cluster.link().restore();
    wait_until_idle(&cluster);
    host.say("later").unwrap();
    assert_eq!(host.said(), ["in doubt", "later"]);
}

/// Waits until no commit waits for the standby.
fn wait_until_idle(cluster: &Cluster) {
    let began = Instant::now();
    let waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    while cluster.primary().ask(waiting) != "f" {
        assert!(began.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn killed_server_that_comes_back_is_used_again() {
    let mut cluster = Cluster::single();
    let store = Store::connect(options(&cluster.url(), "s")).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime
        .create_worker(Default::default())
        .unwrap()
        .worker_ref;
    thread::scope(|scope| {
        let sent = scope.spawn(|| {
            (0..100)
                .map(|number| say(&runtime, &worker, &number.to_string()))
                .collect::<Vec<_>>()
        });
        thread::sleep(Duration::from_millis(100));
        cluster.primary_mut().kill();
        cluster.primary_mut().start();
        for answer in sent.join().unwrap() {
            answer.unwrap();
        }
    });
    let expected: Vec<_> = (0..100).map(|number: u32| number.to_string()).collect();
    assert_eq!(said(&runtime, &worker), expected);
}

#[test]
fn paused_server_delays_and_loses_nothing() {
    let cluster = Cluster::single();
    let store = Store::connect(options(&cluster.url(), "s")).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime
        .create_worker(Default::default())
        .unwrap()
        .worker_ref;
    cluster.primary().pause();
    thread::scope(|scope| {
        let sent = scope.spawn(|| say(&runtime, &worker, "hello"));
        thread::sleep(Duration::from_millis(300));
        assert!(!sent.is_finished());
        cluster.primary().resume();
        sent.join().unwrap().unwrap();
    });
    assert_eq!(said(&runtime, &worker), ["hello"]);
}
