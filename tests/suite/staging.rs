//! Staging: leftovers of killed runs are removed, and all other files stay.

use super::layout_support::small;
use crate::support::{Sight, scratch};
#[cfg(feature = "fault-injection")]
use crate::support::{TestChild, tell, told_as_child};
use redb_runtime_store::Store;
use redb_runtime_store::layout::{ImportOptions, import_to_path};
use std::fs::{self, DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;
use torture::crash_steps::later_release;

/// The prefixes of the staging directories that [`stage_all`] makes.
const PREFIXES: [&str; 4] = [
    ".agents.redb.partial-",
    ".agents.copy.partial-",
    ".agents.redb.v2.bak.partial-",
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

/// A staging directory as redb leaves it where it is killed, for a file that no later run names.
fn leave_of_redb(path: &Path, begin: &[u8]) {
    DirBuilder::new().mode(0o700).create(path).unwrap();
    fs::write(path.join("store"), [begin, &[0; 100]].concat()).unwrap();
}

#[test]
fn each_run_removes_leftovers_of_other_names() {
    let (directory, path) = scratch();
    let at = |name: &str| directory.path().join(name);
    let store = Store::open(&path).unwrap();
    let backup = || {
        store.backup(at("agents-2026-11-09")).unwrap();
    };
    let create = || drop(Store::open(at("created.redb")).unwrap());
    let migrate = || drop(later_release().open(at("created.redb")).unwrap());
    let runs: [&dyn Fn(); 3] = [&backup, &create, &migrate];
    for run in runs {
        let dead = [
            at(".agents-2026-11-01.partial-Left01"),
            at(".x.partial-Left02"),
        ];
        leave_of_redb(&dead[0], b"redb\x1a\n");
        leave_of_redb(&dead[1], b"\0\0\0\0");
        DirBuilder::new()
            .mode(0o700)
            .create(at(".y.partial-Left03"))
            .unwrap();
        let live = at(".agents-2026-11-02.partial-Live01");
        leave_of_redb(&live, b"redb");
        let open = File::open(&live).unwrap();
        open.lock().unwrap();
        // Another program's, under names that ours could have.
        let foreign = [
            at(".a.partial-Other1"),
            at(".a.partial-Other2"),
            at(".a.partial-Other3"),
        ];
        leave_of_redb(&foreign[0], b"a note");
        leave_of_redb(&foreign[1], b"redb");
        fs::write(foreign[1].join("more"), "not ours").unwrap();
        leave_of_redb(&foreign[2], b"redb");
        fs::set_permissions(&foreign[2], Permissions::from_mode(0o755)).unwrap();
        run();
        for dead in dead.iter().chain([&at(".y.partial-Left03")]) {
            assert!(!dead.exists(), "{dead:?}");
        }
        for kept in foreign.iter().chain([&live]) {
            assert!(kept.join("store").is_file(), "{kept:?}");
            fs::remove_dir_all(kept).unwrap();
        }
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
    for prefix in &PREFIXES {
        let left = directory.path().join(format!("{prefix}Left01"));
        leave(&left);
        fs::write(left.join("more"), "not ours").unwrap();
    }
    stage_all(directory.path());
    for prefix in &PREFIXES {
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

#[cfg(feature = "fault-injection")]
#[test]
fn failed_import_into_new_store_is_certain() {
    use redb_runtime_store::RuntimeError;
    use redb_runtime_store::layout::LayoutError;
    use redb_runtime_store::store::FileAccess;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (directory, path) = scratch();
    let (root, full) = (small(), 28);
    for stop in 0.. {
        let changes = AtomicUsize::new(0);
        let on_full_disk = Store::options().on_access(move |access| match access {
            FileAccess::Read => Ok(()),
            _ if changes.fetch_add(1, Ordering::Relaxed) < stop => Ok(()),
            _ => Err(std::io::Error::from_raw_os_error(full)),
        });
        match import_to_path(root.path(), &path, &on_full_disk, ImportOptions::new()) {
            Ok(_) => {
                assert!(stop > 5, "{stop}");
                break;
            }
            // Of the path that the caller knows: the staged file is gone.
            Err(LayoutError::Store(RuntimeError::StoreIo {
                path: named,
                source,
                ..
            })) => {
                assert_eq!(named, path);
                assert!(source.to_string().contains("No space left"), "{source:?}");
            }
            Err(error) => panic!("change {stop}: {error:?}"),
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

/// In a child, lets every sync fail that follows a move to a name in `directory` or below it.
#[cfg(feature = "fault-injection")]
fn fail_syncs_after_moves(directory: &Path) {
    use redb_runtime_store::steps::{Change, Step, on_change, on_step};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let has_moved = Arc::new(AtomicBool::new(false));
    let (moved, directory) = (Arc::clone(&has_moved), directory.to_owned());
    on_step(move |step| {
        if let Step::Renamed(_, to) | Step::Exchanged(_, to) = step {
            let is_place = to.starts_with(&directory) && !to.ends_with("store");
            moved.store(is_place, Ordering::Relaxed);
        }
    });
    on_change(move |change| {
        match change == Change::Sync && has_moved.swap(false, Ordering::Relaxed) {
            true => Err(std::io::Error::from_raw_os_error(5)),
            false => Ok(()),
        }
    });
}

#[cfg(feature = "fault-injection")]
#[test]
fn result_in_place_is_never_called_failed() {
    use redb_runtime_store::RuntimeError;
    use redb_runtime_store::layout::{
        ExistingDirectory, ExportOptions, LayoutError, compare, export,
    };
    if let Some(directory) = told_as_child() {
        let at = |name: &str| directory.join(name);
        let store = Store::open(at("agents.redb")).unwrap();
        redb_runtime_store::layout::import(&store, small().path(), ImportOptions::new()).unwrap();
        fail_syncs_after_moves(&directory);
        let uncertain = |error| match error {
            RuntimeError::DurabilityUncertain { place, .. } => place.as_path().unwrap().to_owned(),
            error => panic!("{error:?}"),
        };
        let copy = at("copy.redb");
        assert_eq!(uncertain(store.backup(&copy).unwrap_err()), copy);
        assert_eq!(Store::open(&copy).unwrap().runtimes().unwrap().len(), 1);
        let created = at("created.redb");
        assert_eq!(uncertain(Store::open(&created).unwrap_err()), created);
        assert!(
            Store::open(&created)
                .unwrap()
                .runtimes()
                .unwrap()
                .is_empty()
        );
        let imported = at("imported.redb");
        // The store is created in the staging directory, which moves a file too.
        match import_to_path(
            small().path(),
            &imported,
            &Store::options(),
            ImportOptions::new(),
        ) {
            Err(LayoutError::Store(error)) => assert_eq!(uncertain(error), imported),
            other => panic!("{other:?}"),
        }
        assert_eq!(Store::open(&imported).unwrap().runtimes().unwrap().len(), 1);
        for existing in [ExistingDirectory::Refuse, ExistingDirectory::Replace] {
            let options = ExportOptions::new().existing(existing);
            match export(&store, at("root"), options) {
                Err(LayoutError::DurabilityUncertain { path, .. }) => {
                    assert_eq!(path, at("root/runtimes"));
                }
                other => panic!("{other:?}"),
            }
            assert!(compare(&store, at("root")).unwrap().is_same());
        }
        // The directory that was replaced may be the only one after a power loss.
        assert_eq!(fs::read_dir(at("root/runtimes")).unwrap().count(), 2);
        return tell("done");
    }
    let name = "staging::result_in_place_is_never_called_failed";
    let (directory, _) = scratch();
    let mut child = TestChild::start(name, directory.path());
    assert_eq!(child.hear().as_deref(), Some("done"));
}
