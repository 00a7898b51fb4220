//! Archives: a directory that an update keeps whole while the store is pruned.

use crate::layout_support::{content, edit, tree, worker_dir};
use crate::support::{
    Place, all_entries, all_events, fresh, full_request, named, say, worker_snapshot,
};
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::layout::{
    Comparison, ExistingDirectory, ExportOptions, ExportReport, ImportOptions, ImportOutcome,
    LayoutError, compare, export, import,
};
use redb_runtime_store::management::RuntimeLimits;
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::{Runtime, Store};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) fn update(store: &Store, root: &Path) -> Result<ExportReport, LayoutError> {
    export(
        store,
        root,
        ExportOptions::new().existing(ExistingDirectory::Update),
    )
}

pub(crate) fn update_with_gap(store: &Store, root: &Path) -> ExportReport {
    let options = ExportOptions::new().existing(ExistingDirectory::Update);
    export(store, root, options.allow_gap(true)).unwrap()
}

pub(crate) fn prune(runtime: &Runtime, policy: Retention) {
    let report = runtime.prune(&policy, PruneOptions::new()).unwrap();
    assert!(!report.is_empty());
}

pub(crate) fn talk(runtime: &Runtime, worker: &WorkerRef, entries: usize) {
    for number in 0..entries {
        say(runtime, worker, &format!("entry {number}")).unwrap();
    }
}

pub(crate) fn worker(runtime: &Runtime) -> WorkerRef {
    runtime.create_worker(full_request()).unwrap().worker_ref
}

pub(crate) fn restored(root: &Path) -> Store {
    let store = fresh();
    let report = import(&store, root, ImportOptions::new()).unwrap();
    assert_eq!(report.findings, []);
    let report = store.verify().unwrap();
    assert_eq!(
        (report.errors, report.warnings),
        (0, 0),
        "{:?}",
        report.findings
    );
    store
}

pub(crate) fn compared(store: &Store, root: &Path) -> Comparison {
    let comparison = compare(store, root).unwrap();
    assert_eq!(comparison.differences, []);
    comparison
}

/// A store with the runtime `r` and two workers, and an archive of it.
pub(crate) fn archived() -> (Place, Runtime, [WorkerRef; 2], TempDir) {
    let place = Place::new();
    let runtime = place.open().runtime(named("r")).unwrap();
    let workers = [(); 2].map(|()| worker(&runtime));
    for worker in &workers {
        talk(&runtime, worker, 6);
    }
    let archive = tempfile::tempdir().unwrap();
    update(runtime.store(), archive.path()).unwrap();
    (place, runtime, workers, archive)
}

#[test]
fn archive_over_three_prune_cycles_restores_everything() {
    let (_place, runtime, [one, other], archive) = archived();
    // A second store gets the same calls and is never pruned.
    let whole = fresh();
    let twin = whole.runtime(named("r")).unwrap();
    for worker in [worker(&twin), worker(&twin)] {
        talk(&twin, &worker, 6);
    }
    let mut pruned = 0;
    for cycle in 1..=3 {
        prune(
            &runtime,
            Retention::new().keep_events(4 * cycle).keep_entries(cycle),
        );
        for runtime in [&runtime, &twin] {
            talk(runtime, &one, 3);
            let new = worker(runtime);
            talk(runtime, &new, 2);
            runtime
                .append_reply(&other, format!("reply {cycle}"))
                .unwrap();
        }
        update(runtime.store(), archive.path()).unwrap();
        let before = pruned;
        pruned = compared(runtime.store(), archive.path()).pruned_only_in_directory;
        assert!(pruned > before);
    }
    assert!(pruned > 20, "{pruned}");
    let all = restored(archive.path());
    let back = all.runtime(named("r")).unwrap();
    assert_eq!(all_events(&back), all_events(&twin));
    for worker in twin.list_workers().unwrap() {
        let worker = worker.worker_ref;
        assert_eq!(all_entries(&back, &worker), all_entries(&twin, &worker));
        let snapshot = all.snapshot().unwrap();
        assert_eq!(snapshot.first_position(&worker).unwrap(), 0);
    }
    assert_eq!(back.event_cursor_from_start().unwrap().next_event_id, 1);
    // Each cycle left its record.
    let records = back.diagnostics().unwrap();
    assert_eq!(
        records
            .iter()
            .filter(|one| one.code == "runtime.pruned")
            .count(),
        3
    );
}

