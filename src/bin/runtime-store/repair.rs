//! Repairing what a killed host left.

use crate::failure::Failure;
use crate::output::Output;
use crate::progress;
use redb_runtime_store::store::StoreOptions;
use redb_runtime_store::{RuntimeError, Store};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// How long a host that opens the store at the same moment is given to repair it for us.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(50);

/// Repairs the store at `path`, which nobody has open, says so, and opens it read-only.
pub(crate) fn and_open(path: &Path, output: &Output) -> Result<Store, Failure> {
    output.remark(format!(
        "{}: the store was not closed cleanly, repairing it",
        path.display()
    ));
    let mut tries = 0;
    loop {
        // Who only reads migrates nothing: a store of an older version is refused, repaired or not.
        let locked = match for_writing(Store::options().migrate(false), path, output) {
            Ok(store) => store.close().map(|()| None)?,
            // A host was quicker: it repairs the store.
            Err(error @ RuntimeError::StoreLocked { .. }) => Some(error),
            Err(error) => return Err(error.into()),
        };
        match (for_reading(path), locked) {
            (Err(RuntimeError::NeedsRepair { .. }), _) if tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            (Err(RuntimeError::NeedsRepair { .. }), Some(locked)) => return Err(locked.into()),
            (opened, _) => return Ok(opened?),
        }
    }
}

/// What redb may hold of a file that is read, in bytes. No verb reads a page of rows twice: room for
/// more of them only has to be made. It exports in 0.18 s what takes 0.22 s with the 64 MiB of a host
/// (67 MB, two cores).
const CACHE_BYTES: usize = 4 << 20;

/// Opens the store at `path` read-only.
pub(crate) fn for_reading(path: &Path) -> Result<Store, RuntimeError> {
    let options = Store::options().read_only(true);
    options.cache_bytes(CACHE_BYTES).open(path)
}

/// Opens the store at `path` for writing; shows how far a repair is.
pub(crate) fn for_writing(
    options: StoreOptions,
    path: &Path,
    output: &Output,
) -> Result<Store, RuntimeError> {
    let bar = progress::part(output, "repairing");
    let shown = bar.clone();
    let opened = options
        .create(false)
        .on_repair(move |part| {
            progress::show_part(&shown, part);
            ControlFlow::Continue(())
        })
        .open(path);
    bar.finish_and_clear();
    opened
}
