//! Repairs of stores that were not closed. Large files do not need them.

use crate::sharing::{
    LONG, as_child, child, first_worker, many, wait_to_be_killed, write_with_four_threads,
};
use crate::support::{
    all_entries, assert_refused, bulk, entry, named, runtime_snapshot, say, scratch, tell,
    worker_ref, worker_snapshot,
};
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::store::{Sharing, StoreOptions};
use redb_runtime_store::{RuntimeError, Store};
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Writes a transcript of 80 MB. From 64 MiB on, commits save the allocator state, which a repair would
/// rebuild.
fn load_80_mb(store: &Store, worker: &WorkerRef) {
    let text = "x".repeat(40_000);
    let runtime = worker.runtime_id.as_str();
    bulk(store, |load| {
        load.put_worker(worker_snapshot(worker, 2001).into())?;
        for sequence in 1..=2000 {
            load.append_transcript_entry(entry(worker, sequence, &text).into())?;
        }
        load.put_runtime(runtime_snapshot(runtime, 2001).into())
    });
}

/// Opens a copy of the open store at `path`, as a kill would leave it now, and asserts that no repair
/// walks the file.
#[track_caller]
fn assert_a_kill_leaves_nothing_to_repair(path: &Path, options: &StoreOptions) {
    let killed = path.with_extension("killed");
    std::fs::copy(path, &killed).unwrap();
    let repairs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&repairs);
    let options = options.clone().on_repair(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    let store = options.open(&killed).unwrap();
    assert_eq!(repairs.load(Ordering::Relaxed), 0, "the file was walked");
    assert!(store.verify().unwrap().is_clean());
    store.close().unwrap();
    std::fs::remove_file(killed).unwrap();
}

#[test]
fn large_load_needs_no_repair_after_kill() {
    let (_directory, path) = scratch();
    for options in [
        Store::options(),
        Store::options().sharing(Sharing::Exclusive),
    ] {
        let store = options.open(&path).unwrap();
        load_80_mb(&store, &worker_ref("r", "w"));
        assert_a_kill_leaves_nothing_to_repair(&path, &options);
        store.close().unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn large_compaction_needs_no_repair_after_kill() {
    let (_directory, path) = scratch();
    for sharing in [Sharing::OneWriter, Sharing::Exclusive, Sharing::ManyWriters] {
        let options = Store::options().sharing(sharing);
        let store = options.open(&path).unwrap();
        let kept = worker_ref("kept", "w");
        load_80_mb(&store, &kept);
        load_80_mb(&store, &worker_ref("removed", "w"));
        let removed = store.runtime(named("removed")).unwrap();
        bulk(&store, |load| {
            load.remove_runtime(&removed.runtime_id().unwrap())
        });
        let compacted = store.compact().unwrap();
        assert!(compacted.bytes_after < 150_000_000, "{compacted:?}");
        assert_eq!(
            compacted.bytes_after,
            std::fs::metadata(&path).unwrap().len()
        );
        assert_a_kill_leaves_nothing_to_repair(&path, &options);
        // The locks are held throughout, and the store can be written to and compacted as before.
        let runtime = store.runtime(named("kept")).unwrap();
        say(&runtime, &kept, "one more").unwrap();
        assert_a_kill_leaves_nothing_to_repair(&path, &options);
        store.compact().unwrap();
        store.close().unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 150_000_000);
        std::fs::remove_file(&path).unwrap();
    }
}

#[cfg(feature = "fault-injection")]
#[test]
fn large_migration_needs_no_repair_after_kill() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    load_80_mb(&store, &worker_ref("r", "w"));
    store.close().unwrap();
    let later = torture::crash_steps::later_release();
    let store = later.open(&path).unwrap();
    assert_a_kill_leaves_nothing_to_repair(&path, &later);
    store.close().unwrap();
}

#[test]
fn killed_large_store_opens_without_repair() {
    let name = "repairing::killed_large_store_opens_without_repair";
    let worker = worker_ref("r", "w");
    if let Some((_, path)) = as_child() {
        let store = Store::open(path).unwrap();
        if store.runtimes().unwrap().is_empty() {
            load_80_mb(&store, &worker);
        }
        write_with_four_threads(&store.runtime(named("r")).unwrap(), &worker, usize::MAX);
    }
    let (_directory, path) = scratch();
    for _ in 0..2 {
        let mut writer = child(name, "killed", &path);
        let acknowledged: Vec<u64> = (0..20)
            .map(|_| writer.hear().unwrap().parse().unwrap())
            .collect();
        writer.kill();
        let repairs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&repairs);
        let store = Store::options()
            .on_repair(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                ControlFlow::Continue(())
            })
            .open(&path)
            .unwrap();
        assert_eq!(repairs.load(Ordering::Relaxed), 0, "the file was walked");
        let runtime = store.runtime(named("r")).unwrap();
        let next = runtime.event_cursor_now().unwrap().next_event_id;
        assert!(acknowledged.iter().all(|event| *event < next));
        store.close().unwrap();
    }
}

