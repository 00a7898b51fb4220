//! Writes the files that belong to no runtime into `runtimes`.

use crate::layout::compare::files::{DIFFERS, shown};
use crate::layout::dir::target::TargetDir;
use crate::layout::error::LayoutError;
use crate::layout::export::earlier_state::not_a_prefix;
use crate::layout::export::kept_files::{Found, Placing, find};
use crate::layout::export::log_writer::Written;
use crate::layout::export::runtime_writer::RuntimeWriter;
use crate::layout::options::ExistingDirectory;
use crate::store::snapshot::Snapshot;

/// The stored paths of the files of no runtime that an export writes. Files that are there already are not written
/// again. A file with other bytes is an error, unless the export replaces it.
pub(crate) fn plan(
    snapshot: &Snapshot,
    runtimes: &TargetDir,
    existing: ExistingDirectory,
) -> Result<Vec<String>, LayoutError> {
    let mut to_write = Vec::new();
    let mut next = snapshot.next_file(None, "", false)?;
    while let Some(stored) = next {
        let path = shown(runtimes.path(), &stored);
        match find(snapshot, runtimes.as_source(), (None, &stored))? {
            Found::Same => {}
            Found::Different if existing == ExistingDirectory::Refuse => {
                return Err(LayoutError::Exists { path });
            }
            Found::Different if existing == ExistingDirectory::Update => {
                return Err(not_a_prefix(&path, None, DIFFERS));
            }
            Found::InTheWay => {
                let message = "the store has another kind of entry at this path".to_owned();
                return Err(LayoutError::InTheWay { path, message });
            }
            Found::Nothing | Found::Different => to_write.push(stored.clone()),
        }
        next = snapshot.next_file(None, &stored, true)?;
    }
    Ok(to_write)
}

/// Writes the files that [`plan`] returned. Each appears atomically.
pub(crate) fn write(
    writer: &RuntimeWriter<'_>,
    runtimes: &TargetDir,
    to_write: &[String],
) -> Result<Written, LayoutError> {
    let mut written = Written::default();
    for stored in to_write {
        let dirs = (runtimes, runtimes);
        let file = writer.add_file(dirs, (None, stored), Placing::Replace);
        written.add(&file?);
    }
    Ok(written)
}
