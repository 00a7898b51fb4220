//! Inputs that a host can send again: several processes, and the bytes of the file.

use crate::sends::once;
use crate::sharing::{as_child, child, first_worker, many, wait_to_be_killed};
use crate::support::{all_entries, named, new_worker, scratch, tell};
use redb_runtime_store::Store;
use redb_runtime_store::store::Sharing;
use std::path::Path;

#[test]
fn processes_with_one_key_write_one_entry() {
    let name = "sends_in_files::processes_with_one_key_write_one_entry";
    let send_all = |path: &Path| {
        let store = many().open(path).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let worker = first_worker(&runtime);
        let keys = (0..30).map(|number| format!("k{number}"));
        keys.map(|key| once(&runtime, &worker, &key, "hello").unwrap())
            .collect::<Vec<_>>()
    };
    if let Some((_, path)) = as_child() {
        let sent = send_all(&path);
        tell(&format!("{sent:?}"));
        wait_to_be_killed();
    }
    let (_directory, path) = scratch();
    let store = many().open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = first_worker(&runtime);
    let mut child = child(name, "sends", &path);
    let sent = send_all(&path);
    assert_eq!(child.hear(), Some(format!("{sent:?}")));
    assert_eq!(all_entries(&runtime, &worker).len(), 30);
    child.kill();
}

/// Two stores of one file stand for two processes: each has its own memory of keys.
#[test]
fn key_of_another_writer_is_found() {
    let (_directory, path) = scratch();
    let open = || {
        let options = Store::options().sharing(Sharing::ManyWriters);
        let store = options.open(&path).unwrap();
        store.runtime(named("r")).unwrap()
    };
    let runtime = open();
    let worker = new_worker(&runtime);
    let first = once(&runtime, &worker, "k", "hello").unwrap();
    runtime.store().close().unwrap();
    let runtime = open();
    assert_eq!(once(&runtime, &worker, "k", "hello").unwrap(), first);
    assert_eq!(all_entries(&runtime, &worker).len(), 1);
}

#[test]
fn redacted_input_keeps_its_key_without_its_hash() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    let first = once(&runtime, &worker, "k", "4711").unwrap();
    let hash = format!("{:032x}", {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        hash.update(&[0]);
        hash.update(b"4711");
        hash.digest128()
    });
    let has_hash = || {
        let copy = path.with_extension("copy");
        store.backup(&copy).unwrap();
        let bytes = std::fs::read(&copy).unwrap();
        std::fs::remove_file(&copy).unwrap();
        memchr::memmem::find(&bytes, hash.as_bytes()).is_some()
    };
    assert!(has_hash());
    runtime.redact_entry(&worker, 0, "[removed]").unwrap();
    assert!(!has_hash());
    // Nothing tells the inputs apart any more, and nothing is written.
    assert_eq!(once(&runtime, &worker, "k", "4711").unwrap(), first);
    assert_eq!(once(&runtime, &worker, "k", "other").unwrap(), first);
    assert_eq!(all_entries(&runtime, &worker).len(), 1);
}
