//! Comparisons of two stores.

use crate::hosts::REPOSITORY;
use crate::support::{Place, entry, fresh, named, new_worker, runtime_id, say};
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::{
    CompareOptions, DifferenceKind, ExportOptions, ImportOptions, LayoutError, StoreComparison,
    compare_stores, export, import,
};
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A copy of the golden store, which has rows of every kind.
fn golden() -> Place {
    Place::of_file(&Path::new(REPOSITORY).join("tests/fixtures/schema-2.redb"))
}

fn compared(first: &Store, second: &Store) -> StoreComparison {
    let there = compare_stores(first, second, CompareOptions::new()).unwrap();
    let back = compare_stores(second, first, CompareOptions::new()).unwrap();
    // Each side is treated as the other one.
    assert_eq!(there.differing, back.differing, "{there:?} {back:?}");
    assert_eq!(
        [there.times_only_in_first, there.pruned_only_in_first],
        [back.times_only_in_second, back.pruned_only_in_second]
    );
    let listed = there.differences.len() as u64;
    assert_eq!(there.total_differences.min(100), listed);
    assert_eq!(
        there.differing.values().sum::<u64>(),
        there.total_differences
    );
    there
}

/// The kinds that differ, with their numbers.
fn kinds(comparison: &StoreComparison) -> Vec<(DifferenceKind, u64)> {
    comparison
        .differing
        .iter()
        .map(|(kind, n)| (*kind, *n))
        .collect()
}

#[test]
fn backup_has_the_same_content() {
    let place = golden();
    let store = place.open();
    let copy = Place::copy_of(&store);
    let copy = copy.open();
    let comparison = compared(&store, &copy);
    assert!(comparison.is_same(), "{comparison:?}");
    assert_eq!(comparison.runtimes, comparison.same_runtimes);
    let census = store.census().unwrap();
    let rows = |name: &str| {
        let table = census.tables.iter().find(|one| one.table == name);
        table.unwrap().rows
    };
    assert_eq!(comparison.workers, rows("workers"));
    assert_eq!(comparison.events, rows("events"));
    assert_eq!(comparison.transcript_entries, rows("transcripts"));
    assert_eq!(comparison.diagnostics, rows("diagnostics"));
    assert!(comparison.files > 0 && comparison.workers > 0);
    assert_eq!((comparison.only_bytes, comparison.import_records), (0, 0));
    // The same store on both sides.
    assert!(compared(&store, &store).is_same());
}

#[test]
fn reimported_export_differs_only_in_provenance() {
    let (place, directory) = (golden(), tempfile::tempdir().unwrap());
    let store = place.open();
    let again = |times: bool, name: &str| {
        let root = directory.path().join(name);
        export(&store, &root, ExportOptions::new().times(times)).unwrap();
        let again = fresh();
        import(&again, &root, ImportOptions::new()).unwrap();
        compared(&store, &again)
    };
    let with = again(true, "with");
    assert!(with.is_same(), "{with:?}");
    assert!(with.import_records > 0);
    let without = again(false, "without");
    assert!(without.is_same(), "{without:?}");
    assert!(without.times_only_in_first > 0);
    assert_eq!(without.times_only_in_second, 0);
}

/// A store with one runtime that has one worker, with entries.
fn small() -> (Place, Store, WorkerRef) {
    let place = Place::new();
    let store = place.open();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    for text in ["one", "two", "three"] {
        say(&runtime, &worker, text).unwrap();
    }
    (place, store, worker)
}

/// A change of a runtime with a worker.
type Change = fn(&Runtime, &WorkerRef) -> Result<(), RuntimeError>;

/// A change with its name, and the kinds that differ then, each with its number.
type Changed = (&'static str, Change, &'static [(DifferenceKind, u64)]);

