//! Copies of stores in files, by the library and by the program.

use crate::copying::{copied, has_all};
use crate::deleting_in_steps::{hidden, images_of};
use crate::program::{Workplace, run};
use crate::support::{named, new_worker, say, scratch};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::store::{CopyOptions, VerifyFinding, VerifyKind};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use serde_json::Value;

/// The names of the open work of earlier openings.
fn unfinished(store: &Store) -> Vec<String> {
    let all = store.unfinished().unwrap().into_iter();
    all.map(|work| work.name).collect()
}

#[test]
fn open_work_is_unfinished_at_the_next_opening_of_the_copy() {
    let (_directory, path) = scratch();
    let (_there, other) = scratch();
    for _ in 0..3 {
        let store = Store::open(&path).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let worker = new_worker(&runtime);
        runtime.open_work(&worker, "call", "n").unwrap();
        store.close().unwrap();
    }
    let store = Store::open(&path).unwrap();
    let there = Store::open(&other).unwrap();
    copied(&store, &there);
    there.close().unwrap();
    let there = Store::open(&other).unwrap();
    assert_eq!(unfinished(&there), unfinished(&store));
    assert_eq!(unfinished(&there).len(), 3);
}

#[test]
fn rows_of_unfinished_deletions_are_not_copied() {
    let fill = |runtime: &Runtime| {
        let worker = new_worker(runtime);
        for _ in 0..8 {
            runtime
                .transaction(|tx| tx.send_input(&worker, WorkerInput::user("x".repeat(1 << 20))))
                .unwrap();
        }
        runtime.stop_worker(&worker, None).unwrap();
        worker
    };
    let prepare = |store: &Store| {
        let runtime = store.runtime(named("r")).unwrap();
        fill(&runtime);
        let other = new_worker(&runtime);
        say(&runtime, &other, "stays").unwrap();
    };
    let delete = |store: &Store| {
        let runtime = store.runtime(named("r")).unwrap();
        let worker = runtime.list_workers().unwrap().swap_remove(0).worker_ref;
        runtime.delete_worker(&worker).unwrap();
    };
    let (_directory, path, images) = images_of(prepare, delete);
    let mut seen = 0;
    for image in images {
        let (store, is_unfinished) = hidden(&image);
        seen += usize::from(is_unfinished);
        let there = Store::in_memory().unwrap();
        copied(&store, &there);
        assert!(has_all(&there, &store));
        let report = there.verify().unwrap();
        let is_mark = |one: &VerifyFinding| one.kind == VerifyKind::UnfinishedDeletion;
        assert!(report.is_clean() && report.warnings == 0, "{report:?}");
        assert!(!report.findings.iter().any(is_mark), "{report:?}");
        if is_unfinished {
            assert!(has_all(&there, &Store::open(&path).unwrap()));
        }
    }
    assert!(seen > 0);
}

#[test]
fn file_of_no_runtime_conflicts_with_a_directory_of_its_name() {
    use redb_runtime_store::layout::{ImportOptions, import};
    use std::fs;
    let work = Workplace::new();
    let store_of = |name: &str, file: &str| {
        let root = work.path(name);
        fs::create_dir_all(root.join("runtimes").join(file).parent().unwrap()).unwrap();
        fs::write(root.join("runtimes").join(file), name).unwrap();
        let store = Store::in_memory().unwrap();
        import(&store, &root, ImportOptions::new()).unwrap();
        store
    };
    let (one, other) = (store_of("one", "note"), store_of("other", "note/deep/er"));
    for (from, to) in [(&one, &other), (&other, &one)] {
        match from.copy_to(to, &CopyOptions::new()) {
            Err(RuntimeError::CopyConflict { others, .. }) => {
                assert!(others[0].contains("note"), "{others:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    let replace = CopyOptions::new().replace(true);
    assert!(one.copy_to(&other, &replace).unwrap().files > 0);
    assert!(has_all(&other, &one));
    let files = other.snapshot().unwrap().kept_files_of_no_runtime();
    assert_eq!(files.unwrap().len(), 1);
}

#[test]
fn program_copies_a_store_and_skips_what_is_there() {
    let work = Workplace::new();
    let (store, copy) = (work.imported(), work.path("copy"));
    let dry = run(&[&"copy", &store, &copy, &"--dry-run"]);
    let shown = dry.expect_code(0).stdout();
    assert!(
        shown.starts_with("would copy: 1 runtime, 2 workers, 8 events, 4 entries\n"),
        "{shown}"
    );
    assert!(!copy.exists());
    let first = run(&[&"copy", &store, &copy]).expect_code(0).stdout();
    assert!(
        first.starts_with("copied: 1 runtime, 2 workers, 8 events, 4 entries\n"),
        "{first}"
    );
    run(&[&"compare", &store, &copy]).expect_code(0);
    run(&[&"verify", &copy]).expect_code(0);
    let again = run(&[&"copy", &store, &copy]).expect_code(0).stdout();
    assert!(again.starts_with("already there: 1 runtime\n"), "{again}");
}

#[test]
fn program_refuses_other_content_with_code_4() {
    let work = Workplace::new();
    let (store, copy) = (work.imported(), work.path("copy"));
    run(&[&"copy", &store, &copy]).expect_code(0);
    run(&[&"rename", &copy, &"Other"]).expect_code(0);
    let refused = run(&[&"copy", &store, &copy, &"--json"]);
    let shown: Value = serde_json::from_str(&refused.expect_code(4).stdout()).unwrap();
    assert_eq!(shown["refused"], true);
    assert_eq!(shown["runtimes"].as_array().unwrap().len(), 1);
    let message = refused.stderr();
    assert!(message.contains("--replace"), "{message}");
    let replaced = run(&[&"copy", &store, &copy, &"--replace", &"--json"]);
    let shown: Value = serde_json::from_str(&replaced.expect_code(0).stdout()).unwrap();
    assert_eq!(shown["runtimes"][0]["outcome"], "replaced");
    run(&[&"compare", &store, &copy]).expect_code(0);
}

#[test]
fn copy_without_a_source_creates_no_store() {
    let work = Workplace::new();
    let (nothing, copy) = (work.path("nothing"), work.path("copy"));
    run(&[&"copy", &nothing, &copy]).expect_code(1);
    assert!(!copy.exists() && !nothing.exists());
}
