//! A storage backend that holds back all writes until the file is known to be a store.
//!
//! Opening a redb file writes to it: redb sets a flag, and repairs a file that was not closed
//! cleanly. Only the open database shows whether the file is a store of ours, and of which version.
//! So the writes of opening are held in memory first. Then they either reach the file, in their
//! order and with their syncs, or they are dropped and the file was never changed.
//!
//! A file that was not closed is brought in order here first, by [`unclean`]: the writes of that are held, too.
//!
//! Only one process may do this at a time: redb assumes that its writes are in the file when it
//! releases the locks that exclude other writers.

use crate::engine::redb::file::commit_diff::AddedPage;
use crate::engine::redb::file::erase::erase_unused;
use crate::engine::redb::file::planted::{Planted, PlantedBug};
use crate::engine::redb::file::unclean::{self, Recovery};
use crate::fs::steps::{Change, attempt};
use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use xxhash_rust::xxh3::xxh3_128;

/// The methods of a backend over `self.file` that close and lock it: they go to the file unchanged.
macro_rules! locks_of_file {
    () => {
        fn close(&self) -> std::io::Result<()> {
            self.file.close()
        }

        fn try_lock_range(
            &self,
            start: std::ops::Bound<u64>,
            end: std::ops::Bound<u64>,
        ) -> Result<bool, redb::BackendError> {
            self.file.try_lock_range(start, end)
        }

        fn try_lock_shared_range(
            &self,
            start: std::ops::Bound<u64>,
            end: std::ops::Bound<u64>,
        ) -> Result<bool, redb::BackendError> {
            self.file.try_lock_shared_range(start, end)
        }

        fn lock_range(
            &self,
            start: std::ops::Bound<u64>,
            end: std::ops::Bound<u64>,
        ) -> Result<(), redb::BackendError> {
            self.file.lock_range(start, end)
        }

        fn lock_shared_range(
            &self,
            start: std::ops::Bound<u64>,
            end: std::ops::Bound<u64>,
        ) -> Result<(), redb::BackendError> {
            self.file.lock_shared_range(start, end)
        }

        fn unlock_range(
            &self,
            start: std::ops::Bound<u64>,
            end: std::ops::Bound<u64>,
        ) -> Result<(), redb::BackendError> {
            self.file.unlock_range(start, end)
        }

        fn query_lock_range(
            &self,
            start: std::ops::Bound<u64>,
            end: std::ops::Bound<u64>,
        ) -> Result<bool, redb::BackendError> {
            self.file.query_lock_range(start, end)
        }
    };
}
pub(crate) use locks_of_file;

/// A held access.
#[derive(Debug)]
enum Access {
    Write {
        offset: u64,
        data: Vec<u8>,
    },
    /// Writes a page as it is in the file.
    Rewrite(AddedPage),
    SetLen(u64),
    Sync,
}

/// The held accesses.
#[derive(Debug)]
struct Held {
    accesses: Vec<Access>,
    /// The length that the file would have, if redb changed it.
    len: Option<u64>,
    /// Whether redb has read the header.
    is_recovered: bool,
    /// The outcome of the recovery of a file that was not closed.
    recovery: Option<Recovery>,
    /// The ranges that redb locked exclusively, and waited for, to write under them: the header.
    written_under: Vec<LockRange>,
}

type LockRange = (Bound<u64>, Bound<u64>);

/// The size of an open file in bytes, without a call to the system, and the number of its syncs.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileSize(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    bytes: AtomicU64,
    syncs: AtomicU64,
}

