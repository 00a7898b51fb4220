//! Writes kept files into a directory.

use crate::layout::dir::source::{EntryKind, NotOpened, SourceDir};
use crate::layout::dir::target::{TargetDir, TargetFile, temporary_name};
use crate::layout::error::LayoutError;
use crate::layout::export::log_writer::Written;
use crate::layout::export::runtime_writer::RuntimeWriter;
use crate::ledger::stored::kept_file::{FileChunkRow, parsed_path};
use crate::model::identity::RuntimeId;
use crate::store::snapshot::Snapshot;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// How a file gets to its place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placing {
    /// In a directory that is staged as a whole.
    Direct,
    /// Under a temporary name first, and then to a name that no entry has.
    New,
    /// Under a temporary name first, and then over the file of that name, if there is one.
    Replace,
}

/// Writes files below one directory, whose chunks arrive in order.
pub(crate) struct FileWriter<'d> {
    base: &'d TargetDir,
    placing: Placing,
    /// The directory for temporary names.
    staging: &'d TargetDir,
    /// The last directory below `base`. Only one is open: a tree can be deeper than a process has descriptors.
    here: Option<(PathBuf, TargetDir)>,
    file: Option<(TargetFile, String, OsString)>,
    written: Written,
    on_bytes: &'d (dyn Fn(u64) + Sync),
}

impl<'d> FileWriter<'d> {
    pub(crate) fn new(
        (base, staging): (&'d TargetDir, &'d TargetDir),
        placing: Placing,
        on_bytes: &'d (dyn Fn(u64) + Sync),
    ) -> Self {
        Self {
            base,
            placing,
            staging,
            here: None,
            file: None,
            written: Written::default(),
            on_bytes,
        }
    }

    /// Writes a chunk of the file with a stored path.
    pub(crate) fn chunk(
        &mut self,
        stored: &str,
        chunk: u64,
        row: FileChunkRow,
    ) -> Result<(), LayoutError> {
        if chunk == 0 {
            self.end_file()?;
            let path = path_below(self.base.as_source(), stored)?;
            match &row {
                FileChunkRow::Directory => {
                    self.enter(&path)?;
                    self.written.files += 1;
                }
                _ => self.begin_file(&path)?,
            }
        }
        if let (FileChunkRow::Bytes(bytes), Some((file, ..))) = (&row, &mut self.file) {
            let written = file.append(|out| {
                out.extend_from_slice(bytes);
                Ok(())
            })?;
            self.written.bytes += written;
            (self.on_bytes)(written);
        }
        Ok(())
    }

    fn begin_file(&mut self, path: &Path) -> Result<(), LayoutError> {
        self.enter(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or_default().to_owned();
        let (dir, temporary) = match self.placing {
            Placing::Direct => (self.here.as_ref().map_or(self.base, |(_, dir)| dir), None),
            Placing::New | Placing::Replace => (self.staging, Some(temporary_name())),
        };
        let file = match &temporary {
            None => dir.create_file(&name)?,
            Some(temporary) => dir.create_file(temporary)?,
        };
        self.file = Some((file, temporary.unwrap_or_default(), name));
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), LayoutError> {
        let Some((file, temporary, name)) = self.file.take() else {
            return Ok(());
        };
        file.finish()?;
        let here = self.here.as_ref().map_or(self.base, |(_, dir)| dir);
        match self.placing {
            Placing::Direct => {}
            Placing::New => self.staging.rename_into(&temporary, here, &name)?,
            Placing::Replace => self.staging.rename_over(&temporary, here, &name)?,
        }
        self.written.files += 1;
        Ok(())
    }

    /// Opens the directory at `path` below the base; creates what is missing.
    fn enter(&mut self, path: &Path) -> Result<(), LayoutError> {
        if self.here.as_ref().map_or(Path::new(""), |(here, _)| here) == path {
            return Ok(());
        }
        self.leave()?;
        for name in path.iter() {
            let (above, dir) = match &self.here {
                Some((above, dir)) => (above.as_path(), dir),
                None => (Path::new(""), self.base),
            };
            self.here = Some((above.join(name), dir.ensure_dir(name)?));
        }
        Ok(())
    }

    /// Syncs the names in the last directory.
    fn leave(&mut self) -> Result<(), LayoutError> {
        match self.here.take() {
            Some((_, dir)) => Ok(dir.sync()?),
            None => Ok(()),
        }
    }

    /// Completes and syncs the last file and its directory. The caller syncs the base.
    pub(crate) fn finish(mut self) -> Result<Written, LayoutError> {
        self.end_file()?;
        self.leave()?;
        Ok(self.written)
    }
}

impl RuntimeWriter<'_> {
    /// Writes the kept files of a runtime whose stored paths begin with `prefix` into a directory that is staged.
    pub(crate) fn write_files(
        &self,
        dir: &TargetDir,
        (id, prefix): (&RuntimeId, &str),
    ) -> Result<Written, LayoutError> {
        let mut writer = FileWriter::new((dir, dir), Placing::Direct, self.on_bytes);
        self.snapshot
            .each_kept_chunk(Some(id), prefix, |path, chunk, row| {
                writer.chunk(path, chunk, row)
            })?;
        writer.finish()
    }

