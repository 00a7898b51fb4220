//! A store's file as processes share it: no access from a fork, and a limit to each wait for a lock.
//!
//! A process that is stopped (by a debugger, a freezer, Ctrl-Z) keeps its locks. redb waits for locks
//! without a limit, so one that is stopped within a lock on the header would stop every commit of every
//! other process for as long. Here each wait has a limit. When it is reached:
//!
//! | the lock is for | on disk | then |
//! |---|---|---|
//! | the turn to write, or the scan for readers | nothing | the lock fails, the operation is not in the store |
//! | the header with the new slot, or with the new primary | pages that no header names | the same |
//! | the header without the mark, after the last sync | the commit | the lock seems granted, the header waits here |
//!
//! The last row: redb marks the header of a commit until its sync is done, and other processes read the
//! commit before it for as long. The commit is durable, so it is acknowledged. The header without the mark
//! is written under the next exclusive lock on the header, before redb does anything under that lock: the
//! scan for readers, which follows, must find every reader that the mark sent to the commit before. If
//! another process wrote the header meanwhile, it has cleared the mark, and ours is dropped.
//!
//! The mark and the places of the locks are redb's: its design document, "Lock bytes", and its header.

use crate::commit::trace;
use crate::engine::redb::file::file_id::FileId;
use crate::engine::redb::file::lock_holder;
use crate::engine::redb::file::planted::{Planted, PlantedBug};
use crate::error::Place;
use crate::fs::process::Process;
use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The pauses between two tries of a lock. The first are short, because most locks are held for
/// microseconds; none is long, so that a writer gets its turn between the commits of another one.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_micros(250);

/// The most of a round that counts as waiting.
const LONGEST_ROUND: Duration = Duration::from_millis(100);

/// The limit of later waits for a lock whose wait has expired, until it is granted once: operations that
/// queue up behind each other must not each wait for a process that is stopped.
const LIMIT_AFTER_EXPIRY: Duration = Duration::from_millis(100);

/// After this wait the holder of the lock is reported to the telemetry.
const REPORT_AFTER: Duration = Duration::from_secs(1);

/// The bytes of redb's header, which are also the bytes of its lock.
const HEADER_BYTES: u64 = 320;
const HEADER_LOCK: LockRange = (Bound::Included(0), Bound::Excluded(HEADER_BYTES));

/// The flags of redb's header, and the one that marks a commit whose sync is not done.
const FLAGS_AT: usize = 9;
const UNFLUSHED: u8 = 8;

type LockRange = (Bound<u64>, Bound<u64>);

/// The wait for a lock reached its limit.
#[derive(Debug, thiserror::Error)]
#[error("another process held a lock on the file for longer than the limit")]
pub(crate) struct LockTimeout {
    /// The process that holds the lock, where the system reports it.
    pub(crate) holder: Option<u32>,
}

impl LockTimeout {
    /// The timeout that caused `error`.
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// How long to wait for locks on a file, and whose file it is.
#[derive(Clone, Debug)]
pub(crate) struct LockWaits {
    pub(crate) limit: Duration,
    pub(crate) place: Place,
    /// `None` where files cannot be told apart.
    pub(crate) file: Option<FileId>,
    /// Whether other processes write too. Then redb reads the header of the file for every read.
    pub(crate) others_write: bool,
    pub(crate) planted: Planted,
}

/// A store's file. It belongs to the process that made this value.
#[derive(Debug)]
pub(crate) struct SharedFile<B> {
    file: B,
    process: Process,
    waits: LockWaits,
    /// The locks whose last wait reached the limit.
    expired: Mutex<Vec<LockRange>>,
    header: Mutex<HeaderWrites>,
}

/// The writes of the header that a lock can come between.
#[derive(Debug, Default)]
struct HeaderWrites {
    /// The header with the mark, if it is the one in the file.
    marked: Option<Vec<u8>>,
    /// Whether the marked header is synced.
    is_durable: bool,
    /// Whether redb holds the lock on the header only as far as it knows.
    seems_locked: bool,
    /// The header without the mark, which waits for the lock.
    unmarked: Option<Vec<u8>>,
}

impl HeaderWrites {
    /// Whether the next exclusive lock on the header is to clear the mark of a durable commit.
    fn is_about_to_clear_mark(&self) -> bool {
        self.is_durable && self.marked.is_some() && self.unmarked.is_none()
    }

    /// Notes that `header` is in the file.
    fn wrote(&mut self, header: &[u8]) {
        let is_marked = header
            .get(FLAGS_AT)
            .is_some_and(|flags| flags & UNFLUSHED != 0);
        self.marked = is_marked.then(|| header.to_vec());
        self.is_durable = false;
        self.unmarked = None;
    }
}

impl<B: StorageBackend> SharedFile<B> {
    pub(crate) fn new(file: B, waits: LockWaits) -> Self {
        Self {
            file,
            process: Process::current(),
            waits,
            expired: Mutex::default(),
            header: Mutex::default(),
        }
    }

    /// Rejects changes of the file and of its locks from a fork, which shares them with the process that took
    /// them. Reads and queries change neither. Pages and syncs pass: a transaction takes a lock before it
    /// writes a page, and asking for the process takes a call to the system.
    fn refuse_fork(&self) -> io::Result<()> {
        match self.process.is_current() {
            true => Ok(()),
            false => Err(io::Error::other(
                "the file belongs to the process that opened it",
            )),
        }
    }