impl FileSize {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    fn set(&self, bytes: u64) {
        self.0.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::Relaxed)
    }

    fn count_sync(&self) {
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct State<B> {
    file: B,
    size: FileSize,
    holding: AtomicBool,
    held: Mutex<Held>,
    /// Whether the locks of opening stay while redb closes the file and opens it again.
    keeps_locks: AtomicBool,
    planted: Planted,
}

/// The bytes that redb locks as long as a file is open. The bytes after them are locked for
/// snapshots (its design document, "Lock bytes").
const OPEN_BYTES: std::ops::Range<u64> = 1 << 62..(1 << 62) + 1024;

/// The backend that is passed to redb.
#[derive(Debug)]
pub(crate) struct HoldingBackend<B>(Arc<State<B>>);

/// The gate, which lets the held writes pass. Dropping it leaves them held for good.
#[derive(Debug)]
pub(crate) struct Gate<B>(Arc<State<B>>);

/// A backend over `file` that holds all writes, and the gate that lets them pass.
pub(crate) fn hold<B: StorageBackend>(
    file: B,
    planted: Planted,
) -> io::Result<(HoldingBackend<B>, Gate<B>)> {
    backend(file, true, planted)
}

/// A backend over `file` that holds nothing, the size of the file, and the file.
pub(crate) fn pass<B: StorageBackend>(
    file: B,
) -> io::Result<(HoldingBackend<B>, FileSize, KeptFile<B>)> {
    let (backend, gate) = backend(file, false, Planted::default())?;
    Ok((backend, gate.size(), gate.file()))
}

fn backend<B: StorageBackend>(
    file: B,
    hold: bool,
    planted: Planted,
) -> io::Result<(HoldingBackend<B>, Gate<B>)> {
    let size = FileSize::default();
    size.set(file.len()?);
    let state = Arc::new(State {
        file,
        size,
        holding: AtomicBool::new(hold),
        held: Mutex::new(Held {
            accesses: Vec::new(),
            len: None,
            is_recovered: false,
            recovery: None,
            written_under: Vec::new(),
        }),
        keeps_locks: AtomicBool::new(false),
        planted,
    });
    Ok((HoldingBackend(Arc::clone(&state)), Gate(state)))
}

impl<B: StorageBackend> State<B> {
    fn held(&self) -> io::Result<MutexGuard<'_, Held>> {
        let poisoned = |_| io::Error::other("a panic interrupted the opening of the file");
        self.held.lock().map_err(poisoned)
    }

    /// The held accesses, or `None` after the gate was opened.
    fn holding(&self) -> io::Result<Option<MutexGuard<'_, Held>>> {
        if !self.holding.load(Ordering::Acquire) {
            return Ok(None);
        }
        let held = self.held()?;
        // Checked again under the lock: the gate may have been opened meanwhile.
        Ok(self.holding.load(Ordering::Acquire).then_some(held))
    }
}

impl<B> Gate<B> {
    /// The size of the file, which follows later changes.
    pub(crate) fn size(&self) -> FileSize {
        self.0.size.clone()
    }
}

impl<B: StorageBackend> Gate<B> {
    /// The file, to close it and open it again without releasing its locks. For use after the gate
    /// was opened.
    pub(crate) fn file(&self) -> KeptFile<B> {
        KeptFile(Arc::clone(&self.0))
    }

    /// The outcome of the recovery, for a file that was not closed.
    pub(crate) fn recovery(&self) -> io::Result<Option<Recovery>> {
        Ok(self.0.held()?.recovery)
    }

    /// Passes on everything that was held, in its order, and everything that follows.
    ///
    /// A failure leaves the file as a crash at that point would leave it.
    pub(crate) fn open(self) -> io::Result<()> {
        let mut held = self.0.held()?;
        // Readers in other processes lock the header while they read it. Under the lock of redb
        // they cannot read a header that is half written.
        let locks = std::mem::take(&mut held.written_under);
        for (start, end) in &locks {
            self.0.file.lock_range(*start, *end).map_err(lock_error)?;
        }
        for access in held.accesses.drain(..) {
            match access {
                Access::Write { offset, data } => self.0.file.write(offset, &data)?,
                Access::Rewrite(page) => rewrite(&self.0.file, page)?,
                Access::SetLen(len) => self.0.file.set_len(len)?,
                Access::Sync => self.0.file.sync_data()?,
            }
        }
        for (start, end) in locks {
            self.0.file.unlock_range(start, end).map_err(lock_error)?;
        }
        self.0.size.set(self.0.file.len()?);
        self.0.holding.store(false, Ordering::Release);
        Ok(())
    }
}

/// A file whose locks stay while redb closes it and opens it again.
#[derive(Debug)]
pub(crate) struct KeptFile<B>(Arc<State<B>>);

impl<B: StorageBackend> KeptFile<B> {
    /// Overwrites the bytes that no row is in; see [`erase_unused`].
    pub(crate) fn erase_unused(&self) -> io::Result<bool> {
        erase_unused(&self.0.file)
    }

