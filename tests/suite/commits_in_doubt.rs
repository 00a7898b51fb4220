//! Commits that a power loss leaves in doubt: the special ones, and the releases and processes around them.

use crate::sharing::{as_child, child, first_worker, wait_to_be_killed};
use crate::support::{all_entries, named, runtime_id, say, scratch, seed, tell};
use redb_runtime_store::Store;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::store::{CommitSyncs, Sharing};
use torture::disk::Disk;
use torture::one_commit::{Open, Step, check, images_of_commit};
use torture::rng::Rng;

/// The images of each commit and mode of sharing.
const IMAGES: usize = 120;

const SHARINGS: [Sharing; 2] = [Sharing::OneWriter, Sharing::Exclusive];

/// Opens every image of a power loss in `commit`, after `prepare`.
#[track_caller]
fn assert_survives(open: Open<'_>, prepare: Step<'_>, commit: Step<'_>) {
    let seed = seed();
    for sharing in SHARINGS {
        let mut rng = Rng::new(seed);
        let steps = (prepare, commit);
        let images = images_of_commit(sharing, open, steps, (IMAGES, false), &mut rng).unwrap();
        for (number, lost) in images.iter().enumerate() {
            if let Err(violation) = check(lost, open) {
                panic!("seed {seed}, {sharing:?}, image {number}: {violation}");
            }
        }
    }
}

fn open(disk: &Disk) -> Result<Store, RuntimeError> {
    torture::workload::open(disk)
}

fn nothing(_: &Store) -> Result<(), RuntimeError> {
    Ok(())
}

/// Adds `inputs` inputs of `bytes` in one commit.
fn fill(store: &Store, id: &str, inputs: usize, bytes: usize) -> Result<(), RuntimeError> {
    let text = "x".repeat(bytes);
    store.runtime(named(id))?.transaction(|tx| {
        let worker = tx.create_worker(CreateWorkerRequest::default())?.worker_ref;
        (0..inputs).try_for_each(|_| {
            tx.send_input(&worker, WorkerInput::user(text.clone()))
                .map(drop)
        })
    })
}

fn small(store: &Store) -> Result<(), RuntimeError> {
    fill(store, "r", 1, 100)
}

fn remove(store: &Store) -> Result<(), RuntimeError> {
    store.bulk_load(|load| load.remove_runtime(&runtime_id("r")))
}

#[test]
fn first_commit_of_a_new_store_is_atomic() {
    assert_survives(&open, &nothing, &|store| {
        store.runtime(named("r")).map(drop)
    });
}

#[test]
fn first_commit_after_a_migration_is_atomic() {
    let later = |disk: &Disk| {
        let options = torture::crash_steps::later_release();
        options.sharing(disk.sharing()).open_backend(disk.clone())
    };
    let opened = |disk: &Disk| {
        if disk.position() == 0 && torture::pages::Pages::is_empty(&disk.content()) {
            small(&open(disk)?)?;
        }
        later(disk)
    };
    assert_survives(&opened, &nothing, &small);
}

#[test]
fn first_commit_after_a_compaction_is_atomic() {
    let prepare = |store: &Store| {
        fill(store, "r", 10, 50_000)?;
        fill(store, "other", 10, 500)?;
        remove(store)?;
        store.compact().map(drop)
    };
    assert_survives(&open, &prepare, &|store| fill(store, "other", 1, 100));
}

#[test]
fn compaction_is_atomic() {
    let prepare = |store: &Store| {
        fill(store, "r", 10, 50_000)?;
        fill(store, "other", 10, 500)?;
        remove(store)
    };
    assert_survives(&open, &prepare, &|store| store.compact().map(drop));
}

#[test]
fn commit_that_only_frees_is_atomic() {
    assert_survives(&open, &|store| fill(store, "r", 20, 3_000), &remove);
}

#[test]
fn commits_around_the_limits_are_atomic() {
    for bytes in [1 << 20, 4 << 20] {
        for inputs in [1, 64] {
            for more in [0, 1] {
                let part = bytes / inputs - 200 + more * 400;
                assert_survives(&open, &small, &|store| fill(store, "r", inputs, part));
            }
        }
    }
}

