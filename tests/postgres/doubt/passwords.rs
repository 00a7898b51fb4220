//! Logging in with a password (`scram-sha-256`).

use crate::hosts::{assert_refused, named, say, schema, shown};
use postgres_tests::cluster::Cluster;
use redb_runtime_store::{PostgresOptions, RuntimeError, Store};
use std::io::ErrorKind;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// With characters that an address has to escape.
const PASSWORD: &str = "geh:eim/7361@?";
const ESCAPED: &str = "geh%3Aeim%2F7361%40%3F";
const WRONG: &str = "falsch-9042";

/// Who may log in. The user of the tests themselves needs no password.
const ACCESS: &str = "
host all postgres 127.0.0.1/32 trust
host all agents 127.0.0.1/32 scram-sha-256
host all changed 127.0.0.1/32 scram-sha-256
";

/// A server that asks for a password.
static GUARDED: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::single();
    let server = cluster.primary();
    server.write("pg_hba.conf", ACCESS);
    server.reload();
    for user in ["agents", "changed", "strange"] {
        server.ask(&format!("CREATE USER {user} PASSWORD '{PASSWORD}'"));
        server.ask(&format!("GRANT CREATE ON DATABASE postgres TO {user}"));
    }
    cluster
});

/// Options for the guarded server. `user` can have a password.
fn options(user: &str) -> PostgresOptions {
    let url = GUARDED.url().replace("postgres@", &format!("{user}@"));
    PostgresOptions::new(url)
        .schema(schema())
        .max_connections(2)
}

/// Asserts that `result` is a refusal that came at once and shows no password.
fn assert_denied<T: std::fmt::Debug>(result: Result<T, RuntimeError>, began: Instant, why: &str) {
    let error = result.unwrap_err();
    let shown = shown(&error);
    for password in [PASSWORD, ESCAPED, WRONG] {
        assert!(!shown.contains(password), "{shown}");
    }
    assert!(shown.contains(why), "{shown}");
    assert_refused!(
        Err::<(), _>(error),
        RuntimeError::StoreIo { source, .. } if source.kind() == ErrorKind::PermissionDenied
    );
    // The time of an outage is 30 seconds.
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn right_password_is_accepted_from_either_place() {
    let in_address = format!("agents:{ESCAPED}");
    let as_parameter = PostgresOptions::new(format!(
        "{}&password={ESCAPED}",
        GUARDED.url().replace("postgres@", "agents@")
    ));
    for options in [
        options(&in_address),
        options("agents").password(PASSWORD),
        // The one in the address counts.
        options(&in_address).password(WRONG),
        as_parameter.schema(schema()),
    ] {
        let debug = format!("{options:?}");
        let store = Store::connect(options).unwrap();
        store.runtime(named("r")).unwrap();
        let shown = format!("{debug} {store:?} {}", store.path().display());
        for password in [PASSWORD, ESCAPED, WRONG] {
            assert!(!shown.contains(password), "{shown}");
        }
    }
}

#[test]
fn wrong_password_is_refused_at_once() {
    let failed = "password authentication failed";
    for options in [
        options(&format!("agents:{WRONG}")),
        options("agents").password(WRONG),
    ] {
        let began = Instant::now();
        assert_denied(Store::connect(options.clone()), began, failed);
        assert_denied(options.migrate(), began, failed);
    }
    let began = Instant::now();
    assert_denied(Store::connect(options("agents")), began, "password missing");
    // Right, but the server takes no such user.
    let unknown = options("strange").password(PASSWORD);
    assert_denied(Store::connect(unknown), began, "pg_hba.conf");
}

/// An operator changes the password of a store that is open.
#[test]
fn changed_password_fails_operations_at_once() {
    let store = Store::connect(options("changed").password(PASSWORD)).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime.create_worker(Default::default()).unwrap();
    let worker = worker.worker_ref;
    let ask = |sql: &str| GUARDED.primary().ask(sql);
    ask(&format!("ALTER USER changed PASSWORD '{WRONG}'"));
    ask("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'changed'");
    let began = Instant::now();
    let failed = "password authentication failed";
    assert_denied(say(&runtime, &worker, "refused"), began, failed);
    ask(&format!("ALTER USER changed PASSWORD '{PASSWORD}'"));
    say(&runtime, &worker, "later").unwrap();
    assert_eq!(crate::hosts::said(&runtime, &worker), ["later"]);
}
