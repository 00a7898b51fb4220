//! Kills of a real process during its work.

use crate::support::{
    TestChild, all_entries, all_events, assert_refused, assert_whole, named, say, scratch, seed,
    tell, told_as_child, worker_ref,
};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use torture::rng::Rng;

const THREADS: usize = 4;

fn open(path: &Path) -> Runtime {
    Store::open(path).unwrap().runtime(named("r")).unwrap()
}

/// The worker of a thread; two threads share one.
fn worker(thread: usize) -> WorkerRef {
    worker_ref("r", &format!("worker-{:08x}", thread / 2 + 1))
}

/// Creates the workers of all threads.
fn create_workers(path: &Path) {
    let runtime = open(path);
    for _ in 0..THREADS / 2 {
        let request = CreateWorkerRequest::default();
        runtime.create_worker(request).unwrap();
    }
    runtime.store().close().unwrap();
}

/// Sends input from several threads until killed, and prints each acknowledgement after the call
/// returned.
fn send_until_killed(path: &Path) {
    let runtime = open(path);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let runtime = &runtime;
            scope.spawn(move || {
                for number in 0.. {
                    let text = format!("{} {thread} {number}", std::process::id());
                    let ack = runtime.send_input(&worker(thread), WorkerInput::user(&text));
                    let ack = ack.unwrap();
                    let (sequence, event) = (ack.transcript_sequence, ack.event_id);
                    tell(&format!(
                        "{sequence} {event} {} {text}",
                        worker(thread).worker_id
                    ));
                }
            });
        }
    });
}

/// The parts of a line of the child: sequence, event id, worker, text.
type Acknowledged = (u64, u64, String, String);

fn acknowledged(line: &str) -> Acknowledged {
    let parts: Vec<&str> = line.splitn(4, ' ').collect();
    let number = |at: usize| parts[at].parse().unwrap();
    (
        number(0),
        number(1),
        parts[2].to_owned(),
        parts[3].to_owned(),
    )
}

#[test]
fn acknowledged_work_survives_a_kill() {
    if let Some(path) = told_as_child() {
        return send_until_killed(&path);
    }
    let name = "durability::acknowledged_work_survives_a_kill";
    let (_directory, path) = scratch();
    create_workers(&path);

    let mut kills = Rng::new(seed());
    let mut told: BTreeSet<Acknowledged> = BTreeSet::new();
    for round in 0..20 {
        let mut child = TestChild::start(name, &path);
        // At a random point of the work.
        for _ in 0..kills.below(60) {
            told.insert(acknowledged(&child.hear().unwrap()));
        }
        child.child.kill().unwrap();
        // The lines that it printed before the kill were acknowledged too.
        while let Some(line) = child.hear() {
            told.insert(acknowledged(&line));
        }
        child.kill();

        let runtime = open(&path);
        assert_whole(&runtime);
        let mut stored = BTreeSet::new();
        for summary in runtime.list_workers().unwrap() {
            for entry in all_entries(&runtime, &summary.worker_ref) {
                let worker = summary.worker_id.to_string();
                stored.insert((entry.sequence, entry.event_id, worker, entry.content));
            }
        }
        let lost: Vec<_> = told.difference(&stored).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        assert_no_gap_in_what_a_thread_sent(&stored);
        runtime.store().close().unwrap();
    }
    assert!(
        told.len() > 100,
        "the children did too little to prove anything"
    );
}

/// A thread sends its inputs one after the other, so its stored inputs have no gap.
fn assert_no_gap_in_what_a_thread_sent(stored: &BTreeSet<Acknowledged>) {
    let mut sent: BTreeSet<(String, u64)> = BTreeSet::new();
    for (_, _, _, text) in stored {
        let (thread, number) = text.rsplit_once(' ').unwrap();
        let fresh = sent.insert((thread.to_owned(), number.parse().unwrap()));
        assert!(fresh, "{text} is there twice");
    }
    for (thread, number) in &sent {
        let before = number.checked_sub(1).map(|before| (thread.clone(), before));
        let gap = before.is_some_and(|before| !sent.contains(&before));
        assert!(!gap, "{thread}: nothing before {number}");
    }
}

#[test]
fn kill_during_creation_leaves_nothing_or_whole() {
    if let Some(path) = told_as_child() {
        tell("ready");
        for number in 0.. {
            let store = Store::open(path.join(format!("{number}.redb"))).unwrap();
            tell("created");
            drop(store);
        }
    }
    let name = "durability::kill_during_creation_leaves_nothing_or_whole";
    let mut random = Rng::new(seed());
    let (mut whole, mut rounds) = (0, 0);
    while rounds < 25 {
        rounds += 1;
        let (directory, _) = scratch();
        let mut child = TestChild::start(name, directory.path());
        for _ in 0..=random.below(3) {
            child.hear().unwrap();
        }
        std::thread::sleep(Duration::from_micros(random.below(6_000) as u64));
        child.kill();
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let path = file.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "redb")
            {
                let store = Store::open(&path).unwrap();
                assert_eq!(store.runtimes().unwrap(), []);
                whole += 1;
            } else {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                assert!(
                    name.starts_with('.') && name.contains(".redb.partial-"),
                    "{name}"
                );
            }
        }
    }
    assert!(whole > 0, "no child came as far as a store");
}

#[test]
fn repair_reports_progress_and_loses_nothing() {
    if let Some(path) = told_as_child() {
        return send_until_killed(&path);
    }
    let name = "durability::repair_reports_progress_and_loses_nothing";
    let (_directory, path) = scratch();
    create_workers(&path);
    let mut child = TestChild::start(name, &path);
    for _ in 0..20 {
        child.hear().unwrap();
    }
    child.kill();
    assert_refused!(
        Store::open_read_only(&path),
        RuntimeError::NeedsRepair { .. }
    );
    let stopped = Store::options()
        .on_repair(|_| ControlFlow::Break(()))
        .open(&path);
    assert_refused!(stopped, RuntimeError::NeedsRepair { .. });
    let runtime = open(&path);
    assert_whole(&runtime);
    assert!(all_events(&runtime).len() >= 20);
    say(&runtime, &worker(0), "after the repair").unwrap();
    assert_whole(&runtime);
}
