//! The time at which each event and entry was recorded.

use crate::hosts::CUT_STEP;
use crate::layout_support::{edit, runtime_dir, small, store, strict, tree, worker_dir};
use crate::support::{Place, all_events, cursor, entry, event, fresh, named, on_both, worker_ref};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
use redb_runtime_store::layout::{
    Comparison, ExistingDirectory, ExportOptions, FindingKind, compare, export,
};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A clock of the test, in milliseconds since 1970.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now_ms)))
    }

    pub(crate) fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn open(&self, place: &Place) -> Store {
        let now = Arc::clone(&self.0);
        let now = move || at(now.load(Ordering::Relaxed));
        place.open_with(Place::options().clock(now))
    }
}

fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

fn ms(time: Option<SystemTime>) -> Option<u64> {
    let since = time?.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(since.subsec_nanos() % 1_000_000, 0, "{since:?}");
    Some(u64::try_from(since.as_millis()).unwrap())
}

/// The times of all events of `runtime`.
fn event_times(runtime: &Runtime) -> Vec<Option<u64>> {
    let start = runtime.event_cursor_from_start().unwrap();
    let batch = runtime.recorded_events(&start, 256).unwrap();
    assert!(!batch.has_more);
    batch
        .events
        .iter()
        .map(|event| ms(event.recorded_at))
        .collect()
}

/// The times of all entries of the worker `worker-00000001`.
fn entry_times(runtime: &Runtime) -> Vec<Option<u64>> {
    let id = runtime.runtime_id().unwrap();
    let worker = worker_ref(id.as_str(), "worker-00000001");
    let query = TranscriptQuery::new(0, 256);
    let page = runtime.recorded_transcript(&worker, query).unwrap();
    assert_eq!(page.next_start, None);
    page.items
        .iter()
        .map(|entry| ms(entry.recorded_at))
        .collect()
}

/// A store with one worker, and entries at 1,000, 2,000 and 3,000 ms.
fn dated_store() -> (Place, Store, Runtime) {
    let place = Place::new();
    let clock = TestClock::new(1_000);
    let store = clock.open(&place);
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let worker = worker.unwrap().worker_ref;
    for now in [1_000, 2_000, 3_000] {
        clock.set(now);
        runtime.send_input(&worker, WorkerInput::user("x")).unwrap();
    }
    (place, store, runtime)
}

#[test]
fn times_never_decrease_within_a_runtime() {
    let place = Place::new();
    let clock = TestClock::new(5_000);
    let store = clock.open(&place);
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let worker = worker.unwrap().worker_ref;
    let send = || runtime.send_input(&worker, WorkerInput::user("x")).unwrap();
    for now in [7_000, 6_000, 0, 8_000] {
        clock.set(now);
        send();
    }
    // Another runtime has times of its own.
    clock.set(10);
    let other = store.runtime(named("s")).unwrap();
    assert_eq!(event_times(&other), [Some(10)]);
    clock.set(1);
    runtime.stop_runtime().unwrap();
    let expected = [5_000, 5_000, 7_000, 7_000, 7_000, 8_000, 8_000].map(Some);
    assert_eq!(event_times(&runtime), expected);
    assert_eq!(
        entry_times(&runtime),
        [7_000, 7_000, 7_000, 8_000].map(Some)
    );
    store.close().unwrap();

    // The last time is stored: the next process does not fall behind it.
    let store = clock.open(&place);
    let runtime = store.runtime(named("r")).unwrap();
    assert_eq!(event_times(&runtime), expected);
    let other = store.runtime(named("s")).unwrap();
    other.create_worker(CreateWorkerRequest::default()).unwrap();
    assert_eq!(event_times(&other), [Some(10), Some(10)]);
}

#[test]
fn rows_of_one_transaction_share_its_time() {
    let place = Place::new();
    let ticks = AtomicU64::new(100);
    let ticking = move || at(ticks.fetch_add(1, Ordering::Relaxed));
    let store = place.open_with(Place::options().clock(ticking));
    let runtime = store.runtime(named("r")).unwrap();
    let sent = runtime.transaction(|transaction| {
        let worker = transaction.create_worker(CreateWorkerRequest::default())?;
        for _ in 0..3 {
            transaction.send_input(&worker.worker_ref, WorkerInput::user("x"))?;
        }
        let now = transaction.recorded_events(&cursor("r", 1), 256)?;
        Ok(now.events.len())
    });
    assert_eq!(sent.unwrap(), 5);
    let times = event_times(&runtime);
    let (first, last) = (times[0].unwrap(), times[4].unwrap());
    assert!(last > first, "{times:?}");
    assert_eq!(times[1..], [Some(last); 4]);
    assert_eq!(entry_times(&runtime), [Some(last); 3]);
}