#[test]
fn commit_that_grows_the_file_is_atomic() {
    assert_survives(&open, &small, &|store| fill(store, "r", 10, 90_000));
}

fn two_syncs(disk: &Disk) -> Result<Store, RuntimeError> {
    let options = Store::options().sharing(disk.sharing());
    options
        .commit_syncs(CommitSyncs::Two)
        .open_backend(disk.clone())
}

#[test]
fn plain_redb_opens_a_commit_in_doubt() {
    let seed = seed();
    for sharing in SHARINGS {
        let mut rng = Rng::new(seed);
        let steps: (Step<'_>, Step<'_>) = (&small, &small);
        // redb relies on sectors that never tear.
        let images = images_of_commit(sharing, &open, steps, (300, true), &mut rng).unwrap();
        for (number, lost) in images.iter().enumerate() {
            let context = format!("seed {seed}, {sharing:?}, image {number}");
            let mode = match sharing {
                Sharing::Exclusive => redb::ConcurrencyMode::ExclusiveWriter,
                _ => redb::ConcurrencyMode::SingleWriter,
            };
            let mut builder = redb::Builder::new();
            builder.set_concurrency_mode(mode);
            let database = builder.create_with_backend(lost.disk.clone());
            let database = database.unwrap_or_else(|error| panic!("{context}: {error}"));
            database.close().unwrap();
            check(lost, &open).unwrap_or_else(|violation| panic!("{context}: {violation}"));
        }
    }
}

#[test]
fn commit_of_two_syncs_in_doubt_is_recovered() {
    let seed = seed();
    for sharing in SHARINGS {
        let mut rng = Rng::new(seed);
        let steps: (Step<'_>, Step<'_>) = (&small, &small);
        let images = images_of_commit(sharing, &two_syncs, steps, (300, false), &mut rng).unwrap();
        for (number, lost) in images.iter().enumerate() {
            if let Err(violation) = check(lost, &open) {
                panic!("seed {seed}, {sharing:?}, image {number}: {violation}");
            }
        }
    }
}

/// The file of the open store at `path` as a power loss right before the last sync may leave it: the flag for
/// two phases is not set.
fn in_doubt(mut file: Vec<u8>) -> Vec<u8> {
    const FLAGS: usize = 9;
    const TWO_PHASE: u8 = 4;
    file[FLAGS] &= !TWO_PHASE;
    file
}

#[test]
fn readers_elsewhere_wait_for_a_recovery() {
    let name = "commits_in_doubt::readers_elsewhere_wait_for_a_recovery";
    if let Some((_, path)) = as_child() {
        let reading = Store::options()
            .read_only(true)
            .lock_timeout(crate::sharing::LONG);
        tell("ready");
        loop {
            match reading.open(&path) {
                Ok(store) => {
                    let runtime = store.runtime(named("r")).unwrap();
                    let worker = first_worker(&runtime);
                    let entries = all_entries(&runtime, &worker).len();
                    tell(&entries.to_string());
                    if entries == 2 {
                        wait_to_be_killed();
                    }
                }
                // No writer had the file.
                Err(RuntimeError::NeedsRepair { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    let (_directory, path) = scratch();
    let live = path.with_extension("live");
    let runtime = Store::open(&live).unwrap().runtime(named("r")).unwrap();
    let worker = first_worker(&runtime);
    say(&runtime, &worker, "acknowledged").unwrap();
    std::fs::write(&path, in_doubt(std::fs::read(&live).unwrap())).unwrap();
    let mut reader = child(name, "reads", &path);
    assert_eq!(reader.hear().as_deref(), Some("ready"));
    let recovered = Store::open(&path).unwrap();
    let runtime = recovered.runtime(named("r")).unwrap();
    assert_eq!(reader.hear().as_deref(), Some("1"));
    say(&runtime, &worker, "and on").unwrap();
    while let Some(seen) = reader.hear() {
        if seen == "2" {
            break;
        }
        assert_eq!(seen, "1");
    }
    reader.kill();
}