#[test]
fn update_without_news_writes_nothing_after_a_prune() {
    let (_place, runtime, _, archive) = archived();
    prune(&runtime, Retention::new().keep_events(2).keep_entries(1));
    update(runtime.store(), archive.path()).unwrap();
    let before = tree(archive.path());
    let report = update(runtime.store(), archive.path()).unwrap();
    assert_eq!(report.runtimes[0].bytes, 0);
    assert_eq!(tree(archive.path()), before);
}

#[test]
fn archive_that_ends_before_the_floor_is_refused() {
    let (_place, runtime, [one, _], archive) = archived();
    talk(&runtime, &one, 4);
    prune(&runtime, Retention::new().keep_events(2));
    let before = tree(archive.path());
    let refused = update(runtime.store(), archive.path()).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("events.jsonl: event ids 16 to 17 are missing"),
        "{refused}"
    );
    assert!(matches!(
        refused,
        LayoutError::PrunedGap {
            first: 16,
            last: 17,
            ..
        }
    ));
    assert_eq!(tree(archive.path()), before, "nothing was written");
    update_with_gap(runtime.store(), archive.path());
    let store = fresh();
    let report = import(&store, archive.path(), ImportOptions::new()).unwrap();
    let messages: Vec<_> = report
        .findings
        .iter()
        .map(|finding| &finding.message)
        .collect();
    assert!(messages[0].contains("16 to 17 are missing"), "{messages:?}");
    // The gap stays, and does not refuse later updates.
    talk(&runtime, &one, 1);
    update(runtime.store(), archive.path()).unwrap();
}

#[test]
fn transcript_that_ends_before_the_floor_is_refused() {
    let (_place, runtime, [one, _], archive) = archived();
    talk(&runtime, &one, 4);
    prune(&runtime, Retention::new().keep_entries(2));
    let refused = update(runtime.store(), archive.path()).unwrap_err();
    assert!(
        matches!(
            refused,
            LayoutError::PrunedGap {
                first: 6,
                last: 7,
                ..
            }
        ),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .contains("transcript.jsonl: positions 6 to 7"),
        "{refused}"
    );
    update_with_gap(runtime.store(), archive.path());
    talk(&runtime, &one, 1);
    update(runtime.store(), archive.path()).unwrap();
    // A worker that the archive never had.
    let new = worker(&runtime);
    talk(&runtime, &new, 3);
    prune(&runtime, Retention::new().keep_entries(1));
    let refused = update(runtime.store(), archive.path()).unwrap_err();
    assert!(
        matches!(
            refused,
            LayoutError::PrunedGap {
                first: 0,
                last: 1,
                ..
            }
        ),
        "{refused}"
    );
}

#[test]
fn archive_that_ends_right_before_the_floor_is_continued() {
    let (_place, runtime, [one, _], archive) = archived();
    talk(&runtime, &one, 4);
    // All that the archive has, and no more.
    prune(&runtime, Retention::new().keep_events(4).keep_entries(4));
    update(runtime.store(), archive.path()).unwrap();
    let all = restored(archive.path());
    let back = all.runtime(named("r")).unwrap();
    assert_eq!(all_events(&back).len(), 19);
    assert_eq!(all_entries(&back, &one).len(), 10);
    // An archive without any row says by its floor where it ends.
    prune(&runtime, Retention::new().keep_events(0).keep_entries(0));
    let fresh = tempfile::tempdir().unwrap();
    update(runtime.store(), fresh.path()).unwrap();
    talk(&runtime, &one, 1);
    update(runtime.store(), fresh.path()).unwrap();
    compared(runtime.store(), fresh.path());
}

#[test]
fn rows_that_both_have_must_agree() {
    let (_place, runtime, _, archive) = archived();
    prune(&runtime, Retention::new().keep_events(2).keep_entries(2));
    let transcript = worker_dir(archive.path(), 1).join("transcript.jsonl");
    // Below the floor only the archive has it.
    edit(&transcript, "entry 0", "other 0");
    update(runtime.store(), archive.path()).unwrap();
    edit(&transcript, "entry 5", "other 5");
    let refused = update(runtime.store(), archive.path()).unwrap_err();
    assert!(
        matches!(refused, LayoutError::NotAPrefix { .. }),
        "{refused}"
    );
    let comparison = compare(runtime.store(), archive.path()).unwrap();
    assert_eq!(comparison.total_differences, 1);
}

