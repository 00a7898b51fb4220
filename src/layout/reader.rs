//! One reading of one runtime directory: what it gives, what it notices, and where it stops.
//!
//! Strict and salvage imports, dry runs and comparisons all read in this way; they differ in what
//! a finding leads to and in where the records go.

use super::crlf::CrLf;
use super::document::{BACKEND, RuntimeDocument, SCHEMA_VERSION, Stamp, WorkerDocument};
use super::error::LayoutError;
use super::finding::{Finding, FindingKind};
use super::findings::Findings;
use super::json::{self, Form, Record};
use super::lines::LineReader;
use super::parts;
use super::problem::Problem;
use super::source::{Moment, NotOpened, SourceDir, SourceFile};
use crate::store::{
    BorrowedEntry, BorrowedEvent, PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored,
};
use std::ffi::OsStr;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// How many times as long a document becomes at most when it is written with all its line breaks.
const MOST_GROWTH: u64 = 16;

/// How much is read at a time.
const READ_BYTES: usize = 256 * 1024;

/// Where a record is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    pub(super) line: Option<u64>,
    /// The offset in the file.
    pub(super) byte: Option<u64>,
}

impl<'a> Place<'a> {
    /// All of a file.
    pub(super) fn whole(path: &'a Path) -> Self {
        Self {
            path,
            line: None,
            byte: None,
        }
    }
}

/// Where the records of a reading go. A worker comes after its transcript, the runtime last.
pub(super) trait Sink {
    fn entry(&mut self, place: Place<'_>, entry: BorrowedEntry<'_>) -> Result<(), LayoutError>;
    fn worker(
        &mut self,
        place: Place<'_>,
        worker: Stored<PersistedWorkerSnapshot>,
    ) -> Result<(), LayoutError>;
    fn event(&mut self, place: Place<'_>, event: BorrowedEvent<'_>) -> Result<(), LayoutError>;
    fn runtime(
        &mut self,
        place: Place<'_>,
        runtime: Stored<PersistedRuntimeSnapshot>,
    ) -> Result<(), LayoutError>;
}

/// A reading that writes nothing.
pub(super) struct Nowhere;

impl Sink for Nowhere {
    fn entry(&mut self, _: Place<'_>, _: BorrowedEntry<'_>) -> Result<(), LayoutError> {
        Ok(())
    }

    fn worker(
        &mut self,
        _: Place<'_>,
        _: Stored<PersistedWorkerSnapshot>,
    ) -> Result<(), LayoutError> {
        Ok(())
    }

    fn event(&mut self, _: Place<'_>, _: BorrowedEvent<'_>) -> Result<(), LayoutError> {
        Ok(())
    }

    fn runtime(
        &mut self,
        _: Place<'_>,
        _: Stored<PersistedRuntimeSnapshot>,
    ) -> Result<(), LayoutError> {
        Ok(())
    }
}

/// Why a reading stopped before its end.
pub(super) enum Halt {
    /// At a finding that a strict reading does not accept: the last one.
    Refused,
    /// At an error.
    Failed(LayoutError),
}

impl From<LayoutError> for Halt {
    fn from(error: LayoutError) -> Self {
        Self::Failed(error)
    }
}

/// What a reading is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Whether to stop at damage.
    pub(super) is_strict: bool,
    /// Whether a counter that is behind is given on as it has to be, and not as it is.
    pub(super) raises_counters: bool,
    pub(super) max_line_bytes: usize,
    pub(super) max_document_bytes: u64,
}

/// What a reading gave.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) workers: u64,
    pub(super) events: u64,
    pub(super) transcript_entries: u64,
    pub(super) bytes: u64,
}

/// One reading.
pub(super) struct Reader<'a> {
    pub(super) rules: Rules,
    pub(super) sink: &'a mut dyn Sink,
    pub(super) counts: Counts,
    /// The greatest event id that a worker or an entry of the runtime names.
    pub(super) last_named_event: u64,
    pub(super) scratch: Vec<u8>,
    /// Told how many bytes more were read.
    pub(super) on_bytes: &'a dyn Fn(u64),
    findings: Findings,
    digest: Xxh3,
    root: PathBuf,
    /// The files that were read, below `root`, and what they were then.
    read: Vec<(PathBuf, Moment)>,
}

impl<'a> Reader<'a> {
    /// A reading of the runtime directory `root`.
    pub(super) fn new(
        root: PathBuf,
        rules: Rules,
        sink: &'a mut dyn Sink,
        on_bytes: &'a dyn Fn(u64),
    ) -> Self {
        Self {
            rules,
            sink,
            counts: Counts::default(),
            last_named_event: 0,
            scratch: Vec::new(),
            on_bytes,
            findings: Findings::default(),
            digest: Xxh3::new(),
            root,
            read: Vec::new(),
        }
    }

