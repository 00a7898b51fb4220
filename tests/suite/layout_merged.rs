//! Lines that contain more or less than one record, and the records that a salvage imports from them.

use super::layout_salvage::kinds;
use super::layout_support::*;
use crate::hosts::CUT_STEP;
use redb_runtime_store::layout::{
    ExistingDirectory, ExportOptions, FindingKind, ImportReport, export,
};
use std::fs;
use std::path::Path;

/// Members that only a later writer knows, with every kind of value. Some values look like records of
/// the log.
const LATER: &str = concat!(
    r#""n":-12.5e-7,"list":[true,null,{"id":7,"kind":{"kind":"runtime_stopped"},"message":"a"}],"#,
    r#""text":"\ud83d\ude80 é\\","sequence":[{"sequence":8}],"deep":{"was":"#,
    r#"{"id":10,"kind":{"kind":"runtime_stopped","x":2E+3},"message":"{\"id\":1"}},"#,
    r#""prev":{"id":11,"kind":{"kind":"runtime_stopped"},"message":"never"}"#
);

fn event(id: u64, later: &str) -> String {
    format!(r#"{{"id":{id},"kind":{{"kind":"runtime_stopped"}},{later},"message":"m"}}"#)
}

fn events(root: &Path) -> std::path::PathBuf {
    runtime_dir(root).join("events.jsonl")
}

/// A salvage of the small directory with `tail` after its eight events.
fn with_tail(dir: &Path, tail: &[u8]) -> ImportReport {
    fs::copy(events(SMALL.as_ref()), events(dir)).unwrap();
    append(&events(dir), tail);
    salvage(&store(), dir)
}

#[test]
fn merged_line_keeps_every_whole_record() {
    let dir = small();
    let line: String = (9..20_009)
        .map(|id| format!(r#"{{"id":{id},"kind":{{"kind":"runtime_stopped"}},"message":"m"}}"#))
        .collect();
    let report = with_tail(dir.path(), line.as_bytes());
    assert_eq!(report.runtimes[0].events, 20_008);
    let merged = "merged line: events.jsonl 9 1097\n";
    assert!(kinds(&report.findings).starts_with(merged));
}

#[test]
fn cut_record_yields_no_nested_records() {
    let dir = small();
    let whole = event(9, LATER);
    for cut in (1..whole.len()).step_by(CUT_STEP) {
        let report = with_tail(dir.path(), &whole.as_bytes()[..cut]);
        let found = format!("cut off: events.jsonl 9 1097 {cut}\n");
        assert_eq!(kinds(&report.findings), found, "{}", &whole[cut - 1..]);
        assert_eq!(report.runtimes[0].events, 8);
    }
}

#[test]
fn whole_record_after_cut_one_is_kept() {
    let dir = small();
    let cut_off = event(9, LATER);
    let whole = event(12, "\"later\":{\"id\":1}");
    for cut in (1..cut_off.len()).step_by(CUT_STEP) {
        let tail = [&cut_off.as_bytes()[..cut], whole.as_bytes(), b"\n"].concat();
        let report = with_tail(dir.path(), &tail);
        let kept = &report.runtimes[0].events;
        let mut found = kinds(&report.findings);
        found.truncate(found.find("counter behind").unwrap_or(found.len()));
        let merged = format!("merged line: events.jsonl 9 1097 {cut}\n");
        assert_eq!((*kept, found), (9, merged), "{}", &cut_off[cut - 1..]);
    }
}

#[test]
fn update_completes_record_cut_anywhere() {
    let dir = small();
    append(&events(dir.path()), event(9, LATER).as_bytes());
    let runtime_json = runtime_dir(dir.path()).join("runtime.json");
    edit(&runtime_json, "event_id\": 9", "event_id\": 10");
    let store = store();
    strict(&store, dir.path()).unwrap();
    let out = exported(&store);
    let whole = fs::read(events(out.path())).unwrap();
    let update = ExportOptions::new().existing(ExistingDirectory::Update);
    for cut in (1097..whole.len()).step_by(CUT_STEP) {
        fs::write(events(out.path()), &whole[..cut]).unwrap();
        let tail = String::from_utf8_lossy(&whole[1097..cut]);
        export(&store, out.path(), &update).unwrap_or_else(|error| panic!("{tail}: {error}"));
        assert_eq!(fs::read(events(out.path())).unwrap(), whole, "{tail}");
    }
}

#[test]
fn byte_order_mark_is_no_merged_line() {
    let dir = small();
    let text = fs::read(events(dir.path())).unwrap();
    fs::write(
        events(dir.path()),
        [b"\xEF\xBB\xBF".as_slice(), &text].concat(),
    )
    .unwrap();
    let report = salvage(&store(), dir.path());
    assert_eq!(report.findings[0].kind, FindingKind::InvalidLine);
    assert_eq!(report.runtimes[0].events, 8);
}
