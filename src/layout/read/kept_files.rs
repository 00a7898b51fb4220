//! Reads the files and directories that are not part of the layout, in chunks, for the table `files`.

use crate::layout::dir::source::{DirIdentity, EntryKind, SourceDir};
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::read::reader::{Opened, Reader, changed};
use crate::layout::read::sink::ReadStop;
use crate::ledger::stored::kept_file::{CHUNK_BYTES, FileChunkRow, MAX_PATH_BYTES, stored_path};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

/// An entry of a directory that is not part of the layout, with the finding that says so.
#[derive(Clone, Debug)]
pub(crate) struct OtherEntry {
    pub(crate) name: OsString,
    pub(crate) is_directory: bool,
    pub(crate) finding: Finding,
}

/// The directory that entries are in: that of a worker or of the runtime, and a path below it.
#[derive(Clone, Copy)]
pub(crate) struct FilePlace<'a> {
    pub(crate) worker: Option<&'a str>,
    pub(crate) below: &'a Path,
}

impl<'a> FilePlace<'a> {
    /// A directory of the runtime; for files of no runtime, of `runtimes`.
    pub(crate) fn of_runtime(below: &'a str) -> Self {
        Self {
            worker: None,
            below: Path::new(below),
        }
    }

    /// The directory of a worker.
    pub(crate) fn of_worker(worker: &'a str) -> Self {
        Self {
            worker: Some(worker),
            below: Path::new(""),
        }
    }
}

/// The files that were read below one entry, their bytes, and the empty directories.
#[derive(Default)]
struct Tally {
    files: u64,
    directories: u64,
    bytes: u64,
}

/// A directory that is being read.
struct Level {
    identity: DirIdentity,
    names: IntoIter<OsString>,
    /// Whether the sink got anything of it. A directory of which it got nothing is stored as an empty one.
    is_stored: bool,
}

