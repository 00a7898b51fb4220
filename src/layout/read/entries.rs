//! Findings about the entries of a directory that are not part of the layout.

use crate::layout::dir::source::{EntryKind, SourceDir};
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::names::is_temporary;
use crate::layout::read::reader::Reader;
use crate::layout::read::sink::ReadStop;
use std::ffi::OsStr;
use std::path::PathBuf;

impl Reader<'_> {
    /// Adds a finding for every entry of `dir` that is not part of the layout.
    pub(crate) fn look_around(&mut self, dir: &SourceDir, known: &[&str]) -> Result<(), ReadStop> {
        let names = self.tried("list", dir.path(), dir.names())?;
        for name in names.into_iter().flatten() {
            if known.iter().any(|known| name == *known) {
                continue;
            }
            let path = dir.path_of(&name);
            let Some(kind) = self.tried("inspect", &path, dir.kind_of(&name))? else {
                continue;
            };
            self.report(finding_about(path, &name, kind, "file"))?;
        }
        Ok(())
    }

    /// Whether an entry of `workers/` is a directory. Adds a finding if it is not.
    pub(crate) fn is_worker_dir(
        &mut self,
        dir: &SourceDir,
        name: &OsStr,
    ) -> Result<bool, ReadStop> {
        let path = dir.path_of(name);
        let Some(kind) = self.tried("inspect", &path, dir.kind_of(name))? else {
            return Ok(false);
        };
        self.report(match kind {
            Some(EntryKind::Directory) => return Ok(true),
            Some(EntryKind::File) => {
                let message = "a file among the directories of workers";
                Finding::new(FindingKind::StrayFile, path, message)
            }
            _ => finding_about(path, name, kind, "directory"),
        })?;
        Ok(false)
    }
}

/// The finding about a name that is not part of the layout. `expected` is the expected kind of entry.
pub(crate) fn finding_about(
    path: PathBuf,
    name: &OsStr,
    kind: Option<EntryKind>,
    expected: &str,
) -> Finding {
    let (kind, message) = match kind {
        Some(EntryKind::Other(what)) => (FindingKind::NotRegular, format!("this is {what}")),
        None => (
            FindingKind::Changed,
            format!("the {expected} was removed while the directory was read"),
        ),
        Some(_) if is_temporary(name) => (
            FindingKind::TemporaryFile,
            "a leftover of an interrupted write; it is not read".to_owned(),
        ),
        Some(_) => (
            FindingKind::OtherFile,
            "not part of the layout; it is not read".to_owned(),
        ),
    };
    Finding::new(kind, path, message)
}

/// The finding for a directory whose name encodes no id.
pub(crate) fn invalid_name(dir: &SourceDir, name: &OsStr, why: String) -> Finding {
    let canonical = name.to_ascii_lowercase();
    let has_twin = canonical != name && matches!(dir.kind_of(&canonical), Ok(Some(_)));
    let path = dir.path_of(name);
    match has_twin {
        true => {
            let message = format!("the same id as {}, in upper-case hex", canonical.display());
            Finding::new(FindingKind::DuplicateDirectory, path, message)
        }
        false => Finding::new(FindingKind::InvalidName, path, why),
    }
}
