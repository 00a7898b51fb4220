//! Every sync of a file of ours goes through `steps`.
//!
//! The crash tests interrupt the library at each step that `steps` reports. A sync that bypasses it is
//! a step that no crash test ever reaches.

use crate::modules::Sources;

/// Calls that bring data to the disk.
const CALLS: [&str; 5] = [
    "fsync",
    "fdatasync",
    "sync_all",
    "sync_data",
    "Step::Synced",
];

/// Where the calls are made. In any folder: the file's name counts.
const STEPS: &str = "steps.rs";

/// Lines of `steps.rs` that may make them.
const ALLOWED: [&str; 2] = [
    "File::from(file.as_fd().try_clone_to_owned()?).sync_all()?;",
    "step(|| Step::Synced(path.to_owned()));",
];

/// Storage backends below redb, by name of their file: they pass `sync_data` on to the file; and the pass that erases
/// through one of them.
const UNDER_REDB: [&str; 10] = [
    "checked_pages.rs",
    "erase.rs",
    "one_sync.rs",
    "page_check.rs",
    "shared_file.rs",
    "staged_backend.rs",
    "watched.rs",
    "recovered.rs",
    "tolerant.rs",
    "write_gate.rs",
];

/// The file of the program that writes a file of its own, which is no part of a store: no crash test of the library reaches it.
const OF_PROGRAM: &str = "src/bin/runtime-store/report/destination.rs";

/// The engine that has no file: its lines name settings of the server.
const ON_SERVER: &str = "src/engine/postgres/";

/// Every sync that bypasses the steps.
pub(crate) fn violations(sources: &Sources) -> Vec<String> {
    let mut found = Vec::new();
    let mut allowed = 0;
    for file in &sources.files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        for (number, line) in file.text.lines().enumerate() {
            let line = line.trim();
            let is_call = CALLS.iter().any(|call| line.contains(call)) && !line.starts_with("//");
            let is_under_redb = UNDER_REDB.contains(&name) && line.contains("sync_data");
            let is_elsewhere = file.path == OF_PROGRAM || file.path.starts_with(ON_SERVER);
            if !is_call || is_under_redb || is_elsewhere {
                continue;
            }
            match name == STEPS && ALLOWED.contains(&line) {
                true => allowed += 1,
                false => {
                    let (path, number) = (&file.path, number + 1);
                    found.push(format!(
                        "{path}:{number}: a sync that bypasses steps: {line}"
                    ));
                }
            }
        }
    }
    if allowed != ALLOWED.len() {
        found.push(format!(
            "{STEPS}: {allowed} of the {} lines that sync and report it",
            ALLOWED.len()
        ));
    }
    found
}
