//! A directory that is written. A new directory appears atomically: it is written under a temporary name
//! next to its place, synced and renamed.

use crate::fs::names::dangling;
use crate::fs::remove::remove_all;
use crate::fs::staging::parent_of;
use crate::fs::steps::{
    self, Change, Step, attempt, can_exchange, can_move_directories, step, try_lock,
};
use crate::layout::dir::error::DirError;
use crate::layout::dir::source::{EntryKind, NotOpened, SourceDir};
use crate::layout::format::names::{EXPORT_NEW_PREFIX, EXPORT_OLD_PREFIX, EXPORT_PREFIX};
use crate::layout::format::problem::Problem;
use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

/// The size of a write, in bytes.
///
/// Large, because a reader sees a write page by page, and a line that crosses a page is incomplete in
/// between. With writes of one page 121 of the 382 file lengths that a reader saw during 150,000 appended
/// events ended inside a line; with this size 5 of 48 did (ext4, two busy cores, November 2026).
const WRITE_BYTES: usize = match cfg!(test) {
    false => 256 * 1024,
    // Small enough for one message of the socket in the test.
    true => 4096,
};

/// An open directory for writing.
pub(crate) struct TargetDir(SourceDir);

/// Releases the lock, if it was taken. Closing the directory is not enough: a child process that was just
/// forked has it open, with the lock, until it executes its program.
impl Drop for TargetDir {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(self.0.fd(), FlockOperation::Unlock);
    }
}

impl TargetDir {
    /// Opens the directory at `path`; creates it and its parents if they are missing.
    pub(crate) fn open_or_create(path: &Path) -> Result<Self, DirError> {
        create_all(path).map_err(DirError::io("create the directory", path))?;
        Self::open(path)
    }

