//! Reads: pages, snapshots, and their cost.

use crate::hosts::HIGHEST;
use crate::support::{
    Host, Kept, assert_refused, bulk, cursor, entry, event, fresh, named, on_both, runtime_id,
    runtime_snapshot, say, seeded, worker_ref, worker_snapshot,
};
use proptest::prelude::*;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::TranscriptQuery;
use redb_runtime_store::layout::{ExportOptions, ImportOptions, export, import};
use redb_runtime_store::management::{RuntimeLimits, RuntimeOptions};
use redb_runtime_store::store::{ImportRecord, Snapshot};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A runtime with four events and, in one worker, two entries; at most two of each at a time.
fn small_limits(kept: Kept) -> Host {
    let limits = RuntimeLimits {
        max_transcript_projection_items: 2,
        max_event_batch_items: 2,
    };
    let options = RuntimeOptions {
        limits,
        ..named("r")
    };
    let host = Host::new(kept, options);
    let worker = host
        .runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap()
        .worker_ref;
    say(&host.runtime, &worker, "a").unwrap();
    say(&host.runtime, &worker, "b").unwrap();
    host
}

#[test]
fn event_batches_are_right_at_edges() {
    for &kept in Kept::ALL {
        let mut host = small_limits(kept);
        host.reopen();
        // (from, limit) to (ids, next, has_more); there are events 1 to 4.
        let edges: [(u64, usize, &[u64], u64, bool); 11] = [
            (1, 2, &[1, 2], 3, true),
            (0, 1, &[1], 2, true),
            (3, 1, &[3], 4, true),
            (3, 2, &[3, 4], 5, false),
            (4, 2, &[4], 5, false),
            (4, 1, &[4], 5, false),
            (4, 0, &[], 4, true),
            (5, 0, &[], 5, false),
            (5, 2, &[], 5, false),
            (99, 2, &[], 99, false),
            (u64::MAX, 2, &[], u64::MAX, false),
        ];
        for (from, limit, ids, next, has_more) in edges {
            let batch = host.runtime.read_events(&cursor("r", from), limit).unwrap();
            let got: Vec<_> = batch.events.iter().map(|event| event.id).collect();
            assert_eq!(got, ids, "from {from}, limit {limit}");
            assert_eq!(
                batch.cursor,
                cursor("r", next),
                "from {from}, limit {limit}"
            );
            assert_eq!(batch.has_more, has_more, "from {from}, limit {limit}");
            assert_eq!(batch.runtime_id, runtime_id("r"));
        }
        for limit in [3, usize::MAX] {
            assert_refused!(
                host.runtime.read_events(&cursor("r", 1), limit),
                RuntimeError::LimitTooLarge { requested, max: 2 } if requested == limit
            );
        }
    }
}

#[test]
fn transcript_pages_are_right_at_edges() {
    for &kept in Kept::ALL {
        let mut host = small_limits(kept);
        host.reopen();
        let worker = worker_ref("r", "worker-00000001");
        let edges: [(usize, usize, &[&str], Option<usize>); 9] = [
            (0, 2, &["a", "b"], None),
            (0, 1, &["a"], Some(1)),
            (1, 1, &["b"], None),
            (1, 2, &["b"], None),
            (0, 0, &[], Some(0)),
            (2, 0, &[], None),
            (2, 2, &[], None),
            (3, 1, &[], None),
            (usize::MAX, 2, &[], None),
        ];
        for (start, limit, contents, next_start) in edges {
            let query = TranscriptQuery::new(start, limit);
            let page = host.runtime.transcript_projection(&worker, query).unwrap();
            let got: Vec<_> = page.items.iter().map(|entry| &*entry.content).collect();
            assert_eq!(got, contents, "start {start}, limit {limit}");
            assert_eq!(page.next_start, next_start, "start {start}, limit {limit}");
            assert_eq!(
                (page.start, page.limit, page.total_items),
                (start, limit, 2)
            );
            assert_eq!(page.worker_ref, worker);
        }
        for limit in [3, usize::MAX] {
            let query = TranscriptQuery::new(0, limit);
            assert_refused!(
                host.runtime.transcript_projection(&worker, query),
                RuntimeError::LimitTooLarge { requested, max: 2 } if requested == limit
            );
        }
    }
}

#[test]
fn zero_limits_read_nothing() {
    on_both(|host| {
        let limits = RuntimeLimits {
            max_transcript_projection_items: 0,
            max_event_batch_items: 0,
        };
        let options = RuntimeOptions {
            limits,
            ..named("zero")
        };
        let runtime = host.runtime.store().runtime(options).unwrap();
        let batch = runtime.read_events(&cursor("zero", 1), 0).unwrap();
        assert!(batch.events.is_empty() && batch.has_more);
        assert_refused!(
            runtime.read_events(&cursor("zero", 1), 1),
            RuntimeError::LimitTooLarge {
                requested: 1,
                max: 0
            }
        );
    });
}

