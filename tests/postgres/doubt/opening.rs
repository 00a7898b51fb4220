//! Connecting: what is refused, what is never shown, and what a server's types cannot hold.

use crate::hosts::{Host, SHARED, assert_refused, named, options, said, say, schema};
use postgres_tests::cluster::{Cluster, url};
use postgres_tests::server::free_port;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::store::{Durability, PersistedRuntimeSnapshot};
use redb_runtime_store::{PostgresOptions, RuntimeError, Store};
use std::time::Duration;

#[test]
fn replicated_needs_a_synchronous_standby() {
    let replicated = options(&SHARED.url(), &schema()).durability(Durability::Replicated);
    assert_refused!(
        Store::connect(replicated),
        RuntimeError::InvalidRequest(why) if why.contains("synchronous_standby_names")
    );
}

#[test]
fn server_that_loses_commits_is_refused() {
    for setting in ["fsync", "full_page_writes"] {
        let cluster = Cluster::with_settings(&[&format!("{setting}=off")]);
        let refused = Store::connect(options(&cluster.url(), "s"));
        assert_refused!(
            refused,
            RuntimeError::InvalidRequest(why) if why.contains(setting)
        );
    }
}

#[test]
fn password_is_in_no_error_and_no_debug_output() {
    const PASSWORD: &str = "geheim-7361";
    let mut shown = Vec::new();
    let with =
        |port: u16, rest: &str| format!("postgres://agents:{PASSWORD}@127.0.0.1:{port}/{rest}");
    // Nobody listens; no such database; an option that does not exist; no number.
    let addresses = [
        with(free_port(), "postgres?sslmode=disable"),
        with(SHARED.primary().port(), "none?sslmode=disable"),
        with(
            SHARED.primary().port(),
            "postgres?sslmode=disable&nonsense=1",
        ),
        format!("postgres://agents:{PASSWORD}@127.0.0.1:port/postgres"),
        format!("host=127.0.0.1 user=agents password={PASSWORD} port=none"),
    ];
    for address in addresses {
        let options = PostgresOptions::new(&address)
            .connect_timeout(Duration::from_millis(300))
            .outage_timeout(Duration::from_millis(300));
        shown.push(format!("{options:?}"));
        shown.push(crate::hosts::shown(&Store::connect(options).unwrap_err()));
    }
    SHARED.primary().ask(&format!(
        "CREATE USER agents SUPERUSER PASSWORD '{PASSWORD}'"
    ));
    let address = with(SHARED.primary().port(), "postgres?sslmode=disable");
    let store = Store::connect(options(&address, &schema())).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    shown.push(format!("{store:?} {runtime:?} {}", store.path().display()));
    store.close().unwrap();
    let error = store.runtimes().unwrap_err();
    shown.push(format!("{error:?} {error}"));
    for text in shown {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

#[test]
fn nul_is_kept_in_every_text() {
    let host = Host::new(|options| options);
    let store = host.runtime.store();
    let options = RuntimeOptions {
        display_name: Some("na\0me".to_owned()),
        ..named("id\0 of a runtime")
    };
    let runtime = store.runtime(options).unwrap();
    let worker = runtime
        .create_worker(Default::default())
        .unwrap()
        .worker_ref;
    runtime
        .send_input_once(&worker, "k\0ey", WorkerInput::user("\0in\0put"))
        .unwrap();
    runtime.append_reply(&worker, "re\0ply\0").unwrap();
    assert_eq!(said(&runtime, &worker), ["\0in\0put", "re\0ply\0"]);
    runtime
        .stop_worker(&worker, Some("rea\0son".to_owned()))
        .unwrap();
    assert_eq!(
        runtime.summary().unwrap().display_name.as_deref(),
        Some("na\0me")
    );
    let other = Store::connect(options_of(&host)).unwrap();
    let ids: Vec<_> = other
        .runtimes()
        .unwrap()
        .into_iter()
        .map(|one| one.runtime_id)
        .collect();
    assert!(
        ids.iter().any(|id| id.as_str() == "id\0 of a runtime"),
        "{ids:?}"
    );
}

fn options_of(host: &Host) -> PostgresOptions {
    options(&SHARED.url(), &host.schema)
}

#[test]
fn numbers_over_the_column_are_refused() {
    let store = Store::connect(options(&SHARED.url(), &schema())).unwrap();
    let id = RuntimeId::new("r").unwrap();
    let event = |number: u64| RuntimeEvent {
        id: number,
        worker_ref: None,
        kind: RuntimeEventKind::RuntimeStarted,
        message: "m".to_owned(),
    };
    let highest = i64::MAX as u64;
    let load = |number: u64| {
        store.bulk_load(|load| {
            let mut snapshot = PersistedRuntimeSnapshot::new(id.clone());
            snapshot.next_event_id = u64::MAX;
            load.append_event(&id, event(number).into())?;
            load.put_runtime(snapshot.into())
        })
    };
    assert_refused!(load(highest + 1), RuntimeError::InvalidRequest(_));
    assert!(store.runtimes().unwrap().is_empty());
    load(highest).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.last_event_id(&id).unwrap(), Some(highest));
}

/// Many hosts write to a store on a server: none can say that work of another is not under way.
#[test]
fn open_work_and_long_forks_need_one_writer() {
    let host = Host::new(|options| options);
    let opened = host.runtime.open_work(&host.worker, "call", "");
    assert_refused!(opened, RuntimeError::InvalidRequest(why) if why.contains("one process"));
    for _ in 0..5 {
        host.say(&"x".repeat(1 << 20)).unwrap();
    }
    let forked = host.runtime.fork_worker(&host.worker, None);
    assert_refused!(forked, RuntimeError::InvalidRequest(why) if why.contains("one process"));
    host.runtime.fork_worker(&host.worker, Some(2)).unwrap();
}

#[test]
fn store_works_inside_every_tokio_runtime() {
    let use_it = async || {
        let store = Store::connect(options(&SHARED.url(), &schema())).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let worker = runtime
            .create_worker(Default::default())
            .unwrap()
            .worker_ref;
        say(&runtime, &worker, "blocking").unwrap();
        let own = worker.clone();
        let sent = runtime.submit(move |tx| tx.send_input(&own, WorkerInput::user("awaited")));
        sent.await.unwrap();
        assert_eq!(said(&runtime, &worker), ["blocking", "awaited"]);
        drop((runtime, store));
    };
    let single = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    single.block_on(use_it());
    let many = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    many.block_on(use_it());
}

#[test]
fn unknown_server_is_given_up_at_the_deadline() {
    let options =
        PostgresOptions::new(url(&[free_port()])).outage_timeout(Duration::from_millis(500));
    assert_refused!(Store::connect(options), RuntimeError::StoreIo { .. });
}