#[test]
fn worker_that_retention_removed_stays_in_the_archive() {
    let (_place, runtime, [one, other], archive) = archived();
    runtime.stop_worker(&one, None).unwrap();
    update(runtime.store(), archive.path()).unwrap();
    let whole = content(runtime.store());
    prune(&runtime, Retention::new().ended_before(Duration::ZERO));
    talk(&runtime, &other, 1);
    let report = update(runtime.store(), archive.path()).unwrap();
    assert_eq!(report.runtimes[0].removed_workers, []);
    let comparison = compared(runtime.store(), archive.path());
    assert_eq!(
        comparison.pruned_only_in_directory, 7,
        "six entries and the worker"
    );
    let all = restored(archive.path());
    let back = all.runtime(named("r")).unwrap();
    assert_eq!(all_entries(&back, &one).len(), 6);
    assert!(content(&all).len() > whole.len());
}

#[test]
fn worker_that_was_deleted_leaves_the_archive() {
    let (_place, runtime, [one, other], archive) = archived();
    runtime.stop_worker(&one, None).unwrap();
    update(runtime.store(), archive.path()).unwrap();
    runtime.delete_worker(&one).unwrap();
    prune(&runtime, Retention::new().keep_entries(1));
    assert!(
        compare(runtime.store(), archive.path())
            .unwrap()
            .total_differences
            > 0
    );
    let report = update(runtime.store(), archive.path()).unwrap();
    assert_eq!(report.runtimes[0].removed_workers, [one.worker_id]);
    assert!(!worker_dir(archive.path(), 1).exists());
    compared(runtime.store(), archive.path());
    let back = restored(archive.path()).runtime(named("r")).unwrap();
    assert_eq!(all_entries(&back, &other).len(), 6);
}

#[test]
fn archive_onto_a_pruned_store_is_a_conflict_unless_replaced() {
    let (_place, runtime, [one, _], archive) = archived();
    prune(&runtime, Retention::new().keep_entries(1));
    let store = runtime.store();
    let conflict = import(store, archive.path(), ImportOptions::new()).unwrap_err();
    assert!(
        matches!(conflict, LayoutError::Conflict { .. }),
        "{conflict}"
    );
    // Also where the archive differs in nothing but the rows that only it has.
    update(store, archive.path()).unwrap();
    assert!(compared(store, archive.path()).pruned_only_in_directory > 0);
    let conflict = import(store, archive.path(), ImportOptions::new()).unwrap_err();
    assert!(
        matches!(conflict, LayoutError::Conflict { .. }),
        "{conflict}"
    );
    let replaced = import(store, archive.path(), ImportOptions::new().replace(true)).unwrap();
    assert_eq!(replaced.runtimes[0].outcome, ImportOutcome::Replaced);
    assert_eq!(all_entries(&runtime, &one).len(), 6);
    // The same directory again, after another prune: what was imported is not imported again.
    prune(&runtime, Retention::new().keep_entries(1));
    let again = import(store, archive.path(), ImportOptions::new()).unwrap();
    assert_eq!(again.runtimes[0].outcome, ImportOutcome::AlreadyImported);
}

#[test]
fn floors_and_pins_that_differ_are_differences() {
    let (_place, runtime, [one, _], archive) = archived();
    runtime.set_pinned(&one, true).unwrap();
    let comparison = compare(runtime.store(), archive.path()).unwrap();
    assert_eq!(comparison.total_differences, 1);
    assert!(
        comparison.differences[0].what.contains("pinned"),
        "{comparison:?}"
    );
    update(runtime.store(), archive.path()).unwrap();
    compared(runtime.store(), archive.path());
    // The log of the directory begins where the store's does, but says that events before it are missing.
    prune(&runtime, Retention::new().keep_events(3));
    let fresh = tempfile::tempdir().unwrap();
    update(runtime.store(), fresh.path()).unwrap();
    compared(runtime.store(), fresh.path());
    let of_fresh = fresh.path().join("runtimes/id-72/runtime.json");
    edit(&of_fresh, ",\n  \"first_event_id\": 13", "");
    let comparison = compare(runtime.store(), fresh.path()).unwrap();
    assert_eq!(comparison.total_differences, 1);
    assert!(
        comparison.differences[0].what.contains("first_event_id"),
        "{comparison:?}"
    );
}

