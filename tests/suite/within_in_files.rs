//! Calls inside callbacks that only stores in a file or in memory have, and inside opens that repair a file.

use crate::hosts::Shared;
use crate::support::{assert_refused, named, scratch};
use crate::within::{Call, Inside, LONG, assert_table, in_time, only_reads};
use redb_runtime_store::store::{BackupOptions, CensusOptions, VerifyOptions};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

fn page_progress(call: &Arc<Call>) {
    let inner = Arc::clone(call);
    let options = VerifyOptions::new().on_page_progress(move |_| inner.call());
    call.host.store.verify_with(&options).unwrap();
}

fn repair(call: &Arc<Call>) {
    let directory = tempfile::tempdir().unwrap();
    let path = unclean(&directory.path().join("another.redb"));
    let inner = Arc::clone(call);
    let options = Store::options().on_repair(move |_| {
        inner.call();
        ControlFlow::Continue(())
    });
    options.open(&path).unwrap().close().unwrap();
}

/// A store as a kill leaves it.
pub(crate) fn unclean(path: &Path) -> PathBuf {
    let live = path.with_extension("live");
    let store = Store::open(&live).unwrap();
    store.runtime(named("r")).unwrap();
    std::fs::copy(&live, path).unwrap();
    store.close().unwrap();
    std::fs::remove_file(live).unwrap();
    path.to_owned()
}

fn backup_progress(call: &Arc<Call>) {
    let inner = Arc::clone(call);
    let options = BackupOptions::new().on_progress(move |_| inner.call());
    let directory = tempfile::tempdir().unwrap();
    let _ = call
        .host
        .store
        .backup_with(directory.path().join("copy"), &options);
}

fn backup_page_progress(call: &Arc<Call>) {
    let inner = Arc::clone(call);
    let options = BackupOptions::new().on_page_progress(move |_| inner.call());
    let directory = tempfile::tempdir().unwrap();
    let _ = call
        .host
        .store
        .backup_with(directory.path().join("copy"), &options);
}

fn census_progress(call: &Arc<Call>) {
    let inner = Arc::clone(call);
    let options = CensusOptions::new().on_progress(move |_| inner.call());
    let _ = call.host.store.census_with(&options);
}

#[test]
fn repairs_and_page_checks_refuse_changes_and_waits() {
    assert_table(&[("a repair", repair)], Shared::ALL, only_reads);
    // A store in memory has no pages to check.
    assert_table(&[("pages", page_progress)], &Shared::ALL[..3], only_reads);
}

#[test]
fn callbacks_of_backups_and_counts_may_write() {
    let contexts: [(&str, Inside); 3] = [
        ("a backup", backup_progress),
        ("pages of a backup", backup_page_progress),
        ("a census", census_progress),
    ];
    assert_table(&contexts, Shared::ALL, |_, _| true);
}

#[test]
fn open_waits_for_no_lock_inside_transaction() {
    let (_directory, path) = scratch();
    Store::open(&path).unwrap().close().unwrap();
    let held = redb::Database::open(&path).unwrap();
    let waiting = Store::options().lock_timeout(Duration::MAX);
    let opened = in_time("the open", move || {
        Runtime::new_memory().transaction(|_| waiting.open(&path).map(drop))
    });
    assert_refused!(opened, RuntimeError::InvalidRequest(_));
    drop(held);
}

#[test]
fn repairs_that_open_each_other_are_refused() {
    let (directory, _) = scratch();
    let paths = ["a", "b"].map(|name| unclean(&directory.path().join(name)));
    let barrier = Arc::new(Barrier::new(2));
    let repairs = |path: &PathBuf, other: &PathBuf| {
        let (path, other, barrier) = (path.clone(), other.clone(), Arc::clone(&barrier));
        let (tells, told) = channel();
        thread::spawn(move || {
            let (first, inner) = (AtomicBool::new(true), tells.clone());
            let options = Store::options().on_repair(move |_| {
                if first.swap(false, Ordering::Relaxed) {
                    barrier.wait();
                    let opened = Store::open(&other).map(drop);
                    // Both threads have opened before either of them continues.
                    barrier.wait();
                    inner.send(opened).unwrap();
                }
                ControlFlow::Continue(())
            });
            tells.send(options.open(&path).map(drop)).unwrap();
        });
        told
    };
    let told = [repairs(&paths[0], &paths[1]), repairs(&paths[1], &paths[0])];
    for told in told {
        let inner = told.recv_timeout(LONG).expect("they wait for each other");
        assert_refused!(inner, RuntimeError::InvalidRequest(_));
        told.recv_timeout(LONG).expect("the open").unwrap();
    }
}