    /// Opens the directory at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, DirError> {
        let dir = SourceDir::open(path).map_err(DirError::io("open", path))?;
        Ok(Self(dir))
    }

    /// All names in the directory.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, DirError> {
        self.0.names().map_err(DirError::io("list", self.path()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path_of(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.0.path_of(name)
    }

    pub(crate) fn as_source(&self) -> &SourceDir {
        &self.0
    }

    /// Opens the directory `name`.
    pub(crate) fn open_dir(&self, name: impl AsRef<OsStr>) -> Result<Self, DirError> {
        let name = name.as_ref();
        self.0
            .open_dir(name)
            .map(Self)
            .map_err(|error| match error {
                NotOpened::File => self.no_directory(name, "a file"),
                NotOpened::Other(what) => self.no_directory(name, what),
                NotOpened::Missing => {
                    DirError::io("open", self.path_of(name))(io::ErrorKind::NotFound.into())
                }
                NotOpened::Io(source) => DirError::io("open", self.path_of(name))(source),
            })
    }

    /// Creates the directory `name`, which must not exist.
    pub(crate) fn create_dir(&self, name: impl AsRef<OsStr>) -> Result<Self, DirError> {
        let name = name.as_ref();
        self.make_dir(name)
            .map_err(DirError::io("create the directory", self.path_of(name)))?;
        step(|| Step::CreatedDir(self.path_of(name)));
        self.open_dir(name)
    }

    fn no_directory(&self, name: &OsStr, what: &str) -> DirError {
        DirError::InTheWay {
            path: self.path_of(name),
            message: format!("this is {what}, not a directory"),
        }
    }

    /// Opens the directory `name`; creates it if it is missing.
    pub(crate) fn ensure_dir(&self, name: impl AsRef<OsStr>) -> Result<Self, DirError> {
        let name = name.as_ref();
        match self.make_dir(name) {
            Ok(()) => {
                step(|| Step::CreatedDir(self.path_of(name)));
                self.sync()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let path = self.path_of(name);
                return Err(DirError::io("create the directory", path)(error));
            }
        }
        self.open_dir(name)
    }

    fn make_dir(&self, name: &OsStr) -> io::Result<()> {
        attempt(Change::CreateDir)?;
        Ok(rustix::fs::mkdirat(
            self.0.fd(),
            name,
            Mode::from_raw_mode(0o700),
        )?)
    }

    /// Creates the file `name`, which must not exist.
    pub(crate) fn create_file(&self, name: impl AsRef<OsStr>) -> Result<TargetFile, DirError> {
        let name = name.as_ref();
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let fd = attempt(Change::Create)
            .and_then(|()| Ok(rustix::fs::openat(self.0.fd(), name, flags, mode)?))
            .map_err(DirError::io("create", self.path_of(name)))?;
        step(|| Step::Created(self.path_of(name)));
        Ok(TargetFile::new(File::from(fd), self.path_of(name)))
    }

    /// Opens the regular file `name` for appending.
    pub(crate) fn append_to(&self, name: &str) -> Result<TargetFile, DirError> {
        let path = self.path_of(name);
        let kind = self.0.kind_of(name);
        if kind.map_err(DirError::io("inspect", &path))? != Some(EntryKind::File) {
            let message = "this is no regular file".into();
            return Err(DirError::InTheWay { path, message });
        }
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.0.fd(), name, flags, Mode::empty())
            .map_err(io::Error::from)
            .map_err(DirError::io("open", &path))?;
        Ok(TargetFile::new(File::from(fd), path))
    }

    /// Syncs the directory: its names are then on disk.
    pub(crate) fn sync(&self) -> Result<(), DirError> {
        self.try_sync().map_err(DirError::io("sync", self.path()))
    }

    /// Syncs the directory. Returns the error of the system.
    pub(crate) fn try_sync(&self) -> io::Result<()> {
        steps::sync(self.0.fd(), self.path())
    }

    /// Locks the directory against other exports until it is dropped. `false` where the file system has
    /// no locks; there the caller must not run two exports at a time.
    pub(crate) fn lock(&self) -> Result<bool, DirError> {
        try_lock(self.0.fd()).map_err(|error| match error {
            Errno::WOULDBLOCK => DirError::Busy {
                path: self.path().to_owned(),
            },
            error => DirError::io("lock", self.path())(error.into()),
        })
    }

    /// Renames `from` to `to`, which must not exist.
    pub(crate) fn rename_new(&self, from: &str, to: impl AsRef<OsStr>) -> Result<(), DirError> {
        self.rename_into(from, self, to)
    }

    /// Renames `from` to `to` in another directory, which must not exist there.
    pub(crate) fn rename_into(
        &self,
        from: &str,
        dir: &Self,
        to: impl AsRef<OsStr>,
    ) -> Result<(), DirError> {
        let to = to.as_ref();
        let (here, there) = (self.0.fd(), dir.0.fd());
        attempt(Change::Rename).map_err(DirError::io("move a file to", dir.path_of(to)))?;
        let renamed = match rustix::fs::renameat_with(here, from, there, to, RenameFlags::NOREPLACE)
        {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match dir.has(to)? {
                true => Err(Errno::EXIST),
                false => rustix::fs::renameat(here, from, there, to),
            },
            renamed => renamed,
        };
        match renamed {
            Ok(()) => {
                step(|| Step::Renamed(self.path_of(from), dir.path_of(to)));
                Ok(())
            }
            Err(Errno::EXIST | Errno::NOTEMPTY) => Err(DirError::Exists {
                path: dir.path_of(to),
            }),
            Err(error) => Err(DirError::io("move a file to", dir.path_of(to))(
                error.into(),
            )),
        }
    }

    /// Renames the file `from` over `to` in another directory.
    pub(crate) fn rename_over(
        &self,
        from: &str,
        dir: &Self,
        to: impl AsRef<OsStr>,
    ) -> Result<(), DirError> {
        let to = to.as_ref();
        attempt(Change::Rename)
            .and_then(|()| Ok(rustix::fs::renameat(self.0.fd(), from, dir.0.fd(), to)?))
            .map_err(DirError::io("move a file to", dir.path_of(to)))?;
        step(|| Step::Renamed(self.path_of(from), dir.path_of(to)));
        Ok(())
    }

    /// Exchanges the directories `new`, which has a temporary name, and `place`: atomically where the
    /// system can.
    ///
    /// Where it cannot (overlayfs, network file systems), two renames do it, and a killed process leaves
    /// one of these states. N stands for the numbers in the temporary name.
    ///
    /// | state | names | the next export |
    /// |---|---|---|
    /// | 1 | `.export.tmp-N` is complete, `place` is the old directory | removes `.export.tmp-N` |
    /// | 2 | `.export.new-N` is complete, `place` is the old directory | continues with 3 |
    /// | 3 | `.export.new-N` is complete, `.export.old-N` is the old directory | continues with 4 |
    /// | 4 | `place` is the new directory, `.export.old-N` the old one | continues with 5 |
    /// | 5 | `place` is the new directory, `.export.tmp-N` the old one | removes `.export.tmp-N` |
    ///
    /// Each state is on disk before the next one begins. overlayfs cannot rename a directory of a lower
    /// layer either: there the old directory is removed in state 2, in which the new one is on disk.
    pub(crate) fn exchange(&self, new: &str, place: &str) -> Result<(), DirError> {
        let fd = self.0.fd();
        attempt(Change::Rename).map_err(DirError::io("exchange", self.path_of(place)))?;
        let exchanged = match can_exchange() {
            true => rustix::fs::renameat_with(fd, new, fd, place, RenameFlags::EXCHANGE),
            false => Err(Errno::XDEV),
        };
        match exchanged {
            Ok(()) => {
                step(|| Step::Exchanged(self.path_of(new), self.path_of(place)));
                Ok(())
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::XDEV) => {
                let number = new.strip_prefix(EXPORT_PREFIX).unwrap_or(new);
                let complete = format!("{EXPORT_NEW_PREFIX}{number}");
                self.rename_new(new, &complete)?;
                self.sync()?;
                self.complete_exchange(number, place)
            }
            Err(error) => Err(DirError::io("exchange", self.path_of(place))(error.into())),
        }
    }

    /// Continues an exchange from state 2, 3 or 4 to state 5.
    pub(crate) fn complete_exchange(&self, number: &str, place: &str) -> Result<(), DirError> {
        let [new, old, temporary] =
            [EXPORT_NEW_PREFIX, EXPORT_OLD_PREFIX, EXPORT_PREFIX].map(|p| format!("{p}{number}"));
        if self.has(place)? && self.has(&old)? {
            // Another program has written `place` since: that is newer than both.
            self.rename_new(&new, &temporary)?;
            return self.remove(&temporary);
        }
        if self.has(place)? {
            match self.set_aside(place, &old) {
                Err(Errno::XDEV) => self.remove(place)?,
                Err(error) => {
                    // Undone, so that the caller can remove the new directory.
                    self.rename_new(&new, &temporary)?;
                    return Err(DirError::io("move", self.path_of(place))(error.into()));
                }
                Ok(()) => {}
            }
            self.sync()?;
        }
        self.rename_new(&new, place)?;
        self.sync()?;
        if self.has(&old)? {
            self.rename_new(&old, &temporary)?;
        }
        Ok(())
    }

    fn set_aside(&self, place: &str, old: &str) -> Result<(), Errno> {
        if !can_move_directories() {
            return Err(Errno::XDEV);
        }
        let fd = self.0.fd();
        rustix::fs::renameat(fd, place, fd, old)?;
        step(|| Step::Renamed(self.path_of(place), self.path_of(old)));
        Ok(())
    }

    /// Ends an exchange in state 4, or one of an older version that ended after its first rename: then the
    /// old directory is moved back.
    pub(crate) fn take_back(&self, old: &str, place: &str) -> Result<(), DirError> {
        match self.has(place)? {
            true => {
                let temporary = old.replacen(EXPORT_OLD_PREFIX, EXPORT_PREFIX, 1);
                self.rename_new(old, &temporary)
            }
            false => {
                self.rename_new(old, place)?;
                self.sync()
            }
        }
    }

    /// Whether an entry of that name exists.
    pub(crate) fn has(&self, name: impl AsRef<OsStr>) -> Result<bool, DirError> {
        let name = name.as_ref();
        let kind = self
            .0
            .kind_of(name)
            .map_err(DirError::io("inspect", self.path_of(name)))?;
        Ok(kind.is_some())
    }

    /// Removes `name` and everything below it. Links are removed, not followed.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> Result<(), DirError> {
        let (name, path) = (name.as_ref(), self.path_of(&name));
        remove_all(self.0.fd(), name, &path).map_err(DirError::io("remove", &path))
    }

    /// Removes the temporary entries of killed exports. Call it under the lock.
    pub(crate) fn remove_leftovers(&self) -> Result<(), DirError> {
        for name in self.names()? {
            if numbers_of(&name, EXPORT_PREFIX).is_some() {
                self.remove(&name)?;
            }
        }
        Ok(())
    }
}