/// A prune adds to its record with each of its commits.
#[test]
fn archive_updated_during_a_prune_is_continued() {
    let (_place, runtime, _, archive) = archived();
    prune(&runtime, Retention::new().keep_events(2).keep_entries(1));
    update(runtime.store(), archive.path()).unwrap();
    let document = archive.path().join("runtimes/id-72/runtime.json");
    let after = std::fs::read(&document).unwrap();
    edit(&document, "ids 1 to 13", "ids 1 to 4");
    update(runtime.store(), archive.path()).unwrap();
    assert_eq!(std::fs::read(&document).unwrap(), after);
    compared(runtime.store(), archive.path());
}

#[test]
fn new_name_and_limits_catch_up_in_the_archive() {
    let (_place, runtime, _, archive) = archived();
    runtime
        .set_display_name(Some("renamed".to_owned()))
        .unwrap();
    runtime
        .set_limits(RuntimeLimits {
            max_transcript_projection_items: 7,
            max_event_batch_items: 8,
        })
        .unwrap();
    update(runtime.store(), archive.path()).unwrap();
    compared(runtime.store(), archive.path());
    runtime.set_display_name(None).unwrap();
    update(runtime.store(), archive.path()).unwrap();
    compared(runtime.store(), archive.path());
}

#[test]
fn refused_update_says_whether_the_archive_is_a_copy() {
    let (_place, runtime, _, archive) = archived();
    let transcript = worker_dir(archive.path(), 1).join("transcript.jsonl");
    edit(&transcript, "entry 5", "other 5");
    let refused = update(runtime.store(), archive.path()).unwrap_err();
    assert!(refused.to_string().contains("replace it"), "{refused}");
    prune(&runtime, Retention::new().keep_events(2));
    let refused = update(runtime.store(), archive.path()).unwrap_err();
    assert!(refused.to_string().contains("only copy"), "{refused}");
    assert!(!refused.to_string().contains("replace it"), "{refused}");
}

