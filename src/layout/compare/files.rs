//! Compares kept files of a directory with those of the store, chunk by chunk.

use crate::error::RuntimeError;
use crate::layout::findings::finding::FindingKind;
use crate::layout::format::names::RUNTIMES;
use crate::layout::report::{Comparison, Difference};
use crate::ledger::stored::kept_file::{FileChunkRow, is_document, is_empty_log, parsed_path};
use crate::model::identity::RuntimeId;
use crate::model::persisted::ImportRecord;
use crate::store::snapshot::Snapshot;
use serde::Deserialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// How a file of the directory stands to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    Same,
    Different,
    OnlyInDirectory,
}

/// A comparison of the files of one runtime, or of no runtime. The caller passes the chunks of the directory in order.
pub(crate) struct FileComparison<'s> {
    snapshot: &'s Snapshot,
    id: Option<&'s RuntimeId>,
    /// The stored paths of the directory, apart from the current one.
    seen: HashSet<String>,
    /// The file whose chunks arrive: its path, the chunks so far and its state.
    current: Option<(String, u64, FileState)>,
}

impl<'s> FileComparison<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot, id: Option<&'s RuntimeId>) -> Self {
        Self {
            snapshot,
            id,
            seen: HashSet::new(),
            current: None,
        }
    }

    /// Takes a chunk of the directory. Returns the path and the state of the file before it, if it is the first of
    /// another one.
    pub(crate) fn take(
        &mut self,
        path: &str,
        chunk: u64,
        row: &FileChunkRow,
    ) -> Result<Option<(String, FileState)>, RuntimeError> {
        if self.id.is_some() && (is_document(path) || is_empty_log(path)) {
            return Ok(None);
        }
        let ended = match chunk {
            0 => self.end_of_file()?,
            _ => None,
        };
        let stored = self.snapshot.file_chunk(self.id, path, chunk)?;
        let found = match stored {
            Some(stored) if stored == *row => FileState::Same,
            None if chunk == 0 => FileState::OnlyInDirectory,
            _ => FileState::Different,
        };
        match &mut self.current {
            Some((_, chunks, state)) => {
                *chunks += 1;
                if *state == FileState::Same {
                    *state = found;
                }
            }
            none => *none = Some((path.to_owned(), 1, found)),
        }
        Ok(ended)
    }

    /// Ends the current file. Returns its path and its state.
    pub(crate) fn end_of_file(&mut self) -> Result<Option<(String, FileState)>, RuntimeError> {
        let Some((path, chunks, mut state)) = self.current.take() else {
            return Ok(None);
        };
        let has_more = || self.snapshot.file_chunk(self.id, &path, chunks);
        if state == FileState::Same && has_more()?.is_some() {
            state = FileState::Different;
        }
        self.seen.insert(path.clone());
        Ok(Some((path, state)))
    }

    /// The stored paths of the store that the directory does not have, once all its files ended.
    pub(crate) fn only_in_store(&self) -> Result<Vec<String>, RuntimeError> {
        let mut missing = Vec::new();
        let mut next = self.snapshot.next_file(self.id, "", false)?;
        while let Some(path) = next {
            next = self.snapshot.next_file(self.id, &path, true)?;
            if !self.seen.contains(&path) && self.snapshot.is_kept(self.id, &path)? {
                missing.push(path);
            }
        }
        Ok(missing)
    }
}

/// The files that an import has left out, as its record lists them.
#[derive(Default)]
pub(crate) struct LeftOut {
    /// The paths of files and of whole directories, below the root of the import.
    paths: Vec<PathBuf>,
}

impl LeftOut {
    /// Those of an import record. Versions before the table `files` left out every file that is not part of the layout.
    pub(crate) fn of(record: Option<&ImportRecord>) -> Self {
        #[derive(Deserialize)]
        struct Listed {
            kind: String,
            path: PathBuf,
        }
        let Some(record) = record else {
            return Self::default();
        };
        let kinds = [
            FindingKind::FileLeftOut,
            FindingKind::OtherFile,
            FindingKind::TemporaryFile,
        ];
        let names: Vec<String> = kinds
            .iter()
            .map(|kind| kind.as_str().replace(' ', "_"))
            .collect();
        let listed = record
            .findings
            .iter()
            .filter_map(|json| serde_json::from_str::<Listed>(json).ok());
        let paths = listed
            .filter(|listed| names.contains(&listed.kind))
            .filter_map(|listed| Some(listed.path.strip_prefix(&record.source).ok()?.to_owned()));
        Self {
            paths: paths.collect(),
        }
    }

    /// Whether the import left out the file at `path` of the directory `root`, alone or with a directory.
    pub(crate) fn has(&self, root: &Path, path: &Path) -> bool {
        // The record has paths as text.
        let below = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
        let below = Path::new(&*below);
        self.paths
            .iter()
            .any(|left_out| below.starts_with(left_out))
    }
}

/// The number of differences in a report; further ones are only counted.
const LISTED_DIFFERENCES: usize = 100;

pub(crate) const ONLY_IN_STORE: &str = "the directory does not have this file of the store";

/// Of a file that both sides have.
pub(crate) const DIFFERS: &str = "the file differs from that of the store";

/// The path of a file with this stored path, in the directory of its worker, of its runtime or in `runtimes`.
pub(crate) fn shown(dir: &Path, stored: &str) -> PathBuf {
    let path = parsed_path(stored).map(|(_, path)| path);
    dir.join(path.unwrap_or_default())
}

/// Reports a file of the directory `dir`. `runtime_dir` is the directory of its runtime.
pub(crate) fn take_file(
    left_out: &LeftOut,
    dir: &Path,
    runtime_dir: &Path,
    (stored, state): (String, FileState),
    out: &mut Comparison,
) {
    let path = shown(dir, &stored);
    match state {
        FileState::Same => out.files += 1,
        FileState::OnlyInDirectory if left_out.has(root_of(runtime_dir), &path) => {
            out.files_left_out += 1;
        }
        FileState::OnlyInDirectory => {
            differ(out, &path, None, "the store does not have this file");
        }
        FileState::Different => {
            differ(out, &path, None, DIFFERS);
        }
    }
}

/// The root of the directory of a runtime, or of `runtimes`.
fn root_of(dir: &Path) -> &Path {
    let runtimes = dir.ancestors().find(|above| above.ends_with(RUNTIMES));
    runtimes.and_then(Path::parent).unwrap_or(dir)
}

pub(crate) fn differ(
    out: &mut Comparison,
    path: &Path,
    line: Option<u64>,
    what: impl Into<String>,
) {
    out.total_differences += 1;
    if out.differences.len() < LISTED_DIFFERENCES {
        out.differences.push(Difference {
            path: path.to_owned(),
            line,
            what: what.into(),
        });
    }
}
