//! Forks of workers, and redaction of entries: the commits and the bytes of the file.

use crate::deleting::rows_of;
use crate::deleting_in_steps::{hidden, images_of};
use crate::forks::long_worker;
use crate::support::{Host, Kept, named, new_worker, say, scratch, worker_ref};
use redb_runtime_store::Store;
use redb_runtime_store::store::Sharing;

/// At each sync of a long fork a kill leaves nothing of it that a reader sees, or all of it.
#[test]
fn unfinished_fork_is_hidden_and_the_open_removes_it() {
    let source = worker_ref("r", "worker-00000001");
    let of = |store: &Store| store.runtime(named("r")).unwrap();
    let prepare = |store: &Store| assert_eq!(long_worker(&of(store)), source);
    let fork = |store: &Store| drop(of(store).fork_worker(&source, None).unwrap());
    let (_directory, _path, images) = images_of(prepare, fork);
    let mut unfinished = 0;
    for image in images {
        let (reader, is_unfinished) = hidden(&image);
        unfinished += usize::from(is_unfinished);
        let workers = |store: &Store| -> Vec<usize> {
            let workers = of(store).list_workers().unwrap();
            workers.iter().map(|worker| worker.transcript_len).collect()
        };
        let seen = workers(&reader);
        reader.close().unwrap();
        let store = Store::open(&image).unwrap();
        // The process that opens for writing completes a commit that was synced.
        let whole = workers(&store);
        assert!([vec![10], vec![10, 10]].contains(&seen), "{seen:?}");
        assert!(
            whole == [10, 10] || (whole == [10] && seen == [10]),
            "{whole:?}"
        );
        let entries = 10 * whole.len() as u64;
        assert_eq!(rows_of(&store, "transcripts"), entries);
        assert!(store.verify().unwrap().findings.is_empty());
        // Its id is not given again.
        let next = of(&store).create_worker(Default::default()).unwrap();
        assert!(next.worker_id.as_str() >= "worker-00000002");
    }
    assert!(unfinished > 0);
}

#[test]
fn long_fork_with_several_writers_is_refused() {
    let (_directory, path) = scratch();
    let options = Store::options().sharing(Sharing::ManyWriters);
    let runtime = options.open(&path).unwrap().runtime(named("r")).unwrap();
    let source = long_worker(&runtime);
    let workers = runtime.list_workers().unwrap();
    runtime.fork_worker(&source, None).unwrap_err();
    assert_eq!(runtime.list_workers().unwrap(), workers);
    runtime.fork_worker(&source, Some(2)).unwrap();
}

#[test]
fn redacted_text_is_gone_after_a_compaction() {
    let host = Host::new(Kept::InFile, named("r"));
    let runtime = host.runtime.clone();
    let worker = new_worker(&runtime);
    for number in 0..200 {
        let text = format!("entry {number} with a SECRETWORD");
        say(&runtime, &worker, &text).unwrap();
    }
    runtime.redact_entries(&worker, 0..200, "gone").unwrap();
    let store = runtime.store().clone();
    store.compact().unwrap();
    let bytes = std::fs::read(store.path()).unwrap();
    let found = bytes.windows(10).filter(|window| *window == b"SECRETWORD");
    assert_eq!(found.count(), 0);
    assert!(store.verify().unwrap().is_clean());
}
