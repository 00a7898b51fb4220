//! The kept files of an update: a file with other bytes is refused, and a missing one is written.

use crate::layout::compare::files::{ComparedFile, DIFFERS, FileComparison, FileState, shown};
use crate::layout::dir::target::TargetDir;
use crate::layout::error::LayoutError;
use crate::layout::export::earlier_state::not_a_prefix;
use crate::layout::export::kept_files::{Found, Placing, find};
use crate::layout::export::runtime_writer::RuntimeWriter;
use crate::layout::format::names::{self, WORKERS};
use crate::layout::read::listing::Entry;
use crate::layout::report::RuntimeExport;
use crate::ledger::stored::kept_file::{FileChunkRow, parsed_path};
use crate::model::identity::{RuntimeId, WorkerId};
use crate::store::snapshot::Snapshot;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The comparison of the kept files of one runtime directory with those of the store.
pub(crate) struct FileUpdate<'s> {
    snapshot: &'s Snapshot,
    id: &'s RuntimeId,
    files: FileComparison<'s>,
    /// The directory of the runtime.
    dir: PathBuf,
    is_in_root: bool,
    /// The directory of the last worker; `None` for one that the store does not have.
    worker_dir: Option<PathBuf>,
}

impl<'s> FileUpdate<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot, entry: &'s Entry, runtimes: &TargetDir) -> Self {
        Self {
            snapshot,
            id: &entry.id,
            files: FileComparison::new(snapshot, Some(&entry.id)),
            dir: runtimes.path_of(&entry.name),
            is_in_root: names::is_in_root(&entry.name),
            worker_dir: None,
        }
    }

    /// Ends the files of the worker before.
    pub(crate) fn begin_worker(&mut self) -> Result<(), LayoutError> {
        self.end_of_file()?;
        self.worker_dir = None;
        Ok(())
    }

    /// Begins the files of a worker that the store has, whose document is at `document`.
    pub(crate) fn enter(&mut self, document: &Path) {
        self.worker_dir = document.parent().map(Path::to_owned);
    }

    /// Takes a chunk of the directory.
    pub(crate) fn take(
        &mut self,
        path: &str,
        chunk: u64,
        row: &FileChunkRow,
    ) -> Result<(), LayoutError> {
        let ended = self.files.take(path, chunk, row)?;
        self.ended(ended)
    }

    fn end_of_file(&mut self) -> Result<(), LayoutError> {
        let ended = self.files.end_of_file()?;
        self.ended(ended)
    }

    /// Refuses a file with other bytes than that of the store. Files that the store does not have stay.
    fn ended(&self, file: Option<ComparedFile>) -> Result<(), LayoutError> {
        let Some(ComparedFile {
            stored,
            state: FileState::Different,
            ..
        }) = file
        else {
            return Ok(());
        };
        let dir = match stored.starts_with("w/") {
            true => self.worker_dir.as_ref(),
            false => Some(&self.dir),
        };
        match dir {
            // The worker is gone, and its directory stays or goes as a whole.
            None => Ok(()),
            Some(dir) => Err(differs(dir, &stored)),
        }
    }

    /// The stored paths of the files that the directory lacks, once all are read. `workers` are those that both sides have:
    /// a new worker is written with its files. Refuses an entry of another kind at the place of a file.
    pub(crate) fn missing(
        &mut self,
        dir: &TargetDir,
        workers: &HashSet<&WorkerId>,
    ) -> Result<Vec<String>, LayoutError> {
        self.end_of_file()?;
        let mut missing = Vec::new();
        for stored in self.files.only_in_store()? {
            let worker = owner(&stored);
            if worker
                .as_ref()
                .is_some_and(|worker| !workers.contains(worker))
            {
                continue;
            }
            let worker_dir = worker_dir(dir, worker.as_ref(), self.is_in_root)?;
            let dir = worker_dir.as_ref().unwrap_or(dir);
            match find(self.snapshot, dir.as_source(), (Some(self.id), &stored))? {
                Found::Nothing => missing.push(stored),
                Found::Same => {}
                Found::Different | Found::InTheWay => return Err(differs(dir.path(), &stored)),
            }
        }
        Ok(missing)
    }
}

/// Writes missing files into the directory `dir` of a runtime. Each appears atomically.
pub(crate) fn add_missing(
    writer: &RuntimeWriter<'_>,
    dir: &TargetDir,
    (id, missing): (&RuntimeId, &[String]),
    report: &mut RuntimeExport,
) -> Result<(), LayoutError> {
    let style = writer.style(id)?;
    for stored in missing {
        let worker_dir = owner(stored).map(|worker| {
            let workers = dir.open_dir(WORKERS)?;
            workers.open_dir(style.worker_dir(worker.as_str()))
        });
        let worker_dir = worker_dir.transpose()?;
        let dirs = (worker_dir.as_ref().unwrap_or(dir), dir);
        let written = writer.add_file(dirs, (Some(id), stored), Placing::New)?;
        written.add_to(report);
    }
    Ok(())
}

/// The kept files of a runtime that its root lacks, apart from those in `workers`, which is a member of the form. The root
/// belongs to the user, so an entry there that differs is never replaced.
pub(crate) fn missing_in_root(
    snapshot: &Snapshot,
    dir: &TargetDir,
    id: &RuntimeId,
) -> Result<Vec<String>, LayoutError> {
    let mut missing = Vec::new();
    let mut next = snapshot.next_file(Some(id), "r/", false)?;
    while let Some(stored) = next.filter(|stored| stored.starts_with("r/")) {
        next = snapshot.next_file(Some(id), &stored, true)?;
        let is_member = stored.starts_with(&format!("r/{WORKERS}/"));
        if is_member || !snapshot.is_kept(Some(id), &stored)? {
            continue;
        }
        match find(snapshot, dir.as_source(), (Some(id), &stored))? {
            Found::Nothing => missing.push(stored),
            Found::Same => {}
            Found::Different | Found::InTheWay => {
                let message = "this differs from the file that the store has";
                return Err(LayoutError::InTheWay {
                    path: shown(dir.path(), &stored),
                    message: message.to_owned(),
                });
            }
        }
    }
    Ok(missing)
}

fn owner(stored: &str) -> Option<WorkerId> {
    let worker = parsed_path(stored).and_then(|(worker, _)| worker);
    worker.and_then(WorkerId::new)
}

fn worker_dir(
    dir: &TargetDir,
    worker: Option<&WorkerId>,
    is_in_root: bool,
) -> Result<Option<TargetDir>, LayoutError> {
    let Some(worker) = worker else {
        return Ok(None);
    };
    let workers = dir.open_dir(WORKERS)?;
    let name = names::of_worker(worker.as_str(), is_in_root);
    Ok(Some(workers.open_dir(name)?))
}

fn differs(dir: &Path, stored: &str) -> LayoutError {
    not_a_prefix(&shown(dir, stored), None, DIFFERS)
}