#[test]
fn every_kind_of_change_is_a_difference() {
    use DifferenceKind::{Diagnostic, Event, RemovedWorker, Runtime as OfRuntime};
    use DifferenceKind::{TranscriptEntry, Worker};
    let changes: [Changed; 9] = [
        (
            "name",
            |runtime, _| runtime.set_display_name(Some("other".to_owned())).map(drop),
            &[(OfRuntime, 1)],
        ),
        (
            "attributes",
            |runtime, worker| {
                let title = Attributes::new().with("title", "Report").unwrap();
                runtime.set_attributes(worker, title).map(drop)
            },
            &[(Worker, 1)],
        ),
        (
            "pin",
            |runtime, worker| runtime.set_pinned(worker, true),
            &[(Worker, 1)],
        ),
        (
            "input",
            |runtime, worker| say(runtime, worker, "four").map(drop),
            &[
                (OfRuntime, 1),
                (Worker, 1),
                (Event, 1),
                (TranscriptEntry, 1),
            ],
        ),
        (
            "redaction",
            |runtime, worker| runtime.redact_entries(worker, [1], "[redacted]").map(drop),
            &[(OfRuntime, 1), (TranscriptEntry, 1), (Diagnostic, 1)],
        ),
        (
            "prune of entries",
            |runtime, _| {
                let policy = Retention::new().keep_entries(1);
                runtime.prune(&policy, PruneOptions::new()).map(drop)
            },
            &[(OfRuntime, 1), (Worker, 1), (Diagnostic, 1)],
        ),
        (
            "prune of events",
            |runtime, _| {
                let policy = Retention::new().keep_events(3);
                runtime.prune(&policy, PruneOptions::new()).map(drop)
            },
            &[(OfRuntime, 1), (Diagnostic, 1)],
        ),
        (
            "deletion",
            |runtime, worker| {
                runtime.stop_worker(worker, None)?;
                runtime.delete_worker(worker).map(drop)
            },
            &[
                (OfRuntime, 1),
                (Worker, 1),
                (Event, 2),
                (Diagnostic, 2),
                (RemovedWorker, 1),
            ],
        ),
        (
            "new worker",
            |runtime, _| {
                new_worker(runtime);
                Ok(())
            },
            &[(OfRuntime, 1), (Worker, 1), (Event, 1), (Diagnostic, 2)],
        ),
    ];
    for (name, change, expected) in changes {
        let (_place, store, worker) = small();
        let copy = Place::copy_of(&store);
        let copy = copy.open();
        change(&copy.runtime(named("r")).unwrap(), &worker).unwrap();
        let comparison = compared(&store, &copy);
        let expected: Vec<_> = expected.iter().filter(|(_, n)| *n > 0).copied().collect();
        assert_eq!(kinds(&comparison), expected, "{name}: {comparison:#?}");
        assert_eq!((comparison.runtimes, comparison.same_runtimes), (1, 0));
        // Two of three entries, and two of five events.
        let pruned = u64::from(name.starts_with("prune")) * 2;
        assert_eq!(comparison.pruned_only_in_first, pruned, "{name}");
        assert_eq!(comparison.pruned_only_in_second, 0, "{name}");
    }
}

#[test]
fn floors_of_event_logs_are_compared() {
    let (_place, store, _) = small();
    let keep = |store: &Store, events: u64| {
        let policy = Retention::new().keep_events(events);
        assert!(
            !store
                .prune(&policy, PruneOptions::new())
                .unwrap()
                .is_empty()
        );
    };
    keep(&store, 4);
    let copy = Place::copy_of(&store);
    let copy = copy.open();
    keep(&copy, 3);
    let comparison = compared(&store, &copy);
    let what = &comparison.differences[0].what;
    assert_eq!(
        what,
        "first_event_id is 2 in the first store and 3 in the second store"
    );
    assert_eq!(comparison.pruned_only_in_first, 1);
}

