//! The cost of reads of a file.

use crate::support::{
    bulk, cursor, entry, event, named, runtime_id, runtime_snapshot, say, scratch, worker_ref,
    worker_snapshot,
};
use redb_runtime_store::Store;
use redb_runtime_store::interaction::TranscriptQuery;

/// The bytes that this thread has read from files; `None` if the system does not report them.
fn bytes_read() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    io.lines()
        .find_map(|line| line.strip_prefix("rchar: ")?.parse().ok())
}

/// The bytes that `read` reads from files; `None` if the system does not report them.
fn cost<T>(read: impl FnOnce() -> T) -> u64 {
    let before = bytes_read();
    read();
    let (Some(before), Some(after)) = (before, bytes_read()) else {
        println!("this system does not count what a thread reads: nothing was proved");
        return 0;
    };
    after - before
}

#[test]
fn reads_seek_and_never_scan() {
    const ROWS: u64 = 30_000;
    let (_directory, path) = scratch();
    let worker = worker_ref("r", "w00000");
    let store = Store::open(&path).unwrap();
    bulk(&store, |load| {
        for number in 0..10_000 {
            let other = worker_ref("r", &format!("w{number:05}"));
            load.put_worker(worker_snapshot(&other, 1).into())?;
        }
        for number in 1..=ROWS {
            load.append_event(&runtime_id("r"), event(number, &"event ".repeat(10)).into())?;
            load.append_transcript_entry(entry(&worker, number, &"entry ".repeat(10)).into())?;
        }
        load.put_worker(worker_snapshot(&worker, ROWS + 1).into())?;
        load.put_runtime(runtime_snapshot("r", ROWS + 1).into())
    });
    store.close().unwrap();
    assert!(
        std::fs::metadata(&path).unwrap().len() > 8 << 20,
        "too small to tell"
    );

    // Without a cache to speak of, so that each read has to ask the file.
    let open = || Store::options().cache_bytes(0).open(&path).unwrap();
    // A debug build of redb walks the whole file when it opens it, to check itself.
    let opening = if cfg!(debug_assertions) {
        0
    } else {
        cost(open)
    };
    let store = open();
    let runtime = store.runtime(named("r")).unwrap();
    let query = |start| TranscriptQuery::new(start, 100);
    let middle = ROWS as usize / 2;
    let costs = [
        ("open", opening),
        ("summary", cost(|| runtime.summary().unwrap())),
        ("cursor", cost(|| runtime.event_cursor_now().unwrap())),
        (
            "last events",
            cost(|| runtime.read_events(&cursor("r", ROWS - 99), 100).unwrap()),
        ),
        (
            "no events",
            cost(|| runtime.read_events(&cursor("r", ROWS + 1), 100).unwrap()),
        ),
        (
            "page",
            cost(|| {
                runtime
                    .transcript_projection(&worker, query(middle))
                    .unwrap()
            }),
        ),
        ("worker", cost(|| runtime.worker_detail(&worker).unwrap())),
        ("input", cost(|| say(&runtime, &worker, "a").unwrap())),
    ];
    println!("{costs:?}");
    for (what, bytes) in costs {
        assert!(bytes < 512 << 10, "{what} read {bytes} bytes");
    }
}
