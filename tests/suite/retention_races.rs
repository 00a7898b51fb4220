//! Prunes while other writers of the same process change the runtime between the plan and a step.

use crate::layout_support::{content, exported};
use crate::retention::{assert_sound, ids, rows, talker, texts};
use crate::support::{Place, bulk, event, named, runtime_id, say};
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::layout::{ImportOptions, import};
use redb_runtime_store::retention::{PruneOptions, PruneReport, Retention};
use redb_runtime_store::store::DeleteRuntimeOptions;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

type Action = Box<dyn FnOnce() + Send>;

/// A clock that runs an action in another thread when it is read. A plan reads it after it has taken its snapshot.
#[derive(Clone, Default)]
struct Clock {
    now_ms: Arc<AtomicU64>,
    action: Arc<Mutex<Option<Action>>>,
}

impl Clock {
    fn now(&self) -> SystemTime {
        let action = self.action.lock().unwrap().take();
        if let Some(action) = action {
            std::thread::spawn(action).join().unwrap();
        }
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.now_ms.load(Ordering::SeqCst))
    }
}

/// A runtime `r` whose clock is at 1,000 ms.
fn runtime() -> (Place, Clock, Runtime) {
    let place = Place::new();
    let clock = Clock::default();
    clock.now_ms.store(1_000, Ordering::SeqCst);
    let of_store = clock.clone();
    let store = place.open_with(Place::options().clock(move || of_store.now()));
    let runtime = store.runtime(named("r")).unwrap();
    (place, clock, runtime)
}

/// Prunes, and runs `action` between the plan and the first step.
fn prune_while(
    runtime: &Runtime,
    clock: &Clock,
    policy: &Retention,
    action: impl FnOnce() + Send + 'static,
) -> PruneReport {
    *clock.action.lock().unwrap() = Some(Box::new(action));
    let report = runtime.prune(policy, PruneOptions::new()).unwrap();
    assert!(clock.action.lock().unwrap().is_none(), "it was run");
    assert_sound(runtime.store());
    report
}

/// Removes up to the last `keep` events meanwhile, so that the prune plans anew.
fn prune_less(runtime: &Runtime, keep: u64) -> impl FnOnce() + Send + 'static {
    let runtime = runtime.clone();
    move || {
        let policy = Retention::new().keep_events(keep);
        runtime.prune(&policy, PruneOptions::new()).unwrap();
    }
}

#[test]
fn new_plan_keeps_a_hundred_records() {
    let (_place, clock, runtime) = runtime();
    let talks = talker(&runtime, 2);
    for _ in 0..100 {
        say(&runtime, &talks, "more").unwrap();
        let policy = Retention::new().keep_events(2);
        runtime.prune(&policy, PruneOptions::new()).unwrap();
    }
    for text in ["0", "1", "2", "3"] {
        say(&runtime, &talks, text).unwrap();
    }
    // The events of the plan are stale, the entries are not: the first plan writes a record, the second adds to it.
    let policy = Retention::new().keep_events(1).keep_entries(1);
    let report = prune_while(&runtime, &clock, &policy, prune_less(&runtime, 3));
    assert!(rows(&report).0 > 0 && rows(&report).1 > 0, "{report:?}");
    assert_eq!(ids(&runtime).len(), 1);
    assert_eq!(texts(&runtime, &talks), ["3"]);
    assert_eq!(runtime.diagnostics().unwrap().len(), 100);
}

fn replace(store: &Store, root: &Path) -> impl FnOnce() + Send + 'static {
    let (store, root) = (store.clone(), root.to_owned());
    move || {
        import(&store, &root, ImportOptions::new().replace(true)).unwrap();
    }
}

#[test]
fn runtime_replaced_during_a_prune_stays() {
    let (_place, clock, runtime) = runtime();
    let talks = talker(&runtime, 5);
    // The same runtime without times, and one with another text at the last row to remove.
    let old = exported(runtime.store());
    say(&runtime, &talks, "later").unwrap();
    let policy = Retention::new().keep_events(2).keep_entries(1);
    let action = replace(runtime.store(), old.path());
    let report = prune_while(&runtime, &clock, &policy, action);
    assert!(report.is_empty(), "{report:?}");
    assert_eq!(texts(&runtime, &talks).len(), 5);
    assert_eq!(ids(&runtime).len(), 7);
    let imported = content(runtime.store());
    let log = crate::layout_support::worker_dir(old.path(), 1).join("transcript.jsonl");
    crate::layout_support::edit(&log, "\"content\":\"3\"", "\"content\":\"x\"");
    let policy = Retention::new().keep_entries(1);
    let action = replace(runtime.store(), old.path());
    let report = prune_while(&runtime, &clock, &policy, action);
    assert!(report.is_empty(), "{report:?}");
    assert_eq!(texts(&runtime, &talks), ["0", "1", "2", "x", "4"]);
    assert_ne!(content(runtime.store()), imported);
    // The next prune is of the new runtime.
    let report = runtime.prune(&policy, PruneOptions::new()).unwrap();
    assert_eq!(rows(&report).1, 4);
}

