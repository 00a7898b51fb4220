//! What a salvage makes of a source that the system refuses to read.

use crate::Store;
use crate::layout::dir::source::faults::with_fault;
use crate::layout::{
    ExportOptions, Finding, FindingKind, ImportOptions, LayoutError, check, compare, export, import,
};
use rustix::io::Errno;
use std::fs;
use std::path::{Path, PathBuf};

const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/small/runtimes");

/// Copies a directory, with `demo` in its files named otherwise.
fn copy(from: &Path, to: &Path, id: &str) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target, id),
            false => {
                let text = fs::read_to_string(&path).unwrap();
                fs::write(target, text.replace("\"demo\"", id)).unwrap();
            }
        }
    }
}

/// The small directory, and beside it the same runtime under another id.
fn two_runtimes() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let runtimes = dir.path().join("runtimes");
    let small = Path::new(SMALL).join("id-64656d6f");
    copy(&small, &runtimes.join("id-64656d6f"), "\"demo\"");
    copy(&small, &runtimes.join("id-64656d70"), "\"demp\"");
    let bad = runtimes.join("id-64656d6f");
    (dir, bad)
}

#[test]
fn wherever_the_system_refuses_to_read_the_rest_is_salvaged() {
    let (dir, bad) = two_runtimes();
    let mut accesses = 0;
    loop {
        let store = Store::in_memory().unwrap();
        let has_failed = with_fault(&bad, (accesses, Errno::IO), || {
            let options = ImportOptions::new().salvage(true);
            let report = import(&store, dir.path(), &options).unwrap();
            let is_said = |finding: &Finding| {
                finding.kind == FindingKind::Unreadable && finding.path.starts_with(&bad)
            };
            let all_read = report.runtimes.len() == 2 && report.findings.is_empty();
            assert!(
                all_read || report.findings.iter().any(is_said),
                "{report:?}"
            );
            let other = report
                .runtimes
                .iter()
                .find(|r| r.runtime_id.as_str() == "demp");
            assert_eq!(
                other.map(|other| (other.workers, other.events)),
                Some((2, 8))
            );
        });
        let out = tempfile::tempdir().unwrap();
        export(&store, out.path(), ExportOptions::new()).unwrap();
        check(out.path(), ImportOptions::new()).unwrap();
        if !has_failed {
            break;
        }
        accesses += 1;
    }
    assert!(accesses > 30, "{accesses}");
    // In a strict import it is an error.
    with_fault(&bad, (accesses / 2, Errno::IO), || {
        let error = check(dir.path(), ImportOptions::new()).unwrap_err();
        assert!(matches!(error, LayoutError::Io { .. }), "{error}");
    });
}

#[test]
fn shortage_of_the_process_is_never_salvaged() {
    let (dir, bad) = two_runtimes();
    let imported = Store::in_memory().unwrap();
    import(&imported, dir.path(), ImportOptions::new()).unwrap();
    for error in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS] {
        let mut accesses = 0;
        while with_fault(&bad, (accesses, error), || {
            let options = ImportOptions::new().salvage(true);
            let store = Store::in_memory().unwrap();
            match import(&store, dir.path(), &options) {
                Err(LayoutError::Io { source, .. }) => {
                    assert_eq!(source.raw_os_error(), Some(error.raw_os_error()));
                }
                // The last round has no fault.
                Ok(report) if accesses > 30 => assert_eq!(report.findings, []),
                other => panic!("access {accesses}, {error}: {other:?}"),
            }
        }) {
            accesses += 1;
        }
        let mut accesses = 0;
        while with_fault(&bad, (accesses, error), || {
            match compare(&imported, dir.path()) {
                Err(LayoutError::Io { path, .. }) => assert!(path.starts_with(&bad)),
                Ok(same) if accesses > 30 => assert!(same.is_same()),
                other => panic!("access {accesses}, {error}: {other:?}"),
            }
        }) {
            accesses += 1;
        }
    }
}
