//! Exports runtimes of a store to directories.

use crate::error::RuntimeError;
use crate::layout::dir::source::EntryKind;
use crate::layout::dir::target::{TargetDir, temporary_name};
use crate::layout::error::LayoutError;
use crate::layout::export::in_root::export_in_root;
use crate::layout::export::runtime_writer::RuntimeWriter;
use crate::layout::export::update::Update;
use crate::layout::export::{other_files, replacement};
use crate::layout::format::document::RuntimeDocument;
use crate::layout::format::names::{self, MAX_NAME_BYTES, RUNTIMES, WORKERS};
use crate::layout::options::{ExistingDirectory, ExportOptions};
use crate::layout::read::documents::Document;
use crate::layout::read::listing::Entry;
use crate::layout::report::{ExportOutcome, ExportReport, RuntimeExport};
use crate::model::identity::{RuntimeId, WorkerId};
use crate::store::handle::Store;
use crate::store::snapshot::Snapshot;
use std::borrow::Borrow;
use std::io;
use std::path::{Path, PathBuf};

/// Exports runtimes of `store` to directories under `root`. The export is one snapshot of the store;
/// writers continue meanwhile.
///
/// Every runtime directory appears atomically: it is written and synced under a temporary name in
/// `runtimes/`, and renamed when all are complete. A crash leaves the old directory or the new one. The
/// next export removes the temporary directories of a killed one. Where the system cannot exchange two
/// directories, the one that replaces another is missing from its place between two renames; the next export
/// completes what a killed one began. An export of no runtimes writes an empty `runtimes` directory.
///
/// The export reads each page of the store once. A process that opens a store only to export it is
/// faster with [`cache_bytes`](crate::store::StoreOptions::cache_bytes) of 4 MiB than with the default
/// of 64 MiB.
///
/// ```
/// use redb_runtime_store::layout::{self, ExportOptions};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let root = directory.path().join("agents");
/// # let runtime = redb_runtime_store::Runtime::new_memory();
/// # let store = runtime.store();
/// let report = layout::export(store, root, ExportOptions::new())?;
/// println!("{} runtimes", report.runtimes.len());
/// # Ok::<(), layout::LayoutError>(())
/// ```
///
/// # Errors
///
/// Before anything is written: [`LayoutError::Exists`] where a runtime directory exists and
/// [`ExportOptions::existing`] does not allow it, [`LayoutError::NotAPrefix`] where an update is not
/// possible, [`LayoutError::NameTooLong`] and [`LayoutError::Busy`]. Later: the errors of reading the
/// store and of writing the directory. [`LayoutError::DurabilityUncertain`] where the export is complete, but a
/// power loss can still undo it.
pub fn export(
    store: &Store,
    root: impl AsRef<Path>,
    options: impl Borrow<ExportOptions>,
) -> Result<ExportReport, LayoutError> {
    export_to(store, root.as_ref(), options.borrow())
}

fn export_to(
    store: &Store,
    root: &Path,
    options: &ExportOptions,
) -> Result<ExportReport, LayoutError> {
    let snapshot = store.snapshot()?;
    let ids = wanted(store, &snapshot, options)?;
    let on_bytes = options.progress_of_writing();
    let writer = RuntimeWriter {
        snapshot: &snapshot,
        times: options.times,
        is_form_a: options.form_a,
        on_bytes: &*on_bytes,
    };
    for id in &ids {
        check_names(&writer, id)?;
    }
    if let Some(id) = alone_in_root(&writer, &ids)? {
        let limits = (options.max_line_bytes, options.allow_gap);
        let report = export_in_root(&writer, root, &id, options.existing, limits)?;
        return Ok(ExportReport {
            runtimes: vec![report],
            not_in_store: Vec::new(),
            files: 0,
        });
    }
    let runtimes = runtimes_below(root)?;
    let is_alone = runtimes.lock()?;
    if is_alone {
        replacement::complete_all(&runtimes)?;
    }
    let is_whole_archive =
        options.existing == ExistingDirectory::Update && options.runtimes.is_empty();
    let not_in_store = match is_whole_archive {
        true => others(&runtimes, &ids)?,
        false => Vec::new(),
    };
    let plan = plan(&runtimes, ids, options.existing)?;
    // They belong to no runtime that could be chosen.
    let other_files = match options.runtimes.is_empty() {
        true => other_files::plan(&snapshot, &runtimes, options.existing)?,
        false => Vec::new(),
    };
    if is_alone {
        runtimes.remove_leftovers()?;
    }
    let export = Export {
        writer,
        runtimes: &runtimes,
        max_line_bytes: options.max_line_bytes,
        allow_gap: options.allow_gap,
        other_files,
    };
    let mut staged = Vec::new();
    let done = export.run(plan, &mut staged);
    if done.is_err() {
        for name in staged {
            // The first error is the one to report. The next export removes the directory.
            let _ = runtimes.remove(&name);
        }
    }
    done.map(|report| ExportReport {
        not_in_store,
        ..report
    })
}

