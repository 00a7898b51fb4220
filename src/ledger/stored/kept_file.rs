//! Rows of the table `files`: files of an imported directory that the model has no place for, and the own texts of
//! documents.
//!
//! The key is the runtime's id, or nothing for files of no runtime, a path, and the number of a chunk from 0. The path
//! does not depend on how a form of the layout names directories:
//!
//! | path | file |
//! |---|---|
//! | `r/<path>` | below the directory of the runtime; of no runtime: below `runtimes/` |
//! | `w/<hex of the worker's id>/<path>` | below the directory of a worker |
//! | `r/runtime.json`, `w/<hex>/worker.json` | the own text of a document |
//!
//! In a path, `%` and each byte that is not UTF-8 is `%XX`, in upper-case hex. A file has chunks of at most
//! [`MAX_CHUNK_BYTES`]; one that is empty has one empty chunk. An empty directory has one row. An own text begins with a chunk of its own that has the form
//! and the absent members of the document.

use crate::ledger::stored::additions::Additions;
use crate::ledger::stored::envelope::Record;
use crate::model::identity::{bytes_of_hex, hex};
use crate::model::layout_form::{AbsentMember, DocumentOrigin, LayoutForm};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The greatest length of a chunk, in bytes.
pub(crate) const MAX_CHUNK_BYTES: usize = 1 << 20;

/// The length of the chunks that an import writes, in bytes. The page of a row has a power of two of bytes: with the
/// key and the headers, a chunk of the greatest length would take twice its length.
pub(crate) const CHUNK_BYTES: usize = MAX_CHUNK_BYTES - (8 << 10);

/// The most bytes that the path of a file can have below its owner's directory: the longest path of a system call.
pub(crate) const MAX_PATH_BYTES: usize = 4095;

/// The path of the own text of `runtime.json`.
pub(crate) const RUNTIME_DOCUMENT: &str = "r/runtime.json";

/// The path of the own text of a worker's `worker.json`.
pub(crate) fn worker_document(worker: &str) -> String {
    format!("{}worker.json", worker_files(worker))
}

/// The prefix of the stored paths of a worker's files.
pub(crate) fn worker_files(worker: &str) -> String {
    format!("w/{}/", hex(worker.as_bytes()))
}

/// The first path after all paths that begin with `prefix`, which ends in `/`.
pub(crate) fn after_files(prefix: &str) -> String {
    // '0' is the character after '/'.
    format!("{}0", prefix.trim_end_matches('/'))
}

/// The stored path of the file `path`, below the directory of `worker` or of the runtime.
pub(crate) fn stored_path(worker: Option<&str>, path: &Path) -> String {
    let mut stored = worker.map_or_else(|| "r/".to_owned(), worker_files);
    for part in path.as_os_str().as_bytes().utf8_chunks() {
        stored.push_str(&part.valid().replace('%', "%25"));
        for byte in part.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(stored, "%{byte:02X}");
        }
    }
    stored
}

/// The owner of a stored path: the worker whose directory it is in, `None` for the runtime; and the path below that
/// directory. `None` for a path that is damaged.
pub(crate) fn parsed_path(stored: &str) -> Option<(Option<String>, PathBuf)> {
    if let Some(path) = stored.strip_prefix("r/") {
        return Some((None, unescaped(path)?));
    }
    let (worker, path) = stored.strip_prefix("w/")?.split_once('/')?;
    let worker = String::from_utf8(bytes_of_hex(worker.as_bytes())?).ok()?;
    Some((Some(worker), unescaped(path)?))
}

fn unescaped(path: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let escaped = after.get(..2)?.to_ascii_lowercase();
        bytes.extend(bytes_of_hex(escaped.as_bytes())?);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// Whether a path is that of an own text.
pub(crate) fn is_document(stored: &str) -> bool {
    match parsed_path(stored) {
        Some((None, path)) => path.as_os_str() == OsStr::new("runtime.json"),
        Some((Some(_), path)) => path.as_os_str() == OsStr::new("worker.json"),
        None => false,
    }
}

/// Whether a path is that of a log that had bytes and no record.
pub(crate) fn is_empty_log(stored: &str) -> bool {
    match parsed_path(stored) {
        Some((None, path)) => path.as_os_str() == OsStr::new("events.jsonl"),
        Some((Some(_), path)) => path.as_os_str() == OsStr::new("transcript.jsonl"),
        None => false,
    }
}

/// The key of a row of `files`, without its runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileKey {
    pub(crate) path: String,
    pub(crate) chunk: u64,
    /// The size of the stored value, in bytes.
    pub(crate) bytes: u64,
}

