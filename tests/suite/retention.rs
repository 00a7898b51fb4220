//! Retention: the rules of a prune, one by one, what readers see of it, and the states between its commits.

use crate::layout_support::{content, edit, exported, strict, worker_dir};
use crate::support::{
    all_entries, all_events, bulk, cursor, entry, event, full_request, named, on_both, runtime_id,
    runtime_snapshot, say, scratch, worker_ref, worker_snapshot,
};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::diagnostics::DiagnosticSeverity;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::TranscriptQuery;
use redb_runtime_store::retention::{PruneOptions, PruneReport, Retention};
use redb_runtime_store::store::VerifyKind;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A clock of the test, in milliseconds since 1970.
#[derive(Clone, Default)]
struct TestClock(Arc<AtomicU64>);

impl TestClock {
    fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    fn open(&self, path: &Path) -> Store {
        let now = Arc::clone(&self.0);
        let now = move || {
            let now = Duration::from_millis(now.load(Ordering::Relaxed));
            SystemTime::UNIX_EPOCH + now
        };
        Store::options().clock(now).open(path).unwrap()
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A store with a clock, and the runtime `r` in it.
fn dated() -> (TempDir, TestClock, Runtime) {
    let (directory, path) = scratch();
    let clock = TestClock::default();
    clock.set(1_000);
    let runtime = clock.open(&path).runtime(named("r")).unwrap();
    (directory, clock, runtime)
}

fn worker(runtime: &Runtime) -> WorkerRef {
    runtime.create_worker(full_request()).unwrap().worker_ref
}

/// A new worker with entries `0`, `1`, … of its own.
fn talker(runtime: &Runtime, entries: usize) -> WorkerRef {
    let worker = worker(runtime);
    for number in 0..entries {
        say(runtime, &worker, &number.to_string()).unwrap();
    }
    worker
}

fn prune(runtime: &Runtime, policy: Retention) -> PruneReport {
    let planned = runtime.prune(&policy, PruneOptions::new().dry_run(true));
    let planned = planned.unwrap();
    let before = content(runtime.store());
    let report = runtime.prune(&policy, PruneOptions::new()).unwrap();
    assert_eq!(planned, report, "a dry run has the same figures");
    assert_eq!(before == content(runtime.store()), report.is_empty());
    assert_sound(runtime.store());
    report
}

fn assert_sound(store: &Store) {
    let report = store.verify().unwrap();
    let (errors, warnings) = (report.errors, report.warnings);
    assert_eq!((errors, warnings), (0, 0), "{:?}", report.findings);
}

fn ids(runtime: &Runtime) -> Vec<u64> {
    all_events(runtime).iter().map(|event| event.id).collect()
}

fn texts(runtime: &Runtime, worker: &WorkerRef) -> Vec<String> {
    let entries = all_entries(runtime, worker).into_iter();
    entries.map(|entry| entry.content).collect()
}

/// The events, entries, workers and diagnostics that a prune of one runtime removed.
fn rows(report: &PruneReport) -> (u64, u64, u64, u64) {
    let [one] = &report.runtimes[..] else {
        panic!("{report:?}");
    };
    (
        one.events,
        one.transcript_entries,
        one.workers,
        one.diagnostics,
    )
}

#[test]
fn empty_policy_removes_nothing() {
    on_both(|host| {
        talker(&host.runtime, 3);
        let report = prune(&host.runtime, Retention::new());
        assert!(
            report.is_empty() && report.runtimes.is_empty(),
            "{report:?}"
        );
        assert_eq!(host.runtime.diagnostics().unwrap(), []);
    });
}

#[test]
fn last_events_stay_with_their_ids() {
    on_both(|host| {
        let talks = talker(&host.runtime, 5);
        let report = prune(&host.runtime, Retention::new().keep_events(3));
        assert_eq!(rows(&report), (4, 0, 0, 0));
        assert_eq!(ids(&host.runtime), [5, 6, 7]);
        assert_eq!(texts(&host.runtime, &talks).len(), 5);
        assert!(prune(&host.runtime, Retention::new().keep_events(3)).is_empty());
        host.reopen();
        assert_eq!(ids(&host.runtime), [5, 6, 7]);
        assert_eq!(say(&host.runtime, &talks, "next").unwrap(), 8);
        assert_eq!(
            rows(&prune(&host.runtime, Retention::new().keep_events(0))).0,
            4
        );
        assert_eq!(ids(&host.runtime), [0; 0]);
        assert_eq!(say(&host.runtime, &talks, "next").unwrap(), 9);
        assert_eq!(ids(&host.runtime), [9]);
    });
}

#[test]
fn last_entries_of_each_worker_stay_with_their_positions() {
    on_both(|host| {
        let runtime = &host.runtime;
        let (long, short) = (talker(runtime, 5), talker(runtime, 1));
        let report = prune(runtime, Retention::new().keep_entries(2));
        assert_eq!(rows(&report), (0, 3, 0, 0));
        assert_eq!(texts(runtime, &long), ["3", "4"]);
        assert_eq!(texts(runtime, &short), ["0"]);
        assert_eq!(runtime.worker_detail(&long).unwrap().transcript_len, 5);
        let page = |start| {
            let query = TranscriptQuery::new(start, 10);
            runtime.transcript_projection(&long, query).unwrap()
        };
        assert_eq!((page(0).start, page(0).items.len()), (3, 2));
        assert_eq!((page(4).start, page(4).items.len()), (4, 1));
        assert_eq!((page(0).total_items, page(0).next_start), (5, None));
        assert_eq!((page(9).start, page(9).items.len()), (9, 0));
        say(runtime, &long, "next").unwrap();
        assert_eq!(texts(runtime, &long), ["3", "4", "next"]);
        assert_eq!(page(5).items[0].sequence, 6);
    });
}

#[test]
fn young_rows_and_undated_ones_stay() {
    let (directory, clock, runtime) = dated();
    let talks = talker(&runtime, 1);
    clock.set(2_000);
    say(&runtime, &talks, "1").unwrap();
    clock.set(3_000);
    say(&runtime, &talks, "2").unwrap();
    let newer = |age| Retention::new().newer_than(ms(age));
    assert!(prune(&runtime, newer(2_001)).is_empty());
    // As old as the limit is not newer.
    assert_eq!(rows(&prune(&runtime, newer(2_000))), (3, 1, 0, 0));
    assert_eq!(rows(&prune(&runtime, newer(999))), (1, 1, 0, 0));
    assert_eq!(texts(&runtime, &talks), ["2"]);
    // An age before 1970 limits nothing.
    assert!(prune(&runtime, newer(99_999)).is_empty());
    // An import has no times; what is said after it has.
    let fresh = clock.open(&directory.path().join("fresh.redb"));
    strict(&fresh, exported(runtime.store()).path()).unwrap();
    let fresh = fresh.runtime(named("r")).unwrap();
    clock.set(9_000);
    assert!(prune(&fresh, newer(1)).is_empty());
    say(&fresh, &talks, "3").unwrap();
    assert!(prune(&fresh, newer(1)).is_empty());
    clock.set(9_001);
    assert_eq!(rows(&prune(&fresh, newer(1))), (2, 2, 0, 0));
}

#[test]
fn workers_that_ended_long_ago_go_as_a_whole() {
    let (_directory, clock, runtime) = dated();
    let create = || runtime.create_worker(CreateWorkerRequest::default());
    let [old, pinned, running, late] = [(); 4].map(|()| create().unwrap().worker_ref);
    for one in [&old, &pinned, &running, &late] {
        say(&runtime, one, "said").unwrap();
    }
    runtime.stop_worker(&old, None).unwrap();
    runtime.cancel_worker(&pinned, None).unwrap();
    runtime.set_pinned(&pinned, true).unwrap();
    clock.set(2_000);
    runtime.stop_worker(&late, None).unwrap();
    clock.set(10_000);
    let events = ids(&runtime);
    let report = prune(&runtime, Retention::new().ended_before(ms(9_000)));
    assert_eq!(rows(&report), (0, 1, 1, 2));
    assert_eq!(ids(&runtime), events, "no event is logged or removed");
    let gone = runtime.worker_detail(&old);
    assert!(matches!(gone, Err(RuntimeError::WorkerNotFound { .. })));
    let summary = runtime.summary().unwrap();
    assert_eq!(summary.worker_count, 3);
    assert_eq!(summary.stopped_worker_count, 1);
    assert_eq!(summary.cancelled_worker_count, 1);
    assert_eq!(summary.diagnostic_count, 7);
    let names_it = |one: &redb_runtime_store::diagnostics::RuntimeDiagnostic| {
        one.worker_ref.as_ref() == Some(&old)
    };
    assert!(!runtime.diagnostics().unwrap().iter().any(names_it));
    // Its id is not used again.
    assert_eq!(worker(&runtime).worker_id.as_str(), "worker-00000005");
    assert_eq!(
        rows(&prune(&runtime, Retention::new().ended_before(ms(0)))).2,
        1
    );
    assert_eq!(runtime.list_workers().unwrap().len(), 3);
}

#[test]
fn worker_whose_end_has_no_time_stays() {
    let (directory, clock, runtime) = dated();
    let talks = talker(&runtime, 1);
    runtime.stop_worker(&talks, None).unwrap();
    let fresh = clock.open(&directory.path().join("fresh.redb"));
    strict(&fresh, exported(runtime.store()).path()).unwrap();
    let fresh = fresh.runtime(named("r")).unwrap();
    clock.set(99_000);
    assert!(prune(&fresh, Retention::new().ended_before(ms(1))).is_empty());
}

#[test]
fn bytes_go_in_proportion_until_they_fit() {
    on_both(|host| {
        let runtime = &host.runtime;
        let [large, small] = [(); 2].map(|()| worker(runtime));
        for _ in 0..30 {
            say(runtime, &large, &"x".repeat(1_000)).unwrap();
        }
        for _ in 0..10 {
            say(runtime, &small, &"x".repeat(1_000)).unwrap();
        }
        let bytes = || {
            let census = &runtime.store().census().unwrap().runtimes[0];
            census.events.bytes + census.transcripts.bytes
        };
        let before = bytes();
        let report = prune(runtime, Retention::new().keep_bytes(before));
        assert!(report.is_empty());
        let report = prune(runtime, Retention::new().keep_bytes(before / 2));
        assert_eq!(bytes(), before - report.bytes());
        assert!(bytes() <= before / 2);
        assert_eq!(texts(runtime, &large).len(), 15);
        assert_eq!(texts(runtime, &small).len(), 5);
        let events = ids(runtime).len();
        assert!((20..23).contains(&events), "{events}");
        // What is pinned counts and stays.
        runtime.set_pinned(&large, true).unwrap();
        prune(runtime, Retention::new().keep_bytes(100));
        assert_eq!(texts(runtime, &large).len(), 15);
        assert_eq!(texts(runtime, &small).len(), 0);
        assert_eq!(ids(runtime).len(), 0);
    });
}

#[test]
fn store_keeps_bytes_of_all_its_runtimes() {
    let store = Store::in_memory().unwrap();
    let two = ["one", "two"].map(|id| store.runtime(named(id)).unwrap());
    for runtime in &two {
        let worker = worker(runtime);
        for _ in 0..20 {
            say(runtime, &worker, &"x".repeat(500)).unwrap();
        }
    }
    let bytes = || {
        let all = store.census().unwrap().runtimes;
        let bytes = all
            .iter()
            .map(|one| one.events.bytes + one.transcripts.bytes);
        bytes.collect::<Vec<_>>()
    };
    let before = bytes();
    let policy = Retention::new().keep_bytes(before.iter().sum::<u64>() / 2);
    let planned = store.prune(&policy, PruneOptions::new().dry_run(true));
    assert_eq!(bytes(), before);
    let report = store.prune(&policy, PruneOptions::new()).unwrap();
    assert_eq!(planned.unwrap(), report);
    let removed: Vec<_> = report.runtimes.iter().map(|one| one.bytes).collect();
    let after: Vec<_> = before
        .iter()
        .zip(&removed)
        .map(|(all, gone)| all - gone)
        .collect();
    assert_eq!(bytes(), after);
    assert_eq!(after[0], after[1], "in proportion");
    assert!(after.iter().sum::<u64>() <= before.iter().sum::<u64>() / 2);
    assert_sound(&store);
}

#[test]
fn row_goes_if_any_limit_says_so() {
    let (_directory, clock, runtime) = dated();
    let talks = talker(&runtime, 5);
    clock.set(2_000);
    say(&runtime, &talks, "5").unwrap();
    let policy = Retention::new()
        .keep_entries(4)
        .keep_events(9)
        .newer_than(ms(1_000));
    // By their age five entries and all events but the last; the numbers would take two and none.
    assert_eq!(rows(&prune(&runtime, policy)), (7, 5, 0, 0));
    let policy = Retention::new().keep_entries(0).newer_than(ms(99_999_999));
    assert_eq!(rows(&prune(&runtime, policy)), (0, 1, 0, 0));
}

#[test]
fn pinned_worker_keeps_its_transcript() {
    on_both(|host| {
        let runtime = &host.runtime;
        let (pinned, other) = (talker(runtime, 3), talker(runtime, 3));
        assert!(!runtime.is_pinned(&pinned).unwrap());
        runtime.set_pinned(&pinned, true).unwrap();
        assert!(runtime.is_pinned(&pinned).unwrap());
        let all = Retention::new().keep_entries(0);
        assert_eq!(rows(&prune(runtime, all.clone())), (0, 3, 0, 0));
        assert_eq!(texts(runtime, &pinned).len(), 3);
        assert_eq!(texts(runtime, &other).len(), 0);
        host.reopen();
        let runtime = &host.runtime;
        runtime.stop_runtime().unwrap();
        runtime.set_pinned(&pinned, false).unwrap();
        assert_eq!(rows(&prune(runtime, all)), (0, 3, 0, 0));
        let foreign = runtime.set_pinned(&worker_ref("x", "w"), true);
        assert!(matches!(foreign, Err(RuntimeError::WrongRuntime { .. })));
        let unknown = runtime.set_pinned(&worker_ref("r", "w"), true);
        assert!(matches!(unknown, Err(RuntimeError::WorkerNotFound { .. })));
    });
}

#[test]
fn cursor_below_the_floor_is_events_pruned() {
    on_both(|host| {
        let runtime = &host.runtime;
        talker(runtime, 4);
        let mut old = runtime.follow_events(cursor("r", 1)).unwrap();
        let mut at_floor = runtime.follow_events(cursor("r", 4)).unwrap();
        prune(runtime, Retention::new().keep_events(3));
        assert_eq!(runtime.event_cursor_from_start().unwrap().next_event_id, 4);
        let expected = |error: Option<RuntimeError>, requested| match error {
            Some(RuntimeError::EventsPruned {
                requested: asked,
                first,
            }) => assert_eq!((asked, first), (requested, 4)),
            other => panic!("{other:?}"),
        };
        for next in [1, 3] {
            let read = runtime.read_events(&cursor("r", next), 9);
            expected(read.err(), next);
            let read = runtime.recorded_events(&cursor("r", next), 9);
            expected(read.err(), next);
            let read = runtime.transaction(|tx| tx.read_events(&cursor("r", next), 9));
            expected(read.err(), next);
            let id = runtime_id("r");
            let boundary = runtime.store().runtime_store(&id).unwrap();
            expected(boundary.read_events(&cursor("r", next), 9, 9).err(), next);
        }
        expected(old.next_batch(Duration::ZERO).err(), 1);
        assert_eq!(old.cursor().next_event_id, 1);
        expected(Iterator::next(&mut old).and_then(Result::err), 1);
        let batch = at_floor.next_batch(Duration::ZERO).unwrap().unwrap();
        assert_eq!(batch.events.len(), 3);
        let snapshot = runtime.store().snapshot().unwrap();
        assert_eq!(snapshot.first_event_id(&runtime_id("r")).unwrap(), 4);
    });
}

#[test]
fn transcript_follower_never_skips_pruned_entries() {
    let store = Store::in_memory().unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let talks = talker(&runtime, 5);
    let mut ahead = runtime.follow_transcript(&talks, 0).unwrap();
    let mut behind = runtime.follow_transcript(&talks, 1).unwrap();
    let mut slow = runtime.follow_transcript(&talks, 0).unwrap();
    assert_eq!(
        Iterator::next(&mut slow).unwrap().unwrap().entry.sequence,
        1
    );
    assert_eq!(
        ahead
            .next_page(Duration::ZERO)
            .unwrap()
            .unwrap()
            .items
            .len(),
        5
    );
    prune(&runtime, Retention::new().keep_entries(2));
    assert!(ahead.next_page(Duration::ZERO).unwrap().is_none());
    let error = behind.next_page(Duration::ZERO).unwrap_err();
    let pruned = RuntimeError::EventsPruned {
        requested: 1,
        first: 3,
    };
    assert_eq!(error.to_string(), pruned.to_string());
    assert_eq!(behind.position(), 1);
    // What it read before the prune was committed; then it has everything.
    let rest: Vec<_> = (0..4)
        .map(|_| Iterator::next(&mut slow).unwrap().unwrap().entry.sequence)
        .collect();
    assert_eq!(rest, [2, 3, 4, 5]);
    let start = runtime.follow_transcript(&talks, 0).unwrap();
    assert_eq!(start.position(), 3);
}

#[test]
fn snapshot_keeps_what_a_prune_removes() {
    let (_directory, path) = scratch();
    let runtime = Store::open(&path).unwrap().runtime(named("r")).unwrap();
    let talks = talker(&runtime, 5);
    let snapshot = runtime.store().snapshot().unwrap();
    prune(&runtime, Retention::new().keep_events(0).keep_entries(0));
    assert_eq!(snapshot.events(&runtime_id("r"), 0).unwrap().count(), 7);
    assert_eq!(snapshot.transcript(&talks, 0).unwrap().count(), 5);
    assert_eq!(snapshot.first_position(&talks).unwrap(), 0);
    let now = runtime.store().snapshot().unwrap();
    assert_eq!(now.events(&runtime_id("r"), 0).unwrap().count(), 0);
    assert_eq!(now.transcript(&talks, 0).unwrap().count(), 0);
    let positions = (
        now.first_position(&talks).unwrap(),
        now.transcript_len(&talks).unwrap(),
    );
    assert_eq!(positions, (5, 5));
}

#[test]
fn prune_is_recorded_and_the_last_hundred_records_stay() {
    let store = Store::in_memory().unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let talks = talker(&runtime, 2);
    for round in 0..103 {
        say(&runtime, &talks, "more").unwrap();
        let report = prune(&runtime, Retention::new().keep_events(2));
        assert_eq!(rows(&report).3, u64::from(round >= 100), "round {round}");
    }
    let records = runtime.diagnostics().unwrap();
    assert_eq!(records.len(), 100);
    assert_eq!(runtime.summary().unwrap().diagnostic_count, 100);
    let ids: Vec<u64> = records.iter().map(|record| record.id).collect();
    assert_eq!(ids, (4..=103).collect::<Vec<_>>());
    let last = &records[99];
    assert_eq!(last.code, "runtime.pruned");
    assert_eq!(last.severity, DiagnosticSeverity::Info);
    let expected = "retention removed 1 events (ids 105 to 105), 1 diagnostics: ";
    assert!(last.message.starts_with(expected), "{}", last.message);
}

#[test]
fn stopped_runtime_can_be_pruned() {
    let store = Store::in_memory().unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    talker(&runtime, 3);
    runtime.stop_runtime().unwrap();
    prune(&runtime, Retention::new().keep_events(1));
    assert_eq!(ids(&runtime), [6]);
    assert_eq!(runtime.stop_runtime().unwrap(), 6);
    let refused = runtime
        .transaction(|_| runtime.prune(&Retention::new().keep_events(0), PruneOptions::new()));
    assert!(matches!(
        refused,
        Err(RuntimeError::RuntimeStopped { .. } | RuntimeError::InvalidRequest(_))
    ));
    assert_eq!(ids(&runtime), [6]);
}

#[test]
fn host_store_continues_after_everything_was_pruned() {
    let store = Store::in_memory().unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let talks = talker(&runtime, 3);
    let boundary = store.runtime_store(&runtime_id("r")).unwrap();
    let state = boundary.load_runtime_state().unwrap().runtime;
    prune(&runtime, Retention::new().keep_events(0).keep_entries(0));
    for id in [1, 5] {
        let again = boundary.commit(|tx| tx.append_event(&event(id, "again")));
        assert!(
            matches!(again, Err(RuntimeError::InvalidRequest(_))),
            "{id}: {again:?}"
        );
    }
    let again = boundary.commit(|tx| tx.append_transcript_entry(&entry(&talks, 3, "again")));
    assert!(
        matches!(again, Err(RuntimeError::InvalidRequest(_))),
        "{again:?}"
    );
    boundary
        .commit(|tx| tx.append_event(&event(6, "next")))
        .unwrap();
    let next = entry(&talks, 4, "next");
    boundary
        .commit(|tx| tx.append_transcript_entry(&next))
        .unwrap();
    // A host that has its own list of diagnostics does not know the record of the prune.
    let mut newer = state;
    newer.next_event_id = 7;
    newer.next_diagnostic_id = 2;
    boundary
        .commit(|tx| tx.write_runtime_snapshot(&newer))
        .unwrap();
    assert_eq!(runtime.diagnostics().unwrap().len(), 1);
    assert_eq!(ids(&runtime), [6]);
    assert_eq!(texts(&runtime, &talks), ["next"]);
    assert_sound(&store);
    // A bulk load continues at the positions, too.
    prune(&runtime, Retention::new().keep_entries(0));
    bulk(&store, |load| {
        load.append_transcript_entry(entry(&talks, 5, "loaded").into())?;
        load.put_worker(worker_snapshot(&talks, 6).into())?;
        let mut loaded = runtime_snapshot("r", 7);
        loaded.next_diagnostic_id = 3;
        load.put_runtime(loaded.into())
    });
    assert_eq!(store.snapshot().unwrap().transcript_len(&talks).unwrap(), 5);
    assert_eq!(texts(&runtime, &talks), ["loaded"]);
}

#[test]
fn floors_and_pins_survive_export_and_import() {
    let store = Store::in_memory().unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let [cut, empty, pinned] = [5, 3, 2].map(|entries| talker(&runtime, entries));
    runtime.set_pinned(&pinned, true).unwrap();
    prune(&runtime, Retention::new().keep_entries(2).keep_events(4));
    say(&runtime, &empty, "x").unwrap();
    runtime.set_pinned(&cut, true).unwrap();
    prune(&runtime, Retention::new().keep_entries(0));
    let directory = exported(&store);
    let runtime_json =
        std::fs::read_to_string(directory.path().join("runtimes/id-72/runtime.json"));
    assert!(
        runtime_json
            .unwrap()
            .ends_with("],\n  \"first_event_id\": 11\n}\n")
    );
    let worker_json = std::fs::read_to_string(worker_dir(directory.path(), 1).join("worker.json"));
    let members = ",\n  \"first_position\": 3,\n  \"pinned\": true\n}\n";
    assert!(worker_json.unwrap().ends_with(members));
    let fresh = Store::in_memory().unwrap();
    let report = strict(&fresh, directory.path()).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(content(&fresh), content(&store));
    assert_sound(&fresh);
    let (one, other) = (fresh.snapshot().unwrap(), store.snapshot().unwrap());
    for worker in [&cut, &empty, &pinned] {
        assert_eq!(
            one.first_position(worker).unwrap(),
            other.first_position(worker).unwrap()
        );
        assert_eq!(
            one.transcript_len(worker).unwrap(),
            other.transcript_len(worker).unwrap()
        );
        assert_eq!(
            one.is_pinned(worker).unwrap(),
            other.is_pinned(worker).unwrap()
        );
    }
    let again = crate::layout_support::tree(exported(&fresh).path());
    assert_eq!(again, crate::layout_support::tree(directory.path()));
}

#[test]
fn members_that_say_nothing_are_exported_as_they_came() {
    let store = Store::in_memory().unwrap();
    talker(&store.runtime(named("r")).unwrap(), 1);
    let directory = exported(&store);
    let runtime_json = directory.path().join("runtimes/id-72/runtime.json");
    let worker_json = worker_dir(directory.path(), 1).join("worker.json");
    for (first_event, first, pinned) in [
        ("1", "0", "false"),
        ("\"2\"", "-1", "1"),
        ("1.5", "null", "null"),
        ("18446744073709551615", "18446744073709551616", "\"true\""),
    ] {
        println!("{first_event} {first} {pinned}");
        let directory = exported(&store);
        let root = directory.path();
        let (runtime_json, worker_json) = (
            root.join(
                runtime_json
                    .strip_prefix(runtime_json.ancestors().nth(3).unwrap())
                    .unwrap(),
            ),
            root.join(
                worker_json
                    .strip_prefix(worker_json.ancestors().nth(5).unwrap())
                    .unwrap(),
            ),
        );
        edit(
            &runtime_json,
            "\n}\n",
            &format!(",\n  \"first_event_id\": {first_event}\n}}\n"),
        );
        let members = format!(",\n  \"first_position\": {first},\n  \"pinned\": {pinned}\n}}\n");
        edit(&worker_json, "\n}\n", &members);
        let fresh = Store::in_memory().unwrap();
        strict(&fresh, root).unwrap();
        let talks = worker_ref("r", "worker-00000001");
        let snapshot = fresh.snapshot().unwrap();
        assert_eq!(snapshot.first_position(&talks).unwrap(), 0);
        assert_eq!(snapshot.first_event_id(&runtime_id("r")).unwrap(), 1);
        assert!(!snapshot.is_pinned(&talks).unwrap());
        let again = crate::layout_support::tree(exported(&fresh).path());
        assert_eq!(again, crate::layout_support::tree(root));
    }
}

#[test]
fn floor_above_an_event_is_damage_that_salvage_lowers() {
    let store = Store::in_memory().unwrap();
    talker(&store.runtime(named("r")).unwrap(), 3);
    let directory = exported(&store);
    let runtime_json = directory.path().join("runtimes/id-72/runtime.json");
    edit(&runtime_json, "\n}\n", ",\n  \"first_event_id\": 3\n}\n");
    let refused = strict(&Store::in_memory().unwrap(), directory.path()).unwrap_err();
    let expected = "first_event_id is 3, but event id 1 exists";
    assert!(refused.to_string().contains(expected), "{refused}");
    let fresh = Store::in_memory().unwrap();
    crate::layout_support::salvage(&fresh, directory.path());
    assert_eq!(ids(&fresh.runtime(named("r")).unwrap()), [1, 2, 3, 4, 5]);
    assert_sound(&fresh);
}

#[test]
fn missing_low_ids_without_a_floor_stay_a_gap() {
    let store = Store::in_memory().unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    talker(&runtime, 3);
    prune(&runtime, Retention::new().keep_events(2));
    let directory = exported(&store);
    let runtime_json = directory.path().join("runtimes/id-72/runtime.json");
    edit(&runtime_json, ",\n  \"first_event_id\": 4", "");
    let fresh = Store::in_memory().unwrap();
    let report = strict(&fresh, directory.path()).unwrap();
    let gap = report
        .findings
        .iter()
        .find(|finding| finding.message.contains("1 to 3"));
    assert!(gap.is_some(), "{:?}", report.findings);
    let runtime = fresh.runtime(named("r")).unwrap();
    assert_eq!(runtime.event_cursor_from_start().unwrap().next_event_id, 1);
    assert_eq!(ids(&runtime), [4, 5]);
}

/// The state of a pruned store must be one that a smaller prune leaves.
#[cfg(feature = "fault-injection")]
#[test]
fn every_commit_of_a_prune_is_a_smaller_prune() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let (talks, other) = (talker(&runtime, 12), talker(&runtime, 12));
    let mut seen = Vec::new();
    let reader = Store::options().read_only(true).open(&path).unwrap();
    let watched = runtime.clone();
    let mut follower = runtime
        .follow_events(runtime.event_cursor_now().unwrap())
        .unwrap();
    let policy = Retention::new().keep_events(5).keep_entries(2);
    let pruning = std::thread::spawn(move || {
        watched
            .prune(&policy, PruneOptions::new().step_bytes(100))
            .unwrap()
    });
    loop {
        let is_done = pruning.is_finished();
        let snapshot = reader.snapshot().unwrap();
        let first = snapshot.first_event_id(&runtime_id("r")).unwrap();
        let events: Vec<_> = snapshot.events(&runtime_id("r"), 0).unwrap().collect();
        assert_eq!(events.len() as u64, 28 - first, "floor {first}");
        for worker in [&talks, &other] {
            let first = snapshot.first_position(worker).unwrap();
            let entries = snapshot.transcript(worker, 0).unwrap().count();
            assert_eq!(entries as u64, 12 - first);
        }
        let own = snapshot.runtime(&runtime_id("r")).unwrap().unwrap().value;
        let records = own.diagnostics.len();
        assert_eq!(
            records,
            usize::from(first > 1 || snapshot.first_position(&talks).unwrap() > 0)
        );
        seen.push(first);
        if is_done {
            break;
        }
    }
    let report = pruning.join().unwrap();
    assert_eq!(rows(&report), (22, 20, 0, 0));
    assert_eq!(seen.last(), Some(&23));
    assert!(seen.is_sorted());
    assert!(follower.next_batch(Duration::ZERO).unwrap().is_none());
    assert_sound(&store);
}

#[test]
fn concurrent_prunes_remove_each_row_once() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let talks = talker(&runtime, 200);
    let prunes: Vec<_> = (0..4)
        .map(|number| {
            let (runtime, talks) = (runtime.clone(), talks.clone());
            std::thread::spawn(move || {
                let policy = Retention::new().keep_events(20 + number).keep_entries(20);
                let report = runtime.prune(&policy, PruneOptions::new()).unwrap();
                say(&runtime, &talks, "meanwhile").unwrap();
                report
                    .runtimes
                    .iter()
                    .map(|one| (one.events, one.transcript_entries))
                    .next()
            })
        })
        .collect();
    let removed = prunes
        .into_iter()
        .map(|prune| prune.join().unwrap().unwrap_or_default());
    let (events, entries) = removed.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert_eq!(ids(&runtime).len() as u64, 202 + 4 - events);
    assert_eq!(texts(&runtime, &talks).len() as u64, 204 - entries);
    assert!(ids(&runtime).len() >= 20);
    assert_sound(&store);
}