/// The directory `runtimes` below `root`, created if it is missing.
fn runtimes_below(root: &Path) -> Result<TargetDir, LayoutError> {
    let root = TargetDir::open_or_create(root)?;
    if root.has(RuntimeDocument::FILE)? {
        let message = "this is a runtime in the root; `runtimes` cannot be next to it".to_owned();
        let path = root.path_of(RuntimeDocument::FILE);
        return Err(LayoutError::InTheWay { path, message });
    }
    Ok(root.ensure_dir(RUNTIMES)?)
}

/// The directories of runtimes other than `ids`, in the order of their names.
fn others(runtimes: &TargetDir, ids: &[RuntimeId]) -> Result<Vec<PathBuf>, LayoutError> {
    let mut others = Vec::new();
    for name in runtimes.names()? {
        let path = runtimes.path_of(&name);
        let id = names::decode::<RuntimeId>(name.as_encoded_bytes());
        let is_other = id.is_ok_and(|id| !ids.contains(&id));
        let kind = runtimes.as_source().kind_of(&name);
        let kind = kind.map_err(LayoutError::io("inspect", &path))?;
        if is_other && kind == Some(EntryKind::Directory) {
            others.push(path);
        }
    }
    others.sort();
    Ok(others)
}

fn wanted(
    store: &Store,
    snapshot: &Snapshot,
    options: &ExportOptions,
) -> Result<Vec<RuntimeId>, LayoutError> {
    let all = snapshot.runtime_ids()?;
    if options.runtimes.is_empty() {
        return Ok(all);
    }
    if let Some(missing) = options.runtimes.iter().find(|id| !all.contains(id)) {
        return Err(RuntimeError::RuntimeNotFound {
            path: store.path().to_owned(),
            runtime_id: missing.clone(),
        }
        .into());
    }
    let is_wanted = |id: &RuntimeId| options.runtimes.contains(id);
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// The runtime that is exported into the root. It must be the only one.
fn alone_in_root(
    writer: &RuntimeWriter<'_>,
    ids: &[RuntimeId],
) -> Result<Option<RuntimeId>, LayoutError> {
    for id in ids {
        if writer.style(id)?.form.is_in_root() {
            return match ids.len() {
                1 => Ok(Some(id.clone())),
                _ => Err(LayoutError::OnlyAlone {
                    runtime_id: id.clone(),
                }),
            };
        }
    }
    Ok(None)
}

fn check_names(writer: &RuntimeWriter<'_>, id: &RuntimeId) -> Result<(), LayoutError> {
    let (snapshot, style) = (writer.snapshot, writer.style(id)?);
    let check = |text: &str, worker_id: Option<&WorkerId>| {
        let name = style.worker_dir(text);
        if worker_id.is_some() && !is_one_name(&name) {
            return Err(LayoutError::Unwritable {
                path: PathBuf::from(WORKERS),
                message: format!("the id {text:?} is no name of a directory"),
            });
        }
        let bytes = name.len();
        match bytes > MAX_NAME_BYTES {
            false => Ok(()),
            true => Err(LayoutError::NameTooLong {
                runtime_id: id.clone(),
                worker_id: worker_id.cloned(),
                bytes,
                limit: MAX_NAME_BYTES,
            }),
        }
    };
    if !style.form.is_in_root() {
        check(id.as_str(), None)?;
    }
    for worker in snapshot.workers(id)? {
        let worker_id = worker?.value.worker_ref.worker_id;
        check(worker_id.as_str(), Some(&worker_id))?;
    }
    Ok(())
}

/// Whether a text is the name of one entry of a directory. Ids are names in a form without `runtimes`.
fn is_one_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// The work on one runtime.
struct Step {
    id: RuntimeId,
    name: String,
    outcome: ExportOutcome,
}

fn plan(
    runtimes: &TargetDir,
    ids: Vec<RuntimeId>,
    existing: ExistingDirectory,
) -> Result<Vec<Step>, LayoutError> {
    let mut steps = Vec::new();
    for id in ids {
        let name = names::encode(id.as_str());
        let kind = runtimes
            .as_source()
            .kind_of(&name)
            .map_err(LayoutError::io("inspect", runtimes.path_of(&name)))?;
        let outcome = match (kind, existing) {
            (None, _) => ExportOutcome::Written,
            (Some(EntryKind::Directory), ExistingDirectory::Replace) => ExportOutcome::Replaced,
            (Some(EntryKind::Directory), ExistingDirectory::Update) => ExportOutcome::Updated,
            (Some(EntryKind::Directory), ExistingDirectory::Refuse) => {
                return Err(LayoutError::Exists {
                    path: runtimes.path_of(&name),
                });
            }
            (Some(EntryKind::File), _) => return Err(in_the_way(runtimes, &name, "a file")),
            (Some(EntryKind::Other(what)), _) => return Err(in_the_way(runtimes, &name, what)),
        };
        steps.push(Step { id, name, outcome });
    }
    Ok(steps)
}

fn in_the_way(runtimes: &TargetDir, name: &str, what: &str) -> LayoutError {
    LayoutError::InTheWay {
        path: runtimes.path_of(name),
        message: format!("this is {what}, not a runtime directory"),
    }
}

/// The state of an export.
struct Export<'a> {
    writer: RuntimeWriter<'a>,
    runtimes: &'a TargetDir,
    max_line_bytes: usize,
    allow_gap: bool,
    /// The stored paths of the files of no runtime to write.
    other_files: Vec<String>,
}

