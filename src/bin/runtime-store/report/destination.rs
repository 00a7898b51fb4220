//! Where a report goes: a file that appears as a whole, or standard output.

use crate::output::failure::Failure;
use crate::output::print::Output;
use rustix::fs::fsync;
use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, SpooledTempFile};

/// The bytes of a report for standard output that are held in memory; a longer one goes to a temporary file.
const SPOOLED_BYTES: usize = 8 << 20;

/// A report under way. Until it is finished nothing of it appears.
pub(crate) enum Destination {
    /// A file next to its path.
    File {
        staged: Box<BufWriter<NamedTempFile>>,
        path: PathBuf,
    },
    /// Standard output gets the report once the store is read: a slow reader must not keep a snapshot.
    Stdout(Box<BufWriter<SpooledTempFile>>),
}

impl Destination {
    /// The file at `path`, which must not be the store; standard output without one.
    pub(crate) fn new(path: Option<&Path>, store: &Path) -> Result<Self, Failure> {
        let Some(path) = path else {
            let spooled = tempfile::spooled_tempfile(SPOOLED_BYTES);
            return Ok(Self::Stdout(Box::new(BufWriter::new(spooled))));
        };
        refuse(path, store)?;
        // Only its owner reads the file, like the store: it has what people wrote.
        let staged = tempfile::Builder::new()
            .prefix(".report-")
            .tempfile_in(directory_of(path))
            .map_err(|error| about(path, error))?;
        Ok(Self::File {
            staged: Box::new(BufWriter::with_capacity(64 << 10, staged)),
            path: path.to_owned(),
        })
    }

    pub(crate) fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::File { staged, .. } => staged,
            Self::Stdout(spooled) => spooled,
        }
    }

    /// Lets the report appear: prints it, or syncs its file and renames it to its path. Returns its size in bytes.
    pub(crate) fn finish(self, output: &mut Output) -> Result<u64, Failure> {
        match self {
            Self::Stdout(spooled) => {
                let mut spooled = spooled.into_inner().map_err(|error| error.into_error())?;
                spooled.rewind()?;
                Ok(io::copy(&mut spooled, output.out())?)
            }
            Self::File { staged, path } => {
                publish(*staged, &path).map_err(|error| about(&path, error))
            }
        }
    }
}

fn publish(staged: BufWriter<NamedTempFile>, path: &Path) -> io::Result<u64> {
    let staged = staged.into_inner().map_err(|error| error.into_error())?;
    let bytes = staged.as_file().metadata()?.len();
    fsync(staged.as_file())?;
    staged.persist(path)?;
    fsync(File::open(directory_of(path))?)?;
    Ok(bytes)
}

/// Refuses paths that a report must not replace.
fn refuse(path: &Path, store: &Path) -> Result<(), Failure> {
    let Ok(there) = path.metadata() else {
        return Ok(());
    };
    let identity = |file: &Metadata| (file.dev(), file.ino());
    let is_store = store
        .metadata()
        .is_ok_and(|store| identity(&store) == identity(&there));
    let shown = path.display();
    if is_store {
        return Err(Failure::WrongUse(format!(
            "{shown} is the store; write the report to another file"
        )));
    }
    if !there.is_file() {
        return Err(Failure::WrongUse(format!(
            "{shown} is no file that a report can replace; without --output it goes to standard output"
        )));
    }
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// An error of the file at `path`.
fn about(path: &Path, error: impl Into<io::Error>) -> Failure {
    let error = error.into();
    let text = format!("{}: {error}", path.display());
    Failure::Output(io::Error::new(error.kind(), text))
}