#[test]
fn every_read_of_a_time_agrees() {
    let (_place, store, runtime) = dated_store();
    let expected = [1_000, 1_000, 1_000, 2_000, 3_000].map(Some);
    assert_eq!(event_times(&runtime), expected);
    assert_eq!(entry_times(&runtime), [1_000, 2_000, 3_000].map(Some));

    let snapshot = store.snapshot().unwrap();
    let id = runtime.runtime_id().unwrap();
    let events = snapshot.recorded_events(&id, 2).unwrap();
    let times: Vec<_> = events
        .map(|event| ms(event.unwrap().value.recorded_at))
        .collect();
    assert_eq!(times, expected[1..]);
    let worker = worker_ref("r", "worker-00000001");
    let entries = snapshot.recorded_transcript(&worker, 1).unwrap();
    let times: Vec<_> = entries
        .map(|entry| ms(entry.unwrap().value.recorded_at))
        .collect();
    assert_eq!(times, [2_000, 3_000].map(Some));

    let mut follower = runtime.follow_events(cursor("r", 4)).unwrap();
    let batch = follower
        .next_recorded_batch(Duration::ZERO)
        .unwrap()
        .unwrap();
    let times: Vec<_> = batch
        .events
        .iter()
        .map(|event| ms(event.recorded_at))
        .collect();
    assert_eq!(times, [2_000, 3_000].map(Some));
    assert_eq!(follower.cursor().next_event_id, 6);
    let events: Vec<_> = batch.events.into_iter().map(|event| event.event).collect();
    assert_eq!(events, all_events(&runtime)[3..]);
}

#[test]
fn system_clock_dates_rows_by_default() {
    // Times have whole milliseconds.
    let before = SystemTime::now() - Duration::from_millis(1);
    on_both(|host| {
        let start = host.runtime.event_cursor_from_start().unwrap();
        let batch = host.runtime.recorded_events(&start, 1).unwrap();
        let time = batch.events[0].recorded_at.unwrap();
        assert!(before <= time, "{before:?} {time:?}");
        assert!(time <= SystemTime::now(), "{time:?}");
    });
}

#[test]
fn host_logic_gets_times_too() {
    let place = Place::new();
    let clock = TestClock::new(50);
    let store = clock.open(&place);
    let runtime = store.runtime(named("r")).unwrap();
    runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap();
    clock.set(60);
    let own = store.runtime_store(&runtime.runtime_id().unwrap()).unwrap();
    let worker = worker_ref("r", "worker-00000001");
    own.commit(|transaction| {
        transaction.append_event(&event(9, "own"))?;
        transaction.append_transcript_entry(&entry(&worker, 4, "own"))
    })
    .unwrap();
    assert_eq!(event_times(&runtime), [50, 50, 60].map(Some));
    assert_eq!(entry_times(&runtime), [Some(60)]);
}

#[test]
fn clock_may_not_change_the_store() {
    let place = Place::new();
    let refused = Arc::new(AtomicU64::new(0));
    let (count, other) = (Arc::clone(&refused), fresh());
    let clock = move || {
        if let Err(RuntimeError::InvalidRequest(_)) = other.runtime(named("other")) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        at(7)
    };
    let store = place.open_with(Place::options().clock(clock));
    let runtime = store.runtime(named("r")).unwrap();
    assert_eq!(event_times(&runtime), [Some(7)]);
    assert!(refused.load(Ordering::Relaxed) > 0);
}

