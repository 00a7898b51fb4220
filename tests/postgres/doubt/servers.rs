//! The servers and the proxy of these tests do what the tests rely on.

use postgres_tests::cluster::Cluster;
use postgres_tests::proxy::{Fault, Point, Proxy};
use postgres_tests::psql;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The processes that work in or below `directory`.
fn processes_in(directory: &Path) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let links =
        processes.filter_map(|entry| std::fs::read_link(entry.ok()?.path().join("cwd")).ok());
    links.filter(|link| link.starts_with(directory)).collect()
}

#[test]
fn fail_over_keeps_every_commit() {
    let mut cluster = Cluster::replicated();
    cluster.primary().ask("CREATE TABLE t (n int8)");
    for round in 1..=3 {
        cluster
            .primary()
            .ask(&format!("INSERT INTO t VALUES ({round})"));
        cluster.fail_over();
        cluster.rejoin();
        let rows = cluster.primary().ask("SELECT count(*), max(n) FROM t");
        assert_eq!(rows, format!("{round}|{round}"));
    }
}

#[test]
fn commits_wait_for_the_standby() {
    let cluster = Cluster::replicated();
    cluster.primary().ask("CREATE TABLE t (n int8)");
    cluster.link().fail(Fault::Hold);
    let mut session = cluster.primary().session();
    session.begin("INSERT INTO t VALUES (1)");
    sleep(Duration::from_millis(200));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    assert_eq!(cluster.primary().ask(waiting), "1");
    cluster.link().restore();
    session.end();
    assert_eq!(cluster.primary().ask(waiting), "0");
    assert_eq!(cluster.standby().ask("SELECT count(*) FROM t"), "1");
}

#[test]
fn held_rows_are_lost_without_a_synchronous_standby() {
    let mut cluster = Cluster::asynchronous();
    cluster.primary().ask("CREATE TABLE t (n int8)");
    cluster.link().fail(Fault::Hold);
    cluster.primary().ask("INSERT INTO t VALUES (1)");
    cluster.fail_over();
    let rows = cluster.primary().try_ask("SELECT count(*) FROM t");
    assert_ne!(rows, Ok("1".to_owned()));
}

#[test]
fn paused_server_answers_later() {
    let cluster = Cluster::single();
    let mut session = cluster.primary().session();
    assert_eq!(session.run("SELECT 1"), ["1"]);
    cluster.primary().pause();
    let began = Instant::now();
    session.begin("SELECT 2");
    sleep(Duration::from_millis(100));
    cluster.primary().resume();
    assert_eq!(session.end(), ["2"]);
    assert!(began.elapsed() >= Duration::from_millis(100));
}

#[test]
fn checksums_and_fsync_are_on() {
    let cluster = Cluster::single();
    for setting in [
        "data_checksums",
        "fsync",
        "full_page_writes",
        "synchronous_commit",
    ] {
        assert_eq!(
            cluster.primary().ask(&format!("SHOW {setting}")),
            "on",
            "{setting}"
        );
    }
}

#[test]
fn nothing_is_left_of_a_cluster() {
    let cluster = Cluster::replicated();
    let directory = PathBuf::from(cluster.primary().ask("SHOW data_directory"));
    let directory = directory.parent().unwrap();
    assert!(processes_in(directory).len() > 4);
    cluster.standby().pause();
    drop(cluster);
    assert_eq!(processes_in(directory), <[PathBuf; 0]>::default());
    assert!(!directory.exists());
}

/// Runs `sql` through `proxy`, with psql from `directory`.
fn through(proxy: &Proxy, sql: &str) -> Result<String, String> {
    psql::ask(&std::env::temp_dir(), proxy.port(), sql)
}

#[test]
fn proxy_loses_commits_and_answers() {
    let cluster = Cluster::single();
    let (proxy, _) = cluster.proxied();
    through(&proxy, "CREATE TABLE t (n int8)").unwrap();
    let insert = "BEGIN; INSERT INTO t VALUES (1); COMMIT";
    let count = || cluster.primary().ask("SELECT count(*) FROM t");

    proxy.plan(Point::COMMIT_LOST, Fault::Cut);
    through(&proxy, insert).unwrap_err();
    assert!(proxy.has_fired());
    assert_eq!(count(), "0");

    proxy.plan(Point::ANSWER_LOST, Fault::Cut);
    through(&proxy, insert).unwrap_err();
    assert!(proxy.has_fired());
    assert_eq!(count(), "1");

    // Without a plan.
    through(&proxy, insert).unwrap();
    assert_eq!(count(), "2");

    proxy.fail(Fault::Outage);
    through(&proxy, insert).unwrap_err();
    proxy.restore();
    assert_eq!(through(&proxy, "SELECT count(*) FROM t").unwrap(), "2");
    assert_eq!(proxy.cancels(), 0);
}

#[test]
fn proxy_holds_an_answer() {
    let cluster = Cluster::single();
    let (proxy, _) = cluster.proxied();
    through(&proxy, "CREATE TABLE t (n int8)").unwrap();
    proxy.plan(Point::ANSWER_LOST, Fault::Hold);
    std::thread::scope(|scope| {
        let host = scope.spawn(|| through(&proxy, "BEGIN; INSERT INTO t VALUES (1); COMMIT"));
        proxy.wait_fired();
        assert_eq!(cluster.primary().ask("SELECT count(*) FROM t"), "1");
        assert!(!host.is_finished());
        proxy.restore();
        host.join().unwrap().unwrap();
    });
}

/// Starts this test binary again and kills it when its cluster runs.
#[test]
fn killed_tests_leave_nothing() {
    const CHILD: &str = "POSTGRES_TESTS_CHILD";
    if let Some(told) = std::env::var_os(CHILD) {
        let cluster = Cluster::single();
        let data = cluster.primary().ask("SHOW data_directory");
        std::fs::write(told, data).unwrap();
        loop {
            sleep(Duration::from_secs(60));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("data");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["servers::killed_tests_leave_nothing", "--exact"])
        .env(CHILD, &told)
        .spawn()
        .unwrap();
    let wait = |is_done: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !is_done() {
            assert!(began.elapsed() < Duration::from_secs(60));
            sleep(Duration::from_millis(20));
        }
    };
    wait(&|| std::fs::read_to_string(&told).is_ok_and(|data| !data.is_empty()));
    let data = PathBuf::from(std::fs::read_to_string(&told).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    let directory = data.parent().unwrap();
    wait(&|| !directory.exists());
    assert_eq!(processes_in(directory), <[PathBuf; 0]>::default());
}
