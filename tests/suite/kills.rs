//! Kills of real processes during real work.

use crate::faults::assert_holds;
use crate::maintenance::rich;
use crate::support::{named, say, scratch, worker_ref};
use redb_runtime_store::layout::{ExportOptions, export};
use torture::campaign::Fault;
use torture::kills::check_exported;

#[test]
fn killed_process_keeps_acknowledged_work_whole() {
    assert_holds(Fault::Kill, 100, &["in maintenance"]);
}

/// An update writes whole lines, but a kill can end a write in the middle of one.
#[test]
fn torn_export_lacks_only_its_last_line() {
    let (directory, path) = scratch();
    let store = rich(&path);
    let root = directory.path().join("export");
    export(&store, &root, ExportOptions::new()).unwrap();
    let log = root.join("runtimes/id-61/events.jsonl");
    let whole = std::fs::read(&log).unwrap();
    let mut last = whole[..whole.len() - 1].iter();
    let last = last.rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut_at in [last, last + 1, whole.len() - 2] {
        std::fs::write(&log, &whole[..cut_at]).unwrap();
        check_exported(&store, &root).unwrap();
        assert!(std::fs::read(&log).unwrap() == whole, "cut at {cut_at}");
    }

    let runtime = store.runtime(named("a")).unwrap();
    say(&runtime, &worker_ref("a", "worker-00000001"), "more").unwrap();
    let other = root.join("runtimes/id-62/events.jsonl");
    let other_whole = std::fs::read(&other).unwrap();
    std::fs::write(&log, &whole[..whole.len() - 2]).unwrap();
    std::fs::write(&other, &other_whole[..other_whole.len() - 2]).unwrap();
    check_exported(&store, &root).unwrap_err();
    std::fs::write(&other, &other_whole).unwrap();
    std::fs::write(&log, [&whole[..last - 2], &whole[last..]].concat()).unwrap();
    check_exported(&store, &root).unwrap_err();
}
