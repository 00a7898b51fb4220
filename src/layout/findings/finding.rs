//! Findings about a directory: their kinds, their severity and their JSON.

use crate::model::identity::hex;
use crate::model::severity::Severity;
use crate::model::visible::Visible;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

/// The kind of a finding. Each kind states how a salvage import handles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// Ids are missing in a log, or between its last record and its counter. The import changes nothing. The
    /// position is the record after the first missing id, or the end of the log.
    Gap,
    /// An event or a diagnostic names a worker that has no directory. It is imported.
    UnknownWorker,
    /// A temporary file or directory that an interrupted write left behind. The import stores one of the directory store
    /// as it stores an [`OtherFile`](Self::OtherFile); one of an export is not read, and the next export removes it.
    TemporaryFile,
    /// A file or a directory that is not part of the layout. The import stores it as it is, and an export writes it
    /// again.
    OtherFile,
    /// Lines that end in CRLF. They are exported as they are.
    LineEnding,
    /// A counter would assign an id a second time: an id in its log, or one that a worker or an entry
    /// names. Salvage raises the counter past that id.
    CounterBehind,
    /// A runtime directory without `runtime.json`. Salvage rebuilds the runtime if the directory has an event or a worker,
    /// and skips it otherwise.
    NeverInitialised,
    /// A file that belongs to no runtime or worker that can be imported. Salvage leaves it out.
    Orphaned,
    /// A file or a directory of the layout is missing. Salvage continues without it, and rebuilds a worker if its
    /// transcript or an event shows that it existed.
    MissingFile,
    /// The last line ends in the middle of a record. Salvage leaves that record out.
    CutOff,
    /// One line has several records. Salvage imports the complete ones.
    MergedLine,
    /// A line that is not a record. Salvage leaves it out; the finding has its text.
    InvalidLine,
    /// A line longer than the limit. Salvage leaves it out.
    LineTooLong,
    /// A document that cannot be parsed. Salvage rebuilds its worker or runtime, and only skips a byte-order mark.
    InvalidDocument,
    /// A schema version or a backend that this version does not read. Salvage skips the worker or
    /// runtime.
    Unsupported,
    /// Two ids that must be equal differ. Salvage skips the worker or runtime, or leaves out the line.
    Mismatch,
    /// Ids or sequences do not strictly increase. Salvage imports the records in their order. It leaves out repeats, and
    /// records that are not part of the longest increasing run if their numbers are taken or were not assigned yet.
    NotIncreasing,
    /// A directory whose name encodes no id. The import stores it as an [`OtherFile`](Self::OtherFile).
    InvalidName,
    /// A second directory for one worker or runtime, with its id in upper-case hex. The import stores it as an
    /// [`OtherFile`](Self::OtherFile).
    DuplicateDirectory,
    /// A file where a directory of the layout belongs. Salvage ignores it.
    StrayFile,
    /// A symbolic link or a special file. Salvage ignores it; a link is never followed.
    NotRegular,
    /// A file changed or disappeared while it was read. Salvage imports the bytes that were read.
    Changed,
    /// The store has the runtime already, with other content. Salvage skips it.
    Conflict,
    /// The disk or the file system cannot read it, for example an I/O error. Salvage continues without
    /// that file or directory. Missing permissions and a shortage of descriptors or memory are no
    /// findings: the import fails.
    Unreadable,
    /// The number of findings that do not fit into the import record in the store.
    Suppressed,
    /// A `recorded_at` that is no time as an export writes it, `2026-11-29T12:00:00.000Z`. The record is imported
    /// without a time, and the member as it is.
    UnreadableTime,
    /// An `attributes` that is no JSON object, is too large, or is there twice. The record is imported without attributes,
    /// and the member as it is.
    UnreadableAttributes,
    /// A runtime of a form without an event log and without transcripts: see
    /// [the forms](crate::guide::directory_forms). Its workers are imported.
    NoHistory,
    /// A runtime or a worker whose document is damaged or missing. Salvage rebuilds it from the name of its directory and
    /// its logs, and from what the damaged document still has; the finding about the document has its text.
    Rebuilt,
    /// An event or a diagnostic names a worker whose id is longer than
    /// [`MAX_ID_BYTES`](crate::identity::MAX_ID_BYTES). Salvage leaves it out.
    IdTooLong,
    /// A file or a directory that is not part of the layout, and that the import left out as
    /// [requested](crate::layout::ImportOptions::without_files).
    FileLeftOut,
    /// The path of a file that is not part of the layout has more than 4095 bytes below the directory of its runtime or
    /// worker. Salvage leaves it out.
    PathTooLong,
}