#[test]
fn panic_of_the_clock_undoes_its_operation_only() {
    let place = Place::new();
    let clock = TestClock::new(1);
    let now = Arc::clone(&clock.0);
    let clock_of_store = move || match now.load(Ordering::Relaxed) {
        0 => panic!("the clock stands"),
        now => at(now),
    };
    let store = place.open_with(Place::options().clock(clock_of_store));
    let runtime = store.runtime(named("r")).unwrap();
    clock.set(0);
    let create = || runtime.create_worker(CreateWorkerRequest::default());
    let raised = std::panic::catch_unwind(std::panic::AssertUnwindSafe(create));
    assert!(raised.is_err());
    clock.set(2);
    create().unwrap();
    assert_eq!(event_times(&runtime), [1, 2].map(Some));
}

/// An export with times into a new directory.
fn dated_export(store: &Store) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    export(store, directory.path(), ExportOptions::new().times(true)).unwrap();
    directory
}

fn undated_export(store: &Store) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    export(store, directory.path(), ExportOptions::new()).unwrap();
    directory
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn exported_times_are_the_last_member_and_come_back() {
    let (_place, store, runtime) = dated_store();
    let dated = dated_export(&store);
    let log = read(runtime_dir(dated.path()).join("events.jsonl"));
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines[4].ends_with(",\"recorded_at\":\"1970-01-01T00:00:03.000Z\"}"),
        "{log}"
    );
    let transcript = read(worker_dir(dated.path(), 1).join("transcript.jsonl"));
    assert_eq!(
        transcript
            .matches("\"recorded_at\":\"1970-01-01T00:00:0")
            .count(),
        3
    );

    let copy = self::store();
    assert!(strict(&copy, dated.path()).unwrap().findings.is_empty());
    let imported = copy.runtime(named("r")).unwrap();
    assert_eq!(event_times(&imported), event_times(&runtime));
    assert_eq!(entry_times(&imported), entry_times(&runtime));
    assert_eq!(tree(dated_export(&copy).path()), tree(dated.path()));

    // Without times the lines are those of the original layout.
    let undated = undated_export(&copy);
    assert_eq!(tree(undated.path()), tree(undated_export(&store).path()));
    let log = log.replace(char::is_whitespace, " ");
    assert!(log.contains("recorded_at"));
    assert!(!read(runtime_dir(undated.path()).join("events.jsonl")).contains("recorded_at"));
}

#[test]
fn times_follow_those_of_an_import() {
    let (_place, store, _) = dated_store();
    let dated = dated_export(&store);
    edit(
        &worker_dir(dated.path(), 1).join("transcript.jsonl"),
        "1970-01-01T00:00:03.000Z",
        "1970-01-01T01:00:00.000Z",
    );
    let place = Place::new();
    let copy = TestClock::new(5).open(&place);
    strict(&copy, dated.path()).unwrap();
    let runtime = copy.runtime(named("r")).unwrap();
    let worker = worker_ref("r", "worker-00000001");
    runtime.send_input(&worker, WorkerInput::user("x")).unwrap();
    assert_eq!(event_times(&runtime).last(), Some(&Some(3_600_000)));
    assert_eq!(entry_times(&runtime).last(), Some(&Some(3_600_000)));
}

#[test]
fn imported_lines_without_times_stay_undated() {
    let store = store();
    strict(&store, small().path()).unwrap();
    let id = store.snapshot().unwrap().runtime_ids().unwrap().remove(0);
    let runtime = store.runtime(named(id.as_str())).unwrap();
    assert!(event_times(&runtime).iter().all(Option::is_none));
    assert!(entry_times(&runtime).iter().all(Option::is_none));
    assert_eq!(
        tree(dated_export(&store).path()),
        tree(undated_export(&store).path())
    );
}

#[test]
fn unreadable_times_stay_as_they_came() {
    for text in [
        "\"2026-11-29T12:00:00Z\"",
        "\"2026-11-29T12:00:00.000+01:00\"",
        "\"2026-02-30T12:00:00.000Z\"",
        "\"2026-11-29T12:00:00.00\\u0030Z\"",
        "17",
        "null",
        "\"2026-11-29T12:00:00.000Z\",\"recorded_at\":1",
    ] {
        let root = small();
        let log = runtime_dir(root.path()).join("events.jsonl");
        edit(&log, "}\n", &format!(",\"recorded_at\":{text}}}\n"));
        let store = store();
        let report = strict(&store, root.path()).unwrap();
        let [finding] = &report.findings[..] else {
            panic!("{text}: {:?}", report.findings);
        };
        assert_eq!(finding.kind, FindingKind::UnreadableTime);
        assert_eq!(finding.line, Some(1));
        for exported in [undated_export(&store), dated_export(&store)] {
            assert_eq!(tree(exported.path()), tree(root.path()), "{text}");
        }
    }
}

