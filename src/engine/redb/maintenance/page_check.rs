//! The page check: redb's own check of a file, without changing it.
//!
//! redb checks a database that is open for writing, and repairs what it can. So it opens the file
//! without locks, over a [write gate](crate::engine::redb::file::write_gate) that drops all writes.
//! The caller must exclude commits during the check, or detect them.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::file_backend;
use crate::engine::redb::file::page_walk::{self, DamagedPages};
use crate::engine::redb::file::planted::Planted;
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

/// The page cache of redb for the check, in bytes of memory.
const CACHE_BYTES: usize = 16 << 20;

/// The size of the beginning of a redb file that is compared, in bytes. It contains the header,
/// which changes with every commit.
const HEADER_BYTES: u64 = 512;

/// The number of attempts to check a file that other processes commit to.
const TRIES: usize = 3;

/// The number of times that redb reads the file to check it: to verify the checksums, and to find
/// the free pages.
const SCANS: u64 = 2;

/// A part of the progress: its begin and its end.
type Span = (f64, f64);

/// The parts of the steps of a check. A walk that finds damage is followed by two opens.
const WALK: Span = (0.0, 1.0 / 3.0);
const AFTER_WALK: Span = (1.0 / 3.0, 1.0);
const FIRST_OPEN: Span = (1.0 / 3.0, 2.0 / 3.0);
const SECOND_OPEN: Span = (2.0 / 3.0, 1.0);

/// The number of bytes that are read between two reports of progress.
const STRIDE_BYTES: u64 = 4 << 20;

/// The file, with a report of how much of it was read.
#[derive(Debug)]
struct ProgressBackend {
    file: WithoutLocks<FileBackend>,
    read_bytes: AtomicU64,
    /// The estimated number of bytes that will be read.
    reads_bytes: u64,
    /// The parts of the whole progress at which this reading begins and ends.
    span: Span,
    on_part: OnPart,
}

impl StorageBackend for ProgressBackend {
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
            let (begin, end) = self.span;
            self.on_part.report(begin + part.min(1.0) * (end - begin));
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

/// The result of a page check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PageCheck {
    /// All reachable pages have the right checksum, and the saved allocator state matches them.
    Whole,
    /// The given pages are damaged.
    Damaged(DamagedPages),
    /// redb rejects the file, with this message, but no single page is damaged.
    Refused(String),
    /// All pages have the right checksum, but the saved allocator state is wrong.
    WrongFreePages,
    /// The system failed to read the file, and no page is known to be the cause. Contains its error.
    Unread(String),
    /// Other processes committed during every attempt.
    Busy,
}

/// Checks the file at `path`, to which no process commits meanwhile. The check of redb stops at the
/// first damaged page; after that a walk finds all of them.
pub(crate) fn check(
    path: &Path,
    at: RedbContext<'_>,
    on_part: &OnPart,
) -> Result<PageCheck, RuntimeError> {
    on_part.report(0.0);
    let checked = check_pages(path, at, on_part);
    on_part.report(1.0);
    match checked {
        // Damage is a result of this check, not an error.
        Err(RuntimeError::StoreCorrupt { message, .. }) => {
            find_all(path, at, PageCheck::Refused(message))
        }
        // redb reads nothing more after that, and the other pages can be looked at.
        Err(RuntimeError::StoreIo { source, .. }) => {
            find_all(path, at, PageCheck::Unread(source.to_string()))
        }
        checked => checked,
    }
}

/// All damaged pages of the file at `path`, of which redb's check found the first; `otherwise` where no
/// page is damaged.
fn find_all(
    path: &Path,
    at: RedbContext<'_>,
    otherwise: PageCheck,
) -> Result<PageCheck, RuntimeError> {
    let file = file_backend::over(File::open(path).map_err(|error| at.io(error))?, at)?;
    let file = WithoutLocks(file);
    Ok(match page_walk::damaged_pages(&file) {
        Ok(Some(found)) if !found.pages.is_empty() => PageCheck::Damaged(found),
        Ok(Some(_)) => match page_walk::bytes_after_end(&file) {
            Ok(Some(bytes)) => PageCheck::Refused(format!(
                "the store can be read but not written, because it ends {bytes} bytes before its file; a \
                 backup of it can be written"
            )),
            _ => otherwise,
        },
        Ok(None) => {
            PageCheck::Refused("the header is damaged: it has no valid last commit".to_owned())
        }
        Err(error) => PageCheck::Unread(format!("the header cannot be read: {error}")),
    })
}

/// The damaged pages of the file at `path`; `None` if the header itself is damaged.
pub(crate) fn find_damage(
    path: &Path,
    at: RedbContext<'_>,
) -> Result<Option<DamagedPages>, RuntimeError> {
    let file = File::open(path).map_err(|error| at.io(error))?;
    let file = file_backend::over(file, at)?;
    page_walk::damaged_pages(&WithoutLocks(file)).map_err(|error| at.io(error))
}

