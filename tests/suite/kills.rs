//! Real processes that are killed in the middle of real work.

use crate::faults::assert_holds;
use crate::maintenance::rich;
use crate::support::{named, say, scratch, worker_ref};
use redb_runtime_store::layout::{ExportOptions, export};
use torture::campaign::Fault;
use torture::kills::check_exported;

#[test]
fn a_killed_process_leaves_what_it_acknowledged_and_all_else_whole_or_absent() {
    assert_holds(Fault::Kill, 100, &["in maintenance"]);
}

/// An update writes whole lines, but a kill can end a write in the middle of one.
#[test]
fn of_an_export_only_the_end_of_the_last_line_may_be_cut_off() {
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