#[test]
fn file_does_not_grow_in_rounds_of_writing_and_pruning() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let talks = worker(&runtime);
    let mut sizes = Vec::new();
    for _ in 0..200 {
        runtime
            .transaction(|tx| {
                for _ in 0..100 {
                    let text = "x".repeat(1_000);
                    tx.send_input(
                        &talks,
                        redb_runtime_store::interaction::WorkerInput::user(text),
                    )?;
                }
                Ok(())
            })
            .unwrap();
        let policy = Retention::new().keep_events(100).keep_entries(100);
        runtime.prune(&policy, PruneOptions::new()).unwrap();
        sizes.push(std::fs::metadata(&path).unwrap().len());
    }
    // In the first rounds the records of the prunes come to their number.
    assert_eq!(sizes[199], sizes[99], "{sizes:?}");
    assert_eq!(texts(&runtime, &talks).len(), 100);
    assert_sound(&store);
}

#[cfg(feature = "fault-injection")]
#[test]
fn verify_reports_rows_below_a_floor() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    talker(&runtime, 3);
    let kinds = || {
        let report = store.verify().unwrap();
        let kinds = report.findings.iter().map(|finding| finding.kind);
        kinds.collect::<Vec<_>>()
    };
    bulk(&store, |load| load.raise_floor(&runtime_id("r"), 3));
    assert_eq!(kinds(), [VerifyKind::Floor], "two events below it");
    bulk(&store, |load| load.raise_floor(&runtime_id("r"), 99));
    assert_eq!(
        kinds(),
        [VerifyKind::Floor, VerifyKind::Floor],
        "also after the end"
    );
}