    /// What was noticed, and a digest of everything that was read.
    pub(super) fn finish(self) -> (Vec<Finding>, u128) {
        (self.findings.finish(), self.digest.digest128())
    }

    /// Notes a finding. A strict reading ends at one that it does not accept.
    pub(super) fn report(&mut self, finding: Finding) -> Result<(), Halt> {
        let ends = self.rules.is_strict && !finding.kind.is_accepted();
        self.findings.add(finding);
        if ends { Err(Halt::Refused) } else { Ok(()) }
    }

    /// Notes what the system refused. A strict reading ends with its error; another one goes on
    /// without what could not be read.
    pub(super) fn refused(
        &mut self,
        operation: &'static str,
        path: PathBuf,
        error: io::Error,
    ) -> Result<(), Halt> {
        if self.rules.is_strict {
            return Err(LayoutError::io(operation, path)(error).into());
        }
        let message = format!("{operation}: {error}");
        self.report(Finding::new(FindingKind::Unreadable, path, message))
    }

    /// What the system gave; `None` where it refused and the reading goes on.
    pub(super) fn tried<V>(
        &mut self,
        operation: &'static str,
        path: impl Into<PathBuf>,
        given: io::Result<V>,
    ) -> Result<Option<V>, Halt> {
        match given {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.refused(operation, path.into(), error)?;
                Ok(None)
            }
        }
    }

    /// Opens a directory that should be there; `None` where it is not and the reading goes on.
    pub(super) fn open_dir(
        &mut self,
        parent: &SourceDir,
        name: &str,
    ) -> Result<Option<SourceDir>, Halt> {
        match parent.open_dir(name) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) => {
                self.not_opened(parent, name.as_ref(), error, FindingKind::MissingFile)?;
                Ok(None)
            }
        }
    }

    /// Opens a file that should be there; `None` where it is not and the reading goes on.
    pub(super) fn open_file(
        &mut self,
        dir: &SourceDir,
        name: &str,
        missing: FindingKind,
    ) -> Result<Option<Opened<'a>>, Halt> {
        match dir.open_file(name) {
            Ok(file) => Ok(Some(Opened::new(file, name, self.on_bytes))),
            Err(error) => {
                self.not_opened(dir, name.as_ref(), error, missing)?;
                Ok(None)
            }
        }
    }

    /// Opens a directory that may be there.
    pub(super) fn open_dir_if_any(
        &mut self,
        parent: &SourceDir,
        name: impl AsRef<OsStr>,
    ) -> Result<Option<SourceDir>, Halt> {
        let name = name.as_ref();
        match parent.open_dir(name) {
            Ok(dir) => Ok(Some(dir)),
            Err(NotOpened::Missing) => Ok(None),
            Err(error) => {
                self.not_opened(parent, name, error, FindingKind::MissingFile)?;
                Ok(None)
            }
        }
    }

    /// Opens a file that may be there.
    pub(super) fn open_file_if_any(
        &mut self,
        dir: &SourceDir,
        name: &str,
    ) -> Result<Option<Opened<'a>>, Halt> {
        match dir.open_file(name) {
            Err(NotOpened::Missing) => Ok(None),
            Ok(file) => Ok(Some(Opened::new(file, name, self.on_bytes))),
            Err(error) => {
                self.not_opened(dir, name.as_ref(), error, FindingKind::MissingFile)?;
                Ok(None)
            }
        }
    }

    fn not_opened(
        &mut self,
        dir: &SourceDir,
        name: &OsStr,
        error: NotOpened,
        missing: FindingKind,
    ) -> Result<(), Halt> {
        let path = dir.path_of(name);
        self.report(match error {
            NotOpened::Missing => {
                Finding::new(missing, path, format!("there is no {}", name.display()))
            }
            NotOpened::File => {
                let message = "a file where a directory belongs";
                Finding::new(FindingKind::StrayFile, path, message)
            }
            NotOpened::Other(what) => {
                Finding::new(FindingKind::NotRegular, path, format!("this is {what}"))
            }
            NotOpened::Io(source) => return self.refused("open", path, source),
        })
    }

    /// Notes a file that is read to its end, and whether it is still what it was.
    pub(super) fn close_file(&mut self, dir: &SourceDir, file: Opened<'a>) -> Result<(), Halt> {
        let path = dir.path_of(&file.name);
        let relative = path.strip_prefix(&self.root).unwrap_or(&path);
        self.digest.update(relative.as_os_str().as_encoded_bytes());
        self.digest.update(b"\0");
        self.digest.update(&file.read_bytes.to_le_bytes());
        self.digest.update(&file.digest.digest128().to_le_bytes());
        self.counts.bytes += file.read_bytes;
        let ended_early = file.read_bytes != file.file.len() && !file.has_failed;
        let relative = relative.to_owned();
        let opened = file.file.opened();
        let is_unchanged = dir.is_unchanged(&file.name, opened);
        match self.tried("look at", &path, is_unchanged)? {
            Some(true) if !ended_early => {
                self.read.push((relative, opened));
                Ok(())
            }
            Some(_) => self.report(changed(path)),
            None => Ok(()),
        }
    }

    /// Notes that `file` is not what it was when it was opened, if so.
    pub(super) fn expect_unchanged_yet(
        &mut self,
        dir: &SourceDir,
        file: &Opened<'_>,
    ) -> Result<(), Halt> {
        self.expect_same(dir, file.name.as_ref(), file.file.opened())
    }

    fn expect_same(&mut self, dir: &SourceDir, file: &Path, opened: Moment) -> Result<(), Halt> {
        let path = dir.path_of(file);
        let is_unchanged = dir.is_unchanged(file, opened);
        match self.tried("look at", &path, is_unchanged)? {
            Some(false) => self.report(changed(path)),
            _ => Ok(()),
        }
    }

    /// Notes which of the files below the runtime directory `dir` that were read are not what they
    /// were: while one was read another one can have changed.
    pub(super) fn expect_unchanged(&mut self, dir: &SourceDir) -> Result<(), Halt> {
        for (file, opened) in std::mem::take(&mut self.read) {
            self.expect_same(dir, &file, opened)?;
        }
        Ok(())
    }

    /// Reads a document; `None` where it cannot be used and the reading goes on.
    pub(super) fn read_document<T: Document>(
        &mut self,
        dir: &SourceDir,
        missing: FindingKind,
    ) -> Result<Option<ReadDocument<T>>, Halt> {
        let Some(mut file) = self.open_file(dir, T::FILE, missing)? else {
            return Ok(None);
        };
        let path = dir.path_of(T::FILE);
        let (length, limit) = (file.file.len(), self.rules.max_document_bytes);
        if length > limit {
            let message = format!("the document has {length} bytes, the limit is {limit}");
            let finding = Finding::new(FindingKind::InvalidDocument, path.clone(), message);
            self.report(finding)?;
            self.pass_over(dir, file, &path)?;
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        let read = file.read_to_end(&mut bytes);
        if self.tried("read", &path, read)?.is_none() {
            return Ok(None);
        }
        self.close_file(dir, file)?;
        match json::read::<T>(&bytes, Form::Document, &mut self.scratch) {
            Ok(stored) if stored.value.stamp().is_supported::<T>() => {
                if let Some(length) = self.exported_too_long(&stored, length) {
                    let message = format!(
                        "exported the document would have {length} bytes, the limit is {limit}"
                    );
                    let finding = Finding::new(FindingKind::InvalidDocument, path, message);
                    self.report(finding.about(&bytes))?;
                    return Ok(None);
                }
                if let Some(finding) = CrLf::of_document(&bytes).finding(path) {
                    self.report(finding)?;
                }
                Ok(Some(ReadDocument { stored, bytes }))
            }
            Ok(stored) => {
                self.report(unsupported(path, &stored.value.stamp(), &bytes))?;
                Ok(None)
            }
            Err(problem) => {
                // Another version of the layout is told from damage.
                let stamp = serde_json::from_slice::<Stamp>(&bytes).ok();
                let finding = match stamp.filter(|stamp| !stamp.is_supported::<T>()) {
                    Some(stamp) => unsupported(path, &stamp, &bytes),
                    None => invalid_document(path, &problem, &bytes),
                };
                self.report(finding)?;
                Ok(None)
            }
        }
    }

    /// How long a document of `length` bytes would be when it is exported, if that is too long:
    /// whatever is imported can be exported and imported again.
    fn exported_too_long<T: Document>(&mut self, stored: &Stored<T>, length: u64) -> Option<u64> {
        let limit = self.rules.max_document_bytes;
        if length < limit / MOST_GROWTH {
            return None;
        }
        self.scratch.clear();
        let written = json::write(
            &stored.value,
            &stored.unknown,
            Form::Document,
            &mut self.scratch,
        );
        let length = self.scratch.len() as u64;
        (written.is_ok() && length > limit).then_some(length)
    }

    /// Reads a file that nothing is made of: it too is a part of what is known again.
    pub(super) fn pass_over(
        &mut self,
        dir: &SourceDir,
        mut file: Opened<'a>,
        path: &Path,
    ) -> Result<(), Halt> {
        let read = io::copy(&mut file, &mut io::sink());
        if self.tried("read", path, read)?.is_some() {
            self.close_file(dir, file)?;
        }
        Ok(())
    }

    pub(super) fn lines(&self, file: Opened<'a>) -> LineReader<BufReader<Opened<'a>>> {
        let capacity = usize::try_from(file.file.len()).unwrap_or(READ_BYTES);
        LineReader::new(
            BufReader::with_capacity(capacity.clamp(1024, READ_BYTES), file),
            self.rules.max_line_bytes,
        )
    }
}

fn changed(path: PathBuf) -> Finding {
    let message = "the file changed while it was read; stop what writes to it";
    Finding::new(FindingKind::Changed, path, message)
}

fn unsupported(path: PathBuf, stamp: &Stamp, bytes: &[u8]) -> Finding {
    let (member, message) = match &stamp.backend {
        Some(backend) if stamp.schema_version == SCHEMA_VERSION => {
            let message = format!("backend is {backend:?}, only {BACKEND:?} is read");
            ("backend", message)
        }
        _ => {
            let found = stamp.schema_version;
            let message = format!("schema_version is {found}, only {SCHEMA_VERSION} is read");
            ("schema_version", message)
        }
    };
    whole(
        Finding::new(FindingKind::Unsupported, path, message),
        bytes,
        member,
    )
}

fn invalid_document(path: PathBuf, problem: &Problem, bytes: &[u8]) -> Finding {
    let message = problem.message.clone();
    let offset = problem.offset_in(bytes);
    Finding::new(FindingKind::InvalidDocument, path, message)
        .placed(offset.map(|offset| (problem.line as u64, offset as u64)))
        .about(bytes)
}

/// A finding about a whole document, because of a member of it.
pub(super) fn whole(finding: Finding, document: &[u8], member: &str) -> Finding {
    at_member(finding, document, member).about(document)
}

/// A document of the layout.
pub(super) trait Document: Record {
    /// Its file.
    const FILE: &'static str;
    /// Whether it says which backend wrote it.
    const HAS_BACKEND: bool;

    fn stamp(&self) -> Stamp;
}

impl Document for RuntimeDocument {
    const FILE: &'static str = "runtime.json";
    const HAS_BACKEND: bool = true;

    fn stamp(&self) -> Stamp {
        Stamp {
            schema_version: self.schema_version,
            backend: Some(self.backend.clone()),
        }
    }
}

impl Document for WorkerDocument {
    const FILE: &'static str = "worker.json";
    const HAS_BACKEND: bool = false;

    fn stamp(&self) -> Stamp {
        Stamp {
            schema_version: self.schema_version,
            backend: None,
        }
    }
}

impl Stamp {
    fn is_supported<T: Document>(&self) -> bool {
        let backend = self.backend.as_deref().unwrap_or(BACKEND);
        self.schema_version == SCHEMA_VERSION && (!T::HAS_BACKEND || backend == BACKEND)
    }
}

/// A document that was read.
pub(super) struct ReadDocument<T> {
    pub(super) stored: Stored<T>,
    pub(super) bytes: Vec<u8>,
}

/// A finding about the value that `member` of a document has.
pub(super) fn at_member(finding: Finding, document: &[u8], member: &str) -> Finding {
    match parts::member(document, member) {
        Some(value) => finding.at(value.line, value.byte, value.bytes),
        None => finding,
    }
}

/// An open file that digests what is read of it.
pub(super) struct Opened<'a> {
    file: SourceFile,
    name: String,
    digest: Xxh3,
    read_bytes: u64,
    /// Whether the system refused to read on.
    has_failed: bool,
    on_bytes: &'a dyn Fn(u64),
}

impl<'a> Opened<'a> {
    fn new(file: SourceFile, name: &str, on_bytes: &'a dyn Fn(u64)) -> Self {
        Self {
            file,
            name: name.to_owned(),
            digest: Xxh3::new(),
            read_bytes: 0,
            has_failed: false,
            on_bytes,
        }
    }
}

impl Opened<'_> {
    /// How long the file was when it was opened.
    pub(super) fn bytes(&self) -> u64 {
        self.file.len()
    }
}

impl Read for Opened<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer).inspect_err(|error| {
            self.has_failed |= error.kind() != io::ErrorKind::Interrupted;
        })?;
        self.digest.update(&buffer[..read]);
        self.read_bytes += read as u64;
        (self.on_bytes)(read as u64);
        Ok(read)
    }
}
