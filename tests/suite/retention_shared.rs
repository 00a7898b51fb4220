//! Prunes while other processes write, follow, and are killed.

use crate::support::{
    LONG, Place, TestChild, as_child, child, cursor, first_worker, named, runtime_id, say, tell,
    wait_to_be_killed,
};
use redb_runtime_store::observation::RuntimeEventKind;
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::{Runtime, RuntimeError};
use std::collections::BTreeSet;

const NAME: &str = "retention_shared::writers_and_followers_continue_during_killed_prunes";

/// Tells each event, and each gap that an error announced, until the runtime is stopped.
fn follow(place: &Place) {
    let store = place.open_with(Place::many_writers().read_only(true));
    let runtime = store.runtime(named("r")).unwrap();
    let mut follower = runtime.follow_events(cursor("r", 1)).unwrap();
    loop {
        match follower.next_batch(LONG) {
            Ok(batch) => {
                for event in batch.unwrap().events {
                    tell(&event.id.to_string());
                    if event.kind == RuntimeEventKind::RuntimeStopped {
                        tell("done");
                        wait_to_be_killed();
                    }
                }
            }
            Err(RuntimeError::EventsPruned { requested, first }) => {
                tell(&format!("pruned {requested} {first}"));
                follower = runtime.follow_events(cursor("r", first)).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn runtime(place: &Place) -> Runtime {
    let store = place.open_with(Place::many_writers());
    store.runtime(named("r")).unwrap()
}

fn act(role: &str, place: &Place) {
    if role == "follows" {
        follow(place);
    }
    let runtime = runtime(place);
    if role == "prunes" {
        let policy = Retention::new().keep_events(20).keep_entries(10);
        loop {
            let options = PruneOptions::new().step_bytes(500);
            if !runtime.prune(&policy, options).unwrap().is_empty() {
                tell("pruned");
            }
        }
    }
    let worker = first_worker(&runtime);
    for number in 0..150 {
        tell(
            &say(&runtime, &worker, &number.to_string())
                .unwrap()
                .to_string(),
        );
    }
    tell("done");
    wait_to_be_killed();
}

/// Asserts that a follower has told every event or an error for it. Returns whether there was an error.
fn assert_no_silent_gap(follower: &mut TestChild) -> bool {
    let (mut next, mut was_pruned) = (1, false);
    loop {
        let told = follower.hear().expect("the follower ends with the runtime");
        if told == "done" {
            return was_pruned;
        }
        let numbers = told.trim_start_matches("pruned ").split(' ');
        let numbers: Vec<u64> = numbers.map(|number| number.parse().unwrap()).collect();
        match numbers[..] {
            [id] => {
                assert_eq!(id, next);
                next += 1;
            }
            [requested, first] => {
                assert_eq!(requested, next);
                assert!(first > next);
                (next, was_pruned) = (first, true);
            }
            _ => panic!("{told}"),
        }
    }
}

fn assert_floors_match_rows(runtime: &Runtime) {
    let snapshot = runtime.store().snapshot().unwrap();
    let id = runtime_id("r");
    let own = snapshot.runtime(&id).unwrap().unwrap().value;
    let first = snapshot.first_event_id(&id).unwrap();
    let events = snapshot.events(&id, 0).unwrap().count() as u64;
    assert_eq!(events, own.next_event_id - first);
    let worker = first_worker(runtime);
    let entries = snapshot.transcript(&worker, 0).unwrap().count() as u64;
    let first = snapshot.first_position(&worker).unwrap();
    assert_eq!(entries, snapshot.transcript_len(&worker).unwrap() - first);
    let report = runtime.store().verify().unwrap();
    assert_eq!(
        (report.errors, report.warnings),
        (0, 0),
        "{:?}",
        report.findings
    );
}

#[test]
fn writers_and_followers_continue_during_killed_prunes() {
    if let Some((role, path)) = as_child() {
        return act(&role, &Place::at(&path));
    }
    let place = Place::new();
    let (runtime, path) = (runtime(&place), place.address());
    first_worker(&runtime);
    let mut followers = [0, 1].map(|_| child(NAME, "follows", path));
    let mut writers = [0, 1].map(|_| child(NAME, "writes", path));
    for _ in 0..4 {
        // Killed at any place: the next prune finds a smaller one.
        let mut prunes = child(NAME, "prunes", path);
        assert_eq!(prunes.hear().unwrap(), "pruned");
        prunes.kill();
    }
    let mut acknowledged = BTreeSet::new();
    for writer in &mut writers {
        let told = std::iter::from_fn(|| writer.hear()).take_while(|told| told != "done");
        for id in told {
            assert!(
                acknowledged.insert(id.parse::<u64>().unwrap()),
                "{id} was given twice"
            );
        }
    }
    assert_eq!(acknowledged.len(), 300);
    writers.iter_mut().for_each(TestChild::kill);
    assert_floors_match_rows(&runtime);
    let policy = Retention::new().keep_events(3).keep_entries(2);
    runtime.prune(&policy, PruneOptions::new()).unwrap();
    assert_floors_match_rows(&runtime);
    assert_eq!(runtime.stop_runtime().unwrap(), 303);
    for follower in &mut followers {
        assert_no_silent_gap(follower);
        follower.kill();
    }
}
