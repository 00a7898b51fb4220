//! The file of an open store is deleted, replaced or renamed.

use crate::support::{
    TestChild, all_events, assert_refused, named, say, scratch, tell, told_as_child, worker_ref,
};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::store::Sharing;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::path::Path;

const MODES: [Sharing; 3] = [Sharing::OneWriter, Sharing::Exclusive, Sharing::ManyWriters];

fn open(path: &Path, sharing: Sharing) -> (Store, Runtime) {
    let store = Store::options().sharing(sharing).open(path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    if runtime.list_workers().unwrap().is_empty() {
        runtime.create_worker(Default::default()).unwrap();
    }
    (store, runtime)
}

fn send(runtime: &Runtime) -> Result<u64, RuntimeError> {
    say(runtime, &worker_ref("r", "worker-00000001"), "x")
}

/// Asserts that one write, which `write` makes, is uncertain, and that no later one is in the old file.
fn assert_moved(
    store: &Store,
    runtime: &Runtime,
    write: impl FnOnce(&Store, &Runtime) -> Result<(), RuntimeError>,
) {
    let before = all_events(runtime).len();
    assert_refused!(
        write(store, runtime),
        RuntimeError::StoreMoved {
            is_uncertain: true,
            ..
        }
    );
    macro_rules! assert_later {
        ($($write:expr),* $(,)?) => {
            $(assert_refused!(
                $write,
                RuntimeError::StoreMoved { is_uncertain: false, .. }
            );)*
        };
    }
    assert_later!(
        send(runtime),
        runtime
            .submit(|tx| tx.create_worker(Default::default()))
            .wait(),
        store.bulk_load(|_| Ok::<(), RuntimeError>(())),
        store.compact(),
    );
    // Reads return the rows of the old file, with the batch that is in no acknowledged state.
    let after = all_events(runtime).len();
    assert!((before..=before + 1).contains(&after), "{before} {after}");
}

#[test]
fn write_to_deleted_file_is_never_acknowledged() {
    for sharing in MODES {
        let (_directory, path) = scratch();
        let (store, runtime) = open(&path, sharing);
        std::fs::remove_file(&path).unwrap();
        assert_moved(&store, &runtime, |_, runtime| send(runtime).map(|_| ()));
        // The path is free for a new store, in the same process.
        let (_new, runtime) = open(&path, sharing);
        send(&runtime).unwrap();
    }
}

#[test]
fn write_to_replaced_file_is_never_acknowledged() {
    for sharing in MODES {
        let (_directory, path) = scratch();
        let (store, runtime) = open(&path, sharing);
        let copy = path.with_extension("copy");
        store.backup(&copy).unwrap();
        // The old file keeps a name, so that its links do not show the move.
        std::fs::hard_link(&path, path.with_extension("old")).unwrap();
        std::fs::rename(&copy, &path).unwrap();
        let submit = |_: &Store, runtime: &Runtime| {
            let worker = worker_ref("r", "worker-00000001");
            let sent = runtime.submit(move |tx| tx.send_input(&worker, WorkerInput::user("x")));
            sent.wait().map(|_| ())
        };
        assert_moved(&store, &runtime, submit);
        let (_new, runtime) = open(&path, sharing);
        assert_eq!(all_events(&runtime).len(), 2);
        send(&runtime).unwrap();
    }
}

#[test]
fn load_and_compaction_of_deleted_file_fail() {
    for sharing in MODES {
        type Job = fn(&Store) -> Result<(), RuntimeError>;
        let jobs: [Job; 2] = [
            |store| store.bulk_load(|_| Ok(())),
            |store| store.compact().map(|_| ()),
        ];
        for job in jobs {
            let (_directory, path) = scratch();
            let (store, runtime) = open(&path, sharing);
            std::fs::remove_file(&path).unwrap();
            assert_moved(&store, &runtime, |store, _| job(store));
        }
    }
}

#[test]
fn renamed_file_or_directory_is_written_to() {
    for sharing in MODES {
        let (directory, _) = scratch();
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        std::fs::create_dir(&old).unwrap();
        let (store, runtime) = open(&old.join("s.redb"), sharing);
        std::fs::rename(&old, &new).unwrap();
        send(&runtime).unwrap();
        std::fs::rename(new.join("s.redb"), new.join("t.redb")).unwrap();
        send(&runtime).unwrap();
        store.compact().unwrap();
        // Another store at the old path has moved nothing, as long as one path that this process used
        // leads to the file.
        std::fs::create_dir(&old).unwrap();
        let again = Store::options()
            .sharing(sharing)
            .open(new.join("t.redb"))
            .unwrap();
        Store::open(old.join("s.redb")).unwrap();
        send(&runtime).unwrap();
        store.close().unwrap();
        drop(again);
        let (_store, runtime) = open(&new.join("t.redb"), sharing);
        assert_eq!(all_events(&runtime).len(), 5);
    }
}

/// A host in a process of its own sends inputs until its store ends.
fn be_host(told: &Path) {
    let many = told
        .extension()
        .is_some_and(|extension| extension == "many");
    let sharing = match many {
        true => Sharing::ManyWriters,
        false => Sharing::OneWriter,
    };
    let (_store, runtime) = open(told, sharing);
    loop {
        match send(&runtime) {
            Ok(_) => tell("ack"),
            Err(RuntimeError::StoreMoved { is_uncertain, .. }) => {
                return tell(&format!("moved {is_uncertain}"));
            }
            Err(other) => return tell(&format!("{other:?}")),
        }
    }
}

#[test]
fn live_host_learns_that_its_file_moved() {
    let name = "moving::live_host_learns_that_its_file_moved";
    if let Some(told) = told_as_child() {
        return be_host(&told);
    }
    for mode in ["one", "many"] {
        for is_replaced in [false, true] {
            let (directory, _) = scratch();
            let path = directory.path().join(format!("store.{mode}"));
            let (old, new) = (path.with_extension("old"), path.with_extension("new"));
            drop(Store::open(&new).unwrap());
            let mut host = TestChild::start(name, &path);
            let mut acknowledged = 0;
            while acknowledged < 20 {
                assert_eq!(host.hear().as_deref(), Some("ack"));
                acknowledged += 1;
            }
            if is_replaced {
                // The old file keeps a name for the count below.
                std::fs::hard_link(&path, &old).unwrap();
                std::fs::rename(&new, &path).unwrap();
            } else {
                std::fs::remove_file(&path).unwrap();
            }
            let last = loop {
                match host.hear().unwrap().as_str() {
                    // One commit may have been under way.
                    "ack" if acknowledged < 1000 => acknowledged += 1,
                    other => break other.to_owned(),
                }
            };
            assert_eq!(last, "moved true", "{mode}");
            host.child.wait().unwrap();
            if is_replaced {
                let (_store, runtime) = open(&old, Sharing::OneWriter);
                // The runtime, its worker, the acknowledged inputs and the uncertain one.
                assert_eq!(all_events(&runtime).len(), 2 + acknowledged + 1, "{mode}");
            }
        }
    }
}

#[test]
fn file_deleted_while_it_opens_takes_no_write() {
    for sharing in [Sharing::OneWriter, Sharing::Exclusive] {
        let (_directory, path) = scratch();
        let (store, _runtime) = open(&path, sharing);
        // A copy of an open file was not closed: its open repairs it.
        let copy = path.with_extension("copy");
        std::fs::copy(&path, &copy).unwrap();
        store.close().unwrap();
        let deleted = copy.clone();
        let options = Store::options().sharing(sharing).on_repair(move |_| {
            let _ = std::fs::remove_file(&deleted);
            std::ops::ControlFlow::Continue(())
        });
        let store = options.open(&copy).unwrap();
        assert!(!copy.exists());
        let runtime = store.runtime(named("r")).unwrap();
        assert_refused!(send(&runtime), RuntimeError::StoreMoved { .. });
    }
}
