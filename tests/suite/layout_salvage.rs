//! Torn directories: the finding of a strict import, and the records and findings of a salvage import.

use super::layout_support::*;
use redb_runtime_store::Store;
use redb_runtime_store::layout::{Finding, ImportReport, LayoutError, compare};
use std::fmt::Write as _;
use std::path::Path;

/// A salvage import into an empty store. Its result must be consistent: a strict import of its export
/// gives the same content.
pub(super) fn salvaged(root: &Path) -> (Store, ImportReport) {
    let before = tree(root);
    let store = store();
    let report = salvage(&store, root);
    assert_eq!(tree(root), before, "the source was changed");
    let out = exported(&store);
    let again = super::layout_support::store();
    let second = strict(&again, out.path()).unwrap();
    assert!(
        second
            .findings
            .iter()
            .all(|finding| accepted_after_export(finding.kind)),
        "{:?}",
        second.findings
    );
    assert_eq!(content(&again), content(&store));
    (store, report)
}

/// The first finding of a strict import.
pub(super) fn refusal(root: &Path) -> Finding {
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

/// The findings as text: a line each with kind, file, and the line, byte and length that the finding
/// has.
pub(super) fn kinds(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let number = |n: Option<u64>| n.map(|n| format!(" {n}")).unwrap_or_default();
        let name = finding.path.file_name().unwrap().to_string_lossy();
        let place = number(finding.line) + &number(finding.byte) + &number(finding.length);
        let _ = writeln!(text, "{}: {name}{place}", finding.kind);
    }
    text
}

#[test]
fn torn_directories_are_refused_as_documented() {
    let torn = unpack("directory-torn.tar.gz");
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
            Some("cut off: events.jsonl 5 517 9\n"),
        ),
        (
            "06-torn-transcript-tail",
            Some("cut off: transcript.jsonl 3 283 60\n"),
        ),
        ("07-counter-ahead-of-log", None),
        ("08-temp-file-left", None),
        (
            "09-merged-event-line",
            Some("merged line: events.jsonl 5 517 9\n"),
        ),
        (
            "10-merged-transcript-line",
            Some("merged line: transcript.jsonl 3 283 60\n"),
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

/// Of each torn directory: the intact workers, events and entries, and the findings.
const TORN: [(&str, [u64; 3], &str); 11] = [
    (
        "01-before-runtime-json",
        [0, 0, 0],
        "never initialised: runtime.json\ntemporary file: .runtime.json.tmp-4242-1\n",
    ),
    (
        "02-no-events-file",
        [0, 0, 0],
        "missing: events.jsonl\ngap: events.jsonl\n",
    ),
    (
        "03-no-worker-json",
        [0, 1, 0],
        "missing: worker.json\ntemporary file: .worker.json.tmp-4242-3\n\
            unknown worker: runtime.json 15 318\ngap: events.jsonl 2 71\n",
    ),
    (
        "04-no-transcript-file",
        [1, 1, 0],
        "missing: transcript.jsonl\ngap: events.jsonl 2 71\n",
    ),
    (
        "05-torn-event-tail",
        [1, 4, 2],
        "gap: transcript.jsonl 3 283\ncut off: events.jsonl 5 517 9\ngap: events.jsonl 5 517\n",
    ),
    (
        "06-torn-transcript-tail",
        [1, 5, 2],
        "cut off: transcript.jsonl 3 283 60\ngap: transcript.jsonl 3 283\n",
    ),
    (
        "07-counter-ahead-of-log",
        [1, 4, 2],
        "gap: transcript.jsonl 3 283\ngap: events.jsonl 5 517\n",
    ),
    (
        "08-temp-file-left",
        [1, 4, 2],
        "temporary file: .worker.json.tmp-4242-9\ngap: events.jsonl 5 517\n",
    ),
    (
        "09-merged-event-line",
        [2, 7, 4],
        "gap: transcript.jsonl 3 283\nmerged line: events.jsonl 5 517 9\ngap: events.jsonl 5 526\n",
    ),
    (
        "10-merged-transcript-line",
        [2, 8, 4],
        "merged line: transcript.jsonl 3 283 60\ngap: transcript.jsonl 3 343\n",
    ),
    (
        "11-event-lost",
        [2, 7, 4],
        "gap: transcript.jsonl 3 283\ngap: events.jsonl 5 517\n",
    ),
];

#[test]
fn torn_directories_are_salvaged_as_documented() {
    let torn = unpack("directory-torn.tar.gz");
    let mut wrong = String::new();
    for (name, counts, findings) in TORN {
        let (_, report) = salvaged(&torn.path().join(name));
        let runtime = &report.runtimes[0];
        let found = [runtime.workers, runtime.events, runtime.transcript_entries];
        let said = kinds(&report.findings);
        if (found, said.as_str()) != (counts, findings) {
            let _ = writeln!(wrong, "{name}: {found:?}\n{said}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
