//! Findings about the entries of a directory that are not part of the layout.

use crate::layout::dir::source::{EntryKind, SourceDir};
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::names::{self, WORKERS, is_of_export, is_temporary};
use crate::layout::read::kept_files::{FilePlace, OtherEntry};
use crate::layout::read::reader::{Reader, changed};
use crate::layout::read::sink::ReadStop;
use crate::model::identity::WorkerId;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

impl Reader<'_> {
    /// The entries of `dir` that are not part of the layout and can be stored. Adds a finding for each that cannot.
    pub(crate) fn look_around(
        &mut self,
        dir: &SourceDir,
        known: &[&str],
    ) -> Result<Vec<OtherEntry>, ReadStop> {
        let mut others = Vec::new();
        let names = self.tried("list", dir.path(), dir.names())?;
        for name in names.into_iter().flatten() {
            if known.iter().any(|known| name == *known) {
                continue;
            }
            let path = dir.path_of(&name);
            let Some(kind) = self.tried("inspect", &path, dir.kind_of(&name))? else {
                continue;
            };
            match other_entry(path, &name, kind) {
                Ok(other) => others.push(other),
                Err(finding) => self.report(*finding)?,
            }
        }
        Ok(others)
    }

    /// Adds findings for the entries of a directory that is left out with everything in it.
    pub(crate) fn leave_out(&mut self, others: Vec<OtherEntry>) -> Result<(), ReadStop> {
        for mut other in others {
            if other.finding.kind != FindingKind::TemporaryFile {
                other.finding.kind = FindingKind::Orphaned;
            }
            let reason = "; it belongs to no runtime or worker that can be imported";
            other.finding.message.push_str(reason);
            self.report(other.finding)?;
        }
        Ok(())
    }

    /// The worker of an entry of `workers/`.
    pub(crate) fn worker_of(
        &mut self,
        dir: &SourceDir,
        name: &OsStr,
    ) -> Result<Option<(String, WorkerId)>, ReadStop> {
        let place = FilePlace::of_runtime(WORKERS);
        match self.is_worker_dir(dir, name)? {
            Some(true) => {}
            Some(false) => {
                match other_entry(dir.path_of(name), name, Some(EntryKind::File)) {
                    Ok(other) => self.keep(dir, place, other)?,
                    Err(finding) => self.report(*finding)?,
                }
                return Ok(None);
            }
            None => return Ok(None),
        }
        match names::worker_of(name.as_bytes(), self.is_in_root) {
            Ok(id) => Ok(Some((names::of_worker(id.as_str(), self.is_in_root), id))),
            Err(why) => {
                self.keep(dir, place, invalid_name(dir, name, why))?;
                Ok(None)
            }
        }
    }

    /// Whether an entry of `workers/` is a directory. Adds a finding for one that is neither a directory nor a file.
    pub(crate) fn is_worker_dir(
        &mut self,
        dir: &SourceDir,
        name: &OsStr,
    ) -> Result<Option<bool>, ReadStop> {
        let path = dir.path_of(name);
        match self.tried("inspect", &path, dir.kind_of(name))? {
            None => Ok(None),
            Some(Some(EntryKind::Directory)) => Ok(Some(true)),
            Some(Some(EntryKind::File)) => Ok(Some(false)),
            Some(None) => self.report(changed(path)).map(|()| None),
            Some(Some(EntryKind::Other(what))) => {
                self.report(not_regular(path, what)).map(|()| None)
            }
        }
    }
}

/// An entry that is not part of the layout and can be stored, or the finding about one that cannot.
pub(crate) fn other_entry(
    path: PathBuf,
    name: &OsStr,
    kind: Option<EntryKind>,
) -> Result<OtherEntry, Box<Finding>> {
    let is_directory = match kind {
        Some(EntryKind::Other(what)) => return Err(Box::new(not_regular(path, what))),
        None => return Err(Box::new(changed(path))),
        Some(kind) => kind == EntryKind::Directory,
    };
    let finding = match is_temporary(name) {
        true if is_of_export(name) => {
            let message = "a leftover of an interrupted export; it is not read, and the next export removes it";
            let finding = Finding::new(FindingKind::TemporaryFile, path, message);
            return Err(Box::new(finding));
        }
        true => {
            let message = "a leftover of an interrupted write";
            Finding::new(FindingKind::TemporaryFile, path, message)
        }
        false => Finding::new(FindingKind::OtherFile, path, "not part of the layout"),
    };
    Ok(OtherEntry {
        name: name.to_owned(),
        is_directory,
        finding,
    })
}

fn not_regular(path: PathBuf, what: &str) -> Finding {
    Finding::new(FindingKind::NotRegular, path, format!("this is {what}"))
}

/// A directory whose name encodes no id.
pub(crate) fn invalid_name(dir: &SourceDir, name: &OsStr, why: String) -> OtherEntry {
    let canonical = name.to_ascii_lowercase();
    let has_twin = canonical != name && matches!(dir.kind_of(&canonical), Ok(Some(_)));
    let path = dir.path_of(name);
    let finding = match has_twin {
        true => {
            let message = format!("the same id as {}, in upper-case hex", canonical.display());
            Finding::new(FindingKind::DuplicateDirectory, path, message)
        }
        false => Finding::new(FindingKind::InvalidName, path, why),
    };
    OtherEntry {
        name: name.to_owned(),
        is_directory: true,
        finding,
    }
}
