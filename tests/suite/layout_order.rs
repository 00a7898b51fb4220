//! Logs that are out of order: the records that a salvage imports, and its findings.

use super::layout_salvage::{kinds, refusal, salvaged};
use super::layout_states::{events, transcript};
use super::layout_support::*;
use redb_runtime_store::layout::{FindingKind, ImportReport};
use redb_runtime_store::store::Store;
use std::fs;
use std::path::Path;

/// The lines of a log, with their newlines.
fn lines(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

/// Salvages the small directory after a change of the lines of one log. A strict import must refuse it.
fn after(log: fn(&Path) -> std::path::PathBuf, change: impl FnOnce(&mut Vec<String>)) -> Salvaged {
    let dir = small();
    let path = log(dir.path());
    let mut all = lines(&path);
    change(&mut all);
    fs::write(&path, all.concat()).unwrap();
    assert_eq!(refusal(dir.path()).kind, FindingKind::NotIncreasing);
    let (store, report) = salvaged(dir.path());
    let out = exported(&store);
    Salvaged {
        exported: lines(&log(out.path())).concat(),
        report,
        store,
    }
}

struct Salvaged {
    store: Store,
    report: ImportReport,
    /// The log, exported.
    exported: String,
}

impl Salvaged {
    /// The texts of the findings about order.
    fn left_out(&self) -> Vec<&str> {
        let of_order = |kind| kind == FindingKind::NotIncreasing;
        let findings = self.report.findings.iter();
        let texts = findings.filter(|finding| of_order(finding.kind));
        texts
            .filter_map(|finding| finding.text.as_ref()?.as_str())
            .collect()
    }

    fn found(&self) -> String {
        kinds(&self.report.findings)
    }
}

fn whole(log: fn(&Path) -> std::path::PathBuf) -> Vec<String> {
    lines(&log(Path::new(SMALL)))
}

#[test]
fn swapped_lines_are_imported_in_order() {
    for log in [events as fn(&Path) -> _, transcript] {
        let salvaged = after(log, |lines| lines.swap(1, 2));
        assert_eq!(salvaged.exported, whole(log).concat());
        assert_eq!(salvaged.left_out(), Vec::<&str>::new());
        assert_eq!(salvaged.report.findings.len(), 1);
        let message = &salvaged.report.findings[0].message;
        assert!(message.contains("1 of"), "{message}");
        let all = store();
        strict(&all, Path::new(SMALL)).unwrap();
        assert_eq!(content(&salvaged.store), content(&all));
    }
    let reversed = after(events, |lines| lines.reverse());
    assert_eq!(reversed.exported, whole(events).concat());
    let moved = after(events, |lines| lines.rotate_left(3));
    assert_eq!(moved.exported, whole(events).concat());
    assert_eq!(moved.found(), "not increasing: events.jsonl 6 728\n");
}

#[test]
fn wrong_high_id_is_left_out_alone() {
    for at in 0..7 {
        let salvaged = after(events, |lines| {
            let id = format!("\"id\":{},", at + 1);
            lines[at] = lines[at].replace(&id, "\"id\":900,");
        });
        let mut expected = whole(events);
        let left_out = expected
            .remove(at)
            .replace(&format!("\"id\":{},", at + 1), "\"id\":900,");
        assert_eq!(salvaged.exported, expected.concat(), "{at}");
        assert_eq!(salvaged.left_out(), [left_out.trim_end()], "{at}");
        assert!(
            salvaged.found().contains("gap: events.jsonl"),
            "{}",
            salvaged.found()
        );
    }
}

#[test]
fn wrong_id_below_the_counter_is_told_by_the_run() {
    // Of two records with the id 4, the one in the place of 2 is left out.
    let salvaged = after(events, |lines| {
        lines[1] = lines[1].replace("\"id\":2,", "\"id\":4,")
    });
    let mut expected = whole(events);
    let left_out = expected.remove(1);
    assert_eq!(salvaged.exported, expected.concat());
    assert_eq!(
        salvaged.left_out(),
        [left_out.trim_end().replace("\"id\":2,", "\"id\":4,")]
    );
    let low = after(events, |lines| {
        lines[6] = lines[6].replace("\"id\":7,", "\"id\":1,")
    });
    let mut expected = whole(events);
    expected.remove(6);
    assert_eq!(low.exported, expected.concat());
    let message = &low.report.findings[0].message;
    assert_eq!(message, "event id 1 again, another record than in line 1");
}

#[test]
fn repeated_records_are_imported_once() {
    for log in [events as fn(&Path) -> _, transcript] {
        let salvaged = after(log, |lines| lines.insert(2, lines[1].clone()));
        assert_eq!(salvaged.exported, whole(log).concat());
        assert_eq!(salvaged.left_out(), [whole(log)[1].trim_end()]);
        let message = &salvaged.report.findings[0].message;
        assert!(
            message.ends_with("again, the same record as in line 2"),
            "{message}"
        );
    }
}

#[test]
fn log_behind_a_copy_of_its_beginning_is_imported_once() {
    let salvaged = after(events, |lines| {
        let copy: Vec<String> = lines[..5].to_vec();
        lines.splice(0..0, copy);
    });
    assert_eq!(salvaged.exported, whole(events).concat());
    assert_eq!(salvaged.left_out().len(), 5);
    // A copy that has gone on differently since.
    let other = after(events, |lines| {
        let changed: Vec<String> = lines
            .iter()
            .map(|line| line.replace("message\":\"", "message\":\"x"))
            .collect();
        lines.extend(changed);
    });
    assert_eq!(other.exported, whole(events).concat());
    assert_eq!(other.left_out().len(), 8);
}

#[test]
fn order_is_decided_among_complete_records_only() {
    // A cut-off line, one of another runtime that would be in order, two records in one line, and a swap.
    let salvaged = {
        let dir = small();
        let mut all = lines(&events(dir.path()));
        all[1] = all[1].replace("\"demo\"", "\"other\"");
        all[3] = all[3][..20].to_owned() + "\n";
        all.swap(5, 7);
        let merged = all[5].trim_end().to_owned();
        all[5] = merged;
        fs::write(events(dir.path()), all.concat()).unwrap();
        let (store, report) = salvaged(dir.path());
        let out = exported(&store);
        let exported = lines(&events(out.path())).concat();
        Salvaged {
            store,
            report,
            exported,
        }
    };
    let mut expected = whole(events);
    expected.remove(3);
    expected.remove(1);
    assert_eq!(salvaged.exported, expected.concat());
    let found = salvaged.found();
    for kind in [
        "mismatch: events.jsonl 2",
        "invalid line: events.jsonl 4",
        "merged line: events.jsonl 6",
        "not increasing: events.jsonl 6",
    ] {
        assert!(found.contains(kind), "{found}");
    }
}
