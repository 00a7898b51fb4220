//! `events` and `transcript` of a pruned store.

use crate::program::{Workplace, command, run};
use crate::support::{full_request, say};
use redb_runtime_store::Runtime;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::retention::{PruneOptions, Retention};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Stdio};

const PRUNED: i32 = 1;

/// A runtime with 8 events and 6 entries, of which the first 5 events and 3 entries are pruned, and its file.
fn pruned(workplace: &Workplace) -> (PathBuf, Runtime, WorkerRef) {
    let runtime = workplace.runtime("store");
    let worker = runtime.create_worker(full_request()).unwrap().worker_ref;
    for number in 0..6 {
        say(&runtime, &worker, &number.to_string()).unwrap();
    }
    prune(&runtime, Retention::new().keep_events(3).keep_entries(3));
    (workplace.path("store"), runtime, worker)
}

fn prune(runtime: &Runtime, policy: Retention) {
    let report = runtime.prune(&policy, PruneOptions::new()).unwrap();
    assert!(!report.is_empty());
}

/// The ids, or the sequences, of printed rows.
fn numbers(printed: &str, member: &str) -> Vec<u64> {
    let lines = printed.lines();
    let rows = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.map(|row| row[member].as_u64().unwrap()).collect()
}

#[test]
fn start_below_the_floor_is_refused() {
    let workplace = Workplace::new();
    let (store, _runtime, worker) = pruned(&workplace);
    let worker = worker.worker_id.as_str();
    for (arguments, expected) in [
        (vec![], vec![6, 7, 8]),
        (vec!["--from", "6"], vec![6, 7, 8]),
        (vec!["--from", "8"], vec![8]),
        (vec!["--from", "99"], vec![]),
    ] {
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"events", &store, &"--json"];
        all.extend(
            arguments
                .iter()
                .map(|one| one as &dyn AsRef<std::ffi::OsStr>),
        );
        let printed = run(&all);
        printed.expect_code(0);
        assert_eq!(numbers(&printed.stdout(), "id"), expected, "{arguments:?}");
    }
    for (start, expected) in [("0", vec![4, 5, 6]), ("3", vec![4, 5, 6]), ("5", vec![6])] {
        let printed = run(&[
            &"transcript",
            &store,
            &worker,
            &"--start",
            &start,
            &"--json",
        ]);
        printed.expect_code(0);
        assert_eq!(numbers(&printed.stdout(), "sequence"), expected, "{start}");
    }
    for (printed, expected) in [
        (
            run(&[&"events", &store, &"--from", &"2"]),
            "2 was requested, but everything before 6",
        ),
        (
            run(&[&"transcript", &store, &worker, &"--start", &"2"]),
            "2 was requested, but everything before 3",
        ),
    ] {
        printed.expect_code(PRUNED);
        assert_eq!(printed.stdout(), "");
        assert!(printed.stderr().contains(expected), "{}", printed.stderr());
    }
}

/// The program, stopped before or after it has read the store.
fn stopped(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Child {
    let mut command = command(arguments);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    signal(&child, Signal::STOP);
    let status = waitpid(Some(Pid::from_child(&child)), WaitOptions::UNTRACED);
    assert!(status.unwrap().unwrap().1.stopped());
    child
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Asserts that the continued program ends with an error about pruned rows, and prints none.
fn assert_refuses(mut child: Child, expected: &str) {
    signal(&child, Signal::CONT);
    // A follower that skips the pruned rows prints the next one, and never ends.
    let mut printed = [0];
    let read = child.stdout.take().unwrap().read(&mut printed).unwrap();
    if read > 0 {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(read, 0, "it prints rows after a gap");
    assert_eq!(output.status.code(), Some(PRUNED));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(expected), "{error}");
}

fn log(runtime: &Runtime, worker: &WorkerRef) {
    say(runtime, worker, "pruned before it is read").unwrap();
    prune(runtime, Retention::new().keep_events(0).keep_entries(0));
    say(runtime, worker, "left").unwrap();
}

#[test]
fn follower_at_the_end_never_skips_pruned_events() {
    let workplace = Workplace::new();
    let (store, runtime, worker) = pruned(&workplace);
    let follower = stopped(&[&"events", &store, &"--from", &"9", &"--follow"]);
    log(&runtime, &worker);
    assert_refuses(follower, "9 was requested, but everything before 10");
}

#[test]
fn follower_at_the_end_never_skips_pruned_entries() {
    let workplace = Workplace::new();
    let (store, runtime, worker) = pruned(&workplace);
    let id = worker.worker_id.as_str();
    let follower = stopped(&[&"transcript", &store, &id, &"--start", &"6", &"--follow"]);
    log(&runtime, &worker);
    assert_refuses(follower, "6 was requested, but everything before 7");
}
