//! The state of one reading of a runtime directory: its sink, its findings and its fingerprint.

use crate::layout::dir::error::is_about_content;
use crate::layout::dir::source::{FileState, NotOpened, SourceDir, SourceFile};
use crate::layout::error::LayoutError;
use crate::layout::findings::bounded::Findings;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::lines::LineReader;
use crate::layout::options::Rules;
use crate::layout::read::order::MAX_ITEM_BYTES;
use crate::layout::read::sink::{Counts, ReadStop, Sink};
use crate::layout::read::worker_states::WorkerStates;
use crate::ledger::stored::kept_file::{CHUNK_BYTES, FileChunkRow};
use crate::model::layout_form::LayoutForm;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// The size of a read, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// One reading of a runtime directory.
pub(crate) struct Reader<'a> {
    pub(crate) rules: Rules,
    pub(crate) sink: &'a mut dyn Sink,
    pub(crate) counts: Counts,
    /// The greatest event id that a worker or an entry of the runtime names.
    pub(crate) last_named_event: u64,
    /// Whether the runtime lies in the root: there the directory of a worker has its id as name.
    pub(crate) is_in_root: bool,
    /// The newest form of the layout so far.
    pub(crate) form: LayoutForm,
    /// The stored paths of the documents that an export would write with the bytes that they have.
    pub(crate) canonical: Vec<String>,
    /// The state of each worker by the event log, once a document lacks it.
    pub(crate) states: Option<WorkerStates>,
    /// The counter of the runtime's events, if it is known.
    pub(crate) next_event_id: Option<u64>,
    pub(crate) scratch: Vec<u8>,
    /// Whether the fast reader read the current line: then it has the bytes that are written for it.
    pub(crate) is_exact_line: bool,
    /// The callback for progress: the number of bytes of each read.
    pub(crate) on_bytes: &'a dyn Fn(u64),
    pub(super) findings: Findings,
    /// The number of texts that are stored because the findings do not have them.
    pub(super) stored_texts: u64,
    digest: Xxh3,
    pub(super) root: PathBuf,
    /// The files that were read, relative to `root`, with their state at that time.
    read: Vec<(PathBuf, FileState)>,
}

