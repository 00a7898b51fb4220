//! The states that a crash leaves behind: what a strict import says, and what a salvage import
//! makes of them.

use super::layout_support::*;
use redb_runtime_store::Store;
use redb_runtime_store::layout::{
    Finding, FindingKind, ImportOptions, ImportOutcome, ImportReport, LayoutError, check, compare,
    import, import_to_path,
};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A salvage import into an empty store. What it leaves must be in order: an export of it imports
/// strictly, as the same.
fn salvaged(root: &Path) -> (Store, ImportReport) {
    let before = tree(root);
    let store = store();
    let report = salvage(&store, root);
    assert_eq!(tree(root), before, "the source was changed");
    let out = exported(&store);
    let again = super::layout_support::store();
    let second = strict(&again, out.path()).unwrap();
    let accepted = |f: &Finding| matches!(f.kind, FindingKind::Gap | FindingKind::UnknownWorker);
    assert!(
        second.findings.iter().all(accepted),
        "{:?}",
        second.findings
    );
    assert_eq!(content(&again), content(&store));
    (store, report)
}

/// What a strict import finds wrong first.
fn refusal(root: &Path) -> Finding {
    let store = store();
    match strict(&store, root) {
        Err(LayoutError::Refused { mut findings, .. }) => {
            assert_eq!(content(&store), Vec::<String>::new());
            assert_eq!(findings.len(), 1, "{findings:?}");
            findings.remove(0)
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// Kinds of findings, with line, byte and length where they have them, in one text.
fn kinds(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let number = |n: Option<u64>| n.map(|n| format!(" {n}")).unwrap_or_default();
        let name = finding.path.file_name().unwrap().to_string_lossy();
        let place = number(finding.line) + &number(finding.byte) + &number(finding.length);
        let _ = writeln!(text, "{}: {name}{place}", finding.kind);
    }
    text
}

fn worker_name() -> String {
    dir_of("worker-00000001")
}

#[test]
fn each_torn_directory_is_accepted_or_refused_as_the_layout_says() {
    let Some(torn) = unpack("legacy-torn.tar.gz") else {
        return;
    };
    let expected: [(&str, Option<&str>); 11] = [
        (
            "01-before-runtime-json",
            Some("never initialised: runtime.json\n"),
        ),
        ("02-no-events-file", Some("missing: events.jsonl\n")),
        ("03-no-worker-json", Some("missing: worker.json\n")),
        ("04-no-transcript-file", Some("missing: transcript.jsonl\n")),
        (
            "05-torn-event-tail",
            Some("cut off: events.jsonl 8 1015 7\n"),
        ),
        (
            "06-torn-transcript-tail",
            Some("cut off: transcript.jsonl 2 323 246\n"),
        ),
        ("07-counter-ahead-of-log", None),
        ("08-temp-file-left", None),
        (
            "09-merged-event-line",
            Some("merged line: events.jsonl 11 1452 75\n"),
        ),
        (
            "10-merged-transcript-line",
            Some("merged line: transcript.jsonl 2 323 229\n"),
        ),
        ("11-event-lost", None),
    ];
    for (name, refused) in expected {
        let root = torn.path().join(name);
        match refused {
            Some(refused) => assert_eq!(kinds(&[refusal(&root)]), refused, "{name}"),
            None => {
                let store = store();
                let report = strict(&store, &root).unwrap();
                let (other, salvage) = salvaged(&root);
                assert_eq!(report, salvage, "{name}");
                assert_eq!(content(&store), content(&other), "{name}");
                assert!(compare(&store, &root).unwrap().is_same(), "{name}");
            }
        }
    }
}

#[test]
fn each_torn_directory_is_salvaged_as_the_layout_says() {
    let Some(torn) = unpack("legacy-torn.tar.gz") else {
        return;
    };
    // Workers, events and entries that are whole, and the findings.
    let expected: [(&str, [u64; 3], &str); 11] = [
        ("01-before-runtime-json", [0, 0, 0], ""),
        ("02-no-events-file", [0, 0, 0], ""),
        ("03-no-worker-json", [0, 1, 0], ""),
        ("04-no-transcript-file", [1, 1, 0], ""),
        ("05-torn-event-tail", [2, 7, 5], ""),
        ("06-torn-transcript-tail", [1, 4, 1], ""),
        ("07-counter-ahead-of-log", [1, 5, 3], ""),
        ("08-temp-file-left", [1, 5, 3], ""),
        ("09-merged-event-line", [3, 15, 12], ""),
        ("10-merged-transcript-line", [3, 17, 11], ""),
        ("11-event-lost", [3, 16, 12], ""),
    ];
    for (name, counts, findings) in expected {
        let (_, report) = salvaged(&torn.path().join(name));
        let runtime = &report.runtimes[0];
        let found = [runtime.workers, runtime.events, runtime.transcript_entries];
        println!("{name} {found:?}\n{}", kinds(&report.findings));
        for f in &report.findings {
            println!("   {f} {:?}", f.text);
        }
        let _ = (counts, findings);
    }
    panic!();
}
