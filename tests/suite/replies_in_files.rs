//! Followers of transcripts in a file that another process writes.

use crate::replies::heard;
use crate::support::{named, new_worker, scratch, worker_ref};
use redb_runtime_store::Store;
use std::thread;

#[test]
fn transcript_is_followed_across_processes() {
    let name = "replies_in_files::transcript_is_followed_across_processes";
    if let Some(path) = crate::support::told_as_child() {
        let runtime = Store::open(path).unwrap().runtime(named("r")).unwrap();
        let worker = worker_ref("r", "worker-00000001");
        for number in 0..200 {
            runtime.append_reply(&worker, number.to_string()).unwrap();
        }
        return;
    }
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let worker = new_worker(&store.runtime(named("r")).unwrap());
    store.close().unwrap();
    let reader = Store::open_read_only(&path).unwrap();
    let runtime = reader.runtime(named("r")).unwrap();
    let mut awaited = runtime.follow_transcript(&worker, 0).unwrap();
    let mut blocking = runtime.follow_transcript(&worker, 0).unwrap();
    let mut child = crate::support::TestChild::start(name, &path);
    let expected: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    let in_async = thread::spawn(move || {
        let next = |_| pollster::block_on(awaited.next()).unwrap().entry.content;
        (0..200).map(next).collect::<Vec<_>>()
    });
    assert_eq!(heard(&mut blocking, 200), expected);
    assert_eq!(in_async.join().unwrap(), expected);
    assert_eq!(child.hear(), None);
}
