//! Archives: workers that the store has removed.

use crate::archives::{archived, compared, prune, restored, talk, update, update_with_gap, worker};
use crate::hosts::cases;
use crate::layout_support::{edit, exported, strict, tree};
use crate::support::{all_entries, all_events, fresh, named, runtime_id, seed};
use redb_runtime_store::layout::{
    Comparison, ExistingDirectory, ExportOptions, FindingKind, LayoutError, compare, export,
};
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::store::DeleteRuntimeOptions;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use torture::rng::Rng;

pub(crate) fn all_ended() -> Retention {
    Retention::new().ended_before(Duration::ZERO)
}

fn document(root: &Path) -> PathBuf {
    root.join("runtimes/id-72/runtime.json")
}

/// The words of all differences.
fn differences(comparison: &Comparison) -> String {
    let all = comparison.differences.iter().map(|one| one.what.clone());
    all.collect::<Vec<_>>().join("\n")
}

#[test]
fn gap_of_a_dropped_worker_is_allowed_once() {
    let (_place, runtime, [one, _], archive) = archived();
    talk(&runtime, &one, 2);
    runtime.stop_worker(&one, None).unwrap();
    prune(&runtime, all_ended());
    let store = runtime.store();
    let gap = |refused: LayoutError| match refused {
        LayoutError::PrunedGap { first, last, .. } => (first, last),
        other => panic!("{other}"),
    };
    assert_eq!(gap(update(store, archive.path()).unwrap_err()), (6, 7));
    let comparison = compare(store, archive.path()).unwrap();
    assert!(differences(&comparison).contains("positions 6 to 7 are missing"));
    update_with_gap(store, archive.path());
    let allowed = tree(archive.path());
    assert_eq!(update(store, archive.path()).unwrap().runtimes[0].bytes, 0);
    assert_eq!(tree(archive.path()), allowed);
    // The comparison reports the gap, and accepts it.
    let findings = compared(store, archive.path()).findings;
    assert_eq!(findings[0].kind, FindingKind::Gap);
    assert!(
        findings[0].message.contains("positions 6 to 7"),
        "{findings:?}"
    );
    // The entries that the archive has come back, and the archive stays one of the restored store.
    let back = restored(archive.path());
    let runtime = back.runtime(named("r")).unwrap();
    assert_eq!(runtime.worker_detail(&one).unwrap().transcript_len, 6);
    compared(&back, archive.path());
    update(&back, archive.path()).unwrap();
    compared(&back, archive.path());
}

/// Another gap of the same worker is another loss.
#[test]
fn listed_end_allows_no_other_gap() {
    let (_place, runtime, [one, other], archive) = archived();
    talk(&runtime, &one, 1);
    talk(&runtime, &other, 1);
    runtime.stop_worker(&one, None).unwrap();
    prune(&runtime, all_ended());
    update_with_gap(runtime.store(), archive.path());
    talk(&runtime, &other, 2);
    runtime.stop_worker(&other, None).unwrap();
    prune(&runtime, all_ended());
    let refused = update(runtime.store(), archive.path()).unwrap_err();
    assert!(
        matches!(
            refused,
            LayoutError::PrunedGap {
                first: 7,
                last: 8,
                ..
            }
        ),
        "{refused}"
    );
}

/// Its text stays readable there, so an operator has to know.
#[test]
fn update_reports_directories_of_deleted_runtimes() {
    let (_place, runtime, _, archive) = archived();
    let store = runtime.store();
    for name in ["x", "y"] {
        store.runtime(named(name)).unwrap();
    }
    assert_eq!(
        update(store, archive.path()).unwrap().not_in_store,
        [""; 0].map(PathBuf::from)
    );
    let options = DeleteRuntimeOptions::new().even_if_running(true);
    store
        .delete_runtime_with(&runtime_id("x"), &options)
        .unwrap();
    let runtimes = archive.path().join("runtimes");
    fs::create_dir(runtimes.join("no-runtime")).unwrap();
    let before = tree(archive.path());
    let report = update(store, archive.path()).unwrap();
    assert_eq!(report.not_in_store, [runtimes.join("id-78")]);
    assert_eq!(tree(archive.path()), before);
    // An update of some runtimes says nothing about the others.
    let options = ExportOptions::new().existing(ExistingDirectory::Update);
    let report = export(store, archive.path(), options.runtimes([runtime_id("y")])).unwrap();
    assert!(report.not_in_store.is_empty());
}

#[test]
fn removed_workers_that_differ_are_differences() {
    let (_place, runtime, [one, other], _archive) = archived();
    for worker in [&one, &other] {
        runtime.stop_worker(worker, None).unwrap();
    }
    runtime.delete_worker(&other).unwrap();
    prune(&runtime, all_ended().keep_events(0));
    let store = runtime.store();
    let fresh = exported(store);
    compared(store, fresh.path());
    let document = document(fresh.path());
    let original = fs::read_to_string(&document).unwrap();
    let list = |name: &str| {
        let begin = original.find(&format!(",\n  \"{name}\": [")).unwrap();
        let end = begin + original[begin..].find("\n  ]").unwrap() + "\n  ]".len();
        original[begin..end].to_owned()
    };
    let (pruned, deleted) = (list("pruned_workers"), list("deleted_workers"));
    let unknown = deleted.replace(other.worker_id.as_str(), "never-there");
    for (from, to, what) in [
        (
            &pruned,
            String::new(),
            "pruned_workers: the directory lacks worker \"worker-00000001\"",
        ),
        (
            &deleted,
            String::new(),
            "deleted_workers: the directory lacks worker \"worker-00000002\"",
        ),
        (&deleted, unknown, "worker \"never-there\" was not deleted"),
        (
            &pruned,
            pruned.replace("\"transcript_len\": 6", "\"transcript_len\": 5"),
            "worker \"worker-00000001\" ended otherwise",
        ),
        (
            &pruned,
            pruned.replace(one.worker_id.as_str(), "never-there"),
            "retention did not remove worker \"never-there\"",
        ),
    ] {
        fs::write(&document, original.replace(from, &to)).unwrap();
        let comparison = compare(store, fresh.path()).unwrap();
        assert!(differences(&comparison).contains(what), "{comparison:?}");
    }
    fs::write(&document, &original).unwrap();
    compared(store, fresh.path());
}