/// The ids and sequences of a log with gaps: every number that leaves 1 or 2 when divided by 3.
fn gappy(count: u64) -> impl Iterator<Item = u64> {
    (1..).filter(|number| number % 3 != 0).take(count as usize)
}

const GAPPY: u64 = 300;

/// A runtime with 300 events and one transcript of 300 entries, all with gaps in their numbers.
static IMPORTED: LazyLock<Runtime> = LazyLock::new(|| {
    let store = fresh();
    let worker = worker_ref("r", "w");
    bulk(&store, |load| {
        load.put_worker(worker_snapshot(&worker, 1_000).into())?;
        for number in gappy(GAPPY) {
            let content = format!("entry {number}");
            load.append_transcript_entry(entry(&worker, number, &content).into())?;
            let event = event(number, &format!("event {number}"));
            load.append_event(&runtime_id("r"), event.into())?;
        }
        load.put_runtime(runtime_snapshot("r", 1_000).into())
    });
    store.runtime(named("r")).unwrap()
});

proptest! {
    #![proptest_config(seeded(400))]
    #[test]
    fn transcript_page_equals_slice_of_whole(
        start in 0..400_usize, limit in 0..=256_usize
    ) {
        let worker = worker_ref("r", "w");
        let query = TranscriptQuery::new(start, limit);
        let page = IMPORTED.transcript_projection(&worker, query).unwrap();
        let whole: Vec<u64> = gappy(GAPPY).collect();
        let wanted: Vec<u64> = whole.iter().copied().skip(start).take(limit).collect();
        let end = start + wanted.len();
        let got: Vec<u64> = page.items.iter().map(|entry| entry.sequence).collect();
        prop_assert_eq!(got, wanted);
        for entry in &page.items {
            prop_assert_eq!(&entry.content, &format!("entry {}", entry.sequence));
        }
        prop_assert_eq!(page.total_items, whole.len());
        prop_assert_eq!(page.next_start, (end < whole.len()).then_some(end));
    }

    #[test]
    fn event_batch_equals_slice_of_log(
        from in prop_oneof![9 => 0..600_u64, 1 => Just(u64::MAX)], limit in 0..=256_usize
    ) {
        let batch = IMPORTED.read_events(&cursor("r", from), limit).unwrap();
        let rest: Vec<u64> = gappy(GAPPY).filter(|id| *id >= from).collect();
        let wanted = &rest[..limit.min(rest.len())];
        let got: Vec<u64> = batch.events.iter().map(|event| event.id).collect();
        prop_assert_eq!(&got, wanted);
        let next = wanted.last().map_or(from, |last| last + 1);
        prop_assert_eq!(batch.cursor, cursor("r", next));
        prop_assert_eq!(batch.has_more, rest.len() > wanted.len());
        for event in &batch.events {
            prop_assert_eq!(&event.message, &format!("event {}", event.id));
        }
    }
}

/// The runtime `r` in a snapshot: its events, workers, and the entries of each.
fn seen(snapshot: &Snapshot) -> (Vec<u64>, Vec<(WorkerRef, Vec<String>)>) {
    let id = runtime_id("r");
    let events = snapshot
        .events(&id, 1)
        .unwrap()
        .map(|event| event.unwrap().value.id)
        .collect();
    let mut workers = Vec::new();
    for worker in snapshot.workers(&id).unwrap() {
        let worker = worker.unwrap().value.worker_ref;
        let entries = snapshot.transcript(&worker, 0).unwrap();
        let entries = entries.map(|entry| entry.unwrap().value.content).collect();
        workers.push((worker, entries));
    }
    (events, workers)
}

