//! A directory that is only read.

use crate::fs::names::dangling;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Why something in a directory could not be opened.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// No entry of that name.
    Missing,
    /// A file where a directory was expected.
    File,
    /// An entry of another kind, in words.
    Other(&'static str),
    /// The error of the system.
    Io(io::Error),
}

impl From<Errno> for NotOpened {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT => Self::Missing,
            Errno::LOOP | Errno::MLINK => Self::Other("a symbolic link"),
            error => Self::Io(error.into()),
        }
    }
}

/// The kind of an entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    /// A kind that is never opened, in words.
    Other(&'static str),
}

fn entry_kind(stat: &Stat) -> EntryKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Other("a symbolic link"),
        FileType::Fifo => EntryKind::Other("a named pipe"),
        FileType::Socket => EntryKind::Other("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => EntryKind::Other("a device"),
        _ => EntryKind::Other("a special file"),
    }
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct SourceDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl SourceDir {
    /// Opens the directory at `path`. Links are followed here, because the caller named this path.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            fd: rustix::fs::open(path, flags, Mode::empty())
                .map_err(|error| dangling(path, error.into()))?,
            path: path.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn path_of(&self, name: impl AsRef<OsStr>) -> PathBuf {
        match name.as_ref() {
            name if name == "." => self.path.clone(),
            name => self.path.join(name),
        }
    }

    /// The kind of the entry `name`; `None` where there is none.
    pub(crate) fn kind_of(&self, name: impl AsRef<OsStr>) -> io::Result<Option<EntryKind>> {
        fault_point(|| self.path_of(&name))?;
        match rustix::fs::statat(&self.fd, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(entry_kind(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn length_of(&self, name: &OsStr) -> io::Result<u64> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileState::of(&stat).length)
    }

    /// The directory `name`.
    pub(crate) fn open_dir(&self, name: impl AsRef<OsStr>) -> Result<Self, NotOpened> {
        let name = name.as_ref();
        fault_point(|| self.path_of(name)).map_err(NotOpened::Io)?;
        // Checked before it is opened, because opening a special file can have effects.
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match entry_kind(&stat) {
            EntryKind::Directory => {}
            EntryKind::File => return Err(NotOpened::File),
            EntryKind::Other(what) => return Err(NotOpened::Other(what)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())?;
        Ok(Self {
            fd,
            path: self.path_of(name),
        })
    }

    /// The directory that the directory is in; `None` if it is no longer the one with the identity `expected`.
    pub(crate) fn parent(&self, expected: DirIdentity) -> io::Result<Option<Self>> {
        fault_point(|| self.path.clone())?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = Self {
            fd: rustix::fs::openat(&self.fd, "..", flags, Mode::empty())?,
            path: self.path.parent().unwrap_or(&self.path).to_owned(),
        };
        let identity = parent.identity()?;
        Ok((identity == expected).then_some(parent))
    }

    pub(crate) fn identity(&self) -> io::Result<DirIdentity> {
        let FileState { device, inode, .. } = FileState::of(&rustix::fs::fstat(&self.fd)?);
        Ok(DirIdentity { device, inode })
    }

    /// The regular file `name`, to be read.
    pub(crate) fn open_file(&self, name: impl AsRef<OsStr>) -> Result<SourceFile, NotOpened> {
        let name = name.as_ref();
        fault_point(|| self.path_of(name)).map_err(NotOpened::Io)?;
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match entry_kind(&stat) {
            EntryKind::File => {}
            EntryKind::Directory => return Err(NotOpened::Other("a directory")),
            EntryKind::Other(what) => return Err(NotOpened::Other(what)),
        }
        // NONBLOCK: if a pipe replaced the file after the check, opening must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?);
        let opened = rustix::fs::fstat(&file)?;
        if entry_kind(&opened) != EntryKind::File {
            return Err(NotOpened::Other("no regular file"));
        }
        Ok(SourceFile {
            unread: FileState::of(&opened).length,
            opened: FileState::of(&opened),
            file,
            #[cfg(test)]
            path: self.path_of(name),
        })
    }

    /// All names in the directory, sorted by their bytes.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        fault_point(|| self.path.clone())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let name = CString::from(entry?.file_name()).into_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        Ok(names)
    }

    /// Whether the file at `name`, below the directory, is still the one that was opened, unchanged.
    pub(crate) fn is_unchanged(&self, name: impl AsRef<Path>, then: FileState) -> io::Result<bool> {
        let name = name.as_ref();
        fault_point(|| self.path_of(name))?;
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileState::of(&stat) == then),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The identity of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirIdentity {
    device: u64,
    inode: u64,
}

/// The identity of a file, and the metadata that a write to it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileState {
    device: u64,
    inode: u64,
    length: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl FileState {
    // The widths of the fields differ between systems.
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            length: stat.st_size as u64,
            modified_s: stat.st_mtime as i64,
            modified_ns: stat.st_mtime_nsec as i64,
        }
    }
}

/// An open file. Reading ends at the length that it had when it was opened, even if it grows.
#[derive(Debug)]
pub(crate) struct SourceFile {
    file: File,
    opened: FileState,
    unread: u64,
    #[cfg(test)]
    path: PathBuf,
}

impl SourceFile {
    pub(crate) fn len(&self) -> u64 {
        self.opened.length
    }

    pub(crate) fn opened(&self) -> FileState {
        self.opened
    }

    /// Reads at an offset until `buffer` is full or the file ends, at the length that it had when it was opened. The
    /// position of [`read`](Read::read) stays.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        #[cfg(test)]
        faults::fault(|| self.path.clone())?;
        let left = usize::try_from(self.opened.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let mut done = 0;
        while done < most {
            match self
                .file
                .read_at(&mut buffer[done..most], offset + done as u64)
            {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

impl Read for SourceFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(test)]
        faults::fault(|| self.path.clone())?;
        let most = usize::try_from(self.unread)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self.file.read(&mut buffer[..most])?;
        self.unread -= read as u64;
        Ok(read)
    }
}

/// The point where a unit test can make an access to `path` fail.
#[cfg(not(test))]
#[inline(always)]
fn fault_point(_path: impl FnOnce() -> PathBuf) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
fn fault_point(path: impl FnOnce() -> PathBuf) -> io::Result<()> {
    faults::fault(path)
}

#[cfg(test)]
pub(crate) mod faults {
    use rustix::io::Errno;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, PoisonError};

    /// The path below which an access fails, the number of accesses before it, and the error's number.
    static PLAN: Mutex<Option<(PathBuf, u64, i32)>> = Mutex::new(None);

    /// The tests of one process share the plan.
    static TURN: Mutex<()> = Mutex::new(());

    /// Runs `work` with the access number `index` to `root` or below it failing with `error`, from 0.
    /// Returns whether there was one.
    pub(crate) fn with_fault(
        root: &Path,
        (index, error): (u64, Errno),
        work: impl FnOnce(),
    ) -> bool {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let set = |plan| *PLAN.lock().unwrap_or_else(PoisonError::into_inner) = plan;
        set(Some((root.to_owned(), index, error.raw_os_error())));
        work();
        let is_left = PLAN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        set(None);
        !is_left
    }

    pub(crate) fn fault(path: impl FnOnce() -> PathBuf) -> io::Result<()> {
        let mut plan = PLAN.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((root, left, error)) = &mut *plan else {
            return Ok(());
        };
        if !path().starts_with(root) {
            return Ok(());
        }
        if let Some(less) = left.checked_sub(1) {
            *left = less;
            return Ok(());
        }
        let error = io::Error::from_raw_os_error(*error);
        *plan = None;
        Err(error)
    }
}