/// An archive has rows of the removed workers, and says by these that they were removed.
#[test]
fn archived_rows_stand_for_removed_workers() {
    let (_place, runtime, [one, other], archive) = archived();
    for worker in [&one, &other] {
        runtime.stop_worker(worker, None).unwrap();
    }
    runtime.delete_worker(&other).unwrap();
    let store = runtime.store();
    update(store, archive.path()).unwrap();
    prune(&runtime, all_ended().keep_events(0));
    update(store, archive.path()).unwrap();
    compared(store, archive.path());
    let text = fs::read_to_string(document(archive.path())).unwrap();
    assert!(!text.contains("_workers\""), "{text}");
    // Without the event of the deletion nothing says that the id is used.
    let events = archive.path().join("runtimes/id-72/events.jsonl");
    edit(&events, "worker_deleted", "worker_stopped");
    let comparison = compare(store, archive.path()).unwrap();
    assert!(
        differences(&comparison).contains("deleted_workers"),
        "{comparison:?}"
    );
}

/// The values of rows that both have must agree. A time counts where both have one.
#[test]
fn times_that_both_have_must_agree() {
    let (_place, runtime, _, _) = archived();
    let archive = tempfile::tempdir().unwrap();
    let with_times = || {
        let options = ExportOptions::new().existing(ExistingDirectory::Update);
        export(runtime.store(), archive.path(), options.times(true))
    };
    with_times().unwrap();
    prune(&runtime, Retention::new().keep_events(3));
    let events = archive.path().join("runtimes/id-72/events.jsonl");
    let original = fs::read_to_string(&events).unwrap();
    let lines: Vec<_> = original.lines().collect();
    let with_line = |number: usize, line: &str| {
        let mut lines = lines.clone();
        lines[number] = line;
        fs::write(&events, lines.join("\n") + "\n").unwrap();
        with_times()
    };
    let other = |line: &str| {
        let at = line.find("\"recorded_at\":\"").unwrap() + "\"recorded_at\":\"".len();
        format!("{}1999{}", &line[..at], &line[at + "1999".len()..])
    };
    let last = lines.len() - 1;
    // Of a row that the store has pruned only the archive has a time.
    with_line(0, &other(lines[0])).unwrap();
    let refused = with_line(last, &other(lines[last])).unwrap_err();
    assert!(refused.to_string().contains("recorded_at"), "{refused}");
    let (undated, _) = lines[last].split_once(",\"recorded_at\"").unwrap();
    with_line(last, &format!("{undated}}}")).unwrap();
}

/// Random changes of two runtimes, of which one is pruned after each update of its archive.
#[test]
fn random_archive_restores_what_was_never_pruned() {
    let (mut random, mut dropped) = (Rng::new(seed()), 0);
    for _ in 0..cases(6) {
        let (_place, runtime, workers, archive) = archived();
        let whole = fresh();
        let twin = whole.runtime(named("r")).unwrap();
        let both = [&runtime, &twin];
        for worker in workers.map(|_| worker(&twin)) {
            talk(&twin, &worker, 6);
        }
        for round in 0..12 {
            for _ in 0..random.below(8) {
                let running = runtime.list_workers().unwrap();
                let running = running.iter().filter(|one| one.status.is_active());
                let workers: Vec<_> = running.map(|one| one.worker_ref.clone()).collect();
                let (action, text) = (random.below(9), format!("text {}", random.below(9)));
                let target = (!workers.is_empty()).then(|| random.pick(&workers));
                for one in both {
                    match (action, target) {
                        (0..2, _) | (_, None) => drop(worker(one)),
                        (2..5, Some(target)) => talk(one, target, 2),
                        (5..7, Some(target)) => drop(one.append_reply(target, &*text).unwrap()),
                        (7, Some(target)) => {
                            one.stop_worker(target, Some(text.clone())).unwrap();
                        }
                        (_, Some(target)) => {
                            one.stop_worker(target, None).unwrap();
                            one.delete_worker(target).unwrap();
                        }
                    }
                }
            }
            update(runtime.store(), archive.path()).unwrap();
            let keep = |random: &mut Rng| random.below(9) as u64;
            let (events, entries) = (keep(&mut random), keep(&mut random));
            let policy = Retention::new().keep_events(events).keep_entries(entries);
            let policy = match round % 3 {
                0 => policy.ended_before(Duration::ZERO),
                _ => policy,
            };
            let report = runtime.prune(&policy, PruneOptions::new()).unwrap();
            dropped += report.runtimes.iter().map(|one| one.workers).sum::<u64>();
            compare(runtime.store(), archive.path()).unwrap();
        }
        update(runtime.store(), archive.path()).unwrap();
        compared(runtime.store(), archive.path());
        let back = fresh();
        strict(&back, archive.path()).unwrap();
        let back = back.runtime(named("r")).unwrap();
        assert_eq!(all_events(&back), all_events(&twin));
        assert_eq!(back.list_workers().unwrap(), twin.list_workers().unwrap());
        for worker in twin.list_workers().unwrap() {
            let worker = worker.worker_ref;
            assert_eq!(all_entries(&back, &worker), all_entries(&twin, &worker));
        }
    }
    assert!(dropped > 0, "retention removed no worker");
}
