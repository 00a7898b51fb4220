//! redb's backend over a file of ours, and what the system can refuse it: random numbers and locks.

use crate::engine::redb::context::{RedbContext, panic_message};
use crate::error::RuntimeError;
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The byte that a new file is locked at to find out whether its file system has the locks.
const PROBED_BYTE: Bound<u64> = Bound::Included(0);

/// A backend over `file`. It locks nothing yet.
pub(crate) fn over(file: File, at: RedbContext<'_>) -> Result<FileBackend, RuntimeError> {
    without_reading(at, || {
        FileBackend::new(file).map_err(|error| at.redb(error))
    })
}

/// A backend over `file`, which is to be locked: `LocksUnsupported` if it cannot be.
///
/// redb itself opens a file without any lock if it is to be exclusive and the system has none.
pub(crate) fn with_locks(file: File, at: RedbContext<'_>) -> Result<FileBackend, RuntimeError> {
    let backend = over(file, at)?;
    let asked = backend.query_lock_range(PROBED_BYTE, PROBED_BYTE);
    asked.map_err(|error| at.redb(error))?;
    Ok(backend)
}

/// Fails with `LocksUnsupported` if `backend`, over a file that only this process knows, cannot be
/// locked. A file system can answer questions about locks that it does not grant, so this takes one.
pub(crate) fn refuse_without_locks(
    backend: &impl StorageBackend,
    at: RedbContext<'_>,
) -> Result<(), RuntimeError> {
    let locked = backend.try_lock_shared_range(PROBED_BYTE, PROBED_BYTE);
    if locked.map_err(|error| at.redb(error))? {
        let unlocked = backend.unlock_range(PROBED_BYTE, PROBED_BYTE);
        unlocked.map_err(|error| at.redb(error))?;
    }
    Ok(())
}

/// Runs `make`, which makes a backend and reads nothing of its file, so that a panic is no damage: the
/// standard library panics if the system has no random numbers for the keys of a hash set.
fn without_reading<T>(
    at: RedbContext<'_>,
    make: impl FnOnce() -> Result<T, RuntimeError>,
) -> Result<T, RuntimeError> {
    catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|panic| {
        let message = format!("cannot set up the locks: {}", panic_message(&*panic));
        Err(at.io(io::Error::other(message)))
    })
}

#[cfg(test)]
mod tests {
    use super::{refuse_without_locks, without_reading};
    use crate::engine::redb::context::RedbContext;
    use crate::error::{Place, RuntimeError, with_causes};
    use redb::backends::InMemoryBackend;
    use std::path::Path;

    #[test]
    fn file_that_cannot_be_locked_is_refused() {
        let place = Place::file(Path::new("a.redb"));
        let at = RedbContext::new("create", &place);
        // It has no locks, as some file systems.
        let refused = refuse_without_locks(&InMemoryBackend::new(), at);
        let is_refused = |place: &Place| place.as_path() == Some(Path::new("a.redb"));
        match refused {
            Err(RuntimeError::LocksUnsupported { place, .. }) if is_refused(&place) => {}
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn want_of_randomness_is_no_damage() {
        let place = Place::file(Path::new("a.redb"));
        let at = RedbContext::new("open", &place);
        // As the standard library does where getrandom and /dev/urandom fail.
        let opened = at.guard(|| {
            without_reading(at, || -> Result<(), RuntimeError> {
                panic!("failed to generate random data")
            })
        });
        let error = opened.unwrap_err();
        assert!(matches!(error, RuntimeError::StoreIo { .. }), "{error}");
        assert!(with_causes(&error).contains("failed to generate random data"));
    }
}