    /// Runs `reopen`, which closes the database in the file and opens another over the given
    /// backend. No other process can lock the file meanwhile. If `reopen` fails, the file is
    /// closed.
    pub(crate) fn keep<T, E>(
        &self,
        reopen: impl FnOnce(HoldingBackend<B>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.0.keeps_locks.store(true, Ordering::Release);
        let reopened = reopen(HoldingBackend(Arc::clone(&self.0)));
        self.0.keeps_locks.store(false, Ordering::Release);
        if reopened.is_err() {
            let _ = self.0.file.close();
        }
        reopened
    }
}

/// Writes a page as it is in the file: after a failed sync it can be in the page cache alone, and the system
/// takes it for written.
fn rewrite(file: &impl StorageBackend, page: AddedPage) -> io::Result<()> {
    let mut bytes = vec![0; page.bytes];
    file.read(page.offset, &mut bytes)?;
    // The system may have dropped the page meanwhile, and read the one before it from the disk.
    if xxh3_128(&bytes) != page.hash {
        return Err(io::Error::other("a page changed while the file was opened"));
    }
    file.write(page.offset, &bytes)
}

/// The error of a lock, as one of an access to the file.
pub(crate) fn lock_error(error: BackendError) -> io::Error {
    match error {
        BackendError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// Copies the part of `data` at offset `at` that overlaps `out` at offset `offset`.
fn copy_overlap(out: &mut [u8], offset: u64, data: &[u8], at: u64) {
    let start = offset.max(at);
    let end = (offset + out.len() as u64).min(at + data.len() as u64);
    if start < end {
        let range = |base: u64| (start - base) as usize..(end - base) as usize;
        out[range(offset)].copy_from_slice(&data[range(at)]);
    }
}

impl<B: StorageBackend> HoldingBackend<B> {
    /// The length that the file would have.
    fn len_through(&self, held: &Held) -> io::Result<u64> {
        held.len.map_or_else(|| self.0.file.len(), Ok)
    }

    /// Brings the file in order when redb reads it first, which is under its locks of opening: a writer
    /// that is alive is not interrupted, and no other process changes the file.
    fn recover(&self, held: &mut Held) -> io::Result<()> {
        if std::mem::replace(&mut held.is_recovered, true) {
            return Ok(());
        }
        let planted = self.0.planted;
        let Some(plan) = unclean::plan(&self.0.file, self.0.file.len()?, planted)? else {
            return Ok(());
        };
        held.recovery = Some(plan.outcome);
        let header = |data| Access::Write { offset: 0, data };
        if let Some(unproven) = plan.unproven {
            if !planted.is(PlantedBug::PagesNotRewritten) {
                let pages = plan.rewrite.into_iter().map(Access::Rewrite);
                held.accesses.extend(pages);
            }
            if !planted.is(PlantedBug::SlotNotRewritten) {
                held.accesses.push(header(unproven));
            }
            if !planted.is(PlantedBug::RecoveryOneSync) {
                held.accesses.push(Access::Sync);
            }
        }
        held.accesses.extend(plan.header.map(header));
        Ok(())
    }

    /// Reads as if everything that is held had been written.
    fn read_through(&self, held: &Held, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > self.len_through(held)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.fill(0);
        let in_file = self.0.file.len()?.min(end).saturating_sub(offset);
        self.0.file.read(offset, &mut out[..in_file as usize])?;
        for access in &held.accesses {
            match access {
                Access::Write { offset: at, data } => copy_overlap(out, offset, data, *at),
                // A part that was cut off and grown again reads as zeros.
                Access::SetLen(len) if *len < end => {
                    out[len.saturating_sub(offset) as usize..].fill(0);
                }
                Access::SetLen(_) | Access::Sync | Access::Rewrite(_) => {}
            }
        }
        Ok(())
    }
}

impl<B: StorageBackend> StorageBackend for HoldingBackend<B> {
    fn len(&self) -> io::Result<u64> {
        match self.0.holding()? {
            Some(held) => self.len_through(&held),
            None => self.0.file.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.0.holding()? {
            Some(mut held) => {
                if offset == 0 {
                    self.recover(&mut held)?;
                }
                self.read_through(&held, offset, out)
            }
            None => self.0.file.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self.0.holding()? {
            Some(mut held) => {
                held.len = Some(len);
                held.accesses.push(Access::SetLen(len));
                Ok(())
            }
            None => {
                self.0.file.set_len(len)?;
                self.0.size.set(len);
                Ok(())
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.0.holding()? {
            Some(mut held) => {
                held.accesses.push(Access::Sync);
                Ok(())
            }
            None => {
                self.0.size.count_sync();
                self.0.file.sync_data()
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.0.holding()? {
            Some(mut held) => {
                held.accesses.push(Access::Write {
                    offset,
                    data: data.to_vec(),
                });
                Ok(())
            }
            None => self.0.file.write(offset, data),
        }
    }

    fn close(&self) -> io::Result<()> {
        if self.0.keeps_locks.load(Ordering::Acquire) {
            return Ok(());
        }
        self.0.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        // redb waits for the lock of the header before it writes the header. The locks of opening
        // are not recorded: redb only tries them, and still holds them.
        self.0.file.lock_range(start, end)?;
        if let Some(mut held) = self.0.holding()?
            && !held.written_under.contains(&(start, end))
        {
            held.written_under.push((start, end));
        }
        Ok(())
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        // The reopened database takes the same locks again. That succeeds, since they belong to the
        // same open file.
        let is_of_open = matches!(start, Bound::Included(start) if OPEN_BYTES.contains(&start));
        if is_of_open && self.0.keeps_locks.load(Ordering::Acquire) {
            return Ok(());
        }
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}

/// A file without its locks, for a caller that has the file to itself or only reads it. redb opens
/// a backend without locks as well. Tests can make its changes fail.
#[derive(Debug)]
pub(crate) struct WithoutLocks<B>(pub(crate) B);

impl<B: StorageBackend> StorageBackend for WithoutLocks<B> {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        attempt(Change::SetLen)?;
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        attempt(Change::Sync)?;
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        attempt(Change::Write)?;
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}