    /// The notes are whole after any panic: each change is complete before the next access.
    fn header(&self) -> MutexGuard<'_, HeaderWrites> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self, range: LockRange, is_shared: bool) -> Result<bool, BackendError> {
        self.refuse_fork()?;
        match is_shared {
            true => self.file.try_lock_shared_range(range.0, range.1),
            false => self.file.try_lock_range(range.0, range.1),
        }
    }

    fn expired(&self) -> MutexGuard<'_, Vec<LockRange>> {
        self.expired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a lock. `false` if the limit was reached.
    fn wait_for_lock(&self, range: LockRange, is_shared: bool) -> Result<bool, BackendError> {
        let is_locked =
            self.try_lock(range, is_shared)? || self.try_until_limit(range, is_shared)?;
        let mut expired = self.expired();
        expired.retain(|other| *other != range);
        if !is_locked {
            expired.push(range);
        }
        Ok(is_locked)
    }

    /// Tries to lock `range` again and again. `false` if the limit was reached.
    fn try_until_limit(&self, range: LockRange, is_shared: bool) -> Result<bool, BackendError> {
        let limit = match self.expired().contains(&range) {
            true => self.waits.limit.min(LIMIT_AFTER_EXPIRY),
            false => self.waits.limit,
        };
        let (mut waited, mut pause, mut is_reported) = (Duration::ZERO, FIRST_PAUSE, false);
        while waited < limit {
            let begin = Instant::now();
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            if self.try_lock(range, is_shared)? {
                return Ok(true);
            }
            // This process may be stopped itself, or get no processor.
            waited += begin.elapsed().min(LONGEST_ROUND);
            if waited >= REPORT_AFTER && !is_reported {
                is_reported = true;
                let file = self.waits.file;
                trace::waits_for_lock(&self.waits.place, move || {
                    lock_holder::holder_of(file?, range, is_shared)
                });
            }
        }
        Ok(false)
    }

    fn holder(&self, range: LockRange, is_shared: bool) -> Option<u32> {
        lock_holder::holder_of(self.waits.file?, range, is_shared)
    }

    /// Whether redb continues without an exclusive lock on the header: its commit is durable.
    fn is_granted_at_limit(&self, header: &HeaderWrites) -> bool {
        let is_lost = self.waits.planted.is(PlantedBug::MarkLost) && header.is_durable;
        is_lost || header.is_about_to_clear_mark()
    }

    fn timeout(&self, range: LockRange, is_shared: bool) -> BackendError {
        let holder = self.holder(range, is_shared);
        BackendError::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            LockTimeout { holder },
        ))
    }

    /// Writes the header that waits for the exclusive lock, which is held now.
    fn write_unmarked(&self) -> Result<(), BackendError> {
        let mut header = self.header();
        let Some(unmarked) = &header.unmarked else {
            return Ok(());
        };
        let mut in_file = vec![0; unmarked.len()];
        let written = match self.file.read(0, &mut in_file) {
            Ok(()) if header.marked.as_ref() == Some(&in_file) => self.file.write(0, unmarked),
            read => read,
        };
        if let Err(error) = written {
            // redb gives up no lock that it was refused.
            self.file.unlock_range(HEADER_LOCK.0, HEADER_LOCK.1)?;
            return Err(error.into());
        }
        (header.marked, header.unmarked) = (None, None);
        Ok(())
    }

    /// Clears the mark of an acknowledged commit before redb reads the header of the file, where it would
    /// find the commit before.
    fn clear_mark_to_read(&self) -> Result<(), BackendError> {
        if !self.waits.others_write {
            return Ok(());
        }
        self.refuse_fork()?;
        if self.header().unmarked.is_none() {
            return Ok(());
        }
        if !self.wait_for_lock(HEADER_LOCK, false)? {
            return Err(self.timeout(HEADER_LOCK, false));
        }
        self.write_unmarked()?;
        self.file.unlock_range(HEADER_LOCK.0, HEADER_LOCK.1)
    }
}

impl<B: StorageBackend> StorageBackend for SharedFile<B> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.refuse_fork()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.header().is_durable = true;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset >= HEADER_BYTES {
            return self.file.write(offset, data);
        }
        self.refuse_fork()?;
        let mut header = self.header();
        if header.seems_locked {
            header.unmarked = Some(data.to_vec());
            return Ok(());
        }
        self.file.write(offset, data)?;
        header.wrote(data);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.refuse_fork()?;
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.try_lock((start, end), false)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.try_lock((start, end), true)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        let range = (start, end);
        let is_locked = self.wait_for_lock(range, false)?;
        if range != HEADER_LOCK {
            return match is_locked {
                true => Ok(()),
                false => Err(self.timeout(range, false)),
            };
        }
        if is_locked {
            return self.write_unmarked();
        }
        let mut header = self.header();
        if self.is_granted_at_limit(&header) {
            header.seems_locked = true;
            return Ok(());
        }
        Err(self.timeout(range, false))
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if (start, end) == HEADER_LOCK {
            self.clear_mark_to_read()?;
        }
        match self.wait_for_lock((start, end), true)? {
            true => Ok(()),
            false => Err(self.timeout((start, end), true)),
        }
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.refuse_fork()?;
        if (start, end) == HEADER_LOCK {
            let mut header = self.header();
            if std::mem::take(&mut header.seems_locked) {
                return Ok(());
            }
        }
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
