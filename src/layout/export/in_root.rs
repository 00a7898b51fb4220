//! Exports a runtime into the root: the place of a runtime of a form without `runtimes`.
//!
//! The root can have other files, which stay. So the directory is not replaced as a whole: its members are written to a
//! temporary directory in the root and moved from there, `runtime.json` last. A killed export leaves a root without
//! `runtime.json`, which no import takes for a runtime; the next export that replaces completes it.

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
use std::ffi::OsStr;
use std::path::Path;

/// The entries of the form in the root, in the order in which they are moved. The document comes last.
const MEMBERS: [&str; 3] = [WORKERS, RuntimeEvent::FILE, RuntimeDocument::FILE];

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
    move_members(&dir, &staged)?;
    // Those in directories that the root has already.
    for stored in missing_in_root(writer.snapshot, &dir, id)? {
        writer.add_file((&dir, &dir), (Some(id), &stored), Placing::New)?;
    }
    dir.sync()?;
    // The result stands. If this fails, the next export removes the directory.
    let _ = dir.remove(&temporary);
    Ok(report)
}

/// Moves everything from `staged` to the root, over the members that are there.
fn move_members(dir: &TargetDir, staged: &TargetDir) -> Result<(), LayoutError> {
    for member in MEMBERS.iter().rev() {
        if dir.has(member)? {
            dir.rename_into(member, staged, format!("{OLD_PREFIX}{member}"))?;
            // On disk before the others go: so a root with a document is complete.
            dir.sync()?;
        }
    }
    for name in staged.names()? {
        let is_new = |name: &OsStr| MEMBERS.iter().all(|member| name != *member);
        let text = name.to_str().filter(|text| !text.starts_with(OLD_PREFIX));
        if let Some(text) = text.filter(|_| is_new(&name))
            && !dir.has(text)?
        {
            staged.rename_into(text, dir, text)?;
        }
    }
    for member in MEMBERS {
        if staged.has(member)? {
            dir.sync()?;
            staged.rename_into(member, dir, member)?;
        }
    }
    Ok(())
}

/// The prefix of the names of replaced members in the temporary directory.
const OLD_PREFIX: &str = ".old-";