/// Creates the directory at `path` and its missing parents, and syncs their names.
fn create_all(path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut climbed = path;
    loop {
        match std::fs::metadata(climbed) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // The directory may exist: where a parent cannot be searched, nothing above it helps.
            Err(error) => return Err(error),
        }
        missing.push(climbed);
        let parent = parent_of(climbed);
        // `.` is its own parent, and it can be missing: the working directory may have been removed.
        if parent == climbed {
            return Err(io::ErrorKind::NotFound.into());
        }
        climbed = parent;
    }
    missing.into_iter().rev().try_for_each(create_one)
}

/// Creates the directory at `path`, whose parent exists, and syncs its name.
fn create_one(path: &Path) -> io::Result<()> {
    let parent = parent_of(path);
    let made = attempt(Change::CreateDir);
    match made.and_then(|()| DirBuilder::new().mode(0o700).create(path)) {
        Ok(()) => step(|| Step::CreatedDir(path.to_owned())),
        // Another export created it first.
        Err(_) if path.is_dir() => {}
        Err(error) => return Err(dangling(path, error)),
    }
    steps::sync(File::open(parent)?, parent)
}

/// The numbers in a name that [`temporary_name`] made, if it begins with `prefix`; `None` for every other
/// name.
pub(crate) fn numbers_of<'n>(name: &'n OsStr, prefix: &str) -> Option<&'n str> {
    let numbers = name.to_str()?.strip_prefix(prefix)?;
    let (id, random) = numbers.split_once('-')?;
    let is_ours = id.parse::<u32>().is_ok() && u64::from_str_radix(random, 16).is_ok();
    is_ours.then_some(numbers)
}

