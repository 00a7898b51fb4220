//! Short runs of the campaign `failover`: it finds nothing, and would find a loss or a bug.

use postgres_tests::scratch::signal_all;
use rustix::process::Signal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long the processes of a campaign may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the campaign. Returns whether it ended with success, and what it printed.
fn failover(arguments: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_failover"));
    let output = command.args(arguments.split(' ')).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    println!(
        "failover {arguments}\n{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.success(), printed)
}

#[test]
fn fail_over_loses_nothing_that_was_acknowledged() {
    // A host killed, one stopped across the promotion, each server stopped, the standby cut off, and a lease.
    let (is_success, printed) = failover("--seed 18 --count 4");
    assert!(is_success);
    assert!(printed.contains("failover: 4 promotions"));
    assert!(printed.contains(" 0 lost,"));
}

#[test]
fn inputs_are_lost_without_a_synchronous_standby() {
    // On a busy machine the standby can be cut off before anything is acknowledged.
    let loses = |seed| failover(&format!("--control --count 1 --seed {seed}")).0;
    assert!((1..=6).any(loses), "the control lost nothing");
}

#[test]
fn every_planted_bug_is_found() {
    let (_, listed) = failover("--list");
    let bugs: Vec<_> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .collect();
    assert_eq!(bugs.len(), 4);
    // Two at a time: a round waits more than it works.
    for pair in bugs.chunks(2) {
        thread::scope(|scope| {
            for bug in pair {
                scope.spawn(|| assert_found(bug.split(' ').next().unwrap()));
            }
        });
    }
}

fn assert_found(bug: &str) {
    let (is_success, printed) = failover(&format!("--count 20 --plant {bug}"));
    assert!(!is_success, "{bug} was not found");
    assert!(printed.contains("BROKEN: ") && printed.contains("replay: cargo run"));
}

/// Waits until `is_met`.
fn await_that(what: &str, mut is_met: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_met() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The command lines of the processes that work in `directory`.
fn processes(directory: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let line = |process: &Path| {
        let at = std::fs::read_link(process.join("cwd")).ok()?;
        let line = std::fs::read(process.join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        at.starts_with(directory).then_some(line)
    };
    let processes = processes.filter_map(Result::ok);
    processes
        .filter_map(|process| line(&process.path()))
        .collect()
}

/// Servers and hosts are stopped when the campaign is killed: none of them can end by itself.
#[test]
fn killed_campaign_leaves_no_process() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let searchable = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(directory.path(), searchable).unwrap();
    let path = std::fs::canonicalize(directory.path()).unwrap();
    let mut campaign = Command::new(env!("CARGO_BIN_EXE_failover"))
        .env("TMPDIR", &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    await_that("no host began", || {
        let ended = campaign.try_wait().unwrap();
        assert_eq!(ended, None, "the campaign ended");
        let is_host = |line: &String| line.split('\0').nth(1) == Some("host");
        processes(&path).iter().any(is_host)
    });
    signal_all(&path, Signal::STOP);
    campaign.kill().unwrap();
    campaign.wait().unwrap();
    await_that("processes are left", || {
        signal_all(&path, Signal::CONT) == 0
    });
    await_that("files are left", || {
        std::fs::read_dir(&path).unwrap().next().is_none()
    });
}
