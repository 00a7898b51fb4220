//! redb's own check of a file, which changes nothing.
//!
//! redb checks a database that it has open for writing, and repairs what it can. So it gets one over
//! the file with every write held back, for good ([`crate::engine::redb::file::write_gate`]), and without locks: the caller
//! sees to it that nobody commits meanwhile, or that it is noticed.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::file::page_walk::{self, DamagedPages};
use crate::engine::redb::file::write_gate::{WithoutLocks, hold};
use crate::engine::redb::maintenance::progress::OnPart;
use crate::error::RuntimeError;
use redb::backends::FileBackend;
use redb::{Builder, Database, StorageBackend};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What redb holds in memory of the file while it checks it, in bytes.
const CACHE_BYTES: usize = 16 << 20;

/// The part of a redb file that changes with every commit: its header.
const HEADER_BYTES: u64 = 512;

/// How often a file is checked anew that others commit to meanwhile.
const TRIES: usize = 3;

/// How often redb reads the file each time that it is opened to be checked: to verify the checksums,
/// and to find the free pages.
const SCANS: u64 = 2;

/// How many bytes are read between two reports.
const STRIDE_BYTES: u64 = 4 << 20;

/// The file, and who is told of what is read of it.
#[derive(Debug)]
struct Told {
    file: WithoutLocks<FileBackend>,
    read_bytes: AtomicU64,
    /// As many as will be read, about.
    reads_bytes: u64,
    begin: f64,
    on_part: OnPart,
}

impl StorageBackend for Told {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)?;
        let bytes = out.len() as u64;
        let before = self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        let read = before + bytes;
        if before / STRIDE_BYTES != read / STRIDE_BYTES {
            let part = read as f64 / self.reads_bytes.max(1) as f64;
            self.on_part.tell(self.begin + part.min(1.0) / 2.0);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

/// What the check says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PageCheck {
    /// Every page that is reachable has its checksum, and what the file says of its free pages is
    /// right.
    Whole,
    /// These pages are damaged.
    Damaged(DamagedPages),
    /// Something that redb refuses, in its words, and that is no single page.
    Refused(String),
    /// Pages are whole, but the file's record of its free pages is not right.
    WrongFreePages,
    /// Others commit so often that there was no moment to check.
    Busy,
}

/// Checks the file at `path` while nobody commits to it. redb's check stops at the first damaged page,
/// so where it finds one all are looked for.
pub(crate) fn check(
    path: &Path,
    at: RedbContext<'_>,
    on_part: &OnPart,
) -> Result<PageCheck, RuntimeError> {
    on_part.tell(0.0);
    let checked = check_pages(path, at, on_part);
    on_part.tell(1.0);
    match checked {
        // What the check was made to find.
        Err(RuntimeError::StoreCorrupt { message, .. }) => Ok(match find_damage(path, at)? {
            Some(found) if !found.pages.is_empty() => PageCheck::Damaged(found),
            Some(_) => PageCheck::Refused(message),
            None => PageCheck::Refused("the header has no whole commit".to_owned()),
        }),
        checked => checked,
    }
}

/// The damaged pages of the file at `path`; none where not even its header can be believed.
pub(crate) fn find_damage(
    path: &Path,
    at: RedbContext<'_>,
) -> Result<Option<DamagedPages>, RuntimeError> {
    let file = File::open(path).map_err(|error| at.io(error))?;
    let file = FileBackend::new(file).map_err(|error| at.redb(error))?;
    page_walk::damaged_pages(&WithoutLocks(file)).map_err(|error| at.io(error))
}

/// The bytes of pages that wait for readers of old states, by the commit that replaced them.
pub(crate) fn replaced_bytes(
    path: &Path,
    at: RedbContext<'_>,
) -> Result<Option<BTreeMap<u64, u64>>, RuntimeError> {
    let file = File::open(path).map_err(|error| at.io(error))?;
    let file = FileBackend::new(file).map_err(|error| at.redb(error))?;
    page_walk::replaced_bytes(&WithoutLocks(file)).map_err(|error| at.io(error))
}

fn check_pages(
    path: &Path,
    at: RedbContext<'_>,
    on_part: &OnPart,
) -> Result<PageCheck, RuntimeError> {
    // Checks every page first, trusting nothing. Only what passes is opened as redb does daily.
    let checked = open(path, at, (on_part, 0.0), |builder| {
        builder.set_check_integrity_on_open(true);
    })?;
    close(checked, at)?;
    // A file that was closed, or whose commits save it, has a record of its free pages. redb
    // rebuilds that of another file whenever it opens it.
    let opened = open(path, at, (on_part, 0.5), |builder| {
        builder.set_repair_callback(redb::RepairSession::abort);
    });
    let mut database = match opened {
        Err(RuntimeError::NeedsRepair { .. }) => return Ok(PageCheck::Whole),
        opened => opened?,
    };
    let checked = at.guard(|| match database.check_integrity() {
        Ok(true) => Ok(PageCheck::Whole),
        Ok(false) => Ok(PageCheck::WrongFreePages),
        Err(error) => Err(at.redb(error)),
    });
    let closed = close(database, at);
    checked.and_then(|checked| closed.map(|()| checked))
}

/// Closes a database that was checked. redb commits when it closes, and may panic there as well
/// where the file changed under it.
fn close(database: Database, at: RedbContext<'_>) -> Result<(), RuntimeError> {
    at.guard(|| database.close().map_err(|error| at.redb(error)))
}

/// Checks the file at `path`, to which other processes may commit. A commit is noticed, and the
/// check made anew: the pages of an old state are used again by later commits.
pub(crate) fn check_shared(
    path: &Path,
    at: RedbContext<'_>,
    on_part: &OnPart,
) -> Result<PageCheck, RuntimeError> {
    for _ in 0..TRIES {
        let before = header(path, at)?;
        let checked = check(path, at, on_part);
        if matches!(checked, Ok(PageCheck::Whole)) || before == header(path, at)? {
            return checked;
        }
    }
    Ok(PageCheck::Busy)
}

fn header(path: &Path, at: RedbContext<'_>) -> Result<Vec<u8>, RuntimeError> {
    let file = File::open(path).map_err(|error| at.io(error))?;
    let mut header = Vec::new();
    file.take(HEADER_BYTES)
        .read_to_end(&mut header)
        .map_err(|error| at.io(error))?;
    Ok(header)
}

/// Opens the file with every write held back, and tells of what is read of it: half of all work, from
/// `begin` on.
fn open(
    path: &Path,
    at: RedbContext<'_>,
    (on_part, begin): (&OnPart, f64),
    set: impl FnOnce(&mut Builder),
) -> Result<Database, RuntimeError> {
    let file = File::open(path).map_err(|error| at.io(error))?;
    let file = FileBackend::new(file).map_err(|error| at.redb(error))?;
    let file = Told {
        reads_bytes: file.len().map_err(|error| at.io(error))? * SCANS,
        file: WithoutLocks(file),
        read_bytes: AtomicU64::new(0),
        begin,
        on_part: on_part.clone(),
    };
    let (backend, _) = hold(file).map_err(|error| at.io(error))?;
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    set(&mut builder);
    at.guard(|| {
        builder
            .create_with_backend(backend)
            .map_err(|error| at.redb(error))
    })
}
