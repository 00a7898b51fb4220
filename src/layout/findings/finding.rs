//! What reading a directory brought to light, and what becomes of it.

use crate::model::severity::Severity;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A counter is ahead of its log, or a log leaves out ids. Nothing is changed. The place is that
    /// of the record after the first one that is not there, or the end.
    Gap,
    /// An event or a diagnostic names a worker that has no directory. It is kept.
    UnknownWorker,
    /// A temporary file that a killed write left over. It is not read.
    TemporaryFile,
    /// A file that is no part of the layout. It is not read.
    OtherFile,
    /// Lines that end in CRLF. They are exported with LF.
    LineEnding,
    /// A counter would give out an id again: one in its log, or one that a worker or an entry
    /// names. Salvage raises it past that.
    CounterBehind,
    /// A runtime directory without `runtime.json`. Salvage skips it.
    NeverInitialised,
    /// Files that belong to nothing that could be imported, named. Salvage leaves them out.
    Orphaned,
    /// A file or a directory of the layout is missing. Salvage goes on without it.
    MissingFile,
    /// The last line ends in the middle of a record. Salvage drops what is there of it.
    CutOff,
    /// Records run together in one line. Salvage keeps the whole ones.
    MergedLine,
    /// A line that is no record. Salvage quarantines it.
    InvalidLine,
    /// A line longer than the limit. Salvage quarantines it.
    LineTooLong,
    /// A document that cannot be read. Salvage skips its worker or runtime.
    InvalidDocument,
    /// A schema version or a backend that this layout does not have. Salvage skips the worker or
    /// runtime.
    Unsupported,
    /// Ids that disagree. Salvage skips the worker or runtime, or quarantines the line.
    Mismatch,
    /// Ids or sequences that do not increase strictly. Salvage keeps the first and quarantines the
    /// rest.
    NotIncreasing,
    /// A directory whose name stands for no id. Salvage ignores it.
    InvalidName,
    /// A second directory for one worker or runtime. Salvage ignores it.
    DuplicateDirectory,
    /// A file where only directories belong. Salvage ignores it.
    StrayFile,
    /// A symbolic link or a special file. Salvage ignores it; nothing ever follows one.
    NotRegular,
    /// A file that changed or went away while it was read. Salvage keeps what was read.
    Changed,
    /// The store has the runtime already, and it says something else. Salvage skips it.
    Conflict,
    /// What the system refuses to read. Salvage goes on without it.
    Unreadable,
    /// Findings that the store's record of an import has no room for, counted.
    Suppressed,
}

impl FindingKind {
    /// How much it matters.
    pub fn severity(self) -> Severity {
        match self {
            Self::Gap | Self::TemporaryFile | Self::LineEnding => Severity::Info,
            Self::UnknownWorker
            | Self::OtherFile
            | Self::CounterBehind
            | Self::MissingFile
            | Self::StrayFile => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// Whether a strict import goes on in spite of it.
    pub fn is_accepted(self) -> bool {
        matches!(
            self,
            Self::Gap
                | Self::UnknownWorker
                | Self::TemporaryFile
                | Self::OtherFile
                | Self::LineEnding
        )
    }

    /// The kind in words.
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
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The bytes that a finding is about, exactly as they are in the file.
#[derive(Clone, PartialEq, Eq)]
pub struct FindingText(Vec<u8>);

impl FindingText {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// How long the text is in JSON, the quotes around it not counted.
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

    /// Keeps at most the first `bytes`, and no part of a character.
    pub(crate) fn cut(&mut self, bytes: usize) {
        let kept = match self.as_str() {
            Some(text) => boundary_before(text, bytes),
            None => bytes,
        };
        self.0.truncate(kept);
        self.0.shrink_to_fit();
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, or `None` where the bytes are not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for FindingText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// Something that reading a directory brought to light.
///
/// In JSON an object: `kind`, `severity`, `path`, `line`, `byte`, `length`, `message`, and the text
/// as `text`, or as `text_hex` where it is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What was found.
    pub kind: FindingKind,
    /// The file or directory.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: Option<u64>,
    /// The offset in the file of the first byte that it is about; where a whole document is left out,
    /// that of the place in it which is the reason.
    pub byte: Option<u64>,
    /// How many bytes it is about: of a document that is left out, all.
    pub length: Option<u64>,
    /// Those bytes, whole, where they are left out of an import; the beginning of a line that is
    /// longer than the limit, and of what no longer fits into 64 MiB for all findings of a runtime,
    /// which the message says.
    pub text: Option<FindingText>,
    /// What was found, in words.
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

    /// The finding, about `bytes` at an offset in a line.
    pub(crate) fn at(self, line: u64, byte: u64, bytes: &[u8]) -> Self {
        self.placed(Some((line, byte))).about(bytes)
    }

    /// The finding at a line and a byte, if they are known.
    pub(crate) fn placed(mut self, at: Option<(u64, u64)>) -> Self {
        (self.line, self.byte) = at.unzip();
        self
    }

    /// The finding, about `bytes`.
    pub(crate) fn about(mut self, bytes: &[u8]) -> Self {
        self.length = Some(bytes.len() as u64);
        self.text = Some(FindingText::new(bytes));
        self
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }
}

/// Path, line, byte, kind and message, in one line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(byte) = self.byte {
            write!(f, ", byte {byte}")?;
        }
        write!(f, ": {}: {}", self.kind, self.message)
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
