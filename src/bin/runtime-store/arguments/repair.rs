//! Opening stores, and repairing a store that was not closed cleanly. A store on a server is connected to, and needs no
//! repair.

use crate::arguments::location::Location;
use crate::output::failure::{Failure, error_chain, refused_repair_advice};
use crate::output::print::Output;
use crate::output::progress;
use redb_runtime_store::store::StoreOptions;
use redb_runtime_store::{RuntimeError, Store};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// How often, and at which interval, we check whether a host that opened the store first has repaired
/// it.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(50);

/// Repairs the store at `path`, prints a remark about it, and opens the store read-only.
fn and_open(path: &Path, output: &Output) -> Result<Store, Failure> {
    output.remark(format!(
        "{}: the store was not closed cleanly; repairing it",
        path.display()
    ));
    let mut tries = 0;
    loop {
        // A verb that reads must not migrate: a store of an older schema is rejected, repaired or not.
        let options = Store::options().create(false).migrate(false);
        let repaired = file_for_writing(options, path, output);
        let locked = match repaired.and_then(|store| store.close()) {
            Ok(()) => None,
            // A host opened the store first: it repairs the store.
            Err(error @ RuntimeError::StoreLocked { .. }) => Some(error),
            Err(error @ (RuntimeError::StoreIo { .. } | RuntimeError::BytesAfterEnd { .. })) => {
                return unrepaired(path, error, output);
            }
            Err(error) => return Err(error.into()),
        };
        match (file_for_reading(path), locked) {
            (Err(RuntimeError::NeedsRepair { .. }), _) if tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            (Err(RuntimeError::NeedsRepair { .. }), Some(locked)) => return Err(locked.into()),
            (opened, _) => return Ok(opened?),
        }
    }
}

/// Opens the store at `path` read-only after the repair failed with `error`: the last commit can be read all
/// the same.
fn unrepaired(path: &Path, error: RuntimeError, output: &Output) -> Result<Store, Failure> {
    let options = for_reading_options().recover_in_memory(true);
    let store = match options.open(path) {
        Err(RuntimeError::NeedsRepair { .. }) => return Err(error.into()),
        opened => opened?,
    };
    if store.recovered_in_memory() {
        output.remark(format!(
            "{}; reading the store without a repair, the file is not changed",
            error_chain(&error)
        ));
        if let Some(advice) = refused_repair_advice(&error) {
            output.remark(advice);
        }
    }
    Ok(store)
}

/// redb's cache for reading, in bytes. No verb reads a page of rows twice, so a larger cache only costs
/// its allocation: an export of 67 MB takes 0.18 s with 4 MiB, and 0.22 s with the 64 MiB of a host (two
/// cores).
const CACHE_BYTES: usize = 4 << 20;

fn for_reading_options() -> StoreOptions {
    Store::options().read_only(true).cache_bytes(CACHE_BYTES)
}

/// Opens the store read-only.
pub(crate) fn for_reading(location: &Location) -> Result<Store, RuntimeError> {
    match location {
        Location::File(path) => file_for_reading(path),
        #[cfg(feature = "postgres")]
        Location::Server(server) => server.for_reading(),
    }
}

fn file_for_reading(path: &Path) -> Result<Store, RuntimeError> {
    for_reading_options().open(path)
}

/// Opens the store read-only, and repairs it first if it was not closed cleanly.
pub(crate) fn for_reading_repaired(location: &Location, output: &Output) -> Result<Store, Failure> {
    match (for_reading(location), location) {
        (Err(RuntimeError::NeedsRepair { .. }), Location::File(path)) => and_open(path, output),
        (opened, _) => Ok(opened?),
    }
}

/// Opens the store read-only for a completion, which neither repairs a store nor waits for long.
pub(crate) fn for_completion(location: &Location) -> Result<Store, RuntimeError> {
    match location {
        Location::File(path) => file_for_reading(path),
        #[cfg(feature = "postgres")]
        Location::Server(server) => server.for_completion(),
    }
}

/// Opens the store for writing, and shows the progress of a repair.
pub(crate) fn for_writing(location: &Location, output: &Output) -> Result<Store, RuntimeError> {
    match location {
        Location::File(path) => file_for_writing(Store::options().create(false), path, output),
        #[cfg(feature = "postgres")]
        Location::Server(server) => server.for_writing(),
    }
}

/// As [`for_writing`], and creates the store if it does not exist.
pub(crate) fn for_filling(location: &Location, output: &Output) -> Result<Store, RuntimeError> {
    match location {
        Location::File(path) => file_for_writing(Store::options(), path, output),
        #[cfg(feature = "postgres")]
        Location::Server(server) => server.for_filling(),
    }
}

fn file_for_writing(
    options: StoreOptions,
    path: &Path,
    output: &Output,
) -> Result<Store, RuntimeError> {
    let bar = progress::part(output, "repairing");
    let shown = bar.clone();
    let opened = options
        .on_repair(move |part| {
            progress::show_part(&shown, part);
            ControlFlow::Continue(())
        })
        .open(path);
    bar.finish_and_clear();
    opened
}