/// A row of `files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileChunkRow {
    /// A part of a file.
    Bytes(Vec<u8>),
    /// An empty directory.
    Directory,
    /// The form of a document whose text follows, and the members that it lacks.
    Origin(DocumentOrigin),
}

/// A value of the `files` table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FileChunkRecord<'v> {
    Bytes(&'v [u8]),
    Directory,
    Origin {
        form: FormRecord,
        /// (pointer, JSON)
        #[serde(borrow)]
        absent: Vec<(&'v str, &'v str)>,
    },
}

/// A form of the layout.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum FormRecord {
    A,
    B,
    C,
    D,
    E,
    F,
    G,
    H,
}

impl From<LayoutForm> for FormRecord {
    fn from(form: LayoutForm) -> Self {
        match form {
            LayoutForm::A => Self::A,
            LayoutForm::B => Self::B,
            LayoutForm::C => Self::C,
            LayoutForm::D => Self::D,
            LayoutForm::E => Self::E,
            LayoutForm::F => Self::F,
            LayoutForm::G => Self::G,
            LayoutForm::H => Self::H,
        }
    }
}

impl From<FormRecord> for LayoutForm {
    fn from(form: FormRecord) -> Self {
        match form {
            FormRecord::A => Self::A,
            FormRecord::B => Self::B,
            FormRecord::C => Self::C,
            FormRecord::D => Self::D,
            FormRecord::E => Self::E,
            FormRecord::F => Self::F,
            FormRecord::G => Self::G,
            FormRecord::H => Self::H,
        }
    }
}

impl Record for FileChunkRow {
    type Stored<'v> = FileChunkRecord<'v>;
    type Read<'v> = Self;

    fn stored(&self) -> FileChunkRecord<'_> {
        match self {
            Self::Bytes(bytes) => FileChunkRecord::Bytes(bytes),
            Self::Directory => FileChunkRecord::Directory,
            Self::Origin(origin) => FileChunkRecord::Origin {
                form: origin.form.into(),
                absent: origin
                    .absent
                    .iter()
                    .map(|member| (&*member.pointer, &*member.json))
                    .collect(),
            },
        }
    }

    fn read<'v>(stored: Self::Stored<'v>, _: Additions<'v>) -> Self::Read<'v> {
        match stored {
            FileChunkRecord::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            FileChunkRecord::Directory => Self::Directory,
            FileChunkRecord::Origin { form, absent } => Self::Origin(DocumentOrigin {
                form: form.into(),
                absent: absent
                    .into_iter()
                    .map(|(pointer, json)| AbsentMember {
                        pointer: pointer.to_owned(),
                        json: json.to_owned(),
                    })
                    .collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_paths_parse_to_their_owner_and_path() {
        let odd = OsStr::from_bytes(b"a%b/\xFFc/\xE3\x81");
        for worker in [None, Some("w/1"), Some("1")] {
            for path in [
                Path::new("notes.txt"),
                Path::new(odd),
                Path::new("ノート/x"),
            ] {
                let stored = stored_path(worker, path);
                let parsed = parsed_path(&stored);
                assert_eq!(parsed, Some((worker.map(str::to_owned), path.to_owned())));
                assert!(!is_document(&stored));
            }
        }
        assert_eq!(stored_path(None, Path::new(odd)), "r/a%25b/%FFc/%E3%81");
        for damaged in [
            "", "x/y", "w/3", "w/3/y", "w/zz/y", "w/+f/y", "w/4A/y", "r/%", "r/%a", "r/%zz",
            "r/%+F",
        ] {
            assert_eq!(parsed_path(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn files_of_a_worker_are_one_range() {
        let (first, end) = (worker_files("1"), after_files(&worker_files("1")));
        let is_within = |path: &str| *path >= *first && *path < *end;
        assert!(is_within(&worker_document("1")) && is_within("w/31/a/b"));
        assert!(!is_within("w/3131/a") && !is_within("w/30/a") && !is_within("r/a"));
        assert!(is_document(RUNTIME_DOCUMENT) && is_document(&worker_document("1")));
    }
}
