//! Staging: leftovers of killed runs are removed, and all other files stay.

use super::layout_support::small;
use crate::support::{Sight, scratch};
#[cfg(feature = "fault-injection")]
use crate::support::{TestChild, tell, told_as_child};
use redb_runtime_store::Store;
use redb_runtime_store::layout::{ImportOptions, import_to_path};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use torture::crash_steps::later_release;

/// The prefixes of the staging directories that [`stage_all`] makes.
const PREFIXES: [&str; 4] = [
    ".agents.redb.partial-",
    ".agents.copy.partial-",
    ".agents.redb.v1.bak.partial-",
    ".import.tmp-",
];

/// Creates a store, backs it up, migrates it and imports one, all in `directory`.
fn stage_all(directory: &Path) {
    let path = directory.join("agents.redb");
    let store = Store::open(&path).unwrap();
    store.backup(directory.join("agents.copy")).unwrap();
    store.close().unwrap();
    drop(later_release().open(&path).unwrap());
    let (root, options) = (small(), ImportOptions::new());
    let imported = directory.join("imported.redb");
    import_to_path(root.path(), imported, &Store::options(), &options).unwrap();
}

/// Makes a staging directory as a killed run leaves it.
fn leave(path: &Path) {
    fs::create_dir(path).unwrap();
    fs::write(path.join("store"), "left by a kill").unwrap();
}

#[test]
fn leftovers_of_killed_runs_are_removed() {
    let (directory, _) = scratch();
    for prefix in PREFIXES {
        leave(&directory.path().join(format!("{prefix}Left01")));
        fs::create_dir(directory.path().join(format!("{prefix}Left02"))).unwrap();
    }
    stage_all(directory.path());
    for entry in fs::read_dir(directory.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with('.'), "{name}");
    }
}

#[test]
fn lookalikes_of_leftovers_stay_untouched() {
    let (directory, _) = scratch();
    let mut files = Vec::new();
    for prefix in PREFIXES {
        let named = |rest: &str| directory.path().join(format!("{prefix}{rest}"));
        for name in ["notes", "notes01", "note-1", "Noté1", "", "Mine01"] {
            fs::write(named(name), "mine").unwrap();
            files.push(named(name));
        }
        for name in ["drafts1", "draft", "draft_", "old.01"] {
            leave(&named(name));
            files.push(named(name).join("store"));
        }
    }
    stage_all(directory.path());
    for file in files {
        assert!(file.is_file(), "{file:?}");
    }
}

#[test]
fn stuck_leftover_blocks_no_operation() {
    let (directory, _) = scratch();
    for prefix in &PREFIXES[..3] {
        let left = directory.path().join(format!("{prefix}Left01"));
        leave(&left);
        fs::write(left.join("more"), "not ours").unwrap();
    }
    stage_all(directory.path());
    for prefix in &PREFIXES[..3] {
        let more = directory.path().join(format!("{prefix}Left01/more"));
        assert_eq!(fs::read_to_string(more).unwrap(), "not ours");
    }
}

#[test]
fn link_named_as_leftover_stays_untouched() {
    let (directory, _) = scratch();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("Target");
    leave(&target);
    let before = Sight::of(&target.join("store"));
    for prefix in PREFIXES {
        symlink(&target, directory.path().join(format!("{prefix}Link01"))).unwrap();
        let in_it = directory.path().join(format!("{prefix}Link02"));
        fs::create_dir(&in_it).unwrap();
        symlink(target.join("store"), in_it.join("store")).unwrap();
    }
    stage_all(directory.path());
    before.assert_unchanged(&target.join("store"));
    for prefix in PREFIXES {
        let link = directory.path().join(format!("{prefix}Link01"));
        assert_eq!(fs::read_link(link).unwrap(), target);
        // A link inside a leftover is removed with it.
        let in_it = directory.path().join(format!("{prefix}Link02"));
        assert!(in_it.symlink_metadata().is_err());
    }
}

#[cfg(feature = "fault-injection")]
#[test]
fn without_locks_nothing_is_a_leftover() {
    if let Some(directory) = told_as_child() {
        redb_runtime_store::steps::without_locks();
        stage_all(&directory);
        return tell("done");
    }
    let name = "staging::without_locks_nothing_is_a_leftover";
    let (directory, _) = scratch();
    // Directories of runs that still work.
    for prefix in PREFIXES {
        leave(&directory.path().join(format!("{prefix}Live01")));
    }
    let mut child = TestChild::start(name, directory.path());
    assert_eq!(child.hear().as_deref(), Some("done"));
    for prefix in PREFIXES {
        let live = directory.path().join(format!("{prefix}Live01/store"));
        assert!(live.exists(), "{live:?}");
    }
}

#[cfg(feature = "fault-injection")]
#[test]
fn store_opens_once_it_has_its_name() {
    use redb_runtime_store::steps::{Step, on_step};
    if let Some(directory) = told_as_child() {
        on_step(move |step| match step {
            Step::Renamed(_, place) if place.parent() == Some(&directory) => {
                let other = std::thread::spawn(move || Store::open(&place).map(drop));
                other.join().unwrap().unwrap();
                tell("opened");
            }
            _ => {}
        });
        return stage_all(&told_as_child().unwrap());
    }
    let name = "staging::store_opens_once_it_has_its_name";
    let (directory, _) = scratch();
    let mut child = TestChild::start(name, directory.path());
    // A new store, a backup, the copy before a migration, an import.
    for _ in 0..4 {
        assert_eq!(child.hear().as_deref(), Some("opened"));
    }
}

#[cfg(feature = "fault-injection")]
#[test]
fn placed_result_survives_failed_cleanup() {
    use redb_runtime_store::steps::{Step, on_step};
    if let Some(directory) = told_as_child() {
        on_step(move |step| {
            if let Step::Renamed(staged, place) = step
                && place.parent() == Some(&directory)
            {
                // In this case removing it fails.
                fs::remove_dir_all(staged.parent().unwrap()).unwrap();
            }
        });
        stage_all(&told_as_child().unwrap());
        return tell("done");
    }
    let name = "staging::placed_result_survives_failed_cleanup";
    let (directory, _) = scratch();
    let mut child = TestChild::start(name, directory.path());
    assert_eq!(child.hear().as_deref(), Some("done"));
    assert!(Store::open(directory.path().join("imported.redb")).is_ok());
}

#[cfg(feature = "fault-injection")]
#[test]
fn staging_directory_is_private_to_owner() {
    use redb_runtime_store::steps::{Step, on_step};
    use std::os::unix::fs::PermissionsExt;
    if let Some(directory) = told_as_child() {
        on_step(|step| {
            if let Step::CreatedDir(path) = step {
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o700, "{path:?}");
            }
        });
        stage_all(&directory);
        return tell("done");
    }
    let name = "staging::staging_directory_is_private_to_owner";
    let (directory, _) = scratch();
    let mut child = TestChild::start(name, directory.path());
    assert_eq!(child.hear().as_deref(), Some("done"));
}