impl<'a> Reader<'a> {
    /// A reading of the runtime directory `root`.
    pub(crate) fn new(
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
            is_in_root: false,
            form: LayoutForm::A,
            canonical: Vec::new(),
            states: None,
            next_event_id: None,
            scratch: Vec::new(),
            is_exact_line: false,
            on_bytes,
            findings: Findings::default(),
            stored_texts: 0,
            digest: Xxh3::new(),
            root,
            read: Vec::new(),
        }
    }

    /// The findings, and the fingerprint of all files that were read.
    pub(crate) fn finish(self) -> (Vec<Finding>, u128) {
        (self.findings.finish(), self.digest.digest128())
    }

    /// Handles an error of the system. A strict reading fails with it. A lenient one adds a finding and
    /// continues without the file if the error speaks of the content, and fails otherwise.
    pub(crate) fn refused(
        &mut self,
        operation: &'static str,
        path: PathBuf,
        error: io::Error,
    ) -> Result<(), ReadStop> {
        if self.rules.is_strict || !is_about_content(&error) {
            return Err(LayoutError::io(operation, path)(error).into());
        }
        let message = format!("cannot {operation}: {error}");
        self.report(Finding::new(FindingKind::Unreadable, path, message))
    }

    /// The result of a call of the system; `None` where it failed and the reading continues.
    pub(crate) fn tried<V>(
        &mut self,
        operation: &'static str,
        path: impl Into<PathBuf>,
        given: io::Result<V>,
    ) -> Result<Option<V>, ReadStop> {
        match given {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.refused(operation, path.into(), error)?;
                Ok(None)
            }
        }
    }

    /// Opens a directory that must exist; `None` where it does not and the reading continues.
    pub(crate) fn open_dir(
        &mut self,
        parent: &SourceDir,
        name: impl AsRef<OsStr>,
    ) -> Result<Option<SourceDir>, ReadStop> {
        let name = name.as_ref();
        match parent.open_dir(name) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) => {
                self.not_opened(parent, name, error, FindingKind::MissingFile)?;
                Ok(None)
            }
        }
    }

    /// Opens a file that must exist; `None` where it does not and the reading continues.
    pub(crate) fn open_file(
        &mut self,
        dir: &SourceDir,
        name: impl AsRef<OsStr>,
        missing: FindingKind,
    ) -> Result<Option<Opened<'a>>, ReadStop> {
        let name = name.as_ref();
        match dir.open_file(name) {
            Ok(file) => Ok(Some(Opened::new(file, name, self.on_bytes))),
            Err(error) => {
                self.not_opened(dir, name, error, missing)?;
                Ok(None)
            }
        }
    }

    /// Opens a directory that may be missing.
    pub(crate) fn open_dir_if_any(
        &mut self,
        parent: &SourceDir,
        name: impl AsRef<OsStr>,
    ) -> Result<Option<SourceDir>, ReadStop> {
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

    /// Opens a file that may be missing.
    pub(crate) fn open_file_if_any(
        &mut self,
        dir: &SourceDir,
        name: impl AsRef<OsStr>,
    ) -> Result<Option<Opened<'a>>, ReadStop> {
        let name = name.as_ref();
        match dir.open_file(name) {
            Err(NotOpened::Missing) => Ok(None),
            Ok(file) => Ok(Some(Opened::new(file, name, self.on_bytes))),
            Err(error) => {
                self.not_opened(dir, name, error, FindingKind::MissingFile)?;
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
    ) -> Result<(), ReadStop> {
        let path = dir.path_of(name);
        self.report(match error {
            NotOpened::Missing => {
                Finding::new(missing, path, format!("{} does not exist", name.display()))
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

    /// Adds a file that was read to its end to the fingerprint, and checks that it did not change.
    pub(crate) fn close_file(&mut self, dir: &SourceDir, file: Opened<'a>) -> Result<(), ReadStop> {
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
        match self.tried("inspect", &path, is_unchanged)? {
            Some(true) if !ended_early => {
                self.read.push((relative, opened));
                Ok(())
            }
            Some(_) => self.report(changed(path)),
            None => Ok(()),
        }
    }

    /// Adds a finding if `file` changed since it was opened.
    pub(crate) fn expect_unchanged_yet(
        &mut self,
        dir: &SourceDir,
        file: &Opened<'_>,
    ) -> Result<(), ReadStop> {
        self.expect_same(dir, file.name.as_ref(), file.file.opened())
    }

    fn expect_same(
        &mut self,
        dir: &SourceDir,
        file: &Path,
        opened: FileState,
    ) -> Result<(), ReadStop> {
        let path = dir.path_of(file);
        let is_unchanged = dir.is_unchanged(file, opened);
        match self.tried("inspect", &path, is_unchanged)? {
            Some(false) => self.report(changed(path)),
            _ => Ok(()),
        }
    }

    /// Adds a finding for each file below `dir` that changed since it was read: while one file is read
    /// another one can change.
    pub(crate) fn expect_unchanged(&mut self, dir: &SourceDir) -> Result<(), ReadStop> {
        for (file, opened) in std::mem::take(&mut self.read) {
            self.expect_same(dir, &file, opened)?;
        }
        Ok(())
    }

    /// Reads and hashes a file without importing it: the fingerprint covers every file.
    pub(crate) fn pass_over(
        &mut self,
        dir: &SourceDir,
        mut file: Opened<'a>,
        path: &Path,
    ) -> Result<(), ReadStop> {
        let read = io::copy(&mut file, &mut io::sink());
        if self.tried("read", path, read)?.is_some() {
            self.close_file(dir, file)?;
        }
        Ok(())
    }

    /// Passes a text to the sink, as chunks of the file with the stored path `path`.
    pub(crate) fn keep_text(
        &mut self,
        path: &str,
        first_chunk: u64,
        text: Vec<u8>,
    ) -> Result<(), ReadStop> {
        for (number, chunk) in (first_chunk..).zip(text.chunks(CHUNK_BYTES)) {
            self.sink
                .file(path, number, FileChunkRow::Bytes(chunk.to_vec()))?;
        }
        Ok(())
    }

    /// Adds an empty directory to the fingerprint.
    pub(crate) fn note_empty_directory(&mut self, path: &Path) {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        self.digest.update(relative.as_os_str().as_encoded_bytes());
        // The paths of files end in one NUL.
        self.digest.update(b"\0\0");
    }

    pub(crate) fn lines(&self, file: Opened<'a>) -> LineReader<BufReader<Opened<'a>>> {
        let capacity = usize::try_from(file.file.len()).unwrap_or(READ_BYTES);
        let limit_bytes = match self.rules.mends() {
            true => self.rules.max_line_bytes.min(MAX_ITEM_BYTES),
            false => self.rules.max_line_bytes,
        };
        LineReader::new(
            BufReader::with_capacity(capacity.clamp(1024, READ_BYTES), file),
            limit_bytes,
        )
    }
}

pub(crate) fn changed(path: PathBuf) -> Finding {
    let message = "the file changed while it was read; stop the process that writes to it";
    Finding::new(FindingKind::Changed, path, message)
}

/// An open file that hashes the bytes read from it.
pub(crate) struct Opened<'a> {
    file: SourceFile,
    name: OsString,
    digest: Xxh3,
    read_bytes: u64,
    /// Whether a read failed.
    has_failed: bool,
    on_bytes: &'a dyn Fn(u64),
}

impl<'a> Opened<'a> {
    fn new(file: SourceFile, name: &OsStr, on_bytes: &'a dyn Fn(u64)) -> Self {
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
    /// The length of the file when it was opened, in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.file.len()
    }

    /// Reads at an offset, as [`SourceFile::read_at`]. These bytes are not hashed.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
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