impl Export<'_> {
    /// Writes all new directories, then moves them to their places. `staged` has the temporary names,
    /// for the cleanup after an error.
    fn run(&self, plan: Vec<Step>, staged: &mut Vec<String>) -> Result<ExportReport, LayoutError> {
        let mut reports = Vec::new();
        let mut moves = Vec::new();
        let (updates, new): (Vec<_>, Vec<_>) = plan
            .into_iter()
            .partition(|step| step.outcome == ExportOutcome::Updated);
        let updates = updates
            .into_iter()
            .map(|step| {
                let (snapshot, limits) =
                    (self.writer.snapshot, (self.max_line_bytes, self.allow_gap));
                let entry = Entry {
                    name: step.name.clone(),
                    id: step.id.clone(),
                };
                let update = Update::check(snapshot, self.runtimes, &entry, limits)?;
                Ok((step, update))
            })
            .collect::<Result<Vec<_>, LayoutError>>()?;
        for step in new {
            let temporary = temporary_name();
            staged.push(temporary.clone());
            let dir = self.runtimes.create_dir(&temporary)?;
            let mut report = self.report(&step);
            self.writer.write_runtime(&dir, &step.id, &mut report)?;
            reports.push(report);
            moves.push((temporary, step));
        }
        self.runtimes.sync()?;
        let mut unsynced = None;
        for (temporary, step) in moves {
            if let Some(error) = self.put_in_place(&temporary, &step)? {
                // What it replaced stays: after a power loss it may be the only copy.
                staged.retain(|name| *name != temporary);
                unsynced.get_or_insert(error);
            }
        }
        for (step, update) in updates {
            let dir = self.runtimes.open_dir(&step.name)?;
            let mut report = self.report(&step);
            update.apply(&self.writer, &dir, &step.id, &mut report)?;
            reports.push(report);
        }
        let files = other_files::write(&self.writer, self.runtimes, &self.other_files)?.files;
        if let Some(source) = unsynced {
            let path = self.runtimes.path().to_owned();
            return Err(LayoutError::DurabilityUncertain { path, source });
        }
        reports.sort_by(|a: &RuntimeExport, b| a.runtime_id.cmp(&b.runtime_id));
        Ok(ExportReport {
            runtimes: reports,
            not_in_store: Vec::new(),
            files,
        })
    }

    fn report(&self, step: &Step) -> RuntimeExport {
        let path = self.runtimes.path_of(&step.name);
        RuntimeExport::new(step.id.clone(), path, step.outcome)
    }

    /// Moves a new directory to its place. Returns the error of a sync that failed after the move.
    fn put_in_place(&self, temporary: &str, step: &Step) -> Result<Option<io::Error>, LayoutError> {
        let is_replaced = step.outcome == ExportOutcome::Replaced;
        match is_replaced {
            true => self.runtimes.exchange(temporary, &step.name)?,
            false => self.runtimes.rename_new(temporary, &step.name)?,
        }
        if let Err(error) = self.runtimes.try_sync() {
            return Ok(Some(error));
        }
        if is_replaced {
            // The result stands. If this fails, the next export removes the old directory.
            let _ = self.runtimes.remove(temporary);
        }
        Ok(None)
    }
}
