//! A file that is written beside its place and appears there whole.
//!
//! It is written in a directory of its own, `.NAME.partial-XXXXXX`, which is locked while its process
//! lives. So one that a killed process left behind is told from one that is still being written, and
//! the next run removes it. The file itself is never locked: others may open it as soon as it is in its
//! place.

use crate::fs::names::file_name;
use crate::fs::steps::{self, Change, Step, TemporaryDir, attempt, step, try_lock};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The name of the file while it is staged.
const STAGED: &str = "store";

/// How many random letters and digits the name of a staging directory ends with.
const RANDOM_CHARS: usize = 6;

/// A staged file; removed when dropped without being put into its place.
#[derive(Debug)]
pub(crate) struct StagedFile {
    file: File,
    staging: Staging,
    target: Target,
}

impl StagedFile {
    /// Removes the leftovers of killed runs, and stages a file for `path`, with mode 0600.
    pub(crate) fn beside(path: &Path) -> io::Result<Self> {
        // First, since leftovers may take the space that the file needs.
        remove_leftovers([path]);
        Self::beside_leftovers(path)
    }

    /// Stages a file for `path`, with mode 0600, without listing the directory for leftovers.
    pub(crate) fn beside_leftovers(path: &Path) -> io::Result<Self> {
        let target = Target::of(path)?;
        let staging = target.stage()?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        attempt(Change::Create)?;
        let file = File::from(rustix::fs::openat(&staging.open, STAGED, flags, mode)?);
        step(|| Step::Created(staging.file()));
        Ok(Self {
            file,
            staging,
            target,
        })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.staging.file()
    }

    /// Another handle of the file.
    pub(crate) fn try_clone_file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Writes everything in `source`.
    pub(crate) fn fill_from(&mut self, source: &mut File) -> io::Result<()> {
        attempt(Change::Write)?;
        io::copy(source, &mut self.file)?;
        step(|| Step::Written(self.path()));
        Ok(())
    }

    /// Puts the file, synced, into its place; `AlreadyExists` where something is there, which then
    /// stays, with its name on disk. Returns its size in bytes.
    pub(crate) fn publish(self) -> io::Result<u64> {
        let bytes = self.sync()?;
        let renamed = self.rename_new();
        self.finish(renamed)?;
        Ok(bytes)
    }

    fn rename_new(&self) -> io::Result<()> {
        let (from, to, name) = (&self.staging.open, &self.target.open, &self.target.name);
        attempt(Change::Rename)?;
        match rustix::fs::renameat_with(from, STAGED, to, name, RenameFlags::NOREPLACE) {
            // A link is made only where nothing is, too; the staged name goes with its directory.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                rustix::fs::linkat(from, STAGED, to, name, AtFlags::empty())?;
            }
            renamed => renamed?,
        }
        Ok(())
    }

    /// Puts the file, synced, into its place, over what may be there.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.sync()?;
        let (from, to) = (&self.staging.open, &self.target.open);
        let renamed = attempt(Change::Rename)
            .and_then(|()| Ok(rustix::fs::renameat(from, STAGED, to, &self.target.name)?));
        self.finish(renamed)
    }

    fn sync(&self) -> io::Result<u64> {
        steps::sync(&self.file, &self.path())?;
        Ok(self.file.metadata()?.len())
    }

    /// Waits until what is in the place, ours or another's, survives a power loss.
    fn finish(self, renamed: io::Result<()>) -> io::Result<()> {
        if renamed.is_ok() {
            step(|| Step::Renamed(self.path(), self.target.path()));
        }
        steps::sync(&self.target.open, &self.target.directory)?;
        renamed?;
        let staging = self.staging.path.path().to_owned();
        // The file is in its place: a directory that cannot be removed is no failure.
        drop(self);
        step(|| Step::Removed(staging));
        Ok(())
    }
}

/// Removes the staging directories that killed runs left for any of `paths`, which are in one directory: it
/// is listed once. Best effort: a leftover that cannot be removed does no harm.
pub(crate) fn remove_leftovers<'p>(paths: impl IntoIterator<Item = &'p Path>) {
    let targets: Vec<Target> = paths
        .into_iter()
        .filter_map(|path| Target::of(path).ok())
        .collect();
    let Some(Ok(entries)) = targets
        .first()
        .map(|target| std::fs::read_dir(&target.directory))
    else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if let Some(target) = targets.iter().find(|target| target.is_staging(&name)) {
            let _ = target.remove_leftover(&name);
        }
    }
}

/// Where a file is to be.
#[derive(Debug)]
struct Target {
    directory: PathBuf,
    open: File,
    name: OsString,
    /// What the names of its staging directories begin with.
    prefix: OsString,
}

impl Target {
    fn of(path: &Path) -> io::Result<Self> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = file_name(path)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path names no file"))?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".partial-");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            directory: directory.to_owned(),
            open: File::from(rustix::fs::open(directory, flags, Mode::empty())?),
            name: name.to_owned(),
            prefix,
        })
    }

    fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// The directory `name` in this one, which must be one and not a link to one.
    fn open_dir(&self, name: &OsStr) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = rustix::fs::openat(&self.open, name, flags, Mode::empty())?;
        Ok(File::from(open))
    }

    /// Makes a directory beside the place, which only this user may enter, and locks it.
    fn stage(&self) -> io::Result<Staging> {
        loop {
            let mut name = tempfile::Builder::new();
            name.prefix(&self.prefix).rand_bytes(RANDOM_CHARS);
            let path = TemporaryDir::new(&mut name, &self.directory)?;
            let name = path.path().file_name().unwrap_or_default();
            let locked = self.open_dir(name).and_then(|open| {
                try_lock(&open)?;
                Ok(open)
            });
            let is_there = path.path().symlink_metadata().is_ok();
            match locked {
                Ok(open) if is_there => return Ok(Staging { path, open }),
                // Another run has taken it for a leftover before it was locked.
                Ok(_) | Err(Errno::WOULDBLOCK) => {}
                Err(_) if !is_there => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether a staging directory for this place could have that name.
    fn is_staging(&self, name: &OsStr) -> bool {
        let random = name
            .as_encoded_bytes()
            .strip_prefix(self.prefix.as_encoded_bytes());
        random.is_some_and(|random| {
            random.len() == RANDOM_CHARS && random.iter().all(u8::is_ascii_alphanumeric)
        })
    }

    /// Removes the staging directory `name`, unless its process lives, or nobody can know.
    fn remove_leftover(&self, name: &OsStr) -> io::Result<()> {
        let open = self.open_dir(name)?;
        if !try_lock(&open)? {
            return Ok(());
        }
        attempt(Change::Remove)?;
        match rustix::fs::unlinkat(&open, STAGED, AtFlags::empty()) {
            Ok(()) => step(|| Step::Removed(self.directory.join(name).join(STAGED))),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        attempt(Change::Remove)?;
        rustix::fs::unlinkat(&self.open, name, AtFlags::REMOVEDIR)?;
        step(|| Step::Removed(self.directory.join(name)));
        Ok(())
    }
}

/// A directory that a file is staged in, locked while it is open; removed when it is dropped.
#[derive(Debug)]
struct Staging {
    path: TemporaryDir,
    open: File,
}

impl Staging {
    fn file(&self) -> PathBuf {
        self.path.path().join(STAGED)
    }
}
