//! A network that is lost between servers that all live on.

use crate::hosts::{assert_refused, named, options, said, say, schema};
use postgres_tests::cluster::{Cluster, url};
use postgres_tests::proxy::{Fault, Proxy};
use postgres_tests::server::Server;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::store::Durability;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::thread;
use std::time::{Duration, Instant};

/// A runtime of a host of its own, with a worker.
struct Lone {
    runtime: Runtime,
    worker: WorkerRef,
}

impl Lone {
    fn new(url: &str, (schema, id): (&str, &str), outage: Duration) -> Self {
        let options = options(url, schema).durability(Durability::Replicated);
        let store = Store::connect(options.outage_timeout(outage)).unwrap();
        let runtime = store.runtime(named(id)).unwrap();
        let created = runtime.create_worker(Default::default()).unwrap();
        let worker = created.worker_ref;
        say(&runtime, &worker, "before").unwrap();
        Self { runtime, worker }
    }

    fn say(&self, text: &str) -> Result<u64, RuntimeError> {
        say(&self.runtime, &self.worker, text)
    }
}

/// Waits until so many commits on `server` wait for its standby.
fn await_commits(server: &Server, count: usize) {
    let began = Instant::now();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    while server.ask(waiting) != count.to_string() {
        assert!(began.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(10));
    }
}

/// The standby becomes the primary, and the hosts are on the side of the old one, which takes writes still.
#[test]
fn old_primary_that_lives_on_acknowledges_nothing() {
    let mut cluster = Cluster::replicated();
    let old_side = Proxy::new(cluster.primary().port());
    let new_side = Proxy::new(cluster.standby().port());
    new_side.fail(Fault::Outage);
    let both = url(&[old_side.port(), new_side.port()]);
    let schema = schema();
    let lone = |id, seconds| Lone::new(&both, (&schema, id), Duration::from_secs(seconds));
    let doubtful = lone("doubtful", 2);
    let (moving, overtaken) = (lone("moving", 30), lone("overtaken", 30));

    let old = cluster.split();
    cluster.rejoin();
    let beyond = url(&[cluster.primary().port()]);
    let beyond = options(&beyond, &schema).durability(Durability::Replicated);
    let beyond = Store::connect(beyond).unwrap();
    let said_beyond = |lone: &Lone| {
        let id = lone.worker.runtime_id.as_str();
        said(&beyond.runtime(named(id)).unwrap(), &lone.worker)
    };
    thread::scope(|scope| {
        let moved = scope.spawn(|| moving.say("moved"));
        let lost = scope.spawn(|| overtaken.say("lost"));
        await_commits(&old, 2);
        let runtime = beyond.runtime(named("overtaken")).unwrap();
        say(&runtime, &overtaken.worker, "of another").unwrap();
        assert_refused!(
            doubtful.say("in doubt"),
            RuntimeError::CommitUncertain { .. }
        );
        assert_eq!(said(&doubtful.runtime, &doubtful.worker), ["before"]);
        assert!(!moved.is_finished() && !lost.is_finished());
        // The hosts come over to the other side.
        old_side.fail(Fault::Outage);
        new_side.restore();
        moved.join().unwrap().unwrap();
        assert_refused!(lost.join().unwrap(), RuntimeError::StoreConflict { .. });
    });
    for lone in [&doubtful, &moving, &overtaken] {
        lone.say("later").unwrap();
    }
    assert_eq!(said_beyond(&doubtful), ["before", "later"]);
    assert_eq!(said_beyond(&moving), ["before", "moved", "later"]);
    assert_eq!(said_beyond(&overtaken), ["before", "of another", "later"]);
    assert_eq!(old_side.cancels(), 0);
}
