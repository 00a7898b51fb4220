//! Random directories.
//!
//! `LAYOUT_SEED` replays one directory, `LAYOUT_COUNT` sets how many; without it `SUITE_SEED` counts.

use super::layout_bytes::{Files, changed, read, whole, write};
use super::layout_later::{FORMS, of_form};
use super::layout_support::*;
use crate::hosts::{CUT_STEP, DIRECTORIES};
use crate::support::seed;
use redb_runtime_store::Store;
use redb_runtime_store::layout::{
    ExportOptions, Finding, FindingKind, ImportOptions, ImportReport, LayoutError, check, compare,
    export, import,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// A whole directory of each form.
fn forms() -> &'static [Files] {
    static FOUND: OnceLock<Vec<Files>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let later = FORMS[1..].iter();
        let later = later.map(|(name, _)| read(of_form(name).path()).unwrap());
        std::iter::once(whole()).chain(later).collect()
    })
}

/// Asserts the guarantees for any directory. Returns whether a strict import accepts it.
fn holds_for(root: &Path) -> bool {
    let salvaged = store();
    let report = match import(&salvaged, root, ImportOptions::new().salvage(true)) {
        // A runtime in the root that lost its document and its log is no directory, and one that got `runtimes` is two.
        Err(LayoutError::NoLayout { .. } | LayoutError::TwoLayouts { .. }) => return false,
        done => done.unwrap(),
    };
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
    let count = number_from("LAYOUT_COUNT", DIRECTORIES);
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
    write(dir.path(), &changed(forms(), &bytes_of(seed))).unwrap();
    let held = std::panic::catch_unwind(|| holds_for(dir.path()));
    held.unwrap_or_else(|_| panic!("LAYOUT_SEED={seed} LAYOUT_COUNT=1 replays it"))
}

/// The files of a name in a directory.
fn named(root: &Path, name: &str) -> Vec<PathBuf> {
    let files = tree(root).into_keys();
    files.filter(|path| path.ends_with(name)).collect()
}

/// The first transcript and the event log of every form that has them.
fn logs() -> Vec<(&'static str, PathBuf)> {
    let of = |(name, _): (&'static str, _)| {
        let dir = of_form(name);
        let first = |log| named(dir.path(), log).into_iter().next();
        let found = [first("events.jsonl"), first("transcript.jsonl")];
        found.map(|log| log.map(|log| (name, log)))
    };
    FORMS.into_iter().flat_map(of).flatten().collect()
}

/// Runs `each` for every item, on two threads.
fn on_two_threads<T: Sync>(items: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(item);
                }
            });
        }
    });
}

/// The rows of a report: workers, events, entries.
fn rows(report: &ImportReport) -> [u64; 3] {
    let runtime = &report.runtimes[0];
    [runtime.workers, runtime.events, runtime.transcript_entries]
}

/// A directory with a file that is cut off, salvaged.
struct Cut<'c> {
    /// The directory and the file, for messages.
    at: String,
    path: &'c Path,
    /// The file as it was.
    whole: &'c [u8],
    /// Its length now.
    length: usize,
    /// The rows of the whole directory.
    all: [u64; 3],
    store: Store,
    report: ImportReport,
}

/// Cuts each of `files` off at every byte: files of directories of forms.
fn at_every_cut(files: &[(&'static str, PathBuf)], check: impl Fn(&Cut<'_>) + Sync) {
    on_two_threads(files, |(name, relative)| {
        let (from, dir) = (of_form(name), scratch());
        copy(from.path(), dir.path());
        let all = rows(&salvage(&store(), dir.path()));
        let path = dir.path().join(relative);
        let whole = fs::read(&path).unwrap();
        for length in (0..=whole.len()).rev().step_by(CUT_STEP) {
            fs::write(&path, &whole[..length]).unwrap();
            let store = store();
            let report = salvage(&store, dir.path());
            check(&Cut {
                at: format!("{name}: {} cut at {length}", relative.display()),
                path: &path,
                whole: &whole,
                length,
                all,
                store,
                report,
            });
        }
    });
}

/// Truncates a log at every byte: a salvage imports every record before the cut, and reports the exact
/// range of the bytes after the last of them.
#[test]
fn log_cut_anywhere_keeps_earlier_records() {
    let logs = logs();
    assert_eq!(logs.len(), 10, "{logs:?}");
    at_every_cut(&logs, |cut| {
        let (at, findings) = (&cut.at, &cut.report.findings);
        // A record is complete with or without its newline.
        let ends = (0..=cut.whole.len()).filter(|end| cut.whole.get(*end) == Some(&b'\n'));
        let (before, after): (Vec<_>, Vec<_>) = ends.partition(|end| *end <= cut.length);
        let mut expected = cut.all;
        expected[1 + usize::from(cut.path.ends_with("transcript.jsonl"))] -= after.len() as u64;
        assert_eq!(rows(&cut.report), expected, "{at}");
        let last = before.last().map_or(0, |end| (end + 1).min(cut.length));
        let dropped: Vec<_> = findings
            .iter()
            .filter(|finding| finding.kind == FindingKind::CutOff)
            .map(|finding| (finding.path.as_path(), finding.byte, finding.length))
            .collect();
        match cut.length - last {
            0 => assert_eq!(dropped, [], "{at}"),
            n => assert_eq!(dropped, [(cut.path, Some(last as u64), Some(n as u64))]),
        }
        let accepted = findings.iter().all(|finding| finding.kind.is_accepted());
        assert_eq!(accepted, cut.length == last, "{at}");
    });
}

/// Truncates a document at every byte: a salvage imports all rows, and what it made is imported strictly.
#[test]
fn document_cut_anywhere_keeps_all_rows() {
    let of = |(name, _): (&'static str, _)| {
        let dir = of_form(name);
        let first = |document| named(dir.path(), document).swap_remove(0);
        [first("runtime.json"), first("worker.json")].map(|path| (name, path))
    };
    let documents: Vec<_> = FORMS.into_iter().flat_map(of).collect();
    at_every_cut(&documents, |cut| {
        let at = &cut.at;
        assert_eq!(rows(&cut.report), cut.all, "{at}");
        let rebuilt = |finding: &Finding| finding.kind == FindingKind::Rebuilt;
        // The newline at the end is no part of the document.
        let is_whole = cut.length + 1 >= cut.whole.len();
        let has_rebuilt = cut.report.findings.iter().any(rebuilt);
        assert_eq!(has_rebuilt, !is_whole, "{at}");
        // An export and another import take most of the time.
        if cut.length % 8 != 0 {
            return;
        }
        let out = scratch();
        export(&cut.store, out.path(), ExportOptions::new()).unwrap();
        let again = check(out.path(), ImportOptions::new()).unwrap();
        assert_eq!(rows(&again), cut.all, "{at}");
    });
}
