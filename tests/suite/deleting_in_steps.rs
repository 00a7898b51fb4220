//! Deletions that take several commits, and what is left of one that was interrupted.

use crate::deleting::{
    assert_no_runtime, assert_no_worker, assert_sound, has_bytes, rows_of, stopped_worker,
};
use crate::layout_support::{content, exported, strict, tree};
use crate::long_deletions::large_worker;
use crate::sharing::{as_child, child, many};
use crate::support::{
    all_entries, all_events, named, new_worker, runtime_id, say, scratch, tell, worker_ref,
};
use redb_runtime_store::Store;
use redb_runtime_store::catalog::WorkerStatus;
use redb_runtime_store::store::{Sharing, VerifyKind, VerifyReport};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Runs `delete` on a store in a file, and copies the file before each sync: as a kill at that time leaves it.
pub(crate) fn images_of(
    prepare: impl FnOnce(&Store),
    delete: impl FnOnce(&Store),
) -> (TempDir, PathBuf, Vec<PathBuf>) {
    let (directory, path) = scratch();
    prepare(&Store::open(&path).unwrap());
    let images = Arc::new(Mutex::new(Vec::new()));
    let is_on = Arc::new(AtomicBool::new(false));
    let (into, from, on) = (Arc::clone(&images), path.clone(), Arc::clone(&is_on));
    let store = Store::options()
        .on_access(move |access| {
            use redb_runtime_store::store::FileAccess;
            if access == FileAccess::Sync && on.load(Ordering::SeqCst) {
                let mut images = into.lock().unwrap();
                let image = from.with_extension(format!("image-{}", images.len()));
                fs::copy(&from, &image)?;
                images.push(image);
            }
            Ok(())
        })
        .open(&path)
        .unwrap();
    is_on.store(true, Ordering::SeqCst);
    delete(&store);
    is_on.store(false, Ordering::SeqCst);
    store.close().unwrap();
    let images = std::mem::take(&mut *images.lock().unwrap());
    (directory, path, images)
}

fn is_unfinished(report: &VerifyReport) -> bool {
    let mut kinds = report.findings.iter().map(|finding| finding.kind);
    kinds.any(|kind| kind == VerifyKind::UnfinishedDeletion)
}

/// Opens an image for reading only. Returns the store, and whether a deletion in it is unfinished.
pub(crate) fn hidden(image: &Path) -> (Store, bool) {
    let options = Store::options().read_only(true).recover_in_memory(true);
    let store = options.open(image).unwrap();
    let report = store.verify().unwrap();
    assert!(report.is_clean() && report.warnings == 0, "{report:?}");
    (store, is_unfinished(&report))
}

#[test]
fn unfinished_worker_is_hidden_and_the_open_finishes_it() {
    let mark = "gone-";
    let worker = worker_ref("r", "worker-00000001");
    let other = worker_ref("r", "worker-00000002");
    let prepare = |store: &Store| {
        let runtime = store.runtime(named("r")).unwrap();
        assert_eq!(large_worker(&runtime, mark), worker);
        assert_eq!(new_worker(&runtime), other);
        say(&runtime, &other, "kept").unwrap();
    };
    let delete = |store: &Store| {
        let runtime = store.runtime(named("r")).unwrap();
        runtime.delete_worker(&worker).unwrap();
    };
    let (_directory, _path, images) = images_of(prepare, delete);
    let mut unfinished = 0;
    for image in images {
        let (store, is_unfinished) = hidden(&image);
        let runtime = store.runtime(named("r")).unwrap();
        let is_there = runtime.worker_detail(&worker).is_ok();
        let entries = store.snapshot().unwrap().transcript_len(&worker).unwrap();
        assert_eq!(entries, if is_there { 66 } else { 0 });
        assert!(!(is_there && is_unfinished));
        if is_unfinished {
            unfinished += 1;
            assert!(rows_of(&store, "transcripts") > 1, "nothing is hidden");
            // A backup has no hidden text.
            let copy = image.with_extension(format!("backup-{unfinished}"));
            store.backup(&copy).unwrap();
            assert!(!has_bytes(&copy, mark), "the text is in the backup");
            assert_sound(&Store::open(&copy).unwrap());
        }
        store.close().unwrap();
        let store = Store::open(&image).unwrap();
        assert_sound(&store);
        let left = if is_there { 67 } else { 1 };
        assert_eq!(rows_of(&store, "transcripts"), left);
        let runtime = store.runtime(named("r")).unwrap();
        assert_eq!(all_entries(&runtime, &other).len(), 1);
        match is_there {
            true => drop(runtime.delete_worker(&worker).unwrap()),
            false => assert_no_worker(runtime.delete_worker(&worker)),
        }
        assert_sound(&store);
    }
    assert!(unfinished >= 3, "{unfinished} unfinished images");
}