    /// Writes the kept file with a stored path into a directory that exists.
    pub(crate) fn add_file(
        &self,
        dirs: (&TargetDir, &TargetDir),
        (id, stored): (Option<&RuntimeId>, &str),
        placing: Placing,
    ) -> Result<Written, LayoutError> {
        let mut writer = FileWriter::new(dirs, placing, self.on_bytes);
        self.snapshot
            .each_file_chunk(id, stored, |path, chunk, row| {
                writer.chunk(path, chunk, row)
            })?;
        let written = writer.finish()?;
        dirs.0.sync()?;
        Ok(written)
    }
}

/// The path of a stored path, below the directory of its owner. A damaged store can name any path.
fn path_below(dir: &SourceDir, stored: &str) -> Result<PathBuf, LayoutError> {
    let path = parsed_path(stored).map(|(_, path)| path);
    let is_below = |path: &PathBuf| {
        let mut parts = path.components();
        !path.as_os_str().is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
    };
    path.filter(is_below)
        .ok_or_else(|| LayoutError::Unwritable {
            path: dir.path().to_owned(),
            message: format!("the stored path {stored:?} leads out of this directory"),
        })
}

/// The state of a directory at the place of a kept file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Same,
    /// A file with other bytes.
    Different,
    /// An entry of another kind there, or above it.
    InTheWay,
}

/// Looks for the kept file with a stored path below `dir`.
pub(crate) fn find(
    snapshot: &Snapshot,
    dir: &SourceDir,
    (id, stored): (Option<&RuntimeId>, &str),
) -> Result<Found, LayoutError> {
    let path = path_below(dir, stored)?;
    let mut above: Option<SourceDir> = None;
    for name in path.parent().into_iter().flat_map(Path::iter) {
        let opened = above.as_ref().unwrap_or(dir).open_dir(name);
        match opened {
            Ok(below) => above = Some(below),
            Err(NotOpened::Missing) => return Ok(Found::Nothing),
            Err(NotOpened::File | NotOpened::Other(_)) => return Ok(Found::InTheWay),
            Err(NotOpened::Io(source)) => {
                return Err(LayoutError::io("open", dir.path_of(path))(source));
            }
        }
    }
    let dir = above.as_ref().unwrap_or(dir);
    let name = path.file_name().unwrap_or_default();
    let kind = dir.kind_of(name);
    let kind = kind.map_err(LayoutError::io("inspect", dir.path_of(name)))?;
    let is_directory = snapshot.file_chunk(id, stored, 0)? == Some(FileChunkRow::Directory);
    match kind {
        None => Ok(Found::Nothing),
        Some(EntryKind::Directory) if is_directory => Ok(Found::Same),
        Some(EntryKind::File) if !is_directory => has_bytes(snapshot, (dir, name), (id, stored)),
        Some(_) => Ok(Found::InTheWay),
    }
}

fn has_bytes(
    snapshot: &Snapshot,
    (dir, name): (&SourceDir, &OsStr),
    (id, stored): (Option<&RuntimeId>, &str),
) -> Result<Found, LayoutError> {
    let path = || dir.path_of(name);
    let mut file = match dir.open_file(name) {
        Ok(file) => file,
        Err(NotOpened::Io(source)) => return Err(LayoutError::io("open", path())(source)),
        Err(_) => return Ok(Found::InTheWay),
    };
    let mut is_same = true;
    let mut found = Vec::new();
    snapshot.each_file_chunk(id, stored, |_, _, row| {
        if let (FileChunkRow::Bytes(bytes), true) = (row, is_same) {
            found.clear();
            let read = (&mut file).take(bytes.len() as u64).read_to_end(&mut found);
            read.map_err(LayoutError::io("read", path()))?;
            is_same = found == bytes;
        }
        Ok::<_, LayoutError>(())
    })?;
    let rest = file
        .read(&mut [0])
        .map_err(LayoutError::io("read", path()))?;
    Ok(match is_same && rest == 0 {
        true => Found::Same,
        false => Found::Different,
    })
}
