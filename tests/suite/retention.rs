//! Retention: the rules of a prune, one by one.

use crate::layout_support::{content, exported, strict};
use crate::support::{
    Place, all_entries, all_events, fresh, full_request, named, on_both, say, worker_ref,
};
use crate::times::TestClock;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::TranscriptQuery;
use redb_runtime_store::retention::{PruneOptions, PruneReport, Retention};
use redb_runtime_store::{Runtime, RuntimeError, RuntimeTransaction, Store};
use std::time::Duration;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A store with a clock, and the runtime `r` in it.
fn dated() -> (Place, TestClock, Runtime) {
    let place = Place::new();
    let clock = TestClock::new(1_000);
    let runtime = clock.open(&place).runtime(named("r")).unwrap();
    (place, clock, runtime)
}

pub(crate) fn worker(runtime: &Runtime) -> WorkerRef {
    runtime.create_worker(full_request()).unwrap().worker_ref
}

/// A new worker with entries `0`, `1`, … of its own.
pub(crate) fn talker(runtime: &Runtime, entries: usize) -> WorkerRef {
    let worker = worker(runtime);
    for number in 0..entries {
        say(runtime, &worker, &number.to_string()).unwrap();
    }
    worker
}

pub(crate) fn prune(runtime: &Runtime, policy: Retention) -> PruneReport {
    let planned = runtime.prune(&policy, PruneOptions::new().dry_run(true));
    let planned = planned.unwrap();
    let before = content(runtime.store());
    let report = runtime.prune(&policy, PruneOptions::new()).unwrap();
    assert_eq!(planned, report, "a dry run has the same figures");
    assert_eq!(before == content(runtime.store()), report.is_empty());
    assert_sound(runtime.store());
    report
}

pub(crate) fn assert_sound(store: &Store) {
    let report = store.verify().unwrap();
    let (errors, warnings) = (report.errors, report.warnings);
    assert_eq!((errors, warnings), (0, 0), "{:?}", report.findings);
}

pub(crate) fn ids(runtime: &Runtime) -> Vec<u64> {
    all_events(runtime).iter().map(|event| event.id).collect()
}

pub(crate) fn texts(runtime: &Runtime, worker: &WorkerRef) -> Vec<String> {
    let entries = all_entries(runtime, worker).into_iter();
    entries.map(|entry| entry.content).collect()
}

/// The events, entries, workers and diagnostics that a prune of one runtime removed.
pub(crate) fn rows(report: &PruneReport) -> (u64, u64, u64, u64) {
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
    let (_place, clock, runtime) = dated();
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
    let place = Place::new();
    let fresh = clock.open(&place);
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
    let (_place, clock, runtime) = dated();
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
    let (_place, clock, runtime) = dated();
    let talks = talker(&runtime, 1);
    runtime.stop_worker(&talks, None).unwrap();
    let place = Place::new();
    let fresh = clock.open(&place);
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
        prune(runtime, Retention::new().keep_bytes(15_000));
        assert_eq!(texts(runtime, &large).len(), 15);
        assert_eq!(texts(runtime, &small).len(), 0);
        assert_eq!(ids(runtime).len(), 0);
    });
}

#[test]
fn store_keeps_bytes_of_all_its_runtimes() {
    let store = fresh();
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
    let (_place, clock, runtime) = dated();
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
        let undone = runtime.transaction(|tx| {
            tx.set_pinned(&pinned, true)?;
            tx.set_pinned(&worker_ref("r", "w"), true)
        });
        assert!(matches!(undone, Err(RuntimeError::WorkerNotFound { .. })));
        assert!(!runtime.is_pinned(&pinned).unwrap());
        let pin = |tx: &mut RuntimeTransaction<'_>| tx.set_pinned(&pinned, true);
        runtime.transaction(pin).unwrap();
        assert!(runtime.is_pinned(&pinned).unwrap());
        let foreign = runtime.set_pinned(&worker_ref("x", "w"), true);
        assert!(matches!(foreign, Err(RuntimeError::WrongRuntime { .. })));
        let unknown = runtime.set_pinned(&worker_ref("r", "w"), true);
        assert!(matches!(unknown, Err(RuntimeError::WorkerNotFound { .. })));
    });
}
