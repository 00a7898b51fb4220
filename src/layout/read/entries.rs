//! The names in a directory of the layout: which of them are read, and findings about the others.

use crate::layout::dir::source::{EntryKind, SourceDir};
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::names::is_temporary;
use crate::layout::read::reader::Reader;
use crate::layout::read::sink::ReadStop;
use std::ffi::OsStr;

impl Reader<'_> {
    /// Notes everything in `dir` that is no part of the layout.
    pub(crate) fn look_around(&mut self, dir: &SourceDir, known: &[&str]) -> Result<(), ReadStop> {
        let names = self.tried("list", dir.path(), dir.names())?;
        for name in names.into_iter().flatten() {
            if known.iter().any(|known| name == *known) {
                continue;
            }
            let path = dir.path_of(&name);
            let Some(kind) = self.tried("look at", &path, dir.kind_of(&name))? else {
                continue;
            };
            self.report(match kind {
                Some(EntryKind::Other(what)) => {
                    Finding::new(FindingKind::NotRegular, path, format!("this is {what}"))
                }
                None => Finding::new(FindingKind::Changed, path, "the file went away"),
                Some(_) if is_temporary(&name) => {
                    let message = "left over by a write that was cut off; it is not read";
                    Finding::new(FindingKind::TemporaryFile, path, message)
                }
                Some(_) => {
                    let message = "this is no part of the layout; it is not read";
                    Finding::new(FindingKind::OtherFile, path, message)
                }
            })?;
        }
        Ok(())
    }

    /// Whether a name in `workers/` is that of a directory. What else is there is noted.
    pub(crate) fn is_worker_dir(
        &mut self,
        dir: &SourceDir,
        name: &OsStr,
    ) -> Result<bool, ReadStop> {
        let path = dir.path_of(name);
        let Some(kind) = self.tried("look at", &path, dir.kind_of(name))? else {
            return Ok(false);
        };
        self.report(match kind {
            Some(EntryKind::Directory) => return Ok(true),
            Some(EntryKind::File) => {
                let message = "a file among the directories of workers";
                Finding::new(FindingKind::StrayFile, path, message)
            }
            Some(EntryKind::Other(what)) => {
                Finding::new(FindingKind::NotRegular, path, format!("this is {what}"))
            }
            None => Finding::new(FindingKind::Changed, path, "the directory went away"),
        })?;
        Ok(false)
    }
}

/// The finding for a directory whose name stands for no id.
pub(crate) fn invalid_name(dir: &SourceDir, name: &OsStr, why: String) -> Finding {
    let canonical = name.to_ascii_lowercase();
    let has_twin = canonical != name && matches!(dir.kind_of(&canonical), Ok(Some(_)));
    let path = dir.path_of(name);
    match has_twin {
        true => {
            let message = format!("the same id as {}, in other letters", canonical.display());
            Finding::new(FindingKind::DuplicateDirectory, path, message)
        }
        false => Finding::new(FindingKind::InvalidName, path, why),
    }
}