impl Reader<'_> {
    /// Passes entries of `dir` to the sink, with everything below them.
    pub(crate) fn keep_all(
        &mut self,
        dir: &SourceDir,
        place: FilePlace<'_>,
        others: Vec<OtherEntry>,
    ) -> Result<(), ReadStop> {
        others
            .into_iter()
            .try_for_each(|other| self.keep(dir, place, other))
    }

    /// Passes an entry of `dir` to the sink, with everything below it.
    pub(crate) fn keep(
        &mut self,
        dir: &SourceDir,
        place: FilePlace<'_>,
        mut other: OtherEntry,
    ) -> Result<(), ReadStop> {
        if self.rules.without_files {
            other.finding.kind = FindingKind::FileLeftOut;
            return self.report(other.finding);
        }
        let (worker, path) = (place.worker, place.below.join(&other.name));
        let mut tally = Tally::default();
        match other.is_directory {
            true => self.keep_directory(dir, (worker, path), &mut tally)?,
            false => {
                self.keep_file(dir, (worker, &path), &mut tally)?;
            }
        }
        let Tally {
            files,
            directories,
            bytes,
        } = tally;
        self.counts.files += files + directories;
        other.finding.message.push_str(&match other.is_directory {
            true => format!(": a directory with {files} files, {bytes} bytes"),
            false => format!(": a file of {bytes} bytes"),
        });
        self.report(other.finding)
    }

    /// Passes a directory of `dir` to the sink, with everything below it. `path` ends in its name.
    ///
    /// One directory is open at a time, and the stack is a list: a tree can be deeper than a process has descriptors.
    fn keep_directory(
        &mut self,
        dir: &SourceDir,
        (worker, mut path): (Option<&str>, PathBuf),
        tally: &mut Tally,
    ) -> Result<(), ReadStop> {
        let name = path.file_name().unwrap_or_default().to_owned();
        let Some((mut here, level)) = self.enter(dir, &name)? else {
            return Ok(());
        };
        let mut levels = vec![level];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                if !level.is_stored {
                    let stored = stored_path(worker, &path);
                    self.sink.file(&stored, 0, FileChunkRow::Directory)?;
                    self.note_empty_directory(here.path());
                    tally.directories += 1;
                }
                levels.pop();
                path.pop();
                let Some(above) = levels.last_mut() else {
                    break;
                };
                above.is_stored = true;
                match self.tried("open", here.path(), here.parent(above.identity))? {
                    Some(Some(parent)) => here = parent,
                    Some(None) => return self.report(changed(here.path().to_owned())),
                    None => return Ok(()),
                }
                continue;
            };
            path.push(&name);
            match self.kind_below(&here, &name, &path)? {
                Some(EntryKind::Directory) => {
                    if let Some((below, next)) = self.enter(&here, &name)? {
                        here = below;
                        levels.push(next);
                        continue;
                    }
                }
                Some(EntryKind::File) => {
                    let is_stored = self.keep_file(&here, (worker, &path), tally)?;
                    if let Some(level) = levels.last_mut() {
                        level.is_stored |= is_stored;
                    }
                }
                Some(EntryKind::Other(_)) | None => {}
            }
            path.pop();
        }
        Ok(())
    }

    fn enter(
        &mut self,
        dir: &SourceDir,
        name: &OsStr,
    ) -> Result<Option<(SourceDir, Level)>, ReadStop> {
        let Some(below) = self.open_dir(dir, name)? else {
            return Ok(None);
        };
        let names = self.tried("list", below.path(), below.names())?;
        let identity = self.tried("inspect", below.path(), below.identity())?;
        Ok(names.zip(identity).map(|(names, identity)| {
            let level = Level {
                identity,
                names: names.into_iter(),
                is_stored: false,
            };
            (below, level)
        }))
    }

    /// The kind of the entry `name` of `dir`; `None`, with a finding, for one that cannot be stored.
    fn kind_below(
        &mut self,
        dir: &SourceDir,
        name: &OsStr,
        path: &Path,
    ) -> Result<Option<EntryKind>, ReadStop> {
        let full = dir.path_of(name);
        let Some(kind) = self.tried("inspect", &full, dir.kind_of(name))? else {
            return Ok(None);
        };
        let bytes = path.as_os_str().len();
        let finding = match kind {
            Some(EntryKind::Other(what)) => {
                Finding::new(FindingKind::NotRegular, full, format!("this is {what}"))
            }
            None => changed(full),
            Some(_) if bytes > MAX_PATH_BYTES => {
                let message = format!("the path has {bytes} bytes, the limit is {MAX_PATH_BYTES}");
                Finding::new(FindingKind::PathTooLong, full, message)
            }
            Some(kind) => return Ok(Some(kind)),
        };
        self.report(finding)?;
        Ok(None)
    }

    /// Passes the file of `dir` at the end of `path` to the sink. Returns whether the sink got it.
    fn keep_file(
        &mut self,
        dir: &SourceDir,
        (worker, path): (Option<&str>, &Path),
        tally: &mut Tally,
    ) -> Result<bool, ReadStop> {
        let name = path.file_name().unwrap_or_default();
        let Some(mut file) = self.open_file(dir, name, FindingKind::Changed)? else {
            return Ok(false);
        };
        let stored = stored_path(worker, path);
        let length = file.length();
        let mut chunk = 0;
        loop {
            let read = next_chunk(&mut file, length);
            let Some(bytes) = self.tried("read", dir.path_of(name), read)? else {
                // The sink keeps the chunks that it got: salvage loses nothing that can be read.
                return Ok(chunk > 0);
            };
            let is_last = bytes.len() < CHUNK_BYTES;
            if chunk == 0 || !bytes.is_empty() {
                tally.bytes += bytes.len() as u64;
                self.sink.file(&stored, chunk, FileChunkRow::Bytes(bytes))?;
                chunk += 1;
            }
            if is_last {
                break;
            }
        }
        tally.files += 1;
        self.close_file(dir, file)?;
        Ok(true)
    }
}

/// The next bytes of a file of `length` bytes: a whole chunk, or the rest of the file.
fn next_chunk(file: &mut Opened<'_>, length: u64) -> std::io::Result<Vec<u8>> {
    let capacity = usize::try_from(length)
        .unwrap_or(CHUNK_BYTES)
        .min(CHUNK_BYTES);
    let mut bytes = Vec::with_capacity(capacity);
    file.take(CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