#[test]
fn files_that_differ_are_differences() {
    let (_place, store, _) = small();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    export(&store, &root, ExportOptions::new()).unwrap();
    let with = |write: &dyn Fn(&Path)| {
        let copy = directory.path().join("edited");
        if copy.exists() {
            fs::remove_dir_all(&copy).unwrap();
        }
        copy_tree(&root, &copy);
        write(&copy);
        let store = fresh();
        import(&store, &copy, ImportOptions::new()).unwrap();
        store
    };
    let notes = |text: &'static [u8]| {
        move |root: &Path| fs::write(root.join("runtimes/id-72/notes"), text).unwrap()
    };
    let (one, other) = (
        with(&notes(b"a secret word")),
        with(&notes(b"a public word")),
    );
    let comparison = compared(&one, &other);
    assert_eq!(kinds(&comparison), [(DifferenceKind::File, 1)]);
    let [difference] = comparison.differences.as_slice() else {
        panic!("{comparison:?}")
    };
    assert_eq!(difference.path.as_deref(), Some(Path::new("notes")));
    let window = difference.window.as_ref().unwrap();
    assert_eq!(
        (window.offset, window.left.as_str(), window.right.as_str()),
        (2, "a secret word", "a public word")
    );
    assert_eq!(
        difference.to_string(),
        "runtime r, file notes: the file differs from byte 2 on: a secret word in the first store and a public word in the second"
    );
    let none = with(&|_| ());
    assert_eq!(kinds(&compared(&one, &none)), [(DifferenceKind::File, 1)]);
    // A file of no runtime, and a longer file.
    let beside = with(&|root| fs::write(root.join("runtimes/beside"), "x").unwrap());
    assert_eq!(
        kinds(&compared(&beside, &none)),
        [(DifferenceKind::File, 1)]
    );
    let longer = with(&notes(b"a secret word and more"));
    let comparison = compared(&one, &longer);
    assert_eq!(
        comparison.differences[0].window.as_ref().unwrap().offset,
        13
    );
}

#[test]
fn files_of_a_worker_go_with_the_worker() {
    let (_place, store, worker) = small();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    export(&store, &root, ExportOptions::new()).unwrap();
    let workers = root.join("runtimes/id-72/workers");
    let of_worker = fs::read_dir(workers).unwrap().next().unwrap().unwrap();
    fs::write(of_worker.path().join("notes"), "x").unwrap();
    let places = [(); 2].map(|()| Place::new());
    let stores = places.each_ref().map(|place| {
        let store = place.open();
        import(&store, &root, ImportOptions::new()).unwrap();
        store
    });
    assert_eq!(compared(&stores[0], &stores[1]).files, 1);
    let runtime = stores[1].runtime(named("r")).unwrap();
    runtime.stop_worker(&worker, None).unwrap();
    runtime.delete_worker(&worker).unwrap();
    let comparison = compared(&stores[0], &stores[1]);
    assert!(
        !comparison.differing.contains_key(&DifferenceKind::File),
        "{comparison:?}"
    );
    assert_eq!(comparison.differing[&DifferenceKind::Worker], 1);
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn long_values_are_shown_around_their_difference() {
    let long = |middle: &str| format!("{}{middle}{}", "x".repeat(1 << 20), "y".repeat(1 << 20));
    let store = |middle: &str| {
        let store = fresh();
        let runtime = store.runtime(named("r")).unwrap();
        let worker = new_worker(&runtime);
        runtime
            .send_input(&worker, WorkerInput::user(long(middle)))
            .unwrap();
        store
    };
    let comparison = compared(&store("left"), &store("right"));
    let entries = |one: &&redb_runtime_store::layout::StoreDifference| {
        one.kind == DifferenceKind::TranscriptEntry
    };
    let difference = comparison.differences.iter().find(entries).unwrap();
    // A time can differ instead, which comes later in the record.
    assert_eq!(
        difference.what,
        format!("content differs from byte {} on", (1 << 20) + 1)
    );
    let window = difference.window.as_ref().unwrap();
    assert!(
        window.left.starts_with("…xxx") && window.left.contains("xleftyyy"),
        "{window:?}"
    );
    assert!(window.right.contains("xrightyyy"), "{window:?}");
    assert!(window.left.chars().count() < 80 && window.right.chars().count() < 80);
    assert!(difference.to_string().len() < 400);
}

#[test]
fn only_named_runtimes_are_compared() {
    let (_place, one, _) = small();
    let other = Place::copy_of(&one);
    let other = other.open();
    one.runtime(named("a")).unwrap();
    other.runtime(named("c")).unwrap();
    let of = |ids: &[&str]| {
        let options = CompareOptions::new().runtimes(ids.iter().map(|id| runtime_id(id)));
        compare_stores(&one, &other, options)
    };
    assert_eq!(kinds(&of(&[]).unwrap()), [(DifferenceKind::Runtime, 2)]);
    assert!(of(&["r"]).unwrap().is_same());
    assert_eq!(of(&["a", "r"]).unwrap().total_differences, 1);
    let nowhere = of(&["r", "nowhere"]);
    assert!(matches!(
        nowhere,
        Err(LayoutError::Store(RuntimeError::RuntimeNotFound { .. }))
    ));
}

#[test]
fn records_are_matched_by_their_numbers() {
    use crate::support::{bulk, event, runtime_snapshot, worker_snapshot};
    let store = |sequences: &'static [u64]| {
        let store = fresh();
        let worker = crate::support::worker_ref("r", "w");
        bulk(&store, |load| {
            for sequence in sequences {
                load.append_transcript_entry(entry(&worker, *sequence, "text").into())?;
            }
            load.put_worker(worker_snapshot(&worker, 10).into())?;
            load.append_event(&runtime_id("r"), event(1, "said").into())?;
            load.put_runtime(runtime_snapshot("r", 3).into())
        });
        store
    };
    let comparison = compared(&store(&[1, 2, 5, 6]), &store(&[1, 3, 5, 6, 7]));
    assert_eq!(kinds(&comparison), [(DifferenceKind::TranscriptEntry, 3)]);
    assert_eq!(comparison.transcript_entries, 3);
    let shown: Vec<String> = comparison
        .differences
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        shown,
        [
            "runtime r, worker w, entry 2: the second store does not have this entry",
            "runtime r, worker w, entry 3: the first store does not have this entry",
            "runtime r, worker w, entry 7: the first store does not have this entry",
        ]
    );
}