#[test]
fn readable_time_is_taken_from_any_place() {
    let root = small();
    let before = tree(root.path());
    let log = runtime_dir(root.path()).join("events.jsonl");
    let time = "2026-11-29T12:00:00.000Z";
    edit(
        &log,
        "{\"id\":",
        &format!("{{\"recorded_at\":\"{time}\",\"id\":"),
    );
    let edited = read(&log);
    let store = store();
    assert!(strict(&store, root.path()).unwrap().findings.is_empty());
    assert_eq!(tree(undated_export(&store).path()), before);
    let dated = dated_export(&store);
    let log = read(runtime_dir(dated.path()).join("events.jsonl"));
    // With times the lines are those of the directory, byte for byte.
    assert_eq!(log, edited);
}

fn counts(comparison: &Comparison) -> (u64, u64, u64) {
    (
        comparison.total_differences,
        comparison.times_only_in_store,
        comparison.times_only_in_directory,
    )
}

#[test]
fn compare_counts_times_of_one_side_and_reports_others() {
    let (_place, dated, _) = dated_store();
    let with = dated_export(&dated);
    let without = undated_export(&dated);
    let undated = store();
    strict(&undated, without.path()).unwrap();
    assert_eq!(counts(&compare(&dated, with.path()).unwrap()), (0, 0, 0));
    assert_eq!(counts(&compare(&dated, without.path()).unwrap()), (0, 8, 0));
    assert_eq!(counts(&compare(&undated, with.path()).unwrap()), (0, 0, 8));
    assert_eq!(
        counts(&compare(&undated, without.path()).unwrap()),
        (0, 0, 0)
    );

    let log = runtime_dir(with.path()).join("events.jsonl");
    edit(&log, "00:00:03.000Z", "00:00:03.001Z");
    let differs = compare(&dated, with.path()).unwrap();
    assert_eq!(counts(&differs), (1, 0, 0));
    let what = &differs.differences[0].what;
    assert!(
        what.starts_with("recorded_at is \"1970-01-01T00:00:03.001Z\""),
        "{what}"
    );
}

fn updated(store: &Store, root: &Path, times: bool) {
    let options = ExportOptions::new()
        .existing(ExistingDirectory::Update)
        .times(times);
    export(store, root, options).unwrap();
}

#[test]
fn update_leaves_lines_that_are_there() {
    let (_place, store, runtime) = dated_store();
    let root = undated_export(&store);
    let log = runtime_dir(root.path()).join("events.jsonl");
    let before = read(&log);
    runtime.stop_runtime().unwrap();
    updated(&store, root.path(), true);
    let after = read(&log);
    let new = after.strip_prefix(&before).unwrap();
    assert_eq!(new.lines().count(), 1);
    assert!(
        new.contains("\"recorded_at\":\"1970-01-01T00:00:03.000Z\""),
        "{new}"
    );
}

/// A killed update leaves the beginning of a line, with a time or not; the next one may have the other option.
#[test]
fn update_completes_any_line_of_a_killed_one() {
    let (_place, store, runtime) = dated_store();
    for written_with_times in [false, true] {
        let whole = match written_with_times {
            true => dated_export(&store),
            false => undated_export(&store),
        };
        let line = read(runtime_dir(whole.path()).join("events.jsonl"));
        let last = line.trim_end().rfind('\n').unwrap() + 1;
        for end in (last..line.len()).step_by(CUT_STEP) {
            for times in [false, true] {
                let root = tempfile::tempdir().unwrap();
                crate::layout_support::copy(whole.path(), root.path());
                let log = runtime_dir(root.path()).join("events.jsonl");
                fs::write(&log, &line[..end]).unwrap();
                updated(&store, root.path(), times);
                let after = read(&log);
                assert!(after.starts_with(&line[..end]), "{after}");
                let copy = self::store();
                strict(&copy, root.path()).unwrap();
                let copied = copy.runtime(named("r")).unwrap();
                assert_eq!(all_events(&copied), all_events(&runtime));
                assert!(compare(&store, root.path()).unwrap().is_same());
            }
        }
    }
}
