//! Retention: what readers, hosts and directories see of a prune, and the states between its commits.

use crate::layout_support::{content, edit, exported, strict, worker_dir};
use crate::retention::{assert_sound, ids, prune, rows, talker, texts};
use crate::support::{
    Place, bulk, cursor, entry, event, fresh, named, on_both, runtime_id, runtime_snapshot, say,
    worker_ref, worker_snapshot,
};
use redb_runtime_store::RuntimeError;
use redb_runtime_store::diagnostics::DiagnosticSeverity;
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::store::VerifyKind;
use std::time::Duration;

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
    let store = fresh();
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
    let runtime = fresh().runtime(named("r")).unwrap();
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
    let store = fresh();
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
    let store = fresh();
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
    let store = fresh();
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
    let store = fresh();
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
    let fresh = fresh();
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
    let store = fresh();
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
        let fresh = fresh();
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
    let store = fresh();
    talker(&store.runtime(named("r")).unwrap(), 3);
    let directory = exported(&store);
    let runtime_json = directory.path().join("runtimes/id-72/runtime.json");
    edit(&runtime_json, "\n}\n", ",\n  \"first_event_id\": 3\n}\n");
    let refused = strict(&fresh(), directory.path()).unwrap_err();
    let expected = "first_event_id is 3, but event id 1 exists";
    assert!(refused.to_string().contains(expected), "{refused}");
    let fresh = fresh();
    crate::layout_support::salvage(&fresh, directory.path());
    assert_eq!(ids(&fresh.runtime(named("r")).unwrap()), [1, 2, 3, 4, 5]);
    assert_sound(&fresh);
}

#[test]
fn missing_low_ids_without_a_floor_stay_a_gap() {
    let store = fresh();
    let runtime = store.runtime(named("r")).unwrap();
    talker(&runtime, 3);
    prune(&runtime, Retention::new().keep_events(2));
    let directory = exported(&store);
    let runtime_json = directory.path().join("runtimes/id-72/runtime.json");
    edit(&runtime_json, ",\n  \"first_event_id\": 4", "");
    let fresh = fresh();
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
    let place = Place::new();
    let store = place.open();
    let runtime = store.runtime(named("r")).unwrap();
    let (talks, other) = (talker(&runtime, 12), talker(&runtime, 12));
    let mut seen = Vec::new();
    let reader = place.open_read_only();
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
    let store = fresh();
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

#[cfg(feature = "fault-injection")]
#[test]
fn verify_reports_rows_below_a_floor() {
    let place = Place::new();
    let store = place.open();
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