/// A store whose rows were all recorded at this time, in seconds.
fn recorded_at(place: &Place, seconds: u64) -> Store {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let store = place.open_with(Place::options().clock(move || time));
    let runtime = store.runtime(named("r")).unwrap();
    say(&runtime, &new_worker(&runtime), "one").unwrap();
    store
}

#[test]
fn other_times_are_differences() {
    let places = [(); 2].map(|()| Place::new());
    let [one, other] = [0, 1].map(|n| recorded_at(&places[n], 1 + n as u64));
    let expected = [
        (DifferenceKind::Event, 3),
        (DifferenceKind::TranscriptEntry, 1),
        (DifferenceKind::Diagnostic, 2),
    ];
    assert_eq!(kinds(&compared(&one, &other)), expected);
}

#[test]
fn removed_workers_are_compared_with_their_ends() {
    let (_place, store, worker) = small();
    let places = [(); 2].map(|()| Place::copy_of(&store));
    let copies = [(&places[0], false), (&places[1], true)].map(|(place, says_more)| {
        let copy = place.open();
        let runtime = copy.runtime(named("r")).unwrap();
        if says_more {
            say(&runtime, &worker, "four").unwrap();
        }
        runtime.stop_worker(&worker, None).unwrap();
        let policy = Retention::new().ended_before(Duration::ZERO);
        let report = runtime.prune(&policy, PruneOptions::new()).unwrap();
        assert_eq!(report.runtimes[0].workers, 1);
        copy
    });
    let ends = compared(&copies[0], &copies[1]);
    assert_eq!(
        ends.differing[&DifferenceKind::RemovedWorker],
        1,
        "{ends:?}"
    );
    let gone = compared(&copies[0], &store);
    assert_eq!(
        gone.differing[&DifferenceKind::RemovedWorker],
        1,
        "{gone:?}"
    );
    assert_eq!(gone.differing[&DifferenceKind::Worker], 1, "{gone:?}");
}