#[test]
fn snapshot_is_stable_during_writes() {
    on_both(|host| {
        let runtime = &host.runtime;
        let worker = runtime
            .create_worker(CreateWorkerRequest::default())
            .unwrap()
            .worker_ref;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0.. {
                    say(runtime, &worker, &format!("{number}")).unwrap();
                    if number % 7 == 0 {
                        runtime
                            .create_worker(CreateWorkerRequest::default())
                            .unwrap();
                    }
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            for _ in 0..15 {
                let snapshot = runtime.store().snapshot().unwrap();
                let first = seen(&snapshot);
                let (events, workers) = &first;
                // Started, then one event for each worker and each entry; nothing half there.
                let entries: usize = workers.iter().map(|(_, entries)| entries.len()).sum();
                assert_eq!(events.len(), 1 + workers.len() + entries);
                let state = snapshot.runtime(&runtime_id("r")).unwrap().unwrap().value;
                assert_eq!(state.next_event_id, events.len() as u64 + 1);
                assert_eq!(
                    snapshot.last_event_id(&state.runtime_id).unwrap(),
                    events.last().copied()
                );
                say(runtime, &worker, "between").unwrap();
                assert_eq!(seen(&snapshot), first, "the snapshot does not change");
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn snapshots_walk_logs_across_pages() {
    for count in [0, 1, 1_023, 1_024, 1_025, 3_000] {
        let store = fresh();
        let (id, long) = (runtime_id("r"), worker_ref("r", "long"));
        bulk(&store, |load| {
            load.put_worker(worker_snapshot(&long, count + 1).into())?;
            for number in 1..=count {
                let worker = worker_ref("r", &format!("w{number:05}"));
                load.put_worker(worker_snapshot(&worker, 1).into())?;
                load.append_event(&id, event(2 * number, "event").into())?;
                load.append_transcript_entry(entry(&long, number, "entry").into())?;
            }
            let diagnostics = (1..=count).map(|id| RuntimeDiagnostic {
                id: 3 * id,
                severity: DiagnosticSeverity::Error,
                code: String::new(),
                message: String::new(),
                worker_ref: None,
            });
            let mut runtime = runtime_snapshot("r", 2 * count + 1);
            runtime.diagnostics = diagnostics.collect();
            runtime.next_diagnostic_id = 3 * count + 1;
            load.put_runtime(runtime.into())
        });
        let snapshot = store.snapshot().unwrap();
        let workers = snapshot.workers(&id).unwrap().map(Result::unwrap);
        assert_eq!(workers.count() as u64, count + 1);
        assert_eq!(snapshot.transcript_len(&long).unwrap(), count);
        for from in [0, 1, count / 2, count, count + 1] {
            let events = snapshot.events(&id, 2 * from + 1).unwrap();
            let events: Vec<u64> = events.map(|event| event.unwrap().value.id).collect();
            assert_eq!(
                events,
                (from + 1..=count)
                    .map(|number| 2 * number)
                    .collect::<Vec<_>>()
            );
            let entries = snapshot.transcript(&long, from).unwrap();
            let entries: Vec<u64> = entries.map(|entry| entry.unwrap().value.sequence).collect();
            assert_eq!(entries, (from + 1..=count).collect::<Vec<_>>());
        }
        let state = snapshot.runtime(&id).unwrap().unwrap().value;
        assert_eq!(state.diagnostics.len() as u64, count);
        let runtime = store.runtime(named("r")).unwrap();
        assert_eq!(runtime.diagnostics().unwrap(), state.diagnostics);
        assert_eq!(runtime.list_workers().unwrap().len() as u64, count + 1);
        let below = store.runtime_store(&id).unwrap();
        assert_eq!(
            below.load_runtime_state().unwrap().workers.len() as u64,
            count + 1
        );
    }
}

/// Ids that begin with each other, or sort next to each other.
const NEIGHBOURS: [&str; 8] = ["a", "a\0", "a\0\0", "a\u{1}", "a ", "ab", "aa", "b"];

/// Imports each neighbour as a runtime, with each as a worker; all texts say whose they are.
fn load_neighbours(store: &Store) {
    let made = fresh();
    bulk(&made, |load| {
        for id in NEIGHBOURS {
            for worker in NEIGHBOURS {
                let worker = worker_ref(id, worker);
                load.put_worker(worker_snapshot(&worker, 3).into())?;
                for sequence in [1, 2] {
                    let content = format!("{worker} {sequence}");
                    load.append_transcript_entry(entry(&worker, sequence, &content).into())?;
                }
            }
            for number in [1, HIGHEST - 1] {
                let event = event(number, &format!("{id} {number}"));
                load.append_event(&runtime_id(id), event.into())?;
            }
            let diagnostic = RuntimeDiagnostic {
                id: 1,
                severity: DiagnosticSeverity::Info,
                code: id.to_owned(),
                message: String::new(),
                worker_ref: None,
            };
            let mut runtime = runtime_snapshot(id, u64::MAX);
            runtime.diagnostics = vec![diagnostic];
            runtime.next_diagnostic_id = 2;
            load.put_runtime(runtime.into())?;
        }
        Ok(())
    });
    let directory = tempfile::tempdir().unwrap();
    export(&made, directory.path(), ExportOptions::new()).unwrap();
    import(store, directory.path(), ImportOptions::new()).unwrap();
}

/// The import records of the runtimes.
fn import_records(store: &Store) -> Vec<(&'static str, Option<ImportRecord>)> {
    let snapshot = store.snapshot().unwrap();
    let record = |id| snapshot.import_record(&runtime_id(id)).unwrap();
    NEIGHBOURS.map(|id| (id, record(id))).to_vec()
}

/// Asserts that the runtime `id` has all of its rows, and none of its neighbours.
fn assert_has_its_own(store: &Store, id: &str) {
    let runtime = store.runtime(named(id)).unwrap();
    let mut sorted = NEIGHBOURS;
    sorted.sort_unstable();
    let workers = runtime.list_workers().unwrap();
    let names: Vec<_> = workers
        .iter()
        .map(|worker| worker.worker_id.as_str())
        .collect();
    assert_eq!(names, sorted, "{id:?}");
    for worker in &workers {
        let query = TranscriptQuery::new(0, 256);
        let page = runtime
            .transcript_projection(&worker.worker_ref, query)
            .unwrap();
        let contents: Vec<_> = page.items.into_iter().map(|entry| entry.content).collect();
        let wanted = [1, 2].map(|sequence| format!("{} {sequence}", worker.worker_ref));
        assert_eq!(contents, wanted);
    }
    let events = runtime.read_events(&cursor(id, 0), 256).unwrap();
    assert!(!events.has_more);
    let messages: Vec<_> = events
        .events
        .into_iter()
        .map(|event| event.message)
        .collect();
    assert_eq!(
        messages,
        [format!("{id} 1"), format!("{id} {}", HIGHEST - 1)]
    );
    let (snapshot, key) = (store.snapshot().unwrap(), runtime_id(id));
    assert_eq!(snapshot.last_event_id(&key).unwrap(), Some(HIGHEST - 1));
    let import = snapshot.import_record(&key).unwrap().unwrap();
    assert_eq!(import.workers, NEIGHBOURS.len() as u64);
    let diagnostics = runtime.diagnostics().unwrap();
    assert_eq!(
        diagnostics.iter().map(|one| &*one.code).collect::<Vec<_>>(),
        [id]
    );
    let state = store
        .runtime_store(&runtime_id(id))
        .unwrap()
        .load_runtime_state()
        .unwrap();
    assert_eq!(state.workers.len(), NEIGHBOURS.len());
}

#[test]
fn similar_names_never_mix() {
    let store = fresh();
    load_neighbours(&store);
    for id in NEIGHBOURS {
        assert_has_its_own(&store, id);
    }
}

#[test]
fn removing_runtime_touches_no_others() {
    for removed in NEIGHBOURS {
        let store = fresh();
        load_neighbours(&store);
        let mut imports = import_records(&store);
        let kept = store.runtime(named(removed)).unwrap();
        bulk(&store, |load| load.remove_runtime(&runtime_id(removed)));
        assert_refused!(kept.summary(), RuntimeError::RuntimeNotFound { .. });
        assert_refused!(kept.list_workers(), RuntimeError::RuntimeNotFound { .. });
        assert_refused!(kept.diagnostics(), RuntimeError::RuntimeNotFound { .. });
        assert_refused!(
            kept.create_worker(CreateWorkerRequest::default()),
            RuntimeError::RuntimeNotFound { .. }
        );
        assert_eq!(store.runtimes().unwrap().len(), NEIGHBOURS.len() - 1);
        for id in NEIGHBOURS.into_iter().filter(|id| *id != removed) {
            assert_has_its_own(&store, id);
        }
        // A new one of the same name begins from nothing.
        let fresh = store.runtime(named(removed)).unwrap();
        assert_eq!(fresh.list_workers().unwrap(), []);
        assert_eq!(fresh.diagnostics().unwrap(), []);
        assert_eq!(crate::support::all_events(&fresh).len(), 1);
        bulk(&store, |load| {
            for worker in NEIGHBOURS {
                let worker = worker_ref(removed, worker);
                load.put_worker(worker_snapshot(&worker, 1).into())?;
            }
            load.put_runtime(runtime_snapshot(removed, 2).into())
        });
        let snapshot = store.snapshot().unwrap();
        for worker in NEIGHBOURS {
            let len = snapshot.transcript_len(&worker_ref(removed, worker));
            assert_eq!(len.unwrap(), 0, "entries were left over");
        }
        for (_, import) in imports.iter_mut().filter(|(id, _)| *id == removed) {
            // The new one was not imported.
            *import = None;
        }
        assert_eq!(import_records(&store), imports);
    }
}