/// A new temporary name.
pub(crate) fn temporary_name() -> String {
    let mut random = [0; 8];
    // If the system gives no random bytes, the process id must do: a name that exists is an error.
    let _ = getrandom::fill(&mut random);
    let random = u64::from_le_bytes(random);
    format!("{EXPORT_PREFIX}{}-{random:016x}", std::process::id())
}

/// A file with a write buffer.
pub(crate) struct TargetFile {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    written: u64,
}

impl TargetFile {
    pub(crate) fn new(file: File, path: PathBuf) -> Self {
        Self {
            file,
            path,
            buffer: Vec::new(),
            written: 0,
        }
    }

    /// Appends the bytes that `fill` adds to the buffer, and returns their number. One call adds a whole
    /// line, and a write takes whole calls, so every write ends at the end of a line. Bytes that a reader
    /// finds after the last newline are only ever completed.
    pub(crate) fn append(
        &mut self,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), Problem>,
    ) -> Result<u64, DirError> {
        let before = self.buffer.len();
        fill(&mut self.buffer).map_err(|problem| DirError::Unwritable {
            path: self.path.clone(),
            message: problem.message,
        })?;
        let added = (self.buffer.len() - before) as u64;
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(added)
    }

    fn flush(&mut self) -> Result<(), DirError> {
        let before = self.file.metadata().map(|metadata| metadata.len());
        if let Err(error) = steps::write_all(&mut self.file, &self.buffer, &self.path) {
            // Removes the part that was written, so that no incomplete line stays, on a full disk, say,
            // where the process continues.
            if let Ok(length) = before {
                let _ = self.file.set_len(length);
            }
            return Err(DirError::io("write", &self.path)(error));
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Whether the file is empty or ends with a newline.
    pub(crate) fn ends_with_newline(&self) -> Result<bool, DirError> {
        let mut last = [0];
        let length = self.file.metadata().map(|metadata| metadata.len());
        let read = length.and_then(|length| match length {
            0 => Ok(true),
            _ => self
                .file
                .read_exact_at(&mut last, length - 1)
                .map(|()| last == *b"\n"),
        });
        read.map_err(DirError::io("read", &self.path))
    }

    /// Removes the last `length` bytes of the file, and syncs it.
    pub(crate) fn cut(self, length: u64) -> Result<(), DirError> {
        let cut = self
            .file
            .metadata()
            .and_then(|metadata| self.file.set_len(metadata.len().saturating_sub(length)));
        cut.map_err(DirError::io("shorten", &self.path))?;
        steps::sync(&self.file, &self.path).map_err(DirError::io("sync", &self.path))
    }

    /// Writes the buffer and syncs the file. Returns the number of bytes written.
    pub(crate) fn finish(mut self) -> Result<u64, DirError> {
        self.flush()?;
        steps::sync(&self.file, &self.path).map_err(DirError::io("sync", &self.path))?;
        Ok(self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    /// A socket that has each write as a message.
    #[test]
    fn every_write_ends_at_the_end_of_a_line() {
        let (reader, writer) = UnixDatagram::pair().unwrap();
        let file = File::from(OwnedFd::from(writer));
        let mut file = TargetFile::new(file, PathBuf::from("log"));
        let line = [vec![b'x'; 99], vec![b'\n']].concat();
        let mut message = vec![0; 2 * WRITE_BYTES];
        for _ in 0..10_000 {
            let before = file.written;
            file.append(|out| {
                out.extend_from_slice(&line);
                Ok(())
            })
            .unwrap();
            if file.written > before {
                let length = reader.recv(&mut message).unwrap();
                assert_eq!(length as u64, file.written - before, "in one write");
                assert!(message[..length].ends_with(b"\n"));
            }
        }
        assert!(file.written > 0);
    }
}