/// The size in bytes of the replaced pages that snapshots of older commits still need, by the
/// commit that replaced them.
pub(crate) fn replaced_bytes(
    path: &Path,
    at: RedbContext<'_>,
) -> Result<Option<BTreeMap<u64, u64>>, RuntimeError> {
    let file = File::open(path).map_err(|error| at.io(error))?;
    let file = file_backend::over(file, at)?;
    page_walk::replaced_bytes(&WithoutLocks(file)).map_err(|error| at.io(error))
}

/// Checks the file in two steps.
///
/// A walk reads every page and compares its checksum. redb may panic on a file with damaged pages,
/// so the walk comes first, and it is several times as fast as redb. Then redb opens the file with
/// the saved allocator state, verifies all pages, and compares that state with a rebuilt one.
fn check_pages(
    path: &Path,
    at: RedbContext<'_>,
    on_part: &OnPart,
) -> Result<PageCheck, RuntimeError> {
    let walked = backend(path, at, (on_part, WALK), 1)?;
    if page_walk::is_whole(&walked) {
        on_part.all_whole();
        return check_saved_state(path, at, (on_part, AFTER_WALK));
    }
    // redb decides whether the file is damaged: after a crash it may go back to another commit than
    // the walk read.
    verify_checksums(path, at, (on_part, FIRST_OPEN))?;
    check_saved_state(path, at, (on_part, SECOND_OPEN))
}

/// Has redb verify the checksum of every page.
fn verify_checksums(
    path: &Path,
    at: RedbContext<'_>,
    progress: (&OnPart, Span),
) -> Result<(), RuntimeError> {
    let checked = open(path, at, progress, |builder| {
        builder.set_check_integrity_on_open(true);
    })?;
    close(checked, at)
}

/// Has redb verify all pages, and compare the saved allocator state with the pages in use.
fn check_saved_state(
    path: &Path,
    at: RedbContext<'_>,
    progress: (&OnPart, Span),
) -> Result<PageCheck, RuntimeError> {
    // A file without a saved state asks for a repair here, and has nothing to compare: redb
    // rebuilds the state whenever it opens such a file.
    let opened = open(path, at, progress, |builder| {
        builder.set_repair_callback(redb::RepairSession::abort);
    });
    let mut database = match opened {
        Err(RuntimeError::NeedsRepair { .. }) => {
            verify_checksums(path, at, progress)?;
            return Ok(PageCheck::Whole);
        }
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

/// Closes a database that was checked. redb commits when it closes, and may panic then if another
/// process changed the file meanwhile.
fn close(database: Database, at: RedbContext<'_>) -> Result<(), RuntimeError> {
    at.guard(|| database.close().map_err(|error| at.redb(error)))
}

/// Checks the file at `path`, to which other processes may commit. Damage that was found while the
/// header changed is checked again: commits reuse the pages of older commits.
pub(crate) fn check_shared(
    path: &Path,
    at: RedbContext<'_>,
    on_part: &OnPart,
) -> Result<PageCheck, RuntimeError> {
    for _ in 0..TRIES {
        let before = header(path).ok();
        let checked = check(path, at, on_part);
        // A header that cannot be read is what the check says, too.
        if matches!(checked, Ok(PageCheck::Whole)) || before == header(path).ok() {
            return checked;
        }
    }
    Ok(PageCheck::Busy)
}

/// The beginning of the file, to detect commits.
fn header(path: &Path) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    File::open(path)?
        .take(HEADER_BYTES)
        .read_to_end(&mut header)?;
    Ok(header)
}

/// Opens the file with all writes held for good, and reports how much of it was read.
fn open(
    path: &Path,
    at: RedbContext<'_>,
    progress: (&OnPart, Span),
    set: impl FnOnce(&mut Builder),
) -> Result<Database, RuntimeError> {
    let file = backend(path, at, progress, SCANS)?;
    let (backend, _) = hold(file, Planted::default()).map_err(|error| at.io(error))?;
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    set(&mut builder);
    at.guard(|| {
        builder
            .create_with_backend(backend)
            .map_err(|error| at.redb(error))
    })
}

/// A backend over the file at `path`, which will be read `scans` times.
fn backend(
    path: &Path,
    at: RedbContext<'_>,
    (on_part, span): (&OnPart, Span),
    scans: u64,
) -> Result<ProgressBackend, RuntimeError> {
    let file = File::open(path).map_err(|error| at.io(error))?;
    let file = file_backend::over(file, at)?;
    Ok(ProgressBackend {
        reads_bytes: file.len().map_err(|error| at.io(error))? * scans,
        file: WithoutLocks(file),
        read_bytes: AtomicU64::new(0),
        span,
        on_part: on_part.clone(),
    })
}