/// A file at `path` as a kill leaves it.
fn unclean(path: &Path) {
    let live = path.with_extension("live");
    let store = Store::open(&live).unwrap();
    first_worker(&store.runtime(named("r")).unwrap());
    std::fs::copy(&live, path).unwrap();
    store.close().unwrap();
    std::fs::remove_file(live).unwrap();
}

#[test]
fn open_waits_for_a_repair_elsewhere() {
    let name = "repairing::open_waits_for_a_repair_elsewhere";
    if let Some((_, path)) = as_child() {
        let told = AtomicUsize::new(0);
        let repairing = Store::options().on_repair(move |_| {
            if told.fetch_add(1, Ordering::Relaxed) == 0 {
                tell("repairing");
                std::io::stdin().read_exact(&mut [0]).unwrap();
            }
            ControlFlow::Continue(())
        });
        let _store = repairing.open(path).unwrap();
        tell("open");
        wait_to_be_killed();
    }
    let (_directory, path) = scratch();
    unclean(&path);
    assert_refused!(
        Store::open_read_only(&path),
        RuntimeError::NeedsRepair { .. }
    );
    let mut repairs = child(name, "repairs", &path);
    assert_eq!(repairs.hear().as_deref(), Some("repairing"));
    let reading = Store::options().read_only(true);
    let impatient = [
        Store::options().sharing(Sharing::ManyWriters),
        reading.clone(),
    ];
    for options in impatient {
        let (opened, came) = std::sync::mpsc::channel();
        let path = path.clone();
        std::thread::spawn(move || opened.send(options.open(path)));
        let refused = came.recv_timeout(LONG).expect("it waits for the repair");
        let holder = cfg!(target_os = "linux").then(|| repairs.child.id());
        assert_refused!(refused, RuntimeError::StoreLocked { holder: told, .. } if told == holder);
    }
    let waiting = std::thread::spawn({
        let path = path.clone();
        move || reading.lock_timeout(LONG).open(path)
    });
    std::io::Write::write_all(repairs.child.stdin.as_mut().unwrap(), b"g").unwrap();
    assert_eq!(
        waiting.join().unwrap().unwrap().runtimes().unwrap().len(),
        1
    );
    repairs.kill();
}

/// The state after a power loss during a commit with many writers, if the last write of the previous
/// commit was not synced either: the header selects the commit before the last, and half of the new
/// commit overwrites it.
fn cut_off_in_the_header(mut file: Vec<u8>) -> Vec<u8> {
    const FLAGS: usize = 9;
    const SECOND_IS_PRIMARY: u8 = 1;
    const UNFLUSHED: u8 = 8;
    file[FLAGS] |= UNFLUSHED;
    let before_the_last = match file[FLAGS] & SECOND_IS_PRIMARY {
        0 => 192,
        _ => 64,
    };
    file[before_the_last + 16..before_the_last + 48].fill(0x5A);
    file
}

#[test]
fn torn_header_commit_is_repaired() {
    let (_directory, path) = scratch();
    let runtime = many().open(&path).unwrap().runtime(named("r")).unwrap();
    let worker = first_worker(&runtime);
    say(&runtime, &worker, "acknowledged").unwrap();
    let cut_off = cut_off_in_the_header(std::fs::read(&path).unwrap());
    drop(runtime);
    let closed = cut_off_in_the_header(std::fs::read(&path).unwrap());

    for options in [many(), Store::options()] {
        std::fs::write(&path, &cut_off).unwrap();
        let reader = options.clone().read_only(true).open(&path);
        assert_refused!(reader, RuntimeError::NeedsRepair { .. });
        let runtime = options.open(&path).unwrap().runtime(named("r")).unwrap();
        assert_eq!(all_entries(&runtime, &worker).len(), 1);
        say(&runtime, &worker, "and on").unwrap();
    }
    // A write to a closed file cannot be interrupted: this is damage.
    std::fs::write(&path, &closed).unwrap();
    assert_refused!(
        Store::open_read_only(&path),
        RuntimeError::StoreCorrupt { .. }
    );
    assert_refused!(many().open(&path), RuntimeError::StoreCorrupt { .. });
}