impl FindingKind {
    /// The severity of this kind.
    pub fn severity(self) -> Severity {
        match self {
            Self::Gap
            | Self::TemporaryFile
            | Self::OtherFile
            | Self::LineEnding
            | Self::NoHistory => Severity::Info,
            Self::UnknownWorker
            | Self::InvalidName
            | Self::DuplicateDirectory
            | Self::FileLeftOut
            | Self::CounterBehind
            | Self::MissingFile
            | Self::UnreadableTime
            | Self::UnreadableAttributes
            | Self::StrayFile => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// Whether a strict import accepts a directory with this finding.
    pub fn is_accepted(self) -> bool {
        matches!(
            self,
            Self::Gap
                | Self::UnknownWorker
                | Self::TemporaryFile
                | Self::OtherFile
                | Self::InvalidName
                | Self::DuplicateDirectory
                | Self::FileLeftOut
                | Self::LineEnding
                | Self::NoHistory
                | Self::UnreadableTime
                | Self::UnreadableAttributes
        )
    }

    /// The name of the kind, as reports print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::UnknownWorker => "unknown worker",
            Self::TemporaryFile => "temporary file",
            Self::OtherFile => "other file",
            Self::LineEnding => "line ending",
            Self::CounterBehind => "counter behind",
            Self::NeverInitialised => "never initialised",
            Self::Orphaned => "orphaned",
            Self::MissingFile => "missing",
            Self::CutOff => "cut off",
            Self::MergedLine => "merged line",
            Self::InvalidLine => "invalid line",
            Self::LineTooLong => "line too long",
            Self::InvalidDocument => "invalid document",
            Self::Unsupported => "unsupported",
            Self::Mismatch => "mismatch",
            Self::NotIncreasing => "not increasing",
            Self::InvalidName => "invalid name",
            Self::DuplicateDirectory => "duplicate directory",
            Self::StrayFile => "stray file",
            Self::NotRegular => "not a regular file",
            Self::Changed => "changed",
            Self::Conflict => "conflict",
            Self::Suppressed => "more of the same",
            Self::Unreadable => "unreadable",
            Self::IdTooLong => "id too long",
            Self::Rebuilt => "rebuilt",
            Self::UnreadableTime => "unreadable time",
            Self::UnreadableAttributes => "unreadable attributes",
            Self::NoHistory => "no history",
            Self::FileLeftOut => "file left out",
            Self::PathTooLong => "path too long",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The bytes of the file that a finding is about.
#[derive(Clone, PartialEq, Eq)]
pub struct FindingText(Vec<u8>);

impl FindingText {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The length of the text in JSON, in bytes, without the quotes around it.
    pub(crate) fn json_bytes(&self) -> u64 {
        let escaped = |byte: &u8| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
            0..0x20 => 6,
            _ => 1,
        };
        match self.as_str() {
            Some(text) => text.as_bytes().iter().map(escaped).sum(),
            None => 2 * self.0.len() as u64,
        }
    }

    /// Cuts the text to at most `bytes` bytes, at the end of a character.
    pub(crate) fn cut(&mut self, bytes: usize) {
        let end = match self.as_str() {
            Some(text) => boundary_before(text, bytes),
            None => bytes,
        };
        self.0.truncate(end);
        self.0.shrink_to_fit();
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text; `None` if the bytes are not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for FindingText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// One finding about a directory.
///
/// In JSON it is an object with `kind`, `severity`, `path`, `line`, `byte`, `length`, `message`, and the text
/// as `text`, or as `text_hex` if it is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Its kind.
    pub kind: FindingKind,
    /// The file or directory.
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: Option<u64>,
    /// The offset in the file, in bytes, of the first byte that the finding is about. If a complete document
    /// is left out, the offset of the member that is the reason.
    pub byte: Option<u64>,
    /// The number of bytes that the finding is about; for a document that is left out, its length.
    pub length: Option<u64>,
    /// The bytes that the import leaves out, complete with two exceptions: the text of a line beyond the
    /// limit, and a text beyond the 64 MiB for all findings of a runtime, are cut to their first 1024 bytes.
    /// The message states it.
    pub text: Option<FindingText>,
    /// The message: the problem and, if there is one, its reason.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(kind: FindingKind, path: PathBuf, message: impl Into<String>) -> Self {
        Self {
            kind,
            path,
            line: None,
            byte: None,
            length: None,
            text: None,
            message: message.into(),
        }
    }

    /// Sets the line, the offset and the bytes.
    pub(crate) fn at(self, line: u64, byte: u64, bytes: &[u8]) -> Self {
        self.placed(Some((line, byte))).about(bytes)
    }

    /// Sets the line and the offset, if they are known.
    pub(crate) fn placed(mut self, at: Option<(u64, u64)>) -> Self {
        (self.line, self.byte) = at.unzip();
        self
    }

    /// Sets the bytes and their length.
    pub(crate) fn about(mut self, bytes: &[u8]) -> Self {
        self.length = Some(bytes.len() as u64);
        self.text = Some(FindingText::new(bytes));
        self
    }

    /// The severity of its kind.
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }
}

/// Path, line, byte, kind and message, in one line, escaped as by [`Visible`].
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Visible(self.path.display()))?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(byte) = self.byte {
            write!(f, ", byte {byte}")?;
        }
        write!(f, ": {}: {}", self.kind, Visible(&self.message))
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Finding", 9)?;
        out.serialize_field("kind", &self.kind)?;
        out.serialize_field("severity", &self.severity())?;
        out.serialize_field("path", &self.path.to_string_lossy())?;
        out.serialize_field("line", &self.line)?;
        out.serialize_field("byte", &self.byte)?;
        out.serialize_field("length", &self.length)?;
        out.serialize_field("message", &self.message)?;
        if let Some(text) = &self.text {
            match text.as_str() {
                Some(text) => out.serialize_field("text", text)?,
                None => out.serialize_field("text_hex", &hex(text.as_bytes()))?,
            }
        }
        out.end()
    }
}

/// The end of the last whole character in the first `bytes` of a text.
pub(crate) fn boundary_before(text: &str, bytes: usize) -> usize {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}