/// A worker of the new runtime ends at the same time and has the same positions as the planned one.
#[test]
fn workers_of_a_runtime_replaced_during_a_prune_stay() {
    let (_place, clock, runtime) = runtime();
    let ended = talker(&runtime, 2);
    runtime.stop_worker(&ended, None).unwrap();
    talker(&runtime, 3);
    let (store, again) = (runtime.store().clone(), ended.clone());
    let policy = Retention::new().ended_before(Duration::ZERO);
    let report = prune_while(&runtime, &clock, &policy, move || {
        let options = DeleteRuntimeOptions::new().even_if_running(true);
        store
            .delete_runtime_with(&runtime_id("r"), &options)
            .unwrap();
        let new = store.runtime(named("r")).unwrap();
        assert_eq!(talker(&new, 2), again);
        new.stop_worker(&again, None).unwrap();
    });
    assert!(report.is_empty(), "{report:?}");
    assert_eq!(texts(&runtime, &ended), ["0", "1"]);
    let report = runtime.prune(&policy, PruneOptions::new()).unwrap();
    assert_eq!(rows(&report).2, 1);
}

fn diagnose(runtime: &Runtime, worker: &WorkerRef) {
    let boundary = runtime.store().runtime_store(&runtime_id("r")).unwrap();
    let mut state = boundary.load_runtime_state().unwrap().runtime;
    let id = state.next_diagnostic_id;
    state.diagnostics.push(RuntimeDiagnostic {
        id,
        severity: DiagnosticSeverity::Error,
        code: "host".to_owned(),
        message: "about the worker".to_owned(),
        worker_ref: Some(worker.clone()),
    });
    state.next_diagnostic_id += 1;
    boundary
        .commit(|tx| tx.write_runtime_snapshot(&state))
        .unwrap();
}

#[test]
fn diagnostics_between_plan_and_drop_go_with_the_worker() {
    let (_place, clock, runtime) = runtime();
    let (ended, other) = (talker(&runtime, 2), talker(&runtime, 1));
    runtime.stop_worker(&ended, None).unwrap();
    let before = runtime.diagnostics().unwrap();
    let about = |worker: &WorkerRef| {
        let all = runtime.diagnostics().unwrap();
        let about = all
            .iter()
            .filter(|one| one.worker_ref.as_ref() == Some(worker));
        about.count()
    };
    let (host, workers) = (runtime.clone(), [ended.clone(), other.clone()]);
    let planned = about(&ended);
    let policy = Retention::new().ended_before(Duration::ZERO);
    let report = prune_while(&runtime, &clock, &policy, move || {
        workers.iter().for_each(|worker| diagnose(&host, worker));
    });
    assert_eq!(rows(&report), (0, 2, 1, planned as u64 + 1));
    assert_eq!(about(&ended), 0);
    assert_eq!(about(&other), before.len() - planned + 1);
}

#[test]
fn bulk_load_rejects_events_below_the_floor() {
    let (_place, _clock, runtime) = runtime();
    talker(&runtime, 5);
    for keep in [2, 0] {
        let policy = Retention::new().keep_events(keep);
        runtime.prune(&policy, PruneOptions::new()).unwrap();
        let before = content(runtime.store());
        let loaded = runtime
            .store()
            .bulk_load(|load| load.append_event(&runtime_id("r"), event(3, "again").into()));
        assert!(
            matches!(loaded, Err(RuntimeError::InvalidRequest(_))),
            "{loaded:?}"
        );
        assert_eq!(content(runtime.store()), before);
    }
    bulk(runtime.store(), |load| {
        load.append_event(&runtime_id("r"), event(8, "next").into())?;
        let boundary = runtime.store().runtime_store(&runtime_id("r"))?;
        let mut state = boundary.load_runtime_state()?.runtime;
        state.next_event_id = 9;
        load.put_runtime(state.into())
    });
    assert_eq!(ids(&runtime), [8]);
}