#[test]
fn unfinished_runtime_is_hidden_and_the_open_finishes_it() {
    let prepare = |store: &Store| {
        let runtime = store.runtime(named("r")).unwrap();
        large_worker(&runtime, "a");
        let small = stopped_worker(&runtime, &["small"]);
        runtime.delete_worker(&small).unwrap();
        runtime.stop_runtime().unwrap();
        let other = store.runtime(named("r2")).unwrap();
        stopped_worker(&other, &["kept"]);
    };
    let delete = |store: &Store| store.delete_runtime(&runtime_id("r")).unwrap();
    let (_directory, path, images) = images_of(prepare, delete);
    let kept = content(&Store::open(&path).unwrap());
    let (mut unfinished, mut id) = (0, 0);
    for image in images {
        let (store, is_unfinished) = hidden(&image);
        let snapshot = store.snapshot().unwrap();
        let r = runtime_id("r");
        let is_there = snapshot.has_runtime(&r).unwrap();
        assert!(!(is_there && is_unfinished));
        if is_unfinished {
            unfinished += 1;
            assert_eq!(content(&store), kept);
            assert_no_runtime(store.runtime_store(&r));
            let worker = worker_ref("r", "worker-00000001");
            assert_eq!(snapshot.runtime(&r).unwrap(), None);
            assert_eq!(snapshot.worker(&worker).unwrap(), None);
            assert_eq!(snapshot.workers(&r).unwrap().count(), 0);
            assert_eq!(snapshot.events(&r, 0).unwrap().count(), 0);
            assert_eq!(snapshot.transcript(&worker, 0).unwrap().count(), 0);
            assert_eq!(snapshot.last_event_id(&r).unwrap(), None);
            assert_eq!(snapshot.import_record(&r).unwrap(), None);
            assert_eq!(
                tree(exported(&store).path()).len(),
                tree_of_kept(&kept, &path)
            );
        }
        drop(snapshot);
        store.close().unwrap();
        let store = Store::open(&image).unwrap();
        assert_sound(&store);
        if !is_there {
            assert_eq!(content(&store), kept);
            assert_eq!(rows_of(&store, "transcripts"), 1);
            assert_eq!(rows_of(&store, "tombstones"), 0);
            let again = store.runtime(named("r")).unwrap();
            assert_eq!(all_events(&again).len(), 1);
            id = new_worker(&again).worker_id.as_str().len();
            assert_sound(&store);
        }
    }
    assert!(unfinished >= 3, "{unfinished} unfinished images");
    assert_eq!(id, "worker-00000001".len());
}

/// The number of files and directories of an export of the store that is left.
fn tree_of_kept(kept: &[String], path: &Path) -> usize {
    assert!(!kept.is_empty());
    tree(exported(&Store::open(path).unwrap()).path()).len()
}

/// Opens a copy of a store in which the deletion of a worker or of its runtime is unfinished, and leaves it so.
fn begun_deletion(
    options: redb_runtime_store::store::StoreOptions,
    is_whole: bool,
) -> (TempDir, Store) {
    let prepare = |store: &Store| {
        let runtime = store.runtime(named("r")).unwrap();
        large_worker(&runtime, "x");
    };
    let delete = |store: &Store| {
        let runtime = store.runtime(named("r")).unwrap();
        if is_whole {
            runtime.stop_runtime().unwrap();
            return store.delete_runtime(&runtime_id("r")).unwrap();
        }
        let worker = worker_ref("r", "worker-00000001");
        runtime.delete_worker(&worker).unwrap();
    };
    let (directory, _path, images) = images_of(prepare, delete);
    let image = images.iter().find(|image| hidden(image).1).unwrap();
    let store = options.leave_deletions().open(image).unwrap();
    assert!(is_unfinished(&store.verify().unwrap()));
    (directory, store)
}

#[test]
fn next_writes_of_many_writers_finish_a_deletion() {
    let options = Store::options().sharing(Sharing::ManyWriters);
    let (_directory, store) = begun_deletion(options, false);
    let runtime = store.runtime(named("r")).unwrap();
    let mut writes = 0;
    while is_unfinished(&store.verify().unwrap()) {
        new_worker(&runtime);
        writes += 1;
        assert!(writes < 20, "the writes do not finish the deletion");
    }
    assert!(writes >= 2, "{writes} writes");
    assert_eq!(rows_of(&store, "transcripts"), 0);
    assert_eq!(all_events(&runtime).len(), 70 + writes);
    assert_sound(&store);
}

#[test]
fn compaction_finishes_a_deletion_before() {
    let options = Store::options().sharing(Sharing::ManyWriters);
    let (_directory, store) = begun_deletion(options, false);
    let mark = "x".repeat(1_000);
    assert!(has_bytes(store.path(), &mark));
    store.compact().unwrap();
    assert!(!is_unfinished(&store.verify().unwrap()));
    assert_eq!(rows_of(&store, "transcripts"), 0);
    assert!(!has_bytes(store.path(), &mark));
}

