//! Exports a runtime into the root: the place of a runtime of a form without `runtimes`.
//!
//! The root can have other files, which stay. So the directory is not replaced as a whole: its members are written to a
//! temporary directory in the root and moved from there. A killed process leaves one of these states; N stands for the
//! numbers in the temporary name.
//!
//! | state | root | `.export.tmp-N` | an import |
//! |---|---|---|---|
//! | 1 | the old members | a part of the new ones | reads the old members |
//! | 2 | the old members without `runtime.json` | all new members, the old `runtime.json` | is refused |
//! | 3 | some of the old members | all new members, the other old ones | is refused |
//! | 4 | some of the new members | the other new ones, the old ones | is refused |
//! | 5 | the new members | the old ones | reads the new members |
//!
//! `runtime.json` is the first to go and the last to come, each on disk before the next move: a root with it is whole.
//! A root without it that has such a directory is refused, by a salvage too, since its members can be of two exports. In
//! every state the next export that replaces or updates removes `.export.tmp-N` and writes all members again.

use crate::layout::dir::target::{TargetDir, temporary_name};
use crate::layout::error::LayoutError;
use crate::layout::export::file_update::missing_in_root;
use crate::layout::export::kept_files::Placing;
use crate::layout::export::runtime_writer::RuntimeWriter;
use crate::layout::export::update::Update;
use crate::layout::format::document::RuntimeDocument;
use crate::layout::format::names::{IN_ROOT, RUNTIMES, WORKERS};
use crate::layout::options::ExistingDirectory;
use crate::layout::read::documents::Document;
use crate::layout::read::listing::Entry;
use crate::layout::read::log_record::LogRecord;
use crate::layout::report::{ExportOutcome, RuntimeExport};
use crate::model::identity::RuntimeId;
use crate::model::observation::RuntimeEvent;
use std::path::Path;

/// The entries of the form in the root, in the order in which they are set aside.
const MEMBERS: [&str; 3] = [RuntimeDocument::FILE, RuntimeEvent::FILE, WORKERS];

/// Exports the runtime `id` into the root.
pub(crate) fn export_in_root(
    writer: &RuntimeWriter<'_>,
    root: &Path,
    id: &RuntimeId,
    existing: ExistingDirectory,
    limits: (usize, bool),
) -> Result<RuntimeExport, LayoutError> {
    let dir = TargetDir::open_or_create(root)?;
    let is_alone = dir.lock()?;
    if dir.has(RUNTIMES)? {
        let message = "a runtime in the root cannot be next to this directory".to_owned();
        let path = dir.path_of(RUNTIMES);
        return Err(LayoutError::InTheWay { path, message });
    }
    let mut is_there = false;
    for member in MEMBERS {
        is_there |= dir.has(member)?;
    }
    let has_document = dir.has(RuntimeDocument::FILE)?;
    let outcome = match existing {
        _ if !is_there => ExportOutcome::Written,
        ExistingDirectory::Refuse => {
            return Err(LayoutError::Exists {
                path: root.to_owned(),
            });
        }
        ExistingDirectory::Update if has_document => ExportOutcome::Updated,
        ExistingDirectory::Update | ExistingDirectory::Replace => ExportOutcome::Replaced,
    };
    let mut report = RuntimeExport::new(id.clone(), root.to_owned(), outcome);
    if outcome == ExportOutcome::Updated {
        let entry = Entry {
            name: IN_ROOT.to_owned(),
            id: id.clone(),
        };
        let update = Update::check(writer.snapshot, &dir, &entry, limits)?;
        update.apply(writer, &dir, id, &mut report)?;
        return Ok(report);
    }
    if is_alone {
        dir.remove_leftovers()?;
    }
    missing_in_root(writer.snapshot, &dir, id)?;
    let temporary = temporary_name();
    let staged = dir.create_dir(&temporary)?;
    if let Err(error) = writer.write_runtime(&staged, id, &mut report) {
        // The first error is the one to report. The next export removes the directory.
        let _ = dir.remove(&temporary);
        return Err(error);
    }
    set_aside(&dir, &staged)?;
    move_contents(&dir, &staged)?;
    // Those in directories that the root has already.
    for stored in missing_in_root(writer.snapshot, &dir, id)? {
        writer.add_file((&dir, &dir), (Some(id), &stored), Placing::New)?;
    }
    dir.sync()?;
    staged.rename_into(RuntimeDocument::FILE, &dir, RuntimeDocument::FILE)?;
    dir.sync()?;
    // The result stands. If this fails, the next export removes the directory.
    let _ = dir.remove(&temporary);
    Ok(report)
}

/// Moves the members that are in the root to `staged`, the document first.
fn set_aside(dir: &TargetDir, staged: &TargetDir) -> Result<(), LayoutError> {
    for member in MEMBERS {
        if dir.has(member)? {
            dir.rename_into(member, staged, format!("{OLD_PREFIX}{member}"))?;
            // On disk before the others go: so a root with a document is whole.
            dir.sync()?;
        }
    }
    Ok(())
}

/// Moves everything but the document from `staged` to the root. What the root has of that name stays.
fn move_contents(dir: &TargetDir, staged: &TargetDir) -> Result<(), LayoutError> {
    for name in staged.names()? {
        let is_new = |text: &&str| *text != RuntimeDocument::FILE && !text.starts_with(OLD_PREFIX);
        if let Some(text) = name.to_str().filter(is_new)
            && !dir.has(text)?
        {
            staged.rename_into(text, dir, text)?;
        }
    }
    Ok(())
}

/// The prefix of the names of replaced members in the temporary directory.
const OLD_PREFIX: &str = ".old-";