#[test]
fn dropped_worker_that_the_archive_has_in_part_is_refused() {
    let (_place, runtime, [one, _], archive) = archived();
    say(&runtime, &one, "never archived").unwrap();
    runtime.stop_worker(&one, None).unwrap();
    prune(&runtime, Retention::new().ended_before(Duration::ZERO));
    let before = tree(archive.path());
    let refused = update(runtime.store(), archive.path()).unwrap_err();
    assert!(
        matches!(
            refused,
            LayoutError::PrunedGap {
                what: "position",
                first: 6,
                last: 6,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(tree(archive.path()), before, "nothing was written");
    let comparison = compare(runtime.store(), archive.path()).unwrap();
    let what = "positions 6 to 6 are missing: the store has pruned them";
    let differences = &comparison.differences;
    assert!(
        differences.iter().any(|one| one.what.contains(what)),
        "{differences:?}"
    );
    update_with_gap(runtime.store(), archive.path());
}

#[test]
fn worker_dropped_before_the_archive_got_it_is_refused() {
    let (_place, runtime, _, archive) = archived();
    let new = worker(&runtime);
    talk(&runtime, &new, 2);
    runtime.stop_worker(&new, None).unwrap();
    prune(&runtime, Retention::new().ended_before(Duration::ZERO));
    let refused = update(runtime.store(), archive.path()).unwrap_err();
    assert!(
        matches!(&refused, LayoutError::PrunedWorker { worker_id, .. } if *worker_id == new.worker_id),
        "{refused}"
    );
    update_with_gap(runtime.store(), archive.path());
    // The next update knows that this one was allowed.
    update(runtime.store(), archive.path()).unwrap();
    // A first export has what the store has.
    let fresh = tempfile::tempdir().unwrap();
    update(runtime.store(), fresh.path()).unwrap();
    update(runtime.store(), fresh.path()).unwrap();
}

#[test]
fn torn_line_of_a_dropped_worker_is_a_gap() {
    let (_place, runtime, [one, other], archive) = archived();
    let transcripts = [1, 2].map(|n| worker_dir(archive.path(), n).join("transcript.jsonl"));
    for transcript in &transcripts {
        let text = std::fs::read(transcript).unwrap();
        std::fs::write(transcript, &text[..text.len() - 20]).unwrap();
    }
    for worker in [&one, &other] {
        runtime.stop_worker(worker, None).unwrap();
    }
    runtime.delete_worker(&other).unwrap();
    prune(&runtime, Retention::new().ended_before(Duration::ZERO));
    let refused = update(runtime.store(), archive.path()).unwrap_err();
    assert!(
        matches!(
            refused,
            LayoutError::PrunedGap {
                first: 5,
                last: 5,
                ..
            }
        ),
        "{refused}"
    );
    let report = update_with_gap(runtime.store(), archive.path());
    let of_runtime = &report.runtimes[0];
    assert_eq!(of_runtime.removed_workers, [other.worker_id]);
    assert_eq!(of_runtime.cut_off, [transcripts[0].clone()]);
    let text = std::fs::read_to_string(&transcripts[0]).unwrap();
    assert!(text.ends_with('\n'));
    assert_eq!(text.lines().count(), 5);
    let again = update_with_gap(runtime.store(), archive.path());
    assert_eq!(again.runtimes[0].bytes, 0);
}

#[test]
fn members_that_say_nothing_give_way_to_floors_and_pins() {
    let (_place, runtime, [one, _], archive) = archived();
    drop(runtime);
    let documents = [
        worker_dir(archive.path(), 1).join("worker.json"),
        archive.path().join("runtimes/id-72/runtime.json"),
    ];
    for (document, members) in documents.iter().zip([
        "  \"first_position\": 0,\n  \"pinned\": false\n}\n",
        "  \"first_event_id\": 1\n}\n",
    ]) {
        let text = std::fs::read_to_string(document).unwrap();
        let open = text.strip_suffix("\n}\n").unwrap();
        std::fs::write(document, format!("{open},\n{members}")).unwrap();
    }
    let store = fresh();
    import(&store, archive.path(), ImportOptions::new()).unwrap();
    let before = tree(archive.path());
    update(&store, archive.path()).unwrap();
    assert_eq!(tree(archive.path()), before);
    let runtime = store.runtime(named("r")).unwrap();
    prune(&runtime, Retention::new().keep_events(3).keep_entries(2));
    runtime.set_pinned(&one, true).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    for root in [archive.path(), fresh.path()] {
        update(&store, root).unwrap();
        let report = update(&store, root).unwrap();
        assert_eq!(report.runtimes[0].bytes, 0);
        compared(&store, root);
    }
}

/// An export and an import of a pruned store take the removed ids along.
#[test]
fn ids_of_removed_workers_survive_export_and_import() {
    let (_place, runtime, [one, other], archive) = archived();
    for worker in [&one, &other] {
        runtime.stop_worker(worker, None).unwrap();
    }
    update(runtime.store(), archive.path()).unwrap();
    runtime.delete_worker(&other).unwrap();
    prune(&runtime, Retention::new().ended_before(Duration::ZERO));
    let fresh = tempfile::tempdir().unwrap();
    update(runtime.store(), fresh.path()).unwrap();
    let store = restored(fresh.path());
    assert_eq!(content(&store), content(runtime.store()));
    let back = tempfile::tempdir().unwrap();
    update(&store, back.path()).unwrap();
    assert_eq!(tree(fresh.path()), tree(back.path()));
    update(&store, archive.path()).unwrap();
    compared(&store, archive.path());
    // The same without the event of the deletion.
    prune(&runtime, Retention::new().keep_events(0));
    let fresh = tempfile::tempdir().unwrap();
    update(runtime.store(), fresh.path()).unwrap();
    let store = restored(fresh.path());
    let back = tempfile::tempdir().unwrap();
    update(&store, back.path()).unwrap();
    assert_eq!(tree(fresh.path()), tree(back.path()));
    let document = std::fs::read_to_string(back.path().join("runtimes/id-72/runtime.json"));
    let document = document.unwrap();
    for worker in [&one, &other] {
        assert!(document.contains(worker.worker_id.as_str()), "{document}");
        let row = worker_snapshot(worker, 1);
        let reused = store.bulk_load(|load| load.put_worker(row.into()));
        assert!(reused.is_err(), "the id of {worker} is used again");
    }
}