#[test]
fn open_succeeds_where_a_deletion_cannot_be_finished() {
    use redb_runtime_store::store::FileAccess;
    let (_directory, store) = begun_deletion(Store::options(), false);
    let path = store.path().to_owned();
    store.close().unwrap();
    // The first write after those of an open that leaves the deletion.
    let writes = Arc::new(AtomicUsize::new(0));
    let failing = |at: usize| {
        let (writes, count) = (Arc::clone(&writes), AtomicUsize::new(0));
        Store::options().on_access(move |access| {
            let is_write = matches!(access, FileAccess::Write | FileAccess::SetLen);
            if is_write && count.fetch_add(1, Ordering::SeqCst) == at {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            writes.store(count.load(Ordering::SeqCst), Ordering::SeqCst);
            Ok(())
        })
    };
    let options = failing(usize::MAX).leave_deletions();
    let store = options.open(&path).unwrap();
    let needed = writes.load(Ordering::SeqCst);
    store.close().unwrap();
    let store = failing(needed).open(&path).unwrap();
    assert!(is_unfinished(&store.verify().unwrap()));
    let runtime = store.runtime(named("r")).unwrap();
    assert_no_worker(runtime.worker_detail(&worker_ref("r", "worker-00000001")));
    new_worker(&runtime);
    store.close().unwrap();
    let store = Store::open(&path).unwrap();
    assert!(!is_unfinished(&store.verify().unwrap()));
}

/// Deletes large workers. If `syncs` is not 0, waits for its end before the sync of that number of a deletion.
fn delete_until_killed(path: &Path, syncs: usize) {
    use redb_runtime_store::store::FileAccess;
    let deleting = Arc::new(AtomicUsize::new(usize::MAX));
    let left = Arc::clone(&deleting);
    let options = many().on_access(move |access| {
        let is_last = access == FileAccess::Sync && left.fetch_sub(1, Ordering::SeqCst) == 1;
        if is_last {
            tell("between");
            loop {
                std::thread::park();
            }
        }
        Ok(())
    });
    let runtime = options.open(path).unwrap().runtime(named("r")).unwrap();
    loop {
        let worker = large_worker(&runtime, "x");
        tell("ready");
        deleting.store(
            if syncs == 0 { usize::MAX } else { syncs },
            Ordering::SeqCst,
        );
        runtime.delete_worker(&worker).unwrap();
    }
}

#[test]
fn writers_finish_the_deletion_of_a_killed_process() {
    let name = "deleting_in_steps::writers_finish_the_deletion_of_a_killed_process";
    if let Some((syncs, path)) = as_child() {
        return delete_until_killed(&path, syncs.parse().unwrap());
    }
    let (_directory, path) = scratch();
    let runtime = many().open(&path).unwrap().runtime(named("r")).unwrap();
    let store = runtime.store();
    let mine = new_worker(&runtime);
    let (mut said, mut unfinished) = (0, 0);
    for (round, syncs) in [0, 0, 3, 4, 5].into_iter().enumerate() {
        let mut deletes = child(name, &syncs.to_string(), &path);
        while deletes.hear().unwrap() != "ready" {}
        if syncs == 0 {
            for _ in 0..round {
                say(&runtime, &mine, "meanwhile").unwrap();
                said += 1;
            }
        } else {
            assert_eq!(deletes.hear().unwrap(), "between");
        }
        deletes.kill();
        unfinished += u64::from(is_unfinished(&store.verify().unwrap()));
        let mut writes = 0;
        while is_unfinished(&store.verify().unwrap()) {
            say(&runtime, &mine, "afterwards").unwrap();
            (said, writes) = (said + 1, writes + 1);
            assert!(writes < 20, "the writes do not finish the deletion");
        }
        assert_sound(store);
        // Each worker is there with all its entries, or gone.
        for worker in runtime.list_workers().unwrap() {
            let is_mine = worker.worker_ref == mine;
            let written = if is_mine { said } else { 66 };
            let is_stopped = worker.status == WorkerStatus::Stopped;
            assert!(is_mine || !is_stopped || worker.transcript_len == written);
            assert_eq!(
                all_entries(&runtime, &worker.worker_ref).len(),
                worker.transcript_len
            );
        }
        assert_eq!(all_entries(&runtime, &mine).len(), said);
    }
    assert!(unfinished >= 2, "{unfinished} kills between two commits");
}

#[test]
fn repeated_deletion_finishes_an_unfinished_one() {
    let (_directory, store) = begun_deletion(Store::options(), false);
    let runtime = store.runtime(named("r")).unwrap();
    let worker = worker_ref("r", "worker-00000001");
    new_worker(&runtime);
    assert!(is_unfinished(&store.verify().unwrap()));
    let events = all_events(&runtime);
    assert!(runtime.delete_worker(&worker).unwrap().deleted);
    assert_eq!(all_events(&runtime), events);
    assert_no_worker(runtime.delete_worker(&worker));
    assert_eq!(rows_of(&store, "transcripts"), 0);
    assert_sound(&store);
}

#[test]
fn load_replaces_a_runtime_whose_deletion_is_unfinished() {
    let (_directory, store) = begun_deletion(Store::options(), true);
    let from = Store::in_memory().unwrap();
    let runtime = from.runtime(named("r")).unwrap();
    stopped_worker(&runtime, &["loaded"]);
    let directory = exported(&from);
    strict(&store, directory.path()).unwrap();
    assert_eq!(content(&store), content(&from));
    assert_sound(&store);
}
