//! A storage backend that holds back every write until the file is known to be ours.
//!
//! Opening a redb file writes to it: it sets a flag, and repairs what was not closed cleanly. We
//! may only look whether a file is a store of ours, and of which version, after it is open. So the
//! writes of opening are kept in memory first. Then either they reach the file, in their order and
//! with their syncs, or they are dropped and the file was never touched.
//!
//! Only one process may do so at a time: redb believes that what it wrote is in the file when it
//! lets other writers in.

use crate::fs::steps::{Change, attempt};
use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The part of a backend over `self.file` that is about its locks: they are the file's own.
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

#[derive(Debug)]
enum Access {
    Write { offset: u64, data: Vec<u8> },
    SetLen(u64),
    Sync,
}

#[derive(Debug)]
struct Held {
    accesses: Vec<Access>,
    len: u64,
    /// What was locked exclusively, and given up again: redb wrote under these locks.
    written_under: Vec<LockRange>,
}

type LockRange = (Bound<u64>, Bound<u64>);

/// The size of an open file in bytes, without asking the system.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileSize(Arc<AtomicU64>);

impl FileSize {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct State<B> {
    file: B,
    size: FileSize,
    holding: AtomicBool,
    held: Mutex<Held>,
    /// Whether the locks are kept that say whose file it is, while redb lets go of it.
    keeps_locks: AtomicBool,
}

/// Where redb's locks begin that are held as long as a file is open, and where those begin that are
/// held for a read (its design document, "Lock bytes").
const OPEN_BYTES: std::ops::Range<u64> = 1 << 62..(1 << 62) + 1024;

/// The backend that redb gets.
#[derive(Debug)]
pub(crate) struct HoldingBackend<B>(Arc<State<B>>);

/// What lets the held writes through.
#[derive(Debug)]
pub(crate) struct Gate<B>(Arc<State<B>>);

/// A backend over `file` that holds back writes, and the gate that lets them through.
pub(crate) fn hold<B: StorageBackend>(file: B) -> io::Result<(HoldingBackend<B>, Gate<B>)> {
    backend(file, true)
}

/// A backend over `file` that holds nothing back, and the size of the file.
pub(crate) fn pass<B: StorageBackend>(file: B) -> io::Result<(HoldingBackend<B>, FileSize)> {
    let (backend, gate) = backend(file, false)?;
    Ok((backend, gate.size()))
}

fn backend<B: StorageBackend>(file: B, hold: bool) -> io::Result<(HoldingBackend<B>, Gate<B>)> {
    let len = file.len()?;
    let size = FileSize::default();
    size.set(len);
    let state = Arc::new(State {
        file,
        size,
        holding: AtomicBool::new(hold),
        held: Mutex::new(Held {
            accesses: Vec::new(),
            len,
            written_under: Vec::new(),
        }),
        keeps_locks: AtomicBool::new(false),
    });
    Ok((HoldingBackend(Arc::clone(&state)), Gate(state)))
}

impl<B: StorageBackend> State<B> {
    fn held(&self) -> io::Result<MutexGuard<'_, Held>> {
        let poisoned = |_| io::Error::other("a thread panicked while it opened the file");
        self.held.lock().map_err(poisoned)
    }

    /// What is held back, or `None` once the gate is open.
    fn holding(&self) -> io::Result<Option<MutexGuard<'_, Held>>> {
        if !self.holding.load(Ordering::Acquire) {
            return Ok(None);
        }
        let held = self.held()?;
        Ok(self.holding.load(Ordering::Acquire).then_some(held))
    }
}

impl<B> Gate<B> {
    /// The size of the file, also later.
    pub(crate) fn size(&self) -> FileSize {
        self.0.size.clone()
    }
}

impl<B: StorageBackend> Gate<B> {
    /// The file, to close and open it again with nobody in between. For after the gate was opened.
    pub(crate) fn file(&self) -> KeptFile<B> {
        KeptFile(Arc::clone(&self.0))
    }

    /// Lets everything that was held back through, in its order and under the locks that it was
    /// written under, and everything that follows.
    ///
    /// A failure on the way leaves what a crash at that moment would have left.
    pub(crate) fn open(self) -> io::Result<()> {
        let mut held = self.0.held()?;
        let locks = std::mem::take(&mut held.written_under);
        for (start, end) in &locks {
            self.0.file.lock_range(*start, *end).map_err(lock_error)?;
        }
        for access in held.accesses.drain(..) {
            match access {
                Access::Write { offset, data } => self.0.file.write(offset, &data)?,
                Access::SetLen(len) => self.0.file.set_len(len)?,
                Access::Sync => self.0.file.sync_data()?,
            }
        }
        for (start, end) in locks {
            self.0.file.unlock_range(start, end).map_err(lock_error)?;
        }
        self.0.size.set(held.len);
        self.0.holding.store(false, Ordering::Release);
        Ok(())
    }
}

/// A file that stays this process's while redb closes it and opens it again.
#[derive(Debug)]
pub(crate) struct KeptFile<B>(Arc<State<B>>);

impl<B: StorageBackend> KeptFile<B> {
    /// Runs `reopen`, which closes the file's database and opens another over the backend that it
    /// gets. The file is locked all the while; it is given up where that fails.
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

fn lock_error(error: BackendError) -> io::Error {
    match error {
        BackendError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// Copies the part of `data`, which stands at `at`, that falls into `out`, which stands at `offset`.
fn copy_overlap(out: &mut [u8], offset: u64, data: &[u8], at: u64) {
    let start = offset.max(at);
    let end = (offset + out.len() as u64).min(at + data.len() as u64);
    if start < end {
        let range = |base: u64| (start - base) as usize..(end - base) as usize;
        out[range(offset)].copy_from_slice(&data[range(at)]);
    }
}

impl<B: StorageBackend> HoldingBackend<B> {
    /// Reads as if everything held back had been written.
    fn read_through(&self, held: &Held, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > held.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.fill(0);
        let in_file = self.0.file.len()?.min(end).saturating_sub(offset);
        self.0.file.read(offset, &mut out[..in_file as usize])?;
        for access in &held.accesses {
            match access {
                Access::Write { offset: at, data } => copy_overlap(out, offset, data, *at),
                // What is cut off and grown again reads as zeros.
                Access::SetLen(len) if *len < end => {
                    out[len.saturating_sub(offset) as usize..].fill(0);
                }
                Access::SetLen(_) | Access::Sync => {}
            }
        }
        Ok(())
    }
}

impl<B: StorageBackend> StorageBackend for HoldingBackend<B> {
    fn len(&self) -> io::Result<u64> {
        match self.0.holding()? {
            Some(held) => Ok(held.len),
            None => self.0.file.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.0.holding()? {
            Some(held) => self.read_through(&held, offset, out),
            None => self.0.file.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self.0.holding()? {
            Some(mut held) => {
                held.len = len;
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
            None => self.0.file.sync_data(),
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

/// A file without its locks, for who has it to himself or only looks. Tests can let its changes fail.
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
