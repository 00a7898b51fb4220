//! Compares kept files of a directory with those of the store, chunk by chunk.

use crate::error::RuntimeError;
use crate::layout::compare::diff::{Found, window};
use crate::layout::findings::finding::FindingKind;
use crate::layout::format::names::RUNTIMES;
use crate::layout::report::{Comparison, Difference, DifferenceKind, DifferenceWindow};
use crate::ledger::convert::stored_size;
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

/// A file of the directory, compared.
#[derive(Debug)]
pub(crate) struct ComparedFile {
    /// Its stored path.
    pub(crate) stored: String,
    pub(crate) state: FileState,
    /// The surroundings of the first byte in which both sides differ.
    window: Option<DifferenceWindow>,
    chunks: u64,
    /// The length of the chunks so far, in bytes.
    bytes: u64,
}

impl ComparedFile {
    /// Adds a chunk of the directory and the one at its place in the store.
    fn add(&mut self, row: &FileChunkRow, stored: Option<&FileChunkRow>) {
        let found = match stored {
            Some(stored) if stored == row => FileState::Same,
            None if self.chunks == 0 => FileState::OnlyInDirectory,
            _ => FileState::Different,
        };
        if self.state == FileState::Same && found == FileState::Different {
            self.window = window_of(Some(row), stored, self.bytes);
        }
        if self.state == FileState::Same {
            self.state = found;
        }
        self.chunks += 1;
        self.bytes += bytes_of(Some(row)).map_or(0, |bytes| stored_size(bytes.len()));
    }
}

/// The bytes of a chunk; none of one that a side lacks. `None` for one that has no bytes.
fn bytes_of(row: Option<&FileChunkRow>) -> Option<&[u8]> {
    match row {
        Some(FileChunkRow::Bytes(bytes)) => Some(bytes),
        None => Some(&[]),
        Some(FileChunkRow::Directory | FileChunkRow::Origin(_)) => None,
    }
}

/// The surroundings of the first difference of two chunks, which begin at the offset `start` of their file. `None` where
/// a directory is at the place of a file.
pub(crate) fn window_of(
    left: Option<&FileChunkRow>,
    right: Option<&FileChunkRow>,
    start: u64,
) -> Option<DifferenceWindow> {
    Some(window(bytes_of(left)?, bytes_of(right)?, start))
}

/// A comparison of the files of one runtime, or of no runtime. The caller passes the chunks of the directory in order.
pub(crate) struct FileComparison<'s> {
    snapshot: &'s Snapshot,
    id: Option<&'s RuntimeId>,
    /// The stored paths of the directory, apart from the current one.
    seen: HashSet<String>,
    /// The file whose chunks arrive.
    current: Option<ComparedFile>,
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

    /// Takes a chunk of the directory. Returns the file before it, if it is the first of another one.
    pub(crate) fn take(
        &mut self,
        path: &str,
        chunk: u64,
        row: &FileChunkRow,
    ) -> Result<Option<ComparedFile>, RuntimeError> {
        if self.id.is_some() && (is_document(path) || is_empty_log(path)) {
            return Ok(None);
        }
        let ended = match chunk {
            0 => self.end_of_file()?,
            _ => None,
        };
        let stored = self.snapshot.file_chunk(self.id, path, chunk)?;
        let current = self.current.get_or_insert_with(|| ComparedFile {
            stored: path.to_owned(),
            state: FileState::Same,
            window: None,
            chunks: 0,
            bytes: 0,
        });
        current.add(row, stored.as_ref());
        Ok(ended)
    }

    /// Ends the current file, and returns it.
    pub(crate) fn end_of_file(&mut self) -> Result<Option<ComparedFile>, RuntimeError> {
        let Some(mut file) = self.current.take() else {
            return Ok(None);
        };
        if file.state == FileState::Same
            && let Some(more) = self
                .snapshot
                .file_chunk(self.id, &file.stored, file.chunks)?
        {
            file.state = FileState::Different;
            file.window = window_of(None, Some(&more), file.bytes);
        }
        self.seen.insert(file.stored.clone());
        Ok(Some(file))
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
pub(crate) const LISTED_DIFFERENCES: usize = 100;

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
    file: ComparedFile,
    out: &mut Comparison,
) {
    let path = shown(dir, &file.stored);
    match file.state {
        FileState::Same => out.files += 1,
        FileState::OnlyInDirectory if left_out.has(root_of(runtime_dir), &path) => {
            out.files_left_out += 1;
        }
        FileState::OnlyInDirectory => {
            let what = "the store does not have this file";
            differ(out, DifferenceKind::File, (&path, None), what);
        }
        FileState::Different => {
            differ(
                out,
                DifferenceKind::File,
                (&path, None),
                different(DIFFERS, file.window),
            );
        }
    }
}

/// The difference between two files: `what`, and where it begins.
pub(crate) fn different(what: &str, window: Option<DifferenceWindow>) -> Found {
    let what = match &window {
        Some(window) => format!("{what} from byte {} on", window.offset),
        None => what.to_owned(),
    };
    Found { what, window }
}

/// The root of the directory of a runtime, or of `runtimes`.
fn root_of(dir: &Path) -> &Path {
    let runtimes = dir.ancestors().find(|above| above.ends_with(RUNTIMES));
    runtimes.and_then(Path::parent).unwrap_or(dir)
}

/// Counts a difference at a path and a line, and lists it unless there are too many.
pub(crate) fn differ(
    out: &mut Comparison,
    kind: DifferenceKind,
    (path, line): (&Path, Option<u64>),
    found: impl Into<Found>,
) {
    out.total_differences += 1;
    *out.differing.entry(kind).or_default() += 1;
    if out.differences.len() < LISTED_DIFFERENCES {
        let Found { what, window } = found.into();
        out.differences.push(Difference {
            path: path.to_owned(),
            line,
            what,
            window,
        });
    }
}
