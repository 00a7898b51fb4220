//! Random directories.
//!
//! `LAYOUT_SEED` replays one directory, `LAYOUT_COUNT` sets how many; without it `SUITE_SEED` counts.

use super::layout_bytes::{changed, write};
use super::layout_support::*;
use crate::support::seed;
use redb_runtime_store::layout::{
    ExportOptions, Finding, FindingKind, ImportOptions, LayoutError, check, compare, export,
};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A directory in memory if the system has one, where syncs cost nothing.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn number_from(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// splitmix64: the bytes of one directory.
fn bytes_of(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..16).flat_map(|_| next().to_le_bytes()).collect()
}

/// Asserts the guarantees for any directory. Returns whether a strict import accepts it.
fn holds_for(root: &Path) -> bool {
    let salvaged = store();
    let report = salvage(&salvaged, root);
    let accepted = match check(root, ImportOptions::new()) {
        Ok(checked) => {
            assert_eq!(checked, report);
            assert!(
                report
                    .findings
                    .iter()
                    .all(|finding| finding.kind.is_accepted())
            );
            let strictly = store();
            assert_eq!(strict(&strictly, root).unwrap(), report);
            assert_eq!(content(&strictly), content(&salvaged));
            let comparison = compare(&strictly, root).unwrap();
            assert!(comparison.is_same(), "{:?}", comparison.differences);
            true
        }
        Err(LayoutError::Refused { findings, .. }) => {
            assert!(!findings.is_empty());
            for refused in findings {
                assert!(!refused.kind.is_accepted());
                // A salvage reads a log out of order as a whole, and can find another of its records to be the wrong
                // one. Of a document behind a byte-order mark it leaves out the mark alone.
                let is_told_otherwise = matches!(
                    refused.kind,
                    FindingKind::NotIncreasing | FindingKind::InvalidDocument
                );
                // A line can also be wrong for two reasons.
                let is_of_file = |finding: &Finding| {
                    finding.path == refused.path
                        && (finding.kind == refused.kind || finding.byte == refused.byte)
                };
                assert!(
                    report.findings.contains(&refused)
                        || is_told_otherwise && report.findings.iter().any(is_of_file),
                    "{refused} is not salvaged"
                );
            }
            false
        }
        Err(error) => panic!("{error}"),
    };
    let out = scratch();
    export(&salvaged, out.path(), ExportOptions::new()).unwrap();
    let exported = check(out.path(), ImportOptions::new()).unwrap();
    assert!(
        exported
            .findings
            .iter()
            .all(|finding| accepted_after_export(finding.kind))
    );
    let comparison = compare(&salvaged, out.path()).unwrap();
    assert!(comparison.is_same(), "{:?}", comparison.differences);
    accepted
}

#[test]
fn any_directory_imports_after_salvage() {
    let seed = number_from("LAYOUT_SEED", seed());
    let count = number_from("LAYOUT_COUNT", 20_000);
    println!("LAYOUT_SEED={seed} LAYOUT_COUNT={count}");
    let threads = 2;
    let accepted: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mine = (seed..seed.saturating_add(count))
                        .skip(thread)
                        .step_by(threads);
                    mine.filter(|seed| one_of(*seed)).count() as u64
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    // If nearly all were rejected or accepted, the random changes would test little.
    println!("{accepted} of {count} accepted");
    assert!(
        count < 1000 || (count / 20..count / 2).contains(&accepted),
        "{accepted}"
    );
}

fn one_of(seed: u64) -> bool {
    let dir = scratch();
    write(dir.path(), &changed(&bytes_of(seed))).unwrap();
    let held = std::panic::catch_unwind(|| holds_for(dir.path()));
    held.unwrap_or_else(|_| panic!("LAYOUT_SEED={seed} LAYOUT_COUNT=1 replays it"))
}

/// Truncates a log at every byte: a salvage imports every record before the cut, and reports the exact
/// range of the bytes after the last of them.
#[test]
fn log_cut_anywhere_keeps_earlier_records() {
    let runtime = runtime_dir(SMALL.as_ref());
    for (index, log) in [
        runtime.join("events.jsonl"),
        worker_dir(SMALL.as_ref(), 1).join("transcript.jsonl"),
    ]
    .into_iter()
    .enumerate()
    {
        let whole = fs::read(&log).unwrap();
        let relative = log.strip_prefix(SMALL).unwrap();
        let dir = scratch();
        copy(SMALL.as_ref(), dir.path());
        for cut in 0..=whole.len() {
            let path = dir.path().join(relative);
            fs::write(&path, &whole[..cut]).unwrap();
            let store = store();
            let report = salvage(&store, dir.path());
            let runtime = &report.runtimes[0];
            let kept = [runtime.events, runtime.transcript_entries][index];
            // A record is complete with or without its newline.
            let ends = (0..=whole.len()).filter(|end| whole.get(*end) == Some(&b'\n'));
            let before: Vec<usize> = ends.filter(|end| *end <= cut).collect();
            let others = if index == 0 { 0 } else { 1 };
            assert_eq!(
                kept,
                before.len() as u64 + others,
                "{} cut at {cut}",
                log.display()
            );
            let last = before.last().map_or(0, |end| (end + 1).min(cut));
            let dropped: Vec<_> = report
                .findings
                .iter()
                .filter(|finding| finding.kind == FindingKind::CutOff)
                .map(|finding| (finding.path.clone(), finding.byte, finding.length))
                .collect();
            match cut - last {
                0 => assert_eq!(dropped, []),
                n => assert_eq!(dropped, [(path, Some(last as u64), Some(n as u64))]),
            }
            let accepted = report
                .findings
                .iter()
                .all(|finding| finding.kind.is_accepted());
            assert_eq!(accepted, cut == last, "{} cut at {cut}", log.display());
        }
    }
}
