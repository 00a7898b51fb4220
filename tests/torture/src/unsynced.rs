//! The changes of a file system that a power loss could undo.
//!
//! A kill tests the order of changes, not which of them are on disk. So the steps of a job are also
//! checked against a rule: a file is synced before it gets its final name, and when the job is done
//! every name is synced.

use crate::world::Violation;
use redb_runtime_store::steps::Step;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Debug, Default)]
pub(crate) struct Unsynced {
    /// Files whose bytes may be lost.
    files: BTreeSet<PathBuf>,
    /// Names that may be lost.
    names: BTreeSet<PathBuf>,
}

impl Unsynced {
    /// Records a step. Rejects a rename of an unsynced file.
    pub(crate) fn follow(&mut self, step: &Step) -> Result<(), Violation> {
        match step {
            Step::Created(path) => {
                self.files.insert(path.clone());
                self.names.insert(path.clone());
            }
            Step::CreatedDir(path) => {
                self.names.insert(path.clone());
            }
            Step::Written(path) => {
                self.files.insert(path.clone());
            }
            Step::Synced(path) => {
                self.files.remove(path);
                self.names.retain(|name| name.parent() != Some(path));
            }
            Step::Renamed(from, to) | Step::Exchanged(from, to) => {
                self.names.remove(from);
                if let Some(lost) = self.first_below(from) {
                    return Err(Violation(format!("{step:?}: {lost:?} is not synced")));
                }
                self.names.insert(to.clone());
            }
            Step::Removed(path) => {
                self.names.remove(path);
                self.files.remove(path);
            }
        }
        Ok(())
    }

    /// Rejects every change that a power loss could still undo.
    pub(crate) fn finish(&self) -> Result<(), Violation> {
        match self.first_below(Path::new("/")) {
            None => Ok(()),
            Some(lost) => Err(Violation(format!("it is done, but {lost:?} is not synced"))),
        }
    }

    fn first_below(&self, path: &Path) -> Option<&PathBuf> {
        let mut all = self.files.iter().chain(&self.names);
        all.find(|one| one.starts_with(path))
    }
}
