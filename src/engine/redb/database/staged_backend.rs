//! A backend of redb over a staged file.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::file_backend;
use crate::engine::redb::file::write_gate::WithoutLocks;
use crate::error::RuntimeError;
use crate::fs::staged_file::StagedFile;
use redb::backends::FileBackend;

/// A backend over a staged file. No other process knows the file, so it is used without locks.
pub(crate) fn backend_of(
    staged: &StagedFile,
    at: RedbContext<'_>,
) -> Result<WithoutLocks<FileBackend>, RuntimeError> {
    let file = staged.try_clone_file().map_err(|error| at.io(error))?;
    Ok(WithoutLocks(file_backend::over(file, at)?))
}
