//! Short runs of the campaign `failover`: it finds nothing, and would find a loss or a bug.

use std::process::Command;

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
    let (is_success, printed) = failover("--count 4");
    assert!(is_success);
    assert!(printed.contains(" 0 lost,"));
}

#[test]
fn inputs_are_lost_without_a_synchronous_standby() {
    let (is_success, _) = failover("--control --count 1");
    assert!(is_success, "the control lost nothing");
}

#[test]
fn every_planted_bug_is_found() {
    let (_, listed) = failover("--list");
    let bugs: Vec<_> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .collect();
    assert_eq!(bugs.len(), 4);
    for bug in bugs {
        let name = bug.split(' ').next().unwrap();
        let (is_success, printed) = failover(&format!("--count 20 --plant {name}"));
        assert!(!is_success, "{name} was not found");
        assert!(printed.contains("BROKEN: ") && printed.contains("replay: cargo run"));
    }
}
